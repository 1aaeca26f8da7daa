/* SPDX-License-Identifier: Apache-2.0 */
/* Fixture for the tests of a vCPU's plain state: registers, saving and loading, table walks.
 * Included once by each chip's test-state.c, which defines RAM_BASE. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "vmm/base/num.h"

static struct guest_mem mem;
static struct arch_vcpu_state *state;

static void state_setup(void)
{
	struct mem_range range = {RAM_BASE, 16 * MIB};
	struct mem_opts opts = {.numa_node = -1};
	struct err e = {0};

	cr_assert_eq(guest_mem_init(&mem, &range, 1, &opts, &e), 0, "%s", e.text);
	state = calloc(1, arch_vcpu_state_size());
}

static void state_teardown(void)
{
	free(state);
	guest_mem_fini(&mem);
}

static void reg(uint64_t id, uint64_t value)
{
	uint8_t *p = onereg_add(&state->regs, id);

	cr_assert(p);
	store_le(p, onereg_size(id), value);
}

static void entry(uint64_t table, unsigned index, uint64_t value)
{
	cr_assert_eq(guest_mem_write(&mem, table + index * 8, &value, 8), 0);
}

/* Saves, loads into an empty state and compares; then dumps and looks for `name`. */
static void expect_round_trip(const char *name)
{
	struct arch_vcpu_state *copy = calloc(1, arch_vcpu_state_size());
	struct visit_buf buf = {0};
	struct visitor *v;
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	cr_assert_eq(visitor_new_save(&buf, &v), 0);
	cr_assert_eq(arch_vcpu_state_visit(state, v), 0);
	visitor_free(v);
	cr_assert_eq(visitor_new_load(buf.data, buf.len, &v), 0);
	cr_assert_eq(arch_vcpu_state_visit(copy, v), 0, "%s", visit_error_path(v));
	visitor_free(v);
	cr_assert_eq(visitor_new_compare(buf.data, buf.len, &v), 0);
	cr_assert_eq(arch_vcpu_state_visit(copy, v), 0, "%s", visit_error_path(v));
	visitor_free(v);
	cr_assert_eq(copy->regs.n, state->regs.n);

	cr_assert_eq(visitor_new_dump(f, &v), 0);
	cr_assert_eq(arch_vcpu_state_visit(state, v), 0);
	visitor_free(v);
	fclose(f);
	cr_assert(strstr(text, name), "%s", text);
	free(text);
	visit_buf_fini(&buf);
	free(copy);
}
