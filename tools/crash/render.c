/* SPDX-License-Identifier: Apache-2.0 */
/* The page: what happened, the vCPU that it happened to first, then the others, then memory. */
#include <string.h>
#include "tools/crash/crash.h"
#include "tools/crash/disas.h"
#include "vmm/base/num.h"

#define INTERNAL_ERROR	    17 /* KVM_EXIT_INTERNAL_ERROR */
#define SUBERROR_EMULATION  1  /* KVM_INTERNAL_ERROR_EMULATION */
#define EMULATION_HAS_BYTES 1  /* data[0] bit 0: the instruction is in data[1..2] */
#define INSN_MAX	    15

static const char *suberror_name(uint64_t n)
{
	static const char *const name[] = {"?", "KVM could not emulate an instruction",
		"another exit came while one was being handled", "an event could not be delivered",
		"unexpected exit reason"};

	return name[n < ARRAY_SIZE(name) ? n : 0];
}

static const json_t *crashed_vcpu(const json_t *report)
{
	const json_t *vcpus = json_object_get(report, "vcpus"), *v;
	uint64_t want, index;
	size_t i;

	if (!crash_number(report, "vcpu", &want))
		return NULL;
	json_array_foreach (vcpus, i, v)
		if (crash_number(v, "index", &index) && index == want)
			return v;
	return NULL;
}

/* The instruction that KVM gave up on: from the exit's data, else from the code at the pc. */
static size_t failed_insn(const json_t *exit, const json_t *vcpu, uint8_t ret[INSN_MAX])
{
	const json_t *data = json_object_get(exit, "data"), *code = json_object_get(vcpu, "code");
	uint64_t flags, word[2], pc;
	uint8_t bytes[256];
	size_t n;

	if (crash_value(json_array_get(data, 0), &flags) && flags & EMULATION_HAS_BYTES &&
		crash_value(json_array_get(data, 1), &word[0]) &&
		crash_value(json_array_get(data, 2), &word[1])) {
		n = MIN((size_t)(word[0] & 0xff), (size_t)INSN_MAX);
		memcpy(ret, (uint8_t *)word + 1, n);
		return n;
	}
	n = crash_bytes(code, "bytes", bytes, sizeof(bytes));
	if (!crash_number(code, "pc_offset", &pc) || pc >= n)
		return 0;
	n = MIN(n - pc, (size_t)INSN_MAX);
	memcpy(ret, bytes + pc, n);
	return n;
}

static void print_failed_insn(const json_t *report, const json_t *exit, FILE *out)
{
	const json_t *vcpu = crashed_vcpu(report);
	struct disas *d = NULL;
	uint8_t bytes[INSN_MAX];
	char mode[16], text[128] = "";
	uint64_t pc = 0;
	size_t n = failed_insn(exit, vcpu, bytes);
	unsigned len = 0;

	if (!n)
		return;
	crash_number(vcpu, "pc", &pc);
	if (disas_new(crash_text(vcpu, "mode", "", mode, sizeof(mode)), &d) == 0)
		len = disas_one(d, bytes, n, pc, text, sizeof(text));
	disas_free(d);
	fprintf(out, "Instruction: %s", text);
	for (unsigned i = 0; i < (len ? len : n); i++)
		fprintf(out, "%s%02x", i ? " " : len ? "  (" : "", bytes[i]);
	fprintf(out, "%s\n", len ? ")" : "");
}

static void print_exit(const json_t *report, FILE *out)
{
	const json_t *exit = json_object_get(report, "exit"), *data, *d;
	uint64_t reason = 0, suberror, other;
	char name[48];
	size_t i;

	if (!json_is_object(exit))
		return;
	crash_number(exit, "reason", &reason);
	fprintf(out, "KVM exit:    %llu (%s)", (unsigned long long)reason,
		crash_text(exit, "name", "?", name, sizeof(name)));
	if (crash_number(exit, "suberror", &suberror))
		fprintf(out, ", suberror %llu: %s", (unsigned long long)suberror,
			suberror_name(suberror));
	if (crash_number(exit, "hardware_entry_failure_reason", &other))
		fprintf(out, ", hardware reason 0x%llx", (unsigned long long)other);
	if (crash_number(exit, "system_event", &other))
		fprintf(out, ", system event %llu", (unsigned long long)other);
	fprintf(out, "\n");
	data = json_object_get(exit, "data");
	if (json_array_size(data))
		fprintf(out, "Exit data:  ");
	json_array_foreach (data, i, d)
		if (crash_value(d, &other))
			fprintf(out, " 0x%llx", (unsigned long long)other);
	if (json_array_size(data))
		fprintf(out, "\n");
	if (reason == INTERNAL_ERROR && crash_number(exit, "suberror", &suberror) &&
		suberror == SUBERROR_EMULATION)
		print_failed_insn(report, exit, out);
}

