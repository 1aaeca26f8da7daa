/* SPDX-License-Identifier: Apache-2.0 */
/* The UART as Linux's 8250 driver and a person at a terminal meet it. The character back-end is
 * replaced by one that this file controls. */
#include <criterion/criterion.h>
#include <string.h>
#include <unistd.h>
#include "devices/platform/platform.h"
#include "devices/testing/fake_host.h"
#include "vmm/base/num.h"

#define BASE 0x10000000
#define IRQ  4
#define DATA 0
#define IER  1
#define IIR  2
#define FCR  2
#define LCR  3
#define MCR  4
#define LSR  5
#define MSR  6
#define SCR  7

#define NO_INT 0x01
#define THRI   0x02

struct chr {
	char out[64];
	size_t nout;
	size_t (*input)(void *arg, const uint8_t *p, size_t n);
	void *arg;
	unsigned readies;
	size_t lose; /* what the next writes lose */
};

int chr_bind(struct chr *c, struct ev_loop *loop,
	size_t (*input)(void *arg, const uint8_t *p, size_t n), void *arg)
{
	c->input = input;
	c->arg = arg;
	return 0;
}

void chr_unbind(struct chr *c)
{
	c->input = NULL;
}

void chr_input_ready(struct chr *c)
{
	c->readies++;
}

size_t chr_write(struct chr *c, const uint8_t *p, size_t n)
{
	cr_assert_leq(c->nout + n, sizeof(c->out));
	memcpy(c->out + c->nout, p, n);
	c->nout += n;
	return c->lose;
}

struct rig {
	struct fake_host f;
	struct chr chr;
	struct device *uart;
	unsigned shift;
};

static void rig_init(struct rig *r, enum irq_trigger t, unsigned shift)
{
	struct platform_at at = {SPACE_MMIO, BASE, IRQ, shift};

	memset(r, 0, sizeof(*r));
	r->shift = shift;
	cr_assert_eq(fake_host_init(&r->f, 0, true), 0);
	cr_assert_eq(ns16550_new(&r->f.host, "serial0", &at, t, &r->chr, &r->uart), 0);
}

static void rig_fini(struct rig *r)
{
	device_free(r->uart);
	cr_assert_null(r->chr.input);
	fake_host_fini(&r->f);
}

static void out(struct rig *r, unsigned reg, uint8_t v)
{
	fake_write(&r->f, BASE + ((uint64_t)reg << r->shift), 1, v);
}

static uint8_t in(struct rig *r, unsigned reg)
{
	return fake_read(&r->f, BASE + ((uint64_t)reg << r->shift), 1);
}

static size_t type(struct rig *r, const char *text)
{
	return r->chr.input(r->chr.arg, (const uint8_t *)text, strlen(text));
}

Test(ns16550, writes_leave_at_once)
{
	struct rig r;

	rig_init(&r, IRQ_LEVEL, 0);
	out(&r, DATA, 'h');
	cr_assert_eq(in(&r, LSR), 0x60);
	out(&r, DATA, 'i');
	cr_assert_eq(r.chr.nout, 2);
	cr_assert_eq(memcmp(r.chr.out, "hi", 2), 0);
	rig_fini(&r);
}

Test(ns16550, spaced_registers)
{
	struct rig r;

	rig_init(&r, IRQ_LEVEL, 2);
	fake_write(&r.f, BASE + (SCR << 2), 4, 0xffffff5a);
	cr_assert_eq(fake_read(&r.f, BASE + (SCR << 2), 4), 0x5a);
	cr_assert_eq(fake_read(&r.f, BASE + (SCR << 2) + 1, 1), 0);
	cr_assert_eq(fake_read(&r.f, BASE + (8 << 2), 1), 0xff, "past the last register");
	rig_fini(&r);
}

Test(ns16550, divisor_hides_data_and_ier)
{
	struct rig r;

	rig_init(&r, IRQ_LEVEL, 0);
	out(&r, IER, 0x05);
	out(&r, LCR, 0x83);
	out(&r, DATA, 0x34);
	out(&r, IER, 0x12);
	cr_assert_eq(in(&r, DATA), 0x34);
	cr_assert_eq(in(&r, IER), 0x12);
	out(&r, LCR, 0x03);
	cr_assert_eq(in(&r, IER), 0x05);
	cr_assert_eq(r.chr.nout, 0);
	rig_fini(&r);
}

