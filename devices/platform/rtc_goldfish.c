/* SPDX-License-Identifier: Apache-2.0 */
/* Google's Goldfish real time clock: nanoseconds since 1970 in two halves, and one alarm. Reading
 * the low half latches the high one; writing the low half sets the time with the high half written
 * before.
 *
 * The alarm's timer lives on control's loop, which registers on a vCPU thread may only post to. A
 * posted message says "look at the alarm again"; it is an object of its own, because the device may
 * be gone when its turn comes. */
#include <stdlib.h>
#include "devices/platform/platform.h"
#include "vmm/base/cleanup.h"

#define GOLDFISH_SIZE 0x1000

enum {
	TIME_LOW = 0x00,
	TIME_HIGH = 0x04,
	ALARM_LOW = 0x08,
	ALARM_HIGH = 0x0c,
	IRQ_ENABLED = 0x10,
	CLEAR_ALARM = 0x14,
	ALARM_STATUS = 0x18,
	CLEAR_INTERRUPT = 0x1c,
};

struct look {
	struct ev_msg msg;	  /* first */
	struct rtc_goldfish *rtc; /* NULL once the device is gone */
};

struct rtc_goldfish {
	struct device device; /* first */
	struct platform_at at;
	struct io_region region;
	struct irq_line *irq; /* level */
	struct ev_timer timer;
	struct look *posted; /* on its way, or NULL */
	uint64_t offset_ns;  /* guest's time minus the host's */
	uint64_t alarm_ns;
	uint32_t high; /* latched or about to be written */
	uint32_t alarm_high;
	bool armed, enabled, pending;
	bool paused; /* the alarm waits for the machine to go on */
};

static uint64_t now_ns(const struct rtc_goldfish *g)
{
	struct dev_host *h = g->device.host;

	return h->ops->realtime_ns(h) + g->offset_ns;
}

static void update_irq(struct rtc_goldfish *g)
{
	irq_set(g->irq, g->pending && g->enabled);
}

/* Control's loop, device lock held: fires the alarm or sleeps until it is due. */
static void look_at_alarm(struct rtc_goldfish *g)
{
	uint64_t now = now_ns(g);

	ev_timer_cancel(&g->timer);
	if (!g->armed || g->paused)
		return;
	if (g->alarm_ns > now) {
		/* At most an hour at a time: the wall clock may be set meanwhile. */
		uint64_t wait = g->alarm_ns - now, hour = UINT64_C(3600000000000);

		ev_timer_arm(g->device.host->control, &g->timer,
			ev_now_ns() + (wait < hour ? wait : hour));
		return;
	}
	g->armed = false;
	g->pending = true;
	update_irq(g);
}

static void timer_fired(struct ev_timer *t)
{
	struct rtc_goldfish *g = container_of(t, struct rtc_goldfish, timer);

	LOCK_SCOPE(&g->device.lock);
	look_at_alarm(g);
}

static void handle_look(struct ev_msg *m)
{
	struct look *l = (struct look *)m;
	struct rtc_goldfish *g = l->rtc;

	if (g) {
		LOCK_SCOPE(&g->device.lock);
		g->posted = NULL;
		look_at_alarm(g);
	}
	free(l);
}

static void post_look(struct rtc_goldfish *g)
{
	if (g->posted)
		return;
	g->posted = calloc(1, sizeof(*g->posted));
	if (!g->posted)
		return; /* the alarm is late by whatever the next write brings */
	g->posted->msg.handle = handle_look;
	g->posted->rtc = g;
	ev_post(g->device.host->control, &g->posted->msg);
}

static uint64_t goldfish_read(void *dev, uint64_t off, unsigned size)
{
	struct rtc_goldfish *g = dev;
	uint64_t now;

	switch (off) {
	case TIME_LOW:
		now = now_ns(g);
		g->high = now >> 32;
		return (uint32_t)now;
	case TIME_HIGH:
		return g->high;
	case ALARM_LOW:
		return (uint32_t)g->alarm_ns;
	case ALARM_HIGH:
		return g->alarm_ns >> 32;
	case IRQ_ENABLED:
		return g->enabled;
	case ALARM_STATUS:
		return g->armed;
	default:
		return 0;
	}
}

