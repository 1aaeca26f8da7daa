/* SPDX-License-Identifier: Apache-2.0 */
#include "offload/served.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "devices/backend/block.h"
#include "devices/backend/netdev.h"
#include "devices/virtio/devs.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/fd_arg.h"
#include "vmm/base/num.h"

struct served {
	struct served_config config;
	struct block *block;
	struct netdev *net[SERVED_PAIRS];
	pid_t passt;
	struct vu_device *device;
};

/* ---- back-ends ---- */

static int out_of(const struct served_config *c, int r, struct err *e)
{
	return err_set(e, ERR_HOST, r, "--device %s: %s", c->id, strerrordesc_np(-r));
}

static int open_block(const struct served_config *c, int fd, struct block **ret, struct err *e)
{
	struct block_opts o = {
		.path = fd < 0 ? c->path : NULL,
		.fd = fd,
		.readonly = c->readonly,
		.direct = c->direct,
		.hurried = c->hurried,
		.flag = "--device",
		.id = c->id,
	};

	return block_open(&o, ret, e);
}

static int open_file(struct served *s, const struct served_config *c, struct err *e)
{
	cleanup_fd int fd = -1;
	int r;

	if (c->fd >= 0) {
		fd = fd_duplicate("--device", c->id, c->fd, e);
		if (fd < 0)
			return fd;
	}
	r = open_block(c, fd, &s->block, e);
	if (r == 0)
		steal_fd(&fd);
	return r;
}

static int open_disk(struct served *s, const struct served_config *c, struct err *e)
{
	int r;

	switch (c->backend) {
	case SERVED_RAM:
		r = block_ram_new(c->size, c->readonly, &s->block);
		return r < 0 ? out_of(c, r, e) : 0;
	case SERVED_NULL:
		r = block_null_new(c->size, c->readonly, &s->block);
		return r < 0 ? out_of(c, r, e) : 0;
	default:
		return open_file(s, c, e);
	}
}

static int open_passt(struct served *s, const struct served_config *c, struct err *e)
{
	int fd, r = netdev_passt_spawn(c->forward, &fd, &s->passt, e);

	if (r < 0)
		return r;
	r = netdev_stream_new(fd, &s->net[0]);
	if (r == 0)
		return 0;
	close(fd);
	return out_of(c, r, e);
}

static int open_tap(struct served *s, const struct served_config *c, struct err *e)
{
	unsigned n = MAX(c->queues, 1u);
	cleanup_fd int fd = -1;
	int r;

	if (c->fd >= 0) {
		fd = fd_duplicate("--device", c->id, c->fd, e);
		if (fd < 0)
			return fd;
	}
	r = netdev_tap_open_queues(c->tap, fd < 0 ? NULL : &fd, n, "--device", c->id, s->net, e);
	if (r == 0)
		steal_fd(&fd);
	return r;
}

static int open_nowhere(struct served *s, const struct served_config *c, struct err *e)
{
	int r = 0;

	for (unsigned i = 0; i < MAX(c->queues, 1u) && r == 0; i++)
		r = netdev_null_new(&s->net[i]);
	return r < 0 ? out_of(c, r, e) : 0;
}

static int open_backend(struct served *s, const struct served_config *c, struct err *e)
{
	if (c->type == VIRTIO_TYPE_BLOCK)
		return open_disk(s, c, e);
	switch (c->backend) {
	case SERVED_PASST:
		return open_passt(s, c, e);
	case SERVED_NOWHERE:
		return open_nowhere(s, c, e);
	default:
		return open_tap(s, c, e);
	}
}

/* ---- the device ---- */

static int make(struct dev_host *h, const char *id, void *arg, struct virtio_dev **ret_dev)
{
	struct served *s = arg;
	const struct served_config *c = &s->config;

	if (c->type == VIRTIO_TYPE_BLOCK) {
		/* A successor, after a kill, starts at the used index. */
		struct virtio_blk_opts o = {.queue_size = c->queue_size,
			.in_order = true,
			.queues = c->queues,
			.poll = c->poll};

		strncpy(o.serial, c->serial ? c->serial : id, sizeof(o.serial) - 1);
		return virtio_blk_new(h, id, s->block, &o, ret_dev);
	}
	struct virtio_net_opts o = {
		.mtu = c->mtu, .queue_size = c->queue_size, .pairs = c->queues, .poll = c->poll};
	memcpy(o.mac, c->mac, sizeof(o.mac));
	return virtio_net_new(h, id, s->net, &o, ret_dev);
}

int served_open(struct ev_loop *loop, struct served_config *c, struct log *log,
	struct served **ret_served, struct err *e)
{
	struct served *s = calloc(1, sizeof(*s));
	struct vu_device_opts o = {
		.id = c->id,
		.socket = c->socket,
		.log = log,
		.allow_unsealed = c->unsealed,
		.make = make,
		.arg = s,
	};
	int r;

	if (!s)
		return -ENOMEM;
	s->config = *c;
	r = open_backend(s, c, e);
	if (r == 0)
		r = vu_device_new(loop, &o, &s->device, e);
	if (r < 0) {
		memset(&s->config, 0, sizeof(s->config)); /* the caller's still */
		served_close(s);
		return r;
	}
	memset(c, 0, sizeof(*c));
	s->config.fd = -1; /* the back-end has its own */
	*ret_served = s;
	return 0;
}

void served_close(struct served *s)
{
	if (!s)
		return;
	vu_device_free(s->device);
	block_free(s->block);
	for (unsigned i = 0; i < ARRAY_SIZE(s->net); i++)
		netdev_free(s->net[i]);
	if (s->passt > 0) {
		kill(s->passt, SIGTERM);
		waitpid(s->passt, NULL, 0);
	}
	served_config_fini(&s->config);
	free(s);
}

struct vu_device *served_device(struct served *s)
{
	return s->device;
}

const struct served_config *served_config(const struct served *s)
{
	return &s->config;
}

bool served_has_child(const struct served *s)
{
	return s->passt > 0;
}

bool served_lost(const struct served *s)
{
	bool lost = false;

	for (unsigned i = 0; i < ARRAY_SIZE(s->net); i++)
		lost |= s->net[i] && s->net[i]->gone;
	return lost;
}

/* ---- a disk's size ---- */

uint64_t served_size(const struct served *s)
{
	return s->block ? s->block->size : 0;
}

const char *served_engine(const struct served *s)
{
	return s->block ? s->block->engine : NULL;
}

static int refused_size(const struct served *s, int r, struct err *e)
{
	const struct served_config *c = &s->config;

	if (r == -EROFS)
		return err_set(e, ERR_USAGE, r,
			"size: %s is read-only; allowed: nothing but the size that it has now (0)",
			c->id);
	if (r == -EINVAL)
		return err_set(e, ERR_USAGE, r,
			"size: allowed: a multiple of 512 bytes; of a block device the size that "
			"it has; 0 for that of now");
	return err_set(e, ERR_HOST, r, "size: %s: %s", c->id, strerrordesc_np(-r));
}

int served_resize(struct served *s, uint64_t size, struct err *e)
{
	int r;

	if (!s->block)
		return err_set(e, ERR_USAGE, -EINVAL,
			"size: %s is no disk; allowed: a virtio-blk device", s->config.id);
	r = block_resize(s->block, size);
	if (r < 0)
		return refused_size(s, r, e);
	virtio_blk_resize(vu_device_virtio(s->device), s->block->size);
	if (s->config.size)
		s->config.size = s->block->size;
	return 0;
}
