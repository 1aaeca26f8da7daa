/* SPDX-License-Identifier: Apache-2.0 */
/* Loading a stream that nobody vouches for. Random bytes hardly pass the first item, so the input
 * is either the stream itself or a list of edits to a valid one. What loads must save and load
 * again to the same bytes. */
#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include "vmm/base/num.h"
#include "vmm/base/visit.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct state {
	uint32_t version;
	bool on;
	uint8_t a;
	uint16_t b;
	uint32_t c, nlist, nsubs;
	uint64_t d;
	uint8_t bytes[5];
	char name[8];
	uint16_t list[4];
	uint64_t subs[3];
};

static void visit_state(struct visitor *v, struct state *s)
{
	visit_begin(v, "s", &s->version);
	visit_bool(v, "on", &s->on);
	visit_u8(v, "a", &s->a);
	visit_u16(v, "b", &s->b);
	visit_u32(v, "c", &s->c);
	visit_u64(v, "d", &s->d);
	visit_bytes(v, "bytes", s->bytes, sizeof(s->bytes));
	visit_str(v, "name", s->name, sizeof(s->name));
	visit_array(v, "list", &s->nlist, ARRAY_SIZE(s->list));
	for (uint32_t i = 0; i < s->nlist; i++)
		visit_u16(v, NULL, &s->list[i]);
	visit_array_end(v);
	visit_array(v, "subs", &s->nsubs, ARRAY_SIZE(s->subs));
	for (uint32_t i = 0; i < s->nsubs; i++) {
		uint32_t version = 1;

		visit_begin(v, NULL, &version);
		visit_u64(v, "x", &s->subs[i]);
		visit_end(v);
	}
	visit_array_end(v);
	visit_end(v);
}

static struct visit_buf save(struct state *s)
{
	struct visit_buf b = {0};
	struct visitor *v;

	if (visitor_new_save(&b, &v) < 0)
		abort();
	visit_state(v, s);
	assert(visit_status(v) == 0);
	visitor_free(v);
	return b;
}

static void load(const uint8_t *data, size_t size)
{
	struct state s = {.version = 2};
	struct visitor *v;
	struct visit_buf again;
	int r;

	if (visitor_new_load(data, size, &v) < 0)
		abort();
	visit_state(v, &s);
	r = visit_status(v);
	assert(r == 0 || r == -EINVAL);
	assert(r == 0 || strlen(visit_error_path(v)) < 256);
	assert(s.nlist <= ARRAY_SIZE(s.list) && s.nsubs <= ARRAY_SIZE(s.subs));
	assert(memchr(s.name, 0, sizeof(s.name)));
	visitor_free(v);
	if (r < 0)
		return;
	again = save(&s);
	assert(again.len <= size && memcmp(again.data, data, again.len) == 0);
	visit_buf_fini(&again);
}

/* Pairs of bytes: position, value. Position 255 cuts the stream at value. */
static void edit_and_load(const uint8_t *data, size_t size)
{
	struct state s = {
		2, true, 1, 2, 3, 4, 3, 5, {1, 2, 3, 4, 5}, "name", {1, 2, 3, 4}, {7, 8, 9}};
	struct visit_buf b = save(&s);
	uint8_t *exact;
	size_t len = b.len;

	for (size_t i = 0; i + 1 < size; i += 2) {
		if (data[i] == 255)
			len = MIN(len, (size_t)data[i + 1]);
		else
			b.data[data[i] % b.len] = data[i + 1];
	}
	exact = malloc(len ? len : 1);
	if (!exact)
		abort();
	memcpy(exact, b.data, len);
	load(exact, len);
	free(exact);
	visit_buf_fini(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0 || data[0] & 1)
		load(data + (size != 0), size - (size != 0));
	else
		edit_and_load(data + 1, size - 1);
	return 0;
}
