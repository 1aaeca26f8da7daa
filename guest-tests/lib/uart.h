/* SPDX-License-Identifier: Apache-2.0 */
/* The serial port, polled; and its "transmitter empty" interrupt, the line every machine has. */
#ifndef GUEST_UART_H
#define GUEST_UART_H

#include "machine.h"

void uart_init(const struct uart *);
void uart_putc(const struct uart *, char c);

/* Raises (on) or drops the transmit interrupt: with an empty transmitter the line follows it. */
void uart_tx_irq(const struct uart *, bool on);
/* True if the port says that its transmit interrupt is pending; on a 16550 asking clears it. */
bool uart_tx_irq_pending(const struct uart *);

/* A register nobody depends on, for timing an access: its value is not used. */
uint32_t uart_read_status(const struct uart *);
/* Writes and reads back the 16550's scratch register; true if equal (always true on a PL011). */
bool uart_scratch_works(const struct uart *, uint8_t value);
/* Loops a byte back inside the 16550 (MCR bit 4); true if it came back. True on a PL011. */
bool uart_loopback_works(const struct uart *, uint8_t value);

#endif
