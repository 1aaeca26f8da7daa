/* SPDX-License-Identifier: Apache-2.0 */
/* Fixed addresses of an x86_64 machine, for this folder only. What other layers need is in the
 * plan.
 *
 *   0000_0000  zero page and start-up structures, usable RAM to the guest
 *   000e_0000  ACPI tables, reserved
 *   0010_0000  RAM, up to 3 GiB
 *   c000_0000  PCI memory window, virtio-mmio slots, ECAM
 *   fec0_0000  IOAPIC, local APICs, KVM's own pages
 * 1_0000_0000  the rest of RAM, then the 64-bit PCI window */
#ifndef ARCH_X86_64_LAYOUT_H
#define ARCH_X86_64_LAYOUT_H

/* Written by arch_describe, read once by the guest's start-up code. */
#define GDT_GPA		0x00000500ull
#define START_INFO_GPA	0x00006000ull /* hvm_start_info, module list, memory map */
#define BOOT_PARAMS_GPA 0x00007000ull
#define SETUP_DATA_GPA	0x00008000ull
#define PML4_GPA	0x00009000ull
#define PDPT_GPA	0x0000a000ull
#define PD_GPA		0x0000b000ull
#define CMDLINE_GPA	0x00020000ull
#define CMDLINE_MAX	0x00010000ull
#define LOW_RAM_END	0x0009fc00ull /* the EBDA of old follows */
#define ACPI_GPA	0x000e0000ull
#define ACPI_SIZE	0x00020000ull
#define RESET_VECTOR	0x000ffff0ull /* F000:FFF0, the end of the reserved MiB */
#define KERNEL_GPA	0x00100000ull

#define RAM_LOW_END	0xc0000000ull
#define PCI_MMIO32_GPA	0xc0000000ull
#define PCI_MMIO32_SIZE 0x10000000ull
#define VMMIO_GPA	0xd0000000ull
#define VMMIO_STRIDE	0x1000ull
#define ECAM_GPA	0xe0000000ull
#define ECAM_BUSES	64
#define IOAPIC_GPA	0xfec00000ull
#define LAPIC_GPA	0xfee00000ull
#define TSS_GPA		0xfffbc000ull /* identity map page, then three pages of TSS */
#define RAM_HIGH_GPA	0x100000000ull

/* Interrupt pins of the IOAPIC: what ISA had, then ours. */
#define IOAPIC_PINS 24
#define COM1_PIN    4
#define POWER_PIN   9
#define VMMIO_PIN   10
#define VMMIO_PINS  10
#define INTX_PIN    20

/* Segment selectors of the GDT that the 64-bit boot protocol asks for. */
#define BOOT_CS 0x10
#define BOOT_DS 0x18

#endif
