/* SPDX-License-Identifier: Apache-2.0 */
/* The shared half against a device that ends its stops when the test says so. */
#include "devices/virtio/core.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include "devices/testing/fake_host.h"

struct slow {
	struct virtio_dev dev; /* first */
	unsigned starts[2], stops[2], resets;
	struct virtq_pos *pos_given;
	uint64_t offer;	 /* features beside 0x5 */
	uint64_t refuse; /* features that accept() will not have */
	bool freed;
};

static struct fake_host f;
static struct slow dev;
static struct virtio_core core;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned raised;

static uint64_t slow_features(struct virtio_dev *d)
{
	return 0x5 | ((struct slow *)d)->offer;
}

static int slow_accept(struct virtio_dev *d, uint64_t features)
{
	return features & ((struct slow *)d)->refuse ? -EINVAL : 0;
}

static void slow_config_read(struct virtio_dev *d, uint32_t off, void *buf, uint32_t len)
{
	cr_assert_leq(off + len, d->config_len);
	memset(buf, 0xc0 + off, len);
}

static int slow_start(struct virtio_dev *d, unsigned i, const struct virtq_setup *s)
{
	struct slow *x = (struct slow *)d;

	x->pos_given = (struct virtq_pos *)s->pos;
	x->starts[i]++;
	return 0;
}

static int slow_stop(struct virtio_dev *d, unsigned i)
{
	((struct slow *)d)->stops[i]++;
	return 0;
}

static void slow_reset(struct virtio_dev *d)
{
	((struct slow *)d)->resets++;
}

static void slow_free(struct virtio_dev *d)
{
	((struct slow *)d)->freed = true;
}

static const struct virtio_dev_ops slow_ops = {
	.features = slow_features,
	.accept = slow_accept,
	.config_read = slow_config_read,
	.queue_start = slow_start,
	.queue_stop = slow_stop,
	.reset = slow_reset,
	.free = slow_free,
};

static void count(void *arg)
{
	raised++;
}

static struct virtio_signal queue_signal(struct virtio_core *c, unsigned i)
{
	return (struct virtio_signal){.status = &c->isr, .raise = count};
}

static struct virtio_signal config_signal(struct virtio_core *c)
{
	return queue_signal(c, 0);
}

static void make(void)
{
	raised = 0;
	cr_assert_eq(fake_host_init(&f, 0, true), 0);
	dev = (struct slow){.dev = {.ops = &slow_ops,
				    .id = "_slow",
				    .nqueues = 2,
				    .queue_max = {16, 16},
				    .config_len = 6,
				    .host = &f.host}};
	cr_assert_eq(virtio_core_init(&core, &dev.dev, &lock), 0);
	core.queue_signal = queue_signal;
	core.config_signal = config_signal;
}

static void unmake(void)
{
	for (int i = 0; i < 2; i++)
		core.queue[i].running = false;
	core.resetting = false;
	virtio_core_fini(&core);
	cr_expect(dev.freed);
	fake_host_fini(&f);
}

TestSuite(core, .init = make, .fini = unmake, .timeout = 30);

static void negotiate(void)
{
	virtio_core_status_write(&core, 1);
	virtio_core_status_write(&core, 3);
	core.driver_feature_sel = 1;
	virtio_core_features_write(&core, 1); /* VERSION_1 */
	virtio_core_status_write(&core, 11);
}

static void run_queue(unsigned i)
{
	core.queue_sel = i;
	virtio_core_queue_enable(&core, true);
}

static void stopped(unsigned i, uint16_t avail)
{
	struct virtq_pos pos = {.avail = avail, .used = avail};

	dev.dev.events->queue_stopped(dev.dev.transport, i, &pos);
}

Test(core, queue_starts_at_driver_ok)
{
	negotiate();
	run_queue(0);
	cr_expect_eq(dev.starts[0], 0u);
	virtio_core_status_write(&core, 15);
	cr_expect_eq(dev.starts[0], 1u);
	cr_expect_eq(dev.starts[1], 0u);
	run_queue(1);
	cr_expect_eq(dev.starts[1], 1u, "enabled later");
}

