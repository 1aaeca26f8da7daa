/* SPDX-License-Identifier: Apache-2.0 */
/* See the header. */
#include "arch/common/core.h"

#include <errno.h>
#include <string.h>
#include "vmm/base/num.h"

int core_note(
	uint8_t *buf, size_t cap, const char *name, uint32_t type, const void *desc, size_t len)
{
	size_t name_len = strlen(name) + 1, at = 12 + align_up(name_len, 4);
	size_t whole = at + align_up(len, 4);

	if (whole > cap)
		return -ENOSPC;
	memset(buf, 0, whole);
	store_le(buf, 4, name_len);
	store_le(buf + 4, 4, len);
	store_le(buf + 8, 4, type);
	memcpy(buf + 12, name, name_len);
	memcpy(buf + at, desc, len);
	return (int)whole;
}
