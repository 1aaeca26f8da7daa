/* SPDX-License-Identifier: Apache-2.0 */
/* The DSDT: what cannot be found by probing. Everything is below \_SB. */
#include "arch/x86_64/acpi.h"

#include <stdio.h>
#include "vmm/base/num.h"

#define SLEEP_S5 5 /* the value the sleep control register takes for power-off */

/* What of PCIe the guest's own drivers may run: hot-plug, PME, AER, the capability structure
 * (PCI Firmware Spec 3.3 §4.5.1). SHPC hot-plug and LTR are not there. */
#define OSC_GRANT 0x1d

static void pci_osc(struct aml *a)
{
	/* 33db4d5b-1ff7-401c-9657-7441c03dd766 */
	static const uint8_t uuid[16] = {0x5b, 0x4d, 0xdb, 0x33, 0xf7, 0x1f, 0x1c, 0x40, 0x96, 0x57,
		0x74, 0x41, 0xc0, 0x3d, 0xd7, 0x66};
	size_t method = aml_method(a, "_OSC", 4), branch;

	/* CreateDWordField (Arg3, 0, CDW1) */
	aml_byte(a, AML_DWORD_FIELD);
	aml_byte(a, AML_ARG0 + 3);
	aml_int(a, 0);
	aml_name(a, "CDW1");
	branch = aml_if(a); /* Arg0 == uuid */
	aml_byte(a, AML_LEQUAL);
	aml_byte(a, AML_ARG0);
	aml_buffer(a, uuid, sizeof(uuid));
	aml_byte(a, AML_DWORD_FIELD);
	aml_byte(a, AML_ARG0 + 3);
	aml_int(a, 8);
	aml_name(a, "CDW3");
	/* Local0 = CDW3 & OSC_GRANT */
	aml_byte(a, AML_AND);
	aml_name(a, "CDW3");
	aml_int(a, OSC_GRANT);
	aml_byte(a, AML_LOCAL0);
	/* If (Local0 != CDW3) { CDW1 |= 0x10 }: some of it was masked */
	size_t masked = aml_if(a);
	aml_byte(a, AML_LNOT);
	aml_byte(a, AML_LEQUAL);
	aml_byte(a, AML_LOCAL0);
	aml_name(a, "CDW3");
	aml_byte(a, AML_OR);
	aml_name(a, "CDW1");
	aml_int(a, 0x10);
	aml_name(a, "CDW1");
	aml_close(a, masked);
	aml_byte(a, AML_STORE);
	aml_byte(a, AML_LOCAL0);
	aml_name(a, "CDW3");
	aml_close(a, branch);
	branch = aml_else(a); /* CDW1 |= 4: unknown UUID */
	aml_byte(a, AML_OR);
	aml_name(a, "CDW1");
	aml_int(a, 4);
	aml_name(a, "CDW1");
	aml_close(a, branch);
	aml_byte(a, AML_RETURN);
	aml_byte(a, AML_ARG0 + 3);
	aml_close(a, method);
}

/* { device << 16 | any function, INTx, no link device, GSI }, swizzled as PCI does. */
static void pci_prt(struct aml *a, const struct plan *p)
{
	size_t prt, entry;

	aml_named(a, "_PRT");
	prt = aml_package(a, 32 * 4);
	for (uint32_t slot = 0; slot < 32; slot++) {
		for (uint32_t pin = 0; pin < 4; pin++) {
			entry = aml_package(a, 4);
			aml_int(a, slot << 16 | 0xffff);
			aml_int(a, pin);
			aml_int(a, 0);
			aml_int(a, p->intx_pin[(slot + pin) % 4]);
			aml_close(a, entry);
		}
	}
	aml_close(a, prt);
}

static void pci_root(struct aml *a, const struct plan *p)
{
	size_t dev = aml_device(a, "PCI0");
	struct aml_crs crs;

	aml_named_eisaid(a, "_HID", "PNP0A08");
	aml_named_eisaid(a, "_CID", "PNP0A03");
	aml_named_int(a, "_SEG", 0);
	aml_named_int(a, "_BBN", 0);
	aml_named_int(a, "_UID", 0);
	crs = aml_crs_open(a);
	aml_crs_bus(a, 0, p->pci_last_bus);
	if (p->pci_conf1)
		aml_crs_io(a, 0xcf8, 8);
	aml_crs_window32(a, (uint32_t)p->pci_mmio32.base, (uint32_t)p->pci_mmio32.size);
	if (p->pci_mmio64.size)
		aml_crs_window64(a, p->pci_mmio64.base, p->pci_mmio64.size);
	aml_crs_close(a, &crs);
	pci_prt(a, p);
	pci_osc(a);
	aml_close(a, dev);
}

