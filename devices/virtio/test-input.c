/* SPDX-License-Identifier: Apache-2.0 */
/* The power key, as a driver of virtio-input sees it. */
#include <criterion/criterion.h>
#include <errno.h>
#include <linux/input-event-codes.h>
#include <linux/virtio_input.h>
#include <string.h>
#include <unistd.h>
#include "devices/testing/guest_driver.h"
#include "devices/virtio/devs.h"
#include "vmm/base/num.h"

static struct guest_rig rig;
static struct guest_driver *g;
static struct virtio_dev *key;
static uint64_t buf;

static void run(void)
{
	cr_assert_eq(guest_negotiate(g, UINT64_MAX) & 8, 8);
	buf = guest_alloc(g, 512, 8);
	guest_queue_init(g, 0, GUEST_RING);
	guest_queue_init(g, 1, GUEST_RING);
	guest_driver_ok(g);
}

static void make_on(const struct guest_transport *t)
{
	guest_rig_init(&rig, 1 * MIB);
	cr_assert_eq(virtio_input_new(&rig.f.host, "_power", &key), 0);
	guest_rig_attach(&rig, t, key);
	g = &rig.g;
}

static void make(void)
{
	make_on(&guest_mmio);
}

static void unmake(void)
{
	guest_rig_fini(&rig);
}

TestSuite(input, .init = make, .fini = unmake, .timeout = 30);

static void give(unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct guest_buf b = {buf + 8 * (g->q[0].next_desc % 64), 8, true};

		guest_add(g, 0, &b, 1);
	}
	g->t->kick(g, 0);
}

static void expect_event(uint16_t type, uint16_t code, uint32_t value)
{
	struct virtio_input_event e;
	uint32_t id = 0, len = 0;

	cr_assert(guest_wait_used(g, 0, &id, &len));
	cr_expect_eq(len, 8u);
	memcpy(&e, guest_ptr(g, buf + 8 * id, 8), 8);
	cr_expect_eq(e.type, type);
	cr_expect_eq(e.code, code);
	cr_expect_eq(e.value, value);
}

static void expect_press(void)
{
	expect_event(EV_KEY, KEY_POWER, 1);
	expect_event(EV_SYN, SYN_REPORT, 0);
	expect_event(EV_KEY, KEY_POWER, 0);
	expect_event(EV_SYN, SYN_REPORT, 0);
}

static void expect_quiet(void)
{
	usleep(20000);
	cr_expect_eq(guest_used_idx(g, 0), g->q[0].seen);
}

static void choose(uint8_t select, uint8_t subsel)
{
	uint64_t at = g->t == &guest_mmio ? g->base + 0x100 : g->config;

	fake_write(&rig.f, at, 1, select);
	fake_write(&rig.f, at + 1, 1, subsel);
}

static void expect_config(void)
{
	char name[64] = "";

	choose(VIRTIO_INPUT_CFG_ID_NAME, 0);
	for (unsigned i = 0; i < g->t->config(g, 2, 1); i++)
		name[i] = g->t->config(g, 8 + i, 1);
	cr_expect_str_eq(name, "polyvisor power button");
	choose(VIRTIO_INPUT_CFG_ID_SERIAL, 0);
	cr_expect_eq(g->t->config(g, 2, 1), 6u);
	cr_expect_eq(g->t->config(g, 8, 4), 0x776f705fu, "_pow");
	choose(VIRTIO_INPUT_CFG_ID_DEVIDS, 0);
	cr_expect_eq(g->t->config(g, 2, 1), 8u);
	cr_expect_eq(g->t->config(g, 8, 2), 6u, "virtual");
	choose(VIRTIO_INPUT_CFG_EV_BITS, EV_KEY);
	cr_expect_eq(g->t->config(g, 2, 1), KEY_POWER / 8 + 1u);
	for (unsigned i = 0; i < 128; i++)
		cr_expect_eq(
			g->t->config(g, 8 + i, 1), i == KEY_POWER / 8 ? 1u << KEY_POWER % 8 : 0);
}

Test(input, says_what_it_is)
{
	expect_config();
	unmake();
	make_on(&guest_pci_msix);
	expect_config();
}

