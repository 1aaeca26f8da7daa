/* SPDX-License-Identifier: Apache-2.0 */
/* See host.h. Opening goes in the order in which a user would look for the mistake: the kernel,
 * then disks, networks, consoles, and /dev/kvm first of all, since nothing works without it. */
#include "vmm/host.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include "offload/vdpa.h"
#include "offload/vhost_kernel.h"
#include "offload/vu_proxy.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/fd_arg.h"
#include "vmm/base/num.h"

static int open_path(const char *flag, const char *path, int *ret_fd, struct err *e)
{
	int fd = fd_arg(flag, path, O_RDONLY, e);

	if (fd == -ENOENT)
		fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	else if (fd < 0)
		return fd;
	if (fd < 0)
		return err_set(
			e, ERR_HOST, -errno, "%s %s: %s", flag, path, strerrordesc_np(errno));
	*ret_fd = fd;
	return 0;
}

static int open_file(const char *flag, const char *path, int *ret_fd, struct err *e)
{
	cleanup_fd int fd = -1;
	struct stat st;
	int r = open_path(flag, path, &fd, e);

	if (r < 0)
		return r;
	if (fstat(fd, &st) < 0)
		return err_set(
			e, ERR_HOST, -errno, "%s %s: %s", flag, path, strerrordesc_np(errno));
	if (!S_ISREG(st.st_mode))
		return err_set(e, ERR_HOST, -EINVAL, "%s %s: not a regular file", flag, path);
	if (st.st_size == 0)
		return err_set(e, ERR_HOST, -EINVAL, "%s %s: the file is empty", flag, path);
	*ret_fd = steal_fd(&fd);
	return 0;
}

#define BASELINE_MAX (64 * KIB)

static int read_baseline(const char *path, char **ret_text, struct err *e)
{
	cleanup_fd int fd = -1;
	cleanup_free char *text = malloc(BASELINE_MAX + 1);
	char flag[] = "--cpus model=baseline:";
	int r = open_file(flag, path, &fd, e);

	if (r < 0)
		return r;
	if (!text)
		return -ENOMEM;
	ssize_t n = read(fd, text, BASELINE_MAX + 1);
	if (n < 0 || n > (ssize_t)BASELINE_MAX)
		return err_set(
			e, ERR_HOST, -EINVAL, "%s %s: longer than 64K, or unreadable", flag, path);
	text[n] = '\0';
	*ret_text = steal_ptr(&text);
	return 0;
}

/* fd, or -1 for none. */
static int own_fd(const char *flag, const char *id, int fd, struct err *e)
{
	return fd < 0 ? -1 : fd_duplicate(flag, id, fd, e);
}

void host_disk_front(const struct disk_config *d, struct vu_peer_opts *ret)
{
	vu_peer_opts_blk(ret);
	ret->queues = d->num_queues;
	ret->queue_size = (uint16_t)d->queue_size;
	ret->flag = "--disk";
	ret->id = d->id;
}

void host_net_front(const struct net_config *n, struct vu_peer_opts *ret)
{
	vu_peer_opts_net(ret, n->mac, (uint16_t)n->mtu);
	ret->queues = n->num_queues;
	ret->queue_size = (uint16_t)n->queue_size;
	ret->flag = "--net";
	ret->id = n->id;
}

/* Connects to a device's back-end; o is its front half. */
static int open_peer(struct host_res *h, struct vu_peer_opts *o, const char *socket, int given_fd,
	struct vu_peer **ret_peer, struct err *e)
{
	cleanup_fd int fd = own_fd(o->flag, o->id, given_fd, e);

	if (given_fd >= 0 && fd < 0)
		return fd;
	o->socket = socket;
	o->fd = fd;
	o->log = h->log;
	int r = vu_peer_open(o, ret_peer, e);
	if (!r)
		steal_fd(&fd);
	return r;
}

static int open_disk_peer(
	struct host_res *h, const struct disk_config *d, unsigned i, struct err *e)
{
	struct vu_peer_opts o;

