/* SPDX-License-Identifier: Apache-2.0 */
/* Which chains a ring has popped and not yet published, in memory that the front-end keeps while
 * this process may be killed at any instruction: the areas of "Inflight I/O tracking" in QEMU's
 * docs/interop/vhost-user.rst, to the byte. A successor finds there what it must do again, and in
 * which order.
 *
 * split, an entry for each head                packed, an entry for each descriptor
 *   pop       counter, then inflight = 1         the descriptors into free entries, then free_head
 *   push      linked to the last batch           (noted in this process)
 *   publish   used index; inflight = 0 for       linked to the free entries, used position; the
 *             the batch; used_idx                first flags; inflight = 0; old_* = the new ones
 *
 * So each step has one store that decides, and whoever finds the area knows from the ring on which
 * side of it the process died. A chain that was pushed and not published is done again: its end was
 * not visible.
 *
 * A killed process has done all of its stores up to some instruction and none after it, so between
 * two stores it is just the compiler that must not turn them round. The area is shared with a
 * front-end that may lie. It is believed once, when it is taken over and checked; from then on this
 * process goes by its own copies and only writes. */
#include <errno.h>
#include <stdlib.h>
#include "devices/virtio/virtq_priv.h"
#include "vmm/base/num.h"

#define VERSION 1

struct split_entry {
	uint8_t inflight, padding[5];
	uint16_t next;
	uint64_t counter;
};

struct split_area {
	uint64_t features;
	uint16_t version, desc_num;
	uint16_t last_batch_head, used_idx;
	struct split_entry desc[];
};

struct packed_entry {
	uint8_t inflight, padding;
	uint16_t next, last, num;
	uint64_t counter;
	uint16_t id, flags;
	uint32_t len;
	uint64_t addr;
};

/* Both heads, and both used positions, are stored in one go: nobody can find half of one. */
union heads {
	struct {
		uint16_t free, old_free;
	};
	uint32_t word;
};
union used {
	struct {
		uint16_t idx, old_idx;
		uint8_t wrap, old_wrap, padding[2];
	};
	uint64_t word;
};

struct packed_area {
	uint64_t features;
	uint16_t version, desc_num;
	union heads heads;
	union used used;
	uint8_t padding[8];
	struct packed_entry desc[];
};

_Static_assert(sizeof(struct split_area) == 16 && sizeof(struct split_entry) == 16, "split");
_Static_assert(sizeof(struct packed_area) == 32 && sizeof(struct packed_entry) == 32, "packed");

#define PUT(field, v) __atomic_store_n(&(field), v, __ATOMIC_RELAXED)
#define GET(field)    __atomic_load_n(&(field), __ATOMIC_RELAXED)

/* What is stored before stays before. */
static void then(void)
{
	atomic_signal_fence(memory_order_seq_cst);
}

uint64_t virtq_inflight_bytes(bool packed, uint16_t size)
{
	return packed ? sizeof(struct packed_area) + size * sizeof(struct packed_entry)
		      : sizeof(struct split_area) + size * sizeof(struct split_entry);
}

/* The areas of both kinds begin alike. */
bool virtq_inflight_used(const void *area)
{
	return GET(((const struct split_area *)area)->version);
}

void virtq_inflight_forget(void *area)
{
	PUT(((struct split_area *)area)->version, 0);
}

bool virtq_inflight_empty(const void *area, bool packed, uint16_t size)
{
	for (unsigned i = 0; i < size; i++)
		if (packed ? GET(((const struct packed_area *)area)->desc[i].inflight)
			   : GET(((const struct split_area *)area)->desc[i].inflight))
			return false;
	return true;
}

/* ---- what is to be done again, in the order of its counters ---- */

struct redo {
	uint64_t counter;
	uint16_t what;
};

struct redo_list {
	unsigned n;
	struct redo redo[VIRTIO_QUEUE_MAX];
};

