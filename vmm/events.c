/* SPDX-License-Identifier: Apache-2.0 */
/* Each event is allocated and given away: the subscriber frees it. What a guest can cause is
 * counted against a budget a second, so that it cannot make a slow subscriber's queue grow without
 * bound. */
#include "vmm/events.h"

#include <stdio.h>
#include <stdlib.h>

void events_init(struct events *ev, const struct vm_events *to, struct log *log)
{
	*ev = (struct events){.to = *to, .start_ns = ev_now_ns(), .log = log};
}

static void post(
	struct events *ev, const char *source, const char *event, const char *id, pid_t pid)
{
	log_line(ev->log, LOG_DEBUG, *id ? id : "vmm", "%s %s", source, event);
	if (!ev->to.loop)
		return;
	struct vm_event *e = calloc(1, sizeof(*e));
	if (!e)
		return; /* an event lost is better than a machine lost */
	e->msg.handle = ev->to.handle;
	e->arg = ev->to.arg;
	e->since_ns = ev_now_ns() - ev->start_ns;
	e->source = source;
	e->event = event;
	snprintf(e->id, sizeof(e->id), "%s", id);
	e->pid = pid;
	ev_post(ev->to.loop, &e->msg);
}

void events_post(struct events *ev, const char *source, const char *event)
{
	post(ev, source, event, "", 0);
}

void events_started(struct events *ev, const char *source, const char *event, pid_t pid)
{
	post(ev, source, event, "", pid);
}

/* Several threads may open the new window at once; then a few more pass. */
static bool within_budget(struct events *ev)
{
	uint64_t now = ev_now_ns() / 1000000000u;

	if (atomic_exchange(&ev->window, now) != now)
		atomic_store(&ev->used, 0);
	return atomic_fetch_add(&ev->used, 1) < EVENTS_NOTICES;
}

void events_notice(struct events *ev, const char *id, enum dev_notice n)
{
	if (!ev)
		return;
	if (!within_budget(ev)) {
		log_limited(ev->log, &ev->limit, LOG_WARN, id, "too many events, some are dropped");
		return;
	}
	switch (n) {
	case DEV_NOTICE_ACTIVATED:
		post(ev, "virtio-device", "activated", id, 0);
		break;
	case DEV_NOTICE_RESET:
		post(ev, "virtio-device", "reset", id, 0);
		break;
	case DEV_NOTICE_PANIC:
		post(ev, "guest", "panic", "", 0);
		break;
	case DEV_NOTICE_DISCONNECTED:
		post(ev, "virtio-device", "disconnected", id, 0);
		break;
	case DEV_NOTICE_RECONNECTED:
		post(ev, "virtio-device", "reconnected", id, 0);
		break;
	}
}
