/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket of polyvisor-offload, as its clients see it: a real process, real sockets, and
 * a front-end that drives a ring meanwhile. What a process holds is counted in /proc. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <jansson.h>
#include <linux/virtio_blk.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include "offload/test_front.h"

#define NULL_DISK "{\"type\":\"virtio-blk\",\"backend\":\"null\",\"size\":1048576,"
#define RAM	  "{\"type\":\"virtio-blk\",\"backend\":\"ram\",\"size\":1048576,"

static char dir[] = "/tmp/polyvisor-control-XXXXXX", api[64];
static pid_t pid;

/* ---- the process ---- */

static void begin(void)
{
	const char *program = getenv("POLYVISOR_OFFLOAD");
	char *argv[] = {(char *)"polyvisor-offload", (char *)"--api-socket", api, NULL};

	cr_assert(program, "POLYVISOR_OFFLOAD names the program");
	cr_assert(mkdtemp(dir));
	snprintf(api, sizeof(api), "%s/api", dir);
	pid = fork();
	cr_assert(pid >= 0);
	if (pid)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* also when an assertion ends the test */
	execv(program, argv);
	_exit(127);
}

static void end(void)
{
	int status;

	kill(pid, SIGTERM);
	cr_expect_eq(waitpid(pid, &status, 0), pid);
	cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	cr_expect_eq(rmdir(dir), 0, "something is left behind");
}

TestSuite(control, .init = begin, .fini = end, .timeout = 120);

static unsigned open_fds(void)
{
	char path[64];
	unsigned n = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	d = opendir(path);
	while (d && readdir(d))
		n++;
	closedir(d);
	return n;
}

/* It closes in its own time. */
static void fds_become(unsigned n)
{
	for (int i = 0; i < 10000 && open_fds() != n; i++)
		usleep(1000);
	cr_expect_eq(open_fds(), n, "%u, not %u", open_fds(), n);
}

/* How many lines of /proc/PID/FILE begin with `name` or hold it; the number behind the first. */
static unsigned lines_with(const char *file, const char *name, unsigned *ret_number)
{
	char path[64], line[512];
	unsigned n = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		const char *at = strstr(line, name);

		n += at != NULL;
		if (at == line && ret_number)
			*ret_number = (unsigned)strtoul(at + strlen(name), NULL, 10);
	}
	fclose(f);
	return n;
}

/* What a front-end brought is given back in its own time, memory last. */
static void front_ends_memory_becomes(unsigned n)
{
	for (int i = 0; i < 10000 && lines_with("maps", "memfd:front", NULL) != n; i++)
		usleep(1000);
	cr_expect_eq(lines_with("maps", "memfd:front", NULL), n);
}

/* ---- the client ---- */

struct answer {
	unsigned status;
	char body[1 << 20];
};

static int connect_to(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(a.sun_path, path);
	for (int i = 0; i < 10000; i++) {
		if (connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0)
			return fd;
		usleep(1000);
	}
	cr_assert_fail("nobody listens at %s", path);
	return -1;
}

/* fd, when not negative, goes along. */
static unsigned call(
	const char *method, const char *path, const char *body, int fd, struct answer *ret)
{
	static char text[sizeof(ret->body) + 1024];
	int s = connect_to(api);
	size_t got = 0;
	ssize_t n;
	union {
		struct cmsghdr h;
		char space[CMSG_SPACE(sizeof(int))];
	} c = {.h = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
	int len = snprintf(text, sizeof(text),
		"%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s",
		method, path, strlen(body), body);
	struct iovec iov = {text, (size_t)len};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fd >= 0) {
		memcpy(CMSG_DATA(&c.h), &fd, sizeof(fd));
		m.msg_control = &c;
		m.msg_controllen = sizeof(c);
	}
	cr_assert_eq(sendmsg(s, &m, 0), len);
	while ((n = recv(s, text + got, sizeof(text) - 1 - got, 0)) > 0)
		got += (size_t)n;
	text[got] = '\0';
	close(s);
	cr_assert_eq(sscanf(text, "HTTP/1.1 %u", &ret->status), 1, "%s", text);
	snprintf(ret->body, sizeof(ret->body), "%s",
		strstr(text, "\r\n\r\n") ? strstr(text, "\r\n\r\n") + 4 : "");
	return ret->status;
}

