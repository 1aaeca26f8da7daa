/* SPDX-License-Identifier: Apache-2.0 */
/* All four directions walk the same calls. Every item is a head (type, name) and a payload; a fixed
 * payload goes through item(), which is where the direction is decided. The stream is not trusted:
 * each read is bounded by what is left, lengths are compared with what the struct can hold before
 * anything is copied, and nothing is allocated by its say. After the first error all calls do
 * nothing, except that a loaded array gets length 0 so that its caller's loop ends. */
#include "vmm/base/visit.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "vmm/base/json_out.h"
#include "vmm/base/num.h"

#define MAX_DEPTH 16 /* of ours: the stream has no say in it. Below JSON_OUT_DEPTH */
#define MAX_PATH  256

enum item_type {
	ITEM_STRUCT = 1,
	ITEM_STRUCT_END,
	ITEM_ARRAY,
	ITEM_ARRAY_END,
	ITEM_BOOL,
	ITEM_U8,
	ITEM_U16,
	ITEM_U32,
	ITEM_U64,
	ITEM_BYTES,
	ITEM_STR,
};

struct level {
	bool array;
	uint32_t index;	   /* of the next element */
	uint32_t expected; /* elements */
	size_t path_len;   /* to go back to */
};

struct visitor {
	enum visit_mode mode;
	int err;
	struct visit_buf *out; /* SAVE */
	const uint8_t *in;     /* LOAD, COMPARE: what is left */
	size_t in_len;
	struct json_out json; /* DUMP */
	unsigned depth;
	struct level level[MAX_DEPTH];
	char path[MAX_PATH]; /* of the innermost open struct; of the culprit once err is set */
	size_t path_len;
};

void visit_buf_fini(struct visit_buf *b)
{
	free(b->data);
	*b = (struct visit_buf){0};
}

static int visitor_new(enum visit_mode mode, struct visitor **ret_v)
{
	struct visitor *v = calloc(1, sizeof(*v));

	if (!v)
		return -ENOMEM;
	v->mode = mode;
	*ret_v = v;
	return 0;
}

int visitor_new_save(struct visit_buf *out, struct visitor **ret_v)
{
	int r = visitor_new(VISIT_SAVE, ret_v);

	if (r == 0)
		(*ret_v)->out = out;
	return r;
}

static int new_reader(enum visit_mode mode, const uint8_t *data, size_t len, struct visitor **ret_v)
{
	int r = visitor_new(mode, ret_v);

	if (r == 0) {
		(*ret_v)->in = data;
		(*ret_v)->in_len = len;
	}
	return r;
}

int visitor_new_load(const uint8_t *data, size_t len, struct visitor **ret_v)
{
	return new_reader(VISIT_LOAD, data, len, ret_v);
}

int visitor_new_compare(const uint8_t *data, size_t len, struct visitor **ret_v)
{
	return new_reader(VISIT_COMPARE, data, len, ret_v);
}

int visitor_new_dump(FILE *out, struct visitor **ret_v)
{
	int r = visitor_new(VISIT_DUMP, ret_v);

	if (r == 0) {
		json_out_init(&(*ret_v)->json, out);
		json_obj(&(*ret_v)->json, NULL);
	}
	return r;
}

void visitor_free(struct visitor *v)
{
	if (v && v->mode == VISIT_DUMP && v->err == 0)
		json_obj_end(&v->json);
	free(v);
}

enum visit_mode visit_mode(const struct visitor *v)
{
	return v->mode;
}

int visit_status(const struct visitor *v)
{
	return v->err;
}

const char *visit_error_path(const struct visitor *v)
{
	return v->path;
}

/* "vm.vcpu[1].regs": appended as far as it fits, a path being for people. */
static void path_push(struct visitor *v, const char *name)
{
	const struct level *l = v->depth ? &v->level[v->depth - 1] : NULL;
	size_t room = sizeof(v->path) - v->path_len;
	int n = 0;

	if (l && l->array)
		n = snprintf(v->path + v->path_len, room, "[%u]", l->index);
	else if (name)
		n = snprintf(v->path + v->path_len, room, "%s%s", v->path_len ? "." : "", name);
	v->path_len += MIN((size_t)n, room - 1);
}

int visit_fail(struct visitor *v, int code)
{
	if (v->err == 0)
		v->err = code;
	return v->err;
}

static bool fail_at(struct visitor *v, const char *name, int code)
{
	path_push(v, name);
	visit_fail(v, code);
	return false;
}

