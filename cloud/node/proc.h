/* SPDX-License-Identifier: Apache-2.0 */
/* Processes that outlive who started them: each a session of its own with its own uid, no way back
 * to privileges, limits, and its output in a file. What makes a pid a name is its start time
 * (proc_pid_stat(5), field 22): both are in a file beside the instance, and a mark in the
 * environment tells whose a process is even when that file was not yet written. */
#ifndef CLOUD_NODE_PROC_H
#define CLOUD_NODE_PROC_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define PROC_FDS  72
#define PROC_MARK "POLYCLOUD_MARK="

struct spawn {
	const char *program; /* path */
	char *const *argv;
	const char *mark;  /* PROC_MARK… */
	int fds[PROC_FDS]; /* become 3, 4, … ; stay the caller's */
	unsigned nfds;
	int cwd, log; /* folder; where output goes */
	int cgroup;   /* cgroup.procs, or -1 */
	bool own_uid; /* become uid, gid uid, with `extra` as the only other group */
	uid_t uid;
	gid_t extra;	/* (gid_t)-1: none */
	unsigned files; /* RLIMIT_NOFILE */
};

/* Waits for the exec, not longer. 0, or why there is no process. */
int proc_spawn(const struct spawn *s, pid_t *ret_pid);

/* Its start time in ticks; -ESRCH when there is none, or it is a zombie. */
int proc_start_time(pid_t pid, uint64_t *ret_start);
/* The pidfd of exactly that process; -ESRCH: it has gone. */
int proc_open(pid_t pid, uint64_t start);
/* Its mark without PROC_MARK. 0, -ENOENT: it has none (or is not ours to look at). */
int proc_mark(pid_t pid, char *buf, unsigned cap);
/* User and system time in ns, resident memory in bytes; added to *cpu_ns and *rss. */
void proc_usage(pid_t pid, uint64_t *cpu_ns, uint64_t *rss);

/* The state of its first child as proc_pid_stat(5) names it ('Z' when it has ended), '\0' when
 * there is none, '?' when the kernel does not tell. */
char proc_child_state(pid_t pid);

/* "PID START" in a file; the reader gets -ENOENT, -EBADMSG or an open pidfd's number. */
int proc_write_pid(int dir, const char *name, pid_t pid, uint64_t start);
int proc_read_pid(int dir, const char *name, pid_t *ret_pid, uint64_t *ret_start);

#endif
