/* SPDX-License-Identifier: Apache-2.0 */
/* A tap device with vnet headers: a frame is one readv or writev, segmentation and checksums are
 * the host kernel's work. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include "devices/backend/netdev.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/list.h"

#define VNET_HDR_LEN 12

struct tap {
	struct netdev net; /* first */
	int fd;
	struct ev_fd watch;
	bool want_read, want_write;
	void (*readable)(void *arg);
	void (*writable)(void *arg);
	void *arg;
};

static struct tap *of_net(struct netdev *n)
{
	return (struct tap *)n;
}

static void listen_for(struct tap *t)
{
	ev_mod(&t->watch, (t->want_read ? EPOLLIN : 0) | (t->want_write ? EPOLLOUT : 0));
}

static void ready(struct ev_fd *w, uint32_t events)
{
	struct tap *t = container_of(w, struct tap, watch);

	if (events & EPOLLERR && !(events & (EPOLLIN | EPOLLOUT))) {
		ev_del(w); /* the interface was deleted: nothing comes any more */
		return;
	}
	if (events & EPOLLOUT && t->want_write) {
		t->want_write = false;
		listen_for(t);
		t->writable(t->arg);
	}
	if (events & EPOLLIN && t->watch.loop)
		t->readable(t->arg);
}

static int tap_bind(struct netdev *n, struct ev_loop *loop, void (*readable)(void *arg),
	void (*writable)(void *arg), void *arg)
{
	struct tap *t = of_net(n);

	t->readable = readable;
	t->writable = writable;
	t->arg = arg;
	t->want_read = true;
	t->want_write = false;
	t->watch = (struct ev_fd){.fd = t->fd, .ready = ready};
	return ev_add(loop, &t->watch, EPOLLIN);
}

static void tap_unbind(struct netdev *n)
{
	ev_del(&of_net(n)->watch);
}

static int tap_recv(struct netdev *n, const struct iovec *iov, unsigned niov)
{
	ssize_t r;

	do
		r = readv(of_net(n)->fd, iov, niov);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : r;
}

static int tap_send(struct netdev *n, const struct iovec *iov, unsigned niov)
{
	struct tap *t = of_net(n);
	ssize_t r;

	do
		r = writev(t->fd, iov, niov);
	while (r < 0 && errno == EINTR);
	if (r >= 0)
		return 0;
	if (errno == EAGAIN) {
		t->want_write = true;
		listen_for(t);
		return -EAGAIN;
	}
	return -errno;
}

static int tap_set_offload(struct netdev *n, unsigned tun_flags)
{
	return ioctl(of_net(n)->fd, TUNSETOFFLOAD, tun_flags) < 0 ? -errno : 0;
}

static void tap_want_read(struct netdev *n, bool on)
{
	of_net(n)->want_read = on;
	listen_for(of_net(n));
}

static void tap_free(struct netdev *n)
{
	close(of_net(n)->fd);
	free(n);
}

static const struct netdev_ops tap_ops = {
	.name = "tap",
	.bind = tap_bind,
	.unbind = tap_unbind,
	.recv = tap_recv,
	.send = tap_send,
	.set_offload = tap_set_offload,
	.want_read = tap_want_read,
	.free = tap_free,
};

static int open_named(
	const char *name, const char *flag, const char *id, int *ret_fd, struct err *e)
{
	struct ifreq req = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	cleanup_fd int fd = -1;

	if (name && (!*name || strlen(name) >= sizeof(req.ifr_name)))
		return err_set(e, ERR_USAGE, -EINVAL, "%s %s: tap=%s; allowed: 1 to %zu bytes",
			flag, id, name, sizeof(req.ifr_name) - 1);
	fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return err_set(e, ERR_HOST, -errno,
			"%s %s: /dev/net/tun: %s; allowed: a host with the tun module, or "
			"networking without it: passt",
			flag, id, strerrordesc_np(errno));
	if (name)
		strcpy(req.ifr_name, name);
	if (ioctl(fd, TUNSETIFF, &req) < 0) {
		int code = -errno;
		const char *tap = name ? name : "(new)";

		if (code == -EPERM)
			return err_set(e, ERR_HOST, code,
				"%s %s: tap=%s: no permission; allowed: a tap made for you with "
				"`ip tuntap add %s mode tap user $USER`, the capability "
				"CAP_NET_ADMIN, or networking without either: passt",
				flag, id, tap, name ? name : "NAME");
		if (code == -EBUSY)
			return err_set(e, ERR_HOST, code,
				"%s %s: tap=%s is used by another process; allowed: a free one",
				flag, id, tap);
		return err_set(e, ERR_HOST, code,
			"%s %s: tap=%s: %s; allowed: the name of a tap, or of one to be made", flag,
			id, tap, strerrordesc_np(-code));
	}
	*ret_fd = steal_fd(&fd);
	return 0;
}

/* A tap that somebody else opened must have vnet headers: the frames would be misread. */
static int check_given(int fd, const char *flag, const char *id, struct err *e)
{
	struct ifreq req = {0};
	int flags = fcntl(fd, F_GETFL);

	if (ioctl(fd, TUNGETIFF, &req) < 0)
		return err_set(e, ERR_HOST, -errno, "%s %s: fd=%d is not a tap; allowed: one", flag,
			id, fd);
	if (!(req.ifr_flags & IFF_TAP) || !(req.ifr_flags & IFF_VNET_HDR))
		return err_set(e, ERR_HOST, -EINVAL,
			"%s %s: fd=%d is no tap with vnet headers; allowed: one opened with "
			"IFF_TAP|IFF_NO_PI|IFF_VNET_HDR",
			flag, id, fd);
	return fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;
}

int netdev_tap_open(const char *name, int fd, const char *flag, const char *id,
	struct netdev **ret_netdev, struct err *e)
{
	cleanup_fd int own = -1;
	int len = VNET_HDR_LEN;
	struct tap *t;
	int r = fd >= 0 ? check_given(fd, flag, id, e) : open_named(name, flag, id, &own, e);

	if (r < 0)
		return r;
	if (ioctl(fd >= 0 ? fd : own, TUNSETVNETHDRSZ, &len) < 0)
		return err_set(e, ERR_HOST, -errno, "%s %s: TUNSETVNETHDRSZ: %s", flag, id,
			strerrordesc_np(errno));
	t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->net = (struct netdev){&tap_ops, .vnet_hdr = true};
	t->fd = fd >= 0 ? fd : steal_fd(&own);
	*ret_netdev = &t->net;
	return 0;
}
