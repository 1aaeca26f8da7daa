/* SPDX-License-Identifier: Apache-2.0 */
/* polyvisor-offload as a person starts it: what it says to bad input, one line each, and how it
 * ends. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORDS 16

static char dir[] = "/tmp/polyvisor-offload-XXXXXX", sock[64], other[64], disk[64], text[4096];

static void begin(void)
{
	cr_assert(mkdtemp(dir));
	snprintf(sock, sizeof(sock), "%s/a.sock", dir);
	snprintf(other, sizeof(other), "%s/b.sock", dir);
	snprintf(disk, sizeof(disk), "%s/disk", dir);
}

static void end(void)
{
	unlink(sock);
	unlink(other);
	unlink(disk);
	cr_expect_eq(rmdir(dir), 0, "something is left behind");
}

TestSuite(offload, .init = begin, .fini = end, .timeout = 60);

/* Starts it with the words of `line`, split at spaces; its stderr at *ret_fd. */
static pid_t start(const char *line, int *ret_fd)
{
	char copy[1024], *argv[WORDS + 2] = {(char *)"polyvisor-offload"}, *save;
	const char *program = getenv("POLYVISOR_OFFLOAD");
	posix_spawn_file_actions_t acts;
	int p[2], n = 1;
	pid_t pid;

	cr_assert(program, "POLYVISOR_OFFLOAD names the program");
	snprintf(copy, sizeof(copy), "%s", line);
	for (char *w = strtok_r(copy, " ", &save); w && n <= WORDS; w = strtok_r(NULL, " ", &save))
		argv[n++] = w;
	cr_assert_eq(pipe2(p, O_CLOEXEC), 0);
	posix_spawn_file_actions_init(&acts);
	posix_spawn_file_actions_adddup2(&acts, p[1], 2);
	posix_spawn_file_actions_adddup2(&acts, p[1], 1);
	cr_assert_eq(posix_spawn(&pid, program, &acts, NULL, argv, environ), 0);
	posix_spawn_file_actions_destroy(&acts);
	close(p[1]);
	*ret_fd = p[0];
	return pid;
}

/* Its exit status, when it has said everything. */
static int finish(pid_t pid, int fd)
{
	size_t got = 0;
	ssize_t n;
	int status;

	while ((n = read(fd, text + got, sizeof(text) - 1 - got)) > 0)
		got += n;
	text[got] = '\0';
	close(fd);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void refused(const char *line, int status, const char *says)
{
	int fd;
	pid_t pid = start(line, &fd);

	cr_expect_eq(finish(pid, fd), status, "%s: %s", line, text);
	cr_expect(strstr(text, says), "%s: %s", line, text);
	cr_expect_eq(strncmp(text, "polyvisor-offload: ", 19), 0, "%s", text);
	cr_expect(strchr(text, '\n') && !strchr(text, '\n')[1], "one line: %s", text);
}

static void refused_with_socket(const char *flags, int status, const char *says)
{
	char line[512];

	snprintf(line, sizeof(line), "%s --socket %s", flags, sock);
	refused(line, status, says);
}

static void make_file(const char *path, off_t size)
{
	int fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);

	cr_assert(fd >= 0 && ftruncate(fd, size) == 0);
	close(fd);
}

static bool connects(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool yes;

	strcpy(a.sun_path, path);
	yes = connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0;
	close(fd);
	return yes;
}

static pid_t serve(const char *flags, int *ret_fd)
{
	char line[512];
	pid_t pid;

	snprintf(line, sizeof(line), "%s --socket %s", flags, sock);
	pid = start(line, ret_fd);
	for (int i = 0; i < 5000 && !connects(sock); i++)
		usleep(1000);
	return pid;
}

Test(offload, the_command_line)
{
	refused("", 2, "--device: give at least one");
	refused("--devise x", 2, "--devise: no such flag");
	refused("--device", 2, "--device: needs a value");
	refused("--device --socket", 2, "--device: needs a value");
	refused("--socket /tmp/x", 2, "no --device before it");
	refused("--device virtio-blk,backend=ram,size=1M", 2, "has no --socket");
	refused_with_socket("--device virtio-fs", 2, "allowed: virtio-blk, virtio-net");
	refused_with_socket("--device virtio-blk,backend=tape", 2, "one of file, ram, null");
	refused_with_socket("--device virtio-blk,colour=red", 2, "colour");
	refused_with_socket("--device virtio-blk", 2, "exactly one of path and fd");
	refused_with_socket("--device virtio-blk,path=a,fd=3", 2, "exactly one of path and fd");
	refused_with_socket("--device virtio-blk,path=a,size=1G", 2, "a file has its own");
	refused_with_socket("--device virtio-blk,backend=ram", 2, "needs a size");
	refused_with_socket("--device virtio-blk,backend=ram,size=1M,path=a", 2, "backend=file");
	refused_with_socket("--device virtio-blk,backend=null,size=1000", 2, "multiple of 512");
	refused_with_socket("--device virtio-blk,backend=ram,size=1M,direct=on", 2, "direct");
	refused_with_socket(
		"--device virtio-blk,backend=ram,size=1M,queue_size=100", 2, "power of two");
	refused_with_socket(
		"--device virtio-blk,backend=ram,size=1M,queues=17", 2, "between 1 and 16");
	refused_with_socket(
		"--device virtio-blk,backend=ram,size=1M,poll=101", 2, "between 0 and 100");
	refused_with_socket("--device virtio-blk,backend=ram,size=1M,socket=/x", 2, "has one");
	refused_with_socket("--device virtio-net,backend=null,queues=9", 2, "between 1 and 8");
	refused_with_socket("--device virtio-net,backend=passt,queues=2", 2, "has one pair");
	refused_with_socket("--device virtio-net,backend=null,tap=t0", 2, "backend=tap");
	refused_with_socket("--device virtio-net,fd=0,queues=2", 2, "one queue of a tap");
	refused_with_socket("--sandbox maybe", 2, "allowed: on, off, log");
	refused("--api-socket /a --api-socket /b", 2, "--api-socket: given twice");
	refused("--api-socket path=/nowhere/s", 1, "--api-socket path=/nowhere/s");
	refused("--api-socket fd=0", 2, "not a listening unix socket");
	refused_with_socket("--device virtio-net,backend=passt,tap=t0", 2, "backend=tap");
	refused_with_socket("--device virtio-net,tap=t0,fd=3", 2, "one of tap and fd");
	refused_with_socket("--device virtio-net,forward=x", 2, "backend=passt");
	refused_with_socket("--device virtio-net,mac=01:00:00:00:00:00", 2, "no group's");
}

