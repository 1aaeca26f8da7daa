/* SPDX-License-Identifier: Apache-2.0 */
/* One state with every kind of item, walked in all four directions. */
#include "vmm/base/visit.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "vmm/base/num.h"

struct reg {
	uint64_t value;
};

struct state {
	bool on;
	uint8_t a;
	uint16_t b;
	uint32_t c;
	uint64_t d;
	uint8_t mac[6];
	char name[8];
	uint32_t nregs;
	struct reg regs[4];
	uint32_t nlist;
	uint16_t list[3];
	uint32_t version; /* of the struct, 2 now; `d` came with it */
};

static void visit_reg(struct visitor *v, struct reg *r)
{
	uint32_t version = 1;

	visit_begin(v, NULL, &version);
	visit_u64(v, "value", &r->value);
	visit_end(v);
}

static int visit_state(struct visitor *v, struct state *s)
{
	visit_begin(v, "state", &s->version);
	visit_bool(v, "on", &s->on);
	visit_u8(v, "a", &s->a);
	visit_u16(v, "b", &s->b);
	visit_u32(v, "c", &s->c);
	if (s->version >= 2)
		visit_u64(v, "d", &s->d);
	visit_bytes(v, "mac", s->mac, sizeof(s->mac));
	visit_str(v, "name", s->name, sizeof(s->name));
	visit_array(v, "regs", &s->nregs, ARRAY_SIZE(s->regs));
	for (uint32_t i = 0; i < s->nregs; i++)
		visit_reg(v, &s->regs[i]);
	visit_array_end(v);
	visit_array(v, "list", &s->nlist, ARRAY_SIZE(s->list));
	for (uint32_t i = 0; i < s->nlist; i++)
		visit_u16(v, NULL, &s->list[i]);
	visit_array_end(v);
	visit_end(v);
	return visit_status(v);
}

static const struct state sample = {true, 1, 0x203, 0x4050607, 0x8090a0b0c0d0e0full,
	{1, 2, 3, 4, 5, 6}, "seven77", 2, {{UINT64_MAX}, {5}}, 3, {7, 8, 9}, 2};

static struct visit_buf save(struct state s)
{
	struct visit_buf b = {0};
	struct visitor *v;

	cr_assert_eq(visitor_new_save(&b, &v), 0);
	cr_assert_eq(visit_mode(v), VISIT_SAVE);
	cr_assert_eq(visit_state(v, &s), 0);
	visitor_free(v);
	return b;
}

static char where[256];

static int load(const struct visit_buf *b, struct state *s)
{
	struct visitor *v;
	int r;

	s->version = 2;
	cr_assert_eq(visitor_new_load(b->data, b->len, &v), 0);
	r = visit_state(v, s);
	strcpy(where, visit_error_path(v));
	visitor_free(v);
	return r;
}

static int compare(const struct visit_buf *b, struct state s)
{
	struct state before = s;
	struct visitor *v;
	int r;

	cr_assert_eq(visitor_new_compare(b->data, b->len, &v), 0);
	r = visit_state(v, &s);
	strcpy(where, visit_error_path(v));
	visitor_free(v);
	cr_assert_eq(memcmp(&before, &s, sizeof(s)), 0); /* only looks */
	return r;
}

Test(visit, what_is_saved_is_loaded)
{
	struct visit_buf b = save(sample);
	struct state s = {0};

	cr_assert_eq(load(&b, &s), 0);
	cr_assert_eq(s.d, sample.d);
	cr_assert_str_eq(s.name, sample.name);
	cr_assert_eq(s.nregs, 2);
	cr_assert_eq(s.regs[0].value, UINT64_MAX);
	cr_assert_eq(compare(&b, s), 0);
	visit_buf_fini(&b);
	cr_assert_null(b.data);
}

Test(visit, the_format_is_stable)
{
	static const uint8_t want[] = {1, 5, 's', 't', 'a', 't', 'e', 2, 0, 0, 0, 5, 2, 'o', 'n', 1,
		6, 1, 'a', 1, 7, 1, 'b', 3, 2, 8, 1, 'c', 7, 6, 5, 4};
	struct visit_buf b = save(sample);

	cr_assert_gt(b.len, sizeof(want));
	cr_assert_arr_eq(b.data, want, sizeof(want));
	visit_buf_fini(&b);
}

Test(visit, an_older_version_is_accepted_a_newer_one_is_not)
{
	struct state old = sample, s = {.d = 99};
	struct visit_buf b;

	old.version = 1;
	b = save(old);
	cr_assert_eq(load(&b, &s), 0);
	cr_assert_eq(s.version, 1);
	cr_assert_eq(s.d, 99); /* not in the stream */
	b.data[7] = 3;
	cr_assert_eq(load(&b, &s), -EINVAL);
	cr_assert_str_eq(where, "state");
	b.data[7] = 0;
	cr_assert_eq(load(&b, &s), -EINVAL);
	visit_buf_fini(&b);
}

