/* SPDX-License-Identifier: Apache-2.0 */
/* All that the portable VMM asks of the guest architecture. Exactly one is linked, behind plain
 * functions. The pure half knows no KVM and builds and is tested on any host; the KVM half applies
 * it. Adding an architecture means implementing this header and nothing else. */
#ifndef ARCH_ARCH_H
#define ARCH_ARCH_H

#include "arch/boot.h"
#include "arch/plan.h"
#include "devices/irq.h"
#include "vmm/base/err.h"
#include "vmm/base/log.h"
#include "vmm/base/mem.h"
#include "vmm/base/visit.h"

struct bus;
struct kvm;
struct kvm_vm;
struct kvm_vcpu;
struct ev_loop;

/* ---- pure half: arch/<a>/{plan,image,describe,state}.c ---- */

/* The chip's name as users spell it: "x86_64", "arm64", "riscv64". */
const char *arch_name(void);

/* Returns 0 or -EINVAL with e naming --memory or --cpus and what is allowed. */
int arch_plan(const struct vm_shape *shape, struct plan *ret, struct err *e);

/* Reads the kernel and initramfs into guest memory. fds are borrowed; initrd_fd -1 = none. e names
 * --kernel or --initramfs: truncated, of another chip, not a kernel, does not fit. -EINVAL,
 * -ENOEXEC or a read error. */
int arch_load(struct guest_mem *m, const struct plan *p, int kernel_fd, int initrd_fd,
	struct boot *ret, struct err *e);

/* Writes the FDT, or ACPI tables and boot parameters, and completes boot->arg. */
int arch_describe(struct guest_mem *m, const struct plan *p, const struct machine *machine,
	struct boot *boot, struct err *e);

/* All of a vCPU's state that a guest can see, as plain data; defined in arch/<a>/state.h. */
struct arch_vcpu_state;
size_t arch_vcpu_state_size(void);
int arch_vcpu_state_visit(struct arch_vcpu_state *s, struct visitor *v);
/* For crash reports: the program counter, and the disassembler's mode ("x86-64", "x86-32",
 * "x86-16", "arm64", "riscv64"). */
uint64_t arch_vcpu_state_pc(const struct arch_vcpu_state *s);
const char *arch_vcpu_state_mode(const struct arch_vcpu_state *s);

/* For ELF cores: the machine (EM_X86_64…), and the notes of vCPU `index` as Linux and QEMU write
 * them (NT_PRSTATUS, and what debuggers need to find a relocated kernel), appended to buf, each
 * padded to 4 bytes. Returns their length, at most ARCH_CORE_NOTES, or -ENOSPC. */
#define ARCH_CORE_NOTES 4096
unsigned arch_core_machine(void);
int arch_core_notes(const struct arch_vcpu_state *s, unsigned index, uint8_t *buf, size_t cap);

/* ---- KVM half: arch/<a>/{irqchip,cpu,exit}.c ---- */

struct arch_vm;
struct arch_vcpu;

/* The machine type for kvm_vm_new(): arm64's guest-physical address bits, else 0. */
unsigned long arch_vm_type(struct kvm *kvm);

/* What the host offers, before a plan exists: fills phys_bits and user_irqchip. */
int arch_probe(struct kvm *kvm, struct kvm_vm *vm, struct vm_shape *shape, struct err *e);

struct arch_vm_opts {
	const char *cpu_baseline; /* text of a baseline file, NULL = model=host. See docs */
	struct log *log;
	struct ev_loop *control;
	struct bus *mmio, *pio; /* a user-space irqchip puts its registers here */
	struct guest_mem *mem;	/* firmware calls that pass a buffer (SBI DBCN); NULL = none */
};

/* Creates the in-kernel irqchip (or its user-space model) and VM-wide settings; before any vCPU.
 * vm is borrowed and outlives the result. */
int arch_vm_new(struct kvm_vm *vm, const struct plan *p, const struct arch_vm_opts *o,
	struct arch_vm **ret, struct err *e);
/* After the last vCPU exists (vGIC, AIA), before guest memory matters to it. */
int arch_vm_seal(struct arch_vm *a, struct err *e);
struct irq_domain *arch_vm_irqs(struct arch_vm *a);
const struct arch_facts *arch_vm_facts(struct arch_vm *a); /* after seal */
void arch_vm_free(struct arch_vm *a);
/* Counters for people: refused or unknown MSRs and the like, as name/value pairs. */
unsigned arch_vm_counters(
	struct arch_vm *a, const char **ret_names, uint64_t *ret_values, unsigned max);

/* index is 0..max_vcpus-1. Control thread; all are created before seal. vcpu is borrowed. */
int arch_vcpu_new(struct arch_vm *a, struct kvm_vcpu *vcpu, unsigned index, struct arch_vcpu **ret,
	struct err *e);
void arch_vcpu_free(struct arch_vcpu *c);
/* Initial registers: vCPU 0 starts at boot->entry, the others wait to be started by the guest. */
int arch_vcpu_boot(struct arch_vcpu *c, const struct boot *boot, struct err *e);

enum exit_action {
	EXIT_AGAIN,    /* handled, run on */
	EXIT_POWEROFF, /* the guest switched itself off */
	EXIT_RESET, /* the guest asked for a reboot (x86 triple fault included where that is one) */
	EXIT_CRASH, /* cannot be served: write a crash report; *ret_why says why, static text */
};
/* vCPU thread: every exit other than MMIO, port I/O and EINTR, which the portable loop serves. */
enum exit_action arch_vcpu_exit(struct arch_vcpu *c, const char **ret_why);

/* Parked vCPU. get fills *s from KVM; set applies it in the architecture's own order. */
int arch_vcpu_get(struct arch_vcpu *c, struct arch_vcpu_state *ret);
int arch_vcpu_set(struct arch_vcpu *c, const struct arch_vcpu_state *s);
/* Injects a non-maskable interrupt, or what the chip has in its place. Parked vCPU. -EOPNOTSUPP:
 * this chip, or this KVM, has none.
 * x86_64: an edge on LINT1; a vCPU whose local APIC has masked that pin ignores it. arm64: a
 * virtual SError, at which Linux panics. riscv64: none. */
int arch_vcpu_nmi(struct arch_vcpu *c);
/* Tells the guest that it stood still for a while, so that its watchdogs stay calm. Parked vCPU.
 * Nothing where chip and guest have no such word between them. */
void arch_vcpu_stood_still(struct arch_vcpu *c);
/* Guest-virtual to guest-physical with the vCPU's present tables; 0 or -EFAULT. For reports. */
int arch_vcpu_translate(struct arch_vcpu *c, const struct guest_mem *m,
	const struct arch_vcpu_state *s, uint64_t gva, uint64_t *ret_gpa);

/* A few instructions to run for the verdict on /dev/kvm: code that stores `value` (32 bit) at
 * guest-physical `mmio` and then, having run instructions that Linux needs and that a KVM without
 * hardware help is known to lack, stores `value + 1` there; then it loops. Returns its length; the
 * vCPU starts at `at`, with the same start conditions as Linux, so that "runs this" means
 * something. */
size_t arch_probe_code(uint64_t at, uint64_t mmio, uint32_t value, uint8_t *ret_code, size_t cap);
int arch_probe_boot(struct arch_vcpu *c, uint64_t at, struct err *e);

#endif
