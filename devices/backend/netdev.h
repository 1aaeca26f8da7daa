/* SPDX-License-Identifier: Apache-2.0 */
/* What a network device talks to. Frames carry a virtio_net_hdr of 12 bytes (virtio 1.2 §5.1.6)
 * when the back-end has vnet headers; otherwise the device strips and zero-fills it. */
#ifndef DEVICES_BACKEND_NETDEV_H
#define DEVICES_BACKEND_NETDEV_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>
#include "vmm/base/err.h"
#include "vmm/base/ev.h"

#define NETDEV_QUEUES 8 /* of one tap, at most */

struct netdev;

struct netdev_ops {
	const char *name;
	/* readable() is called on loop when a frame may be waiting or the back-end is `gone`,
	 * writable() when a send that returned -EAGAIN may be tried again. Who stops receiving
	 * before -EAGAIN comes back by itself: frames may be waiting where the loop does not see
	 * them. */
	int (*bind)(struct netdev *n, struct ev_loop *loop, void (*readable)(void *arg),
		void (*writable)(void *arg), void *arg);
	void (*unbind)(struct netdev *n);
	/* One frame. Returns bytes received, -EAGAIN when there is none (readable() will tell), or
	 * a negative errno. A frame longer than iov is cut. */
	int (*recv)(struct netdev *n, const struct iovec *iov, unsigned niov);
	int (*send)(
		struct netdev *n, const struct iovec *iov, unsigned niov); /* 0, -EAGAIN, errno */
	/* count frames of one buffer each. How many were taken, from the first on, if any; else as
	 * send() for the first. NULL: by send(). */
	int (*send_many)(struct netdev *n, const struct iovec *frames, unsigned count);
	/* Tells the host side which offloads the guest accepts (TUN_F_*). */
	int (*set_offload)(struct netdev *n, unsigned tun_flags);
	/* Stops and starts listening for readable(): no receive buffers, no wake-ups. */
	void (*want_read)(struct netdev *n, bool on);
	/* Whether the host side gives frames to this queue, one of several; on at first. 0 or a
	 * negative errno. NULL: always on. Whoever else works on n must not run. */
	int (*enable)(struct netdev *n, bool on);
	void (*free)(struct netdev *n);
};

struct netdev {
	const struct netdev_ops *ops;
	bool vnet_hdr; /* offloads (checksum, TSO) are possible */
	/* The host side has vanished: nothing comes, what is sent is lost. Set on the worker,
	 * before readable() is called or a send or recv fails. */
	_Atomic bool gone;
};

/* An existing tap by name or fd (taken), else a new one of that name (removed with the process when
 * not persistent). NULL name and fd -1: the kernel picks the name. -EPERM's message names the cure.
 */
int netdev_tap_open(const char *name, int fd, const char *flag, const char *id,
	struct netdev **ret_netdev, struct err *e);
/* n queues of one tap (IFF_MULTI_QUEUE when there are several): by name as above, or from fds,
 * which are taken on success, or NULL. The host spreads flows over those that are enabled. */
int netdev_tap_open_queues(const char *name, const int *fds, unsigned n, const char *flag,
	const char *id, struct netdev **ret_netdevs, struct err *e);
/* The same as bare descriptors, non-blocking, with headers of 12 bytes: for vhost-net. The second
 * judges, and sets up so, one that somebody else has opened (fd stays the caller's). */
int netdev_tap_fds(const char *name, unsigned n, const char *flag, const char *id, int *ret_fds,
	struct err *e);
int netdev_tap_check(int fd, const char *flag, const char *id, struct err *e);
/* A sink, to measure what everything around a back-end costs: frames are copied out of the guest as
 * a switch would, and thrown away; none ever comes. */
int netdev_null_new(struct netdev **ret_netdev);
/* Frames over a connected stream socket, each with a 4-byte big-endian length (QEMU's -netdev
 * stream; what passt speaks). Takes fd on success. */
int netdev_stream_new(int fd, struct netdev **ret_netdev);
/* Starts `passt --fd`, unprivileged user-mode networking, as a child that dies with us; the pid is
 * kept by the caller, who reaps it. extra: more arguments ("-t 2222:22"), split at spaces, or NULL.
 */
int netdev_passt_spawn(const char *extra, int *ret_fd, int *ret_pid, struct err *e);

/* As ops->send_many. */
int netdev_send_many(struct netdev *n, const struct iovec *frames, unsigned count);

static inline void netdev_free(struct netdev *n)
{
	if (n)
		n->ops->free(n);
}

#endif
