/* SPDX-License-Identifier: Apache-2.0 */
/* 16550A UART, after the National PC16550D data sheet. The sender is infinitely fast: what is
 * written to THR has left before the next access, so LSR always says empty and the "transmitter
 * empty" interrupt is pending again at once. The receiver has the 16-byte FIFO; what does not fit
 * waits in the back-end, never lost, so there is no overrun except in loopback.
 *
 * Input arrives on control's thread, which is no register access: it takes the device's lock
 * itself. */
#include <stdlib.h>
#include "devices/count.h"
#include "devices/platform/platform.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"

#define FIFO_SIZE 16

/* Registers; DLL and DLM take the place of the first two while LCR.DLAB is set. */
enum { REG_DATA, REG_IER, REG_IIR_FCR, REG_LCR, REG_MCR, REG_LSR, REG_MSR, REG_SCR, REG_COUNT };

#define IER_RX	  0x01
#define IER_THRE  0x02
#define IER_LINE  0x04
#define IER_MODEM 0x08

#define IIR_NONE    0x01
#define IIR_MODEM   0x00
#define IIR_THRE    0x02
#define IIR_RX	    0x04
#define IIR_LINE    0x06
#define IIR_TIMEOUT 0x0c
#define IIR_FIFO    0xc0

#define FCR_ENABLE   0x01
#define FCR_CLEAR_RX 0x02

#define LCR_DLAB 0x80

#define MCR_DTR	 0x01
#define MCR_RTS	 0x02
#define MCR_OUT1 0x04
#define MCR_OUT2 0x08
#define MCR_LOOP 0x10

#define LSR_DATA    0x01
#define LSR_OVERRUN 0x02
#define LSR_EMPTY   0x60 /* THRE and TEMT */

#define MSR_CTS 0x10
#define MSR_DSR 0x20
#define MSR_RI	0x40
#define MSR_DCD 0x80

struct ns16550 {
	struct device device; /* first */
	struct platform_at at;
	enum irq_trigger trigger;
	struct chr *chr; /* not owned */
	bool bound;
	struct irq_line *irq;
	struct io_region region;
	uint8_t ier, fcr, lcr, mcr, scr, dll, dlm, overrun;
	uint8_t msr_delta; /* MSR bits 0..3, cleared by reading */
	bool thre_pending;
	uint8_t fifo[FIFO_SIZE];
	uint8_t head, count;
	bool starved;	/* the back-end waits for room */
	bool paused;	/* it waits for the machine to go on, too */
	uint8_t raised; /* IER bits of the causes that the line was last driven for */
	dev_count rx_bytes, tx_bytes, dropped;
};

static unsigned fifo_room(const struct ns16550 *u)
{
	unsigned size = u->fcr & FCR_ENABLE ? FIFO_SIZE : 1;

	return size > u->count ? size - u->count : 0;
}

static void fifo_put(struct ns16550 *u, uint8_t byte)
{
	u->fifo[(u->head + u->count) % FIFO_SIZE] = byte;
	u->count++;
}

/* The back-end may offer input again. Loopback cuts the outside off. */
static void feed(struct ns16550 *u)
{
	if (!u->starved || u->paused || u->mcr & MCR_LOOP || !fifo_room(u))
		return;
	u->starved = false;
	chr_input_ready(u->chr);
}

/* Pending causes as IER bits. */
static uint8_t causes(const struct ns16550 *u)
{
	uint8_t c = (u->count ? IER_RX : 0) | (u->thre_pending ? IER_THRE : 0) |
		    (u->overrun ? IER_LINE : 0) | (u->msr_delta ? IER_MODEM : 0);

	return c & u->ier;
}

/* A level line follows the causes. An edge line is pulsed for each cause that is new, also while
 * another is pending: one interrupt too many is harmless, one too few hangs a console. */
static void update_irq(struct ns16550 *u)
{
	uint8_t now = causes(u), fresh = now & ~u->raised;

	if (u->trigger == IRQ_LEVEL && !now != !u->raised)
		irq_set(u->irq, now);
	else if (u->trigger == IRQ_EDGE && fresh)
		irq_pulse(u->irq);
	u->raised = now;
}

static uint8_t iir(const struct ns16550 *u)
{
	static const uint8_t trigger_level[4] = {1, 4, 8, 14};
	uint8_t c = causes(u), fifo = u->fcr & FCR_ENABLE ? IIR_FIFO : 0;

	if (c & IER_LINE)
		return fifo | IIR_LINE;
	if (c & IER_RX)
		return fifo |
		       (!fifo || u->count >= trigger_level[u->fcr >> 6] ? IIR_RX : IIR_TIMEOUT);
	if (c & IER_THRE)
		return fifo | IIR_THRE;
	return fifo | (c & IER_MODEM ? IIR_MODEM : IIR_NONE);
}

static uint8_t modem_lines(const struct ns16550 *u)
{
	if (!(u->mcr & MCR_LOOP))
		return MSR_CTS | MSR_DSR | MSR_DCD;
	return (u->mcr & MCR_RTS ? MSR_CTS : 0) | (u->mcr & MCR_DTR ? MSR_DSR : 0) |
	       (u->mcr & MCR_OUT1 ? MSR_RI : 0) | (u->mcr & MCR_OUT2 ? MSR_DCD : 0);
}

