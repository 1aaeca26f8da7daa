/* SPDX-License-Identifier: Apache-2.0 */
/* Processes that run: watched, ended, found again after the node's own end. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "cloud/node/file.h"
#include "cloud/node/node_priv.h"

#define FALL_NS	 UINT64_C(2000000000) /* ended within: it fell over */
#define RETRY_NS UINT64_C(100000000)  /* from the second on, doubled up to 1.6 s */

static const char *const names[PARTS] = {"vmm", "disks", "net"};

const char *part_name(enum part p)
{
	return names[p];
}

bool part_runs(const struct instance *in, enum part p)
{
	return in->proc[p].watch.fd >= 0;
}

bool part_needed(const struct instance *in, enum part p)
{
	if (p == PART_DISKS)
		return disk_count(in) > 0;
	if (p == PART_NET)
		return json_is_object(json_object_get(in->spec, "net"));
	return true;
}

static void pid_file(enum part p, char buf[16])
{
	snprintf(buf, 16, "%s.pid", names[p]);
}

/* 0..255, 128 + signal, or -1: not ours to know. */
static int reap(struct proc *x)
{
	siginfo_t si = {0};

	if (!x->child || waitid(P_PIDFD, (id_t)x->watch.fd, &si, WEXITED | WNOHANG) < 0 ||
		!si.si_pid)
		return -1;
	return si.si_code == CLD_EXITED ? si.si_status : 128 + si.si_status;
}

static void part_ended(struct instance *in, enum part p)
{
	struct proc *x = &in->proc[p];
	int status = reap(x);
	uint64_t now = ev_now_ns();
	char name[16];

	ev_del(&x->watch);
	close(x->watch.fd);
	x->watch.fd = -1;
	pid_file(p, name);
	unlinkat(in->dir, name, 0);
	if (p == PART_VMM) {
		step_vmm_ended(in, status);
	} else {
		if (!x->ending)
			log_line(in->node->log, LOG_WARN, in->id,
				"%s: process %d ended (status %d)", names[p], (int)x->pid, status);
		x->falls = now - x->began_ns < FALL_NS ? x->falls + 1 : 0;
		/* The first time at once. */
		x->retry_ns = x->falls > 1 && !x->ending
				      ? now + (RETRY_NS << (x->falls < 6 ? x->falls - 2 : 4))
				      : 0;
	}
	x->ending = false;
	instance_dirty(in);
	/* At once: the guest waits for its disk. */
	if (p != PART_VMM)
		node_instance_step(in);
}

static void on_ended(struct ev_fd *w, uint32_t events)
{
	struct proc *x = container_of(w, struct proc, watch);

	part_ended(container_of(x - x->part, struct instance, proc[0]), x->part);
}

int part_watch(struct instance *in, enum part p, pid_t pid, uint64_t start, int pidfd, bool child)
{
	struct proc *x = &in->proc[p];
	int r;

	x->part = p;
	x->watch = (struct ev_fd){.fd = pidfd, .ready = on_ended};
	x->pid = pid;
	x->start = start;
	x->child = child;
	x->ending = false;
	x->began_ns = ev_now_ns();
	r = ev_add(in->node->loop, &x->watch, EPOLLIN);
	if (r < 0)
		x->watch.fd = -1;
	return r;
}

void part_end(struct instance *in, enum part p, int sig, unsigned kill_after_ms)
{
	struct proc *x = &in->proc[p];
	uint64_t now = ev_now_ns();

	if (!part_runs(in, p))
		return;
	if (x->ending && now >= x->kill_ns)
		sig = SIGKILL;
	else if (x->ending && sig != SIGKILL) {
		instance_wake(in, x->kill_ns);
		return;
	}
	syscall(SYS_pidfd_send_signal, x->watch.fd, sig, NULL, 0);
	if (sig == SIGKILL)
		kill(-x->pid, SIGKILL); /* its session: passt */
	if (!x->ending || sig != SIGKILL)
		x->kill_ns = now + kill_after_ms * 1000000ull;
	x->ending = true;
	instance_wake(in, sig == SIGKILL ? now + 1000000000ull : x->kill_ns);
}

/* The network's process makes its passt at its start only. */
void net_look(struct instance *in)
{
	struct proc *x = &in->proc[PART_NET];
	char child;

	if (!part_runs(in, PART_NET) || x->ending || ev_now_ns() - x->began_ns < FALL_NS)
		return;
	child = proc_child_state(x->pid);
	if (child != 'Z' && child != '\0')
		return;
	log_line(in->node->log, LOG_WARN, in->id, "net: the passt of process %d has ended",
		(int)x->pid);
	part_end(in, PART_NET, SIGTERM, 2000);
}

/* ---- found again ---- */

void parts_adopt(struct instance *in)
{
	for (enum part p = 0; p < PARTS; p++) {
		uint64_t start;
		char name[16];
		pid_t pid;
		int fd;

		pid_file(p, name);
		if (proc_read_pid(in->dir, name, &pid, &start) < 0)
			continue;
		fd = proc_open(pid, start);
		if (fd < 0)
			unlinkat(in->dir, name, 0);
		else if (part_watch(in, p, pid, start, fd, false) < 0)
			close(fd);
		else
			log_line(in->node->log, LOG_INFO, in->id, "%s: process %d goes on",
				names[p], (int)pid);
	}
	if (part_runs(in, PART_VMM)) {
		in->run_known = true;
		in->launch_ns = ev_now_ns();
		events_begin(in);
		console_connect(in);
	} else if (in->run_known && !in->deleting) {
		/* It ended while nobody looked, or with the host. */
		bool same_host = !strcmp(in->boot_id, in->node->boot_id);

		in->launch_ns = ev_now_ns();
		events_begin(in);
		events_end(in);
		if (same_host)
			step_vmm_ended(in, -1);
		in->run_known = false;
		in->booted = in->paused = false;
	}
}

static bool is_adopted(struct node *n, pid_t pid)
{
	list_for_each (it, &n->instances) {
		struct instance *in = container_of(it, struct instance, link);

		for (enum part p = 0; p < PARTS; p++)
			if (part_runs(in, p) && in->proc[p].pid == pid)
				return true;
	}
	return false;
}

/* A child of an adopted one (passt) bears the same mark and stays. */
static bool is_child_of_adopted(struct node *n, pid_t pid)
{
	char path[40], text[512], *p;
	int parent;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (file_read_text(AT_FDCWD, path, text, sizeof(text)) < 0 || !(p = strrchr(text, ')')) ||
		sscanf(p + 1, " %*c %d", &parent) != 1)
		return false;
	return is_adopted(n, parent);
}

/* Marked as ours, and nobody's: of a start that the node did not live to note down. */
void orphans_end(struct node *n)
{
	DIR *d = opendir("/proc");
	struct dirent *x;
	char mark[160];

	while (d && (x = readdir(d))) {
		pid_t pid = atoi(x->d_name);
		uint64_t start;
		int fd;

		if (pid <= 1 || pid == getpid() || proc_start_time(pid, &start) < 0 ||
			(fd = proc_open(pid, start)) < 0)
			continue;
		if (proc_mark(pid, mark, sizeof(mark)) == 0 &&
			!strncmp(mark, n->mark, strlen(n->mark)) && !is_adopted(n, pid) &&
			!is_child_of_adopted(n, pid)) {
			log_line(n->log, LOG_WARN, "node",
				"process %d belongs to no instance: ended", (int)pid);
			syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0);
		}
		close(fd);
	}
	if (d)
		closedir(d);
}
