/* SPDX-License-Identifier: Apache-2.0 */
/* SBI (RISC-V SBI 2.0), the timer, harts and traps: all but the external interrupts. */
#include "case.h"
#include "fdt.h"
#include "io.h"
#include "machine_fdt.h"
#include "mem.h"
#include "riscv.h"

const char chip_name[] = "riscv64";
uint64_t fdt_address, boot_hart;
extern uint8_t secondary_entry[];

static uint64_t timebase;
static bool sstc;
static struct {
	irq_handler *fn;
	void *arg;
} timer, ipi;

struct sbi_ret sbi(uint64_t extension, uint64_t function, uint64_t a, uint64_t b, uint64_t c)
{
	register uint64_t a0 __asm__("a0") = a;
	register uint64_t a1 __asm__("a1") = b;
	register uint64_t a2 __asm__("a2") = c;
	register uint64_t a6 __asm__("a6") = function;
	register uint64_t a7 __asm__("a7") = extension;

	__asm__ volatile("ecall" : "+r"(a0), "+r"(a1) : "r"(a2), "r"(a6), "r"(a7) : "memory");
	return (struct sbi_ret){(int64_t)a0, (int64_t)a1};
}

/* The extension is listed in riscv,isa-extensions, or as _NAME in riscv,isa. */
static bool hart_has(uint32_t cpu, const char *name)
{
	uint32_t len;
	size_t n = strlen(name);
	const char *list = (const char *)fdt_prop(cpu, "riscv,isa-extensions", &len);

	for (uint32_t i = 0; list && i < len; i += (uint32_t)strlen(list + i) + 1)
		if (!strcmp(list + i, name))
			return true;
	list = (const char *)fdt_prop(cpu, "riscv,isa", NULL);
	for (; list && *list; list++)
		if (*list == '_' && !strncmp(list + 1, name, n) &&
			(list[n + 1] == '_' || !list[n + 1]))
			return true;
	return false;
}

void chip_probe(void)
{
	uint32_t cpus, cpu;

	if (!fdt_open((const void *)(uintptr_t)fdt_address))
		halt_forever();
	fdt_read_console();
	fdt_read_machine(boot_hart);
	cpus = fdt_path("/cpus");
	timebase = fdt_cell(cpus, "timebase-frequency", 0, 0);
	CHECK(timebase, "no timebase-frequency in /cpus");
	cpu = fdt_compatible(FDT_NONE, "riscv");
	sstc = cpu != FDT_NONE && hart_has(cpu, "sstc");
}

uint64_t clock_ticks(void)
{
	return csr_read("time");
}

uint64_t clock_hz(void)
{
	return timebase;
}

void timer_attach(irq_handler *fn, void *arg)
{
	timer.arg = arg;
	WRITE_ONCE(timer.fn, fn);
}

static void set_timer(uint64_t ticks)
{
	if (sstc)
		csr_write("0x14d", ticks); /* stimecmp */
	else
		sbi(SBI_TIME, 0, ticks, 0, 0);
}

void timer_at(uint64_t ticks)
{
	set_timer(ticks);
	csr_set("sie", SIE_TIMER);
}

void timer_stop(void)
{
	csr_clear("sie", SIE_TIMER);
	set_timer(UINT64_MAX);
}

void ipi_attach(irq_handler *fn, void *arg)
{
	ipi.arg = arg;
	WRITE_ONCE(ipi.fn, fn);
}

void ipi_send(unsigned cpu)
{
	mb();
	sbi(SBI_IPI, 0, 1, machine.cpu_hwid[cpu], 0);
}

void riscv_trap(uint64_t cause, uint64_t epc, uint64_t value)
{
	switch (cause) {
	case 1ull << 63 | 1:
		csr_clear("sip", SIE_SOFT);
		if (ipi.fn)
			ipi.fn(ipi.arg);
		break;
	case 1ull << 63 | 5:
		if (timer.fn)
			timer.fn(timer.arg);
		else
			timer_stop();
		break;
	case 1ull << 63 | 9:
		irq_external();
		break;
	default:
		case_fail(
			"trap 0x%lx at 0x%lx, value 0x%lx, cpu %u", cause, epc, value, cpu_self());
	}
}

int cpu_start(unsigned i, void (*fn)(void *arg), void *arg)
{
	uint8_t *stack = mem_alloc(STACK_SIZE, STACK_SIZE);
	uint64_t *slot = (uint64_t *)(stack + STACK_SIZE) - 2;
	unsigned *online = (unsigned *)(stack + sizeof(struct cpu_local));

	((struct cpu_local *)stack)->index = i;
	slot[0] = (uint64_t)(uintptr_t)fn;
	slot[1] = (uint64_t)(uintptr_t)arg;
	mb();
	if (sbi(SBI_HSM, 0, machine.cpu_hwid[i], phys(secondary_entry), phys(slot)).error)
		return -1;
	for (uint64_t end = deadline_ms(10000); !READ_ONCE(*online);)
		if (deadline_passed(end))
			return -1;
	return 0;
}

_Noreturn void secondary_main(void)
{
	uint8_t *stack = (uint8_t *)cpu_local();
	uint64_t *slot = (uint64_t *)(stack + STACK_SIZE) - 2;

	irq_init_hart();
	mb();
	WRITE_ONCE(*(unsigned *)(stack + sizeof(struct cpu_local)), 1);
	((void (*)(void *))(uintptr_t)slot[0])((void *)(uintptr_t)slot[1]);
	halt_forever();
}

struct cpu_local *cpu_local(void)
{
	uint64_t sp;

	__asm__ volatile("mv %0, sp" : "=r"(sp));
	return (struct cpu_local *)((sp - 1) & ~(uint64_t)(STACK_SIZE - 1));
}

void irq_allow(void)
{
	__asm__ volatile("csrsi sstatus, 2; nop" ::: "memory");
}

void irq_forbid(void)
{
	__asm__ volatile("csrci sstatus, 2" ::: "memory");
}

void cpu_wait(void)
{
	__asm__ volatile("wfi" ::: "memory"); /* wakes for an interrupt that sstatus masks, too */
	irq_allow();
	irq_forbid();
}

void cpu_relax(void)
{
	__asm__ volatile("nop" ::: "memory");
}

void *map_phys(uint64_t pa, uint64_t size)
{
	(void)size;
	return (void *)(uintptr_t)pa;
}

void test_exit(uint32_t value)
{
	if (machine.test_exit)
		mmio_write32(machine.test_exit, value);
}

void power_off(void)
{
	sbi(SBI_SRST, 0, 0, 0, 0);
}

void power_reset(void)
{
	sbi(SBI_SRST, 0, 1, 0, 0);
}

bool power_reset_otherwise(void)
{
	return false;
}

_Noreturn void halt_forever(void)
{
	for (;;)
		__asm__ volatile("wfi");
}

bool port_read(uint16_t port, unsigned size, uint32_t *ret)
{
	(void)port, (void)size, (void)ret;
	return false;
}

bool port_write(uint16_t port, unsigned size, uint32_t value)
{
	(void)port, (void)size, (void)value;
	return false;
}

uint32_t kernel_exit(void)
{
	return (uint32_t)sbi(SBI_BASE, 0, 0, 0, 0).value;
}
