/* SPDX-License-Identifier: Apache-2.0 */
/* Indented one tab a level, one member a line: such files are read by people and compared with
 * diff. Nesting deeper than JSON_OUT_DEPTH is our own bug, hence the assert. */
#include "vmm/base/json_out.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

void json_out_init(struct json_out *j, FILE *f)
{
	*j = (struct json_out){.f = f};
	j->first[0] = true;
}

/* Length of the UTF-8 sequence at s, 0 if there is none (RFC 3629 §4: no overlong forms, no
 * surrogates, nothing above U+10FFFF). s is NUL-terminated, which ends any sequence. */
static unsigned utf8_len(const unsigned char *s)
{
	unsigned n = s[0] < 0x80   ? 1
		     : s[0] < 0xc2 ? 0
		     : s[0] < 0xe0 ? 2
		     : s[0] < 0xf0 ? 3
		     : s[0] < 0xf5 ? 4
				   : 0;

	for (unsigned i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
		(s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return n;
}

static void put_string(FILE *f, const char *text)
{
	const unsigned char *s = (const unsigned char *)text;

	putc('"', f);
	while (*s) {
		unsigned n = utf8_len(s);

		if (!n)
			fputs("\\ufffd", f);
		else if (*s == '"' || *s == '\\')
			fprintf(f, "\\%c", *s);
		else if (*s == '\n')
			fputs("\\n", f);
		else if (*s < 0x20 || *s == 0x7f)
			fprintf(f, "\\u%04x", *s);
		else
			fwrite(s, 1, n, f);
		s += n ? n : 1;
	}
	putc('"', f);
}

static void indent(struct json_out *j)
{
	putc('\n', j->f);
	for (unsigned i = 0; i < j->depth; i++)
		putc('\t', j->f);
}

static void begin_value(struct json_out *j, const char *name)
{
	if (!j->first[j->depth])
		putc(',', j->f);
	j->first[j->depth] = false;
	if (j->depth)
		indent(j);
	if (name) {
		put_string(j->f, name);
		fputs(": ", j->f);
	}
}

void json_key(struct json_out *j, const char *name)
{
	begin_value(j, name);
}

static void open_level(struct json_out *j, const char *name, char bracket)
{
	begin_value(j, name);
	putc(bracket, j->f);
	assert(j->depth + 1 < JSON_OUT_DEPTH);
	j->first[++j->depth] = true;
}

static void close_level(struct json_out *j, char bracket)
{
	bool empty = j->first[j->depth];

	assert(j->depth > 0);
	j->depth--;
	if (!empty)
		indent(j);
	putc(bracket, j->f);
	if (!j->depth)
		putc('\n', j->f);
}

void json_obj(struct json_out *j, const char *name)
{
	open_level(j, name, '{');
}

void json_obj_end(struct json_out *j)
{
	close_level(j, '}');
}

void json_arr(struct json_out *j, const char *name)
{
	open_level(j, name, '[');
}

void json_arr_end(struct json_out *j)
{
	close_level(j, ']');
}

void json_str(struct json_out *j, const char *name, const char *s)
{
	begin_value(j, name);
	if (s)
		put_string(j->f, s);
	else
		fputs("null", j->f);
}

void json_u64(struct json_out *j, const char *name, uint64_t v)
{
	begin_value(j, name);
	fprintf(j->f, "%" PRIu64, v);
}

void json_i64(struct json_out *j, const char *name, int64_t v)
{
	begin_value(j, name);
	fprintf(j->f, "%" PRId64, v);
}

void json_hex(struct json_out *j, const char *name, uint64_t v)
{
	begin_value(j, name);
	fprintf(j->f, "\"0x%" PRIx64 "\"", v);
}

void json_bool(struct json_out *j, const char *name, bool v)
{
	begin_value(j, name);
	fputs(v ? "true" : "false", j->f);
}

void json_bytes(struct json_out *j, const char *name, const void *p, size_t n)
{
	const uint8_t *b = p;

	begin_value(j, name);
	putc('"', j->f);
	for (size_t i = 0; i < n; i++)
		fprintf(j->f, "%02x", b[i]);
	putc('"', j->f);
}