static void goldfish_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct rtc_goldfish *g = dev;
	uint32_t v = value;

	switch (off) {
	case TIME_LOW:
		g->offset_ns += ((uint64_t)g->high << 32 | v) - now_ns(g);
		post_look(g);
		break;
	case TIME_HIGH:
		g->high = v;
		break;
	case ALARM_LOW:
		g->alarm_ns = (uint64_t)g->alarm_high << 32 | v;
		g->armed = true;
		post_look(g);
		break;
	case ALARM_HIGH:
		g->alarm_high = v;
		break;
	case IRQ_ENABLED:
		g->enabled = v & 1;
		update_irq(g);
		break;
	case CLEAR_ALARM:
		g->armed = false;
		break;
	case CLEAR_INTERRUPT:
		g->pending = false;
		update_irq(g);
		break;
	default:
		break;
	}
}

static const struct io_ops goldfish_io = {goldfish_read, goldfish_write};

static void goldfish_reset(struct device *d)
{
	struct rtc_goldfish *g = (struct rtc_goldfish *)d;

	g->armed = g->enabled = g->pending = false;
	g->high = g->alarm_high = 0;
	g->alarm_ns = 0;
	update_irq(g);
}

static int goldfish_visit(struct device *d, struct visitor *v)
{
	struct rtc_goldfish *g = (struct rtc_goldfish *)d;
	uint32_t version = 1;

	visit_begin(v, d->id, &version);
	visit_u64(v, "offset_ns", &g->offset_ns);
	visit_u64(v, "alarm_ns", &g->alarm_ns);
	visit_u32(v, "high", &g->high);
	visit_u32(v, "alarm_high", &g->alarm_high);
	visit_bool(v, "armed", &g->armed);
	visit_bool(v, "enabled", &g->enabled);
	visit_bool(v, "pending", &g->pending);
	visit_end(v);
	if (visit_mode(v) == VISIT_LOAD && !visit_status(v)) {
		update_irq(g);
		post_look(g);
	}
	return visit_status(v);
}

static void goldfish_pause(struct device *d)
{
	struct rtc_goldfish *g = (struct rtc_goldfish *)d;

	LOCK_SCOPE(&d->lock);
	g->paused = true;
	ev_timer_cancel(&g->timer);
}

static bool goldfish_paused(const struct device *d)
{
	return ((const struct rtc_goldfish *)d)->paused;
}

static void goldfish_resume(struct device *d)
{
	struct rtc_goldfish *g = (struct rtc_goldfish *)d;

	LOCK_SCOPE(&d->lock);
	g->paused = false;
	look_at_alarm(g);
}

static unsigned goldfish_describe(const struct device *d, struct dev_desc *ret, unsigned max)
{
	const struct rtc_goldfish *g = (const struct rtc_goldfish *)d;

	if (!max)
		return 0;
	ret[0] = (struct dev_desc){
		.kind = DEV_RTC,
		.space = SPACE_MMIO,
		.base = g->region.base,
		.size = g->region.size,
		.irq = g->at.irq,
		.has_irq = true,
		.level = true,
		.id = d->id,
	};
	return 1;
}

static void goldfish_free(struct device *d)
{
	struct rtc_goldfish *g = (struct rtc_goldfish *)d;

	if (g->posted)
		g->posted->rtc = NULL;
	ev_timer_cancel(&g->timer);
	bus_del(d->host->mmio, &g->region);
	irq_line_free(g->irq);
	device_fini(d);
	free(g);
}

static const struct device_ops goldfish_ops = {
	.type = "rtc-goldfish",
	.reset = goldfish_reset,
	.visit = goldfish_visit,
	.describe = goldfish_describe,
	.pause = goldfish_pause,
	.paused = goldfish_paused,
	.resume = goldfish_resume,
	.free = goldfish_free,
};

int rtc_goldfish_new(struct dev_host *h, const char *id, const struct platform_at *at,
	struct device **ret_device)
{
	struct rtc_goldfish *g = calloc(1, sizeof(*g));
	int r;

	if (!g)
		return -ENOMEM;
	device_init(&g->device, &goldfish_ops, h, id);
	g->at = *at;
	g->timer.fire = timer_fired;
	g->region = (struct io_region){
		at->base, GOLDFISH_SIZE, &goldfish_io, g, &g->device.lock, g->device.id};
	r = irq_wire_new(h->irqs, NULL, at->irq, IRQ_LEVEL, h->control, &g->irq);
	if (!r)
		r = bus_add(h->mmio, &g->region);
	if (r < 0) {
		goldfish_free(&g->device);
		return r;
	}
	*ret_device = &g->device;
	return 0;
}
