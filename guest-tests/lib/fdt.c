/* SPDX-License-Identifier: Apache-2.0 */
/* See fdt.h. Walks the structure block each time: trees are small and read once. */
#include "fdt.h"

#include "text.h"

enum { BEGIN_NODE = 1, END_NODE = 2, PROP = 3, NOP = 4, END = 9 };

static const uint8_t *structure, *strings;

uint64_t fdt_number(const uint8_t *p, unsigned cells)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < cells * 4; i++)
		v = v << 8 | p[i];
	return v;
}

static uint32_t be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3];
}

bool fdt_open(const void *p)
{
	const uint8_t *h = p;

	if (!h || be32(h) != 0xd00dfeed)
		return false;
	structure = h + be32(h + 8);
	strings = h + be32(h + 12);
	return true;
}

/* Length of the token at `at`, with its payload. */
static uint32_t token_size(uint32_t at)
{
	switch (be32(structure + at)) {
	case BEGIN_NODE:
		return 4 + ALIGN_UP((uint32_t)strlen((const char *)structure + at + 4) + 1, 4);
	case PROP:
		return 12 + ALIGN_UP(be32(structure + at + 4), 4);
	default:
		return 4;
	}
}

static uint32_t skip_props(uint32_t node)
{
	uint32_t at = node + token_size(node);

	while (be32(structure + at) == PROP || be32(structure + at) == NOP)
		at += token_size(at);
	return at;
}

static uint32_t skip_node(uint32_t node)
{
	unsigned depth = 0;
	uint32_t at = node;

	do {
		uint32_t token = be32(structure + at);

		depth += token == BEGIN_NODE;
		depth -= token == END_NODE;
		at += token_size(at);
	} while (depth);
	while (be32(structure + at) == NOP)
		at += 4;
	return at;
}

uint32_t fdt_root(void)
{
	uint32_t at = 0;

	while (be32(structure + at) == NOP)
		at += 4;
	return at;
}

uint32_t fdt_first_child(uint32_t node)
{
	uint32_t at = skip_props(node);

	return be32(structure + at) == BEGIN_NODE ? at : FDT_NONE;
}

uint32_t fdt_next_sibling(uint32_t node)
{
	uint32_t at = skip_node(node);

	return be32(structure + at) == BEGIN_NODE ? at : FDT_NONE;
}

uint32_t fdt_next(uint32_t node)
{
	uint32_t at = skip_props(node);

	while (be32(structure + at) == END_NODE || be32(structure + at) == NOP)
		at += 4;
	return be32(structure + at) == BEGIN_NODE ? at : FDT_NONE;
}

uint32_t fdt_parent(uint32_t node)
{
	uint32_t stack[32];
	unsigned depth = 0;

	for (uint32_t at = fdt_root();; at += token_size(at)) {
		uint32_t token = be32(structure + at);

		if (at == node || token == END)
			return depth && at == node ? stack[depth - 1] : FDT_NONE;
		if (token == BEGIN_NODE && depth < ARRAY_SIZE(stack))
			stack[depth++] = at;
		else if (token == END_NODE && depth)
			depth--;
	}
}

const char *fdt_name(uint32_t node)
{
	return (const char *)structure + node + 4;
}

const uint8_t *fdt_prop(uint32_t node, const char *name, uint32_t *ret_len)
{
	uint32_t at = node + token_size(node);

	for (;; at += token_size(at)) {
		uint32_t token = be32(structure + at);

		if (token == NOP)
			continue;
		if (token != PROP)
			return NULL;
		if (strcmp((const char *)strings + be32(structure + at + 8), name))
			continue;
		if (ret_len)
			*ret_len = be32(structure + at + 4);
		return structure + at + 12;
	}
}

unsigned fdt_cells(uint32_t node, const char *name)
{
	uint32_t len;

	return fdt_prop(node, name, &len) ? len / 4 : 0;
}

uint32_t fdt_cell(uint32_t node, const char *name, unsigned i, uint32_t otherwise)
{
	uint32_t len;
	const uint8_t *p = fdt_prop(node, name, &len);

	return p && len >= (i + 1) * 4 ? be32(p + 4 * i) : otherwise;
}

bool fdt_is_compatible(uint32_t node, const char *compatible)
{
	uint32_t len;
	const uint8_t *p = fdt_prop(node, "compatible", &len);

	for (uint32_t i = 0; p && i < len; i += (uint32_t)strlen((const char *)p + i) + 1)
		if (!strcmp((const char *)p + i, compatible))
			return true;
	return false;
}

uint32_t fdt_compatible(uint32_t from, const char *compatible)
{
	uint32_t node = from == FDT_NONE ? fdt_root() : fdt_next(from);

	for (; node != FDT_NONE; node = fdt_next(node)) {
		const uint8_t *status = fdt_prop(node, "status", NULL);

		if (status && status[0] != 'o')
			continue;
		if (fdt_is_compatible(node, compatible))
			return node;
	}
	return FDT_NONE;
}

uint32_t fdt_by_phandle(uint32_t phandle)
{
	uint32_t node = fdt_root();

	while (node != FDT_NONE && fdt_cell(node, "phandle", 0, 0) != phandle)
		node = fdt_next(node);
	return node;
}

uint32_t fdt_path(const char *path)
{
	uint32_t node = fdt_root();
	const uint8_t *alias;

	if (*path != '/') {
		uint32_t aliases = fdt_path("/aliases");

		alias = aliases == FDT_NONE ? NULL : fdt_prop(aliases, path, NULL);
		return alias ? fdt_path((const char *)alias) : FDT_NONE;
	}
	while (*path == '/' && path[1] && node != FDT_NONE) {
		size_t n = 0;

		path++;
		while (path[n] && path[n] != '/' && path[n] != ':')
			n++;
		node = fdt_first_child(node);
		while (node != FDT_NONE && (strncmp(fdt_name(node), path, n) ||
						   (fdt_name(node)[n] && fdt_name(node)[n] != '@')))
			node = fdt_next_sibling(node);
		path += n;
	}
	return node;
}

bool fdt_reg(uint32_t node, unsigned i, uint64_t *ret_base, uint64_t *ret_size)
{
	uint32_t parent = fdt_parent(node), len;
	const uint8_t *p = fdt_prop(node, "reg", &len);
	uint32_t ac = fdt_cell(parent, "#address-cells", 0, 2);
	uint32_t sc = fdt_cell(parent, "#size-cells", 0, 1);

	if (!p || len < (i + 1) * (ac + sc) * 4)
		return false;
	p += i * (ac + sc) * 4;
	*ret_base = fdt_number(p, ac);
	*ret_size = fdt_number(p + ac * 4, sc);
	return true;
}

uint32_t fdt_interrupt_parent(uint32_t node)
{
	uint32_t phandle = 0;

	for (; node != FDT_NONE && !phandle; node = fdt_parent(node))
		phandle = fdt_cell(node, "interrupt-parent", 0, 0);
	return phandle ? fdt_by_phandle(phandle) : FDT_NONE;
}
