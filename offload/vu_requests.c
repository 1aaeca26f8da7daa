/* SPDX-License-Identifier: Apache-2.0 */
/* One function a request. The table of rules has judged the message's form before (vu_check); here
 * is what it means. A handler returns 0, VU_WAIT (it will be run again), or a negative errno: the
 * front-end is told so when it asked for an acknowledgement, else the connection ends. */
#include "offload/vu_device_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_net.h>
#include <string.h>
#include <sys/stat.h>
#include "devices/virtio/core.h"
#include "devices/virtio/devs.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"

static uint64_t offered(struct vu_device *d)
{
	return virtio_dev_features(d->dev) | VU_F_PROTOCOL_FEATURES | VU_F_LOG_ALL;
}

static uint64_t protocol_offered(const struct vu_device *d)
{
	uint64_t v = VU_PF(MQ) | VU_PF(REPLY_ACK) | VU_PF(CONFIG) | VU_PF(BACKEND_REQ) |
		     VU_PF(BACKEND_SEND_FD) | VU_PF(CONFIGURE_MEM_SLOTS) | VU_PF(STATUS) |
		     VU_PF(RESET_DEVICE) | VU_PF(LOG_SHMFD) | VU_PF(INFLIGHT_SHMFD);

	return d->dev->type == VIRTIO_TYPE_NET ? v | VU_PF(MTU) | VU_PF(RARP) : v;
}

/* As vu_ring_still(), of all. */
static int all_still(struct vu_device *d)
{
	int waits = 0;

	for (unsigned i = 0; i < d->dev->nqueues; i++) {
		int r = vu_ring_still(&d->ring[i]);

		if (r < 0)
			return r;
		waits |= r;
	}
	return waits;
}

static struct vu_ring *ring_of(struct vu_device *d, uint64_t index)
{
	return index < d->dev->nqueues ? &d->ring[index] : NULL;
}

/* ---- the session ---- */

static int get_features(struct vu_device *d, struct vu_msg *m, struct vu_msg *reply)
{
	reply->p.u64 = offered(d);
	return 0;
}

/* What the device is told of f. A network's control queue is the front-end's, which has no ring for
 * it here and says by SET_VRING_ENABLE which pairs are in use; front-ends differ in whether they
 * pass its bit on. */
static uint64_t for_device(const struct vu_device *d, uint64_t f)
{
	f &= ~VU_TRANSPORT_FEATURES;
	return d->dev->type == VIRTIO_TYPE_NET ? f & ~(UINT64_C(1) << VIRTIO_NET_F_CTRL_VQ) : f;
}

static int set_features(struct vu_device *d, struct vu_msg *m, struct vu_msg *reply)
{
	uint64_t f = m->p.u64;
	int r;

	if (f & ~offered(d) || !(f & VIRTIO_BIT_VERSION_1)) /* virtio 1.2 §2.2.2, §6.1 */
		return -EINVAL;
	if (!d->features_set || (f ^ d->features) & ~VU_F_LOG_ALL) {
		r = all_still(d);
		if (r)
			return r;
		r = d->dev->ops->accept(d->dev, for_device(d, f));
		if (r < 0)
			return r;
	}
	d->features = f;
	d->features_set = true;
	vu_log_switch(d);
	return 0;
}

static int get_protocol(struct vu_device *d, struct vu_msg *m, struct vu_msg *reply)
{
	reply->p.u64 = protocol_offered(d);
	return 0;
}

static int set_protocol(struct vu_device *d, struct vu_msg *m, struct vu_msg *reply)
{
	if (m->p.u64 & ~protocol_offered(d))
		return -EINVAL;
	d->protocol = m->p.u64;
	return 0;
}

/* SET_OWNER begins a session, as connecting did; RESET_OWNER is "recommended to ignore". */
static int nothing(struct vu_device *d, struct vu_msg *m, struct vu_msg *reply)
{
	return 0;
}

static int get_queue_num(struct vu_device *d, struct vu_msg *m, struct vu_msg *reply)
{
	/* network front-ends count pairs */
	reply->p.u64 = d->dev->type == VIRTIO_TYPE_NET ? d->dev->nqueues / 2 : d->dev->nqueues;
	return 0;
}

