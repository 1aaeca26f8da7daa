/* SPDX-License-Identifier: Apache-2.0 */
/* Front-ends that lie. Whatever one does, it is told no or let go, and the next one is served. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include "offload/test_front.h"
#include "vmm/base/num.h"

#define SPLIT (~(VIRTIO_BIT_RING_PACKED | VIRTIO_BIT_EVENT_IDX))

static struct front t;

static void disk(void)
{
	front_init(&t, false);
}

/* After each test an honest one comes and is served. */
static void honest(void)
{
	front_hang_up(&t);
	front_start(&t, SPLIT);
	for (unsigned i = 0; i < 3; i++)
		cr_expect(front_read_sector(&t, i), "the next front-end, request %u", i);
	front_fini(&t);
}

TestSuite(vu_hostile, .init = disk, .fini = honest, .timeout = 60);

static void expect_let_go(const char *what)
{
	cr_expect(front_closed(&t), "%s", what);
	front_hang_up(&t);
}

/* Each request with a size and with descriptors that it cannot have, agreed or not. */
Test(vu_hostile, every_rule_broken)
{
	static const uint8_t zero[sizeof(struct vu_config)];
	int fd = eventfd(0, EFD_CLOEXEC), fds[3] = {fd, fd, fd};

	for (uint32_t i = 0; i < VU_REQUESTS + 2; i++) {
		const struct vu_rule *r = vu_rule(i);

		front_greet(&t, SPLIT);
		front_send(
			&t, i, 0, zero, r && r->max + 1 < sizeof(zero) ? r->max + 1 : 1, NULL, 0);
		if (!r || r->min > 1 || r->max + 1 < sizeof(zero))
			expect_let_go(r ? r->name : "no such request");
		front_hang_up(&t);
		front_greet(&t, SPLIT);
		front_send(&t, i, 0, zero, r ? r->min : 0, fds, r && r->fds_max ? 0 : 3);
		if (!r || r->fds_min || !r->fds_max)
			expect_let_go(r ? r->name : "no such request");
		front_hang_up(&t);
		if (r && r->needs) {
			front_connect(&t);
			front_send(&t, i, 0, zero, r->min, fds, r->fds_min);
			expect_let_go(r->name);
		}
	}
	close(fd);
}

static uint64_t ask_addr(uint64_t desc, uint64_t avail, uint64_t used)
{
	struct vu_vring_addr a = {0, 0, desc, used, avail, 0};

	return front_ask(&t, VU_SET_VRING_ADDR, &a, sizeof(a), NULL, 0);
}

Test(vu_hostile, rings_outside_memory)
{
	static const uint64_t places[] = {0, FRONT_UVA - 16, FRONT_UVA + FRONT_RAM,
		FRONT_UVA + FRONT_RAM - 16, UINT64_MAX - 15, 0x10000};
	int kick = eventfd(0, EFD_CLOEXEC);

	for (unsigned i = 0; i < ARRAY_SIZE(places) * 3; i++) {
		uint64_t at[3] = {FRONT_UVA, FRONT_UVA + 0x1000, FRONT_UVA + 0x2000};

		at[i % 3] = places[i / 3];
		front_greet(&t, SPLIT);
		cr_expect_eq(front_ask_state(&t, VU_SET_VRING_NUM, 0, 256), 0u);
		cr_expect_eq(ask_addr(at[0], at[1], at[2]), 0u);
		cr_expect_eq(front_ask_fd(&t, VU_SET_VRING_KICK, 0, kick), 0u);
		cr_expect_eq(front_ask_state(&t, VU_SET_VRING_ENABLE, 0, 1), 1u, "%u", i);
		cr_expect_eq(front_get_base(&t, 0), 0u);
		front_hang_up(&t);
	}
	close(kick);
}

