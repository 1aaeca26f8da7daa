/* SPDX-License-Identifier: Apache-2.0 */
/* See the header. */
#include "vmm/core_find.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"

#define PAGE 4096

/* ---- linear mappings ---- */

#define STEP	 (2 * MIB) /* a block or huge page with 4 KiB pages; Linux aligns its parts to it */
#define MAX_GAPS 16	   /* steps: freed init code is unmapped in the middle of an image */

struct linear {
	const struct core_space *space;
	uint64_t gva_of_0; /* gva - gpa, modulo 2^64 */
};

static bool mapped(const struct linear *l, uint64_t gpa)
{
	uint64_t to;

	return l->space->translate(l->space->arg, gpa + l->gva_of_0, &to) == 0 && to == gpa;
}

/* The end of the mapping that holds gpa, at most `limit`. */
static uint64_t grow_up(const struct linear *l, uint64_t gpa, uint64_t limit)
{
	uint64_t end = MIN(align_down(gpa, STEP) + STEP, limit), last = end, start = gpa;

	for (unsigned gap = 0; end < limit && gap < MAX_GAPS;) {
		if (mapped(l, end)) {
			start = end;
			last = end = MIN(end + STEP, limit);
			gap = 0;
		} else {
			end = MIN(end + STEP, limit);
			gap++;
		}
	}
	while (last - PAGE > start && !mapped(l, last - PAGE))
		last -= PAGE;
	return last;
}

/* The first byte of the mapping that holds gpa, at least `limit`. */
static uint64_t grow_down(const struct linear *l, uint64_t gpa, uint64_t limit)
{
	uint64_t start = MAX(align_down(gpa, STEP), limit), first = start, end = gpa;

	/* Looks at each step's last page. */
	for (unsigned gap = 0; start > limit && gap < MAX_GAPS;) {
		bool is = mapped(l, start - PAGE);
		if (is) {
			end = start - PAGE;
			gap = 0;
		} else {
			gap++;
		}
		start = MAX(start - MIN(start, STEP), limit);
		if (is)
			first = start;
	}
	while (first < end && !mapped(l, first))
		first += PAGE;
	return first;
}

static bool known(const struct core_maps *maps, uint64_t gva)
{
	for (unsigned i = 0; i < maps->n; i++)
		if (gva - maps->map[i].gva < maps->map[i].size)
			return true;
	return false;
}

static void add(struct core_maps *maps, uint64_t gva, uint64_t gpa, uint64_t size)
{
	if (maps->n < CORE_MAPS && !known(maps, gva))
		maps->map[maps->n++] = (struct core_map){gva, gpa, size};
}

/* Regions other than the anchor's are mapped alike when RAM is: from their first byte. */
static void add_regions(
	const struct guest_mem *m, const struct linear *l, uint64_t gpa, struct core_maps *maps)
{
	for (unsigned i = 0; i < m->n; i++) {
		const struct mem_region *r = &m->region[i];
		uint64_t at = gpa - r->gpa < r->size ? gpa : r->gpa, first;

		if (!mapped(l, at))
			continue;
		first = grow_down(l, at, r->gpa);
		add(maps, first + l->gva_of_0, first, grow_up(l, at, r->gpa + r->size) - first);
	}
}

void core_find_map(
	const struct guest_mem *m, const struct core_space *s, uint64_t gva, struct core_maps *maps)
{
	struct linear l = {.space = s};
	uint64_t gpa;

	gva = align_down(gva, PAGE);
	if (maps->n == CORE_MAPS || !(gva >> 63) || known(maps, gva) ||
		s->translate(s->arg, gva, &gpa) < 0 || !guest_mem_ptr(m, gpa, PAGE))
		return;
	l.gva_of_0 = gva - gpa;
	if (mapped(&l, gpa + PAGE) || mapped(&l, gpa - PAGE))
		add_regions(m, &l, gpa, maps);
	else
		add(maps, gva, gpa, PAGE);
}

/* ---- VMCOREINFO ---- */

#define NAME	 "VMCOREINFO"
#define HEAD	 (12 + 12) /* note header, and the name padded */
#define FIRST	 "OSRELEASE="
#define MAX_DESC (64 * KIB) /* Linux keeps it in one page, of at most that size */

/* The length of the note at p, of which `room` bytes are RAM, or 0. */
static size_t note_at(const uint8_t *p, uint64_t room)
{
	uint64_t len;

	if (room < PAGE || load_le(p, 4) != sizeof(NAME) || load_le(p + 8, 4) != 0 ||
		memcmp(p + 12, NAME, sizeof(NAME)) || memcmp(p + HEAD, FIRST, strlen(FIRST)))
		return 0;
	len = load_le(p + 4, 4);
	return len >= strlen(FIRST) && len <= MAX_DESC && HEAD + align_up(len, 4) <= room
		       ? HEAD + align_up(len, 4)
		       : 0;
}

static uint64_t symbol(const uint8_t *note, size_t len, const char *line)
{
	cleanup_free char *text = strndup((const char *)note + HEAD, len - HEAD);
	char *at = text ? strstr(text, line) : NULL;

	return at ? strtoull(at + strlen(line), NULL, 16) : 0;
}

static int take(const uint8_t *p, size_t len, struct core_notes *notes, uint64_t *ret_stext)
{
	uint8_t *to = core_notes_room(notes, len);

	if (!to)
		return -ENOMEM;
	memcpy(to, p, len);
	notes->len += len;
	*ret_stext = symbol(to, len, "\nSYMBOL(_stext)=");
	return 1;
}

/* 1: taken. */
static int find_in(const struct mem_region *r, struct core_notes *notes, uint64_t *ret_stext,
	const atomic_bool *cancel)
{
	cleanup_fd int pagemap = core_pagemap();
	uint64_t off = 0, end;

	for (; core_mem_next(r, pagemap, off, &off, &end); off = end)
		for (uint64_t start = off; off < end; off += PAGE) {
			size_t len = note_at(r->host + off, r->size - off);
			if (len)
				return take(r->host + off, len, notes, ret_stext);
			if ((off - start) % MIB == 0 && atomic_load(cancel))
				return -ECANCELED;
		}
	return 0;
}

int core_find_vmcoreinfo(const struct guest_mem *m, struct core_notes *notes, uint64_t *ret_stext,
	const atomic_bool *cancel)
{
	int r = 0;

	*ret_stext = 0;
	for (unsigned i = 0; i < m->n && r == 0; i++)
		r = find_in(&m->region[i], notes, ret_stext, cancel);
	return r < 0 ? r : 0;
}
