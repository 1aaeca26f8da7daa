/* SPDX-License-Identifier: Apache-2.0 */
/* What an instance does, and which hop of it is unwell: asked of the VMM and of its offload
 * processes over their own APIs, one after another, then put together. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "cloud/node/node_priv.h"

#define ASK_MS 3000

struct asking {
	struct node *node;
	char id[64];
	struct link_req *req;
	void (*done)(struct asking *a, struct instance *in);
	unsigned at;
	json_t *got[4];
	char why[4][96]; /* where there is no answer */
};

static const struct {
	enum part part;
	const char *socket, *path;
} questions[] = {
	{PART_VMM, "api", "/api/v1/vm.info"},
	{PART_VMM, "api", "/api/v1/vm.counters"},
	{PART_DISKS, "disks.api", "/api/v1/devices"},
	{PART_NET, "net.api", "/api/v1/devices"},
};
enum { INFO, COUNTERS, DISKS, NET };

static void next(struct asking *a);

static void finish(struct asking *a)
{
	struct instance *in = instance_find(a->node, a->id);

	if (in)
		a->done(a, in);
	else
		link_problem(a->req, 404, "no such instance on this host");
	for (unsigned i = 0; i < 4; i++)
		json_decref(a->got[i]);
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

	for (; in && a->at < 4; a->at++) {
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

static void ask(struct instance *in, struct link_req *r,
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

static void answer(struct link_req *r, json_t *j)
{
	if (j)
		link_reply(r, 200, j);
	else
		link_problem(r, 500, "out of memory");
	json_decref(j);
}

/* ---- info ---- */

static void info_done(struct asking *a, struct instance *in)
{
	json_t *o = node_instance_observed(in);

	json_object_set(o, "vm", a->got[INFO] ? a->got[INFO] : json_null());
	json_object_set(o, "counters", a->got[COUNTERS] ? a->got[COUNTERS] : json_null());
	json_object_set(o, "disks", a->got[DISKS] ? a->got[DISKS] : json_null());
	json_object_set(o, "net", a->got[NET] ? a->got[NET] : json_null());
	answer(a->req, o);
}

void info_get(struct instance *in, struct link_req *r)
{
	ask(in, r, info_done);
}

/* ---- stats ---- */

static const json_t *devices_of(const json_t *answer)
{
	return json_is_array(answer) ? answer : json_object_get(answer, "devices");
}

/* Summed over the queues of a device; `which` picks one of both directions of a network. */
static json_int_t sum(const json_t *device, const char *key)
{
	const json_t *q;
	json_int_t n = 0;
	size_t i;

	json_array_foreach (json_object_get(device, "queues"), i, q) {
		const json_t *v = json_object_get(q, key);

		n += json_integer_value(v ? v : json_object_get(json_object_get(q, "counts"), key));
	}
	return n;
}

static json_t *disks_of(struct asking *a, struct instance *in)
{
	json_t *list = json_array();
	const json_t *d;
	size_t i;

	json_array_foreach (devices_of(a->got[DISKS]), i, d) {
		json_array_append_new(list,
			json_pack("{s:O?, s:I, s:I, s:I, s:I}", "id", json_object_get(d, "id"),
				"requests", sum(d, "requests"), "read_bytes", sum(d, "read_bytes"),
				"write_bytes", sum(d, "written_bytes"), "stalled_ms",
				(json_int_t)(in->proc[PART_DISKS].stalled_ns / 1000000)));
	}
	return list;
}

/* To the guest is what the guest receives. */
static json_t *nets_of(struct asking *a)
{
	json_t *list = json_array();
	const json_t *d;
	size_t i;

	json_array_foreach (devices_of(a->got[NET]), i, d) {
		json_array_append_new(
			list, json_pack("{s:O?, s:I, s:I, s:I}", "id", json_object_get(d, "id"),
				      "rx_bytes", sum(d, "read_bytes"), "tx_bytes",
				      sum(d, "written_bytes"), "packets", sum(d, "requests")));
	}
	return list;
}

static void stats_done(struct asking *a, struct instance *in)
{
	uint64_t cpu = 0, rss = 0;

	for (enum part p = 0; p < PARTS; p++)
		if (part_runs(in, p))
			proc_usage(in->proc[p].pid, &cpu, &rss);
	answer(a->req, json_pack("{s:I, s:I, s:I, s:o, s:o}", "time_ns", (json_int_t)ev_now_ns(),
			       "cpu_ns", (json_int_t)cpu, "memory_mib", (json_int_t)(rss >> 20),
			       "disks", disks_of(a, in), "nets", nets_of(a)));
}

void stats_get(struct instance *in, struct link_req *r)
{
	ask(in, r, stats_done);
}

/* ---- diagnose ---- */

enum verdict { BAD, GOOD, UNKNOWN };

static void hop(json_t *list, const char *name, enum verdict ok, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
static void hop(json_t *list, const char *name, enum verdict ok, const char *fmt, ...)
{
	char text[300];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	json_array_append_new(list,
		json_pack("{s:s, s:o, s:s}", "hop", name, "ok",
			ok == UNKNOWN ? json_null() : json_boolean(ok == GOOD), "evidence", text));
}

static void hop_host(json_t *list, struct asking *a)
{
	const char *kvm = json_string_value(json_object_get(a->node->facts, "kvm"));
	json_t *load = facts_load();
	json_int_t mib = json_integer_value(json_object_get(load, "memory_free_mib"));
	bool good = kvm && strcmp(kvm, "none") && mib >= 64;

	hop(list, "host", good ? GOOD : BAD, "KVM runs %s guests; %lld MiB free; load %.2f",
		kvm ? kvm : "no", (long long)mib, json_real_value(json_object_get(load, "load")));
	json_decref(load);
}

/* Why an instance cannot use this volume, or NULL. A file that was taken away is still open where
 * it was. */
static const char *volume_fault(struct node *n, const json_t *v, const char *id)
{
	const json_t *known = json_object_get(n->volumes, id);
	struct stat s;
	char raw[80];

	if (!known)
		return "is not on this host";
	if (!json_equal(json_object_get(known, "generation"), json_object_get(v, "generation")))
		return "has another generation here";
	snprintf(raw, sizeof(raw), "%s.raw", id);
	if (fstatat(n->volumes_dir, raw, &s, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? "has lost its file" : strerrordesc_np(errno);
	if (s.st_size >> 20 < json_integer_value(json_object_get(known, "size_mib")))
		return "has a file that is shorter than it should be";
	return NULL;
}

static void hop_volume(json_t *list, struct instance *in)
{
	const json_t *v;
	size_t i, n = 0;

	json_array_foreach (json_object_get(in->spec, "volumes"), i, v) {
		const char *id = json_string_value(json_object_get(v, "id"));
		const char *why = volume_fault(in->node, v, id);

		n++;
		if (!why)
			continue;
		hop(list, "volume", BAD, "%s %s", id, why);
		return;
	}
	hop(list, "volume", n ? GOOD : UNKNOWN,
		n == 1	? "%zu volume, as assigned"
		: n > 1 ? "%zu volumes, as assigned"
			: "it has none",
		n);
}

/* Nothing of it is meant to run until somebody starts it. */
static bool rests(const struct instance *in)
{
	return in->state == INST_STOPPED || in->state == INST_CRASHED || in->state == INST_FAILED;
}

static void hop_part(json_t *list, struct instance *in, struct asking *a, const char *name,
	enum part p, unsigned q)
{
	const struct proc *x = &in->proc[p];

	if (!part_needed(in, p))
		hop(list, name, UNKNOWN, "it has none");
	else if (!part_runs(in, p) && rests(in))
		hop(list, name, UNKNOWN, "it ended with the machine");
	else if (!part_runs(in, p))
		hop(list, name, BAD, "its process does not run; %u restarts", x->restarts);
	else if (!a->got[q])
		hop(list, name, BAD, "process %d: %s", (int)x->pid, a->why[q]);
	else
		hop(list, name, GOOD, "process %d serves; %u restarts, last stall %llu ms",
			(int)x->pid, x->restarts, (unsigned long long)(x->stalled_ns / 1000000));
}

static void hop_ring(json_t *list, struct asking *a)
{
	const json_t *offload =
		json_object_get(json_object_get(a->got[INFO], "polyvisor"), "offload");
	const json_t *d;
	size_t i;

	json_array_foreach (offload, i, d) {
		if (!json_is_true(json_object_get(d, "connected"))) {
			hop(list, "ring", BAD, "%s: nobody serves it since %lld s",
				json_string_value(json_object_get(d, "id")),
				(long long)json_number_value(json_object_get(d, "seconds")));
			return;
		}
	}
	for (unsigned q = DISKS; q <= NET; q++)
		json_array_foreach (devices_of(a->got[q]), i, d) {
			const char *health = json_string_value(json_object_get(d, "health"));

			if (health && !strcmp(health, "broken")) {
				hop(list, "ring", BAD, "%s: the guest's driver broke it",
					json_string_value(json_object_get(d, "id")));
				return;
			}
		}
	hop(list, "ring", json_array_size(offload) ? GOOD : UNKNOWN, "%zu devices connected",
		json_array_size(offload));
}

static void hop_vmm(json_t *list, struct instance *in, struct asking *a)
{
	const char *state = json_string_value(json_object_get(a->got[INFO], "state"));

	if (!part_runs(in, PART_VMM))
		hop(list, "vmm", BAD, "it does not run: %s", in->reason);
	else if (!state)
		hop(list, "vmm", BAD, "process %d: %s", (int)in->proc[PART_VMM].pid, a->why[INFO]);
	else
		hop(list, "vmm", GOOD, "process %d, %s", (int)in->proc[PART_VMM].pid, state);
	if (!state)
		hop(list, "guest", UNKNOWN, "the VMM must be asked");
	else if (in->panicked)
		hop(list, "guest", BAD, "its kernel panicked");
	else if (in->paused)
		hop(list, "guest", BAD, "it is paused");
	else
		hop(list, "guest", GOOD, "it runs; console: %zu bytes", in->console.log_len);
}

static void diagnose_done(struct asking *a, struct instance *in)
{
	json_t *list = json_array();

	hop_host(list, a);
	hop_volume(list, in);
	hop_part(list, in, a, "network", PART_NET, NET);
	hop_part(list, in, a, "offload", PART_DISKS, DISKS);
	hop_ring(list, a);
	hop_vmm(list, in, a);
	answer(a->req, json_pack("{s:o}", "hops", list));
}

void diagnose_get(struct instance *in, struct link_req *r)
{
	ask(in, r, diagnose_done);
}
