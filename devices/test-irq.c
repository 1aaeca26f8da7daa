/* SPDX-License-Identifier: Apache-2.0 */
/* Lines over the fake host's domain, which behaves as KVM's does, with irqfds and without. */
#include "devices/irq.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <unistd.h>
#include "devices/testing/fake_host.h"

#define PIN 5

static struct fake_host f;
static struct irq_line *line;

static void with_irqfd(void)
{
	cr_assert_eq(fake_host_init(&f, 0, true), 0);
}

static void without_irqfd(void)
{
	cr_assert_eq(fake_host_init(&f, 0, false), 0);
}

static void end(void)
{
	irq_line_free(line);
	fake_host_fini(&f);
}

static void write_fd(int fd)
{
	uint64_t one = 1;

	cr_assert_eq(write(fd, &one, sizeof(one)), sizeof(one));
}

static void new_wire(enum irq_trigger t)
{
	cr_assert_eq(irq_wire_new(&f.irqs, NULL, PIN, t, f.host.control, &line), 0);
}

Test(irq, level_follows, .init = with_irqfd, .fini = end)
{
	new_wire(IRQ_LEVEL);
	irq_set(line, true);
	irq_set(line, true);
	cr_assert(f.wire[PIN] && f.edges[PIN] == 1);
	irq_set(line, false);
	irq_set(line, false);
	cr_assert(!f.wire[PIN]);
	irq_set(line, true);
	irq_line_free(line); /* lets go of the pin */
	line = NULL;
	cr_assert(!f.wire[PIN]);
}

Test(irq, a_shared_pin_is_a_wired_or, .init = with_irqfd, .fini = end)
{
	static struct irq_pin pin; /* outlives the line */
	struct irq_line *other;

	irq_pin_init(&pin);
	irq_wire_new(&f.irqs, &pin, PIN, IRQ_LEVEL, f.host.control, &line);
	irq_wire_new(&f.irqs, &pin, PIN, IRQ_LEVEL, f.host.control, &other);
	irq_set(line, true);
	irq_set(other, true);
	irq_set(line, false);
	cr_assert(f.wire[PIN]);
	irq_line_free(other);
	cr_assert(!f.wire[PIN]);
	cr_assert_eq(f.edges[PIN], 1);
	cr_assert_eq(pin.asserted, 0);
}

static void level_by_fd(void)
{
	int fd;

	new_wire(IRQ_LEVEL);
	fd = irq_fd(line);
	cr_assert_geq(fd, 0);
	cr_assert_eq(irq_fd(line), fd); /* never changes */
	write_fd(fd);
	fake_pump(&f);
	cr_assert(f.wire[PIN]); /* asserted until the transport lets go */
	irq_set(line, false);
	cr_assert(!f.wire[PIN]);
}

Test(irq, level_by_fd, .init = with_irqfd, .fini = end)
{
	level_by_fd();
}

Test(irq, level_by_fd_without_irqfd, .init = without_irqfd, .fini = end)
{
	level_by_fd();
}

static void edges(void)
{
	int fd;

	new_wire(IRQ_EDGE);
	irq_pulse(line);
	irq_set(line, false);
	cr_assert(f.edges[PIN] == 1 && !f.wire[PIN]);
	fd = irq_fd(line);
	cr_assert_geq(fd, 0);
	write_fd(fd);
	fake_pump(&f);
	cr_assert_eq(f.edges[PIN], 2);
	irq_pulse(line);
	fake_pump(&f);
	cr_assert_eq(f.edges[PIN], 3);
}

Test(irq, edges_pulse, .init = with_irqfd, .fini = end)
{
	edges();
}

Test(irq, edges_pulse_without_irqfd, .init = without_irqfd, .fini = end)
{
	edges();
}

static const struct irq_msg msg3 = {.addr = 0xfee00000, .data = 3},
			    msg4 = {.addr = 0xfee00000, .data = 4};

Test(irq, no_msi_here, .init = without_irqfd, .fini = end)
{
	cr_assert_eq(irq_msi_new(&f.irqs, f.host.control, &line), -EOPNOTSUPP);
	cr_assert_null(line);
}

static unsigned delivered(unsigned data)
{
	fake_pump(&f);
	return f.msis[data];
}

static void msi_by_call(void)
{
	cr_assert_eq(irq_msi_new(&f.irqs, f.host.control, &line), 0);
	cr_assert_eq(irq_msi_set(line, &msg3), 0);
	irq_pulse(line);
	irq_pulse(line);
	cr_assert_eq(delivered(3), 0); /* born masked */
	cr_assert(irq_msi_pending(line));
	cr_assert_eq(irq_msi_mask(line, false), 0);
	cr_assert_eq(delivered(3), 1); /* PCIe 6.0 §6.1.4.5: one message for what was pending */
	cr_assert(!irq_msi_pending(line));
	irq_pulse(line);
	cr_assert_eq(delivered(3), 2);
	cr_assert_eq(irq_msi_set(line, &msg4), 0);
	irq_pulse(line);
	cr_assert(delivered(3) == 2 && delivered(4) == 1);
	cr_assert_eq(irq_msi_mask(line, true), 0);
	irq_pulse(line);
	cr_assert_eq(delivered(4), 1);
	cr_assert_eq(irq_msi_set(line, &msg3), 0); /* re-vectored while masked */
	cr_assert_eq(irq_msi_mask(line, false), 0);
	cr_assert(delivered(4) == 1 && delivered(3) == 3);
}

