/* SPDX-License-Identifier: Apache-2.0 */
/* An instance's folder: spec.json is what was assigned, durable before it is answered; state.json
 * what became of it. A folder without a spec.json is one that was half made or half removed. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include "cloud/node/file.h"
#include "cloud/node/node_priv.h"
#include "cloud/node/spec.h"
#include "vmm/base/cleanup.h"

#define SLOTS 16384 /* of four uids each */

struct waiting {
	struct list link;
	struct link_req *req; /* outlives its link */
};

/* ---- small ---- */

static const char *const state_names[] = {"preparing", "starting", "running", "paused", "stopping",
	"stopped", "crashed", "failed", "deleting"};

static void now_text(char buf[32])
{
	struct timespec t;
	struct tm tm;
	size_t n;

	clock_gettime(CLOCK_REALTIME, &t);
	gmtime_r(&t.tv_sec, &tm);
	n = strftime(buf, 32, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(buf + n, 32 - n, ".%03dZ", (int)(t.tv_nsec / 1000000));
}

struct instance *instance_find(struct node *n, const char *id)
{
	list_for_each (it, &n->instances) {
		struct instance *in = container_of(it, struct instance, link);

		if (!strcmp(in->id, id))
			return in;
	}
	return NULL;
}

const char *spec_text(const struct instance *in, const char *key)
{
	const char *s = json_string_value(json_object_get(in->spec, key));

	return s ? s : "";
}

json_int_t spec_int(const struct instance *in, const char *key, json_int_t otherwise)
{
	const json_t *j = json_object_get(in->spec, key);

	return json_is_integer(j) ? json_integer_value(j) : otherwise;
}

bool spec_wants(const struct instance *in, const char *state)
{
	return !strcmp(spec_text(in, "state"), state);
}

static void turn(struct ev_msg *m)
{
	struct node *n = container_of(m, struct node, turn);

	n->turn_posted = false;
	list_for_each_safe (it, &n->instances) {
		struct instance *in = container_of(it, struct instance, link);

		if (in->dirty) {
			in->dirty = false;
			node_instance_step(in);
		}
	}
}

void instance_dirty(struct instance *in)
{
	struct node *n = in->node;

	in->dirty = true;
	if (n->turn_posted)
		return;
	n->turn_posted = true;
	n->turn.handle = turn;
	ev_post(n->loop, &n->turn);
}

void instance_wake(struct instance *in, uint64_t at_ns)
{
	if (in->timer.loop && in->wake_ns <= at_ns)
		return;
	in->wake_ns = at_ns;
	ev_timer_arm(in->node->loop, &in->timer, at_ns);
}

static void on_time(struct ev_timer *t)
{
	instance_dirty(container_of(t, struct instance, timer));
}

void instance_set(struct instance *in, enum inst_state s, const char *reason)
{
	if (in->state != s || !in->since[0])
		now_text(in->since);
	in->state = s;
	snprintf(in->reason, sizeof(in->reason), "%s", reason ? reason : "");
}

/* ---- what is told ---- */

static json_t *observed_offload(struct instance *in)
{
	json_t *list = json_array();

	for (enum part p = PART_DISKS; p < PARTS; p++) {
		const struct proc *x = &in->proc[p];

		if (part_needed(in, p))
			json_array_append_new(
				list, json_pack("{s:s, s:i, s:s, s:I, s:i}", "id", part_name(p),
					      "pid", part_runs(in, p) ? (int)x->pid : 0, "state",
					      !part_runs(in, p) ? "down"
					      : x->lost_ns	? "reconnecting"
								: "up",
					      "stalled_ms", (json_int_t)(x->stalled_ns / 1000000),
					      "restarts", (int)x->restarts));
	}
	return list;
}

json_t *node_instance_observed(struct instance *in)
{
	json_t *net = json_object_get(in->spec, "net");
	json_t *ip = json_object_get(net, "ip");

	return json_pack("{s:s, s:I, s:i, s:s, s:s, s:s, s:o, s:o, s:i, s:o, s:O?, s:o}", "id",
		in->id, "generation", spec_int(in, "generation", 0), "reboots", (int)in->reboots,
		"state", state_names[in->state], "reason", in->reason, "since", in->since, "pid",
		part_runs(in, PART_VMM) ? json_integer(in->proc[PART_VMM].pid) : json_null(),
		"exit", in->exit >= 0 ? json_integer(in->exit) : json_null(), "restarts",
		(int)in->restarts, "boot_ms",
		in->booted && in->boot_ms ? json_integer(in->boot_ms) : json_null(), "ip", ip,
		"offload", observed_offload(in));
}

void instance_save(struct instance *in)
{
	json_t *j = json_pack("{s:i, s:i, s:i, s:i, s:b, s:b, s:s, s:O, s:i, s:s, s:s, s:s}",
		"reboots", (int)in->reboots, "restarts", (int)in->restarts, "ended_reboots",
		(int)in->ended_reboots, "exit", in->exit, "ended", in->ended, "run", in->run_known,
		"boot_id", in->boot_id, "tunnels", in->tunnels, "boot_ms", (int)in->boot_ms,
		"state", state_names[in->state], "reason", in->reason, "since", in->since);
	int r = j ? file_write_json(in->dir, "state.json", j, false) : -ENOMEM;

	json_decref(j);
	if (r < 0)
		log_line(in->node->log, LOG_WARN, in->id, "state.json: %s", strerrordesc_np(-r));
}

static void load_state(struct instance *in)
{
	int reboots = 0, restarts = 0, ended_reboots = 0, ended = 0, run = 0, boot_ms = 0;
	const char *boot = "", *state = "", *reason = "", *since = "";
	json_t *j, *tunnels = NULL;

	if (file_read_json(in->dir, "state.json", &j) < 0)
		return;
	json_unpack(j, "{s?i, s?i, s?i, s?i, s?b, s?b, s?s, s?o, s?i, s?s, s?s, s?s}", "reboots",
		&reboots, "restarts", &restarts, "ended_reboots", &ended_reboots, "exit", &in->exit,
		"ended", &ended, "run", &run, "boot_id", &boot, "tunnels", &tunnels, "boot_ms",
		&boot_ms, "state", &state, "reason", &reason, "since", &since);
	in->reboots = (unsigned)reboots;
	in->restarts = (unsigned)restarts;
	in->ended_reboots = (unsigned)ended_reboots;
	in->boot_ms = (unsigned)boot_ms;
	in->ended = ended;
	in->run_known = run;
	snprintf(in->boot_id, sizeof(in->boot_id), "%s", boot);
	snprintf(in->since, sizeof(in->since), "%s", since);
	snprintf(in->reason, sizeof(in->reason), "%s", reason);
	for (unsigned i = 0; i < sizeof(state_names) / sizeof(*state_names); i++)
		if (!strcmp(state, state_names[i]))
			in->state = (enum inst_state)i;
	if (json_is_object(tunnels)) {
		json_decref(in->tunnels);
		in->tunnels = json_incref(tunnels);
	}
	json_decref(j);
}

/* ---- making and freeing ---- */

static struct instance *make(struct node *n, const char *id)
{
	struct instance *in = calloc(1, sizeof(*in));

	if (!in)
		return NULL;
	in->node = n;
	snprintf(in->id, sizeof(in->id), "%s", id);
	in->dir = in->run = in->events_wd = in->exit = -1;
	in->tunnels = json_object();
	in->timer.fire = on_time;
	in->state = INST_PREPARING;
	list_init(&in->waiting);
	for (enum part p = 0; p < PARTS; p++)
		in->proc[p].watch.fd = -1;
	console_init(in);
	list_add(&n->instances, &in->link);
	return in;
}

void instance_free(struct instance *in)
{
	list_del(&in->link);
	ev_timer_cancel(&in->timer);
	vmm_call_free(in->call);
	blob_clone_cancel(in->clone);
	events_end(in);
	console_fini(in);
	for (enum part p = 0; p < PARTS; p++)
		if (in->proc[p].watch.fd >= 0) {
			ev_del(&in->proc[p].watch);
			close(in->proc[p].watch.fd);
		}
	if (in->run >= 0)
		close(in->run);
	if (in->dir >= 0)
		close(in->dir);
	list_for_each_safe (it, &in->waiting) {
		struct waiting *w = container_of(it, struct waiting, link);

		link_problem(w->req, 503, "the node ends");
		free(w);
	}
	json_decref(in->spec);
	json_decref(in->tunnels);
	json_decref(in->told);
	free(in);
}

/* The lowest that nobody has. */
static int free_slot(struct node *n)
{
	cleanup_free bool *taken = calloc(SLOTS, sizeof(*taken));

	if (!taken)
		return -ENOMEM;
	list_for_each (it, &n->instances) {
		taken[container_of(it, struct instance, link)->slot] = true;
	}
	for (unsigned i = 1; i < SLOTS; i++)
		if (!taken[i])
			return (int)i;
	return -EUSERS;
}

/* run/ is the node's, so that nobody puts anything under its sockets' names; run/vm is the VMM's.
 */
static int open_folders(struct instance *in)
{
	struct node *n = in->node;
	cleanup_fd int vm = -1;
	int slot;

	in->dir = file_open_folder(n->instances_dir, in->id, 0700);
	if (in->dir < 0)
		return in->dir;
	in->run = file_open_folder(in->dir, "run", 0711);
	if (in->run < 0)
		return in->run;
	vm = file_open_folder(in->run, "vm", 0700);
	if (vm < 0)
		return vm;
	if (!in->slot) {
		slot = free_slot(n);
		if (slot < 0)
			return slot;
		in->slot = (unsigned)slot;
	}
	if (n->own_uid && (fchmod(in->run, 0711) < 0 ||
				  fchown(vm, n->uids + 4 * in->slot, n->uids + 4 * in->slot) < 0))
		return -errno;
	return 0;
}

static int save_spec(struct instance *in, json_t *spec)
{
	json_t *j = json_copy(spec);
	int r = j ? json_object_set_new(j, "_slot", json_integer(in->slot)) : -1;

	r = r < 0 ? -ENOMEM : file_write_json(in->dir, "spec.json", j, true);
	json_decref(j);
	return r;
}

/* ---- PUT ---- */

/* The same words asked for twice change nothing. */
static void take_spec(struct instance *in, json_t *spec)
{
	json_t *was = in->spec;

	if (was && !json_equal(json_object_get(was, "net"), json_object_get(spec, "net")))
		in->net_stale = true;
	in->spec = spec;
	if (was && !strcmp(json_string_value(json_object_get(was, "state")), "stopped") &&
		!spec_wants(in, "stopped")) {
		in->ended = false; /* a start */
		in->falls = 0;
		in->retry_ns = 0;
	}
	json_decref(was);
}

static int put_new(struct node *n, const char *id, json_t *spec, struct instance **ret)
{
	struct instance *in = make(n, id);
	int r = in ? open_folders(in) : -ENOMEM;

	if (r == 0)
		r = save_spec(in, spec);
	if (r < 0) {
		if (in)
			instance_free(in);
		file_remove(n->instances_dir, id);
		return r;
	}
	*ret = in;
	return 0;
}

static void put_failed(struct node *n, struct link_req *r, int error)
{
	char why[128];

	link_problem(r, error == -ENOSPC ? 507 : 500, "the host cannot keep the instance: %s",
		file_why(error, n->instances_dir, 0, why));
}

void instance_put(struct node *n, struct link_req *r, const char *id)
{
	struct instance *in = instance_find(n, id);
	const char *seed = json_string_value(json_object_get(r->body, "seed"));
	bool known = in;
	struct err e = {0};
	json_t *spec, *o;
	int bad;

	if (!file_id_ok(id) || spec_check(r->body, id, &e) < 0) {
		link_problem(r, 400, "%s", e.text[0] ? e.text : "an id is 1 to 63 of a-z, 0-9, -");
		return;
	}
	if (in && in->deleting) {
		link_problem(r, 409, "the instance is being deleted");
		return;
	}
	if (in && json_integer_value(json_object_get(r->body, "generation")) <
			  spec_int(in, "generation", 0)) {
		link_problem(r, 409, "generation %lld is known here, which is newer",
			(long long)spec_int(in, "generation", 0));
		return;
	}
	spec = json_copy(r->body);
	if (!spec || json_object_del(spec, "seed") > 0) {
		link_problem(r, 500, "out of memory");
		return;
	}
	bad = known ? (json_equal(in->spec, spec) ? 0 : save_spec(in, spec))
		    : put_new(n, id, spec, &in);
	if (bad == 0 && seed)
		bad = seed_write(in, seed);
	if (bad < 0) {
		json_decref(spec);
		if (!known && in) {
			instance_free(in);
			file_remove(n->instances_dir, id);
		}
		put_failed(n, r, bad);
		return;
	}
	take_spec(in, spec);
	if (!known)
		instance_set(in, INST_PREPARING, "");
	o = node_instance_observed(in);
	link_reply(r, 202, o);
	json_decref(o);
	instance_dirty(in);
}

/* ---- DELETE ---- */

void node_instance_delete(struct node *n, struct link_req *r, const char *id)
{
	struct instance *in = instance_find(n, id);
	struct waiting *w;

	if (!in) {
		link_problem(r, 404, "no such instance");
		return;
	}
	w = calloc(1, sizeof(*w));
	if (!w) {
		link_problem(r, 500, "out of memory");
		return;
	}
	w->req = r;
	list_add(&in->waiting, &w->link);
	if (!in->deleting) { /* to be gone on with in a next life */
		cleanup_fd int mark = openat(
			in->dir, "deleting", O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
		in->deleting = true;
		(void)mark;
	}
	instance_dirty(in);
}

void instance_gone(struct instance *in)
{
	list_for_each_safe (it, &in->waiting) {
		struct waiting *w = container_of(it, struct waiting, link);

		link_reply(w->req, 204, NULL);
		list_del(&w->link);
		free(w);
	}
	instance_free(in);
}

/* ---- at the start ---- */

static void load_one(struct node *n, const char *id)
{
	struct instance *in = make(n, id);
	int r = in ? 0 : -ENOMEM;

	if (r == 0)
		in->dir = r = openat(
			n->instances_dir, id, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (r >= 0)
		r = file_read_json(in->dir, "spec.json", &in->spec);
	if (r == 0) {
		in->slot = (unsigned)json_integer_value(json_object_get(in->spec, "_slot"));
		if (in->slot >= SLOTS)
			r = -EBADMSG;
		json_object_del(in->spec, "_slot");
	}
	if (r == 0) {
		file_drop_unfinished(in->dir);
		close(in->dir);
		in->dir = -1;
		r = open_folders(in);
	}
	if (r < 0) {
		log_line(n->log, LOG_WARN, id, "no whole spec.json (%s): removed",
			strerrordesc_np(-r));
		if (in)
			instance_free(in);
		if (r == -ENOENT || r == -EBADMSG)
			file_remove(n->instances_dir, id);
		return;
	}
	load_state(in);
	in->deleting = faccessat(in->dir, "deleting", F_OK, 0) == 0;
	parts_adopt(in);
	instance_dirty(in);
}

int instances_load(struct node *n, struct err *e)
{
	int copy = openat(n->instances_dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *x;

	if (!d)
		return err_set(e, ERR_HOST, -errno, "cannot read the folder of instances: %s",
			strerrordesc_np(errno));
	while ((x = readdir(d)))
		if (file_id_ok(x->d_name))
			load_one(n, x->d_name);
	closedir(d);
	return 0;
}
