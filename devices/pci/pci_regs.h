/* SPDX-License-Identifier: Apache-2.0 */
/* The few register offsets and bits of configuration space that the model itself acts on
 * (PCI 3.0 §6.1 and §6.8.2, PCIe 6.0 §7.5.1), and what the files of this room share. */
#ifndef DEVICES_PCI_PCI_REGS_H
#define DEVICES_PCI_PCI_REGS_H

#include "devices/pci/pci.h"

#define PCI_CFG_VENDOR	   0x00
#define PCI_CFG_DEVICE	   0x02
#define PCI_CFG_COMMAND	   0x04
#define PCI_CFG_STATUS	   0x06
#define PCI_CFG_CLASS_REV  0x08
#define PCI_CFG_CACHE_LINE 0x0c
#define PCI_CFG_BAR0	   0x10
#define PCI_CFG_SUB_VENDOR 0x2c
#define PCI_CFG_SUB_ID	   0x2e
#define PCI_CFG_CAP_PTR	   0x34
#define PCI_CFG_INT_LINE   0x3c
#define PCI_CFG_INT_PIN	   0x3d
#define PCI_CFG_FIRST_CAP  0x40

#define PCI_CMD_MEM	     0x0002
#define PCI_CMD_MASTER	     0x0004
#define PCI_CMD_PARITY	     0x0040
#define PCI_CMD_SERR	     0x0100
#define PCI_CMD_INTX_DISABLE 0x0400
#define PCI_STATUS_INTX	     0x0008
#define PCI_STATUS_CAPS	     0x0010

#define PCI_BAR_64	 0x4
#define PCI_BAR_PREFETCH 0x8

#define PCI_CAP_MSIX	      0x11
#define MSIX_CAP_LEN	      12
#define MSIX_CAP_CONTROL      2
#define MSIX_CONTROL_MASK_ALL 0x4000
#define MSIX_CONTROL_ENABLE   0x8000
#define MSIX_ENTRY_SIZE	      16
#define MSIX_MAX	      2048

/* size is 1, 2 or 4 and the access stays inside one dword. Take the device's lock themselves. */
uint32_t pci_fn_read(struct pci_fn *f, uint16_t off, unsigned size);
void pci_fn_write(struct pci_fn *f, uint16_t off, unsigned size, uint32_t value);

/* What the guest wants of a BAR now: true = decoded, at *ret_base. */
bool pci_fn_bar_wanted(const struct pci_fn *f, unsigned bar, uint64_t *ret_base);
void pci_fn_bar_place(struct pci_fn *f, unsigned bar, uint64_t base);

/* The windows hold [base, base+size), nothing wraps. */
bool pci_root_decodes(const struct pci_root *r, uint64_t base, uint64_t size);

/* The control word or the table's ground has changed: brings masks and routes in line. */
void msix_update(struct pci_fn *f);
void msix_reset(struct pci_fn *f);
void msix_visit(struct pci_fn *f, struct visitor *v);
void msix_free(struct msix *m);

#endif
