/* SPDX-License-Identifier: Apache-2.0 */
/* ACPI 6.4 tables. See acpi.h for how much of them. */
#include "acpi.h"

#include "io.h"
#include "text.h"

struct acpi acpi;
static const uint8_t *dsdt;
static uint32_t dsdt_length;

struct sdt {
	char signature[4];
	uint32_t length;
	uint8_t rest[28];
} __attribute__((packed));

/* Fields lie unaligned. */
static uint64_t get(const uint8_t *p, unsigned bytes)
{
	uint64_t v = 0;

	while (bytes--)
		v = v << 8 | p[bytes];
	return v;
}

static void add_cpu(uint64_t apic_id, uint32_t flags)
{
	if ((flags & 1) && machine.cpu_count < MAX_CPUS) /* enabled */
		machine.cpu_hwid[machine.cpu_count++] = apic_id;
}

/* §5.2.12 */
static void read_madt(const uint8_t *t, uint32_t length)
{
	acpi.lapic = get(t + 36, 4);
	for (uint32_t at = 44; at + 2 <= length && t[at + 1] >= 2; at += t[at + 1]) {
		const uint8_t *e = t + at;

		if (e[0] == 0) {
			add_cpu(e[3], (uint32_t)get(e + 4, 4));
		} else if (e[0] == 9) {
			add_cpu(get(e + 4, 4), (uint32_t)get(e + 8, 4));
		} else if (e[0] == 1 && acpi.ioapic_count < ARRAY_SIZE(acpi.ioapic)) {
			struct acpi_ioapic *io = &acpi.ioapic[acpi.ioapic_count++];

			io->address = get(e + 4, 4);
			io->gsi_base = (uint32_t)get(e + 8, 4);
		} else if (e[0] == 2 && e[3] < 16) {
			uint32_t gsi = (uint32_t)get(e + 4, 4);
			uint16_t flags = (uint16_t)get(e + 8, 2);

			acpi.isa[e[3]] =
				(struct irq){true, gsi, (flags & 0xc) == 0xc, (flags & 3) == 3};
		}
	}
}

/* PCI Firmware 3.3 §4.1.2; the guests use the first segment that is listed. */
static void read_mcfg(const uint8_t *t, uint32_t length)
{
	if (length < 60)
		return;
	machine.pci_present = true;
	machine.ecam = get(t + 44, 8);
	machine.pci_segment = (uint16_t)get(t + 52, 2);
	machine.bus_start = t[54];
	machine.bus_end = t[55];
	machine.ecam_size = (uint64_t)(machine.bus_end - machine.bus_start + 1) << 20;
}

static void find_s5(const uint8_t *t, uint32_t length)
{
	/* Name (_S5, Package () { SLP_TYPa, …: 08 "_S5_" 12 pkglength count (0A)? value */
	for (uint32_t i = 36; i + 12 < length; i++) {
		if (memcmp(t + i, "_S5_", 4) || t[i + 4] != 0x12)
			continue;
		const uint8_t *p = t + i + 5;
		p += (*p >> 6) + 2; /* package length bytes, element count */
		acpi.s5_type = *p == 0x0a ? p[1] : *p <= 1 ? *p : 0;
		return;
	}
}

/* Large resource descriptors of memory ranges (§6.4.3.5): the biggest below and above 4 GiB. */
static void find_windows(const uint8_t *t, uint32_t length)
{
	for (uint32_t i = 36; i + 46 <= length; i++) {
		bool quad = t[i] == 0x8a && t[i + 1] == 0x2b && !t[i + 2] && !t[i + 3];
		bool dword = t[i] == 0x87 && t[i + 1] == 0x17 && !t[i + 2] && !t[i + 3];
		unsigned n = quad ? 8 : 4;

		if (!quad && !dword)
			continue;
		uint64_t min = get(t + i + 6 + n, n), max = get(t + i + 6 + 2 * n, n);
		uint64_t offset = get(t + i + 6 + 3 * n, n), size = get(t + i + 6 + 4 * n, n);
		struct pci_window *w = min >> 32 ? &machine.win64 : &machine.win32;

		if (max > min && size == max - min + 1 && size > w->size)
			*w = (struct pci_window){min + offset, min, size};
	}
}