static int by_counter(const void *a, const void *b)
{
	uint64_t x = ((const struct redo *)a)->counter, y = ((const struct redo *)b)->counter;

	return x < y ? -1 : x > y;
}

static void take_redo(struct virtq_inflight *k, struct redo_list *l)
{
	qsort(l->redo, l->n, sizeof(l->redo[0]), by_counter);
	for (unsigned i = 0; i < l->n; i++)
		k->redo[i] = l->redo[i].what;
	k->nredo = l->n;
	k->counter = l->n ? l->redo[l->n - 1].counter + 1 : 0;
}

/* ---- split ---- */

static struct split_area *split_area(const struct virtq *q)
{
	return q->kept.area;
}

static void split_new(struct virtq *q)
{
	struct split_area *a = split_area(q);

	for (unsigned i = 0; i < q->size; i++)
		PUT(a->desc[i].inflight, 0);
	PUT(a->features, 0);
	PUT(a->desc_num, q->size);
	PUT(a->last_batch_head, 0);
	PUT(a->used_idx, q->split.used_idx);
	then();
	PUT(a->version, VERSION);
}

/* The used index has gone on, and what it went over may still be marked. A difference of more than
 * a ring is none of a kill: there is another ring, and no batch. */
static void split_finish_batch(struct virtq *q)
{
	struct split_area *a = split_area(q);
	uint16_t n = q->split.used_idx - GET(a->used_idx), i = GET(a->last_batch_head);

	if (n > q->size)
		n = 0;
	for (; n && i < q->size; n--) {
		PUT(a->desc[i].inflight, 0);
		i = GET(a->desc[i].next);
	}
	then();
	PUT(a->used_idx, q->split.used_idx);
}

int virtq_split_keep_init(struct virtq *q)
{
	struct split_area *a = split_area(q);
	struct redo_list l;

	if (!GET(a->version)) {
		split_new(q);
		return 0;
	}
	l.n = 0;
	split_finish_batch(q);
	for (unsigned i = 0; i < q->size; i++)
		if (GET(a->desc[i].inflight) == 1)
			l.redo[l.n++] = (struct redo){GET(a->desc[i].counter), i};
	q->kept.batch_head = GET(a->last_batch_head);
	take_redo(&q->kept, &l);
	/* What was popped was either published or stands in the area. */
	q->split.avail_idx = q->split.seen = q->split.used_idx + l.n;
	return 0;
}

void virtq_split_keep(struct virtq *q, uint16_t head)
{
	struct split_entry *e = &split_area(q)->desc[head];

	PUT(e->counter, q->kept.counter++);
	then();
	PUT(e->inflight, 1);
	then(); /* before the device begins */
}

void virtq_split_unkeep(struct virtq *q, uint16_t head)
{
	if (head < q->size) /* the driver's own again by now, who may have written anything */
		PUT(split_area(q)->desc[head].inflight, 0);
}

void virtq_split_kept_push(struct virtq *q, uint16_t head)
{
	struct virtq_inflight *k = &q->kept;

	PUT(split_area(q)->desc[head].next, k->batch_head);
	then();
	PUT(split_area(q)->last_batch_head, head);
	then();
	k->next[head] = k->batch_head;
	k->batch_head = head;
}

void virtq_split_kept_publish(struct virtq *q, unsigned n)
{
	struct split_area *a = split_area(q);
	uint16_t i = q->kept.batch_head;

	then();
	for (n = MIN(n, (unsigned)q->size); n; n--, i = q->kept.next[i])
		PUT(a->desc[i].inflight, 0);
	then();
	PUT(a->used_idx, q->split.used_idx);
	then(); /* before the next pop */
}

/* ---- packed ---- */

static struct packed_area *packed_area(const struct virtq *q)
{
	return q->kept.area;
}

static void put_heads(struct virtq *q, uint16_t free, uint16_t old_free)
{
	union heads h = {{free, old_free}};

	then();
	PUT(packed_area(q)->heads.word, h.word);
	then();
}

