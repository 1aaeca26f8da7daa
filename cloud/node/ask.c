/* SPDX-License-Identifier: Apache-2.0 */
#include "cloud/node/ask.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ASK_MS 3000

static const struct {
	enum part part;
	const char *socket, *path;
} questions[ASKED] = {
	[ASK_INFO] = {PART_VMM, "api", "/api/v1/vm.info"},
	[ASK_COUNTERS] = {PART_VMM, "api", "/api/v1/vm.counters"},
	[ASK_DISKS] = {PART_DISKS, "disks.api", "/api/v1/devices"},
	[ASK_NET] = {PART_NET, "net.api", "/api/v1/devices"},
};

static void next(struct asking *a);

static void finish(struct asking *a)
{
	struct instance *in = instance_find(a->node, a->id);

	if (in)
		a->done(a, in);
	else
		link_problem(a->req, 404, "no such instance on this host");
	if (in && a->timer.loop)
		return;
	for (unsigned i = 0; i < ASKED; i++)
		json_decref(a->got[i]);
	json_decref(a->before);
	free(a);
}

static void answered(void *arg, unsigned status, const char *body, size_t len)
{
	struct asking *a = arg;

	if (status == 200)
		a->got[a->at] = json_loadb(body, len, 0, NULL);
	if (!a->got[a->at] && status)
		snprintf(a->why[a->at], sizeof(a->why[0]), "answers with status %u", status);
	else if (!a->got[a->at])
		snprintf(a->why[a->at], sizeof(a->why[0]), "%.80s", body);
	a->at++;
	next(a);
}

static void next(struct asking *a)
{
	struct instance *in = instance_find(a->node, a->id);
	unsigned end = a->before ? ASK_DISKS + 1 : ASKED;

	for (; in && a->at < end; a->at++) {
		if (!part_runs(in, questions[a->at].part)) {
			snprintf(a->why[a->at], sizeof(a->why[0]), "its process does not run");
			continue;
		}
		if (vmm_call(a->node->loop, in->dir, questions[a->at].socket, "GET",
			    questions[a->at].path, NULL, ASK_MS, answered, a))
			return;
	}
	finish(a);
}

void ask(struct instance *in, struct link_req *r,
	void (*done)(struct asking *a, struct instance *in))
{
	struct asking *a = calloc(1, sizeof(*a));

	if (!a) {
		link_problem(r, 500, "out of memory");
		return;
	}
	a->node = in->node;
	a->req = r;
	a->done = done;
	memcpy(a->id, in->id, sizeof(a->id));
	next(a);
}

static void again(struct ev_timer *t)
{
	next(container_of(t, struct asking, timer));
}

void ask_again(struct asking *a, unsigned after_ms)
{
	if (a->before)
		json_decref(a->got[ASK_DISKS]);
	else
		a->before = a->got[ASK_DISKS];
	a->got[ASK_DISKS] = NULL;
	a->at = ASK_DISKS;
	a->looks++;
	a->timer.fire = again;
	ev_timer_arm(a->node->loop, &a->timer, ev_now_ns() + after_ms * 1000000ull);
}

const json_t *asked_devices(const struct asking *a, unsigned question)
{
	const json_t *answer = a->got[question];

	return json_is_array(answer) ? answer : json_object_get(answer, "devices");
}

void ask_reply(struct link_req *r, json_t *j)
{
	if (j)
		link_reply(r, 200, j);
	else
		link_problem(r, 500, "out of memory");
	json_decref(j);
}