Test(vu_hostile, numbers_out_of_range)
{
	front_greet(&t, SPLIT);
	cr_expect_eq(front_ask_state(&t, VU_SET_VRING_NUM, 1, 16), 1u);
	cr_expect_eq(front_ask_state(&t, VU_SET_VRING_NUM, UINT32_MAX, 16), 1u);
	cr_expect_eq(front_ask_state(&t, VU_SET_VRING_NUM, 0, 0), 1u);
	cr_expect_eq(front_ask_state(&t, VU_SET_VRING_NUM, 0, 3), 1u);
	cr_expect_eq(front_ask_state(&t, VU_SET_VRING_NUM, 0, 1 << 16), 1u);
	cr_expect_eq(front_ask_state(&t, VU_SET_VRING_BASE, 0, 1 << 16), 1u);
	cr_expect_eq(front_ask_state(&t, VU_SET_VRING_BASE, 7, 0), 1u);
	cr_expect_eq(front_ask_state(&t, VU_SET_VRING_ENABLE, 9, 1), 1u);
	cr_expect_eq(front_ask_state(&t, VU_SET_VRING_ENABLE, 0, 2), 1u);
	cr_expect_eq(front_ask_u64(&t, VU_SET_FEATURES, UINT64_MAX), 1u);
	cr_expect_eq(front_ask_u64(&t, VU_SET_FEATURES, 0), 1u, "no VERSION_1");
	cr_expect_eq(front_ask_u64(&t, VU_SET_PROTOCOL_FEATURES, UINT64_MAX), 1u);
	cr_expect_eq(front_ask_u64(&t, VU_SET_STATUS, 256), 1u);
	/* a request with an answer of its own has no other way to say no */
	front_send(&t, VU_GET_VRING_BASE, 0, &(struct vu_vring_state){5, 0}, 8, NULL, 0);
	expect_let_go("GET_VRING_BASE of no ring");
}

Test(vu_hostile, descriptors_that_are_none_of_the_kind)
{
	int pipes[2], file = open("/dev/null", O_RDWR | O_CLOEXEC);

	cr_assert_eq(pipe2(pipes, O_CLOEXEC), 0);
	front_greet(&t, SPLIT);
	cr_expect_eq(front_ask_fd(&t, VU_SET_VRING_KICK, 0, pipes[0]), 1u);
	cr_expect_eq(front_ask_fd(&t, VU_SET_VRING_KICK, 0, file), 1u);
	cr_expect_eq(front_ask_fd(&t, VU_SET_VRING_KICK, 0, -1), 1u, "polling is not offered");
	cr_expect_eq(front_ask_fd(&t, VU_SET_VRING_CALL, 0, pipes[1]), 1u);
	cr_expect_eq(front_ask_fd(&t, VU_SET_VRING_ERR, 3, file), 1u);
	cr_expect_eq(front_ask(&t, VU_SET_BACKEND_REQ_FD, NULL, 0, &file, 1), 1u);
	cr_expect_eq(front_add_mem(&t, 0x10000000, 4096, 0, pipes[0]), 1u);
	close(pipes[0]);
	close(pipes[1]);
	close(file);
}

/* A call that nobody reads, as full as can be: the worker does not wait for it. */
Test(vu_hostile, full_call)
{
	front_start(&t, SPLIT);
	close(t.call[0]);
	t.call[0] = eventfd(0, EFD_CLOEXEC); /* one that blocks */
	cr_expect_eq(front_ask_fd(&t, VU_SET_VRING_CALL, 0, t.call[0]), 0u);
	eventfd_write(t.call[0], UINT64_MAX - 1);
	close(t.kick[0]);
	t.kick[0] = eventfd(UINT32_MAX, EFD_CLOEXEC);
	cr_expect_eq(front_ask_fd(&t, VU_SET_VRING_KICK, 0, t.kick[0]), 0u);
	cr_expect(fcntl(t.kick[0], F_GETFL) & O_NONBLOCK, "the worker writes it, too");
	for (int i = 0; i < 5; i++)
		cr_expect(front_read_sector(&t, i));
}

Test(vu_hostile, memory_under_a_running_ring)
{
	struct vu_mem_table table = {.n = 0};
	struct vu_mem_reg r = {.region = {0, FRONT_RAM, FRONT_UVA, 0}};

	front_start(&t, SPLIT);
	cr_expect(front_read_sector(&t, 0));
	cr_expect_eq(front_ask_state(&t, VU_SET_VRING_NUM, 0, 8), 1u);
	cr_expect_eq(ask_addr(FRONT_UVA, FRONT_UVA, FRONT_UVA), 1u);
	cr_expect_eq(front_ask_state(&t, VU_SET_VRING_BASE, 0, 3), 1u);
	cr_expect_eq(front_ask_u64(&t, VU_SET_FEATURES, VIRTIO_BIT_VERSION_1), 1u);
	cr_expect_eq(front_ask(&t, VU_SET_MEM_TABLE, &table, 8, NULL, 0), 1u,
		"the ring lost its memory and cannot go on");
	front_hang_up(&t);
	front_start(&t, SPLIT);
	cr_expect(front_read_sector(&t, 0));
	cr_expect_eq(front_ask(&t, VU_REM_MEM_REG, &r, sizeof(r), NULL, 0), 1u);
	cr_expect_eq(front_ask(&t, VU_REM_MEM_REG, &r, sizeof(r), NULL, 0), 1u, "there is none");
}

