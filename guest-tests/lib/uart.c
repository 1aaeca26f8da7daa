/* SPDX-License-Identifier: Apache-2.0 */
/* National 16550 (PC16550D data sheet) and Arm PL011 (DDI 0183). */
#include "uart.h"

#include "io.h"

enum { THR = 0, IER = 1, IIR = 2, FCR = 2, LCR = 3, MCR = 4, LSR = 5, SCR = 7 };
enum { LSR_DR = 0x01, LSR_THRE = 0x20, LSR_TEMT = 0x40, IER_THRI = 0x02, MCR_LOOP = 0x10 };
enum { PL_DR = 0x00, PL_FR = 0x18, PL_CR = 0x30, PL_IMSC = 0x38, PL_MIS = 0x40, PL_ICR = 0x44 };
enum { PL_FR_TXFF = 0x20, PL_INT_TX = 0x20 };

/* A dead port must not hang the guest: give up waiting after this many looks. */
#define MAX_LOOKS 1000000

static uint32_t reg_read(const struct uart *u, unsigned reg)
{
	uint32_t v = 0;

	if (u->port) {
		port_read((uint16_t)(u->base + reg), 1, &v);
		return v;
	}
	if (u->width == 4)
		return mmio_read32(u->base + ((uint64_t)reg << u->shift));
	return mmio_read8(u->base + ((uint64_t)reg << u->shift));
}

static void reg_write(const struct uart *u, unsigned reg, uint8_t v)
{
	if (u->port)
		port_write((uint16_t)(u->base + reg), 1, v);
	else if (u->width == 4)
		mmio_write32(u->base + ((uint64_t)reg << u->shift), v);
	else
		mmio_write8(u->base + ((uint64_t)reg << u->shift), v);
}

void uart_init(const struct uart *u)
{
	switch (u->kind) {
	case UART_NS16550:
		reg_write(u, IER, 0);
		reg_write(u, LCR, 0x03); /* 8 bits, no parity */
		reg_write(u, FCR, 0x07); /* FIFOs on and empty */
		reg_write(u, MCR, 0x0b); /* DTR, RTS, OUT2: on a PC OUT2 gates the interrupt */
		break;
	case UART_PL011:
		mmio_write32(u->base + PL_IMSC, 0);
		mmio_write32(u->base + PL_CR, 0x301); /* enable, transmit, receive */
		break;
	case UART_NONE:
		break;
	}
}

void uart_putc(const struct uart *u, char c)
{
	unsigned looks = 0;

	switch (u->kind) {
	case UART_NS16550:
		while (!(reg_read(u, LSR) & LSR_THRE) && ++looks < MAX_LOOKS)
			cpu_relax();
		reg_write(u, THR, (uint8_t)c);
		break;
	case UART_PL011:
		while ((mmio_read32(u->base + PL_FR) & PL_FR_TXFF) && ++looks < MAX_LOOKS)
			cpu_relax();
		mmio_write32(u->base + PL_DR, (uint8_t)c);
		break;
	case UART_NONE:
		break;
	}
}

void uart_tx_irq(const struct uart *u, bool on)
{
	if (u->kind == UART_NS16550) {
		reg_write(u, IER, on ? IER_THRI : 0);
	} else if (u->kind == UART_PL011) {
		mmio_write32(u->base + PL_IMSC, on ? PL_INT_TX : 0);
		if (on)
			mmio_write32(
				u->base + PL_DR, '\n'); /* it is a transition that interrupts */
		else
			mmio_write32(u->base + PL_ICR, PL_INT_TX);
	}
}

bool uart_tx_irq_pending(const struct uart *u)
{
	if (u->kind == UART_NS16550)
		return (reg_read(u, IIR) & 0x0f) == 0x02;
	return mmio_read32(u->base + PL_MIS) & PL_INT_TX;
}

uint32_t uart_read_status(const struct uart *u)
{
	if (u->kind == UART_NS16550)
		return reg_read(u, LSR);
	return u->kind == UART_PL011 ? mmio_read32(u->base + PL_FR) : 0;
}

bool uart_scratch_works(const struct uart *u, uint8_t value)
{
	if (u->kind != UART_NS16550)
		return true;
	reg_write(u, SCR, value);
	return (uint8_t)reg_read(u, SCR) == value;
}

bool uart_loopback_works(const struct uart *u, uint8_t value)
{
	unsigned looks = 0;
	bool back;

	if (u->kind != UART_NS16550)
		return true;
	while (!(reg_read(u, LSR) & LSR_TEMT) && ++looks < MAX_LOOKS)
		cpu_relax();
	reg_write(u, MCR, MCR_LOOP | 0x0b);
	reg_write(u, THR, value);
	for (looks = 0; !(reg_read(u, LSR) & LSR_DR) && looks < 100000; looks++)
		cpu_relax();
	back = (uint8_t)reg_read(u, THR) == value;
	reg_write(u, MCR, 0x0b);
	return back;
}
