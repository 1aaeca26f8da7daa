/* SPDX-License-Identifier: Apache-2.0 */
/* The transport as front-ends use it: a driver's requests end to end, whatever the order of the
 * messages, and the session's end. */
#include <criterion/criterion.h>
#include <poll.h>
#include <semaphore.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include "devices/virtio/core.h"
#include "offload/test_front.h"
#include "vmm/base/num.h"

#define SPLIT (~(VIRTIO_BIT_RING_PACKED | VIRTIO_BIT_EVENT_IDX))

static struct front t;

static void disk(void)
{
	front_init(&t, false);
}

static void bye(void)
{
	front_fini(&t);
}

TestSuite(vu_device, .init = disk, .fini = bye, .timeout = 60);

static void requests(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		cr_expect(front_read_sector(&t, i), "request %u", i);
}

Test(vu_device, split_ring)
{
	front_start(&t, SPLIT);
	requests(40);
	cr_expect(guest_wait_interrupt(&t.g, 0));
}

Test(vu_device, packed_ring)
{
	front_start(&t, ~VIRTIO_BIT_EVENT_IDX);
	cr_assert(t.g.q[0].packed);
	requests(40);
	cr_expect(guest_wait_interrupt(&t.g, 0));
}

Test(vu_device, event_index)
{
	front_start(&t, ~VIRTIO_BIT_RING_PACKED);
	requests(40);
}

Test(vu_device, without_acknowledgements)
{
	struct vu_vring_state s = {0, 8};

	front_connect(&t);
	front_send(&t, VU_SET_VRING_NUM, 0, &s, sizeof(s), NULL, 0);
	/* asked for, but not agreed: no answer, and no offence */
	front_send(&t, VU_SET_VRING_NUM, VU_NEED_REPLY, &s, sizeof(s), NULL, 0);
	cr_expect(front_get_u64(&t, VU_GET_FEATURES) & VU_F_PROTOCOL_FEATURES);
}

/* Old front-ends: rings are enabled without a word, memory comes as a table. */
Test(vu_device, without_protocol_features)
{
	struct vu_mem_table table = {.n = 1, .region = {{0, FRONT_RAM, FRONT_UVA, 0}}};

	front_greet(&t, SPLIT);
	t.enable = false;
	cr_expect_eq(
		front_ask_u64(&t, VU_SET_FEATURES, t.g.negotiated & ~VU_F_PROTOCOL_FEATURES), 0u);
	cr_expect_eq(front_ask(&t, VU_SET_MEM_TABLE, &table, 8 + 32, &t.memfd, 1), 0u);
	guest_queue_init(&t.g, 0, 16);
	requests(3);
}

Test(vu_device, call_before_features)
{
	int call = eventfd(0, EFD_CLOEXEC);

	front_connect(&t);
	front_send(&t, VU_SET_VRING_CALL, 0, &(uint64_t){0}, 8, &call, 1);
	cr_expect(front_get_u64(&t, VU_GET_FEATURES));
	close(call);
}

Test(vu_device, call_replaced_while_running)
{
	front_start(&t, SPLIT);
	requests(2);
	for (int i = 0; i < 20; i++) {
		close(t.call[0]);
		t.call[0] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		cr_expect_eq(front_ask_fd(&t, VU_SET_VRING_CALL, 0, t.call[0]), 0u);
		requests(1);
		cr_expect(guest_wait_interrupt(&t.g, 0));
	}
	cr_expect_eq(front_ask_fd(&t, VU_SET_VRING_CALL, 0, -1), 0u);
	requests(2);
	cr_expect_not(t.g.t->interrupted(&t.g, 0));
}

/* The new region holds the data of a request on the running ring. */
Test(vu_device, memory_added_while_running)
{
	int fd = front_memfd(FRONT_RAM, true);
	struct guest_buf b = {FRONT_RAM + 4096, 512, true};

	front_start(&t, SPLIT);
	requests(2);
	cr_expect_eq(front_add_mem(&t, FRONT_RAM, FRONT_RAM, 0, fd), 0u);
	guest_add(&t.g, 0, &b, 1); /* not a request: but its status byte lies in the new memory */
	t.g.t->kick(&t.g, 0);
	cr_expect(guest_wait_used(&t.g, 0, NULL, NULL));
	requests(2);
	close(fd);
}