Test(offload, sockets_and_ids_twice)
{
	char line[512];

	snprintf(line, sizeof(line),
		"--device virtio-blk,backend=ram,size=1M --socket %s "
		"--device virtio-blk,backend=ram,size=1M --socket %s",
		sock, sock);
	refused(line, 2, "given to two devices");
	snprintf(line, sizeof(line),
		"--device virtio-blk,backend=ram,size=1M --socket %s --socket %s", sock, other);
	refused(line, 2, "the device before it has one");
	snprintf(line, sizeof(line),
		"--device virtio-blk,backend=ram,size=1M,id=d --socket %s "
		"--device virtio-blk,backend=ram,size=1M,id=d --socket %s",
		sock, other);
	refused(line, 2, "id=d: given to two devices");
}

Test(offload, disks)
{
	char flags[128];

	snprintf(flags, sizeof(flags), "--device virtio-blk,path=%s", disk);
	refused_with_socket(flags, 1, "does not exist");
	make_file(disk, 511);
	refused_with_socket(flags, 1, "less than a sector");
	make_file(disk, 0);
	refused_with_socket(flags, 1, "is empty");
	refused_with_socket("--device virtio-blk,path=/tmp", 1, "is a directory");
	refused_with_socket("--device virtio-blk,fd=77", 1, "77");
}

Test(offload, sockets)
{
	static const char device[] = "--device virtio-blk,backend=ram,size=1M";
	char line[512];
	int fd;
	pid_t pid = serve(device, &fd);

	refused_with_socket(device, 1, "in use");
	kill(pid, SIGKILL);
	finish(pid, fd);
	cr_expect_eq(access(sock, F_OK), 0, "it left its socket");
	pid = serve(device, &fd);
	cr_expect(connects(sock), "the stale one was replaced");
	kill(pid, SIGTERM);
	cr_expect_eq(finish(pid, fd), 0, "%s", text);
	cr_expect_str_eq(text, "");
	cr_expect_neq(access(sock, F_OK), 0, "removed");
	make_file(sock, 10);
	refused_with_socket(device, 1, "in use");
	snprintf(line, sizeof(line), "%s --socket %s/nowhere/s", device, dir);
	refused(line, 1, "No such file or directory");
	snprintf(line, sizeof(line), "%s --socket fd=0", device);
	refused(line, 2, "not a listening unix stream socket");
}

/* The second of two cannot be opened: nothing of the first stays. */
Test(offload, all_or_nothing)
{
	char line[512];

	snprintf(line, sizeof(line),
		"--device virtio-blk,backend=ram,size=1M --socket %s "
		"--device virtio-blk,path=%s --socket %s",
		sock, disk, other);
	refused(line, 1, "does not exist");
	cr_expect_neq(access(sock, F_OK), 0);
}

Test(offload, help_and_version)
{
	int fd;
	pid_t pid = start("--version", &fd);

	cr_expect_eq(finish(pid, fd), 0);
	cr_expect_eq(strncmp(text, "polyvisor-offload ", 18), 0, "%s", text);
	pid = start("--device nonsense --help", &fd);
	cr_expect_eq(finish(pid, fd), 0);
	cr_expect(strstr(text, "--device virtio-blk"), "%s", text);
}

/* A front-end is connected when it is told to go. */
Test(offload, ends_while_connected)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd, client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	pid_t pid = serve("--device=virtio-blk,backend=null,size=1T", &fd);
	struct pollfd p = {.fd = client, .events = POLLIN};

	strcpy(a.sun_path, sock);
	cr_assert_eq(connect(client, (struct sockaddr *)&a, sizeof(a)), 0);
	kill(pid, SIGTERM);
	cr_expect_eq(finish(pid, fd), 0, "%s", text);
	cr_expect_eq(poll(&p, 1, 5000), 1);
	close(client);
}

/* What it says nobody reads any more; it goes on. */
Test(offload, log_without_a_reader)
{
	static const uint32_t get_features[] = {1, 1, 0};
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd, status, client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	pid_t pid = serve("-v --device virtio-blk,backend=null,size=1T", &fd);
	char reply[20];

	close(fd);
	strcpy(a.sun_path, sock);
	cr_assert_eq(connect(client, (struct sockaddr *)&a, sizeof(a)), 0);
	cr_assert_eq(
		write(client, get_features, sizeof(get_features)), (ssize_t)sizeof(get_features));
	cr_expect_eq(recv(client, reply, sizeof(reply), MSG_WAITALL), (ssize_t)sizeof(reply));
	close(client);
	kill(pid, SIGTERM);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_expect_eq(status, 0);
}