Test(irq, msi_by_call, .init = with_irqfd, .fini = end)
{
	msi_by_call();
}

/* MSI without irqfd: no chip has it, but a domain may. */
Test(irq, msi_by_call_without_irqfd, .init = with_irqfd, .fini = end)
{
	f.irqs.has_irqfd = false;
	msi_by_call();
}

static void msi_by_fd(void)
{
	int fd;

	cr_assert_eq(irq_msi_new(&f.irqs, f.host.control, &line), 0);
	irq_msi_set(line, &msg3);
	fd = irq_fd(line);
	cr_assert_geq(fd, 0);
	write_fd(fd);
	write_fd(fd);
	cr_assert(irq_msi_pending(line));
	cr_assert_eq(delivered(3), 0);
	cr_assert(irq_msi_pending(line));
	irq_msi_mask(line, false);
	cr_assert_eq(delivered(3), 1);
	write_fd(fd);
	cr_assert_eq(delivered(3), 2);
	irq_msi_mask(line, true);
	cr_assert(!irq_msi_pending(line));
	write_fd(fd);
	irq_pulse(line);
	cr_assert_eq(delivered(3), 2);
	irq_msi_mask(line, false);
	irq_msi_mask(line, false);
	cr_assert_eq(delivered(3), 3);
	cr_assert_eq(irq_fd(line), fd);
}

Test(irq, msi_by_fd, .init = with_irqfd, .fini = end)
{
	msi_by_fd();
}

Test(irq, msi_by_fd_without_irqfd, .init = with_irqfd, .fini = end)
{
	f.irqs.has_irqfd = false;
	msi_by_fd();
}

Test(irq, an_unprogrammed_vector_waits, .init = with_irqfd, .fini = end)
{
	cr_assert_eq(irq_msi_new(&f.irqs, f.host.control, &line), 0);
	cr_assert_eq(irq_msi_mask(line, false), 0);
	irq_pulse(line);
	cr_assert_eq(delivered(3), 0);
	cr_assert_eq(irq_msi_set(line, &msg3), 0);
	cr_assert_eq(delivered(3), 1);
}

/* Writes from another thread while the vector is masked, unmasked and moved: every burst arrives as
 * at least one message, and nothing after the end. */
static void *writer(void *arg)
{
	for (int i = 0; i < 20000; i++)
		irq_pulse(line);
	return NULL;
}

Test(irq, masking_loses_nothing, .init = with_irqfd, .fini = end, .timeout = 60)
{
	pthread_t t;
	unsigned before;

	cr_assert_eq(irq_msi_new(&f.irqs, f.host.control, &line), 0);
	irq_msi_set(line, &msg3);
	pthread_create(&t, NULL, writer, NULL);
	for (int i = 0; i < 2000; i++) {
		irq_msi_mask(line, i & 1);
		irq_msi_set(line, i & 2 ? &msg3 : &msg4);
	}
	irq_msi_mask(line, true);
	pthread_join(t, NULL);
	before = delivered(3) + delivered(4);
	irq_pulse(line);
	irq_msi_mask(line, false);
	cr_assert_eq(delivered(3) + delivered(4), before + 1);
}

static struct device_ops dummy_ops = {.type = "dummy"};

Test(irq, fake_host_doorbells_and_events, .init = with_irqfd, .fini = end)
{
	struct dev_host *h = &f.host;
	int fd;

	new_wire(IRQ_EDGE);
	fd = irq_fd(line);
	cr_assert_eq(h->ops->doorbell(h, true, SPACE_MMIO, 0x1000, 2, true, 7, fd), 0);
	cr_assert_eq(h->ops->doorbell(h, true, SPACE_MMIO, 0x1000, 2, true, 7, fd), -EEXIST);
	fake_write(&f, 0x1000, 2, 6);
	fake_write(&f, 0x1000, 4, 7);
	fake_pump(&f);
	cr_assert_eq(f.edges[PIN], 0);
	fake_write(&f, 0x1000, 2, 7);
	fake_pump(&f);
	cr_assert_eq(f.edges[PIN], 1);
	cr_assert_eq(h->ops->doorbell(h, false, SPACE_MMIO, 0x1000, 2, true, 7, fd), 0);
	cr_assert_eq(h->ops->doorbell(h, false, SPACE_MMIO, 0x1000, 2, true, 7, fd), -ENOENT);
	h->ops->event(h, DEV_EVENT_EXIT, 33);
	cr_assert(f.events[DEV_EVENT_EXIT] == 1 && f.last_event_value == 33);
}

Test(device, id_is_kept_and_cut, .init = with_irqfd, .fini = end)
{
	struct device d;

	device_init(&d, &dummy_ops, &f.host, "_a_very_long_id_that_goes_on_and_on");
	cr_assert_str_eq(d.id, "_a_very_long_id_that_goes_on_an");
	cr_assert_eq(d.host, &f.host);
	device_fini(&d);
	device_free(NULL);
}
