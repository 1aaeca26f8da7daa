/* SPDX-License-Identifier: Apache-2.0 */
/* The code around the program counter. Going forward is easy; what comes before has to be found,
 * for instructions differ in length: the longest run that decodes and ends exactly at the pc is
 * taken. */
#include <string.h>
#include "tools/crash/crash.h"
#include "tools/crash/disas.h"
#include "vmm/base/num.h"

#define CODE_MAX 256

struct code {
	const char *mode;
	struct disas *disas; /* NULL: raw words */
	uint64_t gva;
	uint8_t bytes[CODE_MAX];
	size_t n, pc; /* bytes there are, and which of them the pc is at */
};

static bool is_x86(const struct code *c)
{
	return strncmp(c->mode, "x86", 3) == 0;
}

/* How long what does not decode is taken to be. RISC-V tells length by its low two bits
 * (unprivileged specification §1.5). */
static unsigned raw_len(const struct code *c, size_t at)
{
	unsigned len = is_x86(c)					       ? 1
		       : strcmp(c->mode, "riscv64") || (c->bytes[at] & 3) == 3 ? 4
									       : 2;

	return MIN((size_t)len, c->n - at);
}

static unsigned decode(const struct code *c, size_t at, char *text, size_t cap)
{
	if (!c->disas)
		return 0;
	return disas_one(c->disas, c->bytes + at, c->n - at, c->gva + at, text, cap);
}

/* Whether decoding from `at` comes to the pc. */
static bool reaches_pc(const struct code *c, size_t at)
{
	char text[128];

	while (at < c->pc) {
		unsigned len = decode(c, at, text, sizeof(text));

		if (!len)
			return false;
		at += len;
	}
	return at == c->pc;
}

static size_t find_start(const struct code *c)
{
	size_t step = is_x86(c) ? 1 : strcmp(c->mode, "riscv64") ? 4 : 2;
	size_t at = c->pc % step;

	while (c->disas && at < c->pc && !reaches_pc(c, at))
		at += step;
	return MIN(at, c->pc);
}

/* x86 as bytes, the others as the words that their manuals print. */
static void print_raw(const struct code *c, size_t at, unsigned len, FILE *out)
{
	char text[64] = "";
	unsigned n = 0;

	if (!is_x86(c))
		n = snprintf(text, sizeof(text), "%0*llx", (int)len * 2,
			(unsigned long long)load_le(c->bytes + at, len));
	for (unsigned i = 0; is_x86(c) && i < len; i++)
		n += snprintf(text + n, sizeof(text) - n, "%02x ", c->bytes[at + i]);
	fprintf(out, "%-*s", is_x86(c) ? 32 : 10, text);
}

static void print_lines(const struct code *c, FILE *out)
{
	char text[128];

	for (size_t at = find_start(c); at < c->n;) {
		unsigned len = decode(c, at, text, sizeof(text));

		if (!len && c->n - at < 16 && at > c->pc && is_x86(c))
			break; /* the last instruction is cut off */
		if (!len) {
			len = raw_len(c, at);
			snprintf(text, sizeof(text), "%s", c->disas ? "(unknown)" : ".");
		}
		fprintf(out, "  %s 0x%016llx  ", at == c->pc ? "=>" : "  ",
			(unsigned long long)c->gva + at);
		print_raw(c, at, len, out);
		fprintf(out, " %s\n", text);
		at += len;
	}
}

void crash_render_code(const char *mode, const json_t *code, FILE *out)
{
	struct code c = {.mode = mode};
	uint64_t gpa, pc;

	c.n = crash_bytes(code, "bytes", c.bytes, sizeof(c.bytes));
	if (!c.n || !crash_number(code, "gva", &c.gva) || !crash_number(code, "pc_offset", &pc) ||
		pc >= c.n) {
		fprintf(out, "  Code: none recorded at this address\n");
		return;
	}
	c.pc = pc;
	fprintf(out, "  Code");
	if (crash_number(code, "gpa", &gpa))
		fprintf(out, " (physical 0x%llx)", (unsigned long long)gpa + pc);
	if (disas_new(mode, &c.disas) < 0)
		fprintf(out, ", raw: no disassembler for %s in this build", mode);
	fprintf(out, ":\n");
	print_lines(&c, out);
	disas_free(c.disas);
}
