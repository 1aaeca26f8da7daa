/* SPDX-License-Identifier: Apache-2.0 */
/* Flags that become fields of a body, named by the flag's row ("memory_mib", "source.oci"), or of
 * the query. A flag whose field is a list may be repeated. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include "tools/polyctl/cloud.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"

#define TEXT_MAX (1u << 20) /* bytes of a file that goes into a body, as the server takes */

static int wrong(struct err *e, const struct flag *f, const char *value, const char *allowed)
{
	return err_set(
		e, ERR_USAGE, -EINVAL, "%s: \"%.64s\" is not allowed; %s", f->name, value, allowed);
}

/* The object that holds key's last part, made on the way. */
static json_t *holder(json_t *object, const char *key, const char **ret_last)
{
	const char *dot = strchr(key, '.');

	if (!dot) {
		*ret_last = key;
		return object;
	}
	char name[64];
	snprintf(name, sizeof(name), "%.*s", (int)(dot - key), key);
	if (!json_is_object(json_object_get(object, name)))
		json_object_set_new(object, name, json_object());
	return holder(json_object_get(object, name), dot + 1, ret_last);
}

int cloud_set(struct call *c, const char *key, json_t *value, struct err *e)
{
	const char *last;

	if (!c->body)
		c->body = json_object();
	if (!c->body || !value) {
		json_decref(value);
		return err_set(e, ERR_USAGE, -EINVAL, "%s: not UTF-8", key);
	}
	json_t *in = holder(c->body, key, &last);
	return json_object_set_new(in, last, value);
}

/* Appends to the list key. */
static int append(struct call *c, const char *key, json_t *value, struct err *e)
{
	const char *last;

	if (!c->body)
		c->body = json_object();
	json_t *in = holder(c->body, key, &last);
	if (!json_object_get(in, last))
		json_object_set_new(in, last, json_array());
	if (!value || json_array_append_new(json_object_get(in, last), value) < 0)
		return err_set(e, ERR_USAGE, -EINVAL, "%s: not UTF-8", key);
	return 0;
}

int set_text(struct call *c, const struct flag *f, const char *value, struct err *e)
{
	return cloud_set(c, f->key, json_string(value), e);
}

int set_text_or_null(struct call *c, const struct flag *f, const char *value, struct err *e)
{
	bool none = !strcmp(value, "none");

	return cloud_set(c, f->key, none ? json_null() : json_string(value), e);
}

int set_number(struct call *c, const struct flag *f, const char *value, struct err *e)
{
	uint64_t n;

	if (num_parse(value, &n) < 0 || n > INT_MAX)
		return wrong(e, f, value, "give a number");
	return cloud_set(c, f->key, json_integer((json_int_t)n), e);
}

int set_true(struct call *c, const struct flag *f, const char *value, struct err *e)
{
	return cloud_set(c, f->key, json_true(), e);
}

/* A size with a unit, or a number of those units. */
static int set_size(
	struct call *c, const struct flag *f, const char *value, uint64_t unit, struct err *e)
{
	uint64_t n;

	if (num_parse_size(value, &n) < 0 || !n)
		return wrong(e, f, value, "give a size as 512M or 4G");
	if (value[strlen(value) - 1] <= '9')
		n = n > INT_MAX ? INT_MAX : n * unit;
	if (n % unit)
		return wrong(e, f, value,
			unit == MIB ? "give whole MiB, as 512M" : "give whole GiB, as 4G");
	return cloud_set(c, f->key, json_integer((json_int_t)(n / unit)), e);
}

int set_mib(struct call *c, const struct flag *f, const char *value, struct err *e)
{
	return set_size(c, f, value, MIB, e);
}

int set_gib(struct call *c, const struct flag *f, const char *value, struct err *e)
{
	return set_size(c, f, value, GIB, e);
}

/* "a,b", also repeated. */
int set_list(struct call *c, const struct flag *f, const char *value, struct err *e)
{
	int r = 0;

	for (const char *p = value; r == 0 && *p;) {
		size_t n = strcspn(p, ",");

		r = append(c, f->key, json_stringn(p, n), e);
		p += n + (p[n] == ',');
	}
	return r;
}

int set_label(struct call *c, const struct flag *f, const char *value, struct err *e)
{
	const char *eq = strchr(value, '=');

	if (!eq || eq == value)
		return wrong(e, f, value, "give KEY=VALUE");
	if (!c->body)
		c->body = json_object();
	if (!json_object_get(c->body, f->key))
		json_object_set_new(c->body, f->key, json_object());
	cleanup_free char *key = strndup(value, (size_t)(eq - value));
	return key && json_object_set_new(
			      json_object_get(c->body, f->key), key, json_string(eq + 1)) == 0
		       ? 0
		       : wrong(e, f, value, "give UTF-8");
}