static int set_backend_fd(struct vu_device *d, struct vu_msg *m, struct vu_msg *reply)
{
	int r = vu_device_set_backend(d, m->fds[0]);

	if (r == 0)
		m->fds[0] = -1;
	return r;
}

/* ---- memory ---- */

static int set_mem_table(struct vu_device *d, struct vu_msg *m, struct vu_msg *reply)
{
	int r = vu_rings_stop(d);

	return r ? r : vu_mem_set(&d->mem, &m->p.mem, m->fds);
}

static int get_mem_slots(struct vu_device *d, struct vu_msg *m, struct vu_msg *reply)
{
	reply->p.u64 = VU_MEM_SLOTS;
	return 0;
}

static int add_mem(struct vu_device *d, struct vu_msg *m, struct vu_msg *reply)
{
	return vu_mem_add(&d->mem, &m->p.reg.region, m->fds[0]);
}

static int remove_mem(struct vu_device *d, struct vu_msg *m, struct vu_msg *reply)
{
	int r = vu_rings_stop(d);

	return r ? r : vu_mem_remove(&d->mem, &m->p.reg.region);
}

/* ---- rings ---- */

static int set_num(struct vu_device *d, struct vu_msg *m, struct vu_msg *reply)
{
	struct vu_ring *r = ring_of(d, m->p.state.index);
	uint32_t num = m->p.state.num;

	if (!r || !num || num > d->dev->queue_max[r->i] || (!is_pow2(num) && !vu_packed(d)))
		return -EINVAL;
	if (num != r->num) {
		int err = vu_ring_still(r);

		if (err)
			return err;
	}
	r->num = num;
	return 0;
}

static int set_addr(struct vu_device *d, struct vu_msg *m, struct vu_msg *reply)
{
	struct vu_ring *r = ring_of(d, m->p.addr.index);
	const struct vu_vring_addr *a = &m->p.addr;
	int err = 0;

	if (!r || a->flags & ~VU_VRING_LOG)
		return -EINVAL;
	if (a->desc != r->addr.desc || a->avail != r->addr.avail || a->used != r->addr.used)
		err = vu_ring_still(r);
	/* Logging may change on the fly; to where else, the worker is told when it starts. */
	else if (vu_ring_used_log(r, a) != vu_ring_used_log(r, &r->addr))
		err = vu_ring_stop(r);
	if (err)
		return err;
	r->addr = *a;
	r->has_addr = true;
	return 0;
}

static int set_base(struct vu_device *d, struct vu_msg *m, struct vu_msg *reply)
{
	struct vu_ring *r = ring_of(d, m->p.state.index);
	int err;

	if (!r || (!vu_packed(d) && m->p.state.num > UINT16_MAX))
		return -EINVAL;
	err = vu_ring_still(r);
	if (err)
		return err;
	vu_ring_set_base(r, m->p.state.num);
	return 0;
}

/* num is not looked at: some front-ends send what the specification does not ask for. */
static int get_base(struct vu_device *d, struct vu_msg *m, struct vu_msg *reply)
{
	struct vu_ring *r = ring_of(d, m->p.state.index);
	int err = r ? vu_ring_stop(r) : -EINVAL;

	if (err)
		return err;
	vu_ring_forget_kick(r); /* it starts again with the next one */
	reply->p.state = (struct vu_vring_state){m->p.state.index, vu_ring_base(r)};
	return 0;
}

/* An anonymous inode, as eventfds are. A pipe would fill up, since nobody reads a kick. */
static int check_eventfd(int fd)
{
	struct stat st;

	return fstat(fd, &st) < 0 || st.st_mode & S_IFMT ? -EINVAL : 0;
}

/* A full counter must not hold a worker or the loop. */
static int never_block(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags & O_NONBLOCK)
		return 0;
	return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;
}

/* The ring that a descriptor is for, or NULL; *ret_fd is -1 when there is none with it. */
static struct vu_ring *ring_and_fd(struct vu_device *d, struct vu_msg *m, int *ret_fd, int *ret_err)
{
	struct vu_ring *r = ring_of(d, m->p.u64 & VU_VRING_INDEX);

	*ret_fd = m->nfds ? m->fds[0] : -1;
	*ret_err = !r ? -EINVAL : *ret_fd >= 0 ? check_eventfd(*ret_fd) : 0;
	return *ret_err ? NULL : r;
}

