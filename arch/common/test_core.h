/* SPDX-License-Identifier: Apache-2.0 */
/* Fixture for the tests of a vCPU's notes in an ELF core. Included once by each chip's test-core.c.
 */
#include <criterion/criterion.h>
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "vmm/base/num.h"

#define PR_PID 32
#define PR_REG 112

static struct arch_vcpu_state *state;
static uint8_t notes[ARCH_CORE_NOTES];
static int notes_len;

static void core_setup(void)
{
	state = calloc(1, arch_vcpu_state_size());
}

static void core_teardown(void)
{
	free(state);
}

/* Writes the notes of vCPU `index`, and sees that a smaller buffer is refused, not overrun. */
static void write_notes(unsigned index)
{
	notes_len = arch_core_notes(state, index, notes, sizeof(notes));
	cr_assert_gt(notes_len, 0);
	for (size_t cap = 0; cap < (size_t)notes_len; cap += 4) {
		uint8_t *exact = malloc(cap + 1);

		cr_assert_eq(arch_core_notes(state, index, exact, cap), -ENOSPC);
		free(exact);
	}
}

/* The descriptor of the n-th note, which must have that name, type and size. */
static const uint8_t *note(unsigned n, const char *name, uint32_t type, uint32_t size)
{
	const uint8_t *p = notes, *end = notes + notes_len;

	for (;; n--) {
		Elf64_Nhdr h;

		cr_assert_leq(sizeof(h), end - p);
		memcpy(&h, p, sizeof(h));
		if (n == 0) {
			cr_assert_eq(h.n_namesz, strlen(name) + 1);
			cr_assert_str_eq((const char *)p + sizeof(h), name);
			cr_assert_eq(h.n_type, type);
			cr_assert_eq(h.n_descsz, size);
			return p + sizeof(h) + align_up(h.n_namesz, 4);
		}
		p += sizeof(h) + align_up(h.n_namesz, 4) + align_up(h.n_descsz, 4);
	}
}

static void expect_reg(const uint8_t *prstatus, unsigned n, uint64_t want)
{
	uint64_t got = load_le(prstatus + PR_REG + 8 * n, 8);

	cr_assert_eq(got, want, "register %u is %#llx, not %#llx", n, (unsigned long long)got,
		(unsigned long long)want);
}