/* ECAM must be claimed by a motherboard resource (PCI Firmware Spec 3.3 §4.1.2). */
static void motherboard(struct aml *a, const struct plan *p)
{
	size_t dev = aml_device(a, "MB00");
	struct aml_crs crs;

	aml_named_eisaid(a, "_HID", "PNP0C02");
	aml_named_int(a, "_UID", 0);
	crs = aml_crs_open(a);
	aml_crs_memory32(a, (uint32_t)p->ecam.base, (uint32_t)p->ecam.size);
	aml_crs_close(a, &crs);
	aml_close(a, dev);
}

static void resources(struct aml *a, const struct dev_desc *d)
{
	struct aml_crs crs = aml_crs_open(a);

	if (d->space == SPACE_PIO)
		aml_crs_io(a, (uint16_t)d->base, (uint8_t)d->size);
	else
		aml_crs_memory32(a, (uint32_t)d->base, (uint32_t)d->size);
	if (d->has_irq)
		aml_crs_irq(a, d->irq, d->level);
	aml_crs_close(a, &crs);
}

static void pnp_device(
	struct aml *a, const char *seg, const char *hid, unsigned uid, const struct dev_desc *d)
{
	size_t dev = aml_device(a, seg);

	aml_named_eisaid(a, "_HID", hid);
	aml_named_int(a, "_UID", uid);
	resources(a, d);
	aml_close(a, dev);
}

/* LNRO0005 is the id under which Linux's virtio_mmio driver takes ACPI devices. */
static void virtio_mmio(struct aml *a, unsigned n, const struct dev_desc *d)
{
	char seg[8];
	size_t dev;

	snprintf(seg, sizeof(seg), "VR%02X", n & 0xff);
	dev = aml_device(a, seg);
	aml_named_string(a, "_HID", "LNRO0005");
	aml_named_int(a, "_UID", n);
	aml_named_int(a, "_CCA", 1);
	resources(a, d);
	aml_close(a, dev);
}

/* The power button and the generic event device that reports it (ACPI 6.5 §5.6.9, §4.8.3.1). */
static void power(struct aml *a, const struct dev_desc *d)
{
	size_t dev = aml_device(a, "PWRB"), method, cond;
	struct aml_crs crs;

	aml_named_eisaid(a, "_HID", "PNP0C0C");
	aml_close(a, dev);
	if (!d->has_irq)
		return;
	dev = aml_device(a, "GED0");
	aml_named_string(a, "_HID", "ACPI0013");
	aml_named_int(a, "_UID", 0);
	crs = aml_crs_open(a);
	aml_crs_irq(a, d->irq, d->level);
	aml_crs_close(a, &crs);
	aml_op_region_io(a, "GEDR", (uint16_t)(d->base + ACPI_GED_REG), 1);
	aml_field_byte(a, "GEDR", "GEDB");
	method = aml_method(a, "_EVT", 1);
	aml_byte(a, AML_STORE); /* reading clears, so once */
	aml_name(a, "GEDB");
	aml_byte(a, AML_LOCAL0);
	cond = aml_if(a);
	aml_byte(a, AML_AND);
	aml_byte(a, AML_LOCAL0);
	aml_int(a, 1);
	aml_byte(a, AML_ZERO); /* no target */
	aml_byte(a, AML_NOTIFY);
	aml_name(a, "PWRB");
	aml_int(a, 0x80);
	aml_close(a, cond);
	aml_close(a, method);
	aml_close(a, dev);
}

static void sleep_states(struct aml *a)
{
	size_t s5;

	aml_named(a, "_S5_");
	s5 = aml_package(a, 2);
	aml_int(a, SLEEP_S5);
	aml_int(a, 0);
	aml_close(a, s5);
}

const struct dev_desc *acpi_find_dev(const struct machine *machine, enum dev_kind kind)
{
	for (unsigned i = 0; i < machine->ndev; i++)
		if (machine->dev[i].kind == kind)
			return &machine->dev[i];
	return NULL;
}

void acpi_dsdt_body(struct aml *a, const struct plan *p, const struct machine *machine)
{
	const struct dev_desc *pwr = acpi_find_dev(machine, DEV_POWER);
	unsigned uarts = 0, vmmio = 0;
	size_t scope;

	if (pwr)
		sleep_states(a);
	scope = aml_scope(a, "_SB_");
	if (acpi_find_dev(machine, DEV_PCI_ROOT)) {
		pci_root(a, p);
		motherboard(a, p);
	}
	if (pwr)
		power(a, pwr);
	for (unsigned i = 0; i < machine->ndev; i++) {
		const struct dev_desc *d = &machine->dev[i];
		char seg[8];

		if (d->kind == DEV_UART) {
			snprintf(seg, sizeof(seg), "COM%u", (uarts + 1) % 10);
			pnp_device(a, seg, "PNP0501", uarts++, d);
		} else if (d->kind == DEV_RTC) {
			pnp_device(a, "RTC0", "PNP0B00", 0, d);
		} else if (d->kind == DEV_VIRTIO_MMIO) {
			virtio_mmio(a, vmmio++, d);
		}
	}
	aml_close(a, scope);
}
