/* SPDX-License-Identifier: Apache-2.0 */
/* What ends a machine: ACPI's registers, the keyboard controller, test-exit. */
#include <criterion/criterion.h>
#include "devices/platform/platform.h"
#include "devices/testing/fake_host.h"
#include "vmm/base/num.h"

#define BASE 0x600
#define IRQ  9

static void out(struct fake_host *f, uint64_t port, unsigned size, uint64_t v)
{
	unsigned hint = 0;

	bus_write(&f->pio, port, size, v, &hint);
}

static uint64_t in(struct fake_host *f, uint64_t port, unsigned size)
{
	unsigned hint = 0;
	uint64_t v;

	bus_read(&f->pio, port, size, &v, &hint);
	return v;
}

Test(acpi_power, sleep_and_reset)
{
	struct fake_host f;
	struct platform_at at = {SPACE_PIO, BASE, IRQ, 0};
	struct device *d;

	cr_assert_eq(fake_host_init(&f, 0, true), 0);
	cr_assert_eq(acpi_power_new(&f.host, "power0", &at, &d), 0);
	out(&f, BASE, 1, 5 << 2);
	cr_assert_eq(f.events[DEV_EVENT_POWEROFF], 0, "without SLP_EN");
	out(&f, BASE, 1, 0x20 | 5 << 2);
	cr_assert_eq(f.events[DEV_EVENT_POWEROFF], 1);
	out(&f, BASE + 1, 1, 0x80);
	cr_assert_eq(in(&f, BASE + 1, 1), 0);
	out(&f, BASE + 2, 1, 1);
	cr_assert_eq(f.events[DEV_EVENT_RESET], 1);
	device_free(d);
	cr_assert_eq(in(&f, BASE, 1), 0xff, "gone");
	fake_host_fini(&f);
}

Test(acpi_power, button)
{
	struct fake_host f;
	struct platform_at at = {SPACE_PIO, BASE, IRQ, 0};
	struct device *d;
	struct dev_desc desc;

	cr_assert_eq(fake_host_init(&f, 0, true), 0);
	cr_assert_eq(acpi_power_new(&f.host, "power0", &at, &d), 0);
	cr_assert_eq(d->ops->describe(d, &desc, 1), 1);
	cr_assert(desc.has_irq && desc.irq == IRQ && !desc.level && desc.size == 8);
	acpi_power_button(d);
	fake_pump(&f);
	cr_assert_eq(f.edges[IRQ], 1);
	cr_assert_eq(in(&f, BASE + 4, 4), 1);
	cr_assert_eq(in(&f, BASE + 4, 1), 0, "reading takes it");
	device_free(d);
	fake_host_fini(&f);
}

Test(i8042, only_resets)
{
	struct fake_host f;
	struct device *d;

	cr_assert_eq(fake_host_init(&f, 0, true), 0);
	cr_assert_eq(i8042_new(&f.host, "kbd0", &d), 0);
	cr_assert_eq(in(&f, 0x64, 1), 0);
	out(&f, 0x64, 1, 0x20);
	out(&f, 0x64, 1, 0xff);
	out(&f, 0x60, 1, 0xfe);
	cr_assert_eq(f.events[DEV_EVENT_RESET], 0);
	out(&f, 0x64, 1, 0xfe);
	cr_assert_eq(f.events[DEV_EVENT_RESET], 1);
	cr_assert_eq(in(&f, 0x61, 1), 0xff, "the ports between belong to nobody");
	device_free(d);
	fake_host_fini(&f);
}

Test(test_exit, keeps_the_convention)
{
	struct fake_host f;
	struct platform_at port = {SPACE_PIO, 0xf4, 0, 0}, reg = {SPACE_MMIO, 0x5000, 0, 0};
	struct device *a, *b;

	cr_assert_eq(fake_host_init(&f, 0, true), 0);
	cr_assert_eq(test_exit_new(&f.host, "exit0", &port, &a), 0);
	cr_assert_eq(test_exit_new(&f.host, "exit1", &reg, &b), 0);
	out(&f, 0xf4, 1, 0x10);
	cr_assert_eq(f.last_event_value, 0x21);
	out(&f, 0xf4, 4, 0);
	cr_assert_eq(f.last_event_value, 1);
	fake_write(&f, 0x5000, 4, 0xffffffff);
	cr_assert_eq(f.last_event_value, 0xff);
	cr_assert_eq(f.events[DEV_EVENT_EXIT], 3);
	device_free(b);
	device_free(a);
	fake_host_fini(&f);
}

Test(platform, ports_need_a_port_bus)
{
	struct fake_host f;
	struct platform_at at = {SPACE_PIO, BASE, IRQ, 0};
	struct device *d = NULL;

	cr_assert_eq(fake_host_init(&f, 0, true), 0);
	f.host.pio = NULL;
	cr_assert_eq(acpi_power_new(&f.host, "p", &at, &d), -EINVAL);
	cr_assert_eq(test_exit_new(&f.host, "t", &at, &d), -EINVAL);
	cr_assert_eq(rtc_cmos_new(&f.host, "r", &d), -EINVAL);
	cr_assert_eq(i8042_new(&f.host, "k", &d), -EINVAL);
	cr_assert_null(d);
	fake_host_fini(&f);
}

Test(platform, an_address_is_taken_once)
{
	struct fake_host f;
	struct platform_at at = {SPACE_MMIO, 0x5000, IRQ, 0};
	struct device *a, *b = NULL;

	cr_assert_eq(fake_host_init(&f, 0, true), 0);
	cr_assert_eq(rtc_goldfish_new(&f.host, "a", &at, &a), 0);
	cr_assert_eq(rtc_pl031_new(&f.host, "b", &at, &b), -EEXIST);
	cr_assert_eq(acpi_power_new(&f.host, "b", &at, &b), -EEXIST);
	cr_assert_eq(test_exit_new(&f.host, "b", &at, &b), -EEXIST);
	cr_assert_null(b);
	device_free(a);
	fake_host_fini(&f);
}
