/* SPDX-License-Identifier: Apache-2.0 */
/* A front-end that does anything, in any order, to a real device behind the transport: mostly what
 * front-ends do, now and then a wild message or ring. After each input an honest one must be served
 * a request, so a hang, a leak of the session or a lost wake-up shows. */
#include <linux/virtio_blk.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include "offload/test_front.h"
#include "vmm/base/num.h"

#define SPLIT (~(VIRTIO_BIT_RING_PACKED | VIRTIO_BIT_EVENT_IDX))
#define STEPS 30
#define AREA  8192 /* bytes of the file that is an in-flight area, or a log */
/* What the fuzzer itself may open meanwhile (a symbolizer), or the back-end still be closing. One
 * descriptor that each input leaks is more, soon. */
#define FDS_SLACK 16

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct front t;
static bool made;
static int area_fd;
static uint8_t *area;
static unsigned fds_at_start;

struct input {
	const uint8_t *p;
	size_t n;
};

static uint64_t take(struct input *in, unsigned bytes)
{
	uint64_t v = 0;

	bytes = MIN((size_t)bytes, in->n);
	if (!bytes)
		return 0; /* no input at all has no address either */
	memcpy(&v, in->p, bytes);
	in->p += bytes;
	in->n -= bytes;
	return v;
}

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void wild_message(struct input *in)
{
	uint32_t request = take(in, 1) % (VU_REQUESTS + 2);
	const struct vu_rule *r = vu_rule(request);
	uint8_t payload[sizeof(struct vu_config) + 8] = {0};
	uint32_t size = r ? r->min : 8;
	int fds[3] = {t.kick[0] >= 0 ? t.kick[0] : 0, t.memfd >= 0 ? t.memfd : 0, 0};
	unsigned nfds = r ? r->fds_min : 0;

	if (take(in, 1) % 16 == 0)
		size = take(in, 2) % sizeof(payload);
	for (uint32_t i = 0; i < MIN(size, 48u); i += 8) {
		uint64_t v = take(in, 1) & 1 ? take(in, 1) % 4 : take(in, 8);

		memcpy(payload + i, &v, 8);
	}
	if (take(in, 1) % 4 == 0)
		nfds = take(in, 1) % 4;
	front_send(&t, request, take(in, 1) & VU_NEED_REPLY, payload, size,
		fds + (request == VU_ADD_MEM_REG), MIN(nfds, 2u));
}

static void wild_ring(struct input *in)
{
	if (!t.f.mem.n || !t.g.q[0].size)
		return;
	guest_set_desc(&t.g, 0, take(in, 1) % 16, take(in, 3), take(in, 3), take(in, 1) & 7,
		take(in, 1) % 17);
	if (take(in, 1) & 1)
		guest_make_avail(&t.g, 0, take(in, 1) % 18);
	t.g.t->kick(&t.g, 0);
}

/* Bytes of the area that the back-end may be using. */
static void scribble(struct input *in)
{
	for (unsigned n = take(in, 1) % 8; n; n--)
		__atomic_store_n(&area[take(in, 1) & 1 ? take(in, 1) % 48 : take(in, 2) % AREA],
			(uint8_t)take(in, 1), __ATOMIC_RELAXED);
}

static void give_area(struct input *in)
{
	struct vu_inflight i = {AREA, 0, 1, 16};

	if (take(in, 1) % 8 == 0)
		i.mmap_size = take(in, 2);
	if (take(in, 1) % 8 == 0)
		i.mmap_offset = take(in, 2) & ~7u;
	if (take(in, 1) % 8 == 0)
		i.queue_size = take(in, 2);
	scribble(in);
	front_send(&t, VU_SET_INFLIGHT_FD, 0, &i, sizeof(i), &area_fd, 1);
}

static void give_log(struct input *in)
{
	struct vu_log l = {take(in, 2) % (AREA + 2), take(in, 1) & 1 ? take(in, 2) : 0};
	uint64_t f = t.g.negotiated ^ (take(in, 1) & 1 ? VU_F_LOG_ALL : 0);

	front_send(&t, VU_SET_LOG_BASE, 0, &l, sizeof(l), &area_fd, 1);
	front_send(&t, VU_SET_FEATURES, 0, &f, sizeof(f), NULL, 0);
}

static void state(struct input *in, uint32_t request)
{
	struct vu_vring_state s = {take(in, 1) % 2, take(in, 1) % 3};

	front_send(&t, request, 0, &s, sizeof(s), NULL, 0);
}

/* What arrived is of no interest, but must not pile up. */
static void listen_up(void)
{
	char sink[4096];

	while (recv(t.fd, sink, sizeof(sink), MSG_DONTWAIT) > 0)
		;
}

static void step(struct input *in)
{
	switch (take(in, 1) % 16) {
	case 0:
		state(in, VU_SET_VRING_ENABLE);
		break;
	case 1:
		state(in, VU_GET_VRING_BASE);
		break;
	case 2:
		front_send(&t, VU_RESET_DEVICE, 0, NULL, 0, NULL, 0);
		break;
	case 3:
		front_send(&t, VU_SET_VRING_KICK, 0, &(uint64_t){0}, 8, &t.kick[0], 1);
		break;
	case 4:
		front_hang_up(&t);
		front_start(&t, take(in, 1) & 1 ? SPLIT : UINT64_MAX);
		t.g.q[0].next_desc = 0;
		break;
	case 5:
	case 6:
	case 7:
		wild_ring(in);
		break;
	case 8:
		give_area(in);
		break;
	case 9:
		give_log(in);
		break;
	case 10:
		scribble(in);
		break;
	default:
		wild_message(in);
	}
	listen_up();
}

static void honest(void)
{
	front_hang_up(&t);
	front_start(&t, SPLIT);
	must(front_read_sector(&t, 1));
	must(front_get_base(&t, 0) == 1);
	if (!fds_at_start)
		fds_at_start = front_open_fds();
	must(front_open_fds() <= fds_at_start + FDS_SLACK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};

	if (!made) {
		front_init(&t, false);
		made = true;
		area_fd = front_memfd(AREA, true);
		area = mmap(NULL, AREA, PROT_READ | PROT_WRITE, MAP_SHARED, area_fd, 0);
		must(area != MAP_FAILED);
		honest();
	}
	front_hang_up(&t);
	front_start(&t, take(&in, 1) & 1 ? SPLIT : UINT64_MAX);
	for (int i = 0; i < STEPS && in.n; i++)
		step(&in);
	honest();
	return 0;
}
