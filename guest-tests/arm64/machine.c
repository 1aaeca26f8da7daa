/* SPDX-License-Identifier: Apache-2.0 */
/* Memory map, PSCI, the virtual timer, SMP: what is arm64 but not the interrupt controller. */
#include "arm.h"
#include "case.h"
#include "fdt.h"
#include "io.h"
#include "machine_fdt.h"
#include "mem.h"

const char chip_name[] = "arm64";
uint64_t fdt_address;
uint64_t l0_table[512] __attribute__((aligned(4096)));
static uint64_t l1_tables[2][512] __attribute__((aligned(4096)));
extern uint8_t secondary_entry[];

static bool psci_smc;
static struct irq timer_irq;
static irq_handler *timer_fn;
static void *timer_arg;

/*
 * Identity map of the first TiB in 1 GiB blocks, with the MMU still off. Everything is device
 * memory but the blocks that hold this image (with its arena) and the device tree.
 */
void mmu_build(uint64_t image, uint64_t fdt)
{
	for (uint64_t i = 0; i < 1024; i++) {
		bool memory = i == image >> 30 || i == (image + (8u << 20)) >> 30 || i == fdt >> 30;

		/* block, access flag, inner shareable, MAIR index */
		l1_tables[i / 512][i % 512] = i << 30 | 0x701 | (memory ? 1 << 2 : 0);
	}
	l0_table[0] = phys(l1_tables[0]) | 3;
	l0_table[1] = phys(l1_tables[1]) | 3;
}

void *map_phys(uint64_t pa, uint64_t size)
{
	CHECK(pa + size <= 1ull << 40, "address 0x%lx is beyond the guest's identity map", pa);
	return (void *)(uintptr_t)pa;
}

uint64_t psci(uint32_t function, uint64_t a, uint64_t b, uint64_t c)
{
	register uint64_t x0 __asm__("x0") = function;
	register uint64_t x1 __asm__("x1") = a;
	register uint64_t x2 __asm__("x2") = b;
	register uint64_t x3 __asm__("x3") = c;

	/* SMCCC 1.0: x4..x17 may be lost */
	if (psci_smc)
		__asm__ volatile("smc #0"
				 : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3)::"x4", "x5", "x6", "x7",
				 "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16", "x17",
				 "memory");
	else
		__asm__ volatile("hvc #0"
				 : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3)::"x4", "x5", "x6", "x7",
				 "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16", "x17",
				 "memory");
	return x0;
}

void chip_probe(void)
{
	uint32_t node, cells;
	const uint8_t *p;

	if (!fdt_open((const void *)(uintptr_t)fdt_address))
		halt_forever();
	fdt_read_console();
	fdt_read_machine(sysreg_read("mpidr_el1") & 0xff00ffffffull);

	node = fdt_path("/psci");
	if (node != FDT_NONE && (p = fdt_prop(node, "method", NULL)))
		psci_smc = p[0] == 's';
	node = fdt_compatible(FDT_NONE, "arm,armv8-timer");
	CHECK(node != FDT_NONE, "no arm,armv8-timer in the device tree");
	cells = fdt_cell(fdt_interrupt_parent(node), "#interrupt-cells", 0, 3);
	p = fdt_prop(node, "interrupts", NULL);
	timer_irq =
		chip_decode_irq(p + 2 * cells * 4, cells); /* the third is the virtual timer's */
}

uint64_t clock_ticks(void)
{
	isb();
	return sysreg_read("cntvct_el0");
}

uint64_t clock_hz(void)
{
	return sysreg_read("cntfrq_el0");
}

void timer_init_cpu(void)
{
	sysreg_write("cntv_ctl_el0", 0);
	mmio_write32(gic_redistributor() + 0x10100, BIT(timer_irq.num)); /* GICR_ISENABLER0 */
}

void timer_attach(irq_handler *fn, void *arg)
{
	timer_fn = fn;
	timer_arg = arg;
	gic_set_handler(timer_irq.num, timer_fn, timer_arg);
}

void timer_at(uint64_t ticks)
{
	sysreg_write("cntv_cval_el0", ticks);
	sysreg_write("cntv_ctl_el0", 1);
	isb();
}

void timer_stop(void)
{
	sysreg_write("cntv_ctl_el0", 0);
	isb();
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
	if (psci(PSCI_CPU_ON, machine.cpu_hwid[i], phys(secondary_entry), phys(slot)))
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

	gic_init_cpu();
	mb();
	WRITE_ONCE(*(unsigned *)(stack + sizeof(struct cpu_local)), 1);
	((void (*)(void *))(uintptr_t)slot[0])((void *)(uintptr_t)slot[1]);
	halt_forever();
}

struct cpu_local *cpu_local(void)
{
	uint64_t sp;

	__asm__ volatile("mov %0, sp" : "=r"(sp));
	return (struct cpu_local *)((sp - 1) & ~(uint64_t)(STACK_SIZE - 1));
}

void irq_allow(void)
{
	__asm__ volatile("msr daifclr, #2; isb" ::: "memory");
}

void irq_forbid(void)
{
	__asm__ volatile("msr daifset, #2" ::: "memory");
}

void cpu_wait(void)
{
	__asm__ volatile("dsb sy; wfi" ::: "memory"); /* wakes for a masked interrupt too */
	irq_allow();
	irq_forbid();
}

void cpu_relax(void)
{
	__asm__ volatile("yield" ::: "memory");
}

_Noreturn void arm_exception(uint64_t esr, uint64_t elr, uint64_t far)
{
	case_fail("exception esr 0x%lx at 0x%lx, far 0x%lx, cpu %u", esr, elr, far, cpu_self());
}

void test_exit(uint32_t value)
{
	if (machine.test_exit)
		mmio_write32(machine.test_exit, value);
}

void power_off(void)
{
	psci(PSCI_OFF, 0, 0, 0);
}

void power_reset(void)
{
	psci(PSCI_RESET, 0, 0, 0);
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
	return (uint32_t)psci(PSCI_VERSION, 0, 0, 0);
}
