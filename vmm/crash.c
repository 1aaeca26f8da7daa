/* SPDX-License-Identifier: Apache-2.0 */
/* The raw crash report: everything about a stopped machine that helps to say why it stopped, as
 * JSON, with no judgement and no disassembly. It is written by a process that is in a bad way, so
 * it only reads; polyvisor-crash turns it into something for people. Format: docs/crash-report.md.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "vmm/base/cleanup.h"
#include "vmm/base/json_out.h"
#include "vmm/base/num.h"
#include "vmm/version.h"
#include "vmm/vm_internal.h"

#define CODE_BEFORE 16 /* bytes shown before the program counter */
#define CODE_AFTER  48

static void write_exit_info(struct json_out *j, const struct kvm_run *run)
{
	char buf[24];

	json_obj(j, "exit");
	json_u64(j, "reason", run->exit_reason);
	json_str(j, "name", vcpu_exit_name(run->exit_reason, buf));
	if (run->exit_reason == KVM_EXIT_INTERNAL_ERROR) {
		json_u64(j, "suberror", run->internal.suberror);
		json_arr(j, "data");
		for (uint32_t i = 0; i < MIN(run->internal.ndata, 16u); i++)
			json_hex(j, NULL, run->internal.data[i]);
		json_arr_end(j);
	} else if (run->exit_reason == KVM_EXIT_FAIL_ENTRY) {
		json_hex(j, "hardware_entry_failure_reason",
			run->fail_entry.hardware_entry_failure_reason);
	} else if (run->exit_reason == KVM_EXIT_SYSTEM_EVENT) {
		json_u64(j, "system_event", run->system_event.type);
	}
	json_obj_end(j);
}

static void write_range(struct json_out *j, const char *name, uint64_t base, uint64_t size)
{
	if (!size)
		return;
	json_obj(j, NULL);
	json_str(j, "name", name);
	json_hex(j, "base", base);
	json_hex(j, "size", size);
	json_obj_end(j);
}

static void write_memory_map(struct json_out *j, const struct vm *vm)
{
	json_arr(j, "memory_map");
	for (unsigned i = 0; i < vm->mem.n; i++)
		write_range(j, "ram", vm->mem.region[i].gpa, vm->mem.region[i].size);
	for (unsigned i = 0; i < PLAN_IRQCHIP; i++)
		write_range(j, "irqchip", vm->plan.irqchip[i].base, vm->plan.irqchip[i].size);
	for (unsigned i = 0; i < vm->mmio.n; i++)
		write_range(j, vm->mmio.region[i]->name, vm->mmio.region[i]->base,
			vm->mmio.region[i]->size);
	json_arr_end(j);
}

/* Reads guest-virtual bytes one at a time, so that a page that is not there only shortens the run.
 */
static void write_code(struct json_out *j, const struct vm *vm, const struct vcpu *v,
	const struct arch_vcpu_state *s)
{
	uint8_t bytes[CODE_BEFORE + CODE_AFTER];
	uint64_t pc = arch_vcpu_state_pc(s), gpa = 0, pc_gpa = 0;
	unsigned first = CODE_BEFORE, end;

	if (arch_vcpu_translate(v->arch, &vm->mem, s, pc, &pc_gpa) < 0)
		return;
	while (first > 0 &&
		!arch_vcpu_translate(v->arch, &vm->mem, s, pc - CODE_BEFORE + first - 1, &gpa) &&
		!guest_mem_read(&vm->mem, gpa, &bytes[first - 1], 1))
		first--;
	for (end = CODE_BEFORE; end < sizeof(bytes); end++)
		if (arch_vcpu_translate(v->arch, &vm->mem, s, pc - CODE_BEFORE + end, &gpa) ||
			guest_mem_read(&vm->mem, gpa, &bytes[end], 1))
			break;
	json_obj(j, "code");
	json_hex(j, "gva", pc - CODE_BEFORE + first);
	json_hex(j, "gpa", pc_gpa - CODE_BEFORE + first);
	json_bytes(j, "bytes", bytes + first, end - first);
	json_u64(j, "pc_offset", CODE_BEFORE - first);
	json_obj_end(j);
}

static void write_exits(struct json_out *j, const struct vcpu *v)
{
	uint64_t all = atomic_load(&v->nexits), n = MIN(all, (uint64_t)VCPU_EXITS);
	uint64_t now = ev_now_ns();
	char buf[24], detail[96];

	json_arr(j, "exits");
	for (uint64_t i = all - n; i != all; i++) {
		const struct vcpu_exit *x = &v->exits[i % VCPU_EXITS];
		json_obj(j, NULL);
		json_u64(j, "ns_ago", now - x->ns);
		json_u64(j, "reason", x->reason);
		json_str(j, "name", vcpu_exit_name(x->reason, buf));
		if (x->size) {
			int len = snprintf(detail, sizeof(detail), "%s 0x%llx size %u",
				x->write ? "write" : "read", (unsigned long long)x->addr, x->size);
			if (x->write)
				snprintf(detail + len, sizeof(detail) - (size_t)len,
					" value 0x%llx", (unsigned long long)x->data);
			json_str(j, "detail", detail);
		}
		json_obj_end(j);
	}
	json_arr_end(j);
}

static void write_regs(struct json_out *j, struct arch_vcpu_state *s)
{
	struct visitor *v;

	json_key(j, "regs");
	if (visitor_new_dump(j->f, &v) < 0) { /* opens the object at once */
		fputs("null", j->f);
		return;
	}
	arch_vcpu_state_visit(s, v);
	visitor_free(v);
}

static void write_vcpu(struct json_out *j, const struct vm *vm, const struct vcpu *v)
{
	cleanup_free struct arch_vcpu_state *s = calloc(1, arch_vcpu_state_size());

	json_obj(j, NULL);
	json_u64(j, "index", v->index);
	if (s && arch_vcpu_get(v->arch, s) >= 0) {
		json_hex(j, "pc", arch_vcpu_state_pc(s));
		json_str(j, "mode", arch_vcpu_state_mode(s));
		write_regs(j, s);
		write_code(j, vm, v, s);
	}
	write_exits(j, v);
	json_obj_end(j);
}

static void write_head(struct json_out *j, const struct vm *vm, const char *why)
{
	int crashed = atomic_load(&vm->requests.crash_vcpu);
	char now[32];
	time_t t = time(NULL);
	struct tm tm;

	gmtime_r(&t, &tm);
	strftime(now, sizeof(now), "%Y-%m-%dT%H:%M:%SZ", &tm);
	json_u64(j, "polyvisor_crash", 1);
	json_str(j, "version", POLYVISOR_VERSION);
	json_str(j, "chip", arch_name());
	json_str(j, "time", now);
	json_str(j, "reason", why);
	if (crashed >= 0) {
		json_i64(j, "vcpu", crashed);
		write_exit_info(j, vm->vcpus[crashed].kvm.run);
	}
}

void vm_crash_report(struct vm *vm, const char *why, FILE *out)
{
	struct json_out j;

	if (!why)
		why = atomic_load(&vm->requests.crash_why);
	json_out_init(&j, out);
	json_obj(&j, NULL);
	write_head(&j, vm, why ? why : "unknown");
	write_memory_map(&j, vm);
	json_arr(&j, "vcpus");
	for (unsigned i = 0; i < vm->nvcpus; i++)
		write_vcpu(&j, vm, &vm->vcpus[i]);
	json_arr_end(&j);
	json_obj_end(&j);
	fputc('\n', out);
}
