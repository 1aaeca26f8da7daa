/* SPDX-License-Identifier: Apache-2.0 */
/* Which hop of an instance is unwell. What its processes say is put beside what the kernel says of
 * them and of their files. A queue is looked at until it moves: one that holds requests and answers
 * none for two seconds does not. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include "cloud/node/ask.h"

#define LOOK_MS	  200
#define LOOKS	  10
#define FULL_MIN  (1u << 20) /* bytes free below which a disk that must grow will not */
#define YOUNG_NS  UINT64_C(5000000000)
#define FALLS_BAD 3

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

/* A sparse file cannot grow on a file system that is full or read-only: what the guest writes
 * there fails. NULL: it can. */
static const char *room_fault(int dir, const struct stat *s)
{
	uint64_t missing = 0;
	struct statvfs v;

	if (fstatvfs(dir, &v) < 0)
		return strerrordesc_np(errno);
	if (v.f_flag & ST_RDONLY)
		return "is on a file system that is mounted read-only";
	if (s->st_size / 512 > s->st_blocks)
		missing = (uint64_t)s->st_size - (uint64_t)s->st_blocks * 512;
	if ((uint64_t)v.f_bavail * v.f_frsize < FULL_MIN && missing)
		return "cannot grow: the host's disk is full";
	return NULL;
}