/* Nothing else is there, and nothing else can be written. */
Test(input, has_no_more)
{
	unsigned found = 0;

	for (unsigned select = 0; select < 256; select++)
		for (unsigned subsel = 0; subsel < 256; subsel++) {
			choose(select, subsel);
			found += g->t->config(g, 2, 1) != 0;
		}
	cr_expect_eq(found, 4u);
	choose(VIRTIO_INPUT_CFG_ID_NAME, 0);
	for (unsigned off = 2; off < 136; off++)
		fake_write(&rig.f, g->base + 0x100 + off, 1, 0xff);
	cr_expect_eq(g->t->config(g, 8, 1), 'p');
	fake_write(&rig.f, g->base + 0x100, 4, VIRTIO_INPUT_CFG_ID_DEVIDS); /* both at once */
	cr_expect_eq(g->t->config(g, 2, 1), 8u);
}

Test(input, press)
{
	run();
	give(8);
	expect_quiet();
	virtio_input_power_key(key);
	expect_press();
	virtio_input_power_key(key);
	expect_press();
	expect_quiet();
	cr_expect_eq(guest_rig_counter(&rig, "events"), 8u);
}

/* Before there is a driver, or while it gives no buffers, one press is kept. */
Test(input, press_waits)
{
	virtio_input_power_key(key);
	virtio_input_power_key(key);
	run();
	give(1);
	expect_event(EV_KEY, KEY_POWER, 1);
	virtio_input_power_key(key);
	virtio_input_power_key(key);
	give(1);
	expect_event(EV_SYN, SYN_REPORT, 0);
	give(8);
	expect_event(EV_KEY, KEY_POWER, 0);
	expect_event(EV_SYN, SYN_REPORT, 0);
	expect_press();
	expect_quiet();
}

Test(input, new_driver_sees_whole_presses)
{
	run();
	give(1);
	virtio_input_power_key(key);
	expect_event(EV_KEY, KEY_POWER, 1);
	run();
	give(8);
	expect_quiet();
	virtio_input_power_key(key);
	expect_press();
}

Test(input, pause_in_the_middle)
{
	struct visit_buf state = {0};
	struct visitor *v;

	run();
	give(1);
	virtio_input_power_key(key);
	expect_event(EV_KEY, KEY_POWER, 1);
	guest_rig_pause(&rig);
	virtio_input_power_key(key);
	cr_assert_eq(visitor_new_save(&state, &v), 0);
	cr_expect_eq(rig.device->ops->visit(rig.device, v), 0);
	visitor_free(v);
	rig.device->ops->reset(rig.device);
	cr_assert_eq(visitor_new_load(state.data, state.len, &v), 0);
	cr_expect_eq(rig.device->ops->visit(rig.device, v), 0);
	visitor_free(v);
	visit_buf_fini(&state);
	guest_rig_resume(&rig);
	give(8);
	expect_event(EV_SYN, SYN_REPORT, 0);
	expect_event(EV_KEY, KEY_POWER, 0);
	expect_event(EV_SYN, SYN_REPORT, 0);
	expect_press();
}

/* Lights that the driver sets, buffers too small, and a broken ring. */
Test(input, odd_drivers)
{
	struct guest_buf status = {buf, 8, false}, small = {buf, 3, true};
	uint32_t len = 9;

	run();
	guest_add(g, 1, &status, 1);
	g->t->kick(g, 1);
	cr_assert(guest_wait_used(g, 1, NULL, &len));
	cr_expect_eq(len, 0u);
	guest_add(g, 0, &small, 1);
	guest_add(g, 0, &status, 1);
	virtio_input_power_key(key);
	cr_assert(guest_wait_used(g, 0, NULL, &len));
	cr_expect_eq(len, 3u);
	cr_assert(guest_wait_used(g, 0, NULL, &len));
	cr_expect_eq(len, 0u);
	guest_break_ring(g, 0);
	g->t->kick(g, 0);
	cr_expect(guest_wait_status(g, 64));
	run();
	give(8);
	virtio_input_power_key(key);
	expect_press();
}