Test(core, device_may_refuse_features)
{
	dev.refuse = 4;
	core.driver_feature_sel = 0;
	virtio_core_features_write(&core, 4);
	negotiate();
	cr_expect_eq(virtio_core_status_read(&core), 3);
}

Test(core, features_must_have_been_offered)
{
	core.driver_feature_sel = 0;
	virtio_core_features_write(&core, 2);
	negotiate();
	cr_expect_eq(virtio_core_status_read(&core), 3);
	virtio_core_features_write(&core, 0); /* sel is 1: no VERSION_1 */
	core.driver_feature_sel = 0;
	virtio_core_features_write(&core, 4);
	virtio_core_status_write(&core, 11);
	cr_expect_eq(virtio_core_status_read(&core), 3, "legacy driver");
}

Test(core, features_are_frozen_after_features_ok)
{
	negotiate();
	core.driver_feature_sel = 0;
	virtio_core_features_write(&core, 5);
	cr_expect_eq(core.driver_features, VIRTIO_BIT_VERSION_1);
}

Test(core, status_bits_are_not_cleared_one_by_one)
{
	negotiate();
	virtio_core_status_write(&core, 1);
	cr_expect_eq(virtio_core_status_read(&core), 11);
}

Test(core, reset_ends_when_the_device_says)
{
	negotiate();
	run_queue(0);
	virtio_core_status_write(&core, 15);
	virtio_core_status_write(&core, 0);
	cr_expect_eq(dev.resets, 1u);
	cr_expect_neq(virtio_core_status_read(&core), 0);
	virtio_core_status_write(&core, 0);
	cr_expect_eq(dev.resets, 1u, "not twice");
	virtio_core_status_write(&core, 1); /* ignored meanwhile */
	stopped(0, 3);
	cr_expect_eq(dev.starts[0], 1u, "a stop during reset does not start again");
	dev.dev.events->reset_done(dev.dev.transport);
	cr_expect_eq(virtio_core_status_read(&core), 0);
	cr_expect_not(core.queue[0].enabled);
}

Test(core, reset_of_an_idle_device_is_immediate)
{
	negotiate();
	virtio_core_status_write(&core, 0);
	cr_expect_eq(dev.resets, 0u);
	cr_expect_eq(virtio_core_status_read(&core), 0);
}

Test(core, queue_that_was_disabled_starts_afresh)
{
	negotiate();
	run_queue(0);
	virtio_core_status_write(&core, 15);
	virtio_core_queue_enable(&core, false);
	virtio_core_queue_enable(&core, true); /* while the stop is under way */
	cr_expect_eq(dev.stops[0], 1u);
	cr_expect_eq(dev.starts[0], 1u);
	stopped(0, 9);
	cr_expect_eq(dev.starts[0], 2u);
	cr_expect_null(dev.pos_given);
}

Test(core, changed_signals_restart_a_queue_where_it_stood)
{
	negotiate();
	run_queue(0);
	virtio_core_status_write(&core, 15);
	virtio_core_signals_changed(&core);
	cr_expect_eq(dev.stops[0], 1u);
	stopped(0, 9);
	cr_expect_eq(dev.starts[0], 2u);
	cr_assert(dev.pos_given);
	cr_expect_eq(dev.pos_given->avail, 9);
}

Test(core, broken_queue)
{
	negotiate();
	run_queue(0);
	virtio_core_status_write(&core, 15);
	dev.dev.events->broken(dev.dev.transport, 0);
	dev.dev.events->broken(dev.dev.transport, 0);
	cr_expect_eq(virtio_core_status_read(&core), 15 | 64);
	cr_expect_eq(raised, 1u);
	cr_expect_eq(core.isr, 2u);
}

Test(core, config_change)
{
	uint32_t before = core.generation;

	dev.dev.events->config_changed(dev.dev.transport);
	cr_expect_eq(raised, 0u, "no driver yet");
	negotiate();
	virtio_core_status_write(&core, 15);
	dev.dev.events->config_changed(dev.dev.transport);
	cr_expect_eq(raised, 1u);
	cr_expect_eq(core.generation, before + 2);
}

