/* SPDX-License-Identifier: Apache-2.0 */
/* A vCPU's registers as a plain list of (id, value), for the chips whose registers all have a
 * number and a size. The size is part of the id: bits 55:52 hold its log2 in bytes. Pure data;
 * filling and applying it is the KVM half's work (onereg_kvm.h). */
#ifndef ARCH_COMMON_ONEREG_H
#define ARCH_COMMON_ONEREG_H

#include <stdbool.h>
#include <stdint.h>
#include "vmm/base/visit.h"

#define ONEREG_MAX  1536
#define ONEREG_DATA (40 * 1024) /* SVE and RVV at their longest, and all system registers */

struct onereg {
	uint64_t id;
	uint32_t off; /* of the value in data */
};

struct onereg_list {
	uint32_t n, used;
	struct onereg reg[ONEREG_MAX];
	uint8_t data[ONEREG_DATA];
};

static inline uint32_t onereg_size(uint64_t id)
{
	return 1u << (id >> 52 & 15);
}

/* Appends a register, value zeroed. Returns where its value goes, NULL when the list is full. */
uint8_t *onereg_add(struct onereg_list *l, uint64_t id);
/* The value's bytes, or NULL. */
const uint8_t *onereg_find(const struct onereg_list *l, uint64_t id);
/* The value of a register of at most 8 bytes, 0 when it is not in the list. */
uint64_t onereg_u64(const struct onereg_list *l, uint64_t id);

/* Visits the list; id_name gives a register's name for people, NULL for none. Only dumps have
 * names: numbers are the format. */
int onereg_visit(struct onereg_list *l, struct visitor *v, const char *name,
	const char *(*id_name)(uint64_t id, char buf[32]));

#endif