static uint8_t take_byte(struct ns16550 *u)
{
	uint8_t byte;

	if (!u->count)
		return 0;
	byte = u->fifo[u->head];
	u->head = (u->head + 1) % FIFO_SIZE;
	u->count--;
	if (!u->count)
		feed(u);
	return byte;
}

static void write_out(struct ns16550 *u, uint8_t byte)
{
	size_t lost = chr_write(u->chr, &byte, 1);

	count_add(&u->tx_bytes, 1);
	if (lost && !count_get(&u->dropped))
		log_line(u->device.host->log, LOG_WARN, u->device.id,
			"output is being lost: its reader is slow or absent");
	count_add(&u->dropped, lost);
}

static void send_byte(struct ns16550 *u, uint8_t byte)
{
	u->raised &= ~IER_THRE; /* writing THR clears the cause; it is back at once */
	u->thre_pending = true;
	if (!(u->mcr & MCR_LOOP))
		write_out(u, byte);
	else if (fifo_room(u))
		fifo_put(u, byte);
	else
		u->overrun = LSR_OVERRUN;
}

static void write_fcr(struct ns16550 *u, uint8_t v)
{
	if ((v ^ u->fcr) & FCR_ENABLE || v & FCR_CLEAR_RX)
		u->head = u->count = 0;
	u->fcr = v & FCR_ENABLE ? v & 0xc9 : 0;
	feed(u);
}

static void write_ier(struct ns16550 *u, uint8_t v)
{
	/* Enabling the cause while THR is empty raises it: drivers test for that. */
	if (v & ~u->ier & IER_THRE)
		u->thre_pending = true;
	u->ier = v & 0x0f;
}

static void write_mcr(struct ns16550 *u, uint8_t v)
{
	uint8_t before = modem_lines(u), changed;

	u->mcr = v & 0x1f;
	changed = before ^ modem_lines(u);
	u->msr_delta |= changed >> 4 & 0xb;
	u->msr_delta |= before & changed & MSR_RI ? 0x4 : 0; /* RI's trailing edge */
	feed(u);
}

static uint8_t read_reg(struct ns16550 *u, unsigned reg)
{
	bool dlab = u->lcr & LCR_DLAB;
	uint8_t v;

	switch (reg) {
	case REG_DATA:
		return dlab ? u->dll : take_byte(u);
	case REG_IER:
		return dlab ? u->dlm : u->ier;
	case REG_IIR_FCR:
		v = iir(u);
		if ((v & 0x0f) == IIR_THRE)
			u->thre_pending = false;
		return v;
	case REG_LCR:
		return u->lcr;
	case REG_MCR:
		return u->mcr;
	case REG_LSR:
		v = LSR_EMPTY | u->overrun | (u->count ? LSR_DATA : 0);
		u->overrun = 0;
		return v;
	case REG_MSR:
		v = modem_lines(u) | u->msr_delta;
		u->msr_delta = 0;
		return v;
	default:
		return u->scr;
	}
}

static void write_reg(struct ns16550 *u, unsigned reg, uint8_t v)
{
	bool dlab = u->lcr & LCR_DLAB;

	switch (reg) {
	case REG_DATA:
		if (dlab)
			u->dll = v;
		else
			send_byte(u, v);
		break;
	case REG_IER:
		if (dlab)
			u->dlm = v;
		else
			write_ier(u, v);
		break;
	case REG_IIR_FCR:
		write_fcr(u, v);
		break;
	case REG_LCR:
		u->lcr = v;
		break;
	case REG_MCR:
		write_mcr(u, v);
		break;
	case REG_SCR:
		u->scr = v;
		break;
	default: /* LSR and MSR are read-only */
		break;
	}
}

/* Registers are bytes, 1 << reg_shift apart; wider accesses reach the register at their address. */
static uint64_t uart_read(void *dev, uint64_t off, unsigned size)
{
	struct ns16550 *u = dev;
	uint8_t v;

	if (off & ((1u << u->at.reg_shift) - 1))
		return 0;
	v = read_reg(u, off >> u->at.reg_shift);
	update_irq(u);
	return v;
}

static void uart_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct ns16550 *u = dev;

	if (off & ((1u << u->at.reg_shift) - 1))
		return;
	write_reg(u, off >> u->at.reg_shift, value);
	update_irq(u);
}

static const struct io_ops uart_io = {uart_read, uart_write};

/* chr's input, on control's loop. */
static size_t uart_input(void *arg, const uint8_t *p, size_t n)
{
	struct ns16550 *u = arg;
	size_t took = 0;

	LOCK_SCOPE(&u->device.lock);
	if (!(u->mcr & MCR_LOOP) && !u->paused)
		for (; took < n && fifo_room(u); took++)
			fifo_put(u, p[took]);
	u->starved = took < n;
	count_add(&u->rx_bytes, took);
	update_irq(u);
	return took;
}