static void put_used(struct virtq *q, struct virtq_place p, struct virtq_place old)
{
	union used u = {{p.slot, old.slot, p.wrap, old.wrap, {0}}};

	then();
	PUT(packed_area(q)->used.word, u.word);
	then();
}

/* Links entry i before those that are free. */
static void link_free(struct virtq *q, uint16_t first, uint16_t last)
{
	struct virtq_inflight *k = &q->kept;

	PUT(packed_area(q)->desc[last].next, k->free_head);
	k->next[last] = k->free_head;
	k->free_head = first;
}

/* The entries that `busy` leaves, as the list of free ones. Until the heads are stored, the list
 * that stands in the area goes over free entries just as well. */
static void free_the_rest(struct virtq *q, const bool *busy)
{
	q->kept.free_head = q->size; /* past the last one */
	for (unsigned i = q->size; i-- > 0;)
		if (!busy[i]) {
			PUT(packed_area(q)->desc[i].inflight, 0);
			link_free(q, i, i);
		}
	put_heads(q, q->kept.free_head, q->kept.free_head);
}

static void packed_new(struct virtq *q)
{
	static const bool none_busy[VIRTIO_QUEUE_MAX];
	struct packed_area *a = packed_area(q);

	free_the_rest(q, none_busy);
	PUT(a->features, 0);
	PUT(a->desc_num, q->size);
	put_used(q, q->packed.used, q->packed.used);
	PUT(a->version, VERSION);
}

/* Goes back to the old heads and position, or on to the new ones, whichever the ring shows: is the
 * first descriptor of the last batch still the driver's? */
static int packed_settle(struct virtq *q)
{
	struct packed_area *a = packed_area(q);
	union heads h = {.word = GET(a->heads.word)};
	union used u = {.word = GET(a->used.word)};
	struct virtq_place now = {u.idx, u.wrap}, old = {u.old_idx, u.old_wrap};

	if (u.idx >= q->size || u.old_idx >= q->size || u.wrap > 1 || u.old_wrap > 1)
		return -EINVAL;
	if ((u.idx != u.old_idx || u.wrap != u.old_wrap) && !virtq_packed_is_available(q, old)) {
		put_heads(q, h.free, h.free);
		put_used(q, now, now);
	} else {
		put_heads(q, h.old_free, h.old_free);
		put_used(q, old, old);
		now = old;
	}
	q->packed.used = q->packed.told = q->packed.avail = now;
	return 0;
}

/* What a pop had begun to note lies among the free entries. */
static void clear_free(struct virtq *q)
{
	struct packed_area *a = packed_area(q);
	union heads h = {.word = GET(a->heads.word)};

	for (unsigned n = 0, i = h.free; n < q->size && i < q->size; n++) {
		PUT(a->desc[i].inflight, 0);
		i = GET(a->desc[i].next);
	}
}

/* The chain that begins at entry i: its entries are nobody else's, its id nobody else's. */
static int take_chain(struct virtq *q, uint16_t i, bool *busy, struct redo_list *l)
{
	struct packed_area *a = packed_area(q);
	struct virtq_inflight *k = &q->kept;
	unsigned n = GET(a->desc[i].num);
	uint16_t id, last = i;

	if (!n || n > q->size)
		return -EINVAL;
	for (unsigned seen = 0, at = i; seen < n; seen++, at = k->next[at]) {
		if (at >= q->size || busy[at])
			return -EINVAL;
		busy[at] = true;
		k->next[at] = GET(a->desc[at].next);
		last = at;
	}
	id = GET(a->desc[last].id); /* virtio 1.2 §2.8.6 */
	if (id >= q->size || q->packed.ndesc[id])
		return -EINVAL;
	q->packed.ndesc[id] = n;
	q->packed.in_flight += n;
	k->of_id[id].first = i;
	k->of_id[id].last = last;
	virtq_forward(q, &q->packed.avail, n);
	l->redo[l->n++] = (struct redo){GET(a->desc[i].counter), id};
	return 0;
}

