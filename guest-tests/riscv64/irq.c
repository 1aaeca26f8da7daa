/* SPDX-License-Identifier: Apache-2.0 */
/*
 * External interrupts: the Advanced Interrupt Architecture (AIA 1.0: APLIC in MSI mode in front of
 * an IMSIC) where the device tree has it, else a PLIC (RISC-V PLIC 1.0), which has no messages.
 */
#include "case.h"
#include "fdt.h"
#include "io.h"
#include "machine_fdt.h"
#include "riscv.h"

enum { MAX_SOURCES = 1024, MAX_EIDS = 128 };
enum { SISELECT_DELIVERY = 0x70, SISELECT_THRESHOLD = 0x72, SISELECT_EIE0 = 0xc0 };
enum { APLIC_DOMAINCFG = 0, APLIC_CLRIPNUM = 0x1ddc, APLIC_SETIPNUM = 0x1cdc };
enum { APLIC_SETIENUM = 0x1edc, APLIC_CLRIENUM = 0x1fdc, APLIC_TARGET = 0x3000 };

static uint64_t imsic, aplic, plic; /* imsic: the boot hart's page */
static unsigned plic_context, boot_index, eid_count = 1, eid_limit;

/* By EID with the AIA, by source with a PLIC. */
static struct handler {
	irq_handler *fn;
	void *arg;
	uint32_t level_source; /* AIA: look at this line again after the handler */
} handlers[MAX_SOURCES];

struct irq chip_decode_irq(const uint8_t *spec, unsigned cells)
{
	struct irq irq = {.present = cells >= 1, .level = true};

	if (cells >= 1)
		irq.num = (uint32_t)fdt_number(spec, 1);
	if (cells >= 2) {
		uint32_t type = (uint32_t)fdt_number(spec + 4, 1);

		irq.level = type & 0xc;
		irq.active_low = type & 0xa;
	}
	return irq;
}

int hart_context(uint32_t controller, uint64_t hart)
{
	unsigned n = fdt_cells(controller, "interrupts-extended");

	for (unsigned i = 0; i + 1 < n; i += 2) {
		uint32_t intc = fdt_cell(controller, "interrupts-extended", i, 0);
		uint32_t irq = fdt_cell(controller, "interrupts-extended", i + 1, 0);
		uint64_t id, size;

		if (irq == 9 && fdt_reg(fdt_parent(fdt_by_phandle(intc)), 0, &id, &size) &&
			id == hart)
			return (int)(i / 2);
	}
	return -1;
}

static void imsic_write(uint32_t reg, uint64_t v)
{
	csr_write("0x150", reg); /* siselect */
	csr_write("0x151", v);	 /* sireg */
}

static void imsic_enable(uint32_t eid)
{
	csr_write("0x150", SISELECT_EIE0 + eid / 64 * 2);
	csr_set("0x151", 1ull << eid % 64);
}

void irq_init_hart(void)
{
	if (imsic) {
		imsic_write(SISELECT_THRESHOLD, 0);
		imsic_write(SISELECT_DELIVERY, 1);
	}
	csr_set("sie", SIE_SOFT | SIE_EXTERNAL);
}

static void find_aia(void)
{
	uint32_t node = FDT_NONE, phandle = 0;
	uint64_t base, size;
	int index = -1;

	while (index < 0 && (node = fdt_compatible(node, "riscv,imsics")) != FDT_NONE)
		index = hart_context(node, machine.cpu_hwid[0]);
	if (index < 0)
		return;
	fdt_reg(node, 0, &base, &size);
	phandle = fdt_cell(node, "phandle", 0, 0);
	boot_index = (unsigned)index;
	imsic = base + ((uint64_t)index << (12 + fdt_cell(node, "riscv,guest-index-bits", 0, 0)));
	eid_limit = MIN(fdt_cell(node, "riscv,num-ids", 0, 63), MAX_EIDS - 1);
	node = FDT_NONE;
	while ((node = fdt_compatible(node, "riscv,aplic")) != FDT_NONE)
		if (fdt_cell(node, "msi-parent", 0, 0) == phandle)
			break;
	if (node == FDT_NONE || !fdt_reg(node, 0, &aplic, &size))
		return;
	mmio_write32(aplic + APLIC_DOMAINCFG, BIT(8) | BIT(2)); /* enabled, messages */
}

