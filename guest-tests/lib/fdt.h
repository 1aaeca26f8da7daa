/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads a flattened device tree (Devicetree Specification 0.4 ch. 5) in place. A node is the
 * offset of its FDT_BEGIN_NODE token in the structure block; FDT_NONE is no node.
 */
#ifndef GUEST_FDT_H
#define GUEST_FDT_H

#include "types.h"

#define FDT_NONE UINT32_MAX

/* Remembers the tree. False if there is none at p. */
bool fdt_open(const void *p);

uint32_t fdt_root(void);
uint32_t fdt_first_child(uint32_t node);
uint32_t fdt_next_sibling(uint32_t node);
/* The node after this one in depth-first order, of the whole tree. */
uint32_t fdt_next(uint32_t node);
uint32_t fdt_parent(uint32_t node);
const char *fdt_name(uint32_t node);
/* "/soc/serial@10000000", or the name of an alias; anything from ':' on is left out. */
uint32_t fdt_path(const char *path);
uint32_t fdt_by_phandle(uint32_t phandle);
/* The first node after `from` (FDT_NONE: from the root) that is compatible and not disabled. */
uint32_t fdt_compatible(uint32_t from, const char *compatible);
bool fdt_is_compatible(uint32_t node, const char *compatible);

/* Raw bytes of a property, or NULL. */
const uint8_t *fdt_prop(uint32_t node, const char *name, uint32_t *ret_len);
/* Cell i of a property, or `otherwise`. */
uint32_t fdt_cell(uint32_t node, const char *name, unsigned i, uint32_t otherwise);
/* How many cells a property has. */
unsigned fdt_cells(uint32_t node, const char *name);
/* The ith (address, size) of `reg`, by the parent's #address-cells and #size-cells. */
bool fdt_reg(uint32_t node, unsigned i, uint64_t *ret_base, uint64_t *ret_size);
/* Reads n cells (at most two count) of big-endian bytes. */
uint64_t fdt_number(const uint8_t *p, unsigned cells);
/* The nearest interrupt parent of a node. */
uint32_t fdt_interrupt_parent(uint32_t node);

#endif
