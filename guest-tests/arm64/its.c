/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interrupt Translation Service (Arm IHI 0069 ch. 5): PCI messages become LPIs. One collection,
 * the boot CPU's; a device's events are numbered from 0.
 */
#include "arm.h"
#include "case.h"
#include "fdt.h"
#include "io.h"
#include "mem.h"

enum { GITS_CTLR = 0, GITS_TYPER = 8, GITS_CBASER = 0x80, GITS_CWRITER = 0x88 };
enum { GITS_CREADR = 0x90, GITS_BASER = 0x100, GITS_TRANSLATER = 0x10040 };
enum { GICR_CTLR = 0, GICR_TYPER = 8, GICR_PROPBASER = 0x70, GICR_PENDBASER = 0x78 };
enum { LPI_FIRST = 8192, LPI_ID_BITS = 14, MAX_LPIS = 64, QUEUE_SIZE = 4096 };
#define INNER_SHAREABLE_WB (7ull << 59 | 1ull << 10)
#define TABLE_SIZE	   65536u

static uint64_t its, rdbase;
static uint8_t *lpi_config;
static uint64_t *queue;
static uint32_t queue_at;
static struct {
	uint32_t device, event;
	irq_handler *fn;
	void *arg;
} lpis[MAX_LPIS];
static unsigned lpi_count;

static void command(uint64_t a, uint64_t b, uint64_t c)
{
	uint64_t end = deadline_ms(2000);
	uint64_t *q = queue + queue_at / 8;

	q[0] = a;
	q[1] = b;
	q[2] = c;
	q[3] = 0;
	mb();
	queue_at = (queue_at + 32) % QUEUE_SIZE;
	mmio_write64(its + GITS_CWRITER, queue_at);
	while (mmio_read64(its + GITS_CREADR) != queue_at)
		CHECK(!deadline_passed(end), "the ITS does not take commands (0x%lx)", a);
}

static void give_tables(void)
{
	for (unsigned i = 0; i < 8; i++) {
		uint64_t at = its + GITS_BASER + i * 8, v = mmio_read64(at);
		unsigned type = v >> 56 & 7;
		uint64_t page;

		if (type != 1 && type != 4) /* devices, collections */
			continue;
		v = INNER_SHAREABLE_WB | phys(mem_alloc(TABLE_SIZE, TABLE_SIZE));
		mmio_write64(at, v);
		page = 4096ull << (mmio_read64(at) >> 8 & 3) * 2; /* may be read-only */
		page = MIN(page, TABLE_SIZE);
		v |= mmio_read64(at) & 0x300;
		mmio_write64(at, v | 1ull << 63 | (TABLE_SIZE / page - 1));
	}
}

static void init_lpis(uint64_t r)
{
	lpi_config = mem_alloc(1u << LPI_ID_BITS, 4096);
	mmio_write64(
		r + GICR_PROPBASER, phys(lpi_config) | 7ull << 7 | 1ull << 10 | (LPI_ID_BITS - 1));
	/* all zero: the GIC need not read it (PTZ, bit 62) */
	mmio_write64(r + GICR_PENDBASER,
		phys(mem_alloc(65536, 65536)) | 7ull << 7 | 1ull << 10 | 1ull << 62);
	mb();
	mmio_write32(r + GICR_CTLR, mmio_read32(r + GICR_CTLR) | 1);
}

void its_init(uint64_t r)
{
	uint32_t node = fdt_compatible(FDT_NONE, "arm,gic-v3-its");
	uint64_t size;

	if (node == FDT_NONE)
		return;
	fdt_reg(node, 0, &its, &size);
	init_lpis(r);
	give_tables();
	queue = mem_alloc(QUEUE_SIZE, 65536);
	mmio_write64(its + GITS_CBASER, 1ull << 63 | INNER_SHAREABLE_WB | phys(queue));
	mmio_write64(its + GITS_CWRITER, 0);
	mmio_write32(its + GITS_CTLR, 1);
	/* GITS_TYPER.PTA: redistributors are named by address, else by processor number */
	if (mmio_read64(its + GITS_TYPER) & 1ull << 19)
		rdbase = r;
	else
		rdbase = (mmio_read64(r + GICR_TYPER) >> 8 & 0xffff) << 16;
	command(0x09, 0, 1ull << 63 | rdbase); /* MAPC collection 0 */
	command(0x05, 0, rdbase);	       /* SYNC */
}

bool msi_available(void)
{
	return its;
}

int msi_attach(uint32_t requester, irq_handler *fn, void *arg, struct msi_msg *ret)
{
	uint64_t device = (uint64_t)requester << 32;
	unsigned i = lpi_count;
	uint32_t event = 0;

	if (!its || i == MAX_LPIS)
		return -1;
	for (unsigned k = 0; k < i; k++)
		event += lpis[k].device == requester;
	CHECK(event < 32, "too many messages of one device");
	if (!event) /* MAPD with room for 32 events */
		command(device | 0x08, 4, 1ull << 63 | phys(mem_alloc(4096, 4096)));
	lpis[i].device = requester;
	lpis[i].event = event;
	lpis[i].fn = fn;
	lpis[i].arg = arg;
	lpi_config[i] = 0x80 | 1; /* priority, enabled */
	mb();
	command(device | 0x0a, (uint64_t)(LPI_FIRST + i) << 32 | event, 0); /* MAPTI */
	command(device | 0x0c, event, 0);				    /* INV */
	command(0x05, 0, rdbase);
	lpi_count++;
	ret->address = its + GITS_TRANSLATER;
	ret->data = event;
	return 0;
}

irq_handler *its_handler(uint32_t lpi, void **ret_arg)
{
	uint32_t i = lpi - LPI_FIRST;

	if (lpi < LPI_FIRST || i >= lpi_count)
		return NULL;
	*ret_arg = lpis[i].arg;
	return lpis[i].fn;
}