Test(vu_device, position_survives_a_stop)
{
	front_start(&t, SPLIT);
	requests(5);
	cr_expect_eq(front_get_base(&t, 0), 5u);
	cr_expect_eq(front_get_base(&t, 0), 5u, "again: it stands");
	cr_expect_eq(front_ask_state(&t, VU_SET_VRING_BASE, 0, 5), 0u);
	cr_expect_eq(front_ask_fd(&t, VU_SET_VRING_KICK, 0, t.kick[0]), 0u);
	requests(20);
	cr_expect_eq(front_get_base(&t, 0), 25u);
}

Test(vu_device, packed_position_has_both_halves)
{
	front_start(&t, ~VIRTIO_BIT_EVENT_IDX);
	requests(4); /* 12 of 16 slots */
	cr_expect_eq(front_get_base(&t, 0), 0x8000800cu | 12u << 16);
	cr_expect_eq(front_ask_state(&t, VU_SET_VRING_BASE, 0, 0x800c), 0u);
	cr_expect_eq(front_ask_fd(&t, VU_SET_VRING_KICK, 0, t.kick[0]), 0u);
	requests(2); /* wraps */
	cr_expect_eq(front_get_base(&t, 0), 2u | 2u << 16);
}

/* What was made available while it was disabled is served when it is enabled. */
Test(vu_device, disabled_and_enabled)
{
	struct guest_buf b = {0x1000, 1, true};

	front_start(&t, SPLIT);
	requests(2);
	cr_expect_eq(front_ask_state(&t, VU_SET_VRING_ENABLE, 0, 0), 0u);
	guest_add(&t.g, 0, &b, 1);
	t.g.t->kick(&t.g, 0);
	usleep(20000);
	cr_expect_eq(guest_used_idx(&t.g, 0), 2u, "nobody works on it");
	cr_expect_eq(front_ask_state(&t, VU_SET_VRING_ENABLE, 0, 1), 0u);
	cr_expect(guest_wait_used(&t.g, 0, NULL, NULL));
	requests(2);
}

/* Memory is replaced under a running ring, which stops, moves over and goes on. */
Test(vu_device, memory_replaced_while_running)
{
	struct vu_mem_table table = {.n = 1, .region = {{0, FRONT_RAM, FRONT_UVA, 0}}};

	front_start(&t, SPLIT);
	for (int i = 0; i < 10; i++) {
		requests(2);
		cr_expect_eq(front_ask(&t, VU_SET_MEM_TABLE, &table, 8 + 32, &t.memfd, 1), 0u);
	}
	cr_expect_eq(front_get_base(&t, 0), 20u);
}

Test(vu_device, messages_in_a_row_are_answered_in_order)
{
	struct vu_vring_state s = {0, 0};
	struct vu_msg m;

	front_start(&t, SPLIT);
	requests(3);
	front_send(&t, VU_GET_VRING_BASE, 0, &s, sizeof(s), NULL, 0);
	front_send(&t, VU_GET_FEATURES, 0, NULL, 0, NULL, 0);
	front_send(&t, VU_GET_VRING_BASE, 0, &s, sizeof(s), NULL, 0);
	cr_assert(front_receive(&t, &m) && m.request == VU_GET_VRING_BASE && m.p.state.num == 3);
	cr_assert(front_receive(&t, &m) && m.request == VU_GET_FEATURES);
	cr_assert(front_receive(&t, &m) && m.request == VU_GET_VRING_BASE && m.p.state.num == 3);
}

static struct vu_config config(uint32_t off, uint32_t size, uint32_t flags)
{
	return (struct vu_config){.offset = off, .size = size, .flags = flags};
}

static struct vu_msg get_config(uint32_t off, uint32_t size)
{
	struct vu_config c = config(off, size, 0);
	struct vu_msg m;

	front_send(&t, VU_GET_CONFIG, 0, &c, 12 + size, NULL, 0);
	cr_assert(front_receive(&t, &m));
	cr_expect_eq(m.size, 12 + size);
	return m;
}

Test(vu_device, configuration)
{
	struct vu_config c;
	struct vu_msg m;
	uint64_t sectors;

	front_greet(&t, SPLIT);
	m = get_config(0, 60);
	memcpy(&sectors, m.p.config.bytes, 8);
	cr_expect_eq(sectors, 2048u);
	m = get_config(4, 252);
	cr_expect_eq(m.p.config.bytes[251], 0, "past the device's own: zero");
	c = config(0, 8, 0);
	cr_expect_eq(front_ask(&t, VU_SET_CONFIG, &c, 12 + 8, NULL, 0), 1u, "read-only");
	c.flags = 1;
	cr_expect_eq(front_ask(&t, VU_SET_CONFIG, &c, 12 + 8, NULL, 0), 0u, "migration");
	memcpy(c.bytes, &sectors, 8);
	c.flags = 0;
	cr_expect_eq(front_ask(&t, VU_SET_CONFIG, &c, 12 + 8, NULL, 0), 0u, "nothing changes");
}