static int append(struct visit_buf *b, const void *data, size_t len)
{
	if (len > b->cap - b->len) {
		size_t cap = MAX(b->cap * 2, b->len + len + 256);
		uint8_t *p = realloc(b->data, cap);

		if (!p)
			return -ENOMEM;
		b->data = p;
		b->cap = cap;
	}
	memcpy(b->data + b->len, data, len);
	b->len += len;
	return 0;
}

/* The next len bytes of the stream, or NULL when it has fewer. */
static const uint8_t *take(struct visitor *v, size_t len)
{
	const uint8_t *p = v->in;

	if (len > v->in_len)
		return NULL;
	v->in += len;
	v->in_len -= len;
	return p;
}

static bool read_head(struct visitor *v, enum item_type type, const char *name, size_t name_len)
{
	const uint8_t *p = take(v, 2 + name_len);

	return p && p[0] == type && p[1] == name_len && memcmp(p + 2, name, name_len) == 0;
}

/* The head of an item. False when there was or is an error. */
static bool head(struct visitor *v, enum item_type type, const char *name)
{
	struct level *l = v->depth ? &v->level[v->depth - 1] : NULL;
	const char *text = name ? name : "";
	size_t len = strlen(text);
	uint8_t h[2] = {type, (uint8_t)len};
	int r = 0;

	if (v->err)
		return false;
	assert(len <= UINT8_MAX && (name || !l || l->array || type == ITEM_STRUCT_END));
	if (v->mode == VISIT_SAVE) {
		r = append(v->out, h, 2);
		if (r == 0)
			r = append(v->out, text, len);
	} else if (v->mode != VISIT_DUMP && !read_head(v, type, text, len)) {
		r = -EINVAL;
	}
	return r == 0 || fail_at(v, name, r);
}

/* The payload, len bytes at x, in the direction of v. Not for DUMP. */
static bool payload(struct visitor *v, const char *name, void *x, size_t len)
{
	const uint8_t *p;
	int r = 0;

	if (v->mode == VISIT_SAVE) {
		r = append(v->out, x, len);
		return r == 0 || fail_at(v, name, r);
	}
	p = take(v, len);
	if (!p)
		return fail_at(v, name, -EINVAL);
	if (v->mode == VISIT_LOAD)
		memcpy(x, p, len);
	else if (memcmp(x, p, len) != 0)
		return fail_at(v, name, -ENOTUNIQ);
	return true;
}

/* Counts an item that is complete as an element of the array that is open. */
static void element_done(struct visitor *v)
{
	if (v->depth && v->level[v->depth - 1].array)
		v->level[v->depth - 1].index++;
}

static bool open_level(struct visitor *v, const char *name, bool array, uint32_t expected)
{
	size_t before = v->path_len;

	if (v->depth == MAX_DEPTH)
		return fail_at(v, name, -EOVERFLOW);
	path_push(v, name);
	v->level[v->depth++] =
		(struct level){.array = array, .expected = expected, .path_len = before};
	return true;
}

static void close_level(struct visitor *v, bool array)
{
	struct level *l;

	if (!head(v, array ? ITEM_ARRAY_END : ITEM_STRUCT_END, NULL))
		return;
	assert(v->depth > 0);
	l = &v->level[--v->depth];
	assert(l->array == array && (!array || l->index == l->expected));
	v->path_len = l->path_len;
	v->path[v->path_len] = '\0';
	element_done(v);
}

/* A number that frames what follows. Read from the stream into *ret_n, whatever the caller has. */
static bool frame(struct visitor *v, enum item_type type, const char *name, uint32_t *n)
{
	const uint8_t *p;
	int r;

	if (!head(v, type, name))
		return false;
	if (v->mode == VISIT_SAVE) {
		r = append(v->out, n, sizeof(*n));
		return r == 0 || fail_at(v, name, r);
	}
	if (v->mode == VISIT_DUMP)
		return true;
	p = take(v, sizeof(*n));
	if (!p)
		return fail_at(v, name, -EINVAL);
	*n = (uint32_t)load_le(p, sizeof(*n));
	return true;
}

void visit_begin(struct visitor *v, const char *name, uint32_t *version)
{
	uint32_t n = *version;

	if (!frame(v, ITEM_STRUCT, name, &n))
		return;
	if (v->mode == VISIT_COMPARE && n != *version)
		fail_at(v, name, -ENOTUNIQ);
	else if (n == 0 || n > *version)
		fail_at(v, name, -EINVAL);
	else if (open_level(v, name, false, 0) && v->mode == VISIT_DUMP) {
		json_obj(&v->json, name);
		json_u64(&v->json, "@version", n);
	}
	if (v->mode == VISIT_LOAD && v->err == 0)
		*version = n;
}