static struct answer last;

static json_t *get(const char *path)
{
	json_t *o;

	cr_assert_eq(call("GET", path, "", -1, &last), 200u, "%s", last.body);
	o = json_loads(last.body, 0, NULL);
	cr_assert_not_null(o, "%s", last.body);
	return o;
}

/* "queues.0.requests" */
static json_t *at(json_t *o, const char *path)
{
	char copy[80], *save;

	snprintf(copy, sizeof(copy), "%s", path);
	for (char *w = strtok_r(copy, ".", &save); w; w = strtok_r(NULL, ".", &save))
		o = json_is_array(o) ? json_array_get(o, strtoul(w, NULL, 10))
				     : json_object_get(o, w);
	cr_assert_not_null(o, "no %s in %s", path, last.body);
	return o;
}

static json_int_t number(const char *device, const char *path)
{
	char url[80];
	json_t *o;
	json_int_t n;

	snprintf(url, sizeof(url), "/api/v1/devices/%s", device);
	o = get(url);
	n = json_integer_value(at(o, path));
	json_decref(o);
	return n;
}

static bool health_is(const char *device, const char *want)
{
	char url[80];
	json_t *o;
	bool is;

	snprintf(url, sizeof(url), "/api/v1/devices/%s", device);
	o = get(url);
	is = !strcmp(json_string_value(at(o, "health")), want);
	json_decref(o);
	return is;
}

/* tail: what follows the other keys. */
static void add(const char *keys, const char *name, const char *tail)
{
	char body[256];

	snprintf(body, sizeof(body), "%s\"socket\":\"%s/%s\"%s}", keys, dir, name, tail);
	cr_assert_eq(call("POST", "/api/v1/devices", body, -1, &last), 201u, "%s", last.body);
}

static void add_ram(const char *name, const char *tail)
{
	add(RAM, name, tail);
}

static void front(struct front *t, const char *name)
{
	*t = (struct front){.fd = -1, .memfd = -1, .enable = true};
	for (unsigned i = 0; i < GUEST_QUEUES; i++)
		t->kick[i] = t->call[i] = -1;
	snprintf(t->path, sizeof(t->path), "%s/%s", dir, name);
}

/* ---- tests ---- */

Test(control, adds_lists_and_removes)
{
	json_t *o = get("/api/v1/devices");
	unsigned before;

	cr_expect_eq(json_array_size(o), 0u);
	json_decref(o);
	before = open_fds();
	add_ram("a", ",\"queues\":4,\"poll\":10");
	add_ram("b", ",\"id\":\"spare disk\"");
	o = get("/api/v1/devices");
	cr_expect_eq(json_array_size(o), 2u);
	cr_expect_str_eq(json_string_value(at(o, "0.id")), "_disk0");
	cr_expect_str_eq(json_string_value(at(o, "0.health")), "waiting");
	cr_expect_eq(json_integer_value(at(o, "0.config.poll")), 10);
	cr_expect_eq(json_integer_value(at(o, "0.size")), 1048576);
	cr_expect_eq(json_array_size(at(o, "0.queues")), 4u);
	cr_expect_str_eq(json_string_value(at(o, "1.id")), "spare disk");
	json_decref(o);
	cr_expect_eq(call("DELETE", "/api/v1/devices/spare%20disk", "", -1, &last), 204u);
	cr_expect_eq(call("DELETE", "/api/v1/devices/spare%20disk", "", -1, &last), 404u);
	cr_expect_eq(call("DELETE", "/api/v1/devices/_disk0", "", -1, &last), 204u);
	fds_become(before);
	o = get("/api/v1/ping");
	cr_expect_eq(json_integer_value(at(o, "pid")), pid);
	cr_expect_eq(json_integer_value(at(o, "devices")), 0);
	json_decref(o);
}

