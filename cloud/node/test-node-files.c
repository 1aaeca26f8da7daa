/* SPDX-License-Identifier: Apache-2.0 */
/* Files, processes and calls: what the node's parts stand on. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "cloud/node/file.h"
#include "cloud/node/proc.h"
#include "cloud/node/vmm_call.h"

static char folder[64];

static int folder_new(void)
{
	strcpy(folder, "/tmp/test-node-XXXXXX");
	cr_assert(mkdtemp(folder));
	return open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void folder_end(int dir)
{
	close(dir);
	cr_assert_eq(file_remove(AT_FDCWD, folder), 0);
	cr_assert_lt(access(folder, F_OK), 0);
}

Test(file, ids_name_files)
{
	cr_assert(file_id_ok("i-01hx"));
	cr_assert_not(file_id_ok(""));
	cr_assert_not(file_id_ok(".."));
	cr_assert_not(file_id_ok("a/b"));
	cr_assert_not(file_id_ok("-a"));
	cr_assert_not(file_id_ok("A"));
}

Test(file, json_is_whole_or_not_there)
{
	int dir = folder_new();
	json_t *j = json_pack("{s:i}", "a", 1), *back;

	cr_assert_eq(file_write_json(dir, "x.json", j, true), 0);
	cr_assert_eq(file_read_json(dir, "x.json", &back), 0);
	cr_assert(json_equal(j, back));
	json_decref(back);
	cr_assert_lt(faccessat(dir, "x.json.new", F_OK, 0), 0);
	cr_assert_eq(file_read_json(dir, "y.json", &back), -ENOENT);
	close(openat(dir, "empty", O_CREAT | O_WRONLY, 0600));
	cr_assert_eq(file_read_json(dir, "empty", &back), -EBADMSG);
	/* A full disk leaves the old one. */
	cr_assert_eq(symlinkat("/dev/full", dir, "x.json.new"), 0);
	cr_assert_lt(file_write_json(dir, "x.json", j, false), 0);
	cr_assert_eq(file_read_json(dir, "x.json", &back), 0);
	json_decref(back);
	json_decref(j);
	folder_end(dir);
}

Test(file, what_a_killed_process_did_not_finish_goes)
{
	static const char *const names[] = {"x.json.new", "root.raw.new12", "x.json", "x.new.json"};
	int dir = folder_new();

	for (unsigned i = 0; i < 4; i++)
		close(openat(dir, names[i], O_CREAT | O_WRONLY, 0600));
	file_drop_unfinished(dir);
	for (unsigned i = 0; i < 4; i++)
		cr_assert_eq(faccessat(dir, names[i], F_OK, 0) == 0, i >= 2, "%s", names[i]);
	folder_end(dir);
}

Test(file, trees_go_and_links_are_not_followed)
{
	int dir = folder_new(), in;

	in = file_open_folder(dir, "tree", 0700);
	cr_assert_geq(in, 0);
	close(openat(dir, "stays", O_CREAT | O_WRONLY, 0600));
	cr_assert_eq(symlinkat("..", in, "up"), 0);
	cr_assert_eq(mkdirat(in, "deeper", 0700), 0);
	close(in);
	cr_assert_eq(file_remove(dir, "tree"), 0);
	cr_assert_eq(faccessat(dir, "stays", F_OK, 0), 0);
	cr_assert_lt(faccessat(dir, "tree", F_OK, 0), 0);
	folder_end(dir);
}

static pid_t run(int dir, const char *script, const int *fds, unsigned nfds)
{
	char *argv[] = {"sh", "-c", (char *)script, NULL};
	struct spawn s = {.program = "/bin/sh",
		.argv = argv,
		.mark = PROC_MARK "here:i-1:vmm",
		.nfds = nfds,
		.cwd = dir,
		.log = openat(dir, "log", O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600),
		.cgroup = -1,
		.files = 100};
	pid_t pid = -1;

	for (unsigned i = 0; i < nfds; i++)
		s.fds[i] = fds[i];
	cr_assert_eq(proc_spawn(&s, &pid), 0);
	close(s.log);
	return pid;
}

