/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PCI through ECAM: configuration space, a scan of the root bus, BARs, capabilities, MSI-X. A
 * function is named by bus << 8 | device << 3 | function, which is also its requester id.
 */
#ifndef GUEST_PCI_H
#define GUEST_PCI_H

#include "machine.h"

enum { PCI_COMMAND = 4, PCI_STATUS = 6, PCI_BAR0 = 0x10, PCI_CAPS = 0x34, PCI_INT_PIN = 0x3d };
enum { CMD_IO = 1, CMD_MEMORY = 2, CMD_MASTER = 4, CMD_INTX_OFF = 0x400 };
enum { CAP_VENDOR = 9, CAP_MSIX = 0x11 };

struct pci_bar {
	uint64_t address; /* as the CPU sees it; 0: not there or not assigned */
	uint64_t size;
	bool io, wide;
};

struct pci_fn {
	uint32_t bdf;
	uint16_t vendor, device;
	uint8_t header;	 /* type, without the multi-function bit */
	uint32_t class_; /* class, subclass, interface */
	struct pci_bar bar[6];
};

uint32_t pci_read(uint32_t bdf, unsigned offset, unsigned size);
void pci_write(uint32_t bdf, unsigned offset, unsigned size, uint32_t value);

/* The functions on the root bus, with their BARs assigned and decoded. Scanned once. */
unsigned pci_functions(struct pci_fn **ret);

/* The capability after `from` (0: the first) with this id, or 0. */
unsigned pci_capability(const struct pci_fn *, unsigned from, uint8_t id);

/* MSI-X: the number of vectors, 0 for none. */
unsigned msix_size(const struct pci_fn *);
void msix_enable(const struct pci_fn *, bool on);
/* Sets vector i to a message, unmasked; or masks it. */
void msix_set(const struct pci_fn *, unsigned i, const struct msi_msg *);
void msix_mask(const struct pci_fn *, unsigned i, bool on);
bool msix_pending(const struct pci_fn *, unsigned i);

#endif
