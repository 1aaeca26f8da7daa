/* SPDX-License-Identifier: Apache-2.0 */
/* The plan: where everything is in the guest's address space and on which interrupt pin. Pure: from
 * a vm_shape, the same on any host, so it is tested for all chips everywhere. Pinned by the machine
 * version. "Pin" is what the chip's firmware tables count: x86_64 a GSI of the IOAPIC, arm64 an SPI
 * (INTID - 32), riscv64 an APLIC or PLIC source. */
#ifndef ARCH_PLAN_H
#define ARCH_PLAN_H

#include <stdbool.h>
#include <stdint.h>
#include "devices/desc.h"

#define MACHINE_VERSION	 1 /* the newest; --machine version=N pins an older one */
#define PLAN_RAM_RANGES	 4
#define PLAN_DEVS	 12
#define PLAN_IRQCHIP	 4
#define PLAN_VIRTIO_MMIO 32  /* slots, on every chip */
#define PLAN_MAX_VCPUS	 255 /* at most; the host may offer fewer */

/* What the plan depends on. */
struct vm_shape {
	uint32_t machine_version;
	unsigned vcpus, max_vcpus;
	uint64_t ram;	      /* bytes, a multiple of page_size */
	uint64_t page_size;   /* the host's */
	unsigned phys_bits;   /* guest-physical address bits the host offers */
	bool user_irqchip;    /* no in-kernel interrupt controller (riscv64 without AIA) */
	unsigned virtio_mmio; /* virtio-mmio slots in use */
	bool test_exit;	      /* --device test-exit */
};

struct plan_range {
	uint64_t base, size;
};

/* A platform device the chip has; `model` selects the constructor. */
struct plan_dev {
	enum dev_kind kind;
	const char *model; /* "ns16550", "cmos", "pl031", "goldfish", "test-exit", "acpi-power",
			      "i8042" */
	enum dev_space space;
	uint64_t base, size;
	uint32_t irq;
	bool has_irq, level;
	uint8_t reg_shift;
};

struct plan {
	struct vm_shape shape;
	struct plan_range ram[PLAN_RAM_RANGES]; /* ascending */
	unsigned nram;
	struct plan_dev dev[PLAN_DEVS];
	unsigned ndev;
	/* x86_64: 0 IOAPIC, 1 LAPIC; arm64: 0 GICD, 1 GICR, 2 ITS; riscv64: 0 APLIC or PLIC, 1
	 * IMSIC */
	struct plan_range irqchip[PLAN_IRQCHIP];
	/* One PCI segment. */
	struct plan_range ecam, pci_mmio32, pci_mmio64;
	uint8_t pci_last_bus;
	bool pci_conf1;
	uint32_t intx_pin[4];
	/* virtio-mmio slot i: base + i * stride, pin irq + i, edge. */
	uint64_t vmmio_base, vmmio_stride;
	uint32_t vmmio_irq;
	uint32_t npins;		  /* wired pins of the controller */
	uint64_t kernel_gpa;	  /* lowest address a kernel may occupy */
	uint64_t fw_gpa, fw_size; /* where arch_describe writes tables (ACPI) or the FDT */
	uint64_t tss_gpa;	  /* x86_64: for KVM_SET_TSS_ADDR and the identity map; else 0 */
};

#endif
