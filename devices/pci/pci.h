/* SPDX-License-Identifier: Apache-2.0 */
/* A PCIe root: ECAM (PCIe 6.0 §7.2.2) and, on x86, configuration mechanism #1 (PCI 3.0 §3.2.2.3.2),
 * BAR windows, INTx and MSI-X. A function is embedded in its device. Every address carries its
 * segment. The windows are frozen while vCPUs run: a change of a decode bit or a BAR only notes
 * what the guest wants and sends DEV_EVENT_REMAP; control then calls pci_root_remap() in a stopped
 * world. */
#ifndef DEVICES_PCI_PCI_H
#define DEVICES_PCI_PCI_H

#include "devices/device.h"

#define PCI_SLOTS 32
#define PCI_BARS  6

struct pci_bdf {
	uint16_t segment;
	uint8_t bus, devfn;
};

struct pci_window {
	uint64_t base, size;
};

/* The plan's choice of addresses for one segment. */
struct pci_layout {
	uint16_t segment;
	uint8_t last_bus;
	struct pci_window ecam, mmio32, mmio64;
	bool conf1;	      /* ports 0xcf8/0xcfc */
	uint32_t intx_pin[4]; /* wired pins for INTA..INTD after the swizzle */
};

struct pci_root;
struct pci_fn;

/* A BAR's contents: either a plain region whose ops run under the device's lock, or nothing.
 * Embedded region: base and mapping are managed by the root. Only memory BARs. */
struct pci_bar {
	uint64_t size; /* power of two >= 16 (a page for what is mapped), 0 = absent */
	bool is64, prefetch;
	struct io_region region; /* ops, dev, lock, name filled by the device */
	bool mapped;		 /* internal */
	uint64_t assigned;	 /* internal: where pci_root_add placed it */
};

struct pci_fn_ops {
	/* Called by pci_root_remap() when a BAR is (un)mapped: move doorbells. Stopped world. NULL
	 * ok. */
	void (*bar_mapped)(struct pci_fn *f, unsigned bar, uint64_t base, bool mapped);
	/* Reads and writes of the function's own capability bytes (virtio's PCI_CFG capability).
	 * Return false to let the default handle it. Under the device lock. NULL ok. */
	bool (*config_read)(struct pci_fn *f, uint16_t off, unsigned size, uint32_t *ret_value);
	bool (*config_write)(struct pci_fn *f, uint16_t off, unsigned size, uint32_t value);
	/* MSI-X was enabled, disabled, or INTx disable changed. Device lock held. NULL ok. */
	void (*irq_mode)(struct pci_fn *f);
};

struct msix;

struct pci_fn {
	const struct pci_fn_ops *ops;
	struct device *device; /* whose lock guards this function */
	struct pci_root *root; /* set by pci_root_add */
	struct pci_bdf bdf;
	uint8_t config[4096];	/* current bytes */
	uint8_t writable[4096]; /* mask of guest-writable bits */
	uint8_t w1c[256];	/* mask of write-one-to-clear bits */
	struct pci_bar bar[PCI_BARS];
	struct irq_line *intx; /* made by pci_root_add */
	struct msix *msix;     /* owned; NULL = none */
	uint8_t cap_end;       /* next free capability byte */
	uint8_t cap_last;
	/* Internal. */
	pthread_mutex_t intx_lock; /* guards the next two; inside the device lock */
	bool intx_level, intx_disabled;
	bool msix_enabled;
	uint8_t msix_cap;
	struct log_limit limit;
};

/* Control, before the VM runs. */
int pci_root_new(
	struct dev_host *h, const char *id, const struct pci_layout *l, struct pci_root **ret_root);
struct device *pci_root_device(struct pci_root *r);
const struct pci_layout *pci_root_layout(const struct pci_root *r);
/* slot -1 = the next free. Assigns BAR addresses and enables nothing. The function's BARs are
 * complete before. -EEXIST (slot taken), -ENOSPC (no slot or no window holds a BAR), -EINVAL (a
 * BAR's size), or what making the INTx line returned. */
int pci_root_add(struct pci_root *r, struct pci_fn *f, int slot);
void pci_root_del(struct pci_root *r, struct pci_fn *f);
/* Stopped world: brings the bus and doorbells in line with what the guest wrote. */
void pci_root_remap(struct pci_root *r);

void pci_fn_init(struct pci_fn *f, const struct pci_fn_ops *ops, struct device *device,
	uint16_t vendor, uint16_t device_id, uint32_t class_rev, uint16_t sub_vendor,
	uint16_t sub_id);
void pci_fn_fini(struct pci_fn *f);
void pci_fn_reset(struct pci_fn *f);
/* Appends a capability of len bytes; returns its offset. body holds all of them, the two header
 * bytes included, which are filled in here. Writable bits are the caller's: f->writable[offset +
 * …]. */
uint8_t pci_fn_add_cap(struct pci_fn *f, uint8_t cap_id, const void *body, uint8_t len);
/* MSI-X with n vectors, table and PBA in `bar` at the offsets. -EOPNOTSUPP without MSI. The BAR's
 * own ops forward accesses in those ranges to msix_read/msix_write, whose `off` counts from the
 * start of the table or PBA. A PBA write is dropped by the BAR's ops. Before pci_root_add. */
int pci_fn_add_msix(
	struct pci_fn *f, unsigned n, unsigned bar, uint32_t table_off, uint32_t pba_off);
bool pci_fn_msix_enabled(const struct pci_fn *f);
struct irq_line *pci_fn_msix_line(struct pci_fn *f, unsigned vector); /* NULL if out of range */
uint64_t msix_read(struct pci_fn *f, uint32_t off, unsigned size, bool pba);
void msix_write(struct pci_fn *f, uint32_t off, unsigned size, uint64_t value);
void pci_fn_set_intx(struct pci_fn *f, bool level); /* honours COMMAND.INTx-disable; any thread */
int pci_fn_visit(struct pci_fn *f, struct visitor *v); /* config bytes, MSI-X table */

#endif