static void print_ago(uint64_t ns, FILE *out)
{
	if (ns < 10000)
		fprintf(out, "    %8llu ns ago", (unsigned long long)ns);
	else if (ns < 10000000)
		fprintf(out, "    %8llu us ago", (unsigned long long)ns / 1000);
	else
		fprintf(out, "    %8llu ms ago", (unsigned long long)ns / 1000000);
}

static void print_exits(const json_t *exits, FILE *out)
{
	char name[48], detail[160];
	const json_t *e;
	uint64_t ns;
	size_t i;

	if (!json_array_size(exits)) {
		fprintf(out, "  Last exits: none\n");
		return;
	}
	fprintf(out, "  Last exits, newest last:\n");
	json_array_foreach (exits, i, e) {
		if (crash_number(e, "ns_ago", &ns))
			print_ago(ns, out);
		fprintf(out, "  %s", crash_text(e, "name", "?", name, sizeof(name)));
		if (json_object_get(e, "detail"))
			fprintf(out, ": %s", crash_text(e, "detail", "", detail, sizeof(detail)));
		fprintf(out, "\n");
	}
}

static void print_vcpu(const json_t *v, bool crashed, bool all, FILE *out)
{
	uint64_t index = 0, pc;
	char mode[16];

	crash_number(v, "index", &index);
	crash_text(v, "mode", "", mode, sizeof(mode));
	fprintf(out, "\nvCPU %llu%s", (unsigned long long)index,
		crashed ? ", where it happened" : "");
	if (crash_number(v, "pc", &pc))
		fprintf(out, ": pc 0x%llx, mode %s", (unsigned long long)pc,
			crash_text(v, "mode", "unknown", mode, sizeof(mode)));
	fprintf(out, "\n");
	crash_render_regs(json_object_get(v, "regs"), all, out);
	crash_render_code(
		crash_text(v, "mode", "", mode, sizeof(mode)), json_object_get(v, "code"), out);
	print_exits(json_object_get(v, "exits"), out);
}

static void print_vcpus(const json_t *report, bool all, FILE *out)
{
	const json_t *vcpus = json_object_get(report, "vcpus"), *v;
	const json_t *first = crashed_vcpu(report);
	size_t i;

	if (first)
		print_vcpu(first, true, all, out);
	json_array_foreach (vcpus, i, v)
		if (v != first)
			print_vcpu(v, false, all, out);
}

static void print_memory_map(const json_t *map, FILE *out)
{
	char name[48], size_text[24];
	uint64_t base, size;
	const json_t *m;
	size_t i;

	if (!json_array_size(map))
		return;
	fprintf(out, "\nMemory map:\n");
	json_array_foreach (map, i, m)
		if (crash_number(m, "base", &base) && crash_number(m, "size", &size) && size)
			fprintf(out, "    0x%012llx - 0x%012llx  %8s  %s\n",
				(unsigned long long)base, (unsigned long long)(base + size - 1),
				num_format_size(size, size_text),
				crash_text(m, "name", "?", name, sizeof(name)));
}

void crash_render(const json_t *report, bool all, FILE *out)
{
	char chip[16], version[48], when[48], reason[256];

	fprintf(out, "Crash of a %s guest, polyvisor %s, %s\n",
		crash_text(report, "chip", "?", chip, sizeof(chip)),
		crash_text(report, "version", "?", version, sizeof(version)),
		crash_text(report, "time", "time unknown", when, sizeof(when)));
	fprintf(out, "Reason:      %s\n",
		crash_text(report, "reason", "unknown", reason, sizeof(reason)));
	print_exit(report, out);
	print_vcpus(report, all, out);
	print_memory_map(json_object_get(report, "memory_map"), out);
}
