/* SPDX-License-Identifier: Apache-2.0 */
/* Binary search over a sorted array, after a look at the region that the same vCPU hit last: a
 * driver that talks to one device pays two comparisons. */
#include "devices/bus.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

/* Index of the first region that ends after addr, or b->n. */
static unsigned first_after(const struct bus *b, uint64_t addr)
{
	unsigned lo = 0, hi = b->n;

	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;
		const struct io_region *r = b->region[mid];

		if (r->base + (r->size - 1) < addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

int bus_add(struct bus *b, struct io_region *r)
{
	uint64_t last;
	unsigned at;

	if (r->size == 0 || __builtin_add_overflow(r->base, r->size - 1, &last))
		return -EINVAL;
	at = first_after(b, r->base);
	if (at < b->n && b->region[at]->base <= last)
		return -EEXIST;
	if (b->n == BUS_REGIONS)
		return -ENOSPC;
	memmove(&b->region[at + 1], &b->region[at], (b->n - at) * sizeof(b->region[0]));
	b->region[at] = r;
	b->n++;
	return 0;
}

void bus_del(struct bus *b, struct io_region *r)
{
	for (unsigned i = 0; i < b->n; i++) {
		if (b->region[i] != r)
			continue;
		b->n--;
		memmove(&b->region[i], &b->region[i + 1], (b->n - i) * sizeof(b->region[0]));
		return;
	}
}

static bool holds(const struct io_region *r, uint64_t addr, unsigned size)
{
	uint64_t off = addr - r->base; /* wraps to something large when below */

	return off < r->size && size <= r->size - off;
}

struct io_region *bus_find(const struct bus *b, uint64_t addr, unsigned size, unsigned *hint)
{
	unsigned at = *hint;

	if (at >= b->n || !holds(b->region[at], addr, size))
		at = first_after(b, addr);
	if (at >= b->n || !holds(b->region[at], addr, size))
		return NULL;
	*hint = at;
	return b->region[at];
}

static uint64_t size_mask(unsigned size)
{
	return size >= 8 ? UINT64_MAX : (1ULL << 8 * size) - 1;
}

bool bus_read(
	const struct bus *b, uint64_t addr, unsigned size, uint64_t *ret_value, unsigned *hint)
{
	struct io_region *r = bus_find(b, addr, size, hint);

	*ret_value = size_mask(size);
	if (!r)
		return false;
	if (r->lock)
		pthread_mutex_lock(r->lock);
	*ret_value &= r->ops->read(r->dev, addr - r->base, size);
	if (r->lock)
		pthread_mutex_unlock(r->lock);
	return true;
}

bool bus_write(const struct bus *b, uint64_t addr, unsigned size, uint64_t value, unsigned *hint)
{
	struct io_region *r = bus_find(b, addr, size, hint);

	if (!r)
		return false;
	if (r->lock)
		pthread_mutex_lock(r->lock);
	r->ops->write(r->dev, addr - r->base, size, value & size_mask(size));
	if (r->lock)
		pthread_mutex_unlock(r->lock);
	return true;
}
