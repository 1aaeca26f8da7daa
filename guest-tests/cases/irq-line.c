/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A device's interrupt line: the serial port's "transmitter empty". If the tables call it a level,
 * it interrupts again until the port is quiet; if an edge, once for each rise.
 */
#include "case.h"
#include "uart.h"
#include "wait.h"

static unsigned count, quiet_after;

static void on_interrupt(void *arg)
{
	const struct uart *u = arg;

	if (count + 1 >= quiet_after)
		uart_tx_irq(u, false);
	WRITE_ONCE(count, count + 1);
}

/* No characters may be printed while the port's interrupt is on: they would move the line. */
static void test_level(struct irq irq)
{
	irq.level = true;
	count = 0;
	quiet_after = 3;
	CHECK(!irq_attach(&irq, on_interrupt, &machine.uart), "line %u has no controller", irq.num);
	CHECK(!WAIT_IRQ(READ_ONCE(count), 5), "an interrupt came unasked");
	uart_tx_irq(&machine.uart, true);
	WAIT_IRQ(READ_ONCE(count) >= 3, 10000);
	uart_tx_irq(&machine.uart, false);
	CHECK(count >= 3, "level: %u interrupts while the line was up, not 3", count);
	count = 0;
	quiet_after = ~0u;
	CHECK(!WAIT_IRQ(READ_ONCE(count), 5), "level: interrupts go on with the line down");
	irq_detach(&irq);
}

static void test_edge(struct irq irq)
{
	bool once = true;

	irq.level = false;
	count = 0;
	quiet_after = ~0u;
	CHECK(!irq_attach(&irq, on_interrupt, &machine.uart), "line %u has no controller", irq.num);
	for (unsigned i = 1; i <= 3; i++) {
		uart_tx_irq(&machine.uart, true);
		WAIT_IRQ(READ_ONCE(count) >= i, 10000);
		once &= !WAIT_IRQ(READ_ONCE(count) > i, 3);
		uart_tx_irq_pending(&machine.uart);
		uart_tx_irq(&machine.uart, false);
		CHECK(count >= i, "edge: no interrupt for rise %u", i);
		CHECK(once, "edge: more than one interrupt for rise %u", i);
	}
	irq_detach(&irq);
	uart_tx_irq(&machine.uart, true);
	WAIT_IRQ(false, 3);
	uart_tx_irq(&machine.uart, false);
	CHECK(count == 3, "a masked line interrupted");
}

static void run(void)
{
	if (machine.uart.kind == UART_NONE || !machine.uart.irq.present)
		case_skip("the serial port has no interrupt line");
	note("line %u, %s\n", machine.uart.irq.num, machine.uart.irq.level ? "level" : "edge");
	if (machine.uart.kind == UART_PL011) {
		/* its transmit interrupt is latched at a transition: only a simple check */
		count = 0;
		quiet_after = 1;
		irq_attach(&machine.uart.irq, on_interrupt, &machine.uart);
		uart_tx_irq(&machine.uart, true);
		WAIT_IRQ(READ_ONCE(count), 10000);
		CHECK(count, "no interrupt");
		return;
	}
	if (machine.uart.irq.level)
		test_level(machine.uart.irq);
	else
		test_edge(machine.uart.irq);
}

const struct guest_case this_case = {"irq-line", run, false};
