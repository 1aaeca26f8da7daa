/* SPDX-License-Identifier: Apache-2.0 */
/* A network that is not there. A frame is copied out of guest memory into one buffer, since whoever
 * switches or sends it must have it out of the driver's reach. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "devices/backend/netdev.h"
#include "vmm/base/num.h"

#define SLOT	  2048
#define SLOTS	  64
#define FRAME_MAX 65562 /* with its header */

struct null {
	struct netdev net; /* first */
	size_t at;
	/* A ring of frames rather than one place, as a queue of them would be. */
	uint8_t buf[SLOTS * SLOT + FRAME_MAX];
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

static size_t copy_out(struct null *s, size_t at, const struct iovec *v)
{
	size_t len = MIN(v->iov_len, sizeof(s->buf) - at);

	memcpy(s->buf + at, v->iov_base, len);
	return at + len;
}

static void next_frame(struct null *s)
{
	s->at = s->at == (SLOTS - 1) * SLOT ? 0 : s->at + SLOT;
}

static int null_send(struct netdev *n, const struct iovec *iov, unsigned niov)
{
	struct null *s = (struct null *)n;
	size_t at = s->at;

	for (unsigned i = 0; i < niov; i++)
		at = copy_out(s, at, &iov[i]);
	next_frame(s);
	return 0;
}

static int null_send_many(struct netdev *n, const struct iovec *frames, unsigned count)
{
	struct null *s = (struct null *)n;

	for (unsigned i = 0; i < count; i++) {
		copy_out(s, s->at, &frames[i]);
		next_frame(s);
	}
	return count;
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
	.send_many = null_send_many,
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
