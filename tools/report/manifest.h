/* SPDX-License-Identifier: Apache-2.0 */
/* guest-tests/cases.txt: which guest-tests there are and what each needs. Its format is documented
 * at its top. */
#ifndef REPORT_MANIFEST_H
#define REPORT_MANIFEST_H

#include <stdbool.h>
#include <stddef.h>
#include "vmm/base/err.h"

#define MANIFEST_CASES 128

enum need { NEED_BLK = 1, NEED_NET = 2, NEED_RNG = 4, NEED_CONSOLE = 8, NEED_VSOCK = 16 };

struct test_case {
	char image[48];	   /* file name, also the name the guest says */
	char transport[8]; /* "pci", "mmio" or "" */
	char name[64];	   /* "virtio-blk/mmio": what tells the run from others */
	unsigned cpus;
	unsigned needs; /* enum need */
	int expect;	/* the VMM's exit status when it passes */
	unsigned timeout_s;
};

struct manifest {
	struct test_case test[MANIFEST_CASES];
	unsigned n;
};

/* Parses text, which is cut up. Returns 0 or -EINVAL with e naming the line. */
int manifest_parse(char *text, struct manifest *ret, struct err *e);

#endif
