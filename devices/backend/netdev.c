/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/backend/netdev.h"

int netdev_send_many(struct netdev *n, const struct iovec *frames, unsigned count)
{
	unsigned i;
	int r = 0;

	if (n->ops->send_many)
		return n->ops->send_many(n, frames, count);
	for (i = 0; i < count && r == 0; i++)
		r = n->ops->send(n, &frames[i], 1);
	if (r == 0)
		return count;
	return i > 1 ? (int)i - 1 : r; /* the failed one is met again */
}
