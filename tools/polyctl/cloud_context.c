/* SPDX-License-Identifier: Apache-2.0 */
/* Where clouds are: contexts.json in the folder of our settings, which only its owner may read,
 * since tokens are in it. {"current": NAME, "contexts": {NAME: {socket | url, token, fingerprint,
 * project}}} */
#include <ctype.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "tools/polyctl/cloud.h"
#include "tools/polyctl/table.h"
#include "tools/polyctl/words.h"
#include "vmm/base/cleanup.h"

#define FILE_NAME "contexts.json"

static const char *text_of(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

/* ---- the file ---- */

int cloud_config_path(const char *file, char *ret_path, size_t cap, struct err *e)
{
	const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
	char dir[PATH_MAX - 64];

	if ((!config || *config != '/') && !home)
		return err_set(e, ERR_HOST, -ENOENT, "$HOME is not set");
	if (config && *config == '/')
		snprintf(dir, sizeof(dir), "%s", config);
	else
		snprintf(dir, sizeof(dir), "%s/.config", home);
	mkdir(dir, 0700);
	snprintf(ret_path, cap, "%s/polyctl", dir);
	if (mkdir(ret_path, 0700) < 0 && errno != EEXIST)
		return err_set(e, ERR_HOST, -errno, "%.200s: %s", ret_path, strerrordesc_np(errno));
	return snprintf(ret_path, cap, "%s/polyctl/%s", dir, file) < (int)cap ? 0 : -ENAMETOOLONG;
}

/* An empty object when there is no file yet. */
static int load(json_t **ret_all, struct err *e)
{
	char path[PATH_MAX];
	json_error_t why;
	int r = cloud_config_path(FILE_NAME, path, sizeof(path), e);

	if (r < 0)
		return r;
	*ret_all = access(path, F_OK) < 0 ? json_object() : json_load_file(path, 0, &why);
	if (!json_is_object(*ret_all))
		return err_set(
			e, ERR_HOST, -EINVAL, "%.160s: %.100s (line %d)", path, why.text, why.line);
	return 0;
}

static int store(const json_t *all, struct err *e)
{
	char path[PATH_MAX], temporary[PATH_MAX + 8];
	int r = cloud_config_path(FILE_NAME, path, sizeof(path), e);

	if (r < 0)
		return r;
	snprintf(temporary, sizeof(temporary), "%s.new", path);
	unlink(temporary);
	cleanup_fd int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || json_dumpfd(all, fd, JSON_INDENT(2)) < 0 || rename(temporary, path) < 0)
		return err_set(
			e, ERR_HOST, -EIO, "cannot write %.200s: %s", path, strerrordesc_np(errno));
	return 0;
}

/* ---- finding the cloud ---- */

static char *copy(const char *s)
{
	return s && *s ? strdup(s) : NULL;
}

static int of_context(const json_t *all, const char *name, struct cloud_end *end, struct err *e)
{
	const json_t *c = json_object_get(json_object_get(all, "contexts"), name);

	if (!text_of(c, "url") && !text_of(c, "socket"))
		return err_set(e, ERR_USAGE, -EINVAL,
			"--context: there is none called \"%.64s\"; polyctl context list shows them",
			name);
	end->name = copy(name);
	end->socket = copy(text_of(c, "socket"));
	end->url = copy(text_of(c, "url"));
	end->token = copy(text_of(c, "token"));
	end->fingerprint = copy(text_of(c, "fingerprint"));
	end->project = copy(text_of(c, "project"));
	return 0;
}

/* Where `polycloud up` listens when nobody says otherwise. */
static char *usual_socket(void)
{
	const char *run = getenv("XDG_RUNTIME_DIR");
	char *path = NULL;

	if (geteuid() != 0 && run && asprintf(&path, "%s/polycloud.sock", run) > 0) {
		if (access(path, F_OK) == 0)
			return path;
		free(path);
	}
	return strdup("/run/polycloud.sock");
}