Test(core, config_space_ends)
{
	uint8_t buf[8];

	virtio_core_config_read(&core, 4, buf, 4);
	cr_expect_eq(memcmp(buf, "\xc4\xc4\0\0", 4), 0);
	virtio_core_config_read(&core, 6, buf, 4);
	cr_expect_eq(memcmp(buf, "\0\0\0\0", 4), 0);
	virtio_core_config_read(&core, UINT32_MAX - 1, buf, 8);
	virtio_core_config_write(&core, 0, buf, 4); /* read-only space */
}

Test(core, queue_that_does_not_exist)
{
	negotiate();
	core.queue_sel = 2;
	cr_expect_null(virtio_core_queue(&core));
	virtio_core_queue_size(&core, 8);
	virtio_core_queue_enable(&core, true);
	virtio_core_kick(&core, 2);
	virtio_core_kick(&core, UINT32_MAX);
	virtio_core_status_write(&core, 15);
}

static bool kicked(unsigned i)
{
	eventfd_t n;

	return eventfd_read(core.queue[i].kick_fd, &n) == 0;
}

static void start_both(void)
{
	negotiate();
	run_queue(0);
	run_queue(1);
	virtio_core_status_write(&core, 15);
}

Test(core, pause_stops_every_queue_and_resume_goes_on)
{
	start_both();
	cr_expect_not(virtio_core_paused(&core), "nobody asked");
	virtio_core_pause(&core);
	virtio_core_pause(&core);
	cr_expect_eq(dev.stops[0], 1u);
	cr_expect_eq(dev.stops[1], 1u);
	stopped(0, 7);
	cr_expect_not(virtio_core_paused(&core), "queue 1 still stops");
	stopped(1, 9);
	cr_expect(virtio_core_paused(&core));
	cr_expect_eq(core.queue[0].pos.avail, 7);
	cr_expect_eq(virtio_core_status_read(&core), 15);
	cr_expect_eq(raised, 0u);
	virtio_core_resume(&core);
	cr_expect_eq(dev.starts[0], 2u);
	cr_expect_eq(dev.starts[1], 2u);
	cr_assert(dev.pos_given);
	cr_expect_eq(dev.pos_given->avail, 9);
	cr_expect_eq(raised, 2u, "each queue once");
	cr_expect(kicked(0));
	cr_expect(kicked(1));
}

Test(core, resume_while_a_queue_still_stops)
{
	start_both();
	virtio_core_pause(&core);
	virtio_core_resume(&core);
	cr_expect_eq(dev.starts[0], 1u);
	stopped(0, 3);
	cr_expect_eq(dev.starts[0], 2u);
	cr_expect_eq(dev.pos_given->avail, 3);
}

Test(core, pause_leaves_alone_what_does_not_run)
{
	negotiate();
	run_queue(0);
	virtio_core_pause(&core);
	cr_expect(virtio_core_paused(&core));
	virtio_core_status_write(&core, 15);
	cr_expect_eq(dev.starts[0], 0u, "not while paused");
	virtio_core_resume(&core);
	cr_expect_eq(dev.starts[0], 1u);
	cr_expect_null(dev.pos_given);
	cr_expect_eq(dev.starts[1], 0u, "never enabled");
}

Test(core, pause_while_a_disabled_queue_stops)
{
	start_both();
	core.queue_sel = 0;
	virtio_core_queue_enable(&core, false);
	virtio_core_queue_enable(&core, true);
	virtio_core_pause(&core);
	cr_expect_eq(dev.stops[0], 1u);
	stopped(0, 5);
	stopped(1, 6);
	cr_expect_eq(core.queue[0].pos.avail, 0, "it will start afresh");
	virtio_core_resume(&core);
	cr_expect_eq(dev.starts[0], 2u);
}

