/* SPDX-License-Identifier: Apache-2.0 */
/* How virtio-vsock's connections end, by either side or both, and what they outlive. */
#include "devices/virtio/test-vsock.h"

TestSuite(vsock_close, .timeout = 120);

Test(vsock_close, half_close_by_host)
{
	struct packet p;
	struct box b;
	struct flow f;
	char text[8];
	int fd;

	box_start(&b);
	fd = open_from_host(&b, &f);
	cr_assert_eq(write(fd, "ask", 3), 3);
	shutdown(fd, SHUT_WR);
	expect_op(&b, &f, VIRTIO_VSOCK_OP_RW, 0, &p);
	cr_expect_eq(memcmp(p.data, "ask", 3), 0);
	expect_op(&b, &f, VIRTIO_VSOCK_OP_SHUTDOWN, SEND, NULL);
	send_data(&b, &f, "answer", 6);
	send_op(&b, &f, VIRTIO_VSOCK_OP_SHUTDOWN, BOTH);
	expect_op(&b, &f, VIRTIO_VSOCK_OP_RST, 0, NULL);
	host_read(fd, text, 6);
	cr_expect_eq(memcmp(text, "answer", 6), 0);
	expect_end(fd);
	box_stop(&b);
}

Test(vsock_close, half_close_by_guest)
{
	struct packet p;
	struct box b;
	struct flow f;
	char c;
	int fd;

	box_start(&b);
	fd = open_from_host(&b, &f);
	send_op(&b, &f, VIRTIO_VSOCK_OP_SHUTDOWN, SEND);
	cr_expect_eq(read(fd, &c, 1), 0);
	cr_assert_eq(write(fd, "more", 4), 4);
	expect_op(&b, &f, VIRTIO_VSOCK_OP_RW, 0, &p);
	cr_expect_eq(memcmp(p.data, "more", 4), 0);
	close(fd);
	expect_op(&b, &f, VIRTIO_VSOCK_OP_SHUTDOWN, BOTH, NULL);
	send_op(&b, &f, VIRTIO_VSOCK_OP_RST, 0);
	expect_silence(&b);

	fd = open_from_host(&b, &f);
	send_op(&b, &f, VIRTIO_VSOCK_OP_SHUTDOWN, RCV);
	cr_expect_eq(send(fd, "x", 1, MSG_NOSIGNAL), -1, "the guest does not listen any more");
	send_data(&b, &f, "y", 1);
	host_read(fd, &c, 1);
	close(fd);
	expect_op(&b, &f, VIRTIO_VSOCK_OP_SHUTDOWN, BOTH, NULL);
	box_stop(&b);
}

/* The host stops reading but has more to say: the guest is told, and what it sends is nothing. */
Test(vsock_close, host_reads_no_more)
{
	static uint8_t data[32 * KIB];
	struct packet p;
	struct box b;
	struct flow f;
	int fd;

	box_start(&b);
	fd = open_from_host(&b, &f);
	shutdown(fd, SHUT_RD);
	send_data(&b, &f, data, sizeof(data));
	expect_op(&b, &f, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0, NULL);
	expect_op(&b, &f, VIRTIO_VSOCK_OP_SHUTDOWN, RCV, NULL);
	cr_assert_eq(write(fd, "bye", 3), 3);
	expect_op(&b, &f, VIRTIO_VSOCK_OP_RW, 0, &p);
	close(fd);
	expect_op(&b, &f, VIRTIO_VSOCK_OP_SHUTDOWN, BOTH, NULL);
	box_stop(&b);
}

/* A guest that closes at once is let go; its last bytes still arrive. */
Test(vsock_close, close_with_bytes_waiting)
{
	struct box b;
	struct flow f;
	uint32_t total;
	int fd;

	box_start(&b);
	fd = open_from_host(&b, &f);
	total = fill(&b, &f);
	send_op(&b, &f, VIRTIO_VSOCK_OP_SHUTDOWN, BOTH);
	expect_op(&b, &f, VIRTIO_VSOCK_OP_RST, 0, NULL);
	expect_filled(fd, total);
	expect_end(fd);
	fd = open_from_host(&b, &f);
	fill(&b, &f);
	send_op(&b, &f, VIRTIO_VSOCK_OP_SHUTDOWN, BOTH);
	close(fd);
	expect_op(&b, &f, VIRTIO_VSOCK_OP_RST, 0, NULL);
	fd = open_from_host(&b, &f);
	fill(&b, &f);
	send_op(&b, &f, VIRTIO_VSOCK_OP_SHUTDOWN, BOTH);
	box_stop(&b);
	close(fd);
}

Test(vsock_close, reset_closes_everything)
{
	struct box b;
	struct flow f;
	int fd;

	box_start(&b);
	for (int i = 0; i < 3; i++) {
		fd = open_from_host(&b, &f);
		if (i == 1)
			fill(&b, &f);
		cr_assert(guest_reset(b.g));
		if (i != 1)
			expect_end(fd);
		else
			close(fd);
		fd = host_connect(&b, "CONNECT 9\n"); /* waits for the next driver */
		box_queues(&b);
		give_rx(&b, RX_N);
		expect_op(&b, &(struct flow){.guest_port = 9, .host_port = f.host_port + 1},
			VIRTIO_VSOCK_OP_REQUEST, 0, NULL);
		close(fd);
		expect_op(&b, &(struct flow){.guest_port = 9, .host_port = f.host_port + 1},
			VIRTIO_VSOCK_OP_RST, 0, NULL);
	}
	box_stop(&b);
}

/* While paused nothing moves; afterwards everything is still there. */
Test(vsock_close, pause_keeps_connections)
{
	struct packet p;
	struct box b;
	struct flow f;
	char text[8];
	int fd, late;

	box_start_on(&b, &guest_pci_msix);
	give_rx(&b, RX_N);
	fd = open_from_host(&b, &f);
	for (int i = 0; i < 3; i++) {
		guest_rig_pause(&b.rig);
		cr_assert_eq(write(fd, "wait", 4), 4);
		late = host_connect(&b, "CONNECT 8\n");
		expect_silence(&b);
		b.rig.device->ops->resume(b.rig.device);
		for (int k = 0; k < 2; k++) {
			receive(&b, &p);
			cr_expect(p.h.op == (p.h.dst_port == 8 ? VIRTIO_VSOCK_OP_REQUEST
							       : VIRTIO_VSOCK_OP_RW));
		}
		f.received += 4;
		send_data(&b, &f, "go on", 5);
		host_read(fd, text, 5);
		close(late);
		receive(&b, &p);
		cr_expect_eq(p.h.op, VIRTIO_VSOCK_OP_RST);
	}
	close(fd);
	box_stop(&b);
}
