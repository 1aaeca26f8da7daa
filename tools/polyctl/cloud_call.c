/* SPDX-License-Identifier: Apache-2.0 */
/* From a verb's row and its words to a request, and from the answer to what is shown. */
#include "tools/polyctl/cloud.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>
#include "vmm/base/cleanup.h"

#define PAGES_MAX 10000 /* of a list that is read to its end */

int cloud_begin(struct call *c, struct err *e)
{
	return c->end ? 0 : cloud_find(c, &c->end, e);
}

void cloud_done(struct call *c)
{
	cloud_progress(c, 0, NULL);
	cloud_end_free(c->end);
	c->end = NULL;
}

void cloud_progress(struct call *c, unsigned seconds, const char *text)
{
	bool tty = isatty(fileno(c->err));

	if (!text) {
		if (c->told && tty)
			fputs("\r\033[K", c->err);
		c->told = 0;
		return;
	}
	if (seconds < 2 || (!tty && c->told && seconds < c->told + 10))
		return;
	fprintf(c->err, "%spolyctl: %s, %u s%s", tty ? "\r\033[K" : "", text, seconds,
		tty ? " " : "\n");
	fflush(c->err);
	c->told = seconds;
}

/* ---- paths ---- */

static void put_query(FILE *f, bool *any, const char *key, const char *value)
{
	char *escaped = curl_easy_escape(NULL, value, 0);

	fprintf(f, "%c%s=%s", *any ? '&' : '?', key, escaped ? escaped : "");
	*any = true;
	curl_free(escaped);
}

/* A brace's word. Without one it is an error of the row. */
static int put_word(FILE *f, const char *word, struct err *e)
{
	char *escaped = *word ? curl_easy_escape(NULL, word, 0) : NULL;

	if (!escaped)
		return err_set(e, ERR_USAGE, -EINVAL, "a name is empty");
	fputs(escaped, f);
	curl_free(escaped);
	return 0;
}

int cloud_path(struct call *c, const char *path, char *const *words, unsigned n, unsigned *used,
	char **ret_path, struct err *e)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);
	const char *project = c->project ? c->project : c->end->project;
	bool any = strchr(path, '?') != NULL;
	int r = f ? 0 : -ENOMEM;

	*used = 0;
	for (const char *p = path; r == 0 && *p; p++) {
		if (*p != '{') {
			putc(*p, f);
			continue;
		}
		p += strcspn(p, "}");
		r = *used < n ? put_word(f, words[(*used)++], e) : -EINVAL;
	}
	if (r == 0 && project)
		put_query(f, &any, "project", project);
	if (r == 0 && *c->query)
		fprintf(f, "%c%s", any ? '&' : '?', c->query + 1);
	if (f && fclose(f))
		r = -ENOMEM;
	if (r < 0)
		free(text);
	else
		*ret_path = text;
	return r;
}

/* ---- requests ---- */

static void on_tick(void *arg, unsigned seconds, uint64_t sent, uint64_t total)
{
	struct call *c = arg;

	cloud_progress(
		c, seconds, *c->verb->name ? c->verb->name : c->noun->name); /* no uploads here */
}

/* What makes a POST safe to repeat: the server answers a repetition with the first answer. */
static void new_key(char header[64])
{
	unsigned char random[16];
	int n = snprintf(header, 64, "Idempotency-Key: ");

	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		memset(random, 0, sizeof(random));
	for (unsigned i = 0; i < sizeof(random); i++)
		n += snprintf(header + n, 64 - (size_t)n, "%02x", random[i]);
}

static int request(struct call *c, const char *method, const char *path, const json_t *body,
	struct client_reply *ret_reply, struct err *e)
{
	cleanup_free char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	char key[64];
	struct cloud_req q = {
		.method = method, .path = path, .body = text, .tick = on_tick, .arg = c};

	if (!strcmp(method, "POST")) {
		new_key(key);
		q.header = key;
	}
	bool waits = c->told; /* in a loop of requests, whose line it is then */
	int r = cloud_request(c->end, &q, ret_reply, e);
	if (!waits)
		cloud_progress(c, 0, NULL);
	if (r == 0 && ret_reply->status / 100 != 2) {
		r = cloud_refused(ret_reply, e);
		free(ret_reply->body);
	}
	return r;
}

static int parse(const struct client_reply *reply, json_t **ret_answer, struct err *e)
{
	*ret_answer = reply->len ? json_loadb(reply->body, reply->len, 0, NULL) : NULL;
	if (reply->len && !*ret_answer)
		return err_set(e, ERR_HOST, -EPROTO,
			"the server's answer is not JSON; is this polycloud?");
	return 0;
}

int cloud_json(struct call *c, const char *method, const char *path, const json_t *body,
	json_t **ret_answer, struct err *e)
{
	struct client_reply reply;
	int r = request(c, method, path, body, &reply, e);

	if (r < 0)
		return r;
	r = parse(&reply, ret_answer, e);
	free(reply.body);
	return r;
}

int cloud_get(
	struct call *c, const char *path, const char *word, json_t **ret_answer, struct err *e)
{
	char *words[] = {(char *)word};
	cleanup_free char *full = NULL;
	unsigned used;
	int r = cloud_path(c, path, words, 1, &used, &full, e);

