/* SPDX-License-Identifier: Apache-2.0 */
/* Rings as vhost-user sees them ("Ring states"): started by a kick descriptor, stopped by
 * GET_VRING_BASE, and apart from that enabled or not. Here a ring runs when it is started and
 * enabled and has all that it needs, or, muted, when that is all but enabled. */
#include "offload/vu_device_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"

/* Worker. The eventfd is non-blocking: what it does not take was not waited for. */
static void raise_call(void *arg)
{
	struct vu_ring *r = arg;

	eventfd_write(r->call, 1);
}

static bool enabled(const struct vu_ring *r)
{
	/* without protocol features "the ring starts directly in the enabled state" */
	return r->enabled || !(r->d->features & VU_F_PROTOCOL_FEATURES);
}

enum vu_ring_mode vu_ring_wanted(const struct vu_ring *r)
{
	if (!r->d->features_set || r->kick < 0 || !r->num || !r->has_addr)
		return VU_RING_OFF;
	if (enabled(r))
		return VU_RING_ON;
	return r->d->dev->type == VIRTIO_TYPE_NET ? VU_RING_MUTED : VU_RING_OFF;
}

/* Where the parts of the ring are, guest-physical, from the front-end's own addresses. */
static int locate(const struct vu_ring *r, struct virtq_setup *s)
{
	const struct vu_mem *m = &r->d->mem;
	bool packed = vu_packed(r->d); /* virtio 1.2 §2.8: two event suppression structures */
	int err = vu_mem_gpa(m, r->addr.desc, 16 * (uint64_t)r->num, &s->desc);

	if (!err)
		err = vu_mem_gpa(
			m, r->addr.avail, packed ? 4 : 6 + 2 * (uint64_t)r->num, &s->avail);
	if (!err)
		err = vu_mem_gpa(m, r->addr.used, packed ? 4 : 6 + 8 * (uint64_t)r->num, &s->used);
	return err;
}

/* A split ring's base is that of the available ring; where the used one stands, it says itself. */
static int find_used(struct vu_ring *r, const struct virtq_setup *s)
{
	uint16_t idx;
	int err;

	if (r->used_known || vu_packed(r->d))
		return 0;
	err = guest_mem_read(&r->d->mem.guest, s->used + 2, &idx, sizeof(idx));
	if (err)
		return err;
	r->pos.used = idx;
	r->used_known = true;
	return 0;
}

/* The used ring is logged where it is; 0, or where else. */
uint64_t vu_ring_used_log(const struct vu_ring *r, const struct vu_vring_addr *a)
{
	uint64_t used;

	if (!(a->flags & VU_VRING_LOG) ||
		(vu_mem_gpa(&r->d->mem, a->used, 1, &used) == 0 && used == a->log))
		return 0;
	return a->log;
}

static int start(struct vu_ring *r)
{
	struct virtio_dev *dev = r->d->dev;
	struct virtq_setup s = {
		.size = r->num,
		.features = r->d->features & ~VU_TRANSPORT_FEATURES,
		.kick_fd = r->kick,
		.signal = {.raise = raise_call, .arg = r},
		.pos = &r->pos,
		.disabled = vu_ring_wanted(r) == VU_RING_MUTED,
		.used_log = vu_ring_used_log(r, &r->addr),
	};
	bool heir = false;
	int err = locate(r, &s);

	if (!err)
		err = find_used(r, &s);
	if (!err)
		err = MIN(vu_inflight_of(r, &s.inflight, &s.inflight_len, &heir), 0);
	if (!err)
		err = dev->ops->queue_start(dev, r->i, &s);
	if (err)
		return err;
	r->running = true;
	r->mode = vu_ring_wanted(r);
	if (heir) /* a predecessor may have been killed between publishing and telling */
		raise_call(r);
	return 0;
}