void visit_end(struct visitor *v)
{
	close_level(v, false);
	if (v->mode == VISIT_DUMP && v->err == 0)
		json_obj_end(&v->json);
}

void visit_array(struct visitor *v, const char *name, uint32_t *n, uint32_t max)
{
	uint32_t count = *n;

	if (frame(v, ITEM_ARRAY, name, &count)) {
		if (count > max)
			fail_at(v, name, -EINVAL);
		else if (v->mode == VISIT_COMPARE && count != *n)
			fail_at(v, name, -ENOTUNIQ);
		else if (open_level(v, name, true, count) && v->mode == VISIT_DUMP)
			json_arr(&v->json, name);
	}
	if (v->mode == VISIT_LOAD)
		*n = v->err ? 0 : count;
}

void visit_array_end(struct visitor *v)
{
	close_level(v, true);
	if (v->mode == VISIT_DUMP && v->err == 0)
		json_arr_end(&v->json);
}

/* A fixed-size item. True when it was saved, loaded or found equal, or is to be dumped. */
static bool item(struct visitor *v, enum item_type type, const char *name, void *x, size_t len)
{
	if (!head(v, type, name) || (v->mode != VISIT_DUMP && !payload(v, name, x, len)))
		return false;
	element_done(v);
	return true;
}

void visit_bool(struct visitor *v, const char *name, bool *x)
{
	uint8_t b = *x;

	if (!head(v, ITEM_BOOL, name))
		return;
	if (v->mode == VISIT_DUMP)
		json_bool(&v->json, name, *x);
	else if (!payload(v, name, &b, 1))
		return;
	else if (b > 1)
		fail_at(v, name, -EINVAL);
	else
		*x = b;
	element_done(v);
}

void visit_u8(struct visitor *v, const char *name, uint8_t *x)
{
	if (item(v, ITEM_U8, name, x, sizeof(*x)) && v->mode == VISIT_DUMP)
		json_u64(&v->json, name, *x);
}

void visit_u16(struct visitor *v, const char *name, uint16_t *x)
{
	if (item(v, ITEM_U16, name, x, sizeof(*x)) && v->mode == VISIT_DUMP)
		json_u64(&v->json, name, *x);
}

void visit_u32(struct visitor *v, const char *name, uint32_t *x)
{
	if (item(v, ITEM_U32, name, x, sizeof(*x)) && v->mode == VISIT_DUMP)
		json_u64(&v->json, name, *x);
}

void visit_u64(struct visitor *v, const char *name, uint64_t *x)
{
	if (item(v, ITEM_U64, name, x, sizeof(*x)) && v->mode == VISIT_DUMP)
		json_hex(&v->json, name, *x);
}

/* Length, then the bytes. */
void visit_bytes(struct visitor *v, const char *name, void *bytes, size_t len)
{
	uint32_t n = (uint32_t)len;

	if (!frame(v, ITEM_BYTES, name, &n))
		return;
	if (v->mode == VISIT_DUMP)
		json_bytes(&v->json, name, bytes, len);
	else if (n != len)
		fail_at(v, name, -EINVAL);
	else
		payload(v, name, bytes, len);
	element_done(v);
}

/* The string's n bytes are the stream's next: into str, or compared with it. */
static void read_str(struct visitor *v, const char *name, char *str, size_t cap, uint32_t n)
{
	const uint8_t *p = n < cap ? take(v, n) : NULL;

	if (!p || memchr(p, 0, n)) {
		fail_at(v, name, -EINVAL);
	} else if (v->mode == VISIT_LOAD) {
		memcpy(str, p, n);
		str[n] = '\0';
	} else if (strlen(str) != n || memcmp(str, p, n) != 0) {
		fail_at(v, name, -ENOTUNIQ);
	}
}

void visit_str(struct visitor *v, const char *name, char *str, size_t cap)
{
	uint32_t n = v->mode == VISIT_LOAD ? 0 : (uint32_t)strnlen(str, cap);

	if (!frame(v, ITEM_STR, name, &n))
		return;
	if (v->mode == VISIT_DUMP)
		json_str(&v->json, name, str);
	else if (v->mode == VISIT_SAVE)
		payload(v, name, str, n);
	else
		read_str(v, name, str, cap, n);
	element_done(v);
}
