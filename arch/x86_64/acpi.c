/* SPDX-License-Identifier: Apache-2.0 */
/* RSDP, XSDT, FADT, MADT, MCFG and the DSDT's frame (ACPI 6.5 §5.2). Offsets are the tables' own.
 */
#include "arch/x86_64/acpi.h"

#include <errno.h>
#include <string.h>
#include "arch/x86_64/layout.h"
#include "vmm/base/num.h"

#define HEADER_LEN 36
#define RSDP_LEN   36
#define FADT_LEN   276
#define XSDT_MAX   4

/* FADT flags (table 5.10). */
#define FADT_WBINVD	(1u << 0)
#define FADT_BUTTONS	(3u << 4) /* no fixed buttons: control methods, or none */
#define FADT_RESET_REG	(1u << 10)
#define FADT_HW_REDUCED (1u << 20)
/* FADT IA-PC boot flags (table 5.11). */
#define IAPC_LEGACY_DEVICES (1u << 0)
#define IAPC_NO_VGA	    (1u << 2)
#define IAPC_NO_CMOS_RTC    (1u << 5)

struct tables {
	struct aml out;
	uint64_t gpa;
	uint64_t table[XSDT_MAX]; /* what the XSDT lists */
	unsigned n;
};

static uint8_t checksum(const uint8_t *p, size_t n)
{
	uint8_t sum = 0;

	while (n--)
		sum = (uint8_t)(sum + *p++);
	return (uint8_t)-sum;
}

/* Tables start 16-byte aligned. Returns the offset. */
static size_t table_open(struct tables *t, const char *sig, uint8_t revision)
{
	struct aml *a = &t->out;
	size_t at;

	while (a->len % 16 && !a->full)
		aml_byte(a, 0);
	at = a->len;
	aml_bytes(a, sig, 4);
	aml_le(a, 0, 4); /* length, by table_close */
	aml_byte(a, revision);
	aml_byte(a, 0); /* checksum, by table_close */
	aml_bytes(a, "POLYVR", 6);
	aml_bytes(a, "POLYVISR", 8);
	aml_le(a, 1, 4);
	aml_bytes(a, "PLVR", 4);
	aml_le(a, 1, 4);
	return at;
}

static uint64_t table_close(struct tables *t, size_t at)
{
	struct aml *a = &t->out;

	if (!a->full) {
		store_le(a->buf + at + 4, 4, a->len - at);
		a->buf[at + 9] = checksum(a->buf + at, a->len - at);
	}
	return t->gpa + at;
}

static void put(struct tables *t, size_t at, uint64_t v, unsigned bytes)
{
	if (!t->out.full)
		store_le(t->out.buf + at, bytes, v);
}

/* A generic address structure (§5.2.3.2) for one byte-wide register. */
static void put_gas(struct tables *t, size_t at, const struct dev_desc *d, uint64_t off)
{
	put(t, at, d->space == SPACE_PIO ? 1 : 0, 1);
	put(t, at + 1, 8, 1); /* bits */
	put(t, at + 3, 1, 1); /* byte access */
	put(t, at + 4, d->base + off, 8);
}

static void fadt(struct tables *t, const struct machine *machine, uint64_t dsdt)
{
	const struct dev_desc *power = acpi_find_dev(machine, DEV_POWER);
	size_t at = table_open(t, "FACP", 6);
	uint32_t flags = FADT_WBINVD | FADT_BUTTONS | FADT_HW_REDUCED;
	/* i8042 is there to reset, not to be probed: its presence bit stays clear. */
	uint16_t iapc = IAPC_NO_VGA;

	for (size_t i = HEADER_LEN; i < FADT_LEN && !t->out.full; i++)
		aml_byte(&t->out, 0);
	if (acpi_find_dev(machine, DEV_UART))
		iapc |= IAPC_LEGACY_DEVICES;
	if (!acpi_find_dev(machine, DEV_RTC))
		iapc |= IAPC_NO_CMOS_RTC;
	if (power) {
		flags |= FADT_RESET_REG;
		put_gas(t, at + 116, power, ACPI_RESET_REG);	     /* RESET_REG */
		put(t, at + 128, 1, 1);				     /* RESET_VALUE */
		put_gas(t, at + 244, power, ACPI_SLEEP_CONTROL_REG); /* SLEEP_CONTROL_REG */
		put_gas(t, at + 256, power, ACPI_SLEEP_STATUS_REG);  /* SLEEP_STATUS_REG */
	}
	put(t, at + 109, iapc, 2);
	put(t, at + 112, flags, 4);
	put(t, at + 131, 5, 1); /* minor version: ACPI 6.5 */
	put(t, at + 140, dsdt, 8);
	t->table[t->n++] = table_close(t, at);
}