int vu_rings_start_wanted(struct vu_device *d)
{
	int err = 0;

	for (unsigned i = 0; i < d->dev->nqueues && !err; i++) {
		struct vu_ring *r = &d->ring[i];

		if (vu_ring_wanted(r) == VU_RING_OFF || r->running)
			continue;
		err = start(r);
		if (vu_ring_wanted(r) == VU_RING_MUTED) /* there is time until it is enabled */
			err = 0;
		if (err)
			log_limited(d->log, &d->limit, LOG_WARN, d->id, "ring %u cannot start: %s",
				i, strerrordesc_np(-err));
	}
	return err;
}

int vu_ring_stop(struct vu_ring *r)
{
	if (!r->running)
		return 0;
	if (!r->stopping) {
		r->stopping = true;
		r->d->dev->ops->queue_stop(r->d->dev, r->i);
	}
	return VU_WAIT;
}

int vu_ring_still(struct vu_ring *r)
{
	return r->running && r->mode == VU_RING_ON ? -EBUSY : vu_ring_stop(r);
}

int vu_rings_stop(struct vu_device *d)
{
	int ret = 0;

	for (unsigned i = 0; i < d->dev->nqueues; i++)
		ret |= vu_ring_stop(&d->ring[i]);
	return ret;
}

void vu_ring_stopped(struct vu_ring *r, const struct virtq_pos *pos)
{
	r->running = r->stopping = false;
	r->pos = *pos;
	r->used_known = true;
}

void vu_ring_forget_kick(struct vu_ring *r)
{
	cleanup_closep(&r->kick);
	r->kick = -1;
}

int vu_ring_set_call(struct vu_ring *r, int fd)
{
	return dup3(fd < 0 ? r->d->nobody : fd, r->call, O_CLOEXEC) < 0 ? -errno : 0;
}

void vu_ring_failed(struct vu_ring *r)
{
	if (r->err >= 0)
		eventfd_write(r->err, 1);
}

/* A packed ring's: both indices of 15 bits, each below its wrap counter. */
uint32_t vu_ring_base(const struct vu_ring *r)
{
	const struct virtq_pos *p = &r->pos;

	if (!vu_packed(r->d))
		return p->avail;
	return (p->avail & 0x7fffu) | (uint32_t)p->avail_wrap << 15 |
	       (uint32_t)(p->used & 0x7fffu) << 16 | (uint32_t)p->used_wrap << 31;
}

/* A stopped ring has nothing in flight, so its used index is the available one: front-ends that
 * leave out a packed ring's upper half are taken at that word. */
void vu_ring_set_base(struct vu_ring *r, uint32_t base)
{
	bool wrap = base >> 15 & 1;

	r->used_known = false;
	r->pos = (struct virtq_pos){.avail = base & 0xffff};
	if (vu_packed(r->d))
		r->pos = (struct virtq_pos){base & 0x7fff, base & 0x7fff, wrap, wrap};
}

void vu_rings_clear(struct vu_device *d)
{
	for (unsigned i = 0; i < d->dev->nqueues; i++) {
		struct vu_ring *r = &d->ring[i];

		cleanup_closep(&r->kick);
		cleanup_closep(&r->err);
		*r = (struct vu_ring){.d = d, .i = i, .kick = -1, .err = -1, .call = r->call};
		r->pos.avail_wrap = r->pos.used_wrap = true; /* virtio 1.2 §2.8.1 */
	}
}

int vu_rings_init(struct vu_device *d)
{
	d->nobody = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (d->nobody < 0)
		return -errno;
	for (unsigned i = 0; i < d->dev->nqueues; i++) {
		struct vu_ring *r = &d->ring[i];

		*r = (struct vu_ring){.d = d, .i = i, .kick = -1, .err = -1};
		r->pos.avail_wrap = r->pos.used_wrap = true;
		r->call = fcntl(d->nobody, F_DUPFD_CLOEXEC, 0);
		if (r->call < 0)
			return -errno;
	}
	return 0;
}

void vu_rings_fini(struct vu_device *d)
{
	for (unsigned i = 0; d->dev && i < d->dev->nqueues; i++) {
		struct vu_ring *r = &d->ring[i];

		if (r->d != d)
			break; /* vu_rings_init() did not get here */
		cleanup_closep(&r->kick);
		cleanup_closep(&r->err);
		cleanup_closep(&r->call);
	}
	cleanup_closep(&d->nobody);
}