static int port_number(const char *text, size_t n, json_int_t *ret_port)
{
	char digits[8];
	uint64_t v;

	if (!n || n >= sizeof(digits))
		return -EINVAL;
	snprintf(digits, sizeof(digits), "%.*s", (int)n, text);
	if (num_parse(digits, &v) < 0 || v < 1 || v > 65535)
		return -EINVAL;
	*ret_port = (json_int_t)v;
	return 0;
}

int cloud_port(const char *text, json_t **ret_port, struct err *e)
{
	const char *guest = strrchr(text, ':'), *host = guest;
	json_int_t h, g;

	while (host && host > text && host[-1] != ':')
		host--;
	if (!guest || port_number(guest + 1, strlen(guest + 1), &g) < 0 ||
		port_number(host, (size_t)(guest - host), &h) < 0)
		return err_set(e, ERR_USAGE, -EINVAL,
			"port \"%.64s\" is not allowed; give [ADDRESS:]HOST-PORT:GUEST-PORT, as "
			"8080:80",
			text);
	json_t *port = json_pack("{s:I,s:I}", "host_port", h, "guest_port", g);
	if (port && host > text)
		json_object_set_new(port, "address", json_stringn(text, (size_t)(host - text) - 1));
	*ret_port = port;
	return port ? 0 : -ENOMEM;
}

int set_port(struct call *c, const struct flag *f, const char *value, struct err *e)
{
	json_t *port;
	int r = cloud_port(value, &port, e);

	return r < 0 ? r : append(c, f->key, port, e);
}

int set_disk(struct call *c, const struct flag *f, const char *value, struct err *e)
{
	return append(c, f->key, json_pack("{s:s}", "volume", value), e);
}

int set_file_text(struct call *c, const struct flag *f, const char *value, struct err *e)
{
	cleanup_free char *text = malloc(TEXT_MAX + 1);
	cleanup_file FILE *in = fopen(value, "re");

	if (!in)
		return err_set(e, ERR_USAGE, -errno, "%s %.160s: %s", f->name, value,
			strerrordesc_np(errno));
	size_t n = text ? fread(text, 1, TEXT_MAX + 1, in) : 0;
	if (n > TEXT_MAX)
		return wrong(e, f, value, "the file has more than 1 MiB");
	return cloud_set(c, f->key, json_stringn(text ? text : "", n), e);
}

/* "&key=value"; of a repeated one each counts. */
int set_query(struct call *c, const struct flag *f, const char *value, struct err *e)
{
	char *escaped = curl_easy_escape(NULL, value ? value : "", 0);
	size_t at = strlen(c->query);
	int n = -1;

	if (escaped)
		n = snprintf(c->query + at, sizeof(c->query) - at, "&%s=%s", f->key, escaped);
	curl_free(escaped);
	return n < 0 || (size_t)n >= sizeof(c->query) - at
		       ? err_set(e, ERR_USAGE, -EINVAL, "%s: too long", f->name)
		       : 0;
}

int set_wait(struct call *c, const struct flag *f, const char *value, struct err *e)
{
	c->waits = true;
	return 0;
}

int set_timeout(struct call *c, const struct flag *f, const char *value, struct err *e)
{
	int r = flag_seconds(c, f, value, e);

	c->timeout = c->wait;
	return r;
}

int set_file(struct call *c, const struct flag *f, const char *value, struct err *e)
{
	c->file = value;
	return 0;
}

int set_confirm(struct call *c, const struct flag *f, const char *value, struct err *e)
{
	c->confirm = true;
	return cloud_set(c, "confirm", json_true(), e);
}

int set_follow(struct call *c, const struct flag *f, const char *value, struct err *e)
{
	c->follow = true;
	return 0;
}

int set_until(struct call *c, const struct flag *f, const char *value, struct err *e)
{
	c->until = value;
	return 0;
}

static int set_context(struct call *c, const struct flag *f, const char *value, struct err *e)
{
	c->context = value;
	return 0;
}

static int set_project(struct call *c, const struct flag *f, const char *value, struct err *e)
{
	c->project = value;
	return 0;
}

const struct flag cloud_flags[] = {
	{"--socket", "PATH", "polycloud's; $POLYCLOUD_SOCKET, the current context or the usual one",
		HINT_FILE, flag_socket},
	{"--context", "NAME", "a cloud that polyctl context add has named", HINT_NONE, set_context},
	{"--project", "NAME", "whose objects; default by default", HINT_NONE, set_project},
	{"--json", NULL, "the server's own answer, not a table", HINT_NONE, flag_json},
	{0},
};