/* An integer of AML (§20.2.3): 0, 1, or a prefix and 1, 2 or 4 bytes. Moves *p behind it. */
static uint32_t aml_integer(const uint8_t **p)
{
	uint8_t op = *(*p)++;
	unsigned n = op == 0x0a ? 1 : op == 0x0b ? 2 : op == 0x0c ? 4 : 0;
	uint32_t v = n ? (uint32_t)get(*p, n) : op;

	*p += n;
	return v;
}

/* _PRT entries (§6.2.13): Package (4) { slot << 16 | 0xffff, pin, 0, GSI }. */
struct irq acpi_find_intx(unsigned slot, unsigned pin)
{
	const uint8_t *t = dsdt;

	for (uint32_t i = 36; t && i + 24 < dsdt_length; i++) {
		const uint8_t *p = t + i + 2 + (t[i + 1] >> 6);

		if (t[i] != 0x12 || p[0] != 4)
			continue;
		p++;
		if (aml_integer(&p) != (slot << 16 | 0xffff) || aml_integer(&p) != pin - 1 ||
			aml_integer(&p) != 0)
			continue;
		return (struct irq){true, aml_integer(&p), true, true};
	}
	return (struct irq){0};
}

static void read_dsdt(uint64_t address)
{
	const struct sdt *t = map_phys(address, sizeof(*t));

	if (memcmp(t->signature, "DSDT", 4))
		return;
	map_phys(address, t->length);
	dsdt = (const uint8_t *)t;
	dsdt_length = t->length;
	find_s5((const uint8_t *)t, t->length);
	find_windows((const uint8_t *)t, t->length);
}

/* §5.2.9 */
static void read_fadt(const uint8_t *t, uint32_t length)
{
	uint64_t at = get(t + 40, 4);

	acpi.flags = (uint32_t)get(t + 112, 4);
	acpi.hw_reduced = acpi.flags & BIT(20);
	acpi.pm1a_control = (uint16_t)get(t + 64, 4);
	acpi.pm_timer = (uint16_t)get(t + 76, 4);
	if (length >= 129 && (acpi.flags & BIT(10))) {
		memcpy(&acpi.reset, t + 116, sizeof(acpi.reset));
		acpi.reset_value = t[128];
	}
	if (length >= 148 && get(t + 140, 8))
		at = get(t + 140, 8);
	if (length >= 256 && acpi.hw_reduced)
		memcpy(&acpi.sleep_control, t + 244, sizeof(acpi.sleep_control));
	if (at)
		read_dsdt(at);
}

static void read_table(uint64_t address)
{
	const struct sdt *t = map_phys(address, sizeof(*t));
	const uint8_t *p = (const uint8_t *)t;

	map_phys(address, t->length);
	if (!memcmp(t->signature, "APIC", 4))
		read_madt(p, t->length);
	else if (!memcmp(t->signature, "MCFG", 4))
		read_mcfg(p, t->length);
	else if (!memcmp(t->signature, "FACP", 4))
		read_fadt(p, t->length);
}

void acpi_read(uint64_t rsdp)
{
	for (unsigned i = 0; i < 16; i++)
		acpi.isa[i] = (struct irq){true, i, false, false};
	acpi.ioapic[0].address = 0xfec00000; /* where every PC has it, if no MADT says more */
	if (!rsdp) {
		acpi.ioapic_count = 1;
		return;
	}

	const uint8_t *r = map_phys(rsdp, 36);
	bool extended = r[15] >= 2 && get(r + 24, 8); /* §5.2.5.3: the XSDT wins */
	unsigned width = extended ? 8 : 4;

	if (memcmp(r, "RSD PTR ", 8))
		return;
	const struct sdt *root =
		map_phys(extended ? get(r + 24, 8) : get(r + 16, 4), sizeof(*root));
	for (uint32_t at = 36; at + width <= root->length; at += width)
		read_table(get((const uint8_t *)root + at, width));
}

void acpi_write_register(const struct acpi_gas *gas, uint32_t value)
{
	unsigned size = gas->bit_width >= 32 ? 4 : gas->bit_width >= 16 ? 2 : 1;
	uint64_t address = gas->address;

	if (gas->space == 1)
		port_write((uint16_t)address, size, value);
	else if (gas->space == 0 && size == 1)
		mmio_write8((uint64_t)map_phys(address, 4), (uint8_t)value);
	else if (gas->space == 0)
		mmio_write32((uint64_t)map_phys(address, 4), value);
}
