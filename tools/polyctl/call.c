/* SPDX-License-Identifier: Apache-2.0 */
/* One call: the row of the verb and its words become a request; its answer is shown, or becomes the
 * one line of an error. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "tools/polyctl/polyctl.h"
#include "tools/polyctl/words.h"

int call_refused(const struct client_reply *reply, struct err *e)
{
	json_t *j = reply->len ? json_loadb(reply->body, reply->len, 0, NULL) : NULL;
	char text[sizeof(e->text)] = "";
	size_t at = 0, i;
	json_t *line;

	/* An array of texts, the outermost reason first. */
	json_array_foreach (j, i, line)
		if (json_is_string(line) && at < sizeof(text))
			at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%s", at ? ": " : "",
				json_string_value(line));
	json_decref(j);
	if (*text)
		return err_set(e, ERR_HOST, -EREMOTEIO, "%s", text);
	return err_set(e, ERR_HOST, -EREMOTEIO, "the server answered %u", reply->status);
}

/* Whoever waits for more than two seconds is told so: on a terminal in one line that changes,
 * elsewhere now and then. */
static void progress(void *arg, unsigned seconds)
{
	struct call *c = arg;
	bool tty = isatty(fileno(c->err));
	FILE *f = *c->watch ? fopen(c->watch, "re") : NULL;
	char size[40] = "";

	if (f && fseek(f, 0, SEEK_END) == 0)
		snprintf(size, sizeof(size), ", %ld MiB written", ftell(f) >> 20);
	if (f)
		fclose(f);
	if (seconds < 2 || (!tty && c->told && seconds < c->told + 10))
		return;
	fprintf(c->err, "%spolyctl: %s: %u s%s%s", tty ? "\r" : "", c->verb->name, seconds, size,
		tty ? " " : "\n");
	fflush(c->err);
	c->told = seconds;
}

int call_server(struct call *c, const char *method, const char *path, char **ret_text,
	struct client_reply *ret_reply, struct err *e)
{
	char *text = c->body ? json_dumps(c->body, JSON_COMPACT) : NULL;
	struct client_req q = {
		method, path, text, text ? strlen(text) : 0, c->fds, c->nfds, progress, c};
	struct client_reply reply = {0};

	if (c->body && !text)
		return err_set(e, ERR_HOST, -ENOMEM, "out of memory");
	c->told = 0;
	int r = client_call(c->socket, &q, &reply, e);
	if (c->told && isatty(fileno(c->err)))
		fputs("\r\033[K", c->err);
	free(text);
	if (r == 0 && reply.status / 100 != 2)
		r = call_refused(&reply, e);
	if (r < 0) {
		free(reply.body);
		return r;
	}
	*ret_text = reply.body;
	*ret_reply = reply;
	return 0;
}

static int parse_answer(const char *text, size_t len, json_t **ret_answer, struct err *e)
{
	*ret_answer = json_loadb(text, len, JSON_DECODE_ANY, NULL);
	return *ret_answer ? 0
			   : err_set(e, ERR_HOST, -EPROTO,
				     "the server's answer is not JSON; is this polyvisor?");
}

int call_get(struct call *c, const char *path, json_t **ret_answer, struct err *e)
{
	struct client_reply reply;
	char *text;
	int r = call_server(c, "GET", path, &text, &reply, e);

	if (r < 0)
		return r;
	r = parse_answer(text ? text : "", reply.len, ret_answer, e);
	free(text);
	return r;
}

/* As the server wrote it; indented for a terminal. */
static void print_text(const char *text, size_t len, const json_t *json, FILE *out)
{
	if (json && isatty(fileno(out))) {
		json_dumpf(json, out, JSON_INDENT(2) | JSON_ENCODE_ANY);
		putc('\n', out);
		return;
	}
	fwrite(text, 1, len, out);
	if (text[len - 1] != '\n')
		putc('\n', out);
}

static int show_answer(struct call *c, const struct client_reply *reply, struct err *e)
{
	bool is_json = !strcmp(reply->type, "application/json");
	json_t *answer = NULL;
	int r = 0;

	if (!reply->len)
		return 0;
	if (is_json && (r = parse_answer(reply->body, reply->len, &answer, e)) < 0)
		return r;
	if (is_json && c->verb->show && !c->json)
		r = c->verb->show(c, answer);
	else
		print_text(reply->body, reply->len, answer, c->out);
	json_decref(answer);
	if (r < 0)
		err_set(e, ERR_HOST, r, "the server's answer is not as this polyctl expects");
	return r;
}

int call_verb(struct call *c, struct err *e)
{
	struct client_reply reply;
	char *text = NULL;
	int r = 0;

	if (c->verb->run)
		return c->verb->run(c, e);
	if (c->noun->run)
		return c->noun->run(c, e);
	if (c->verb->keys)
		r = words_to_json(c->verb->keys, c->word, c->nwords, &c->body, e);
	if (r == 0 && c->verb->prepare)
		r = c->verb->prepare(c, e);
	if (r == 0)
		r = call_server(
			c, c->verb->method, *c->path ? c->path : c->verb->path, &text, &reply, e);
	if (r == 0)
		r = show_answer(c, &reply, e);
	free(text);
	return r;
}