/* Why a disk's file does not do, or NULL. One that was taken away is still open where it was. */
static const char *file_fault(int dir, const char *name, json_int_t size_mib, bool readonly)
{
	struct stat s;

	if (fstatat(dir, name, &s, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? "has lost its file" : strerrordesc_np(errno);
	if (s.st_size >> 20 < size_mib)
		return "has a file that is shorter than it should be";
	return readonly ? NULL : room_fault(dir, &s);
}

static const char *volume_fault(struct node *n, const json_t *v, const char *id)
{
	const json_t *known = json_object_get(n->volumes, id);
	char raw[80];

	if (!known)
		return "is not on this host";
	if (!json_equal(json_object_get(known, "generation"), json_object_get(v, "generation")))
		return "has another generation here";
	snprintf(raw, sizeof(raw), "%s.raw", id);
	return file_fault(n->volumes_dir, raw,
		json_integer_value(json_object_get(known, "size_mib")),
		json_is_true(json_object_get(v, "readonly")));
}

static const char *root_fault(struct instance *in, const json_t *root)
{
	if (!json_is_object(root))
		return NULL;
	if (in->state == INST_FAILED && faccessat(in->dir, "root.raw", F_OK, 0) < 0)
		return in->reason;
	return in->run_known ? file_fault(in->dir, "root.raw",
				       json_integer_value(json_object_get(root, "size_mib")), false)
			     : NULL;
}

static void hop_volume(json_t *list, struct instance *in)
{
	const json_t *v, *root = json_object_get(in->spec, "root");
	const char *why = root_fault(in, root);
	size_t i, n = 0;

	if (why) {
		hop(list, "volume", BAD, why == in->reason ? "%s" : "the root disk %s", why);
		return;
	}
	json_array_foreach (json_object_get(in->spec, "volumes"), i, v) {
		const char *id = json_string_value(json_object_get(v, "id"));

		n++;
		why = volume_fault(in->node, v, id);
		if (!why)
			continue;
		hop(list, "volume", BAD, "%s %s", id, why);
		return;
	}
	if (!n)
		hop(list, "volume", json_is_object(root) ? GOOD : UNKNOWN, "%s",
			json_is_object(root) ? "its root disk, as assigned" : "it has none");
	else
		hop(list, "volume", GOOD, "%zu volume%s, as assigned", n, n == 1 ? "" : "s");
}

/* Nothing of it is meant to run until somebody starts it. */
static bool rests(const struct instance *in)
{
	return in->state == INST_STOPPED || in->state == INST_CRASHED || in->state == INST_FAILED;
}

/* passt carries a network's packets, as a child. NULL: nothing is wrong with it, or the kernel does
 * not tell. */
static const char *passt_fault(struct instance *in)
{
	switch (proc_child_state(in->proc[PART_NET].pid)) {
	case 'T':
	case 't':
		return "passt, which carries the packets, is stopped";
	case 'Z':
	case '\0':
		return "passt, which carries the packets, has ended";
	default:
		return NULL;
	}
}

static void hop_part(json_t *list, struct instance *in, struct asking *a, const char *name,
	enum part p, unsigned q)
{
	const struct proc *x = &in->proc[p];
	bool young = ev_now_ns() - x->began_ns < YOUNG_NS;
	const char *why = NULL;

	if (!part_needed(in, p)) {
		hop(list, name, UNKNOWN, "it has none");
		return;
	}
	if (!part_runs(in, p) && !part_runs(in, PART_VMM)) {
		hop(list, name, UNKNOWN,
			rests(in) ? "it ended with the machine" : "it waits for the machine");
		return;
	}
	if (!part_runs(in, p)) {
		hop(list, name, BAD, "its process does not run; %u restarts", x->restarts);
		return;
	}
	if (a->got[q] && p == PART_NET)
		why = passt_fault(in);
	if (!a->got[q])
		why = a->why[q];
	if (why)
		hop(list, name, BAD, "process %d: %s", (int)x->pid, why);
	else if (x->falls >= FALLS_BAD && young)
		hop(list, name, BAD, "its process keeps ending: %u restarts", x->restarts);
	else
		hop(list, name, GOOD, "process %d serves; %u restarts, last stall %llu ms",
			(int)x->pid, x->restarts, (unsigned long long)(x->stalled_ns / 1000000));
}

/* ---- rings ---- */

static const json_t *device_named(const json_t *list, const json_t *id)
{
	const json_t *d;
	size_t i;

	json_array_foreach (list, i, d)
		if (json_equal(json_object_get(d, "id"), id))
			return d;
	return NULL;
}

/* Holds requests, and has answered none since it was looked at before. */
static bool queue_stands(const json_t *now, const json_t *before)
{
	return json_integer_value(json_object_get(now, "in_flight")) > 0 &&
	       json_integer_value(json_object_get(before, "in_flight")) > 0 &&
	       json_equal(json_object_get(now, "requests"), json_object_get(before, "requests"));
}

/* A device whose queue stands still, its requests in *ret_n; NULL when all move. Without a look
 * before, one that holds requests at all. */
static const char *standing(const struct asking *a, json_int_t *ret_n)
{
	const json_t *before = a->before, *d, *q;
	size_t i, k;

	if (!json_is_array(before))
		before = json_object_get(before, "devices");
	json_array_foreach (asked_devices(a, ASK_DISKS), i, d) {
		const json_t *was = device_named(before, json_object_get(d, "id"));

		json_array_foreach (json_object_get(d, "queues"), k, q) {
			const json_t *old = json_array_get(json_object_get(was, "queues"), k);

			if (!queue_stands(q, a->before ? old : q))
				continue;
			*ret_n = json_integer_value(json_object_get(q, "in_flight"));
			return json_string_value(json_object_get(d, "id"));
		}
	}
	return NULL;
}

static bool nobody_serves(json_t *list, const json_t *offload)
{
	const json_t *d;
	size_t i;

	json_array_foreach (offload, i, d) {
		if (json_is_true(json_object_get(d, "connected")))
			continue;
		hop(list, "ring", BAD, "%s: nobody serves it since %lld s",
			json_string_value(json_object_get(d, "id")),
			(long long)json_number_value(json_object_get(d, "seconds")));
		return true;
	}
	return false;
}

static bool is_broken(json_t *list, const struct asking *a)
{
	const json_t *d;
	size_t i;

	for (unsigned q = ASK_DISKS; q <= ASK_NET; q++)
		json_array_foreach (asked_devices(a, q), i, d) {
			const char *health = json_string_value(json_object_get(d, "health"));

			if (!health || strcmp(health, "broken"))
				continue;
			hop(list, "ring", BAD, "%s: the guest's driver broke it",
				json_string_value(json_object_get(d, "id")));
			return true;
		}
	return false;
}

static void hop_ring(json_t *list, struct asking *a)
{
	const json_t *offload =
		json_object_get(json_object_get(a->got[ASK_INFO], "polyvisor"), "offload");
	json_int_t n = 0;
	const char *id = a->before ? standing(a, &n) : NULL;
	size_t count = json_array_size(offload);

	if (nobody_serves(list, offload) || is_broken(list, a))
		return;
	if (id)
		hop(list, "ring", BAD,
			"%s: %lld requests wait, and none was answered for %u s: its file does not "
			"answer",
			id, (long long)n, LOOKS * LOOK_MS / 1000);
	else
		hop(list, "ring", count ? GOOD : UNKNOWN, "%zu device%s connected", count,
			count == 1 ? "" : "s");
}

/* ---- the machine ---- */

static void vmm_is_gone(json_t *list, struct instance *in)
{
	bool done = rests(in) && (in->state == INST_STOPPED || in->exit == 0 || in->exit == 3);

	if (done) { /* it did what the guest, or somebody, wanted */
		hop(list, "vmm", UNKNOWN, "it ended with the guest");
		hop(list, "guest", BAD, "it is %s: %s", in->exit == 3 ? "crashed" : "switched off",
			in->reason);
		return;
	}
	hop(list, "vmm", BAD, "it does not run%s: %s", rests(in) ? "" : " yet",
		in->reason[0] ? in->reason : "it is being started");
	hop(list, "guest", UNKNOWN, "the VMM must be asked");
}

static void hop_vmm(json_t *list, struct instance *in, struct asking *a)
{
	const char *state = json_string_value(json_object_get(a->got[ASK_INFO], "state"));

	if (!part_runs(in, PART_VMM)) {
		vmm_is_gone(list, in);
		return;
	}
	if (!state)
		hop(list, "vmm", BAD, "process %d: %s", (int)in->proc[PART_VMM].pid,
			a->why[ASK_INFO]);
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
	json_t *list;
	json_int_t n;

	if (a->looks < LOOKS && !in->paused && standing(a, &n)) {
		ask_again(a, LOOK_MS);
		return;
	}
	list = json_array();
	hop_host(list, a);
	hop_volume(list, in);
	hop_part(list, in, a, "network", PART_NET, ASK_NET);
	hop_part(list, in, a, "offload", PART_DISKS, ASK_DISKS);
	hop_ring(list, a);
	hop_vmm(list, in, a);
	ask_reply(a->req, json_pack("{s:o}", "hops", list));
}

void diagnose_get(struct instance *in, struct link_req *r)
{
	ask(in, r, diagnose_done);
}
