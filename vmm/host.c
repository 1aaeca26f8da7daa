/* SPDX-License-Identifier: Apache-2.0 */
/* See host.h. Opening goes in the order in which a user would look for the mistake: the kernel,
 * then disks, networks, consoles, and /dev/kvm first of all, since nothing works without it. */
#include "vmm/host.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
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

/* Connects to a device's back-end; o is its front half. */
static int open_peer(struct host_res *h, struct vu_peer_opts *o, const char *flag, const char *id,
	const char *socket, int given_fd, uint32_t queue_size, struct vu_peer **ret_peer,
	struct err *e)
{
	cleanup_fd int fd = own_fd(flag, id, given_fd, e);

	if (given_fd >= 0 && fd < 0)
		return fd;
	o->socket = socket;
	o->fd = fd;
	o->queue_size = (uint16_t)queue_size;
	o->flag = flag;
	o->id = id;
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

	vu_peer_opts_blk(&o);
	return open_peer(
		h, &o, "--disk", d->id, d->vhost_socket, d->fd, d->queue_size, &h->disk_peer[i], e);
}

static int open_net_peer(struct host_res *h, const struct net_config *n, unsigned i, struct err *e)
{
	struct vu_peer_opts o;

	vu_peer_opts_net(&o, n->mac, (uint16_t)n->mtu);
	return open_peer(
		h, &o, "--net", n->id, n->vhost_socket, n->fd, n->queue_size, &h->net_peer[i], e);
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
	r = netdev_stream_new(fd, &h->net[i]);
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
	int r = netdev_tap_open(n->tap, fd, "--net", n->id, &h->net[i], e);
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

/* Those that are not open yet. */
static int open_devices(struct host_res *h, const struct vm_config *c, struct err *e)
{
	int r = 0;

	for (unsigned i = 0; i < c->ndisks && !r; i++)
		if (c->disk[i].vhost_user && !h->disk_peer[i])
			r = open_disk_peer(h, &c->disk[i], i, e);
		else if (!c->disk[i].vhost_user && !h->disk[i])
			r = open_disk(h, &c->disk[i], i, e);
	if (!r && h->rng_fd < 0)
		r = open_rng(&c->rng, &h->rng_fd, e);
	for (unsigned i = 0; i < c->nnets && !r; i++)
		if (c->net[i].vhost_user && !h->net_peer[i])
			r = open_net_peer(h, &c->net[i], i, e);
		else if (!c->net[i].vhost_user && !h->net[i])
			r = open_net(h, &c->net[i], i, e);
	if (!r && c->vsock.cid && !h->vsock)
		r = open_vsock(h, &c->vsock, e);
	return r;
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
	*h = (struct host_res){
		.log = log, .kvm = {.fd = -1}, .kernel_fd = -1, .initrd_fd = -1, .rng_fd = -1};
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
		netdev_free(h->net[i]);
		vu_peer_close(h->net_peer[i]);
		close_passt(&h->passt[i]);
	}
	for (unsigned i = 0; i < CONFIG_DISKS; i++) {
		block_free(h->disk[i]);
		vu_peer_close(h->disk_peer[i]);
	}
	free(h->cpu_baseline);
	cleanup_closep(&h->rng_fd);
	cleanup_closep(&h->initrd_fd);
	cleanup_closep(&h->kernel_fd);
	kvm_close(&h->kvm);
	memset(h, 0, sizeof(*h));
	h->kvm.fd = h->kernel_fd = h->initrd_fd = h->rng_fd = -1;
}