static int set_kick(struct vu_device *d, struct vu_msg *m, struct vu_msg *reply)
{
	int fd, err;
	struct vu_ring *r = ring_and_fd(d, m, &fd, &err);

	if (!r)
		return err;
	if (fd < 0) /* "polling should be used" */
		return -EOPNOTSUPP;
	err = never_block(fd); /* the worker kicks itself when it has more to do */
	if (err == 0)
		err = vu_ring_stop(r);
	if (err)
		return err;
	vu_ring_forget_kick(r);
	r->kick = fd;
	m->fds[0] = -1;
	return 0;
}

static int set_call(struct vu_device *d, struct vu_msg *m, struct vu_msg *reply)
{
	int fd, err;
	struct vu_ring *r = ring_and_fd(d, m, &fd, &err);

	if (r && fd >= 0)
		err = never_block(fd);
	return err ? err : vu_ring_set_call(r, fd);
}

static int set_err(struct vu_device *d, struct vu_msg *m, struct vu_msg *reply)
{
	int fd, err;
	struct vu_ring *r = ring_and_fd(d, m, &fd, &err);

	if (r && fd >= 0)
		err = never_block(fd);
	if (err)
		return err;
	cleanup_closep(&r->err);
	r->err = fd;
	m->fds[0] = -1;
	return 0;
}

static int set_enable(struct vu_device *d, struct vu_msg *m, struct vu_msg *reply)
{
	struct vu_ring *r = ring_of(d, m->p.state.index);

	if (!r || m->p.state.num > 1)
		return -EINVAL;
	r->enabled = m->p.state.num;
	return r->running && r->mode != vu_ring_wanted(r) ? vu_ring_stop(r) : 0;
}

/* ---- the device ---- */

static int get_config(struct vu_device *d, struct vu_msg *m, struct vu_msg *reply)
{
	struct vu_config *c = &reply->p.config;
	uint32_t end = d->dev->config_len;

	reply->size = m->size;
	*c = m->p.config;
	memset(c->bytes, 0, sizeof(c->bytes)); /* past the device's own there are zeroes */
	if (c->offset < end && c->size)
		d->dev->ops->config_read(
			d->dev, c->offset, c->bytes, MIN(c->size, end - c->offset));
	return 0;
}

/* "MUST NOT accept SET_CONFIG for read-only configuration space fields unless the live migration
 * bit is set": a field that does not take what was written is one. */
static int set_config(struct vu_device *d, struct vu_msg *m, struct vu_msg *reply)
{
	const struct vu_config *c = &m->p.config;
	uint8_t now[VU_CONFIG_MAX];
	uint32_t end = c->offset + c->size;

	if (c->flags > 1 || end > d->dev->config_len)
		return -EINVAL;
	if (!c->size)
		return 0;
	if (d->dev->ops->config_write)
		d->dev->ops->config_write(d->dev, c->offset, c->bytes, c->size);
	d->dev->ops->config_read(d->dev, c->offset, now, c->size);
	return c->flags || !memcmp(now, c->bytes, c->size) ? 0 : -EROFS;
}

static int set_status(struct vu_device *d, struct vu_msg *m, struct vu_msg *reply)
{
	if (m->p.u64 > UINT8_MAX)
		return -EINVAL;
	if (m->p.u64 == 0)
		return vu_device_reset(d);
	d->status = m->p.u64 | (d->status & VIRTIO_S_NEEDS_RESET);
	if (!d->features_set) /* virtio 1.2 §3.1.1: it reads this back */
		d->status &= ~VIRTIO_S_FEATURES_OK;
	return 0;
}

static int get_status(struct vu_device *d, struct vu_msg *m, struct vu_msg *reply)
{
	reply->p.u64 = d->status;
	return 0;
}

static int reset_device(struct vu_device *d, struct vu_msg *m, struct vu_msg *reply)
{
	return vu_device_reset(d);
}

/* "The first 6 bytes of the payload contain the mac address of the guest." */
static int send_rarp(struct vu_device *d, struct vu_msg *m, struct vu_msg *reply)
{
	virtio_net_announce(d->dev, m->p.bytes);
	return 0;
}