/* Each is one line that names the field, and leaves nothing. */
Test(control, what_is_refused)
{
#define BLK "{\"type\":\"virtio-blk\",\"socket\":\"/nowhere/s\","
#define NET "{\"type\":\"virtio-net\",\"socket\":\"/nowhere/s\","
	static const struct {
		const char *method, *path, *body;
		unsigned status;
		const char *says;
	} cases[] = {
		{"POST", "devices", "", 400, "the body: is missing"},
		{"POST", "devices", "[]", 400, "give an object"},
		{"POST", "devices", "{\"type\":\"virtio-fs\"}", 400, "allowed: virtio-blk"},
		{"POST", "devices", "{\"socket\":\"/x\"}", 400, "type: missing"},
		{"POST", "devices", "{\"type\":7}", 400, "type: missing"},
		{"POST", "devices", "{\"type\":\"virtio-blk\"}", 400, "socket: missing"},
		{"POST", "devices", BLK "\"path\":\"/a\",\"fd\":3}", 400, "fd: comes with"},
		{"POST", "devices", BLK "\"size\":5}", 400, "size: "},
		{"POST", "devices", BLK "\"backend\":\"tape\"}", 400, "one of file, ram, null"},
		{"POST", "devices", BLK "\"backend\":\"ram\"}", 400, "needs a size"},
		{"POST", "devices", BLK "\"colour\":\"red\"}", 400, "colour: unknown key"},
		{"POST", "devices", BLK "\"queues\":17}", 400, "between 1 and 16"},
		{"POST", "devices", BLK "\"poll\":101}", 400, "between 0 and 100"},
		{"POST", "devices", BLK "\"backend\":\"null\",\"size\":512}", 500, "/nowhere/s"},
		{"POST", "devices", BLK "\"path\":\"/nowhere/d\"}", 500, "does not exist"},
		{"POST", "devices", NET "\"backend\":\"null\",\"queues\":9}", 400,
			"between 1 and 8"},
		{"POST", "devices", NET "\"backend\":\"passt\",\"queues\":2}", 400, "one pair"},
		{"POST", "devices", NET "\"backend\":\"null\",\"tap\":\"t\"}", 400, "backend=tap"},
		{"GET", "devices/_disk7", "", 404, "no device has this id"},
		{"DELETE", "devices/_disk7", "", 404, "no device has this id"},
		{"PUT", "devices/_disk7/size", "{\"size\":512}", 404, "no device has this id"},
		{"PUT", "devices", "", 405, "allowed: GET, POST"},
		{"GET", "devices?x=1", "", 400, "no query"},
		{"GET", "devices", "{}", 400, "no body"},
		{"GET", "nothing", "", 404, "openapi.json"},
	};
	unsigned before;

	json_decref(get("/api/v1/devices"));
	before = open_fds();
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char path[80];
		json_t *o;

		snprintf(path, sizeof(path), "/api/v1/%s", cases[i].path);
		call(cases[i].method, path, cases[i].body, -1, &last);
		cr_expect_eq(last.status, cases[i].status, "%u: %s: %u %s", i, cases[i].body,
			last.status, last.body);
		cr_expect(strstr(last.body, cases[i].says), "%u: %s", i, last.body);
		o = json_loads(last.body, 0, NULL);
		cr_expect(json_array_size(o) == 1 && json_is_string(json_array_get(o, 0)));
		json_decref(o);
	}
	fds_become(before);
}

Test(control, what_is_there_already)
{
	char body[256];
	unsigned before;

	add_ram("a", "");
	before = open_fds();
	snprintf(body, sizeof(body), RAM "\"socket\":\"%s/a\"}", dir);
	cr_expect_eq(call("POST", "/api/v1/devices", body, -1, &last), 409u, "%s", last.body);
	snprintf(body, sizeof(body), RAM "\"id\":\"_disk0\",\"socket\":\"%s/b\"}", dir);
	cr_expect_eq(call("POST", "/api/v1/devices", body, -1, &last), 409u, "%s", last.body);
	/* A socket that somebody serves: our own. */
	snprintf(body, sizeof(body), RAM "\"socket\":\"%s\"}", api);
	cr_expect_eq(call("POST", "/api/v1/devices", body, -1, &last), 409u, "%s", last.body);
	fds_become(before);
}