int cloud_find(const struct call *c, struct cloud_end **ret_end, struct err *e)
{
	struct cloud_end *end = calloc(1, sizeof(*end));
	const char *env = getenv("POLYCLOUD_SOCKET");
	json_t *all = NULL;
	int r = end ? 0 : -ENOMEM;

	if (r == 0 && c->socket)
		end->socket = copy(c->socket);
	else if (r == 0 && env && *env && !c->context)
		end->socket = copy(env);
	else if (r == 0 && (r = load(&all, e)) == 0) {
		const char *name = c->context ? c->context : text_of(all, "current");
		if (name)
			r = of_context(all, name, end, e);
		else
			end->socket = usual_socket();
	}
	json_decref(all);
	if (r == 0 && !end->socket && !end->url)
		r = -ENOMEM;
	if (r < 0)
		cloud_end_free(end);
	else
		*ret_end = end;
	return r;
}

void cloud_end_free(struct cloud_end *end)
{
	if (!end)
		return;
	free(end->name);
	free(end->socket);
	free(end->url);
	free(end->token);
	free(end->fingerprint);
	free(end->project);
	free(end);
}

const char *cloud_end_name(const struct cloud_end *end)
{
	return end->socket ? end->socket : end->url;
}

/* ---- polyctl context ---- */

/* 64 hex digits, also as "sha256:AB:CD:…". */
static int set_fingerprint(json_t *context, const char *text, struct err *e)
{
	char hex[65];
	size_t n = 0;
	const char *p = strncasecmp(text, "sha256:", 7) ? text : text + 7;

	for (; *p && n < sizeof(hex) - 1; p++) {
		if (isxdigit((unsigned char)*p))
			hex[n++] = (char)tolower((unsigned char)*p);
		else if (*p != ':')
			break;
	}
	hex[n] = '\0';
	if (n != 64 || *p)
		return err_set(e, ERR_USAGE, -EINVAL,
			"fingerprint: \"%.80s\" is not allowed; give the 64 hex digits of a SHA-256",
			text);
	return json_object_set_new(context, "fingerprint", json_string(hex));
}

static int set_place(json_t *context, const char *url, struct err *e)
{
	char path[PATH_MAX];
	size_t n = strlen(url);

	if (!strncmp(url, "https://", 8) && n > 8) {
		while (url[n - 1] == '/')
			n--;
		return json_object_set_new(context, "url", json_stringn(url, n));
	}
	if (strstr(url, "://"))
		return err_set(e, ERR_USAGE, -EINVAL,
			"\"%.80s\" is not allowed; give https://HOST:PORT or a unix socket's name",
			url);
	int r = words_absolute(url, path, sizeof(path), e);
	return r < 0 ? r : json_object_set_new(context, "socket", json_string(path));
}

/* What a token file and flags say of a context; c->body holds the flags'. */
static int describe(struct call *c, json_t *context, struct err *e)
{
	json_t *file = c->file ? json_load_file(c->file, 0, NULL) : NULL;
	const char *url = c->nwords > 1 ? c->word[1] : text_of(file, "url");
	const char *token = text_of(c->body, "token");
	const char *fingerprint = text_of(c->body, "fingerprint");
	int r = 0;

	if (c->file && !text_of(file, "token"))
		r = err_set(e, ERR_USAGE, -EINVAL,
			"--token-file %.160s: not a token file, as polyctl token create --file "
			"writes it",
			c->file);
	else if (!url)
		r = err_set(e, ERR_USAGE, -EINVAL, "context add: say where the cloud is: a URL");
	if (r == 0)
		r = set_place(context, url, e);
	token = token ? token : text_of(file, "token");
	fingerprint = fingerprint ? fingerprint : text_of(file, "fingerprint");
	if (r == 0 && token)
		r = json_object_set_new(context, "token", json_string(token));
	if (r == 0 && fingerprint)
		r = set_fingerprint(context, fingerprint, e);
	if (r == 0 && c->project)
		r = json_object_set_new(context, "project", json_string(c->project));
	json_decref(file);
	return r;
}

static json_t *contexts_of(json_t *all)
{
	if (!json_is_object(json_object_get(all, "contexts")))
		json_object_set_new(all, "contexts", json_object());
	return json_object_get(all, "contexts");
}

