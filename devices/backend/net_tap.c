/* SPDX-License-Identifier: Apache-2.0 */
/* A tap device with vnet headers: a frame is one readv or writev, segmentation and checksums are
 * the host kernel's work. A tap of several queues has a descriptor for each, and spreads flows over
 * those that are attached (IFF_ATTACH_QUEUE). */
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

/* A tap never has EPOLLPRI, but the kernel's word that it was deleted comes as if it had data, and
 * does not reach who wants none of that. */
#define DELETED EPOLLPRI

static void listen_for(struct tap *t)
{
	ev_mod(&t->watch, DELETED | (t->want_read ? EPOLLIN : 0) | (t->want_write ? EPOLLOUT : 0));
}

/* The interface was deleted: nothing comes any more. */
static void end(struct tap *t)
{
	t->net.gone = true;
	ev_del(&t->watch);
}

static void ready(struct ev_fd *w, uint32_t events)
{
	struct tap *t = container_of(w, struct tap, watch);

	if (events & EPOLLERR && !(events & (EPOLLIN | EPOLLOUT))) {
		end(t);
		t->readable(t->arg);
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
	return n->gone ? 0 : ev_add(loop, &t->watch, DELETED | EPOLLIN);
}

static void tap_unbind(struct netdev *n)
{
	ev_del(&of_net(n)->watch);
}

static int failed(struct tap *t, int err)
{
	if (err == EBADFD) /* the descriptor has no interface any more */
		end(t);
	return -err;
}

static int tap_recv(struct netdev *n, const struct iovec *iov, unsigned niov)
{
	ssize_t r;

	do
		r = readv(of_net(n)->fd, iov, niov);
	while (r < 0 && errno == EINTR);
	return r < 0 ? failed(of_net(n), errno) : r;
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
	return failed(t, errno);
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

static int tap_enable(struct netdev *n, bool on)
{
	struct ifreq req = {.ifr_flags = on ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE};

	return ioctl(of_net(n)->fd, TUNSETQUEUE, &req) < 0 ? -errno : 0;
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
	.enable = tap_enable,
	.free = tap_free,
};

/* What to say of a tap that the kernel did not give. */
static int refused(int code, const char *tap, const char *name, unsigned n, const char *flag,
	const char *id, struct err *e)
{
	switch (code) {
	case -EPERM:
		return err_set(e, ERR_HOST, code,
			"%s %s: tap=%s: no permission; allowed: a tap made for you with "
			"`ip tuntap add %s mode tap user $USER%s`, the capability "
			"CAP_NET_ADMIN, or networking without either: passt",
			flag, id, tap, name ? name : "NAME", n > 1 ? " multi_queue" : "");
	case -EBUSY:
		return err_set(e, ERR_HOST, code,
			"%s %s: tap=%s is used by another process; allowed: a free one", flag, id,
			tap);
	case -EINVAL:
		return err_set(e, ERR_HOST, code,
			"%s %s: tap=%s is no tap%s; allowed: one made with `ip tuntap add %s mode "
			"tap%s`, or a new name",
			flag, id, tap, n > 1 ? " of several queues" : "", name ? name : "NAME",
			n > 1 ? " multi_queue" : "");
	default:
		return err_set(e, ERR_HOST, code,
			"%s %s: tap=%s: %s; allowed: the name of a tap, or of one to be made", flag,
			id, tap, strerrordesc_np(-code));
	}
}

/* One queue of the tap that *req names, whose name is filled in when it is empty. */
static int attach(const struct ifreq *req, struct ifreq *ret, int *ret_fd)
{
	cleanup_fd int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);

	*ret = *req;
	if (fd < 0 || ioctl(fd, TUNSETIFF, ret) < 0)
		return -errno;
	*ret_fd = steal_fd(&fd);
	return 0;
}

/* A tap that was made for several queues must be opened so for one, too. */
static int attach_first(struct ifreq *req, unsigned n, int *ret_fd)
{
	struct ifreq got;
	int r;

	if (n > 1)
		req->ifr_flags |= IFF_MULTI_QUEUE;
	r = attach(req, &got, ret_fd);
	if (r == -EINVAL && n == 1) {
		req->ifr_flags |= IFF_MULTI_QUEUE;
		r = attach(req, &got, ret_fd);
	}
	if (r == 0)
		strcpy(req->ifr_name, got.ifr_name);
	return r;
}

static int set_header(int fd, const char *flag, const char *id, struct err *e)
{
	int len = VNET_HDR_LEN;

	if (ioctl(fd, TUNSETVNETHDRSZ, &len) < 0)
		return err_set(e, ERR_HOST, -errno, "%s %s: TUNSETVNETHDRSZ: %s", flag, id,
			strerrordesc_np(errno));
	return 0;
}

static int open_named(
	const char *name, unsigned n, const char *flag, const char *id, int *ret_fds, struct err *e)
{
	struct ifreq req = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR}, got;
	int r = 0;

	if (name && (!*name || strlen(name) >= sizeof(req.ifr_name)))
		return err_set(e, ERR_USAGE, -EINVAL, "%s %s: tap=%s; allowed: 1 to %zu bytes",
			flag, id, name, sizeof(req.ifr_name) - 1);
	if (access("/dev/net/tun", R_OK | W_OK) < 0)
		return err_set(e, ERR_HOST, -errno,
			"%s %s: /dev/net/tun: %s; allowed: a host with the tun module, or "
			"networking without it: passt",
			flag, id, strerrordesc_np(errno));
	if (name)
		strcpy(req.ifr_name, name);
	for (unsigned i = 0; i < n && r == 0; i++) {
		r = i ? attach(&req, &got, &ret_fds[i]) : attach_first(&req, n, &ret_fds[i]);
		if (r < 0)
			r = refused(r, name ? name : "(new)", name, n, flag, id, e);
		else
			r = set_header(ret_fds[i], flag, id, e);
	}
	return r;
}