	host_disk_front(d, &o);
	return open_peer(h, &o, d->vhost_socket, d->fd, &h->disk_peer[i], e);
}

static int open_net_peer(struct host_res *h, const struct net_config *n, unsigned i, struct err *e)
{
	struct vu_peer_opts o;

	host_net_front(n, &o);
	return open_peer(h, &o, n->vhost_socket, n->fd, &h->net_peer[i], e);
}

static int open_vhost_user(
	struct host_res *h, const struct vhost_user_config *v, unsigned i, struct err *e)
{
	const char *type = vhost_user_type_name(v), *why = "it is unknown";
	struct vu_peer_opts o;
	int r = vu_type_of(type);

	if (r >= 0)
		r = vu_peer_opts_generic(&o, (unsigned)r, &why);
	if (r < 0)
		return err_set(
			e, ERR_USAGE, r, "--device vhost-user %s: type=%s: %s", v->id, type, why);
	if (v->num_queues)
		o.queues = v->num_queues;
	o.queue_size = (uint16_t)v->queue_size;
	o.flag = "--device vhost-user";
	o.id = v->id;
	return open_peer(h, &o, v->socket, v->fd, &h->vhost_user[i], e);
}

static int open_disk(struct host_res *h, const struct disk_config *d, unsigned i, struct err *e)
{
	cleanup_fd int fd = own_fd("--disk", d->id, d->fd, e);
	struct block_opts o = {
		.path = d->path,
		.fd = fd,
		.readonly = d->readonly,
		.direct = d->direct,
		.flag = "--disk",
		.id = d->id,
	};

	if (d->fd >= 0 && fd < 0)
		return fd;
	int r = block_open(&o, &h->disk[i], e);
	if (!r)
		steal_fd(&fd);
	return r;
}

static int open_passt(struct host_res *h, const struct net_config *n, unsigned i, struct err *e)
{
	int fd, pid;
	int r = netdev_passt_spawn(n->forward, &fd, &pid, e);

	if (r < 0)
		return r;
	h->passt[i] = pid;
	r = netdev_stream_new(fd, &h->net[i][0]);
	if (r < 0) {
		close(fd);
		return err_set(e, ERR_HOST, r, "--net %s: %s", n->id, strerrordesc_np(-r));
	}
	return 0;
}

static int open_net(struct host_res *h, const struct net_config *n, unsigned i, struct err *e)
{
	if (n->backend == NET_PASST)
		return open_passt(h, n, i, e);
	cleanup_fd int fd = own_fd("--net", n->id, n->fd, e);
	if (n->fd >= 0 && fd < 0)
		return fd;
	int r = netdev_tap_open_queues(
		n->tap, fd < 0 ? NULL : &fd, n->num_queues / 2, "--net", n->id, h->net[i], e);
	if (!r)
		steal_fd(&fd);
	return r;
}

static int open_vhost_net(struct host_res *h, const struct net_config *n, unsigned i, struct err *e)
{
	cleanup_fd int fd = own_fd("--net", n->id, n->fd, e);
	struct vhost_net_opts o = {
		.tap = n->tap,
		.tap_fd = fd < 0 ? NULL : &fd,
		.pairs = n->num_queues / 2,
		.mtu = (uint16_t)n->mtu,
		.queue_size = (uint16_t)n->queue_size,
		.flag = "--net",
		.id = n->id,
	};

	if (n->fd >= 0 && fd < 0)
		return fd;
	memcpy(o.mac, n->mac, sizeof(o.mac));
	int r = vhost_net_open(&o, &h->vhost_net[i], e);
	if (!r)
		steal_fd(&fd);
	return r;
}

static int open_vdpa(struct host_res *h, const struct vdpa_config *v, unsigned i, struct err *e)
{
	cleanup_fd int fd = own_fd("--vdpa", v->id, v->fd, e);
	const struct vdpa_opts o = {.path = v->path, .fd = fd, .flag = "--vdpa", .id = v->id};

	if (v->fd >= 0 && fd < 0)
		return fd;
	int r = vdpa_open(&o, &h->vdpa[i], e);
	if (!r)
		steal_fd(&fd);
	return r;
}

