/* SPDX-License-Identifier: Apache-2.0 */
/* A queue of bytes, in one piece. An empty one holds no memory: most streams wait most of the
 * time. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "cloud/link/internal.h"

int link_buf_add(struct link_buf *b, const void *p, size_t n)
{
	size_t cap = b->cap ? b->cap : 256;
	char *grown;

	if (n == 0)
		return 0;
	if (b->off && b->off + b->len + n > b->cap) {
		memmove(b->p, b->p + b->off, b->len);
		b->off = 0;
	}
	while (cap < b->len + n)
		cap *= 2;
	if (cap != b->cap) {
		grown = realloc(b->p, cap);
		if (!grown)
			return -ENOMEM;
		b->p = grown;
		b->cap = cap;
	}
	memcpy(b->p + b->off + b->len, p, n);
	b->len += n;
	return 0;
}

void link_buf_drop(struct link_buf *b, size_t n)
{
	b->off += n;
	b->len -= n;
	if (b->len == 0)
		link_buf_fini(b);
}

void link_buf_fini(struct link_buf *b)
{
	free(b->p);
	*b = (struct link_buf){0};
}
