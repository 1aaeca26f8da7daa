/* SPDX-License-Identifier: Apache-2.0 */
/* The area of what is in flight (vhost-user, "Inflight I/O tracking"). The back-end makes it when a
 * driver's session begins (GET_INFLIGHT_FD), writes into it for each chain that it pops and each
 * that it completes, and we hold its descriptor: the successor of a back-end that was killed gets
 * it (SET_INFLIGHT_FD) before its rings, and then knows which chains it has to do again. A reset
 * makes an end of it.
 *
 * A split ring says itself how far it was used. A packed ring does not: a used descriptor is
 * written over the first of its chain, and how many slots the chain had, which tells where the next
 * one goes, was known to the driver and to the back-end that is no more; slots after it look alike
 * whether they were the rest of it or are the next chain. The area has that place, and the one
 * before its last batch, because nobody can write the ring and the area at once: the ring's own
 * flags at the earlier place say which of the two holds.
 *
 * The file is the back-end's, who may truncate it: it is read, never mapped. */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>
#include "offload/vu_peer_priv.h"
#include "vmm/base/cleanup.h"

#define DESC_AVAIL (1 << 7) /* virtio 1.2 §2.8.13 */
#define DESC_USED  (1 << 15)

/* QueueRegionPacked, up to its descriptors. */
struct packed_head {
	uint64_t features;
	uint16_t version, desc_num, free_head, old_free_head, used_idx, old_used_idx;
	uint8_t used_wrap, old_used_wrap;
};

/* ---- giving it ---- */

static bool tracks(const struct vu_peer *p)
{
	return p->offer.protocol & VU_PF(INFLIGHT_SHMFD);
}

static void give(struct vu_peer *p)
{
	struct vu_msg m = {.request = VU_SET_INFLIGHT_FD,
		.size = sizeof(m.p.inflight),
		.p.inflight = p->area.at,
		.fds = {p->area.fd},
		.nfds = 1};

	p->area.given = true;
	if (p->area.fd >= 0)
		vu_steps_say(&p->steps, &m, NULL, p);
}

/* An answer without size is one of a back-end that does not track after all. */
static void take(struct vu_peer *p, const struct vu_msg *reply)
{
	if (!reply->p.inflight.mmap_size || reply->nfds != 1)
		return;
	p->area.fd = fcntl(reply->fds[0], F_DUPFD_CLOEXEC, 0);
	p->area.at.mmap_size = reply->p.inflight.mmap_size;
	p->area.at.mmap_offset = reply->p.inflight.mmap_offset;
}

static void got_area(void *arg, int result, const struct vu_msg *reply)
{
	struct vu_peer *p = arg;
	bool stale = p->area.stale;

	p->area.asking = p->area.stale = false;
	if (result < 0)
		return;
	if (!stale) {
		take(p, reply);
		give(p);
	}
	if (p->client)
		p->client->area(p->client->arg);
}

static void request(struct vu_peer *p)
{
	struct vu_msg m = {.request = VU_GET_INFLIGHT_FD, .size = sizeof(m.p.inflight)};

	p->area.at = (struct vu_inflight){.num_queues = p->o.queues, .queue_size = p->o.queue_size};
	m.p.inflight = p->area.at;
	p->area.asking = vu_steps_say(&p->steps, &m, got_area, p) == 0;
}

bool vu_peer_area(struct vu_peer *p)
{
	if (!tracks(p) || p->area.given)
		return true;
	if (p->area.fd >= 0)
		give(p);
	else if (!p->area.asking)
		request(p);
	return p->area.given;
}

bool vu_peer_has_area(const struct vu_peer *p)
{
	return p->area.fd >= 0;
}

void vu_peer_area_gone(struct vu_peer *p)
{
	p->area.given = p->area.asking = p->area.stale = false;
}

void vu_peer_reset(struct vu_peer *p)
{
	struct vu_msg m = {.request = VU_RESET_DEVICE};
	bool wrote;

	{
		LOCK_SCOPE(&p->lock);
		wrote = p->wrote_to;
		p->wrote_from = p->wrote_to = 0;
		p->needs = 0;
	}
	cleanup_closep(&p->area.fd);
	p->area.fd = -1;
	p->area.given = false;
	p->area.stale = p->area.asking;
	if (!(p->offer.protocol & VU_PF(RESET_DEVICE)) || p->state != PEER_READY)
		return;
	vu_peer_take_back(p); /* what a back-end does with it at a reset, nobody says */
	vu_steps_say(&p->steps, &m, NULL, p);
	if (wrote)
		vu_peer_refresh(p);
}

/* ---- reading it ---- */

/* Where ring i's part begins; regions are alike. A file that is not memory may be one that makes
 * its readers wait. */
static bool read_head(const struct vu_peer *p, unsigned i, struct packed_head *ret)
{
	const struct vu_inflight *at = &p->area.at;
	uint64_t step = at->num_queues ? at->mmap_size / at->num_queues : 0, off;

	if (p->area.fd < 0 || step < sizeof(*ret) || fcntl(p->area.fd, F_GET_SEALS) < 0 ||
		__builtin_mul_overflow(step, i, &off) ||
		__builtin_add_overflow(off, at->mmap_offset, &off) || off > INT64_MAX)
		return false;
	return pread(p->area.fd, ret, sizeof(*ret), (off_t)off) == sizeof(*ret);
}

/* Has the driver's descriptor there been overwritten with a used one? */
static bool is_used(const struct guest_mem *mem, uint64_t ring, struct virtq_place at)
{
	uint16_t flags = 0;

	guest_mem_read(mem, ring + 16 * (uint64_t)at.slot + 14, &flags, sizeof(flags));
	return !!(flags & DESC_AVAIL) != at.wrap || !!(flags & DESC_USED) == at.wrap;
}

int vu_peer_area_used(struct vu_peer *p, unsigned i, const struct guest_mem *mem, uint64_t ring,
	uint16_t size, struct virtq_place *ret)
{
	struct packed_head h;

	if (!read_head(p, i, &h))
		return -ENODATA;
	if (!h.version) /* "indicates an uninitialized buffer" */
		return 0;
	if (h.used_idx >= size || h.old_used_idx >= size)
		return -ENODATA;
	struct virtq_place used = {h.used_idx, h.used_wrap},
			   old = {h.old_used_idx, h.old_used_wrap};
	bool same = used.slot == old.slot && used.wrap == old.wrap;

	*ret = same || is_used(mem, ring, old) ? used : old;
	return 1;
}