Test(proc, gets_its_descriptors_and_nothing_else)
{
	int dir = folder_new(), fds[2] = {openat(dir, "a", O_CREAT | O_RDWR, 0600),
					openat(dir, "b", O_CREAT | O_RDWR, 0600)};
	char text[200];
	int status;
	pid_t pid = run(dir, "echo one >&3; echo two >&4; ls /proc/self/fd | tr '\\n' ' '", fds, 2);

	cr_assert_eq(waitpid(pid, &status, 0), pid);
	file_read_text(dir, "a", text, sizeof(text));
	cr_assert_str_eq(text, "one");
	file_read_text(dir, "b", text, sizeof(text));
	cr_assert_str_eq(text, "two");
	file_read_text(dir, "log", text, sizeof(text));
	cr_assert_str_eq(text, "0 1 2 3 4 5 "); /* 5 is ls's own */
	close(fds[0]);
	close(fds[1]);
	folder_end(dir);
}

Test(proc, is_known_by_pid_and_start)
{
	int dir = folder_new(), fd;
	pid_t pid = run(dir, "sleep 100; :", NULL, 0), back;
	uint64_t start, known;
	char mark[64];

	cr_assert_eq(proc_start_time(pid, &start), 0);
	cr_assert_eq(proc_write_pid(dir, "pid", pid, start), 0);
	cr_assert_eq(proc_read_pid(dir, "pid", &back, &known), 0);
	cr_assert_eq(back, pid);
	cr_assert_eq(known, start);
	fd = proc_open(pid, start);
	cr_assert_geq(fd, 0);
	close(fd);
	cr_assert_eq(proc_open(pid, start + 1), -ESRCH, "the number was given to another");
	cr_assert_eq(proc_mark(pid, mark, sizeof(mark)), 0);
	cr_assert_str_eq(mark, "here:i-1:vmm");
	cr_assert_eq(getsid(pid), pid, "a session of its own");
	kill(-pid, SIGKILL);
	waitpid(pid, NULL, 0);
	cr_assert_eq(proc_open(pid, start), -ESRCH);
	folder_end(dir);
}

Test(proc, says_why_it_cannot_be)
{
	int dir = folder_new();
	char *argv[] = {"nothing", NULL};
	struct spawn s = {.program = "/nonexistent",
		.argv = argv,
		.mark = PROC_MARK,
		.cwd = dir,
		.log = 2,
		.cgroup = -1,
		.files = 100};
	pid_t pid;

	cr_assert_eq(proc_spawn(&s, &pid), -ENOENT);
	folder_end(dir);
}

/* ---- calls ---- */

struct result {
	struct ev_loop *loop;
	unsigned status, n;
	char body[64];
};

static void done(void *arg, unsigned status, const char *body, size_t len)
{
	struct result *r = arg;

	r->status = status;
	r->n++;
	snprintf(r->body, sizeof(r->body), "%s", body);
	ev_quit(r->loop);
}

/* A child answers one connection with text. */
static struct result call(const char *text)
{
	int dir = folder_new(), l = file_listen(dir, "api");
	struct result r = {0};
	pid_t pid = fork();
	char buf[500];

	if (!pid) {
		int s;

		while ((s = accept(l, NULL, NULL)) < 0)
			usleep(1000);
		if (read(s, buf, sizeof(buf)) > 0 && write(s, text, strlen(text)) < 0)
			_exit(1);
		_exit(0);
	}
	cr_assert_eq(ev_loop_new(&r.loop), 0);
	cr_assert(vmm_call(r.loop, dir, "api", "PUT", "/x", "{}", 5000, done, &r));
	cr_assert_eq(r.n, 0u, "never from inside");
	cr_assert_eq(ev_run(r.loop), 0);
	waitpid(pid, NULL, 0);
	ev_loop_free(r.loop);
	close(l);
	folder_end(dir);
	cr_assert_eq(r.n, 1u);
	return r;
}

Test(vmm_call, answers)
{
	struct result r = call("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");

	cr_assert_eq(r.status, 200u);
	cr_assert_str_eq(r.body, "hi");
	cr_assert_eq(call("HTTP/1.1 204 No Content\r\n\r\n").status, 204u);
}

Test(vmm_call, no_answers)
{
	struct result r = {0};
	int dir = folder_new();

	cr_assert_eq(call("").status, 0u);
	cr_assert_eq(call("what is this").status, 0u);
	cr_assert_eq(call("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhi").status, 0u);
	cr_assert_eq(ev_loop_new(&r.loop), 0);
	cr_assert(vmm_call(r.loop, dir, "nobody", "GET", "/", NULL, 5000, done, &r));
	cr_assert_eq(ev_run(r.loop), 0);
	cr_assert_eq(r.status, 0u);
	ev_loop_free(r.loop);
	rmdir(folder);
	close(dir);
}