static void close_all(int *fds, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		cleanup_closep(&fds[i]);
}

int netdev_tap_fds(
	const char *name, unsigned n, const char *flag, const char *id, int *ret_fds, struct err *e)
{
	int fds[NETDEV_QUEUES], r;

	if (!n || n > NETDEV_QUEUES)
		return -EINVAL;
	memset(fds, 0xff, sizeof(fds));
	r = open_named(name, n, flag, id, fds, e);
	if (r < 0)
		close_all(fds, n);
	else
		memcpy(ret_fds, fds, n * sizeof(fds[0]));
	return r;
}

/* A tap that somebody else opened must have vnet headers: the frames would be misread. */
int netdev_tap_check(int fd, const char *flag, const char *id, struct err *e)
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
	if (fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	return set_header(fd, flag, id, e);
}

/* Several descriptors are queues of one tap. */
static int check_given(const int *fds, unsigned n, const char *flag, const char *id, struct err *e)
{
	struct ifreq first = {0}, req = {0};
	int r = 0;

	for (unsigned i = 0; i < n && r == 0; i++) {
		r = netdev_tap_check(fds[i], flag, id, e);
		if (r < 0 || ioctl(fds[i], TUNGETIFF, i ? &req : &first) < 0 || !i)
			continue;
		if (strcmp(req.ifr_name, first.ifr_name))
			r = err_set(e, ERR_HOST, -EINVAL,
				"%s %s: fd=%d is of %s, fd=%d of %s; allowed: queues of one tap",
				flag, id, fds[0], first.ifr_name, fds[i], req.ifr_name);
	}
	return r;
}

static int make(int fd, struct netdev **ret_netdev)
{
	struct tap *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->net = (struct netdev){&tap_ops, .vnet_hdr = true};
	t->fd = fd;
	*ret_netdev = &t->net;
	return 0;
}

int netdev_tap_open_queues(const char *name, const int *fds, unsigned n, const char *flag,
	const char *id, struct netdev **ret_netdevs, struct err *e)
{
	struct netdev *made[NETDEV_QUEUES] = {0};
	int own[NETDEV_QUEUES], r;

	r = fds ? check_given(fds, n, flag, id, e) : netdev_tap_fds(name, n, flag, id, own, e);
	if (r < 0)
		return r;
	for (unsigned i = 0; i < n && r == 0; i++)
		r = make(fds ? fds[i] : own[i], &made[i]);
	if (r == 0) {
		memcpy(ret_netdevs, made, n * sizeof(made[0]));
		return 0;
	}
	for (unsigned i = 0; i < n; i++)
		free(made[i]);
	if (!fds)
		close_all(own, n);
	return r;
}

int netdev_tap_open(const char *name, int fd, const char *flag, const char *id,
	struct netdev **ret_netdev, struct err *e)
{
	return netdev_tap_open_queues(name, fd < 0 ? NULL : &fd, 1, flag, id, ret_netdev, e);
}
