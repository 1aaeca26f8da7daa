/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Local APIC (Intel SDM vol. 3 ch. 11; x2APIC where CPUID offers it), its timer, and the IOAPIC
 * (82093AA data sheet).
 */
#include "acpi.h"
#include "case.h"
#include "io.h"
#include "x86.h"

enum {
	REG_ID = 0x20,
	REG_TPR = 0x80,
	REG_EOI = 0xb0,
	REG_SVR = 0xf0,
	REG_ICR = 0x300,
	REG_ICR_HIGH = 0x310,
	REG_LVT_TIMER = 0x320,
	REG_LVT_LINT0 = 0x350,
	REG_LVT_LINT1 = 0x360,
	REG_TIMER_INIT = 0x380,
	REG_TIMER_NOW = 0x390,
	REG_TIMER_DIVIDE = 0x3e0,
};
enum { MSR_APIC_BASE = 0x1b, MSR_TSC_DEADLINE = 0x6e0, LVT_MASKED = 1 << 16 };
enum { LVT_TSC_DEADLINE = 2 << 17 };

static bool x2apic, tsc_deadline;
static uint64_t base;
static uint64_t timer_hz; /* of the one-shot mode */

uint32_t lapic_read(uint32_t reg)
{
	return x2apic ? (uint32_t)rdmsr(0x800 + (reg >> 4)) : mmio_read32(base + reg);
}

void lapic_write(uint32_t reg, uint32_t v)
{
	if (x2apic)
		wrmsr(0x800 + (reg >> 4), v);
	else
		mmio_write32(base + reg, v);
}

void lapic_icr(uint32_t apic_id, uint32_t command)
{
	if (x2apic) {
		wrmsr(0x800 + (REG_ICR >> 4), (uint64_t)apic_id << 32 | command);
		return;
	}
	while (lapic_read(REG_ICR) & BIT(12)) /* delivery pending */
		cpu_relax();
	lapic_write(REG_ICR_HIGH, apic_id << 24);
	lapic_write(REG_ICR, command);
}

void lapic_eoi(void)
{
	lapic_write(REG_EOI, 0);
}

void lapic_init_cpu(void)
{
	wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | BIT(11) | (x2apic ? BIT(10) : 0));
	lapic_write(REG_TPR, 0);
	lapic_write(REG_LVT_LINT0, LVT_MASKED);
	lapic_write(REG_LVT_LINT1, LVT_MASKED);
	lapic_write(REG_LVT_TIMER, LVT_MASKED);
	lapic_write(REG_TIMER_DIVIDE, 0xb); /* by 1 */
	lapic_write(REG_SVR, 0x100 | VECTOR_SPURIOUS);
}

static void calibrate_timer(void)
{
	uint64_t start = clock_ticks(), end = start + clock_hz() / 200; /* 5 ms */
	uint32_t count;

	lapic_write(REG_TIMER_INIT, UINT32_MAX);
	while (clock_ticks() < end)
		cpu_relax();
	count = UINT32_MAX - lapic_read(REG_TIMER_NOW);
	end = clock_ticks();
	lapic_write(REG_TIMER_INIT, 0);
	timer_hz = (uint64_t)count * clock_hz() / (end - start);
	CHECK(timer_hz, "the local APIC's timer does not count");
}

/* An 8259 that was left enabled would interrupt on the exceptions' vectors. */
static void mask_8259(void)
{
	outb(0x21, 0xff);
	outb(0xa1, 0xff);
}

void chip_irq_init(void)
{
	struct cpuid id = cpuid(1);

	x2apic = id.c & BIT(21);
	tsc_deadline = id.c & BIT(24);
	base = acpi.lapic ? acpi.lapic : rdmsr(MSR_APIC_BASE) & 0xffffff000ull;
	mask_8259();
	lapic_init_cpu();
	if (!tsc_deadline)
		calibrate_timer();
}

void timer_at(uint64_t ticks)
{
	uint64_t now;

	if (tsc_deadline) {
		lapic_write(REG_LVT_TIMER, LVT_TSC_DEADLINE | VECTOR_TIMER);
		/* SDM 11.5.4.1 asks for a fence between an MMIO LVT write and the MSR */
		mb();
		wrmsr(MSR_TSC_DEADLINE, ticks ? ticks : 1);
		return;
	}
	now = clock_ticks();
	lapic_write(REG_LVT_TIMER, VECTOR_TIMER);
	uint64_t delta = ticks > now ? (ticks - now) * (timer_hz / 1000) / (clock_hz() / 1000) : 0;
	lapic_write(REG_TIMER_INIT, (uint32_t)MIN(MAX(delta, 1), UINT32_MAX));
}

void timer_stop(void)
{
	if (tsc_deadline)
		wrmsr(MSR_TSC_DEADLINE, 0);
	lapic_write(REG_TIMER_INIT, 0);
	lapic_write(REG_LVT_TIMER, LVT_MASKED);
}

void ipi_send(unsigned cpu)
{
	lapic_icr((uint32_t)machine.cpu_hwid[cpu], BIT(14) | VECTOR_IPI);
}

bool msi_available(void)
{
	return true;
}

int msi_attach(uint32_t requester, irq_handler *fn, void *arg, struct msi_msg *ret)
{
	int v = vector_alloc(fn, arg);

	(void)requester;
	if (v < 0)
		return -1;
	ret->address = 0xfee00000 | (machine.cpu_hwid[0] & 0xff) << 12;
	ret->data = (uint32_t)v;
	return 0;
}

static uint64_t ioapic_of(const struct irq *irq, uint32_t *ret_pin)
{
	for (unsigned i = acpi.ioapic_count; i--;) {
		struct acpi_ioapic *io = &acpi.ioapic[i];
		uint32_t pins;

		mmio_write32(io->address, 1);
		pins = (mmio_read32(io->address + 0x10) >> 16 & 0xff) + 1;
		if (irq->num >= io->gsi_base && irq->num < io->gsi_base + pins) {
			*ret_pin = irq->num - io->gsi_base;
			return io->address;
		}
	}
	return 0;
}

static void ioapic_write(uint64_t at, uint32_t reg, uint32_t v)
{
	mmio_write32(at, reg);
	mmio_write32(at + 0x10, v);
}

int irq_attach(const struct irq *irq, irq_handler *fn, void *arg)
{
	uint32_t pin;
	uint64_t at = irq->present ? ioapic_of(irq, &pin) : 0;
	int v;

	if (!at)
		return -1;
	v = vector_alloc(fn, arg);
	if (v < 0)
		return -1;
	ioapic_write(at, 0x10 + 2 * pin, LVT_MASKED);
	ioapic_write(at, 0x11 + 2 * pin, (uint32_t)machine.cpu_hwid[0] << 24);
	ioapic_write(at, 0x10 + 2 * pin,
		(uint32_t)v | (irq->level ? BIT(15) : 0) | (irq->active_low ? BIT(13) : 0));
	return 0;
}

void irq_detach(const struct irq *irq)
{
	uint32_t pin;
	uint64_t at = ioapic_of(irq, &pin);

	if (at)
		ioapic_write(at, 0x10 + 2 * pin, LVT_MASKED);
}
