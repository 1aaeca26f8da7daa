/* SPDX-License-Identifier: Apache-2.0 */
/* What loading leaves behind for the first vCPU, and what the firmware tables are made from. */
#ifndef ARCH_BOOT_H
#define ARCH_BOOT_H

#include <stdint.h>
#include "arch/plan.h"
#include "devices/desc.h"

enum boot_proto {
	BOOT_LINUX64, /* x86_64 bzImage, 64-bit entry; arg = boot_params */
	BOOT_PVH,     /* x86_64 ELF with a PVH note, 32-bit entry; arg = hvm_start_info */
	BOOT_IMAGE,   /* arm64 and riscv64 Image; arg = FDT */
};

struct boot {
	enum boot_proto proto;
	uint64_t entry;	     /* guest-physical */
	uint64_t arg;	     /* set by arch_describe */
	uint64_t kernel_end; /* first byte past the kernel with its bss */
	uint64_t initrd, initrd_size;
	uint64_t setup_header; /* x86_64 bzImage: file offset facts kept by arch_load, else 0 */
	uint8_t setup[1024];   /* x86_64 bzImage: the setup header as loaded */
	uint32_t setup_len;
};

/* Facts only the KVM half knows and the tables need (riscv64's ISA string, arm64's PMU…); each arch
 * defines it in arch/<a>/facts.h. */
struct arch_facts;

/* The machine as the firmware tables should tell it. Borrowed for the call. */
struct machine {
	const struct dev_desc *dev;
	unsigned ndev;
	unsigned vcpus;
	const char *cmdline;
	const struct arch_facts *facts;
	uint8_t rng_seed[32];
};

#endif
