/* SPDX-License-Identifier: Apache-2.0 */
/* capstone 4 knows x86 and arm64, capstone 5 also riscv64: the build asks which it is. */
#include "tools/crash/disas.h"

#include <capstone/capstone.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "vmm/base/num.h"

struct disas {
	csh handle;
};

static const struct {
	const char *name;
	cs_arch arch;
	cs_mode mode;
} modes[] = {
	{"x86-64", CS_ARCH_X86, CS_MODE_64},
	{"x86-32", CS_ARCH_X86, CS_MODE_32},
	{"x86-16", CS_ARCH_X86, CS_MODE_16},
	{"arm64", CS_ARCH_ARM64, CS_MODE_ARM},
#if HAVE_CAPSTONE_RISCV
	{"riscv64", CS_ARCH_RISCV, CS_MODE_RISCV64 | CS_MODE_RISCVC},
#endif
};

int disas_new(const char *mode, struct disas **ret_disas)
{
	struct disas *d;

	for (unsigned i = 0; i < ARRAY_SIZE(modes); i++) {
		if (strcmp(modes[i].name, mode) != 0)
			continue;
		d = calloc(1, sizeof(*d));
		if (!d)
			return -ENOMEM;
		/* A library may be built without a chip that its header names. */
		if (cs_open(modes[i].arch, modes[i].mode, &d->handle) != CS_ERR_OK) {
			free(d);
			return -EOPNOTSUPP;
		}
		*ret_disas = d;
		return 0;
	}
	return -EOPNOTSUPP;
}

void disas_free(struct disas *d)
{
	if (d)
		cs_close(&d->handle);
	free(d);
}

unsigned disas_one(
	struct disas *d, const uint8_t *bytes, size_t n, uint64_t addr, char *text, size_t cap)
{
	cs_insn *insn;
	unsigned len;

	if (cs_disasm(d->handle, bytes, n, addr, 1, &insn) != 1)
		return 0;
	len = insn->size;
	snprintf(text, cap, "%s%s%s", insn->mnemonic, *insn->op_str ? " " : "", insn->op_str);
	cs_free(insn, 1);
	return len;
}