int run_context_add(struct call *c, struct err *e)
{
	json_t *all, *context = json_object();
	int r = load(&all, e);

	if (r < 0) {
		json_decref(context);
		return r;
	}
	r = describe(c, context, e);
	if (r == 0)
		r = json_object_set(contexts_of(all), c->word[0], context);
	if (r == 0)
		r = json_object_set_new(all, "current", json_string(c->word[0]));
	if (r == 0)
		r = store(all, e);
	json_decref(context);
	json_decref(all);
	return r;
}

int run_context_use(struct call *c, struct err *e)
{
	json_t *all;
	int r = load(&all, e);

	if (r < 0)
		return r;
	if (!c->nwords)
		json_object_del(all, "current");
	else if (!json_object_get(contexts_of(all), c->word[0]))
		r = err_set(e, ERR_USAGE, -EINVAL,
			"there is no context \"%.64s\"; polyctl context list shows them",
			c->word[0]);
	else
		r = json_object_set_new(all, "current", json_string(c->word[0]));
	if (r == 0)
		r = store(all, e);
	json_decref(all);
	return r;
}

int run_context_delete(struct call *c, struct err *e)
{
	json_t *all;
	int r = load(&all, e);

	if (r < 0)
		return r;
	if (json_object_del(contexts_of(all), c->word[0]) < 0)
		r = err_set(e, ERR_USAGE, -EINVAL, "there is no context \"%.64s\"", c->word[0]);
	const char *current = text_of(all, "current");
	if (current && !strcmp(current, c->word[0]))
		json_object_del(all, "current");
	if (r == 0)
		r = store(all, e);
	json_decref(all);
	return r;
}

int run_context_list(struct call *c, struct err *e)
{
	struct table t = TABLE_INIT(5);
	const char *name;
	json_t *all, *one;
	int r = load(&all, e);

	if (r < 0)
		return r;
	const char *current = text_of(all, "current");
	if (!c->ids)
		table_row(&t, "", "CONTEXT", "WHERE", "PROJECT", "TOKEN");
	json_object_foreach (contexts_of(all), name, one) {
		const char *where =
			text_of(one, "url") ? text_of(one, "url") : text_of(one, "socket");
		if (c->ids)
			fprintf(c->out, "%s\n", name);
		else
			table_row(&t, current && !strcmp(name, current) ? "*" : "", name, where,
				text_of(one, "project"), text_of(one, "token") ? "yes" : "no");
	}
	r = table_print(&t, c->out);
	table_fini(&t);
	json_decref(all);
	return r;
}

/* ---- polyctl token create ---- */

static int write_token_file(const char *path, const json_t *answer, struct err *e)
{
	static const char *const keys[] = {"url", "token", "fingerprint", NULL};
	json_t *out = json_object();
	cleanup_fd int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int r = fd < 0 ? -errno : 0;

	for (const char *const *k = keys; *k; k++)
		if (json_is_string(json_object_get(answer, *k)))
			json_object_set(out, *k, json_object_get(answer, *k));
	if (r == 0 && (json_dumpfd(out, fd, JSON_INDENT(2)) < 0 || write(fd, "\n", 1) < 0))
		r = -EIO;
	json_decref(out);
	return r < 0 ? err_set(e, ERR_HOST, r, "--file %.200s: %s", path, strerrordesc_np(-r)) : 0;
}

/* The secret is shown once: into a file, or as a line. */
int run_token_create(struct call *c, struct err *e)
{
	json_t *answer = NULL;
	int r = cloud_begin(c, e);

	if (r == 0)
		r = cloud_set(c, "name", json_string(c->word[0]), e);
	if (r == 0)
		r = cloud_json(c, "POST", "/v1/tokens", c->body, &answer, e);
	if (r == 0 && c->file)
		r = write_token_file(c->file, answer, e);
	else if (r == 0 && c->json)
		json_dumpf(answer, c->out, JSON_INDENT(2)), putc('\n', c->out);
	else if (r == 0)
		fprintf(c->out, "%s\n", text_of(answer, "token") ? text_of(answer, "token") : "");
	json_decref(answer);
	cloud_done(c);
	return r;
}