/* The steps of the Linux driver's autoconfig that decide "16550A". */
Test(ns16550, autoconfig)
{
	struct rig r;

	rig_init(&r, IRQ_EDGE, 0);
	out(&r, IER, 0);
	cr_assert_eq(in(&r, IER), 0);
	out(&r, IER, 0xff);
	cr_assert_eq(in(&r, IER), 0x0f);
	out(&r, IER, 0);
	out(&r, MCR, 0x1a); /* loop, OUT2, RTS */
	cr_assert_eq(in(&r, MSR) & 0xf0, 0x90);
	out(&r, MCR, 0);
	out(&r, FCR, 1);
	cr_assert_eq(in(&r, IIR) >> 6, 3);
	out(&r, LCR, 0xbf);
	cr_assert_neq(in(&r, FCR), 0, "no extended feature register");
	out(&r, LCR, 0);
	out(&r, FCR, 0);
	cr_assert_eq(in(&r, IIR), NO_INT);
	rig_fini(&r);
}

/* Enabling THRI with an empty transmitter interrupts, each time; reading IIR takes it back. */
Test(ns16550, thre_test)
{
	struct rig r;

	rig_init(&r, IRQ_EDGE, 0);
	out(&r, IER, THRI);
	cr_assert_eq(in(&r, IIR), THRI);
	cr_assert_eq(in(&r, IIR), NO_INT);
	out(&r, IER, 0);
	out(&r, IER, THRI);
	cr_assert_eq(in(&r, IIR), THRI);
	cr_assert_eq(r.f.edges[IRQ], 2);
	rig_fini(&r);
}

Test(ns16550, each_byte_sent_interrupts)
{
	struct rig r;

	rig_init(&r, IRQ_EDGE, 0);
	out(&r, IER, THRI);
	for (unsigned i = 0; i < 5; i++) {
		out(&r, DATA, 'x');
		cr_assert_eq(r.f.edges[IRQ], 2 + i);
	}
	cr_assert_eq(in(&r, IIR), THRI);
	rig_fini(&r);
}

Test(ns16550, level_line_follows_the_causes)
{
	struct rig r;

	rig_init(&r, IRQ_LEVEL, 0);
	cr_assert_eq(type(&r, "a"), 1);
	cr_assert(!r.f.wire[IRQ], "not enabled");
	out(&r, IER, 1);
	cr_assert(r.f.wire[IRQ]);
	cr_assert_eq(in(&r, IIR), 0x04);
	cr_assert_eq(in(&r, LSR), 0x61);
	cr_assert_eq(in(&r, DATA), 'a');
	cr_assert(!r.f.wire[IRQ]);
	cr_assert_eq(in(&r, LSR), 0x60);
	cr_assert_eq(in(&r, DATA), 0);
	rig_fini(&r);
}

Test(ns16550, input_waits_for_room)
{
	struct rig r;

	rig_init(&r, IRQ_LEVEL, 0);
	cr_assert_eq(type(&r, "ab"), 1, "without FIFO one byte fits");
	out(&r, FCR, 0xc1); /* also empties the receiver; trigger at 14 */
	cr_assert_eq(r.chr.readies, 1);
	out(&r, IER, 1);
	cr_assert_eq(type(&r, "0123456789"), 10);
	cr_assert_eq(in(&r, IIR), 0xcc, "below the trigger it is the timeout");
	cr_assert_eq(type(&r, "abcdefghij"), 6);
	cr_assert_eq(in(&r, IIR), 0xc4);
	for (unsigned i = 0; i < 16; i++)
		cr_assert_eq(in(&r, DATA), "0123456789abcdef"[i]);
	cr_assert_eq(r.chr.readies, 2);
	rig_fini(&r);
}

Test(ns16550, loopback_stays_inside)
{
	struct rig r;

	rig_init(&r, IRQ_LEVEL, 0);
	out(&r, FCR, 1);
	out(&r, MCR, 0x10);
	out(&r, DATA, 'q');
	cr_assert_eq(r.chr.nout, 0);
	cr_assert_eq(in(&r, DATA), 'q');
	cr_assert_eq(type(&r, "z"), 0, "the outside is cut off");
	for (unsigned i = 0; i < 17; i++)
		out(&r, DATA, i);
	cr_assert_eq(in(&r, LSR), 0x63, "overrun");
	cr_assert_eq(in(&r, LSR), 0x61, "which reading clears");
	out(&r, MCR, 0);
	out(&r, FCR, 3);
	cr_assert_geq(r.chr.readies, 1);
	rig_fini(&r);
}

