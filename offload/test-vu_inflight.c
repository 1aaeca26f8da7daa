/* SPDX-License-Identifier: Apache-2.0 */
/* In-flight areas as front-ends have them: who makes one, who keeps it, and what a ring does with
 * one that says that something is in flight. How a ring keeps it is
 * devices/virtio/test-virtq-kill.c. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include "devices/virtio/virtq.h"
#include "offload/test_front.h"
#include "vmm/base/num.h"

#define SPLIT (~(VIRTIO_BIT_RING_PACKED | VIRTIO_BIT_EVENT_IDX | VU_F_LOG_ALL))
#define BOTH  (~(VIRTIO_BIT_EVENT_IDX | VU_F_LOG_ALL))
#define SIZE  16

static struct front t;
static uint8_t *area;
static struct vu_inflight desc; /* of it */
static int area_fd = -1;

static void disk(void)
{
	front_init(&t, false);
}

static void drop_area(void)
{
	if (area)
		munmap(area, desc.mmap_size);
	if (area_fd >= 0)
		close(area_fd);
	area = NULL;
	area_fd = -1;
}

static void bye(void)
{
	drop_area();
	front_fini(&t);
}

TestSuite(vu_inflight, .init = disk, .fini = bye, .timeout = 60);

/* A message whose descriptor is wanted. */
static bool receive_fd(struct vu_msg *m, int *ret_fd)
{
	struct iovec iov[2] = {{m, 12}, {&m->p, 24}};
	union {
		struct cmsghdr h;
		char space[CMSG_SPACE(sizeof(int))];
	} c;
	struct msghdr h = {
		.msg_iov = iov, .msg_iovlen = 2, .msg_control = &c, .msg_controllen = sizeof(c)};
	struct timeval wait = {5, 0};

	*ret_fd = -1;
	setsockopt(t.fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	if (recvmsg(t.fd, &h, MSG_CMSG_CLOEXEC) < 12)
		return false;
	if (CMSG_FIRSTHDR(&h))
		memcpy(ret_fd, CMSG_DATA(CMSG_FIRSTHDR(&h)), sizeof(int));
	return true;
}

/* False: the answer says that there is none. */
static bool get_area(uint16_t queues, uint16_t size, uint32_t bytes)
{
	struct vu_inflight i = {.num_queues = queues, .queue_size = size};
	struct vu_msg m = {0};

	drop_area();
	front_send(&t, VU_GET_INFLIGHT_FD, 0, &i, bytes, NULL, 0);
	cr_assert(receive_fd(&m, &area_fd));
	cr_assert_eq(m.request, (uint32_t)VU_GET_INFLIGHT_FD);
	cr_expect_eq(m.size, bytes, "padded or not, as asked");
	desc = m.p.inflight;
	if (area_fd < 0)
		return false;
	area = mmap(NULL, desc.mmap_size, PROT_READ | PROT_WRITE, MAP_SHARED, area_fd,
		(off_t)desc.mmap_offset);
	cr_assert_neq((void *)area, MAP_FAILED);
	return true;
}

static uint64_t set_area(const struct vu_inflight *i, int fd)
{
	return front_ask(&t, VU_SET_INFLIGHT_FD, i, sizeof(*i), &fd, 1);
}

/* A disk request in slot n of the guest's memory; ended() tells whether it was served. */
static void ask(unsigned n)
{
	uint64_t at = 0x40000 + 0x1000 * (uint64_t)n;
	struct guest_buf b[] = {{at, 16, false}, {at + 512, 512, true}, {at + 16, 1, true}};

	memset(guest_ptr(&t.g, at, 16), 0, 16);
	*(uint8_t *)guest_ptr(&t.g, at + 16, 1) = 0xff;
	guest_add(&t.g, 0, b, 3);
}

static bool ended(unsigned n)
{
	return *(uint8_t *)guest_ptr(&t.g, 0x40000 + 0x1000 * (uint64_t)n + 16, 1) == 0;
}

static void greet_with_area(uint64_t features)
{
	front_greet(&t, features);
	cr_assert(t.agreed & VU_PF(INFLIGHT_SHMFD));
	cr_assert(get_area(1, SIZE, 24));
	cr_expect_eq(set_area(&desc, area_fd), 0u);
}

/* The ring of a killed back-end, built by hand: `popped` of `offered` requests are in the area, in
 * an order of their own, none was served. */
static void as_if_killed(unsigned offered, unsigned popped)
{
	static struct virtq q;
	struct guest_queue *g = &t.g.q[0];
	struct virtq_setup s = {.size = SIZE,
		.desc = g->desc,
		.avail = g->avail,
		.used = g->used,
		.features = t.g.negotiated,
		.inflight = area,
		.inflight_len = virtq_inflight_bytes(g->packed, SIZE)};
	struct virtq_chain c;

	for (unsigned i = 0; i < offered; i++)
		ask(i);
	cr_assert_eq(virtq_init(&q, &t.f.mem, &s), 0);
	while (popped--)
		cr_assert_eq(virtq_pop(&q, &c), 1);
}

static void takes_over(uint64_t features)
{
	front_greet(&t, features);
	t.enable = false;
	guest_queue_init(&t.g, 0, SIZE);
	cr_assert(get_area(1, SIZE, 24));
	as_if_killed(5, 3);
	cr_expect_eq(set_area(&desc, area_fd), 0u);
	cr_expect_eq(front_ask_state(&t, VU_SET_VRING_ENABLE, 0, 1), 0u);
	for (unsigned i = 0; i < 5; i++)
		cr_assert(guest_wait_used(&t.g, 0, NULL, NULL), "%u", i);
	for (unsigned i = 0; i < 5; i++)
		cr_expect(ended(i), "request %u", i);
	cr_expect(guest_wait_interrupt(&t.g, 0));
	for (unsigned i = 0; i < 40; i++)
		cr_expect(front_read_sector(&t, i));
	cr_expect_not(guest_take_used(&t.g, 0, NULL, NULL), "none twice");
}

Test(vu_inflight, takes_over_split)
{
	takes_over(SPLIT);
}

Test(vu_inflight, takes_over_packed)
{
	takes_over(BOTH);
	cr_assert(t.g.q[0].packed);
}

/* The front-end stays, its connection breaks while requests are under way: the next back-end (here
 * the same one) goes on from the area, whatever base it is told. */
Test(vu_inflight, survives_the_connection)
{
	for (unsigned round = 0; round < 2; round++) {
		struct guest_queue q;
		int kick, call, memfd;

		greet_with_area(round ? BOTH : SPLIT);
		guest_queue_init(&t.g, 0, SIZE);
		for (unsigned i = 0; i < 7; i++)
			cr_expect(front_read_sector(&t, i));
		q = t.g.q[0];
		close(t.fd);
		front_connect(&t);
		front_get_u64(&t, VU_GET_FEATURES);
		cr_expect_eq(front_ask_u64(&t, VU_SET_PROTOCOL_FEATURES, t.agreed), 0u);
		cr_expect_eq(front_ask_u64(&t, VU_SET_FEATURES, t.g.negotiated), 0u);
		cr_expect_eq(front_add_mem(&t, 0, FRONT_RAM, 0, t.memfd), 0u);
		cr_expect_eq(set_area(&desc, area_fd), 0u);
		kick = t.kick[0], call = t.call[0], memfd = t.memfd;
		cr_expect(kick >= 0 && call >= 0 && memfd >= 0);
		t.g.t->queue_setup(&t.g, 0, SIZE, q.desc, q.avail, q.used); /* base: fresh */
		for (unsigned i = 0; i < 30; i++)
			cr_expect(front_read_sector(&t, i), "round %u request %u", round, i);
		front_hang_up(&t);
	}
}

/* A driver that begins anew after GET_VRING_BASE or a reset is not held to what the area says. */
static void begins_anew(uint64_t features)
{
	greet_with_area(features);
	for (unsigned i = 0; i < 4; i++) {
		guest_queue_init(&t.g, 0, SIZE);
		for (unsigned k = 0; k < 5; k++)
			cr_assert(front_read_sector(&t, k), "%u", i);
		if (i & 1) {
			front_get_base(&t, 0);
			continue;
		}
		cr_expect_eq(front_ask(&t, VU_RESET_DEVICE, NULL, 0, NULL, 0), 0u);
		cr_expect_eq(front_ask_u64(&t, VU_SET_FEATURES, t.g.negotiated), 0u);
	}
}

Test(vu_inflight, begins_anew_split)
{
	begins_anew(SPLIT);
}

Test(vu_inflight, begins_anew_packed)
{
	begins_anew(BOTH);
}

Test(vu_inflight, sizes)
{
	front_greet(&t, SPLIT);
	cr_expect(get_area(1, 256, 20));
	cr_expect_eq(desc.num_queues, 1u);
	cr_expect_eq(desc.queue_size, 256u);
	cr_expect_geq(desc.mmap_size, virtq_inflight_bytes(false, 256));
	cr_expect_eq(fcntl(area_fd, F_GET_SEALS), F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	for (uint64_t i = 0; i < desc.mmap_size; i++)
		cr_assert_eq(area[i], 0);
	cr_expect_not(get_area(0, 256, 24));
	cr_expect_not(get_area(2, 256, 24), "the disk has one queue");
	cr_expect_not(get_area(1, 0, 24));
	cr_expect_not(get_area(1, VIRTIO_QUEUE_MAX + 1, 24));
	cr_expect_not(get_area(UINT16_MAX, UINT16_MAX, 24));
	front_hang_up(&t);
	/* before the features are known there is room for either kind */
	front_connect(&t);
	cr_expect(front_get_u64(&t, VU_GET_PROTOCOL_FEATURES) & VU_PF(INFLIGHT_SHMFD));
	front_send(&t, VU_SET_PROTOCOL_FEATURES, 0, &(uint64_t){VU_PF(INFLIGHT_SHMFD)}, 8, NULL, 0);
	cr_expect(get_area(1, 256, 24));
	cr_expect_geq(desc.mmap_size, virtq_inflight_bytes(true, 256));
}

Test(vu_inflight, asked_again_and_again)
{
	unsigned fds;

	front_greet(&t, SPLIT);
	cr_expect(get_area(1, 256, 24));
	front_get_u64(&t, VU_GET_FEATURES); /* by now it has closed its own */
	fds = front_open_fds();
	for (int i = 0; i < 100; i++)
		cr_expect(get_area(1, 256, 24));
	cr_expect(front_fds_become(fds));
	for (int i = 0; i < 100; i++)
		cr_expect_eq(set_area(&desc, area_fd), 0u);
	cr_expect(front_fds_become(fds), "mapped, and closed");
}

Test(vu_inflight, refused)
{
	static const struct vu_inflight bad[] = {{0, 0, 1, SIZE}, {64, 0, 1, SIZE},
		{1 << 20, 0, 1, SIZE}, {4096, 4, 1, SIZE}, {4096, 4096, 1, SIZE},
		{4096, 0, 0, SIZE}, {4096, 0, 1, 0}, {4096, 0, UINT16_MAX, SIZE},
		{4096, 0, 1, UINT16_MAX}, {UINT64_MAX, 0, 1, SIZE},
		{4096, UINT64_MAX - 7, 1, SIZE}};
	int unsealed = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	int fd = front_memfd(4096, true);

	front_greet(&t, SPLIT);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		cr_expect_eq(set_area(&bad[i], fd), 1u, "%u", i);
	cr_assert(unsealed >= 0 && ftruncate(unsealed, 4096) == 0);
	cr_expect_eq(set_area(&(struct vu_inflight){4096, 0, 1, SIZE}, unsealed), 1u);
	cr_expect_eq(set_area(&(struct vu_inflight){4096, 0, 1, SIZE}, fd), 0u);
	/* a ring that the area does not hold cannot start; one that it does can */
	t.enable = false;
	guest_queue_init(&t.g, 0, 2 * SIZE);
	cr_expect_eq(front_ask_state(&t, VU_SET_VRING_ENABLE, 0, 1), 1u);
	cr_expect_eq(front_ask_state(&t, VU_SET_VRING_NUM, 0, SIZE), 0u);
	cr_expect_eq(front_get_base(&t, 0), 0u);
	close(unsealed);
	close(fd);
}

/* Bytes of all kinds in the area, with a version that makes them count: the ring starts or does
 * not, and breaks or does not; the next front-end is served. */
Test(vu_inflight, hostile_area)
{
	uint64_t lot = 1;

	for (unsigned i = 0; i < 200; i++) {
		greet_with_area(i & 1 ? BOTH : SPLIT);
		t.enable = false;
		guest_queue_init(&t.g, 0, SIZE);
		as_if_killed(3, 3);
		for (unsigned k = 0; k < 1 + i / 4; k++) {
			lot = lot * 6364136223846793005u + 1442695040888963407u;
			area[lot % virtq_inflight_bytes(i & 1, SIZE)] = lot >> 32;
		}
		*(uint16_t *)(area + 8) = i % 16 != 15; /* the version */
		front_ask_state(&t, VU_SET_VRING_ENABLE, 0, 1);
		for (unsigned k = 0; k < 100; k++) { /* and while it runs */
			lot = lot * 6364136223846793005u + 1442695040888963407u;
			__atomic_store_n(&area[lot % desc.mmap_size], lot >> 32, __ATOMIC_RELAXED);
		}
		t.g.t->kick(&t.g, 0);
		front_get_base(&t, 0);
		front_hang_up(&t);
	}
	t.enable = true;
	front_start(&t, SPLIT);
	cr_expect(front_read_sector(&t, 0));
}
