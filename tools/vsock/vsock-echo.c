/* SPDX-License-Identifier: Apache-2.0 */
/* Both ends of a vsock connection, for tests in a guest and on its host, where a shell has no
 * client for them:
 *
 *   vsock-echo serve ADDRESS [N]     accepts, and sends back all that comes; N: so many connections
 *   vsock-echo try ADDRESS BYTES     sends BYTES, ends its direction, wants the same bytes back
 *   vsock-echo refused ADDRESS       wants that nobody accepts
 *
 * "vsock-echo: listens" is what serve prints as soon as it would accept.
 *
 * ADDRESS is vsock:PORT to serve, vsock:CID:PORT to connect; unix:PATH for either; and
 * unix:PATH:PORT for a guest's port through the VMM's socket PATH, with CONNECT and OK. Status 0:
 * as wanted; 1: not, with a line that says why; 2: usage. */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
/* after sys/socket.h */
#include <linux/vm_sockets.h>
#include <signal.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

struct address {
	union {
		struct sockaddr sa;
		struct sockaddr_vm vm;
		struct sockaddr_un un;
	};
	socklen_t len;
	char port[16]; /* of the CONNECT line */
};

static int fail(const char *what)
{
	fprintf(stderr, "vsock-echo: %s: %s\n", what, strerror(errno));
	return 1;
}

static int usage(void)
{
	fputs("usage: vsock-echo serve|try|refused vsock:[CID:]PORT|unix:PATH[:PORT] [N|BYTES]\n",
		stderr);
	return 2;
}

static bool parse_vsock(const char *text, struct address *ret)
{
	unsigned cid = VMADDR_CID_ANY, port;
	int end = 0;

	if (sscanf(text, "%u:%u%n", &cid, &port, &end) != 2) {
		cid = VMADDR_CID_ANY;
		end = 0;
		if (sscanf(text, "%u%n", &port, &end) != 1)
			return false;
	}
	ret->vm = (struct sockaddr_vm){.svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port};
	ret->len = sizeof(ret->vm);
	return !text[end];
}

static bool parse_unix(const char *text, struct address *ret)
{
	const char *colon = strchr(text, ':');
	size_t n = colon ? (size_t)(colon - text) : strlen(text);

	if (!n || n >= sizeof(ret->un.sun_path))
		return false;
	ret->un.sun_family = AF_UNIX;
	memcpy(ret->un.sun_path, text, n);
	if (colon)
		snprintf(ret->port, sizeof(ret->port), "%s", colon + 1);
	ret->len = sizeof(ret->un);
	return true;
}

static bool parse(const char *text, struct address *ret)
{
	memset(ret, 0, sizeof(*ret));
	if (strncmp(text, "vsock:", 6) == 0)
		return parse_vsock(text + 6, ret);
	return strncmp(text, "unix:", 5) == 0 && parse_unix(text + 5, ret);
}

static int write_all(int fd, const uint8_t *p, size_t n)
{
	while (n) {
		ssize_t r = write(fd, p, n);

		if (r < 0)
			return -1;
		p += r;
		n -= r;
	}
	return 0;
}

/* The OK line, a byte at a time: what follows is the guest's. */
static int read_ok(int fd)
{
	char line[32];
	size_t n = 0;

	while (n < sizeof(line) - 1 && read(fd, line + n, 1) == 1)
		if (line[n++] == '\n')
			break;
	line[n] = 0;
	if (strncmp(line, "OK ", 3) == 0 && line[n - 1] == '\n')
		return 0;
	errno = n ? EPROTO : ECONNREFUSED;
	return -1;
}

/* A connected fd, or -1 with errno. */
static int open_connection(const struct address *a)
{
	int fd = socket(a->sa.sa_family, SOCK_STREAM, 0);

	if (fd < 0 || connect(fd, &a->sa, a->len) < 0)
		return -1;
	if (!*a->port)
		return fd;
	return dprintf(fd, "CONNECT %s\n", a->port) < 0 || read_ok(fd) < 0 ? -1 : fd;
}

static void echo(int fd)
{
	static uint8_t buf[16384];
	ssize_t n;

	while ((n = read(fd, buf, sizeof(buf))) > 0)
		if (write_all(fd, buf, n) < 0)
			break;
	shutdown(fd, SHUT_WR);
	close(fd);
}

static int serve(const struct address *a, long connections)
{
	int listener = socket(a->sa.sa_family, SOCK_STREAM, 0);

	if (a->sa.sa_family == AF_UNIX)
		unlink(a->un.sun_path);
	if (listener < 0 || bind(listener, &a->sa, a->len) < 0 || listen(listener, 16) < 0)
		return fail("listen");
	puts("vsock-echo: listens");
	fflush(stdout); /* before a child could have it too */
	for (long i = 0; !connections || i < connections; i++) {
		int fd = accept(listener, NULL, NULL);

		if (fd < 0)
			return fail("accept");
		if (fork() == 0) {
			echo(fd);
			_exit(0);
		}
		close(fd);
	}
	while (wait(NULL) > 0) {
	}
	return 0;
}

static uint8_t pattern(size_t i)
{
	return (i * 31 >> 3) ^ (i >> 11);
}

static void send_pattern(int fd, size_t total)
{
	uint8_t buf[5000];

	for (size_t at = 0, n; at < total; at += n) {
		n = total - at < sizeof(buf) ? total - at : sizeof(buf);
		for (size_t i = 0; i < n; i++)
			buf[i] = pattern(at + i);
		if (write_all(fd, buf, n) < 0)
			_exit(fail("write"));
	}
	shutdown(fd, SHUT_WR);
	_exit(0);
}

static int receive_pattern(int fd, size_t total)
{
	uint8_t buf[5000];
	size_t at = 0;
	ssize_t n;

	while ((n = read(fd, buf, sizeof(buf))) > 0)
		for (ssize_t i = 0; i < n; i++)
			if (at >= total || buf[i] != pattern(at++)) {
				fprintf(stderr, "vsock-echo: byte %zu is wrong\n", at - 1);
				return 1;
			}
	if (n < 0)
		return fail("read");
	if (at == total)
		return 0;
	fprintf(stderr, "vsock-echo: %zu bytes came back, not %zu\n", at, total);
	return 1;
}

static int try(const struct address *a, size_t total)
{
	int fd = open_connection(a), status = 0, r;
	pid_t sender;

	if (fd < 0)
		return fail("connect");
	sender = fork();
	if (sender == 0)
		send_pattern(fd, total);
	r = receive_pattern(fd, total);
	waitpid(sender, &status, 0);
	if (r || status)
		return 1;
	printf("vsock-echo: %zu bytes there and back\n", total);
	return 0;
}

static int refused(const struct address *a)
{
	if (open_connection(a) < 0 && (errno == ECONNREFUSED || errno == ECONNRESET))
		return 0;
	return fail("not refused");
}

int main(int argc, char **argv)
{
	struct address a;

	signal(SIGPIPE, SIG_IGN);
	if (argc < 3 || argc > 4 || !parse(argv[2], &a))
		return usage();
	if (strcmp(argv[1], "serve") == 0)
		return serve(&a, argc == 4 ? atol(argv[3]) : 0);
	if (strcmp(argv[1], "try") == 0 && argc == 4)
		return try(&a, strtoul(argv[3], NULL, 0));
	if (strcmp(argv[1], "refused") == 0 && argc == 3)
		return refused(&a);
	return usage();
}