Test(core, pause_during_reset)
{
	start_both();
	virtio_core_status_write(&core, 0);
	virtio_core_pause(&core);
	cr_expect_eq(dev.stops[0], 0u, "the reset stops them");
	stopped(0, 5);
	stopped(1, 6);
	cr_expect_not(virtio_core_paused(&core));
	dev.dev.events->reset_done(dev.dev.transport);
	cr_expect(virtio_core_paused(&core));
	virtio_core_resume(&core);
	cr_expect_eq(dev.starts[0], 1u);
	cr_expect_eq(raised, 0u);
}

Test(core, news_of_the_driver)
{
	virtio_core_status_write(&core, 0);
	cr_expect_eq(f.notices[DEV_NOTICE_RESET], 0u, "the first reset of any driver");
	negotiate();
	cr_expect_eq(f.notices[DEV_NOTICE_ACTIVATED], 0u);
	virtio_core_status_write(&core, 15);
	virtio_core_status_write(&core, 15);
	cr_expect_eq(f.notices[DEV_NOTICE_ACTIVATED], 1u);
	virtio_core_status_write(&core, 0);
	virtio_core_status_write(&core, 0);
	cr_expect_eq(f.notices[DEV_NOTICE_RESET], 1u);
	cr_expect_eq(f.notices[DEV_NOTICE_ACTIVATED], 1u);
}

Test(core, kicks_that_came_as_exits_are_counted)
{
	struct dev_counter c;

	virtio_core_kick(&core, 1);
	virtio_core_kick(&core, 2);
	cr_assert_eq(virtio_core_counters(&core, &c, 1), 1u);
	cr_expect_str_eq(c.name, "kick_exits");
	cr_expect_eq(c.value, 1u);
}

Test(core, queue_sizes_that_differ)
{
	struct dev_achieved a[8];

	start_both();
	cr_assert_eq(virtio_core_achieved(&core, a, 8), 5u);
	cr_expect_str_eq(a[1].text, "16");
	core.queue[1].size = 8;
	virtio_core_achieved(&core, a, 8);
	cr_expect_str_eq(a[1].text, "16, 8");
	cr_expect_str_eq(a[2].text, "off: the driver did not accept it");
	cr_expect_str_eq(a[4].what, "packed");
	dev.dev.no_packed = true;
	virtio_core_achieved(&core, a, 8);
	cr_expect_str_eq(a[4].text, "off: not offered");
}

static void negotiate_packed(void)
{
	dev.offer = VIRTIO_BIT_RING_PACKED;
	core.feature_sel = core.driver_feature_sel = 1;
	virtio_core_features_write(&core, virtio_core_features_read(&core));
	virtio_core_status_write(&core, 11);
}

Test(core, packed_rings_take_any_size)
{
	negotiate_packed();
	cr_expect(core.driver_features & VIRTIO_BIT_RING_PACKED);
	virtio_core_queue_size(&core, 13);
	cr_expect_eq(core.queue[0].size, 13);
	virtio_core_queue_size(&core, 17);
	virtio_core_queue_size(&core, 0);
	cr_expect_eq(core.queue[0].size, 13);
}

Test(core, packed_rings_that_are_not_to_be_offered)
{
	dev.dev.no_packed = true;
	negotiate_packed();
	cr_expect_not(core.driver_features & VIRTIO_BIT_RING_PACKED);
	virtio_core_queue_size(&core, 13);
	cr_expect_eq(core.queue[0].size, 16);
}

/* A queue that was saved before it ever ran begins its first lap, with both wrap counters 1. */
Test(core, position_of_a_queue_that_never_ran)
{
	struct visit_buf buf = {0};
	struct visitor *v;

	negotiate_packed();
	run_queue(0);
	cr_assert_eq(visitor_new_save(&buf, &v), 0);
	cr_expect_eq(virtio_core_visit(&core, v), 0);
	visitor_free(v);
	cr_assert_eq(visitor_new_load(buf.data, buf.len, &v), 0);
	cr_expect_eq(virtio_core_visit(&core, v), 0);
	visitor_free(v);
	visit_buf_fini(&buf);
	virtio_core_status_write(&core, 15);
	cr_assert(dev.pos_given);
	cr_expect(dev.pos_given->avail_wrap && dev.pos_given->used_wrap);
}
