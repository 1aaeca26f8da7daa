/* SPDX-License-Identifier: Apache-2.0 */
/* Writing a flattened device tree with libfdt's sequential writer, and the nodes that every chip
 * with an FDT has. Errors are sticky: callers check fdt_out_finish() only. Cells: addresses and
 * sizes are two cells each everywhere. Bindings: Linux Documentation/devicetree/bindings and the
 * Devicetree Specification 0.4. */
#ifndef ARCH_COMMON_FDT_H
#define ARCH_COMMON_FDT_H

#include <stdbool.h>
#include <stdint.h>
#include "arch/boot.h"
#include "vmm/base/err.h"
#include "vmm/base/mem.h"

#define FDT_IRQ_CELLS 3 /* at most, in an interrupt specifier */

struct fdt_out {
	void *buf;
	int size, err;
	/* How this chip's wired controller spells a pin; set once by the arch. */
	uint32_t irq_phandle;
	unsigned irq_cells;	    /* #interrupt-cells */
	unsigned irq_address_cells; /* #address-cells of the controller, for interrupt-map */
	void (*irq_spec)(uint32_t pin, bool level, uint32_t ret_cells[FDT_IRQ_CELLS]);
};

/* Allocates a buffer of size bytes and opens the root node. */
int fdt_out_init(struct fdt_out *o, uint32_t size);
/* Closes the root, copies the tree to gpa and frees the buffer. e names what did not fit. */
int fdt_out_finish(struct fdt_out *o, struct guest_mem *m, uint64_t gpa, struct err *e);

void fdt_open_node(struct fdt_out *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void fdt_close_node(struct fdt_out *o);
void fdt_put_empty(struct fdt_out *o, const char *name);
void fdt_put_str(struct fdt_out *o, const char *name, const char *s);
void fdt_put_bytes(struct fdt_out *o, const char *name, const void *p, uint32_t len);
void fdt_put_cells_n(struct fdt_out *o, const char *name, const uint32_t *cells, unsigned n);
/* fdt_put_cells(o, "interrupts", 1, 13, 4) */
#define fdt_put_cells(o, name, ...)                                                                \
	fdt_put_cells_n(o, name, (const uint32_t[]){__VA_ARGS__},                                  \
		sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t))
void fdt_put_u64(struct fdt_out *o, const char *name, uint64_t v);
/* reg = <base size> for n ranges. */
void fdt_put_reg(struct fdt_out *o, const struct plan_range *r, unsigned n);
/* Several strings in one property: "a\0b" with the literal's own terminator. */
#define fdt_put_strs(o, name, literal) fdt_put_bytes(o, name, literal, sizeof(literal))

/* ---- nodes ---- */

/* #address-cells, #size-cells, compatible, dma-coherent of the root. */
void fdt_root_props(struct fdt_out *o, const char *compatible);
void fdt_chosen(struct fdt_out *o, const struct machine *machine, const struct boot *boot);
void fdt_memory(struct fdt_out *o, const struct plan *p);
/* Every UART, clock, virtio-mmio slot and test register of the machine, and the PCI root.
 * has_msi: functions may send messages to msi_phandle; msi_devid: the controller wants a DeviceID.
 */
void fdt_devices(struct fdt_out *o, const struct plan *p, const struct machine *machine,
	bool has_msi, bool msi_devid, uint32_t msi_phandle);

/* phandles: the arch's controllers and CPUs start at FDT_PHANDLE_ARCH. */
enum { FDT_PHANDLE_CLOCK = 1, FDT_PHANDLE_ARCH = 16 };

#endif