static void find_plic(void)
{
	uint32_t node = fdt_compatible(FDT_NONE, "sifive,plic-1.0.0");
	uint64_t size;
	int context;

	if (node == FDT_NONE)
		node = fdt_compatible(FDT_NONE, "riscv,plic0");
	CHECK(node != FDT_NONE, "the device tree has neither an IMSIC nor a PLIC");
	context = hart_context(node, machine.cpu_hwid[0]);
	CHECK(context >= 0, "the PLIC has no S-mode context for the boot hart");
	plic_context = (unsigned)context;
	fdt_reg(node, 0, &plic, &size);
	mmio_write32(plic + 0x200000 + plic_context * 0x1000, 0); /* threshold */
}

void chip_irq_init(void)
{
	find_aia();
	if (!imsic)
		find_plic();
	irq_init_hart();
}

static int eid_alloc(irq_handler *fn, void *arg, uint32_t level_source)
{
	if (eid_count > eid_limit)
		return -1;
	handlers[eid_count] = (struct handler){fn, arg, level_source};
	imsic_enable(eid_count);
	return (int)eid_count++;
}

static int attach_aplic(const struct irq *irq, irq_handler *fn, void *arg)
{
	uint32_t mode = irq->level ? 6 : 4; /* level high, rising edge */
	int eid = eid_alloc(fn, arg, irq->level ? irq->num : 0);

	if (eid < 0)
		return -1;
	mmio_write32(aplic + APLIC_CLRIENUM, irq->num);
	mmio_write32(aplic + irq->num * 4, mode + irq->active_low);
	mmio_write32(aplic + APLIC_CLRIPNUM, irq->num);
	mmio_write32(aplic + APLIC_TARGET + irq->num * 4, boot_index << 18 | (uint32_t)eid);
	mmio_write32(aplic + APLIC_SETIENUM, irq->num);
	if (irq->level)
		mmio_write32(aplic + APLIC_SETIPNUM, irq->num);
	return 0;
}

static int attach_plic(const struct irq *irq, irq_handler *fn, void *arg)
{
	uint64_t enable = plic + 0x2000 + plic_context * 0x80 + irq->num / 32 * 4;

	handlers[irq->num] = (struct handler){fn, arg, 0};
	mmio_write32(plic + irq->num * 4, 1); /* priority */
	mmio_write32(enable, mmio_read32(enable) | BIT(irq->num % 32));
	return 0;
}

int irq_attach(const struct irq *irq, irq_handler *fn, void *arg)
{
	if (!irq->present || !irq->num || irq->num >= MAX_SOURCES)
		return -1;
	if (imsic)
		return aplic ? attach_aplic(irq, fn, arg) : -1;
	return attach_plic(irq, fn, arg);
}

void irq_detach(const struct irq *irq)
{
	uint64_t enable = plic + 0x2000 + plic_context * 0x80 + irq->num / 32 * 4;

	if (aplic) {
		mmio_write32(aplic + APLIC_CLRIENUM, irq->num);
		mmio_write32(aplic + irq->num * 4, 0);
	} else if (plic) {
		mmio_write32(enable, mmio_read32(enable) & ~BIT(irq->num % 32));
	}
}

bool msi_available(void)
{
	return imsic;
}

int msi_attach(uint32_t requester, irq_handler *fn, void *arg, struct msi_msg *ret)
{
	int eid = imsic ? eid_alloc(fn, arg, 0) : -1;

	(void)requester;
	if (eid < 0)
		return -1;
	ret->address = imsic; /* seteipnum_le */
	ret->data = (uint32_t)eid;
	return 0;
}

static void external_imsic(void)
{
	uint64_t top;

	for (;;) {
		__asm__ volatile("csrrw %0, 0x15c, zero" : "=r"(top)::"memory"); /* stopei */
		if (!top)
			return;
		struct handler *h = &handlers[top >> 16 & 0x7ff];
		if (h->fn)
			h->fn(h->arg);
		/* AIA 4.9.2: a level that stays asserted sends no second message by itself */
		if (h->level_source)
			mmio_write32(aplic + APLIC_SETIPNUM, h->level_source);
	}
}

void irq_external(void)
{
	uint64_t claim = plic + 0x200004 + plic_context * 0x1000;
	uint32_t source;

	if (imsic) {
		external_imsic();
		return;
	}
	/* one at a time: a level whose handler did not quiet it must let others run */
	source = mmio_read32(claim);
	if (!source)
		return;
	if (source < MAX_SOURCES && handlers[source].fn)
		handlers[source].fn(handlers[source].arg);
	mmio_write32(claim, source);
}