static void say_changed(struct ev_msg *m)
{
	vu_device_config_changed(t.device);
}

Test(vu_device, configuration_changes)
{
	struct ev_msg post = {.handle = say_changed};
	struct vu_msg m;
	int pair[2], main_fd;

	front_greet(&t, SPLIT);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	cr_expect_eq(front_ask(&t, VU_SET_BACKEND_REQ_FD, NULL, 0, &pair[1], 1), 0u);
	close(pair[1]);
	ev_post(t.loop, &post);
	main_fd = t.fd;
	t.fd = pair[0];
	cr_expect(front_receive(&t, &m));
	cr_expect_eq(m.request, (uint32_t)VU_BACKEND_CONFIG_CHANGE);
	cr_expect_eq(m.flags, (uint32_t)VU_VERSION);
	close(pair[0]);
	t.fd = main_fd;
	cr_expect(front_get_u64(&t, VU_GET_FEATURES), "the channel's end is not the session's");
}

Test(vu_device, status_and_reset)
{
	front_start(&t, SPLIT);
	cr_expect_eq(front_ask_u64(&t, VU_SET_STATUS, 15), 0u);
	cr_expect_eq(front_get_u64(&t, VU_GET_STATUS), 15u);
	requests(2);
	guest_break_ring(&t.g, 0);
	t.g.t->kick(&t.g, 0);
	while (front_get_u64(&t, VU_GET_STATUS) != (15 | VIRTIO_S_NEEDS_RESET))
		usleep(1000);
	cr_expect_eq(front_ask_u64(&t, VU_SET_STATUS, 0), 0u);
	cr_expect_eq(front_get_u64(&t, VU_GET_STATUS), 0u);
	cr_expect_eq(front_ask_u64(&t, VU_SET_STATUS, 11), 0u);
	cr_expect_eq(front_get_u64(&t, VU_GET_STATUS), 3u, "no features, no FEATURES_OK");
	cr_expect_eq(front_ask_u64(&t, VU_SET_FEATURES, t.g.negotiated), 0u);
	guest_queue_init(&t.g, 0, 16);
	requests(2);
	cr_expect_eq(front_ask(&t, VU_RESET_DEVICE, NULL, 0, NULL, 0), 0u);
	cr_expect_eq(front_ask_u64(&t, VU_SET_FEATURES, t.g.negotiated), 0u);
	guest_queue_init(&t.g, 0, 16);
	requests(2);
}

Test(vu_device, broken_ring_is_told)
{
	int err = eventfd(0, EFD_CLOEXEC);
	struct pollfd p = {.fd = err, .events = POLLIN};

	front_start(&t, SPLIT);
	cr_expect_eq(front_ask_fd(&t, VU_SET_VRING_ERR, 0, err), 0u);
	guest_break_ring(&t.g, 0);
	t.g.t->kick(&t.g, 0);
	cr_expect_eq(poll(&p, 1, 5000), 1);
	cr_expect_eq(front_get_base(&t, 0), 0u);
	close(err);
}

struct asking {
	struct ev_msg msg;
	struct vu_device_status status;
	sem_t answered;
};

static void answer(struct ev_msg *m)
{
	struct asking *a = container_of(m, struct asking, msg);

	vu_device_status(t.device, &a->status);
	sem_post(&a->answered);
}

static struct vu_device_status status(void)
{
	struct asking a = {.msg.handle = answer};

	sem_init(&a.answered, 0, 0);
	ev_post(t.loop, &a.msg);
	sem_wait(&a.answered);
	return a.status;
}

Test(vu_device, second_client_is_turned_away)
{
	int first;

	front_start(&t, SPLIT);
	requests(1);
	cr_expect(status().connected);
	cr_expect_eq(status().running, 1u);
	cr_expect_eq(status().connections, 1u);
	first = t.fd;
	front_connect(&t);
	cr_expect(front_closed(&t));
	close(t.fd);
	t.fd = first;
	requests(2);
}