/* §5.2.12.2 and §5.2.12.12: ids from 255 up need the x2APIC form. */
static void madt_cpu(struct aml *a, uint32_t id)
{
	if (id < 255) {
		aml_byte(a, 0);
		aml_byte(a, 8);
		aml_byte(a, (uint8_t)id);
		aml_byte(a, (uint8_t)id);
		aml_le(a, 1, 4); /* enabled */
		return;
	}
	aml_byte(a, 9);
	aml_byte(a, 16);
	aml_le(a, 0, 2);
	aml_le(a, id, 4);
	aml_le(a, 1, 4);
	aml_le(a, id, 4);
}

/* §5.2.12.5: an ISA pin that is not what ISA says (edge, active high). */
static void madt_override(struct aml *a, const struct dev_desc *d)
{
	if (!d->has_irq || !d->level || d->irq >= 16)
		return;
	aml_byte(a, 2);
	aml_byte(a, 10);
	aml_byte(a, 0);
	aml_byte(a, (uint8_t)d->irq);
	aml_le(a, d->irq, 4);
	aml_le(a, 0xd, 2); /* active high, level */
}

static void madt(struct tables *t, const struct plan *p, const struct machine *machine)
{
	struct aml *a = &t->out;
	size_t at = table_open(t, "APIC", 5);

	aml_le(a, p->irqchip[1].base, 4);
	aml_le(a, 0, 4); /* no PIC that the guest should use */
	for (uint32_t i = 0; i < machine->vcpus; i++)
		madt_cpu(a, i);
	aml_byte(a, 1); /* IOAPIC, §5.2.12.3 */
	aml_byte(a, 12);
	aml_le(a, 0, 2);
	aml_le(a, p->irqchip[0].base, 4);
	aml_le(a, 0, 4); /* its first GSI */
	for (unsigned i = 0; i < machine->ndev; i++)
		madt_override(a, &machine->dev[i]);
	aml_byte(a, 4); /* NMI on LINT1 of every processor, §5.2.12.7 */
	aml_byte(a, 6);
	aml_byte(a, 0xff);
	aml_le(a, 0, 2);
	aml_byte(a, 1);
	t->table[t->n++] = table_close(t, at);
}

/* PCI Firmware Spec 3.3 §4.1.2. */
static void mcfg(struct tables *t, const struct plan *p)
{
	struct aml *a = &t->out;
	size_t at = table_open(t, "MCFG", 1);

	aml_le(a, 0, 8);
	aml_le(a, p->ecam.base, 8);
	aml_le(a, 0, 2); /* segment */
	aml_byte(a, 0);
	aml_byte(a, p->pci_last_bus);
	aml_le(a, 0, 4);
	t->table[t->n++] = table_close(t, at);
}

static uint64_t xsdt(struct tables *t)
{
	size_t at = table_open(t, "XSDT", 1);

	for (unsigned i = 0; i < t->n; i++)
		aml_le(&t->out, t->table[i], 8);
	return table_close(t, at);
}

/* §5.2.5.3, at the very start. */
static void rsdp(struct tables *t, uint64_t xsdt_gpa)
{
	uint8_t *p = t->out.buf;

	memcpy(p, "RSD PTR ", 8);
	memcpy(p + 9, "POLYVR", 6);
	p[15] = 2; /* revision */
	store_le(p + 20, 4, RSDP_LEN);
	store_le(p + 24, 8, xsdt_gpa);
	p[8] = checksum(p, 20);
	p[32] = checksum(p, RSDP_LEN);
}

int acpi_build(
	uint8_t *buf, size_t cap, uint64_t gpa, const struct plan *p, const struct machine *machine)
{
	struct tables t = {.out = {.buf = buf, .cap = cap}, .gpa = gpa};
	uint64_t dsdt, root;
	size_t at;

	if (cap < RSDP_LEN)
		return -ENOSPC;
	memset(buf, 0, RSDP_LEN);
	t.out.len = RSDP_LEN;
	at = table_open(&t, "DSDT", 2);
	acpi_dsdt_body(&t.out, p, machine);
	dsdt = table_close(&t, at);
	fadt(&t, machine, dsdt);
	madt(&t, p, machine);
	if (acpi_find_dev(machine, DEV_PCI_ROOT))
		mcfg(&t, p);
	root = xsdt(&t);
	if (t.out.full)
		return -ENOSPC;
	rsdp(&t, root);
	return (int)t.out.len;
}