static void set_power_on(struct ns16550 *u)
{
	u->ier = u->fcr = u->lcr = u->mcr = u->scr = u->overrun = u->msr_delta = 0;
	u->dll = 12; /* 9600 baud, as firmware leaves it */
	u->dlm = 0;
	u->head = u->count = 0;
	u->thre_pending = false;
}

static void uart_reset(struct device *d)
{
	struct ns16550 *u = (struct ns16550 *)d;

	set_power_on(u);
	update_irq(u);
	feed(u);
}

static int uart_visit(struct device *d, struct visitor *v)
{
	struct ns16550 *u = (struct ns16550 *)d;
	uint32_t version = 1;

	visit_begin(v, d->id, &version);
	visit_u8(v, "ier", &u->ier);
	visit_u8(v, "fcr", &u->fcr);
	visit_u8(v, "lcr", &u->lcr);
	visit_u8(v, "mcr", &u->mcr);
	visit_u8(v, "scr", &u->scr);
	visit_u8(v, "dll", &u->dll);
	visit_u8(v, "dlm", &u->dlm);
	visit_u8(v, "overrun", &u->overrun);
	visit_u8(v, "msr_delta", &u->msr_delta);
	visit_bool(v, "thre_pending", &u->thre_pending);
	visit_bytes(v, "fifo", u->fifo, sizeof(u->fifo));
	visit_u8(v, "head", &u->head);
	visit_u8(v, "count", &u->count);
	if (u->head >= FIFO_SIZE || u->count > FIFO_SIZE)
		visit_fail(v, -EINVAL);
	visit_end(v);
	if (visit_mode(v) == VISIT_LOAD && !visit_status(v)) {
		u->raised = 0;
		update_irq(u);
	}
	return visit_status(v);
}

static void uart_pause(struct device *d)
{
	LOCK_SCOPE(&d->lock);
	((struct ns16550 *)d)->paused = true;
}

static bool uart_paused(const struct device *d)
{
	return ((const struct ns16550 *)d)->paused;
}

static void uart_resume(struct device *d)
{
	struct ns16550 *u = (struct ns16550 *)d;

	LOCK_SCOPE(&d->lock);
	u->paused = false;
	feed(u);
}

static unsigned uart_describe(const struct device *d, struct dev_desc *ret, unsigned max)
{
	const struct ns16550 *u = (const struct ns16550 *)d;

	if (!max)
		return 0;
	ret[0] = (struct dev_desc){
		.kind = DEV_UART,
		.space = u->at.space,
		.base = u->region.base,
		.size = u->region.size,
		.irq = u->at.irq,
		.has_irq = true,
		.level = u->trigger == IRQ_LEVEL,
		.id = d->id,
	};
	return 1;
}

static unsigned uart_counters(struct device *d, struct dev_counter *ret, unsigned max)
{
	const struct ns16550 *u = (const struct ns16550 *)d;
	const struct dev_counter all[] = {
		{"rx_bytes", count_get(&u->rx_bytes)},
		{"tx_bytes", count_get(&u->tx_bytes)},
		{"tx_dropped_bytes", count_get(&u->dropped)},
	};

	return counters_copy(all, ARRAY_SIZE(all), ret, max);
}

static struct bus *uart_bus(const struct ns16550 *u)
{
	return u->at.space == SPACE_PIO ? u->device.host->pio : u->device.host->mmio;
}

static void uart_free(struct device *d)
{
	struct ns16550 *u = (struct ns16550 *)d;

	if (u->bound)
		chr_unbind(u->chr);
	bus_del(uart_bus(u), &u->region);
	irq_line_free(u->irq);
	device_fini(d);
	free(u);
}

static const struct device_ops uart_ops = {
	.type = "ns16550",
	.reset = uart_reset,
	.visit = uart_visit,
	.describe = uart_describe,
	.pause = uart_pause,
	.paused = uart_paused,
	.resume = uart_resume,
	.counters = uart_counters,
	.free = uart_free,
};

static int connect(struct ns16550 *u)
{
	struct dev_host *h = u->device.host;
	int r = irq_wire_new(h->irqs, NULL, u->at.irq, u->trigger, h->control, &u->irq);

	if (r < 0)
		return r;
	u->region = (struct io_region){u->at.base, (uint64_t)REG_COUNT << u->at.reg_shift, &uart_io,
		u, &u->device.lock, u->device.id};
	r = bus_add(uart_bus(u), &u->region);
	if (r < 0)
		return r;
	r = chr_bind(u->chr, h->control, uart_input, u);
	u->bound = r >= 0;
	return r;
}

int ns16550_new(struct dev_host *h, const char *id, const struct platform_at *at,
	enum irq_trigger t, struct chr *chr, struct device **ret_device)
{
	struct ns16550 *u;
	int r;

	if (at->space == SPACE_PIO && !h->pio)
		return -EINVAL;
	u = calloc(1, sizeof(*u));
	if (!u)
		return -ENOMEM;
	device_init(&u->device, &uart_ops, h, id);
	u->at = *at;
	u->trigger = t;
	u->chr = chr;
	set_power_on(u);
	r = connect(u);
	if (r < 0) {
		uart_free(&u->device);
		return r;
	}
	*ret_device = &u->device;
	return 0;
}