static int set_mtu(struct vu_device *d, struct vu_msg *m, struct vu_msg *reply)
{
	return m->p.u64 < 68 || m->p.u64 > UINT16_MAX ? -EINVAL : 0; /* virtio 1.2 §5.1.4.1 */
}

static vu_handler *const handlers[VU_REQUESTS] = {
	[VU_GET_FEATURES] = get_features,
	[VU_SET_FEATURES] = set_features,
	[VU_SET_OWNER] = nothing,
	[VU_RESET_OWNER] = nothing,
	[VU_SET_MEM_TABLE] = set_mem_table,
	[VU_SET_LOG_BASE] = vu_set_log_base,
	[VU_SET_LOG_FD] = vu_set_log_fd,
	[VU_SET_VRING_NUM] = set_num,
	[VU_SET_VRING_ADDR] = set_addr,
	[VU_SET_VRING_BASE] = set_base,
	[VU_GET_VRING_BASE] = get_base,
	[VU_SET_VRING_KICK] = set_kick,
	[VU_SET_VRING_CALL] = set_call,
	[VU_SET_VRING_ERR] = set_err,
	[VU_GET_PROTOCOL_FEATURES] = get_protocol,
	[VU_SET_PROTOCOL_FEATURES] = set_protocol,
	[VU_GET_QUEUE_NUM] = get_queue_num,
	[VU_SET_VRING_ENABLE] = set_enable,
	[VU_SEND_RARP] = send_rarp,
	[VU_NET_SET_MTU] = set_mtu,
	[VU_SET_BACKEND_REQ_FD] = set_backend_fd,
	[VU_GET_CONFIG] = get_config,
	[VU_SET_CONFIG] = set_config,
	[VU_GET_INFLIGHT_FD] = vu_get_inflight,
	[VU_SET_INFLIGHT_FD] = vu_set_inflight,
	[VU_RESET_DEVICE] = reset_device,
	[VU_GET_MAX_MEM_SLOTS] = get_mem_slots,
	[VU_ADD_MEM_REG] = add_mem,
	[VU_REM_MEM_REG] = remove_mem,
	[VU_SET_STATUS] = set_status,
	[VU_GET_STATUS] = get_status,
};

/* What a person can do something about is said in more words. */
static const char *why_text(int r)
{
	switch (r) {
	case -EPERM:
		return "its memory can still be truncated; allowed: a memfd that is sealed against "
		       "it, or --device unsealed=on";
	case -ENXIO:
		return "its file is shorter than the memory in it";
	default:
		return strerrordesc_np(-r);
	}
}

static int refuse(struct vu_device *d, const char *name, const char *why)
{
	log_limited(d->log, &d->limit, LOG_WARN, d->id, "front-end's %s: %s", name, why);
	return -EPROTO;
}

/* Runs the handler, and what its change lets run. */
static int serve(struct vu_device *d, struct vu_msg *m, struct vu_msg *reply)
{
	int r = handlers[m->request](d, m, reply);

	return r ? r : vu_rings_start_wanted(d);
}

int vu_request(struct vu_device *d, struct vu_msg *m)
{
	const struct vu_rule *rule = vu_rule(m->request);
	struct vu_msg reply = {.request = m->request, .flags = VU_VERSION | VU_REPLY, .size = 8};
	const char *why;
	int r;

	if (!rule || !handlers[m->request])
		return refuse(d, rule ? rule->name : "request", "not offered");
	if (vu_check(rule, m, false, d->protocol, &why) < 0)
		return refuse(d, rule->name, why);
	r = serve(d, m, &reply);
	if (r == VU_WAIT) {
		d->waiting = *m;
		m->nfds = 0;
		return 0;
	}
	if (r < 0)
		refuse(d, rule->name, why_text(r));
	if (rule->replies) {
		r = r < 0 ? r : vu_conn_send(d->conn, &reply);
		vu_msg_close_fds(&reply);
		if (r == 0 && m->request == VU_GET_VRING_BASE)
			vu_inflight_told(&d->ring[m->p.state.index]);
		return r;
	}
	/* After serving: SET_PROTOCOL_FEATURES itself may have agreed on acknowledgements. */
	if (!(m->flags & VU_NEED_REPLY && d->protocol & VU_PF(REPLY_ACK)))
		return r;
	reply.p.u64 = r < 0;
	return vu_conn_send(d->conn, &reply);
}
