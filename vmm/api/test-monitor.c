/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "vmm/api/event.h"
#include "vmm/api/monitor.h"

static const struct vm_event booted = {.since_ns = 1029228206, .source = "vm", .event = "booted"};
static const struct vm_event activated = {
	.source = "virtio-device", .event = "activated", .id = "_disk0"};

#define BOOTED                                                                                     \
	"{\n  \"timestamp\": {\n    \"secs\": 1,\n    \"nanos\": 29228206\n  },\n"                 \
	"  \"source\": \"vm\",\n  \"event\": \"booted\",\n  \"properties\": null\n}\n\n"
#define ACTIVATED                                                                                  \
	"{\n  \"timestamp\": {\n    \"secs\": 0,\n    \"nanos\": 0\n  },\n"                        \
	"  \"source\": \"virtio-device\",\n  \"event\": \"activated\",\n"                          \
	"  \"properties\": {\n    \"id\": \"_disk0\"\n  }\n}\n\n"

static char dir[] = "/tmp/test-monitor-XXXXXX";
static char path[64], where[80];

static void begin(void)
{
	strcpy(dir + strlen(dir) - 6, "XXXXXX");
	cr_assert_not_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/events", dir);
	snprintf(where, sizeof(where), "path=%s", path);
}

static void end(void)
{
	unlink(path);
	rmdir(dir);
}

TestSuite(monitor, .init = begin, .fini = end);

static struct monitor *open_monitor(const char *value)
{
	struct monitor *m = NULL;
	struct err e = {0};

	cr_assert_eq(monitor_new(value, &m, &e), 0, "%s", e.text);
	return m;
}

static void expect_text(int fd, const char *want)
{
	char buf[8192];
	ssize_t n = read(fd, buf, sizeof(buf) - 1);

	cr_assert_geq(n, 0);
	buf[n > 0 ? n : 0] = '\0';
	cr_expect_str_eq(buf, want);
}

Test(monitor, a_file_is_made_for_us_alone_and_appended)
{
	struct stat st;
	int fd;

	for (int i = 0; i < 2; i++) {
		struct monitor *m = open_monitor(where);

		monitor_publish(m, i ? &activated : &booted);
		monitor_free(m);
	}
	fd = open(path, O_RDONLY);
	cr_assert_eq(fstat(fd, &st), 0);
	cr_expect_eq(st.st_mode & 0777, 0600u);
	expect_text(fd, BOOTED ACTIVATED);
	close(fd);
}

/* libvirt's thread waits in open until the FIFO has a writer. */
static void *reader(void *arg)
{
	int fd = open(path, O_RDONLY);

	expect_text(fd, BOOTED);
	close(fd);
	return NULL;
}

Test(monitor, a_fifo_waits_for_nobody_and_lets_its_reader_in)
{
	struct monitor *m;
	pthread_t t;

	cr_assert_eq(mkfifo(path, 0600), 0);
	cr_assert_eq(pthread_create(&t, NULL, reader, NULL), 0);
	m = open_monitor(where);
	monitor_publish(m, &booted);
	pthread_join(t, NULL);
	monitor_publish(m, &booted); /* nobody reads it; nobody dies of it */
	monitor_free(m);
}

/* Fills it, then looks at what a reader finds. */
static void overflow(struct monitor *m, int in)
{
	static char buf[4 << 20];
	unsigned kept = 0, dropped;
	char *note;
	ssize_t n;

	for (int i = 0; i < 5000; i++)
		monitor_publish(m, &booted);
	n = read(in, buf, sizeof(buf) - 1);
	cr_assert_gt(n, 0);
	for (ssize_t more; (more = read(in, buf + n, sizeof(buf) - 1 - (size_t)n)) > 0; n += more)
		;
	buf[n] = '\0';
	for (char *p = buf; (p = strstr(p, BOOTED)); p += strlen(BOOTED))
		kept++;
	cr_assert(kept > 10 && kept < 5000, "%u", kept);
	cr_assert_eq((size_t)n, kept * strlen(BOOTED), "whole documents only");
	monitor_publish(m, &activated);
	n = read(in, buf, sizeof(buf) - 1);
	cr_assert_gt(n, 0);
	buf[n] = '\0';
	note = strstr(
		buf, "\"event\": \"events-dropped\",\n  \"properties\": {\n    \"count\": \"");
	cr_assert_not_null(note, "%s", buf);
	dropped = (unsigned)atoi(strstr(note, "count") + strlen("count\": \""));
	cr_expect_eq(kept + dropped, 5000u);
	cr_expect(strstr(note, "}\n\n" ACTIVATED));
	monitor_publish(m, &booted);
	n = read(in, buf, sizeof(buf) - 1);
	buf[n > 0 ? n : 0] = '\0';
	cr_expect_str_eq(buf, BOOTED, "told once");
}

Test(monitor, a_full_fifo_drops_events_and_says_so)
{
	struct monitor *m;
	int in;

	cr_assert_eq(mkfifo(path, 0600), 0);
	m = open_monitor(where);
	in = open(path, O_RDONLY | O_NONBLOCK);
	overflow(m, in);
	close(in);
	monitor_free(m);
}

static const char *fd_value(int fd)
{
	static char value[16];

	snprintf(value, sizeof(value), "fd=%d", fd);
	return value;
}

Test(monitor, a_pipe_and_a_socket_by_fd)
{
	int p[2];

	for (int i = 0; i < 2; i++) {
		struct monitor *m;

		cr_assert_eq(i ? socketpair(AF_UNIX, SOCK_STREAM, 0, p) : pipe(p), 0);
		m = open_monitor(fd_value(p[1]));
		fcntl(p[0], F_SETFL, O_NONBLOCK);
		overflow(m, p[0]);
		close(p[0]);
		for (int j = 0; j < 5000; j++)
			monitor_publish(m, &booted); /* the reader is gone */
		monitor_free(m);
	}
}

Test(monitor, what_it_cannot_be)
{
	static const char *const bad[] = {"", "path=", "fd=", "fd=x", "fd=-1", "fd=99999999999",
		"fd=987", "/tmp/x", "path=/nowhere/at/all", "path=/"};
	int fd = open("/dev/null", O_RDONLY);

	for (size_t i = 0; i <= sizeof(bad) / sizeof(*bad); i++) {
		struct monitor *m;
		struct err e = {0};
		const char *value = i < sizeof(bad) / sizeof(*bad) ? bad[i] : fd_value(fd);

		cr_expect_lt(monitor_new(value, &m, &e), 0, "%s", value);
		cr_expect_eq(strncmp(e.text, "--event-monitor", 15), 0, "%s", e.text);
		cr_expect(strstr(e.text, "allowed: path=FILE"));
	}
	close(fd);
}