static int open_vsock(struct host_res *h, const struct vsock_config *v, struct err *e)
{
	cleanup_fd int fd = own_fd("--vsock", v->id, v->fd, e);
	if (v->fd >= 0 && fd < 0)
		return fd;
	int r = vsock_unix_open(v->socket, fd, "--vsock", v->id, &h->vsock, e);
	if (!r)
		steal_fd(&fd);
	return r;
}

static int open_console(struct host_res *h, const struct console_config *c, const char *flag,
	struct chr **ret_chr, struct err *e)
{
	int r = c->mode == CHR_OFF ? 0 : chr_open(c->mode, c->path, flag, ret_chr, e);
	const char *pty = *ret_chr ? chr_pty_path(*ret_chr) : NULL;

	if (pty)
		log_line(h->log, LOG_INFO, "vmm", "%s is %s", flag, pty);
	return r;
}

static int open_rng(const struct rng_config *c, int *ret_fd, struct err *e)
{
	/* getrandom() is what /dev/urandom gives, without a file (virtio_rng_new, fd -1). */
	if (!strcmp(c->src, "off") || !strcmp(c->src, "/dev/urandom"))
		return 0;
	int fd = fd_arg("--rng src", c->src, O_RDONLY, e);
	if (fd == -ENOENT)
		fd = open(c->src, O_RDONLY | O_CLOEXEC);
	else if (fd < 0)
		return fd;
	if (fd < 0)
		return err_set(e, ERR_HOST, -errno,
			"--rng src %s: %s; allowed: a readable file, or off", c->src,
			strerrordesc_np(errno));
	*ret_fd = fd;
	return 0;
}

static int open_disks(struct host_res *h, const struct vm_config *c, struct err *e)
{
	int r = 0;

	for (unsigned i = 0; i < c->ndisks && !r; i++) {
		const struct disk_config *d = &c->disk[i];
		if (d->vhost_user && !h->disk_peer[i])
			r = open_disk_peer(h, d, i, e);
		else if (!d->vhost_user && !d->offload && !h->disk[i])
			r = open_disk(h, d, i, e);
	}
	return r;
}

static int open_nets(struct host_res *h, const struct vm_config *c, struct err *e)
{
	int r = 0;

	for (unsigned i = 0; i < c->nnets && !r; i++) {
		const struct net_config *n = &c->net[i];
		if (n->vhost_user && !h->net_peer[i])
			r = open_net_peer(h, n, i, e);
		else if (n->vhost && !h->vhost_net[i])
			r = open_vhost_net(h, n, i, e);
		else if (!n->vhost_user && !n->vhost && !n->offload && !h->net[i][0])
			r = open_net(h, n, i, e);
	}
	return r;
}

static int open_served(struct host_res *h, const struct vm_config *c, struct err *e)
{
	int r = 0;

	for (unsigned i = 0; i < c->nvhost_users && !r; i++)
		if (!h->vhost_user[i])
			r = open_vhost_user(h, &c->vhost_user[i], i, e);
	for (unsigned i = 0; i < c->nvdpas && !r; i++)
		if (!h->vdpa[i])
			r = open_vdpa(h, &c->vdpa[i], i, e);
	return r;
}

/* Those that are not open yet. */
static int open_devices(struct host_res *h, const struct vm_config *c, struct err *e)
{
	int r = open_disks(h, c, e);

	if (!r && h->rng_fd < 0)
		r = open_rng(&c->rng, &h->rng_fd, e);
	if (!r)
		r = open_nets(h, c, e);
	if (!r)
		r = open_served(h, c, e);
	if (!r && c->vsock.cid && !h->vsock)
		r = open_vsock(h, &c->vsock, e);
	/* Last: what it needs is known to be right. */
	return r ? r : offload_auto_open(h, c, e);
}

