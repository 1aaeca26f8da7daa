/* SPDX-License-Identifier: Apache-2.0 */
/* KVM's own floor, to hold polyvisor against: the least a program can do to run a guest. It creates
 * a VM with an in-kernel irqchip, 128 MiB and one vCPU with CPUID, runs two instructions in real
 * mode and ends. With a count it lets the guest leave by port I/O, or by MMIO, that many times
 * first and prints the cost of one exit. Nothing is checked that cannot fail on a working host.
 *
 * usage: kvm-floor [pio|mmio COUNT] */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define RAM  (128u << 20)
#define CODE 0x1000
#define PORT 0x10
#define MMIO 0xd0000 /* reachable from real mode through a segment, and no RAM is mapped there */

/* mov al, 0; out PORT, al; hlt: the second instruction leaves. */
static const uint8_t end_code[] = {0xb0, 0x00, 0xe6, PORT, 0xf4};
/* again: out PORT, al; jmp again */
static const uint8_t pio_code[] = {0xe6, PORT, 0xeb, 0xfc};
/* again: mov [di], al; jmp again, with es:di.. ds = 0xd000, di = 0 */
static const uint8_t mmio_code[] = {0x88, 0x05, 0xeb, 0xfc};

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void set_cpuid(int kvm, int vcpu)
{
	struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + 128 * sizeof(c->entries[0]));

	c->nent = 128;
	if (ioctl(kvm, KVM_GET_SUPPORTED_CPUID, c) < 0 || ioctl(vcpu, KVM_SET_CPUID2, c) < 0)
		die("CPUID");
	free(c);
}

static void set_regs(int vcpu, const char *kind)
{
	struct kvm_sregs s;
	struct kvm_regs r = {.rip = CODE, .rflags = 2};

	if (ioctl(vcpu, KVM_GET_SREGS, &s) < 0)
		die("KVM_GET_SREGS");
	s.cs.base = 0;
	s.cs.selector = 0;
	if (!strcmp(kind, "mmio")) {
		s.ds.base = MMIO;
		s.ds.selector = MMIO >> 4;
	}
	if (ioctl(vcpu, KVM_SET_SREGS, &s) < 0 || ioctl(vcpu, KVM_SET_REGS, &r) < 0)
		die("KVM_SET_REGS");
}

static int make_vm(int kvm, const void *code, size_t len)
{
	struct kvm_pit_config pit = {0};
	uint64_t identity = 0xfffbc000;
	int vm = ioctl(kvm, KVM_CREATE_VM, 0);
	uint8_t *ram = mmap(NULL, RAM, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	/* Two slots around the absent page range that the MMIO code stores to. */
	struct kvm_userspace_memory_region low = {
		.slot = 0, .memory_size = MMIO, .userspace_addr = (uintptr_t)ram};
	struct kvm_userspace_memory_region high = {.slot = 1,
		.guest_phys_addr = 1u << 20,
		.memory_size = RAM - (1u << 20),
		.userspace_addr = (uintptr_t)ram + (1u << 20)};

	if (vm < 0 || ram == MAP_FAILED)
		die("KVM_CREATE_VM");
	memcpy(ram + CODE, code, len);
	if (ioctl(vm, KVM_SET_TSS_ADDR, 0xfffbd000) < 0 ||
		ioctl(vm, KVM_SET_IDENTITY_MAP_ADDR, &identity) < 0 ||
		ioctl(vm, KVM_CREATE_IRQCHIP, 0) < 0 || ioctl(vm, KVM_CREATE_PIT2, &pit) < 0 ||
		ioctl(vm, KVM_SET_USER_MEMORY_REGION, &low) < 0 ||
		ioctl(vm, KVM_SET_USER_MEMORY_REGION, &high) < 0)
		die("VM set-up");
	return vm;
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

int main(int argc, char **argv)
{
	const char *kind = argc == 3 ? argv[1] : "end";
	uint64_t count = argc == 3 ? strtoull(argv[2], NULL, 0) : 1;
	const uint8_t *code = !strcmp(kind, "pio")    ? pio_code
			      : !strcmp(kind, "mmio") ? mmio_code
						      : end_code;
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (kvm < 0)
		die("/dev/kvm");
	int vm = make_vm(kvm, code, sizeof(end_code) - 1);
	int vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	int size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	struct kvm_run *run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	if (vcpu < 0 || run == MAP_FAILED)
		die("KVM_CREATE_VCPU");
	set_cpuid(kvm, vcpu);
	set_regs(vcpu, kind);

	uint64_t start = now_ns();
	for (uint64_t i = 0; i < count; i++)
		if (ioctl(vcpu, KVM_RUN, 0) < 0)
			die("KVM_RUN");
	if (argc == 3)
		printf("%s %.1f ns\n", kind, (double)(now_ns() - start) / (double)count);
	if (run->exit_reason != KVM_EXIT_IO && run->exit_reason != KVM_EXIT_MMIO) {
		fprintf(stderr, "kvm-floor: unexpected exit %u\n", run->exit_reason);
		return 1;
	}
	return 0;
}