	return r < 0 ? r : cloud_json(c, "GET", full, NULL, ret_answer, e);
}

/* ---- lists ---- */

/* The next pages' items, unless --limit asked for one page. */
static int rest_of_list(struct call *c, const char *path, json_t *list, struct err *e)
{
	unsigned pages = 0;
	int r = 0;

	while (r == 0 && json_is_string(json_object_get(list, "next")) && !strstr(path, "limit=") &&
		pages++ < PAGES_MAX) {
		cleanup_free char *more = NULL;
		char *page =
			curl_easy_escape(NULL, json_string_value(json_object_get(list, "next")), 0);
		json_t *next = NULL;

		if (asprintf(&more, "%s%cpage=%s", path, strchr(path, '?') ? '&' : '?',
			    page ? page : "") < 0)
			more = NULL;
		curl_free(page);
		r = more ? cloud_json(c, "GET", more, NULL, &next, e) : -ENOMEM;
		if (r == 0)
			json_array_extend(
				json_object_get(list, "items"), json_object_get(next, "items"));
		if (r == 0)
			json_object_set_new(
				list, "next", json_incref(json_object_get(next, "next")));
		json_decref(next);
	}
	return r;
}

/* ---- a verb ---- */

/* Words behind those of the path become the fields that the row names. */
static int words_to_fields(struct call *c, char *const *word, unsigned n, struct err *e)
{
	const char *p = c->verb->fields ? c->verb->fields : "";
	char key[64];
	int r = 0;

	for (unsigned i = 0; r == 0 && i < n && *p; i++) {
		size_t len = strcspn(p, " ");

		snprintf(key, sizeof(key), "%.*s", (int)len, p);
		p += len + (p[len] == ' ');
		r = cloud_set(c, key, json_string(word[i]), e);
	}
	return r;
}

static int show_json(struct call *c, const json_t *answer)
{
	json_dumpf(answer, c->out, isatty(fileno(c->out)) ? JSON_INDENT(2) : JSON_COMPACT);
	putc('\n', c->out);
	return 0;
}

static int show(struct call *c, const json_t *answer, struct err *e)
{
	bool list = json_is_array(json_object_get(answer, "items"));
	int r = 0;

	if (c->json)
		r = show_json(c, answer);
	else if (c->verb->show)
		r = c->verb->show(c, answer);
	else if (list)
		r = cloud_show_list(c, answer);
	else if (!strcmp(c->verb->method, "GET"))
		r = cloud_show_object(c, answer);
	return r < 0 ? err_set(e, ERR_HOST, r, "the server's answer is not as this polyctl expects")
		     : 0;
}

static bool is_operation(const json_t *answer)
{
	const char *id = json_string_value(json_object_get(answer, "id"));

	return id && json_object_get(answer, "progress") && json_object_get(answer, "state");
}

static int show_text(struct call *c, const struct client_reply *reply)
{
	fwrite(reply->body, 1, reply->len, c->out);
	if (reply->len && reply->body[reply->len - 1] != '\n')
		putc('\n', c->out);
	return 0;
}

static int shown(struct call *c, const char *path, char *const *word,
	const struct client_reply *reply, struct err *e)
{
	json_t *answer = NULL;
	int r = parse(reply, &answer, e);
	bool operation = is_operation(answer) && strcmp(c->verb->method, "GET");

	if (r == 0 && json_is_array(json_object_get(answer, "items")))
		r = rest_of_list(c, path, answer, e);
	if (r == 0 && operation && c->waits)
		r = cloud_wait_operation(c, answer, e);
	else if (r == 0 && answer)
		r = operation && !c->json ? cloud_show_made(c, answer) : show(c, answer, e);
	if (r == 0 && c->waits && c->verb->until)
		r = cloud_wait_instance(c, word[0], c->verb->until, e);
	json_decref(answer);
	return r;
}

static int run_one(struct call *c, char *const *word, unsigned n, struct err *e)
{
	const struct verb *v = c->verb;
	cleanup_free char *path = NULL;
	struct client_reply reply;
	unsigned used;
	int r = cloud_path(c, *c->path ? c->path : v->path, word, n, &used, &path, e);

	if (r == 0)
		r = words_to_fields(c, word + used, n - used, e);
	if (r == 0)
		r = request(c, v->method, path, c->body, &reply, e);
	if (r < 0)
		return r;
	if (!reply.len || strstr(reply.type, "json"))
		r = shown(c, path, word, &reply, e);
	else
		r = show_text(c, &reply);
	free(reply.body);
	return r;
}

int cloud_run(struct call *c, struct err *e)
{
	unsigned each = c->verb->each ? 1 : c->nwords;
	int r = cloud_begin(c, e);

	if (r == 0 && c->verb->prepare)
		r = c->verb->prepare(c, e);
	for (unsigned i = 0; r == 0 && (i == 0 || i < c->nwords); i += each ? each : 1)
		r = run_one(c, c->word + i, each, e);
	cloud_done(c);
	return r;
}