Test(vu_hostile, buffers_outside_memory)
{
	struct guest_buf b = {FRONT_RAM - 8, 512, true};

	front_start(&t, SPLIT);
	guest_add(&t.g, 0, &b, 1);
	t.g.t->kick(&t.g, 0);
	cr_expect_eq(front_get_base(&t, 0), 0u, "it stops all the same");
}

/* Says nothing, half a header, half a payload; then leaves. */
Test(vu_hostile, leaves_in_every_state)
{
	const uint32_t words[] = {VU_SET_FEATURES, VU_VERSION, 8, 1, 0};
	struct vu_vring_state s = {0, 0};

	for (size_t n = 0; n < sizeof(words); n += 3) {
		front_connect(&t);
		send(t.fd, words, n, MSG_NOSIGNAL);
		front_hang_up(&t);
	}
	for (int i = 0; i < 20; i++) {
		front_start(&t, SPLIT);
		guest_add(&t.g, 0, &(struct guest_buf){0x1000, 4096, true}, 1);
		t.g.t->kick(&t.g, 0);
		if (i & 1) /* while a stop is under way */
			front_send(&t, VU_GET_VRING_BASE, 0, &s, sizeof(s), NULL, 0);
		if (i & 2)
			front_send(&t, VU_RESET_DEVICE, 0, NULL, 0, NULL, 0);
		front_hang_up(&t);
	}
}

/* Asks and asks, and never reads an answer. */
Test(vu_hostile, flood)
{
	uint32_t head[3] = {VU_GET_FEATURES, VU_VERSION, 0};

	front_connect(&t);
	for (int i = 0; i < 100000; i++)
		if (send(t.fd, head, sizeof(head), MSG_NOSIGNAL | MSG_DONTWAIT) < 0 &&
			errno == EPIPE)
			break;
	front_hang_up(&t);
}

Test(vu_hostile, back_ends_channel_talks_back)
{
	int pair[2];

	front_greet(&t, SPLIT);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	cr_expect_eq(front_ask(&t, VU_SET_BACKEND_REQ_FD, NULL, 0, &pair[1], 1), 0u);
	cr_assert_eq(send(pair[0], "nonsense, nonsense", 18, MSG_NOSIGNAL), 18);
	close(pair[1]);
	cr_expect(recv(pair[0], pair, 1, 0) <= 0, "that channel is closed");
	cr_expect(front_get_u64(&t, VU_GET_FEATURES), "and only that");
}

/* Logs and areas of 32 GiB, in files that are as large as they say, and over again:
 * what is mapped goes with the front-end, and nothing is written that was not to be. */
Test(vu_hostile, huge_logs_and_areas)
{
	int fd = memfd_create("huge", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	struct vu_inflight i = {1ull << 35, 0, 1, 16};
	struct vu_log l = {1ull << 35, 0};
	struct vu_msg m;

	cr_assert_eq(ftruncate(fd, 1ll << 35), 0);
	for (int round = 0; round < 20; round++) {
		front_start(&t, SPLIT);
		for (int n = 0; n < 5; n++) {
			front_send(&t, VU_SET_LOG_BASE, 0, &l, sizeof(l), &fd, 1);
			cr_assert(front_receive(&t, &m));
			cr_expect_eq(front_ask(&t, VU_SET_INFLIGHT_FD, &i, sizeof(i), &fd, 1), 0u);
			cr_expect_eq(front_ask_u64(&t, VU_SET_FEATURES,
					     t.g.negotiated ^ (n & 1 ? VU_F_LOG_ALL : 0)),
				0u);
			cr_expect(front_read_sector(&t, n));
		}
		front_hang_up(&t);
	}
	close(fd);
}

/* The front-end's own in-flight area changes under the ring's hands all the time. */
Test(vu_hostile, area_that_is_never_still)
{
	int fd = front_memfd(8192, true);
	uint8_t *area = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	struct vu_inflight i = {8192, 0, 1, 16};

	for (int round = 0; round < 20; round++) {
		front_greet(&t, round & 1 ? SPLIT : ~VIRTIO_BIT_EVENT_IDX);
		cr_expect_eq(front_ask(&t, VU_SET_INFLIGHT_FD, &i, sizeof(i), &fd, 1), 0u);
		*(uint16_t *)(area + 8) = 0; /* a new one */
		guest_queue_init(&t.g, 0, 16);
		for (int n = 0; n < 20; n++) {
			for (int k = 0; k < 1024; k++)
				__atomic_store_n(&area[k], (uint8_t)(k * n), __ATOMIC_RELAXED);
			cr_expect(front_read_sector(&t, n), "it is not read back");
		}
		front_hang_up(&t);
	}
	munmap(area, 8192);
	close(fd);
}
