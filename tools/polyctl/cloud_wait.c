/* SPDX-License-Identifier: Apache-2.0 */
/* --wait: looks until what was asked for has come about. Looking again and again is cheap on a
 * local socket and cannot miss anything, as a stream that breaks could. */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "tools/polyctl/cloud.h"

#define TIMEOUT_S 600 /* emulated hosts are slow */
#define LOOK_MS	  200

struct patience {
	time_t began, limit;
};

static time_t now_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec;
}

static struct patience begin(const struct call *c)
{
	return (struct patience){now_seconds(), c->timeout ? c->timeout : TIMEOUT_S};
}

static int look_again(struct call *c, const struct patience *p, const char *text, struct err *e)
{
	time_t waited = now_seconds() - p->began;

	if (waited >= p->limit) {
		cloud_progress(c, 0, NULL);
		return err_set(
			e, ERR_HOST, -ETIMEDOUT, "%.200s, after %lld s", text, (long long)waited);
	}
	cloud_progress(c, (unsigned)waited, text);
	nanosleep(&(struct timespec){.tv_nsec = LOOK_MS * 1000000L}, NULL);
	return 0;
}

static bool one_of(const char *word, const char *list)
{
	size_t n = strlen(word);

	for (const char *p = list; (p = strstr(p, word)); p += n)
		if ((p == list || p[-1] == ' ') && (!p[n] || p[n] == ' '))
			return true;
	return false;
}

/* What the node says may still be about the time before the last change. */
static bool is_current(const json_t *doc)
{
	const json_t *observed = json_object_get(doc, "observed");
	json_int_t asked = json_integer_value(json_object_get(doc, "generation"));
	const json_t *seen = json_object_get(observed, "generation");

	return !json_is_integer(seen) || json_integer_value(seen) >= asked;
}

/* Whether it ran and has switched itself off, which is no failure to start. What is seen at the
 * first look (since) may be from before, but for an instance that is new. */
static bool has_ended(const json_t *doc, const char *state, char since[40], bool is_new)
{
	char now[40];
	bool ended = !strcmp(state, "stopped") &&
		     json_is_integer(json_object_get(json_object_get(doc, "observed"), "exit"));

	cloud_cell(doc, "observed.since", now, sizeof(now));
	if (!*since)
		snprintf(since, 40, "%s", now);
	return ended && (is_new || strcmp(now, since));
}

/* 1: there; 0: not yet; negative: it will never be. text becomes what there is to say. */
static int arrived(const struct call *c, const json_t *doc, const char *name, const char *states,
	char since[40], char text[200], struct err *e)
{
	char state[32], why[120];

	cloud_cell(doc, "observed.state", state, sizeof(state));
	cloud_cell(doc, "observed.reason", why, sizeof(why));
	snprintf(text, 200, "%.60s is %.20s%s%.100s", name, *state ? state : "pending",
		*why ? ": " : "", why);
	if (!is_current(doc))
		return 0;
	if (one_of(state, states))
		return 1;
	if (one_of("running", states) &&
		has_ended(doc, state, since, !strcmp(c->verb->name, "create")))
		return 1;
	if (one_of(state, "failed crashed"))
		return err_set(e, ERR_HOST, -ECANCELED, "%s", text);
	return 0;
}

int cloud_wait_instance(struct call *c, const char *name, const char *states, struct err *e)
{
	struct patience p = begin(c);
	char text[200] = "", since[40] = "";
	int r;

	do {
		struct err why = {0};
		json_t *doc = NULL;

		r = cloud_get(c, "/v1/instances/{name}", name, &doc, &why);
		if (r < 0 && why.kind == ERR_NOT_FOUND && one_of("gone", states))
			return 0;
		if (r < 0)
			return err_set(e, why.kind, r, "%s", why.text);
		r = arrived(c, doc, name, states, since, text, e);
		json_decref(doc);
	} while (r == 0 && (r = look_again(c, &p, text, e)) == 0);
	cloud_progress(c, 0, NULL);
	return r < 0 ? r : 0;
}

int cloud_wait_operation(struct call *c, const json_t *operation, struct err *e)
{
	struct patience p = begin(c);
	char id[64], state[16], text[200], why[200];
	int r;

	cloud_cell(operation, "id", id, sizeof(id));
	do {
		json_t *doc = NULL;
		char kind[32], progress[8];

		r = cloud_get(c, "/v1/operations/{id}", id, &doc, e);
		if (r < 0)
			break;
		cloud_cell(doc, "state", state, sizeof(state));
		cloud_cell(doc, "kind", kind, sizeof(kind));
		cloud_cell(doc, "progress", progress, sizeof(progress));
		cloud_cell(doc, "error", why, sizeof(why));
		snprintf(text, sizeof(text), "%s: %s %%", kind, *progress ? progress : "0");
		json_decref(doc);
		r = strcmp(state, "running") ? 1 : look_again(c, &p, text, e);
	} while (r == 0);
	cloud_progress(c, 0, NULL);
	if (r == 1 && strcmp(state, "done"))
		r = err_set(e, ERR_HOST, -ECANCELED, "%s", *why ? why : "it failed");
	return r < 0 ? r : 0;
}

/* A polycloud that was just started listens in a moment. */
int run_version(struct call *c, struct err *e)
{
	time_t began = now_seconds();
	json_t *doc = NULL;
	struct err why = {0};
	int r = cloud_begin(c, e);

	while (r == 0) {
		why = (struct err){0};
		r = cloud_get(c, "/v1/version", "", &doc, &why);
		if (r == 0 || !c->timeout || now_seconds() - began >= c->timeout)
			break;
		cloud_progress(c, (unsigned)(now_seconds() - began), "waiting for polycloud");
		nanosleep(&(struct timespec){.tv_nsec = LOOK_MS * 1000000L}, NULL);
		r = 0;
	}
	cloud_progress(c, 0, NULL);
	if (r < 0 && why.kind != ERR_NONE)
		err_set(e, why.kind, r, "%s", why.text);
	if (r == 0 && c->json)
		json_dumpf(doc, c->out, JSON_COMPACT), putc('\n', c->out);
	else if (r == 0)
		r = cloud_show_object(c, doc);
	json_decref(doc);
	cloud_done(c);
	return r;
}
