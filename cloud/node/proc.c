/* SPDX-License-Identifier: Apache-2.0 */
/* Between fork and exec only what signal-safety(7) allows: the program may have threads. */
#include "cloud/node/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "cloud/node/file.h"
#include "vmm/base/cleanup.h"

#define FIRST_FD 3

/* ---- starting ---- */

/* Numbers that are taken by others of the list move up first. */
static int place_fds(const struct spawn *s, int report, int program)
{
	int up[PROC_FDS + 2];
	unsigned n = s->nfds;

	for (unsigned i = 0; i < n + 2; i++) {
		int fd = i < n ? s->fds[i] : i == n ? report : program;

		up[i] = fcntl(fd, F_DUPFD_CLOEXEC, FIRST_FD + (int)n + 2);
		if (up[i] < 0)
			return -errno;
	}
	for (unsigned i = 0; i < n; i++)
		if (dup2(up[i], FIRST_FD + (int)i) < 0)
			return -errno;
	/* The report and the program close themselves at exec. */
	if (dup3(up[n], FIRST_FD + (int)n, O_CLOEXEC) < 0 ||
		dup3(up[n + 1], FIRST_FD + (int)n + 1, O_CLOEXEC) < 0)
		return -errno;
	close_range(FIRST_FD + n + 2, ~0u, 0);
	return 0;
}

static int limit(int what, rlim_t n)
{
	struct rlimit l = {n, n};

	return setrlimit(what, &l) < 0 && errno != EPERM ? -errno : 0;
}

static int drop(const struct spawn *s)
{
	if (limit(RLIMIT_CORE, 0) < 0 || limit(RLIMIT_NOFILE, s->files) < 0)
		return -errno;
	if (s->own_uid) {
		/* Threads too are counted; the uid is the instance's alone. */
		if (limit(RLIMIT_NPROC, 1024) < 0)
			return -errno;
		/* EINVAL ends the list that this kernel knows: capabilities(7), bounding set. */
		for (unsigned long cap = 0; prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == 0; cap++)
			;
		if (setgroups(s->extra != (gid_t)-1, &s->extra) < 0 ||
			setresgid(s->uid, s->uid, s->uid) < 0 ||
			setresuid(s->uid, s->uid, s->uid) < 0)
			return -errno;
		prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	}
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
}

static int prepare(const struct spawn *s)
{
	sigset_t none;
	int null;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	umask(077);
	if (setsid() < 0)
		return -errno;
	if (s->cgroup >= 0 && write(s->cgroup, "0", 1) < 0)
		return -errno;
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0 || dup2(null, 0) < 0 || dup2(s->log, 1) < 0 || dup2(s->log, 2) < 0)
		return -errno;
	return fchdir(s->cwd) < 0 ? -errno : 0;
}

/* A program in a folder that the uid may not enter is started through its descriptor. */
static void run_child(const struct spawn *s, int report, int program)
{
	char *const env[] = {
		"PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", (char *)s->mark, NULL};
	int r = prepare(s);

	/* 0, 1, 2 are set now: what was there does not matter any more. */
	if (r == 0)
		r = place_fds(s, report, program);
	if (r < 0) {
		if (write(report, &r, sizeof(r)) < 0)
			_exit(126);
		_exit(127);
	}
	report = FIRST_FD + (int)s->nfds;
	program = report + 1;
	r = drop(s);
	if (r == 0) {
		execve(s->program, s->argv, env);
		r = -errno;
		if (r == -EACCES) {
			syscall(SYS_execveat, program, "", s->argv, env, AT_EMPTY_PATH);
			r = -errno;
		}
	}
	if (write(report, &r, sizeof(r)) < 0)
		_exit(126);
	_exit(127);
}

int proc_spawn(const struct spawn *s, pid_t *ret_pid)
{
	cleanup_fd int program = open(s->program, O_PATH | O_CLOEXEC), from = -1, to = -1;
	int pair[2], why = 0;
	pid_t pid;

	if (program < 0 || pipe2(pair, O_CLOEXEC) < 0)
		return -errno;
	from = pair[0];
	to = pair[1];
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0)
		run_child(s, to, program);
	close(steal_fd(&to));
	if (read(from, &why, sizeof(why)) == sizeof(why)) {
		waitpid(pid, NULL, 0);
		return why;
	}
	*ret_pid = pid;
	return 0;
}

