/* SPDX-License-Identifier: Apache-2.0 */
/* The VMM's event monitor writes JSON documents into a file beside the instance; the file is
 * followed with inotify(7), and read again from its beginning by a node that came later. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>
#include "cloud/node/file.h"
#include "cloud/node/node_priv.h"
#include "vmm/base/cleanup.h"

#define EVENTS_MAX (256u << 10) /* what is read is cut away beyond it */

static uint64_t time_of(const json_t *e)
{
	const json_t *t = json_object_get(e, "timestamp");

	return (uint64_t)json_integer_value(json_object_get(t, "secs")) * 1000000000 +
	       (uint64_t)json_integer_value(json_object_get(t, "nanos"));
}

static void on_device(struct instance *in, const json_t *e, const char *event)
{
	const char *id = json_string_value(json_object_get(json_object_get(e, "properties"), "id"));
	struct proc *x = &in->proc[id && !strncmp(id, "net", 3) ? PART_NET : PART_DISKS];

	if (!strcmp(event, "disconnected") && !x->lost_ns) {
		x->lost_ns = time_of(e);
	} else if (!strcmp(event, "reconnected") && x->lost_ns) {
		x->stalled_ns = time_of(e) - x->lost_ns;
		x->lost_ns = 0;
	}
}

static void on_vm(struct instance *in, const char *event)
{
	if (!strcmp(event, "booted") || !strcmp(event, "rebooted")) {
		if (!in->booted && !in->boot_ms)
			in->boot_ms = (unsigned)((ev_now_ns() - in->launch_ns) / 1000000) + 1;
		in->booted = true;
		in->paused = in->panicked = false;
	} else if (!strcmp(event, "paused")) {
		in->paused = true;
	} else if (!strcmp(event, "resumed")) {
		in->paused = false;
	}
}

static void on_event(struct instance *in, const json_t *e)
{
	const char *source = json_string_value(json_object_get(e, "source"));
	const char *event = json_string_value(json_object_get(e, "event"));

	if (!source || !event)
		return;
	if (!strcmp(source, "vm"))
		on_vm(in, event);
	else if (!strcmp(source, "virtio-device"))
		on_device(in, e, event);
	else if (!strcmp(source, "guest") && !strcmp(event, "panic"))
		in->panicked = true;
	else if (!strcmp(source, "vmm") && !strcmp(event, "shutdown"))
		in->quit_seen = true;
}

/* Whole documents at the beginning of text; returns the bytes they took. */
static size_t take(struct instance *in, const char *text, size_t n)
{
	size_t at = 0;

	while (at < n) {
		json_error_t error;
		json_t *e = json_loadb(text + at, n - at, JSON_DISABLE_EOF_CHECK, &error);

		if (!e)
			break;
		at += (size_t)error.position;
		on_event(in, e);
		json_decref(e);
	}
	return at;
}

void events_read(struct instance *in)
{
	cleanup_fd int fd = openat(in->dir, "events", O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	char buf[8192];
	ssize_t n;

	if (fd < 0)
		return;
	while ((n = pread(fd, buf, sizeof(buf), (off_t)in->events_pos)) > 0) {
		size_t took = take(in, buf, (size_t)n);

		if (!took && n == sizeof(buf))
			took = (size_t)n; /* no event is that long */
		in->events_pos += took;
		if (!took)
			break;
	}
	/* The writer appends, so that it goes on at the new end. */
	if (in->events_pos > EVENTS_MAX && lseek(fd, 0, SEEK_END) == (off_t)in->events_pos &&
		ftruncate(fd, 0) == 0)
		in->events_pos = 0;
}

void events_begin(struct instance *in)
{
	char path[FILE_FD_PATH];

	in->events_pos = 0;
	if (file_fd_path(in->dir, "events", path) == 0)
		in->events_wd = inotify_add_watch(in->node->inotify.fd, path, IN_MODIFY);
	events_read(in);
}

void events_end(struct instance *in)
{
	if (in->events_wd >= 0)
		inotify_rm_watch(in->node->inotify.fd, in->events_wd);
	in->events_wd = -1;
}

static void on_inotify(struct ev_fd *w, uint32_t events)
{
	struct node *n = container_of(w, struct node, inotify);
	char buf[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
	ssize_t got = read(w->fd, buf, sizeof(buf));

	for (char *p = buf; got > 0 && p < buf + got;) {
		struct inotify_event *e = (struct inotify_event *)p;

		p += sizeof(*e) + e->len;
		list_for_each (it, &n->instances) {
			struct instance *in = container_of(it, struct instance, link);

			/* After an overflow (wd -1) everybody is looked at. */
			if (in->events_wd >= 0 && (e->wd == in->events_wd || e->wd < 0)) {
				events_read(in);
				instance_dirty(in);
			}
		}
	}
}

int events_open(struct node *n)
{
	int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);

	if (fd < 0)
		return -errno;
	n->inotify = (struct ev_fd){.fd = fd, .ready = on_inotify};
	return ev_add(n->loop, &n->inotify, EPOLLIN);
}
