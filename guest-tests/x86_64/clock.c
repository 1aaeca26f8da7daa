/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The clock is the TSC. Its frequency comes, in this order, from kvmclock's scale, CPUID 0x15,
 * or a 10 ms measurement against PIT channel 2 or the ACPI PM timer.
 */
#include "acpi.h"
#include "chip.h"
#include "io.h"
#include "x86.h"

static uint64_t hz;

/* The KVM CPUID leaves; the scale is in struct pvclock_vcpu_time_info. */
static uint64_t hz_from_kvmclock(void)
{
	static volatile struct {
		uint32_t version, pad;
		uint64_t tsc, system_time;
		uint32_t mul;
		int8_t shift;
		uint8_t flags, pad2[2];
	} __attribute__((aligned(64))) info;
	struct cpuid id = cpuid(0x40000000);

	if (id.b != 0x4b4d564b || id.c != 0x564b4d56 || !(cpuid(0x40000001).a & BIT(3)))
		return 0;
	wrmsr(0x4b564d01, (uint64_t)(uintptr_t)&info | 1);
	for (unsigned i = 0; i < 1000 && !info.mul; i++)
		cpuid(0); /* the host writes it on the way back into the guest */
	wrmsr(0x4b564d01, 0);
	if (!info.mul)
		return 0;
	/* ns = (tsc << shift) * mul / 2^32 */
	uint64_t v = (1000000000ull << 32) / info.mul;
	return info.shift < 0 ? v << -info.shift : v >> info.shift;
}

static uint64_t hz_from_cpuid(void)
{
	struct cpuid id;

	if (cpuid(0).a < 0x15)
		return 0;
	id = cpuid(0x15);
	return id.a && id.b && id.c ? (uint64_t)id.c * id.b / id.a : 0;
}

/* PIT channel 2, mode 0, 11932 ticks of 1193182 Hz: its output rises after 10 ms. */
static uint64_t hz_from_pit(void)
{
	uint64_t start;
	unsigned looks = 0;

	outb(0x61, (inb(0x61) & ~2u) | 1);
	outb(0x43, 0xb0);
	outb(0x42, 11932 & 0xff);
	outb(0x42, 11932 >> 8);
	start = rdtsc();
	if (inb(0x61) & 0x20)
		return 0; /* high from the start: no PIT */
	while (!(inb(0x61) & 0x20))
		if (++looks == 1000000)
			return 0;
	return (rdtsc() - start) * 100;
}

static uint64_t hz_from_pm_timer(void)
{
	uint32_t from, now;
	uint64_t start;
	unsigned looks = 0;

	if (!acpi.pm_timer)
		return 0;
	from = inl(acpi.pm_timer);
	start = rdtsc();
	do {
		now = inl(acpi.pm_timer);
		if (++looks == 1000000)
			return 0;
	} while (((now - from) & 0xffffff) < 35795);
	return (rdtsc() - start) * 100;
}

void clock_init(void)
{
	hz = hz_from_kvmclock();
	if (!hz)
		hz = hz_from_cpuid();
	if (!hz)
		hz = hz_from_pit();
	if (!hz)
		hz = hz_from_pm_timer();
	if (!hz)
		hz = 1000000000; /* what QEMU's TCG counts in */
}

uint64_t clock_ticks(void)
{
	return rdtsc();
}

uint64_t clock_hz(void)
{
	return hz;
}
