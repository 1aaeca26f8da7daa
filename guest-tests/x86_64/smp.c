/* SPDX-License-Identifier: Apache-2.0 */
/* INIT-SIPI-SIPI (SDM vol. 3 §9.4), one CPU at a time, and pages above 4 GiB. */
#include "case.h"
#include "io.h"
#include "mem.h"
#include "x86.h"

#define TRAMPOLINE 0x8000u

extern const uint8_t trampoline[], trampoline_end[];
extern uint64_t ap_stack, pml4[512], pdpt[512];

static struct {
	void (*fn)(void *);
	void *arg;
	unsigned online;
} start;

int cpu_start(unsigned i, void (*fn)(void *arg), void *arg)
{
	uint8_t *stack = mem_alloc(STACK_SIZE, STACK_SIZE);
	uint32_t id = (uint32_t)machine.cpu_hwid[i];
	uint64_t end;

	((struct cpu_local *)stack)->index = i;
	ap_stack = phys(stack) + STACK_SIZE;
	start.fn = fn;
	start.arg = arg;
	WRITE_ONCE(start.online, 0);
	memcpy((void *)(uintptr_t)TRAMPOLINE, trampoline, (size_t)(trampoline_end - trampoline));
	mb();
	lapic_icr(id, 0x4500); /* INIT */
	delay_us(200);
	for (int attempt = 0; attempt < 2; attempt++) {
		lapic_icr(id, 0x4600 | TRAMPOLINE >> 12);
		end = deadline_ms(attempt ? 5000 : 500);
		while (!READ_ONCE(start.online))
			if (deadline_passed(end))
				break;
			else
				cpu_relax();
		if (READ_ONCE(start.online))
			return 0;
	}
	return -1;
}

_Noreturn void secondary_main(void)
{
	void (*fn)(void *) = start.fn;
	void *arg = start.arg;

	x86_idt_load();
	lapic_init_cpu();
	mb();
	WRITE_ONCE(start.online, 1);
	fn(arg);
	halt_forever();
}

static uint64_t *next_table(uint64_t *entry)
{
	if (!(*entry & 1))
		*entry = phys(mem_alloc(PAGE_SIZE, PAGE_SIZE)) | 3;
	return (uint64_t *)(*entry & ~0xfffull);
}

void *map_phys(uint64_t pa, uint64_t size)
{
	uint64_t from = pa & ~0x1fffffull;

	/* the first 4 GiB are mapped from the start */
	for (uint64_t at = MAX(from, 1ull << 32); at < pa + size; at += 0x200000) {
		uint64_t *third = next_table(&pml4[at >> 39 & 511]);
		uint64_t *second = next_table(&third[at >> 30 & 511]);

		second[at >> 21 & 511] = at | 0x83;
	}
	return (void *)(uintptr_t)pa;
}