/* A disk that only we could open. */
Test(control, a_descriptor_comes_along)
{
	char body[256];
	int fd = front_memfd(65536, false);
	unsigned before;

	call("GET", "/api/v1/ping", "", -1, &last);
	before = open_fds();
	snprintf(body, sizeof(body), "{\"type\":\"virtio-blk\",\"socket\":\"%s/a\"}", dir);
	cr_assert_eq(call("POST", "/api/v1/devices", body, fd, &last), 201u, "%s", last.body);
	cr_expect_eq(number("_disk0", "size"), 65536);
	cr_expect_eq(call("GET", "/api/v1/devices", "", fd, &last), 400u);
	cr_expect_eq(call("DELETE", "/api/v1/devices/_disk0", "", -1, &last), 204u);
	fds_become(before);
	close(fd);
}

Test(control, counts_what_a_front_end_does_and_keeps_nothing_of_it)
{
	unsigned before;
	struct front t;

	add_ram("a", "");
	before = open_fds();
	for (int round = 1; round <= 3; round++) {
		front(&t, "a");
		front_start(&t, VIRTIO_BIT_VERSION_1);
		for (int i = 0; i < 10; i++)
			cr_assert(front_read_sector(&t, 0));
		cr_expect(health_is("_disk0", "running"));
		cr_expect_eq(number("_disk0", "queues.0.requests"), 10 * round);
		cr_expect_eq(number("_disk0", "queues.0.reads"), 10 * round);
		cr_expect_eq(number("_disk0", "queues.0.latency.count"), 10 * round);
		cr_expect_gt(number("_disk0", "queues.0.kicks"), 0);
		cr_expect_eq(number("_disk0", "front_end.connections"), round);
		cr_expect_eq(number("_disk0", "front_end.memory_regions"), 1);
		cr_expect_eq(lines_with("maps", "memfd:front", NULL), 1u);
		front_hang_up(&t);
		front_ends_memory_becomes(0);
		cr_expect(health_is("_disk0", "waiting"));
		if (round == 1) /* the device's thread and its io_uring stay */
			before = open_fds();
		fds_become(before);
	}
	cr_expect_eq(call("DELETE", "/api/v1/devices/_disk0", "", -1, &last), 204u);
}

Test(control, a_resize_is_told_to_the_front_end)
{
	uint64_t capacity;
	int pair[2];
	struct vu_msg m;
	struct front t;

	add_ram("a", "");
	front(&t, "a");
	front_start(&t, VIRTIO_BIT_VERSION_1);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	front_send(&t, VU_SET_BACKEND_REQ_FD, 0, NULL, 0, &pair[1], 1);
	close(pair[1]);
	front_get_u64(&t, VU_GET_FEATURES); /* it has been read by now */
	cr_expect_eq(
		call("PUT", "/api/v1/devices/_disk0/size", "{\"size\":\"2M\"}", -1, &last), 200u);
	cr_expect_eq(number("_disk0", "size"), 2 << 20);
	cr_assert_eq(recv(pair[0], &m, 12, MSG_WAITALL), 12);
	cr_expect_eq(m.request, (uint32_t)VU_BACKEND_CONFIG_CHANGE);
	m.p.config = (struct vu_config){.size = 8};
	front_send(&t, VU_GET_CONFIG, 0, &m.p, 12 + 8, NULL, 0);
	cr_assert(front_receive(&t, &m));
	memcpy(&capacity, m.p.config.bytes, 8);
	cr_expect_eq(capacity, 4096u, "sectors");
	cr_expect(front_read_sector(&t, 4095), "the new end can be read");
	cr_expect_eq(
		call("PUT", "/api/v1/devices/_disk0/size", "{\"size\":1000}", -1, &last), 400u);
	cr_expect(strstr(last.body, "multiple of 512"), "%s", last.body);
	cr_expect_eq(number("_disk0", "size"), 2 << 20);
	front_hang_up(&t);
	close(pair[0]);
}

/* Its front-end is let go; the others' rings run on. */
Test(control, removes_a_device_under_its_front_end)
{
	struct front a, b;
	char path[80];

	add_ram("a", "");
	add_ram("b", "");
	front(&a, "a");
	front(&b, "b");
	front_start(&a, VIRTIO_BIT_VERSION_1);
	front_start(&b, VIRTIO_BIT_VERSION_1);
	cr_assert(front_read_sector(&a, 0));
	cr_expect_eq(call("DELETE", "/api/v1/devices/_disk0", "", -1, &last), 204u);
	cr_expect(front_closed(&a));
	snprintf(path, sizeof(path), "%s/a", dir);
	cr_expect_neq(access(path, F_OK), 0);
	cr_expect(front_read_sector(&b, 0));
	add_ram("a", "");
	front_hang_up(&a);
	front_start(&a, VIRTIO_BIT_VERSION_1);
	cr_expect(front_read_sector(&a, 0));
	front_hang_up(&a);
	front_hang_up(&b);
}

