/* SPDX-License-Identifier: Apache-2.0 */
/* The SBI calls that KVM leaves to us (RISC-V SBI 2.0): the debug console (ch. 12) and its legacy
 * form (§5.2, §5.3). Both are a way to the machine's UART for a guest without a driver, so they go
 * to that device's registers over the bus, as a driver's accesses would. Time, IPI, RFENCE, HSM and
 * SRST are KVM's own. */
#include "arch/riscv64/vm.h"

#include "devices/bus.h"
#include "vmm/base/num.h"

#define EXT_PUTCHAR 0x01
#define EXT_GETCHAR 0x02
#define EXT_DBCN    0x4442434e

#define SBI_SUCCESS	      0
#define SBI_ERR_FAILED	      (-1L)
#define SBI_ERR_NOT_SUPPORTED (-2L)
#define SBI_ERR_INVALID_PARAM (-3L)

#define DBCN_CHUNK 4096 /* bytes a call; the guest comes again for the rest */

/* 16550 registers. */
#define DATA	  0
#define LCR	  3
#define LSR	  5
#define LCR_DLAB  0x80
#define LSR_READY 0x01

struct uart {
	const struct bus *bus;
	uint64_t base;
	unsigned hint;
};

static bool uart_find(const struct arch_vm *a, struct uart *ret)
{
	for (unsigned i = 0; i < a->plan.ndev && a->opts.mmio; i++)
		if (a->plan.dev[i].kind == DEV_UART) {
			*ret = (struct uart){.bus = a->opts.mmio, .base = a->plan.dev[i].base};
			return true;
		}
	return false;
}

static uint8_t uart_in(struct uart *u, unsigned reg)
{
	uint64_t v = 0xff;

	bus_read(u->bus, u->base + reg, 1, &v, &u->hint);
	return (uint8_t)v;
}

static bool uart_put(struct uart *u, uint8_t byte)
{
	/* A driver on another hart is setting the divisor: the data register is not there now. */
	if (uart_in(u, LCR) & LCR_DLAB)
		return false;
	return bus_write(u->bus, u->base + DATA, 1, byte, &u->hint);
}

static int uart_get(struct uart *u)
{
	if (uart_in(u, LCR) & LCR_DLAB || !(uart_in(u, LSR) & LSR_READY))
		return -1;
	return uart_in(u, DATA);
}

static long dbcn_write(
	struct arch_vm *a, struct uart *u, uint64_t gpa, uint64_t len, unsigned long *ret_done)
{
	uint8_t buf[DBCN_CHUNK];
	size_t n = MIN(len, sizeof(buf)), i;

	if (guest_mem_read(a->opts.mem, gpa, buf, n) < 0)
		return SBI_ERR_INVALID_PARAM;
	for (i = 0; i < n && uart_put(u, buf[i]); i++)
		;
	*ret_done = i;
	return SBI_SUCCESS;
}

static long dbcn_read(
	struct arch_vm *a, struct uart *u, uint64_t gpa, uint64_t len, unsigned long *ret_done)
{
	uint8_t buf[DBCN_CHUNK];
	size_t n = MIN(len, sizeof(buf)), i;
	int byte;

	/* Nothing may be taken from the UART that has nowhere to go. */
	if (n && !guest_mem_ptr(a->opts.mem, gpa, n))
		return SBI_ERR_INVALID_PARAM;
	for (i = 0; i < n && (byte = uart_get(u)) >= 0; i++)
		buf[i] = (uint8_t)byte;
	if (i && guest_mem_write(a->opts.mem, gpa, buf, i) < 0)
		return SBI_ERR_INVALID_PARAM;
	*ret_done = i;
	return SBI_SUCCESS;
}

static long dbcn(struct arch_vm *a, struct uart *u, unsigned long function,
	const unsigned long args[6], unsigned long *ret_value)
{
	if (function == 2)
		return uart_put(u, (uint8_t)args[0]) ? SBI_SUCCESS : SBI_ERR_FAILED;
	if (function > 2 || !a->opts.mem)
		return SBI_ERR_NOT_SUPPORTED;
	if (args[2]) /* the upper half of a 128-bit address */
		return SBI_ERR_INVALID_PARAM;
	return function == 0 ? dbcn_write(a, u, args[1], args[0], ret_value)
			     : dbcn_read(a, u, args[1], args[0], ret_value);
}

static long refuse(struct arch_vcpu *c, unsigned long extension, unsigned long function)
{
	struct arch_vm *a = c->vm;

	atomic_fetch_add(&a->sbi_refused, 1);
	log_limited(a->opts.log, &a->sbi_log, LOG_WARN, "_cpus",
		"vcpu%u: SBI call %#lx.%lu is not supported", c->index, extension, function);
	return SBI_ERR_NOT_SUPPORTED;
}

void riscv64_sbi(struct arch_vcpu *c)
{
	struct kvm_run *run = c->vcpu->run;
	unsigned long args[6], value = 0, ext = run->riscv_sbi.extension_id;
	unsigned long function = run->riscv_sbi.function_id;
	struct uart u;
	long r;

	for (unsigned i = 0; i < 6; i++)
		args[i] = run->riscv_sbi.args[i];
	if (!uart_find(c->vm, &u)) {
		r = refuse(c, ext, function);
	} else if (ext == EXT_DBCN) {
		r = dbcn(c->vm, &u, function, args, &value);
	} else if (ext == EXT_PUTCHAR) {
		uart_put(&u, (uint8_t)args[0]);
		r = 0;
	} else if (ext == EXT_GETCHAR) {
		r = uart_get(&u);
	} else {
		r = refuse(c, ext, function);
	}
	run->riscv_sbi.ret[0] = (unsigned long)r;
	run->riscv_sbi.ret[1] = value;
}