/* Clients come and go in every state; nothing of them stays. */
Test(vu_device, nothing_leaks)
{
	unsigned fds;

	front_start(&t, SPLIT); /* the worker's descriptors stay */
	requests(1);
	front_hang_up(&t);
	while (status().connected || status().running)
		usleep(1000);
	front_connect(&t);
	cr_expect(front_get_u64(&t, VU_GET_FEATURES)); /* it has been taken, */
	front_hang_up(&t);
	while (status().connected) /* and is over */
		usleep(1000);
	fds = front_open_fds();
	for (int i = 0; i < 30; i++) {
		switch (i % 3) {
		case 0:
			front_connect(&t);
			break;
		case 1:
			front_greet(&t, SPLIT);
			break;
		case 2:
			front_start(&t, SPLIT);
			requests(1);
		}
		front_hang_up(&t);
	}
	/* the last one's things are given back before the next is heard */
	front_connect(&t);
	cr_expect(front_get_u64(&t, VU_GET_FEATURES));
	cr_expect(front_fds_become(fds + 2), "%u, was %u", front_open_fds(), fds);
}

Test(vu_device, network_counts_pairs)
{
	front_fini(&t);
	front_init(&t, true);
	front_greet(&t, SPLIT);
	cr_expect(t.agreed & VU_PF(MTU) && t.agreed & VU_PF(RARP));
	cr_expect_eq(front_get_u64(&t, VU_GET_QUEUE_NUM), 1u);
	cr_expect_eq(front_ask_u64(&t, VU_NET_SET_MTU, 1500), 0u);
	cr_expect_eq(front_ask_u64(&t, VU_NET_SET_MTU, 10), 1u);
	cr_expect_eq(front_ask_u64(&t, VU_SEND_RARP, 0x010000000002), 0u);
	guest_queue_init(&t.g, 0, 16);
	guest_queue_init(&t.g, 1, 16);
	cr_expect_eq(status().running, 2u);
}

/* The control queue is the front-end's, whatever its driver has accepted: which pairs are in use is
 * said ring by ring. */
Test(vu_device, network_of_several_pairs)
{
	struct dev_achieved a[8] = {0};
	struct virtio_dev *d;

	front_fini(&t);
	front_init_pairs(&t);
	front_greet(&t, SPLIT);
	cr_expect_eq(front_get_u64(&t, VU_GET_QUEUE_NUM), 2u);
	for (unsigned i = 0; i < 4; i++)
		guest_queue_init(&t.g, i, 16);
	cr_expect_eq(status().running, 4u);
	d = vu_device_virtio(t.device);
	cr_assert(d->ops->achieved(d, a, ARRAY_SIZE(a)) > 1);
	cr_expect_str_eq(a[1].what, "queue_pairs");
	cr_expect_str_eq(a[1].text, "2 of 2");
}

/* "In the disabled state the back-end must not supply any new RX packets, but must process and
 * discard any TX packets." */
Test(vu_device, disabled_network_discards)
{
	struct guest_buf out = {0x1000, 100, false}, in = {0x2000, 2048, true};

	front_fini(&t);
	front_init(&t, true);
	front_greet(&t, SPLIT);
	t.enable = false;
	guest_queue_init(&t.g, 0, 16);
	guest_queue_init(&t.g, 1, 16);
	guest_add(&t.g, 0, &in, 1);
	t.g.t->kick(&t.g, 0);
	for (int i = 0; i < 20; i++) {
		guest_add(&t.g, 1, &out, 1);
		t.g.t->kick(&t.g, 1);
		cr_assert(guest_wait_used(&t.g, 1, NULL, NULL), "frame %d", i);
	}
	cr_expect_not(guest_take_used(&t.g, 0, NULL, NULL));
	/* what may change while no ring is enabled still may */
	cr_expect_eq(front_ask_u64(&t, VU_SET_FEATURES, t.g.negotiated), 0u);
	cr_expect_eq(front_ask_state(&t, VU_SET_VRING_BASE, 1, 20), 0u);
	for (unsigned i = 0; i < 2; i++)
		cr_expect_eq(front_ask_state(&t, VU_SET_VRING_ENABLE, i, 1), 0u);
	cr_expect_eq(front_ask_state(&t, VU_SET_VRING_BASE, 1, 20), 1u);
	guest_add(&t.g, 1, &out, 1);
	t.g.t->kick(&t.g, 1);
	cr_expect(guest_wait_used(&t.g, 1, NULL, NULL));
	cr_expect_eq(front_get_base(&t, 1), 21u);
}
