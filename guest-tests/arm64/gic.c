/* SPDX-License-Identifier: Apache-2.0 */
/* GICv3 distributor, redistributors and CPU interface (Arm IHI 0069). All in group 1. */
#include "arm.h"
#include "case.h"
#include "fdt.h"
#include "io.h"
#include "machine_fdt.h"

enum { GICD_CTLR = 0, GICD_IGROUPR = 0x80, GICD_ISENABLER = 0x100, GICD_ICENABLER = 0x180 };
enum { GICD_ICPENDR = 0x280, GICD_IPRIORITYR = 0x400, GICD_ICFGR = 0xc00, GICD_IROUTER = 0x6000 };
enum { GICR_TYPER = 8, GICR_WAKER = 0x14, GICR_SGI = 0x10000 };
enum { MAX_REGIONS = 8, IPI_INTID = 1 };

static uint64_t gicd;
static struct {
	uint64_t base, size;
} regions[MAX_REGIONS];

static struct {
	irq_handler *fn;
	void *arg;
} handlers[1020];

/* Type (0 SPI, 1 PPI), number, trigger (1 and 2 edge, 4 and 8 level). */
struct irq chip_decode_irq(const uint8_t *spec, unsigned cells)
{
	struct irq irq = {.present = cells >= 3};

	if (cells < 3)
		return irq;
	irq.num = (uint32_t)fdt_number(spec + 4, 1) + (fdt_number(spec, 1) ? 16 : 32);
	irq.level = fdt_number(spec + 8, 1) & 0xc;
	return irq;
}

void gic_set_handler(uint32_t intid, irq_handler *fn, void *arg)
{
	handlers[intid].arg = arg;
	WRITE_ONCE(handlers[intid].fn, fn);
}

static uint64_t affinity(void)
{
	uint64_t mpidr = sysreg_read("mpidr_el1");

	return (mpidr & 0xffffff) | (mpidr >> 32 & 0xff) << 24;
}

uint64_t gic_redistributor(void)
{
	for (unsigned i = 0; i < MAX_REGIONS && regions[i].size; i++) {
		for (uint64_t at = regions[i].base;; at += 0x20000) {
			uint64_t typer = mmio_read64(at + GICR_TYPER);

			if (typer >> 32 == affinity())
				return at;
			if (typer & BIT(4) || at + 0x20000 >= regions[i].base + regions[i].size)
				break; /* last of this region */
			if (typer & BIT(1))
				at += 0x20000; /* GICv4: two more frames */
		}
	}
	case_fail("no redistributor for affinity 0x%lx", affinity());
}

void gic_init_cpu(void)
{
	uint64_t r = gic_redistributor();

	mmio_write32(r + GICR_WAKER, mmio_read32(r + GICR_WAKER) & ~BIT(1));
	while (mmio_read32(r + GICR_WAKER) & BIT(2))
		cpu_relax();
	mmio_write32(r + GICR_SGI + GICD_IGROUPR, ~0u);
	for (unsigned i = 0; i < 32; i += 4)
		mmio_write32(r + GICR_SGI + GICD_IPRIORITYR + i, 0x80808080);
	mmio_write32(r + GICR_SGI + GICD_ISENABLER, BIT(IPI_INTID));
	sysreg_write("s3_0_c12_c12_5", sysreg_read("s3_0_c12_c12_5") | 1); /* ICC_SRE_EL1 */
	isb();
	sysreg_write("s3_0_c4_c6_0", 0xff); /* ICC_PMR_EL1 */
	sysreg_write("s3_0_c12_c12_3", 0);  /* ICC_BPR1_EL1 */
	sysreg_write("s3_0_c12_c12_4", 0);  /* ICC_CTLR_EL1: EOI also deactivates */
	sysreg_write("s3_0_c12_c12_7", 1);  /* ICC_IGRPEN1_EL1 */
	isb();
	timer_init_cpu();
}

void chip_irq_init(void)
{
	uint32_t node = fdt_compatible(FDT_NONE, "arm,gic-v3");
	uint64_t size;
	unsigned n;

	CHECK(node != FDT_NONE, "no arm,gic-v3 in the device tree");
	fdt_reg(node, 0, &gicd, &size);
	n = fdt_cell(node, "#redistributor-regions", 0, 1);
	for (unsigned i = 0; i < n && i < MAX_REGIONS; i++)
		fdt_reg(node, 1 + i, &regions[i].base, &regions[i].size);
	mmio_write32(gicd + GICD_CTLR, BIT(4)); /* affinity routing */
	mmio_write32(gicd + GICD_CTLR, BIT(4) | BIT(1));
	gic_init_cpu();
	its_init(gic_redistributor());
}

int irq_attach(const struct irq *irq, irq_handler *fn, void *arg)
{
	uint32_t n = irq->num, config;

	if (!irq->present || n < 32 || n >= ARRAY_SIZE(handlers))
		return -1;
	irq_detach(irq);
	gic_set_handler(n, fn, arg);
	mmio_write32(gicd + GICD_IGROUPR + n / 32 * 4,
		mmio_read32(gicd + GICD_IGROUPR + n / 32 * 4) | BIT(n % 32));
	mmio_write8(gicd + GICD_IPRIORITYR + n, 0x80);
	config = mmio_read32(gicd + GICD_ICFGR + n / 16 * 4) & ~(3u << n % 16 * 2);
	mmio_write32(gicd + GICD_ICFGR + n / 16 * 4, config | (irq->level ? 0 : 2u << n % 16 * 2));
	mmio_write64(gicd + GICD_IROUTER + n * 8, machine.cpu_hwid[0]);
	mmio_write32(gicd + GICD_ICPENDR + n / 32 * 4, BIT(n % 32));
	mmio_write32(gicd + GICD_ISENABLER + n / 32 * 4, BIT(n % 32));
	return 0;
}

void irq_detach(const struct irq *irq)
{
	mmio_write32(gicd + GICD_ICENABLER + irq->num / 32 * 4, BIT(irq->num % 32));
	while (mmio_read32(gicd + GICD_CTLR) & BIT(31)) /* register write pending */
		cpu_relax();
}

void ipi_attach(irq_handler *fn, void *arg)
{
	gic_set_handler(IPI_INTID, fn, arg);
}

void ipi_send(unsigned cpu)
{
	uint64_t id = machine.cpu_hwid[cpu];
	uint64_t v = (id >> 32 & 0xff) << 48 | (id >> 16 & 0xff) << 32 | (id >> 8 & 0xff) << 16;

	mb();
	/* ICC_SGI1R_EL1: affinity 3, 2, 1, range selector and target list for affinity 0 */
	v |= (id >> 4 & 0xf) << 44 | (uint64_t)IPI_INTID << 24 | 1u << (id & 0xf);
	sysreg_write("s3_0_c12_c11_5", v);
	isb();
}

void arm_irq(void)
{
	for (;;) {
		uint32_t id = (uint32_t)sysreg_read("s3_0_c12_c12_0"); /* ICC_IAR1_EL1 */
		irq_handler *fn = NULL;
		void *arg = NULL;

		mb();
		if (id >= 1020 && id <= 1023)
			return;
		if (id < ARRAY_SIZE(handlers)) {
			fn = handlers[id].fn;
			arg = handlers[id].arg;
		} else {
			fn = its_handler(id, &arg);
		}
		if (fn)
			fn(arg);
		mb();
		sysreg_write("s3_0_c12_c12_1", id); /* ICC_EOIR1_EL1 */
		isb();
	}
}