/* All at once, twice: what they brought is given back. */
Test(control, many_front_ends)
{
	static struct front t[32];
	const unsigned n = sizeof(t) / sizeof(t[0]);
	unsigned kept = 0;
	char name[16];

	for (unsigned i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "%u", i);
		add_ram(name, ",\"queues\":2");
	}
	for (int round = 0; round < 2; round++) {
		for (unsigned i = 0; i < n; i++) {
			snprintf(name, sizeof(name), "%u", i);
			front(&t[i], name);
			front_start(&t[i], VIRTIO_BIT_VERSION_1);
			cr_assert(front_read_sector(&t[i], 0));
		}
		cr_expect_eq(lines_with("maps", "memfd:front", NULL), n);
		for (unsigned i = 0; i < n; i++)
			front_hang_up(&t[i]);
		front_ends_memory_becomes(0);
		if (round == 0)
			kept = open_fds();
		fds_become(kept);
	}
	for (unsigned i = 0; i < n; i++) {
		char path[40];

		snprintf(path, sizeof(path), "/api/v1/devices/_disk%u", i);
		cr_expect_eq(call("DELETE", path, "", -1, &last), 204u);
	}
}

/* As many as there may be, by one process (of null: a disk in memory takes address space, of which
 * sanitizers leave little): what each costs, that they sleep, that SIGTERM removes
 * all their sockets (in end()). */
Test(control, many_devices)
{
	unsigned one, all, slept[2], threads;
	char name[16], body[256];

	add(NULL_DISK, "0", "");
	one = open_fds();
	for (int i = 1; i < 256; i++) {
		snprintf(name, sizeof(name), "%d", i);
		add(NULL_DISK, name, "");
	}
	all = open_fds();
	cr_expect_eq((all - one) % 255, 0u, "each costs as much");
	cr_expect_leq((all - one) / 255, 4u, "%u descriptors for a device", (all - one) / 255);
	snprintf(body, sizeof(body), RAM "\"socket\":\"%s/256\"}", dir);
	cr_expect_eq(call("POST", "/api/v1/devices", body, -1, &last), 409u);
	cr_expect(strstr(last.body, "at most 256"), "%s", last.body);
	fds_become(all);
	lines_with("status", "Threads:", &threads);
	cr_expect_eq(threads, 1u, "no front-end, no worker");
	lines_with("status", "voluntary_ctxt_switches:", &slept[0]);
	usleep(100000);
	lines_with("status", "voluntary_ctxt_switches:", &slept[1]);
	cr_expect_eq(slept[0], slept[1], "it wakes up for nothing");
}

Test(control, metrics_and_description)
{
	static const char *const some[] = {"# TYPE polyvisor_offload_requests_total counter\n",
		"polyvisor_offload_requests_total{device=\"a\\\"b\",queue=\"0\"} 0\n",
		"polyvisor_offload_health{device=\"a\\\"b\",state=\"waiting\"} 1\n",
		"polyvisor_offload_latency_seconds_bucket{device=\"a\\\"b\",queue=\"0\",le=\"+Inf\"} 0\n",
		"polyvisor_offload_size_bytes{device=\"a\\\"b\"} 1048576\n"};
	json_t *o, *call_;
	const char *path, *method;
	json_t *calls;

	add_ram("a", ",\"id\":\"a\\\"b\"");
	cr_assert_eq(call("GET", "/metrics", "", -1, &last), 200u);
	for (unsigned i = 0; i < sizeof(some) / sizeof(some[0]); i++)
		cr_expect(strstr(last.body, some[i]), "no %s", some[i]);
	o = get("/openapi.json");
	json_object_foreach (at(o, "paths"), path, calls) {
		json_object_foreach (calls, method, call_)
			cr_expect(json_is_string(json_object_get(call_, "operationId")), "%s %s",
				method, path);
	}
	cr_expect(at(o, "components.schemas.DeviceConfig.oneOf.1.properties.mac"));
	json_decref(o);
}
