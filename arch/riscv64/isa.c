/* SPDX-License-Identifier: Apache-2.0 */
/* Names of ISA extensions. KVM numbers them its own way (enum KVM_RISCV_ISA_EXT_ID); the numbers
 * are ABI and only ever grow, so the table may know more than the host's headers. */
#include "arch/riscv64/facts.h"

#include <stdio.h>
#include <string.h>
#include "vmm/base/num.h"

static const char *const names[] = {
	"a",
	"c",
	"d",
	"f",
	"h",
	"i",
	"m",
	"svpbmt",
	"sstc",
	"svinval",
	"zihintpause",
	"zicbom",
	"zicboz",
	"zbb",
	"ssaia",
	"v",
	"svnapot",
	"zba",
	"zbs",
	"zicntr",
	"zicsr",
	"zifencei",
	"zihpm",
	"smstateen",
	"zicond",
	"zbc",
	"zbkb",
	"zbkc",
	"zbkx",
	"zknd",
	"zkne",
	"zknh",
	"zkr",
	"zksed",
	"zksh",
	"zkt",
	"zvbb",
	"zvbc",
	"zvkb",
	"zvkg",
	"zvkned",
	"zvknha",
	"zvknhb",
	"zvksed",
	"zvksh",
	"zvkt",
	"zfh",
	"zfhmin",
	"zihintntl",
	"zvfh",
	"zvfhmin",
	"zfa",
	"ztso",
	"zacas",
	"sscofpmf",
	"zimop",
	"zca",
	"zcb",
	"zcd",
	"zcf",
	"zcmop",
	"zawrs",
	"smnpm",
	"ssnpm",
	"svade",
	"svadu",
	"svvptc",
	"zabha",
	"ziccrse",
	"zaamo",
	"zalrsc",
	"zicbop",
	"zfbfmin",
	"zvfbfmin",
	"zvfbfwma",
	"zclsd",
	"zilsd",
	"zalasr",
	"zicfilp",
	"zicfiss",
};

const char *isa_name(unsigned n)
{
	return n < ARRAY_SIZE(names) ? names[n] : NULL;
}

int isa_number(const char *name)
{
	for (unsigned n = 0; n < ARRAY_SIZE(names); n++)
		if (!strcmp(names[n], name))
			return (int)n;
	return -1;
}

void isa_string(const struct arch_facts *f, char *buf, unsigned cap)
{
	/* Single letters in their canonical order (RISC-V ISA manual, "Naming Conventions"). */
	static const char order[] = "imafdcvh";
	int len = snprintf(buf, cap, "rv64");

	for (unsigned i = 0; order[i]; i++) {
		char one[2] = {order[i], 0};

		if (isa_has(f, (unsigned)isa_number(one)) && len < (int)cap)
			len += snprintf(buf + len, cap - (unsigned)len, "%s", one);
	}
	for (unsigned n = 0; n < ARRAY_SIZE(names); n++)
		if (isa_has(f, n) && names[n][1] && len < (int)cap)
			len += snprintf(buf + len, cap - (unsigned)len, "_%s", names[n]);
}