/* ---- looking ---- */

static int read_proc(pid_t pid, const char *what, char *buf, size_t cap)
{
	char path[48];

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, what);
	return file_read_text(AT_FDCWD, path, buf, cap);
}

/* Behind the name, which may hold anything, the fields from the third on. */
static int read_stat(pid_t pid, char *ret_state, uint64_t *cpu_ticks, uint64_t *start)
{
	char buf[1024], *p;
	unsigned long user, system;
	unsigned long long began;

	if (read_proc(pid, "stat", buf, sizeof(buf)) < 0 || !(p = strrchr(buf, ')')))
		return -ESRCH;
	if (sscanf(p + 1,
		    " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %*d %*d %*d %*d %*d %*d "
		    "%llu",
		    ret_state, &user, &system, &began) != 4)
		return -ESRCH;
	*cpu_ticks = user + system;
	*start = began;
	return 0;
}

int proc_start_time(pid_t pid, uint64_t *ret_start)
{
	uint64_t ticks, start;
	char state;
	int r = read_stat(pid, &state, &ticks, &start);

	if (r < 0 || state == 'Z' || state == 'X')
		return -ESRCH;
	*ret_start = start;
	return 0;
}

int proc_open(pid_t pid, uint64_t start)
{
	cleanup_fd int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	uint64_t now;

	if (fd < 0)
		return -errno;
	/* Looked at after the open: the number cannot be given to another any more. */
	if (proc_start_time(pid, &now) < 0 || now != start)
		return -ESRCH;
	return steal_fd(&fd);
}

int proc_mark(pid_t pid, char *buf, unsigned cap)
{
	char env[4096];
	int n = read_proc(pid, "environ", env, sizeof(env));

	for (char *p = env; n > 0 && p < env + n; p += strlen(p) + 1)
		if (!strncmp(p, PROC_MARK, strlen(PROC_MARK))) {
			snprintf(buf, cap, "%s", p + strlen(PROC_MARK));
			return 0;
		}
	return -ENOENT;
}

void proc_usage(pid_t pid, uint64_t *cpu_ns, uint64_t *rss)
{
	uint64_t ticks, start;
	unsigned long pages;
	char state, buf[128];

	if (read_stat(pid, &state, &ticks, &start) < 0)
		return;
	*cpu_ns += ticks * (1000000000u / (uint64_t)sysconf(_SC_CLK_TCK));
	if (read_proc(pid, "statm", buf, sizeof(buf)) > 0 && sscanf(buf, "%*u %lu", &pages) == 1)
		*rss += pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* ---- pid files ---- */

int proc_write_pid(int dir, const char *name, pid_t pid, uint64_t start)
{
	json_t *j = json_pack("{s:i, s:I}", "pid", (int)pid, "start", (json_int_t)start);
	int r = j ? file_write_json(dir, name, j, false) : -ENOMEM;

	json_decref(j);
	return r;
}

int proc_read_pid(int dir, const char *name, pid_t *ret_pid, uint64_t *ret_start)
{
	json_t *j;
	int pid, r = file_read_json(dir, name, &j);
	json_int_t start;

	if (r < 0)
		return r;
	r = json_unpack(j, "{s:i, s:I}", "pid", &pid, "start", &start);
	json_decref(j);
	if (r < 0 || pid <= 1)
		return -EBADMSG;
	*ret_pid = pid;
	*ret_start = (uint64_t)start;
	return 0;
}

char proc_child_state(pid_t pid)
{
	char path[64], text[512], *p;
	int child;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid, (int)pid);
	if (file_read_text(AT_FDCWD, path, text, sizeof(text)) < 0)
		return '?';
	child = atoi(text);
	if (child <= 0)
		return '\0';
	snprintf(path, sizeof(path), "/proc/%d/stat", child);
	if (file_read_text(AT_FDCWD, path, text, sizeof(text)) < 0)
		return '\0';
	p = strrchr(text, ')'); /* its name may hold anything */
	return p && p[1] == ' ' ? p[2] : '?';
}