#define DIFFERS(field, value, path)                                                                \
	do {                                                                                       \
		struct state other = sample;                                                       \
		other.field = value;                                                               \
		cr_assert_eq(compare(&b, other), -ENOTUNIQ, #field);                               \
		cr_assert_str_eq(where, path);                                                     \
	} while (0)

Test(visit, compare_names_the_first_difference)
{
	struct visit_buf b = save(sample);

	DIFFERS(on, false, "state.on");
	DIFFERS(a, 2, "state.a");
	DIFFERS(d, 2, "state.d");
	DIFFERS(mac[5], 0, "state.mac");
	DIFFERS(name[6], 'x', "state.name");
	DIFFERS(name[3], 0, "state.name");
	DIFFERS(regs[1].value, 2, "state.regs[1].value");
	DIFFERS(nregs, 1, "state.regs");
	DIFFERS(list[2], 1, "state.list[2]");
	DIFFERS(version, 1, "state");
	visit_buf_fini(&b);
}

/* Where the text of a field's head is in the stream. */
static uint8_t *payload_of(struct visit_buf *b, const char *name)
{
	size_t n = strlen(name);

	for (size_t i = 1; i + n < b->len; i++)
		if (b->data[i] == n && memcmp(b->data + i + 1, name, n) == 0)
			return b->data + i + 1 + n;
	cr_assert_fail("no %s", name);
	return NULL;
}

Test(visit, a_stream_that_lies_is_refused_by_name)
{
	struct visit_buf b = save(sample);
	struct state s = {0};
	uint8_t *p;

	p = payload_of(&b, "on");
	*p = 2;
	cr_assert_eq(load(&b, &s), -EINVAL);
	cr_assert_str_eq(where, "state.on");
	*p = 1;
	p = payload_of(&b, "name");
	*p = 8; /* does not leave room for the end */
	cr_assert_eq(load(&b, &s), -EINVAL);
	cr_assert_str_eq(where, "state.name");
	*p = 7;
	p[5] = 0; /* a NUL inside */
	cr_assert_eq(load(&b, &s), -EINVAL);
	p[5] = 'e';
	p = payload_of(&b, "mac");
	*p = 5;
	cr_assert_eq(load(&b, &s), -EINVAL);
	cr_assert_str_eq(where, "state.mac");
	*p = 6;
	p = payload_of(&b, "regs");
	*p = 5; /* more than the struct can hold */
	s.nregs = 77;
	cr_assert_eq(load(&b, &s), -EINVAL);
	cr_assert_str_eq(where, "state.regs");
	cr_assert_eq(s.nregs, 0);
	*p = 2;
	p = payload_of(&b, "value");
	p[-1] = 'X';
	cr_assert_eq(load(&b, &s), -EINVAL);
	cr_assert_str_eq(where, "state.regs[0].value");
	visit_buf_fini(&b);
}

Test(visit, every_truncation_is_refused)
{
	struct visit_buf b = save(sample);
	struct state s = {0};

	for (struct visit_buf cut = b; cut.len-- > 0;) {
		/* a copy of its own, so that the sanitizer sees a read past the end */
		struct visit_buf own = {malloc(cut.len ? cut.len : 1), cut.len, cut.len};

		memcpy(own.data, b.data, cut.len);
		cr_assert_eq(load(&own, &s), -EINVAL, "%zu bytes", cut.len);
		visit_buf_fini(&own);
	}
	visit_buf_fini(&b);
}

Test(visit, a_value_can_be_refused_by_its_owner)
{
	struct visit_buf b = {0};
	struct visitor *v;
	uint32_t version = 1, x = 5;

	cr_assert_eq(visitor_new_save(&b, &v), 0);
	visit_begin(v, "vm", &version);
	visit_begin(v, "cpu", &version);
	visit_u32(v, "mode", &x);
	cr_assert_eq(visit_fail(v, -EINVAL), -EINVAL);
	cr_assert_eq(visit_fail(v, -EIO), -EINVAL); /* the first stays */
	visit_end(v);
	visit_end(v);
	cr_assert_eq(visit_status(v), -EINVAL);
	cr_assert_str_eq(visit_error_path(v), "vm.cpu");
	visitor_free(v);
	visit_buf_fini(&b);
}

Test(visit, depth_is_bounded)
{
	struct visit_buf b = {0};
	struct visitor *v;
	uint32_t version = 1;

	cr_assert_eq(visitor_new_save(&b, &v), 0);
	for (int i = 0; i < 1000; i++)
		visit_begin(v, "a_rather_long_name_for_a_struct", &version);
	cr_assert_eq(visit_status(v), -EOVERFLOW);
	visitor_free(v);
	visit_buf_fini(&b);
}

Test(visit, the_dump_is_json)
{
	struct state s = sample;
	char *text;
	size_t len;
	FILE *f = open_memstream(&text, &len);
	struct visitor *v;
	json_t *o, *state;

	cr_assert_eq(visitor_new_dump(f, &v), 0);
	cr_assert_eq(visit_state(v, &s), 0);
	visitor_free(v);
	fclose(f);
	o = json_loads(text, 0, NULL);
	cr_assert(o, "%s", text);
	state = json_object_get(o, "state");
	cr_assert_eq(json_integer_value(json_object_get(state, "c")), 0x4050607);
	cr_assert_str_eq(json_string_value(json_object_get(state, "mac")), "010203040506");
	cr_assert_str_eq(json_string_value(json_object_get(
				 json_array_get(json_object_get(state, "regs"), 0), "value")),
		"0xffffffffffffffff");
	cr_assert_eq(json_array_size(json_object_get(state, "list")), 3);
	cr_assert_eq(json_integer_value(json_object_get(state, "@version")), 2);
	json_decref(o);
	free(text);
}
