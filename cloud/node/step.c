/* SPDX-License-Identifier: Apache-2.0 */
/* What is wanted, against what runs: one look, one step. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "cloud/node/file.h"
#include "cloud/node/node_priv.h"
#include "vmm/base/cleanup.h"

#define SECOND	  UINT64_C(1000000000)
#define STOP_NS	  (30 * SECOND) /* for a guest to switch itself off */
#define STEADY_NS (60 * SECOND) /* ran as long: the next fall is a first one */
#define CALL_MS	  15000
#define END_MS	  2000 /* from SIGTERM to SIGKILL */

static bool any_offload(const struct instance *in)
{
	return part_runs(in, PART_DISKS) || part_runs(in, PART_NET);
}

static void end_offload(struct instance *in)
{
	part_end(in, PART_DISKS, SIGTERM, END_MS);
	part_end(in, PART_NET, SIGTERM, END_MS);
}

static void later(struct instance *in)
{
	unsigned shift = in->falls < 6 ? in->falls : 6;
	uint64_t wait = SECOND << shift;

	in->falls++;
	in->retry_ns = ev_now_ns() + (wait > 60 * SECOND ? 60 * SECOND : wait);
}

/* ---- the VMM's end ---- */

/* The last line that it wrote, which says why. */
static void last_line(struct instance *in, char *buf, size_t cap)
{
	cleanup_fd int fd = openat(in->dir, "vmm.log", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	char text[1024], *p;
	off_t end = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
	ssize_t n = fd < 0 ? 0 : pread(fd, text, sizeof(text) - 1, end > 1023 ? end - 1023 : 0);

	buf[0] = '\0';
	if (n <= 0)
		return;
	text[n] = '\0';
	while (n && text[n - 1] == '\n')
		text[--n] = '\0';
	p = strrchr(text, '\n');
	p = p ? p + 1 : text;
	for (char *c = p; *c; c++)
		if ((unsigned char)*c < ' ' || (unsigned char)*c > '~')
			*c = ' ';
	snprintf(buf, cap, "%.150s", p);
}

static void explain(struct instance *in, int status, char *buf, size_t cap)
{
	char line[200];

	if (status == 0)
		snprintf(buf, cap, "the guest switched itself off");
	else if (status == 3)
		snprintf(buf, cap, "the guest crashed: KVM could not go on with it");
	else if (status > 128)
		snprintf(buf, cap, "the VMM was ended by signal %d", status - 128);
	else if (status < 0)
		snprintf(buf, cap, "the VMM was killed");
	else {
		last_line(in, line, sizeof(line));
		snprintf(buf, cap, "the VMM ended with status %d: %.150s", status, line);
	}
}

/* Not our child: what it left behind tells. */
static int guess(struct instance *in)
{
	if (faccessat(in->run, "vm/crash.json", F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return 3;
	return in->quit_seen ? 0 : -1;
}

static bool restarts(const struct instance *in, int status)
{
	const char *policy = spec_text(in, "restart");

	return !strcmp(policy, "always") || (strcmp(policy, "never") && status != 0);
}

void step_vmm_ended(struct instance *in, int status)
{
	char why[200];

	events_read(in);
	events_end(in);
	console_end(in);
	vmm_call_free(in->call);
	in->call = NULL;
	if (status < 0)
		status = guess(in);
	in->run_known = false;
	in->stop_ns = 0;
	in->exit = status;
	log_line(in->node->log, LOG_INFO, in->id, "vmm: process %d ended (status %d)",
		(int)in->proc[PART_VMM].pid, status);
	explain(in, status, why, sizeof(why));
	if (in->deleting || spec_wants(in, "stopped")) {
		in->booted = in->paused = false;
		return;
	}
	if (ev_now_ns() - in->launch_ns > STEADY_NS)
		in->falls = 0;
	in->booted = in->paused = false;
	in->ended = !restarts(in, status);
	in->ended_reboots = (unsigned)spec_int(in, "reboots", 0);
	if (!in->ended) {
		in->restarts++;
		later(in);
	}
	instance_set(in, status == 0 ? INST_STOPPED : INST_CRASHED, why);
	instance_save(in);
}

/* ---- calls ---- */

static void called(void *arg, unsigned status, const char *body, size_t len)
{
	struct instance *in = arg;
	bool good = status / 100 == 2;
	char what = in->call_what;

	in->call = NULL;
	if (!good)
		log_line(in->node->log, LOG_WARN, in->id, "call %c: %u %.200s", what, status, body);
	if (good && what == 'P')
		in->paused = true;
	else if (good && what == 'R')
		in->paused = false;
	else if (what == 'B' && good) {
		in->reboots = (unsigned)spec_int(in, "reboots", 0);
		in->paused = false;
		instance_save(in);
	} else if (what == 'B') {
		part_end(in, PART_VMM, SIGTERM, END_MS); /* and it begins anew */
		in->ended = false;
	} else if (what == 'O' && !good)
		in->stop_ns = ev_now_ns();
	if (!good)
		in->call_retry_ns = ev_now_ns() + SECOND;
	instance_dirty(in);
}

static void call(struct instance *in, char what)
{
	const char *path = what == 'P'	 ? "/api/v1/vm.pause"
			   : what == 'R' ? "/api/v1/vm.resume"
			   : what == 'B' ? "/api/v1/vm.reboot"
					 : "/api/v1/vm.power-button";

	if (in->call)
		return;
	if (ev_now_ns() < in->call_retry_ns) {
		instance_wake(in, in->call_retry_ns);
		return;
	}
	in->call_what = what;
	in->call = vmm_call(in->node->loop, in->dir, "api", "PUT", path, NULL, CALL_MS, called, in);
}

/* ---- wanted: nothing ---- */

/* Asks the guest, then the VMM, then the kernel. */
static void end_vmm(struct instance *in, bool force)
{
	uint64_t now = ev_now_ns();

	instance_set(in, in->deleting ? INST_DELETING : INST_STOPPING,
		force ? "" : "the guest was asked to switch itself off");
	if (!in->stop_ns)
		in->stop_ns = now + STOP_NS;
	if (force) {
		part_end(in, PART_VMM, SIGKILL, 0);
	} else if (now >= in->stop_ns || !in->booted) {
		part_end(in, PART_VMM, SIGTERM, END_MS);
	} else if (in->paused) {
		call(in, 'R');
		instance_wake(in, in->stop_ns);
	} else {
		if (!in->button && !in->call) {
			call(in, 'O');
			in->button = in->call;
		}
		instance_wake(in, in->stop_ns);
	}
}

static void step_stop(struct instance *in)
{
	if (part_runs(in, PART_VMM)) {
		end_vmm(in, json_is_true(json_object_get(in->spec, "force_stop")));
	} else if (any_offload(in)) {
		end_offload(in);
	} else {
		bool was = in->state == INST_STOPPED && !in->run_known && !in->ended;

		in->reboots = (unsigned)spec_int(in, "reboots", 0);
		in->ended = in->run_known = in->button = false;
		in->stop_ns = 0;
		in->falls = 0;
		cgroup_remove(&in->node->cgroups, in->id);
		if (in->state != INST_STOPPED)
			instance_set(in, INST_STOPPED, "as asked");
		if (!was)
			instance_save(in);
	}
}

/* True: in is no more. */
static bool step_delete(struct instance *in)
{
	struct node *n = in->node;
	int r;

	instance_set(in, INST_DELETING, "");
	part_end(in, PART_VMM, SIGKILL, 0);
	if (!part_runs(in, PART_VMM)) {
		part_end(in, PART_DISKS, SIGKILL, 0);
		part_end(in, PART_NET, SIGKILL, 0);
	}
	if (part_runs(in, PART_VMM) || any_offload(in))
		return false;
	blob_clone_cancel(in->clone);
	in->clone = NULL;
	cgroup_remove(&n->cgroups, in->id);
	console_end(in);
	r = file_remove(n->instances_dir, in->id);
	if (r < 0) {
		instance_set(in, INST_DELETING, strerrordesc_np(-r));
		instance_wake(in, ev_now_ns() + SECOND);
		return false;
	}
	instance_gone(in);
	return true;
}

/* ---- wanted: running ---- */

static void fail(struct instance *in, const struct err *e)
{
	char why[sizeof(in->reason)];

	part_end(in, PART_VMM, SIGKILL, 0);
	end_offload(in);
	later(in);
	snprintf(why, sizeof(why), "%.200s", e->text);
	instance_set(in, INST_FAILED, why);
	in->run_known = false;
	instance_save(in);
	instance_wake(in, in->retry_ns);
}

static void begin(struct instance *in)
{
	struct err e = {0};
	int r;

	if (any_offload(in)) {
		end_offload(in);
		return;
	}
	if (in->ended && (unsigned)spec_int(in, "reboots", 0) > in->ended_reboots)
		in->ended = false; /* somebody wants it anew */
	if (in->ended)
		return;
	if (ev_now_ns() < in->retry_ns) {
		instance_wake(in, in->retry_ns);
		return;
	}
	r = root_ready(in, &e);
	if (r == 0)
		instance_set(in, INST_PREPARING, "its root disk is made");
	if (r <= 0) {
		if (r < 0)
			fail(in, &e);
		return;
	}
	instance_set(in, INST_STARTING, "");
	r = launch_all(in, &e);
	if (r < 0)
		fail(in, &e);
	else
		instance_wake(in, ev_now_ns() + SECOND);
}

static void keep_part(struct instance *in, enum part p)
{
	struct proc *x = &in->proc[p];
	struct err e = {0};

	if (!part_needed(in, p) || part_runs(in, p))
		return;
	if (ev_now_ns() < x->retry_ns) {
		instance_wake(in, x->retry_ns);
		return;
	}
	if (launch_part(in, p, &e) < 0) {
		log_line(in->node->log, LOG_WARN, in->id, "%s", e.text);
		x->retry_ns = ev_now_ns() + SECOND;
		instance_wake(in, x->retry_ns);
		return;
	}
	x->restarts++;
	log_line(in->node->log, LOG_INFO, in->id, "%s: process %d takes over", part_name(p),
		(int)x->pid);
}

static void keep(struct instance *in)
{
	bool pause = spec_wants(in, "paused");

	if (in->net_stale && part_runs(in, PART_NET)) {
		in->net_stale = false;
		part_end(in, PART_NET, SIGTERM, END_MS);
	}
	if (part_runs(in, PART_NET) && in->proc[PART_NET].ending)
		part_end(in, PART_NET, SIGTERM, END_MS);
	keep_part(in, PART_DISKS);
	keep_part(in, PART_NET);
	if (in->proc[PART_VMM].ending)
		part_end(in, PART_VMM, SIGTERM, END_MS);
	if (!in->booted) {
		instance_set(in, INST_STARTING, "");
		return;
	}
	in->button = false;
	in->stop_ns = 0;
	if ((unsigned)spec_int(in, "reboots", 0) > in->reboots)
		call(in, 'B');
	else if (pause != in->paused)
		call(in, pause ? 'P' : 'R');
	instance_set(in, in->paused ? INST_PAUSED : INST_RUNNING,
		in->panicked ? "the guest's kernel panicked" : "");
}

void node_instance_step(struct instance *in)
{
	if (in->deleting) {
		if (step_delete(in))
			return;
	} else if (spec_wants(in, "stopped"))
		step_stop(in);
	else if (part_runs(in, PART_VMM))
		keep(in);
	else
		begin(in);
	if (part_runs(in, PART_VMM) && in->console.watch.fd < 0) {
		console_connect(in);
		if (in->console.watch.fd < 0)
			instance_wake(in, in->console.retry_ns);
	}
	watch_changed(in);
}
