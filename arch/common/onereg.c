/* SPDX-License-Identifier: Apache-2.0 */
/* See the header. */
#include "arch/common/onereg.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include "vmm/base/num.h"

uint8_t *onereg_add(struct onereg_list *l, uint64_t id)
{
	uint32_t size = onereg_size(id);
	struct onereg *r;

	if (l->n == ONEREG_MAX || size > ONEREG_DATA - l->used)
		return NULL;
	r = &l->reg[l->n++];
	*r = (struct onereg){.id = id, .off = l->used};
	l->used += size;
	memset(l->data + r->off, 0, size);
	return l->data + r->off;
}

const uint8_t *onereg_find(const struct onereg_list *l, uint64_t id)
{
	for (uint32_t i = 0; i < l->n; i++)
		if (l->reg[i].id == id)
			return l->data + l->reg[i].off;
	return NULL;
}

uint64_t onereg_u64(const struct onereg_list *l, uint64_t id)
{
	const uint8_t *p = onereg_size(id) <= 8 ? onereg_find(l, id) : NULL;

	return p ? load_le(p, onereg_size(id)) : 0;
}

/* People want numbers, most significant digit first; wide registers stay bytes. */
static void dump_value(struct visitor *v, uint64_t id, uint8_t *data)
{
	uint64_t value;

	if (onereg_size(id) > 8) {
		visit_bytes(v, "value", data, onereg_size(id));
		return;
	}
	value = load_le(data, onereg_size(id));
	visit_u64(v, "value", &value);
}

static void visit_one(struct onereg_list *l, struct visitor *v, uint32_t i,
	const char *(*id_name)(uint64_t id, char buf[32]))
{
	uint32_t version = 1;
	uint64_t id = l->reg[i].id;
	uint8_t *data;

	visit_begin(v, NULL, &version);
	visit_u64(v, "id", &id);
	if (visit_mode(v) == VISIT_LOAD) {
		data = visit_status(v) < 0 ? NULL : onereg_add(l, id);
		if (!data && visit_status(v) == 0)
			visit_fail(v, -EINVAL);
	} else {
		data = l->data + l->reg[i].off;
	}
	if (data && visit_mode(v) == VISIT_DUMP) {
		char buf[32], name[32] = "";
		const char *known = id_name(id, buf);

		snprintf(name, sizeof(name), "%s", known ? known : "");
		visit_str(v, "name", name, sizeof(name));
		dump_value(v, id, data);
	} else if (data) {
		visit_bytes(v, "value", data, onereg_size(id));
	}
	visit_end(v);
}

int onereg_visit(struct onereg_list *l, struct visitor *v, const char *name,
	const char *(*id_name)(uint64_t id, char buf[32]))
{
	uint32_t n = l->n;

	visit_array(v, name, &n, ONEREG_MAX);
	if (visit_mode(v) == VISIT_LOAD)
		l->n = l->used = 0;
	for (uint32_t i = 0; i < n && visit_status(v) == 0; i++)
		visit_one(l, v, i, id_name);
	visit_array_end(v);
	return visit_status(v);
}
