/* SPDX-License-Identifier: Apache-2.0 */
/* The API's life on a real socket: who may have it, what becomes of clients at the end. */
#include "vmm/api/api.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

static char dir[] = "/tmp/test-api-XXXXXX";
static struct sockaddr_un addr = {.sun_family = AF_UNIX};
static char where[128];
static bool control_answers;
static _Atomic unsigned asked;

/* ---- control ---- */

static void reply(struct ev_msg *m)
{
	struct vm_cmd *cmd = container_of(m, struct vm_cmd, msg);

	cmd->done(cmd);
}

void control_submit(struct control *c, struct vm_cmd *cmd)
{
	(void)c;
	cmd->result = err_set(&cmd->err, ERR_NOT_FOUND, -ENOENT, "vm.boot: no VM");
	cmd->msg.handle = reply;
	if (control_answers)
		ev_post(cmd->reply_to, &cmd->msg);
	asked++;
}

void vm_info_free(struct vm_info *i)
{
	cr_assert_null(i);
}

/* ---- */

static void init(void)
{
	strcpy(dir, "/tmp/test-api-XXXXXX");
	cr_assert(mkdtemp(dir));
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/s", dir);
	snprintf(where, sizeof(where), "path=%s/s", dir);
	control_answers = true;
	asked = 0;
}

static void fini(void)
{
	unlink(addr.sun_path);
	cr_expect_eq(rmdir(dir), 0);
}

TestSuite(api, .init = init, .fini = fini);

static struct api *start(const char *socket)
{
	const struct api_opts o = {.socket = socket};
	struct api *a = NULL;
	struct err e = {0};

	cr_assert_eq(api_new(&o, &a, &e), 0, "%s", e.text);
	cr_assert_eq(api_start(a, NULL), 0);
	return a;
}

static void refused(const char *socket, int code, const char *says)
{
	const struct api_opts o = {.socket = socket};
	struct api *a = NULL;
	struct err e = {0};

	cr_expect_eq(api_new(&o, &a, &e), code, "%s", socket);
	cr_expect(strstr(e.text, says), "%s: %s", socket, e.text);
	cr_expect_null(a);
}

static int client(void)
{
	const struct timeval patience = {.tv_sec = 10};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	cr_assert_eq(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	return fd;
}

static void put(int fd, const char *line)
{
	char text[256];
	int n = snprintf(text, sizeof(text), "%s HTTP/1.1\r\nHost: x\r\n\r\n", line);

	cr_assert_eq(write(fd, text, (size_t)n), n);
}

/* Reads until the words have come, or the end. */
static bool get(int fd, const char *words)
{
	char text[4096] = "";
	size_t len = 0;

	while (!strstr(text, words)) {
		ssize_t n = read(fd, text + len, sizeof(text) - 1 - len);
		if (n <= 0)
			return false;
		len += (size_t)n;
		text[len] = '\0';
	}
	return true;
}

Test(api, the_sockets_file_is_the_users_alone_and_goes_with_the_api)
{
	struct stat st;
	struct api *a = start(where);
	int fd = client();

	cr_assert_eq(lstat(addr.sun_path, &st), 0);
	cr_expect_eq(st.st_mode, S_IFSOCK | 0600, "%o", st.st_mode);
	put(fd, "GET /api/v1/vmm.ping");
	cr_expect(get(fd, "\"build_version\""));
	put(fd, "PUT /api/v1/vm.boot"); /* on the same connection */
	cr_expect(get(fd, "[\"vm.boot: no VM\"]"));
	api_free(a);
	cr_expect_eq(lstat(addr.sun_path, &st), -1);
	close(fd);
}

Test(api, a_live_socket_is_left_alone_and_a_stale_one_replaced)
{
	struct api *a = start(addr.sun_path); /* path= may be left out */
	struct stat before, after;

	refused(where, -EADDRINUSE, "another process serves it");
	int fd = client();
	put(fd, "GET /api/v1/vmm.ping");
	cr_expect(get(fd, "\"pid\""));
	close(fd);

	cr_assert_eq(unlink(addr.sun_path), 0); /* as if its owner had died */
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	cr_assert_eq(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	close(fd);
	cr_assert_eq(lstat(addr.sun_path, &before), 0);
	struct api *b = start(where);
	api_free(a); /* its file has another owner by now */
	cr_assert_eq(lstat(addr.sun_path, &after), 0);
	cr_expect_neq(before.st_ino, 0);
	fd = client();
	put(fd, "GET /api/v1/vmm.ping");
	cr_expect(get(fd, "\"pid\""));
	close(fd);
	api_free(b);
}

Test(api, refuses_what_is_no_socket)
{
	char text[300];
	int fd = open(addr.sun_path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

	refused(where, -EEXIST, "is no socket");
	snprintf(text, sizeof(text), "fd=%d", fd);
	refused(text, -EINVAL, "not a listening unix socket");
	close(fd);
	unlink(addr.sun_path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	snprintf(text, sizeof(text), "fd=%d", fd);
	refused(text, -EINVAL, "not a listening unix socket");
	close(fd);
	refused("fd=1000000", -EINVAL, "not a listening unix socket");
	refused("path=/nowhere/at/all", -ENOENT, "--api-socket path=/nowhere/at/all");
	refused("path=/a,fd=3", -EINVAL, "exactly one");
	refused("", -EINVAL, "exactly one");
	memset(text, 'x', 200);
	text[200] = '\0';
	refused(text, -EINVAL, "not short enough");
}

Test(api, serves_a_socket_that_it_is_given)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), c;
	char text[32];

	cr_assert_eq(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	cr_assert_eq(listen(fd, 1), 0);
	snprintf(text, sizeof(text), "fd=%d", fd);
	c = client(); /* before anybody serves it, as libvirt does */
	put(c, "GET /api/v1/vmm.ping");
	struct api *a = start(text);
	cr_expect(get(c, "\"pid\""));
	close(c);
	api_free(a);
	cr_expect_eq(access(addr.sun_path, F_OK), 0); /* whoever made it removes it */
}

Test(api, what_control_does_not_answer_is_answered_at_the_end)
{
	struct api *a = start(where);
	int one = client(), two = client();

	control_answers = false;
	put(one, "GET /api/v1/vm.info");
	put(two, "GET /metrics");
	while (asked < 2)
		usleep(1000);
	api_free(a);
	cr_expect(get(one, "the process is ending"));
	cr_expect(get(two, "500"));
	close(one);
	close(two);
}

Test(api, events_reach_a_stream)
{
	struct api *a = start(where);
	struct vm_events to = api_events(a);
	struct vm_event *ev = calloc(1, sizeof(*ev));
	int fd = client();

	put(fd, "GET /api/v1/events");
	cr_expect(get(fd, "text/event-stream"));
	*ev = (struct vm_event){
		.msg.handle = to.handle, .arg = to.arg, .source = "vm", .event = "booted"};
	ev_post(to.loop, &ev->msg);
	cr_expect(get(fd, "event: vm.booted"));
	api_free(a);
	close(fd);
}