/* The kernel ignores CPUs that are not there as long as one is: a typing error would go unnoticed.
 */
static int check_affinity(const struct cpus_config *c, struct err *e)
{
	int ncpus = (int)sysconf(_SC_NPROCESSORS_CONF);
	cpu_set_t cpus;

	for (unsigned v = 0; v < c->max; v++) {
		if (vm_config_affinity(c, v, &cpus) <= 0)
			continue;
		for (int i = ncpus; i < CPU_SETSIZE; i++)
			if (CPU_ISSET(i, &cpus))
				return err_set(e, ERR_USAGE, -EINVAL,
					"--cpus affinity: vCPU %u: no host CPU %d; allowed: 0..%d",
					v, i, ncpus - 1);
	}
	return 0;
}

static int open_all(struct host_res *h, const struct vm_config *c, struct err *e)
{
	int r = check_affinity(&c->cpus, e);

	if (!r)
		r = open_file("--kernel", c->payload.kernel, &h->kernel_fd, e);
	if (!r && c->payload.initramfs)
		r = open_file("--initramfs", c->payload.initramfs, &h->initrd_fd, e);
	if (!r && !strncmp(c->cpus.model, "baseline:", 9))
		r = read_baseline(c->cpus.model + 9, &h->cpu_baseline, e);
	if (!r)
		r = kvm_open(&h->kvm, -1, e);
	if (!r)
		r = open_devices(h, c, e);
	if (!r)
		r = open_console(h, &c->serial, "--serial", &h->serial, e);
	if (!r)
		r = open_console(h, &c->console, "--console", &h->console, e);
	return r;
}

int host_res_open(struct host_res *h, const struct vm_config *c, struct log *log, struct err *e)
{
	const struct offload_auto offload = h->offload;

	*h = (struct host_res){.log = log,
		.kvm = {.fd = -1},
		.kernel_fd = -1,
		.initrd_fd = -1,
		.rng_fd = -1,
		.offload = offload};
	int r = open_all(h, c, e);
	if (r < 0)
		host_res_close(h);
	return r;
}

int host_res_add(struct host_res *h, const struct vm_config *c, struct err *e)
{
	return open_devices(h, c, e);
}

static void close_passt(pid_t *pid)
{
	if (*pid <= 0)
		return;
	kill(*pid, SIGTERM);
	waitpid(*pid, NULL, 0);
	*pid = 0;
}

void host_res_close(struct host_res *h)
{
	if (!h->log && !h->kvm.run_size && h->kernel_fd <= 0)
		return; /* never opened */
	vsock_unix_free(h->vsock);
	chr_free(h->console);
	chr_free(h->serial);
	for (unsigned i = 0; i < CONFIG_NETS; i++) {
		for (unsigned q = 0; q < NETDEV_QUEUES; q++)
			netdev_free(h->net[i][q]);
		vu_peer_close(h->net_peer[i]);
		vhost_net_close(h->vhost_net[i]);
		close_passt(&h->passt[i]);
	}
	for (unsigned i = 0; i < CONFIG_DISKS; i++) {
		block_free(h->disk[i]);
		vu_peer_close(h->disk_peer[i]);
	}
	for (unsigned i = 0; i < CONFIG_VHOST_USERS; i++)
		vu_peer_close(h->vhost_user[i]);
	for (unsigned i = 0; i < CONFIG_VDPAS; i++)
		vdpa_close(h->vdpa[i]);
	free(h->cpu_baseline);
	cleanup_closep(&h->rng_fd);
	cleanup_closep(&h->initrd_fd);
	cleanup_closep(&h->kernel_fd);
	kvm_close(&h->kvm);
	offload_auto_close(h);
	const struct offload_auto offload = h->offload;
	*h = (struct host_res){.offload = offload};
	h->kvm.fd = h->kernel_fd = h->initrd_fd = h->rng_fd = -1;
}