Test(ns16550, modem_deltas)
{
	struct rig r;

	rig_init(&r, IRQ_LEVEL, 0);
	cr_assert_eq(in(&r, MSR), 0xb0);
	out(&r, IER, 8);
	out(&r, MCR, 0x10); /* all four lines drop */
	cr_assert(r.f.wire[IRQ]);
	cr_assert_eq(in(&r, IIR), 0x00);
	cr_assert_eq(in(&r, MSR), 0x0b);
	cr_assert(!r.f.wire[IRQ]);
	out(&r, MCR, 0x14);
	cr_assert_eq(in(&r, MSR), 0x40);
	out(&r, MCR, 0x10);
	cr_assert_eq(in(&r, MSR), 0x04, "ring's trailing edge");
	rig_fini(&r);
}

Test(ns16550, state_travels_and_reset)
{
	struct rig a, b;
	struct visit_buf buf = {0};
	struct visitor *v;

	rig_init(&a, IRQ_LEVEL, 0);
	rig_init(&b, IRQ_LEVEL, 0);
	out(&a, FCR, 1);
	out(&a, IER, 1);
	out(&a, SCR, 77);
	type(&a, "xyz");
	cr_assert_eq(visitor_new_save(&buf, &v), 0);
	cr_assert_eq(a.uart->ops->visit(a.uart, v), 0);
	visitor_free(v);
	cr_assert_eq(visitor_new_load(buf.data, buf.len, &v), 0);
	cr_assert_eq(b.uart->ops->visit(b.uart, v), 0);
	visitor_free(v);
	visit_buf_fini(&buf);
	cr_assert(b.f.wire[IRQ]);
	cr_assert_eq(in(&b, DATA), 'x');
	cr_assert_eq(in(&b, SCR), 77);
	b.uart->ops->reset(b.uart);
	cr_assert(!b.f.wire[IRQ]);
	cr_assert_eq(in(&b, IER), 0);
	cr_assert_eq(in(&b, LSR), 0x60);
	rig_fini(&b);
	rig_fini(&a);
}

Test(ns16550, input_waits_for_a_paused_machine)
{
	struct rig r;

	rig_init(&r, IRQ_LEVEL, 0);
	out(&r, IER, 1);
	r.uart->ops->pause(r.uart);
	cr_assert(r.uart->ops->paused(r.uart));
	cr_expect_eq(r.chr.input(r.chr.arg, (const uint8_t *)"a", 1), 0u);
	cr_expect_not(r.f.wire[IRQ]);
	cr_expect_eq(r.chr.readies, 0u);
	r.uart->ops->resume(r.uart);
	cr_expect_eq(r.chr.readies, 1u, "offer it again");
	cr_expect_eq(r.chr.input(r.chr.arg, (const uint8_t *)"a", 1), 1u);
	cr_expect(r.f.wire[IRQ]);
	rig_fini(&r);
}

Test(ns16550, counts_and_says_once_that_output_is_lost)
{
	struct dev_counter c[3];
	char line[512] = "";
	struct rig r;
	int fd[2];

	rig_init(&r, IRQ_LEVEL, 0);
	cr_assert_eq(pipe(fd), 0);
	r.f.log = (struct log){fd[1], LOG_WARN};
	out(&r, DATA, 'a');
	type(&r, "b");
	r.chr.lose = 1;
	out(&r, DATA, 'c');
	out(&r, DATA, 'd');
	cr_assert_eq(r.uart->ops->counters(r.uart, c, 3), 3u);
	cr_expect_eq(c[0].value, 1u, "%s", c[0].name);
	cr_expect_eq(c[1].value, 3u, "%s", c[1].name);
	cr_expect_eq(c[2].value, 2u, "%s", c[2].name);
	cr_assert_gt(read(fd[0], line, sizeof(line) - 1), 0);
	cr_expect(strstr(line, "serial0"), "%s", line);
	cr_expect_eq(strchr(line, '\n'), line + strlen(line) - 1, "one line");
	rig_fini(&r);
	close(fd[0]);
	close(fd[1]);
}
