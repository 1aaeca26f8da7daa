/* SPDX-License-Identifier: Apache-2.0 */
/* A network that is not there. A frame is copied out of guest memory into one buffer, since whoever
 * switches or sends it must have it out of the driver's reach. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "devices/backend/netdev.h"
#include "vmm/base/num.h"

struct null {
	struct netdev net; /* first */
	size_t at;
	/* A ring of frames rather than one place, as a queue of them would be. */
	uint8_t buf[64 * 2048 + 65536];
};

static int null_bind(struct netdev *n, struct ev_loop *loop, void (*readable)(void *arg),
	void (*writable)(void *arg), void *arg)
{
	return 0;
}

static void null_unbind(struct netdev *n)
{
}

static int null_recv(struct netdev *n, const struct iovec *iov, unsigned niov)
{
	return -EAGAIN;
}

static int null_send(struct netdev *n, const struct iovec *iov, unsigned niov)
{
	struct null *s = (struct null *)n;
	size_t at = s->at;

	for (unsigned i = 0; i < niov; i++) {
		size_t len = MIN(iov[i].iov_len, sizeof(s->buf) - at);

		memcpy(s->buf + at, iov[i].iov_base, len);
		at += len;
	}
	s->at = (s->at + 2048) % (64 * 2048);
	return 0;
}

static int null_set_offload(struct netdev *n, unsigned tun_flags)
{
	return 0;
}

static void null_want_read(struct netdev *n, bool on)
{
}

static void null_free(struct netdev *n)
{
	free(n);
}

static const struct netdev_ops null_ops = {
	.name = "null",
	.bind = null_bind,
	.unbind = null_unbind,
	.recv = null_recv,
	.send = null_send,
	.set_offload = null_set_offload,
	.want_read = null_want_read,
	.free = null_free,
};

int netdev_null_new(struct netdev **ret_netdev)
{
	struct null *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->net.ops = &null_ops;
	*ret_netdev = &s->net;
	return 0;
}
