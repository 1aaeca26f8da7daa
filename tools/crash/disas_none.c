/* SPDX-License-Identifier: Apache-2.0 */
/* Built without capstone: raw words it is. */
#include "tools/crash/disas.h"

#include <errno.h>

int disas_new(const char *mode, struct disas **ret_disas)
{
	return -EOPNOTSUPP;
}

void disas_free(struct disas *d)
{
}

unsigned disas_one(
	struct disas *d, const uint8_t *bytes, size_t n, uint64_t addr, char *text, size_t cap)
{
	return 0;
}