int virtq_packed_keep_init(struct virtq *q)
{
	struct packed_area *a = packed_area(q);
	bool busy[VIRTIO_QUEUE_MAX];
	struct redo_list l;
	int r;

	if (!GET(a->version)) {
		packed_new(q);
		return 0;
	}
	r = packed_settle(q);
	if (r < 0)
		return r;
	clear_free(q);
	memset(busy, 0, q->size * sizeof(busy[0]));
	l.n = 0;
	for (unsigned i = 0; i < q->size && r == 0; i++)
		if (GET(a->desc[i].inflight) == 1)
			r = take_chain(q, i, busy, &l);
	if (r < 0)
		return r;
	take_redo(&q->kept, &l);
	free_the_rest(q, busy);
	virtq_packed_unmark_used(q);
	return 0;
}

int virtq_packed_keep_desc(struct virtq *q, bool first, struct virtq_packed_desc d)
{
	struct virtq_inflight *k = &q->kept;
	struct packed_entry *e;

	k->at = first ? k->free_head : k->next[k->at];
	if (k->at >=
		q->size) /* more than the driver can have: it reuses what it has not got back */
		return -EPROTO;
	e = &packed_area(q)->desc[k->at];
	PUT(e->addr, d.addr);
	PUT(e->len, d.len);
	PUT(e->flags, d.flags);
	PUT(e->id, d.id);
	return 0;
}

void virtq_packed_keep(struct virtq *q, uint16_t id, unsigned ndesc)
{
	struct virtq_inflight *k = &q->kept;
	struct packed_entry *e = &packed_area(q)->desc[k->free_head];

	PUT(e->num, ndesc);
	PUT(e->last, k->at);
	PUT(e->counter, k->counter++);
	then();
	PUT(e->inflight, 1);
	k->of_id[id].first = k->free_head;
	k->of_id[id].last = k->at;
	k->free_head = k->next[k->at];
	put_heads(q, k->free_head, k->free_head);
}

void virtq_packed_unkeep(struct virtq *q, uint16_t id)
{
	uint16_t first = q->kept.of_id[id].first;

	link_free(q, first, q->kept.of_id[id].last);
	put_heads(q, first, first);
	PUT(packed_area(q)->desc[first].inflight, 0);
	then();
}

/* The entries are not free before the batch is visible: a pop in between must not take them. */
void virtq_packed_kept_push(struct virtq *q, uint16_t id)
{
	struct virtq_inflight *k = &q->kept;

	k->done[k->ndone].first = k->of_id[id].first;
	k->done[k->ndone++].last = k->of_id[id].last;
}

void virtq_packed_kept_publish(struct virtq *q)
{
	struct virtq_inflight *k = &q->kept;
	uint16_t old = k->free_head;

	for (unsigned i = 0; i < k->ndone; i++)
		link_free(q, k->done[i].first, k->done[i].last);
	put_heads(q, k->free_head, old);
	put_used(q, q->packed.used, q->packed.told);
}

void virtq_packed_kept_published(struct virtq *q)
{
	struct virtq_inflight *k = &q->kept;

	then();
	for (unsigned i = 0; i < k->ndone; i++)
		PUT(packed_area(q)->desc[k->done[i].first].inflight, 0);
	k->ndone = 0;
	put_heads(q, k->free_head, k->free_head);
	put_used(q, q->packed.used, q->packed.used);
}

void virtq_packed_kept_desc(
	const struct virtq *q, uint16_t id, unsigned i, struct virtq_packed_desc *ret_desc)
{
	const struct packed_entry *e;
	uint16_t at = q->kept.of_id[id].first;

	while (i--)
		at = q->kept.next[at];
	e = &packed_area(q)->desc[at];
	*ret_desc =
		(struct virtq_packed_desc){GET(e->addr), GET(e->len), GET(e->id), GET(e->flags)};
}
