/* SPDX-License-Identifier: Apache-2.0 */
/* In-flight areas: memory of one queue after the other that we make, that the front-end keeps, and
 * that it gives to whoever serves the device next. What stands in a queue's area is the ring's own
 * business (devices/virtio/virtq_inflight.c); here is who has it when.
 *
 * While a ring runs, or was killed running, its area says where it stands. When it was stopped and
 * the front-end was told its base, nothing is in flight and that base counts, not the area: the
 * driver may have begun anew meanwhile. */
#include "offload/vu_device_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include "devices/virtio/virtq.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"

#define AREA_ALIGN 64 /* as other back-ends have it: an area of theirs can be taken over */

static uint64_t stride(bool packed, uint16_t queue_size)
{
	return align_up(virtq_inflight_bytes(packed, queue_size), AREA_ALIGN);
}

static bool sizes_fit(const struct vu_inflight *i)
{
	return i->num_queues && i->num_queues <= VIRTIO_QUEUES && i->queue_size &&
	       i->queue_size <= VIRTIO_QUEUE_MAX;
}

static int make_area(uint64_t bytes)
{
	cleanup_fd int fd = memfd_create("inflight", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0 ||
		fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return -errno;
	return steal_fd(&fd);
}

/* An answer of size 0 without a descriptor says that there is none. Before the features are known
 * there is room for rings of either kind. */
int vu_get_inflight(struct vu_device *d, struct vu_msg *m, struct vu_msg *reply)
{
	struct vu_inflight *i = &reply->p.inflight;
	int fd;

	reply->size = m->size; /* padded or not, as it was asked */
	*i = m->p.inflight;
	i->mmap_size = i->mmap_offset = 0;
	if (!sizes_fit(i) || i->num_queues > d->dev->nqueues)
		return 0;
	i->mmap_size = i->num_queues * stride(!d->features_set || vu_packed(d), i->queue_size);
	fd = make_area(i->mmap_size);
	if (fd < 0)
		return fd;
	reply->fds[0] = fd; /* vu_request() closes it */
	reply->nfds = 1;
	return 0;
}

int vu_set_inflight(struct vu_device *d, struct vu_msg *m, struct vu_msg *reply)
{
	const struct vu_inflight *i = &m->p.inflight;
	struct vu_map map = {0};
	int r;

	if (!sizes_fit(i) || i->mmap_offset % 8 ||
		i->mmap_size < i->num_queues * stride(false, i->queue_size))
		return -EINVAL;
	r = vu_rings_stop(d); /* they write where it was */
	if (r == 0)
		r = vu_map(m->fds[0], i->mmap_offset, i->mmap_size, d->mem.allow_unsealed, &map);
	if (r)
		return r;
	vu_inflight_fini(d);
	d->inflight.map = map;
	d->inflight.num_queues = i->num_queues;
	d->inflight.queue_size = i->queue_size;
	return 0;
}

/* NULL: none. */
static void *area_of(const struct vu_ring *r)
{
	const struct vu_device *d = r->d;
	uint64_t bytes = stride(vu_packed(d), d->inflight.queue_size);

	if (!d->inflight.map.at || r->i >= d->inflight.num_queues ||
		r->num > d->inflight.queue_size || (r->i + 1) * bytes > d->inflight.map.size)
		return NULL;
	return d->inflight.map.at + r->i * bytes;
}

int vu_inflight_of(const struct vu_ring *r, void **ret_area, uint32_t *ret_len, bool *ret_heir)
{
	const struct vu_device *d = r->d;
	void *area = area_of(r);

	if (!area) /* queues past the last one of the area just do without */
		return d->inflight.map.at && r->i < d->inflight.num_queues ? -EINVAL : 0;
	*ret_area = area;
	*ret_len = virtq_inflight_bytes(vu_packed(d), d->inflight.queue_size);
	*ret_heir = virtq_inflight_used(area);
	return 1;
}

void vu_inflight_told(const struct vu_ring *r)
{
	void *area = r->used_known ? area_of(r) : NULL; /* it has run here */

	if (area && virtq_inflight_empty(area, vu_packed(r->d), r->num))
		virtq_inflight_forget(area);
}

void vu_inflight_forget(struct vu_device *d)
{
	for (unsigned i = 0; i < d->dev->nqueues; i++) {
		void *area = area_of(&d->ring[i]);

		if (area)
			virtq_inflight_forget(area);
	}
}

void vu_inflight_fini(struct vu_device *d)
{
	vu_unmap(&d->inflight.map);
	d->inflight.num_queues = d->inflight.queue_size = 0;
}
