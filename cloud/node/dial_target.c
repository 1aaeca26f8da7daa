/* SPDX-License-Identifier: Apache-2.0 */
#include "cloud/node/dial_internal.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include "vmm/base/cleanup.h"

#define PORT_DEFAULT "7443"

static int bad_url(const char *url, struct err *e)
{
	return err_set(e, ERR_USAGE, -EINVAL,
		"--control: %.120s is no URL that a node takes; allowed: https://HOST[:PORT], "
		"unix:PATH",
		url);
}

/* "HOST", "HOST:PORT", "[V6]:PORT", each with or without a "/" behind. */
static bool parse_authority(const char *p, struct dial_target *t)
{
	size_t n = strcspn(p, "/"), host;
	const char *port = PORT_DEFAULT, *end = p + n;

	if (*end == '/' && end[1])
		return false;
	if (*p == '[') {
		host = strcspn(++p, "]");
		if (p + host >= end)
			return false;
	} else {
		host = strcspn(p, ":/");
	}
	if (host == 0 || host >= sizeof(t->host))
		return false;
	memcpy(t->host, p, host);
	t->host[host] = '\0';
	p += host;
	p += *p == ']';
	if (*p == ':')
		port = p + 1;
	else if (p != end)
		return false;
	n = strspn(port, "0123456789");
	if (n == 0 || n > 5 || (port[n] && port[n] != '/'))
		return false;
	memcpy(t->port, port, n);
	t->port[n] = '\0';
	return strspn(t->host,
		       "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:_%") ==
	       host;
}

int dial_url_parse(const char *url, struct dial_target *ret, struct err *e)
{
	struct dial_target t = *ret;

	if (strlen(url) >= sizeof(t.url))
		return bad_url(url, e);
	strcpy(t.url, url);
	t.unix_path[0] = '\0';
	if (strncmp(url, "unix:", 5) == 0) {
		if (!url[5] || strlen(url + 5) >= sizeof(t.unix_path))
			return bad_url(url, e);
		strcpy(t.unix_path, url + 5);
	} else if (strncmp(url, "https://", 8) != 0 || !parse_authority(url + 8, &t)) {
		return bad_url(url, e);
	}
	*ret = t;
	return 0;
}

static int copy_field(const json_t *doc, const char *key, bool needed, const char *file, char *ret,
	size_t size, struct err *e)
{
	const char *text = json_string_value(json_object_get(doc, key));

	if (!text && !needed)
		return 0;
	if (!text || !text[0] || strlen(text) >= size || strpbrk(text, "\r\n \t"))
		return err_set(
			e, ERR_USAGE, -EINVAL, "%s: \"%s\" is missing or no such text", file, key);
	strcpy(ret, text);
	return 0;
}

int dial_target_read(
	const char *token_file, const char *url, struct dial_target *ret, struct err *e)
{
	struct dial_target t = {0};
	char from_file[300] = "";
	json_error_t je;
	json_t *doc;
	int r;

	if (access(token_file, R_OK) < 0)
		return err_set(
			e, ERR_USAGE, -errno, "--token-file %s: %s", token_file, strerror(errno));
	doc = json_load_file(token_file, 0, &je);
	if (!json_is_object(doc)) {
		json_decref(doc);
		return err_set(e, ERR_USAGE, -EINVAL,
			"--token-file %s is no JSON object {\"url\",\"token\",\"fingerprint\"}",
			token_file);
	}
	r = copy_field(doc, "token", true, token_file, t.token, sizeof(t.token), e);
	if (r == 0)
		r = copy_field(doc, "fingerprint", false, token_file, t.fingerprint,
			sizeof(t.fingerprint), e);
	if (r == 0 && !url)
		r = copy_field(doc, "url", true, token_file, from_file, sizeof(from_file), e);
	json_decref(doc);
	if (r == 0)
		r = dial_url_parse(url ? url : from_file, &t, e);
	if (r == 0)
		*ret = t;
	return r;
}

/* ---- identity ---- */

static int identity_make(const char *path, char ret[65])
{
	unsigned char secret[32];
	char part[4200];
	cleanup_fd int fd = -1;

	if (getrandom(secret, sizeof(secret), 0) != sizeof(secret))
		return -EIO;
	for (size_t i = 0; i < sizeof(secret); i++)
		snprintf(ret + 2 * i, 3, "%02x", secret[i]);
	if (snprintf(part, sizeof(part), "%s.part", path) >= (int)sizeof(part))
		return -ENAMETOOLONG;
	fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0 || write(fd, ret, 64) != 64 || fsync(fd) < 0 || rename(part, path) < 0)
		return errno ? -errno : -EIO;
	return 0;
}

int dial_identity(const char *data, char ret[65], struct err *e)
{
	char path[4096], text[65] = "";
	cleanup_fd int fd = -1;
	int r = 0;

	if (snprintf(path, sizeof(path), "%s/identity", data) >= (int)sizeof(path))
		return err_set(e, ERR_USAGE, -ENAMETOOLONG, "--data: too long");
	if (mkdir(data, 0700) < 0 && errno != EEXIST)
		return err_set(e, ERR_HOST, -errno, "--data %s: %s", data, strerror(errno));
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 && errno == ENOENT)
		r = identity_make(path, text);
	else if (fd < 0)
		r = -errno;
	else if (read(fd, text, 64) != 64)
		r = -EINVAL;
	if (r == 0 && strspn(text, "0123456789abcdef") != 64)
		r = -EINVAL;
	if (r < 0)
		return err_set(e, ERR_HOST, r, "the node's identity %s: %s", path,
			r == -EINVAL ? "is damaged (64 hex digits belong there)" : strerror(-r));
	memcpy(ret, text, 65);
	return 0;
}
