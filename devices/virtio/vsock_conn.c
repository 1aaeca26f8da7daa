/* SPDX-License-Identifier: Apache-2.0 */
/* The connections of virtio-vsock (virtio 1.2 §5.10.6). Each is a host socket, watched
 * edge-triggered once and for all, and flow control in both directions:
 *
 *   to the guest    nothing is kept here: the socket is read straight into the guest's buffer, when
 *                   there is one and the guest has credit left; else the data waits in the socket
 *   to the host     sent at once; what the socket does not take waits in `out`, and the guest's
 *                   credit is counted by what the socket took, so that `out` never overflows
 *
 * What must be told is a bit in `pending`, so a connection needs no queue of packets, and the
 * memory that a guest can cause is bounded by the table. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "devices/virtio/vsock_priv.h"

#define BIT(op)	  (UINT32_C(1) << (op))
#define SHUT_BOTH (VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND)

/* §5.10.6.3. A guest that claims to have had more than was sent has no credit. */
static uint32_t credit(const struct vsock_conn *c)
{
	uint32_t in_flight = c->sent - c->peer_fwd;

	return in_flight < c->peer_alloc ? c->peer_alloc - in_flight : 0;
}

static bool has_data(const struct vsock_conn *c)
{
	return c->state == VSOCK_OPEN && c->readable &&
	       !(c->guest_shut & VIRTIO_VSOCK_SHUTDOWN_RCV) &&
	       !(c->host_shut & VIRTIO_VSOCK_SHUTDOWN_SEND);
}

static void schedule(struct vsock_conn *c)
{
	if (has_data(c) && !credit(c) && !c->credit_asked) {
		c->credit_asked = true;
		c->pending |= BIT(VIRTIO_VSOCK_OP_CREDIT_REQUEST);
	}
	if ((c->pending || (has_data(c) && credit(c))) && list_empty(&c->ready))
		list_add(&c->of->ready, &c->ready);
}

/* Nothing more to or from the guest. What it sent stays until the host has taken it. */
static void end(struct vsock_conn *c)
{
	c->state = VSOCK_ENDED;
	c->pending = 0;
	list_del(&c->timed);
	list_del(&c->ready);
	if (!c->out_len)
		vsock_conn_close_host(c);
}

/* The guest knows that it is over. c is gone unless its last bytes are still on their way. */
static void forget(struct vsock_conn *c)
{
	end(c);
	list_del(&c->hash);
	if (c->host.fd < 0)
		vsock_conn_free(c);
}

/* Ends a connection that the guest knows, cleanly: it gets its RST, the host what was sent. */
static void finish(struct vsock_conn *c)
{
	end(c);
	c->pending = BIT(VIRTIO_VSOCK_OP_RST);
	schedule(c);
}

/* Breaks a connection off. c may be gone. */
void vsock_conn_reset(struct vsock_conn *c)
{
	bool unknown = c->state == VSOCK_HELLO || (c->pending & BIT(VIRTIO_VSOCK_OP_REQUEST));

	if (c->state < VSOCK_OPEN)
		atomic_fetch_add(&c->of->refused, 1);
	vsock_conn_close_host(c);
	if (unknown)
		vsock_conn_free(c);
	else
		finish(c);
}

/* Another direction of the host's end is closed. */
static void host_shuts(struct vsock_conn *c, uint8_t flags)
{
	if (c->host_gone && flags & VIRTIO_VSOCK_SHUTDOWN_SEND)
		flags |= VIRTIO_VSOCK_SHUTDOWN_RCV;
	if ((c->host_shut | flags) == c->host_shut)
		return;
	c->host_shut |= flags;
	if (c->state == VSOCK_OPEN)
		c->pending |= BIT(VIRTIO_VSOCK_OP_SHUTDOWN);
}

static void took(struct vsock_conn *c, uint32_t bytes)
{
	c->fwd_cnt += bytes;
	if (c->state == VSOCK_OPEN && c->fwd_cnt - c->told_fwd >= VSOCK_BUF / 2)
		c->pending |= BIT(VIRTIO_VSOCK_OP_CREDIT_UPDATE);
}

/* Returns what the host took, also when that is nothing; when it takes no more at all, everything:
 * the guest is told so and need not wait. */
static size_t send_host(struct vsock_conn *c, struct iovec *iov, unsigned niov, size_t len)
{
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = niov};
	ssize_t r = -1;

	errno = EPIPE;
	if (!(c->host_shut & VIRTIO_VSOCK_SHUTDOWN_RCV))
		r = sendmsg(c->host.fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (r >= 0) {
		atomic_fetch_add(&c->of->tx_bytes, r);
		return r;
	}
	if (errno == EAGAIN || errno == EINTR)
		return 0;
	host_shuts(c, VIRTIO_VSOCK_SHUTDOWN_RCV);
	return len;
}

/* The guest sends no more, and the host has it all. */
static void end_output(struct vsock_conn *c)
{
	if (c->guest_shut & VIRTIO_VSOCK_SHUTDOWN_SEND && !c->out_len && c->host.fd >= 0)
		shutdown(c->host.fd, SHUT_WR);
}

/* Returns false when c is gone. */
static bool flush(struct vsock_conn *c)
{
	while (c->out_len) {
		uint32_t first = MIN(c->out_len, (uint32_t)VSOCK_BUF - c->out_at);
		struct iovec v[] = {{c->out + c->out_at, first}, {c->out, c->out_len - first}};
		size_t n = send_host(c, v, 2, c->out_len);

		if (!n)
			return true;
		c->out_at = (c->out_at + n) % VSOCK_BUF;
		c->out_len -= n;
		took(c, n);
	}
	free(c->out);
	c->out = NULL;
	if (c->state != VSOCK_ENDED) {
		vsock_conn_rewatch(c);
		end_output(c);
		return true;
	}
	vsock_conn_close_host(c);
	if (c->pending)
		return true;
	vsock_conn_free(c);
	return false;
}

/* Keeps payload from byte `off` for the host; the caller has seen that it fits. */
static int keep(struct vsock_conn *c, const struct virtq_chain *chain, size_t off, uint32_t len)
{
	uint32_t at = (c->out_at + c->out_len) % VSOCK_BUF;
	uint32_t first = MIN(len, (uint32_t)VSOCK_BUF - at);

	if (!c->out) {
		c->out = malloc(VSOCK_BUF);
		if (!c->out)
			return -ENOMEM;
		vsock_conn_rewatch(c); /* tells at once if there is room by now */
	}
	virtq_chain_read(chain, VSOCK_HDR + off, c->out + at, first);
	virtq_chain_read(chain, VSOCK_HDR + off + first, c->out, len - first);
	c->out_len += len;
	return 0;
}

/* The payload's part of the chain's buffers, at most len bytes. */
static unsigned payload(const struct virtq_chain *chain, size_t len, struct iovec *ret_iov)
{
	size_t skip = VSOCK_HDR;
	unsigned n = 0;

	for (unsigned i = 0; i < chain->nout && len; i++) {
		size_t off = MIN(skip, chain->iov[i].iov_len);
		size_t part = MIN(chain->iov[i].iov_len - off, len);

		skip -= off;
		len -= part;
		if (part)
			ret_iov[n++] = (struct iovec){(char *)chain->iov[i].iov_base + off, part};
	}
	return n;
}

/* False: the guest breaks the rules, or memory is short. */
static bool guest_data(struct vsock_conn *c, uint32_t len, const struct virtq_chain *chain)
{
	struct iovec iov[VIRTQ_CHAIN_MAX];
	size_t n = 0;

	/* §5.10.6.3: only as much as the credit that we gave */
	if (c->guest_shut & VIRTIO_VSOCK_SHUTDOWN_SEND || len > VSOCK_BUF - c->out_len)
		return false;
	if (!len)
		return true;
	if (!c->out_len)
		n = send_host(c, iov, payload(chain, len, iov), len);
	took(c, n);
	return n == len || keep(c, chain, n, len - n) == 0;
}

/* §5.10.6.5. c stays. */
static void guest_shuts(struct vsock_conn *c, uint32_t flags)
{
	c->guest_shut |= flags & SHUT_BOTH;
	if (c->guest_shut == SHUT_BOTH) {
		finish(c);
		return;
	}
	if (c->guest_shut & VIRTIO_VSOCK_SHUTDOWN_RCV)
		shutdown(c->host.fd, SHUT_RD);
	end_output(c);
}

/* The guest has accepted: the host reads "OK" before anything else. */
static bool accepted(struct vsock_conn *c)
{
	char text[24];
	int n = snprintf(text, sizeof(text), "OK %u\n", c->host_port);

	if (c->state != VSOCK_REQUESTED || c->pending & BIT(VIRTIO_VSOCK_OP_REQUEST) ||
		send(c->host.fd, text, n, MSG_NOSIGNAL | MSG_DONTWAIT) != n)
		return false;
	c->state = VSOCK_OPEN;
	list_del(&c->timed);
	atomic_fetch_add(&c->of->connections, 1);
	return true;
}

/* False: not what may come now. */
static bool handle(
	struct vsock_conn *c, const struct virtio_vsock_hdr *h, const struct virtq_chain *chain)
{
	if (h->op == VIRTIO_VSOCK_OP_RESPONSE)
		return accepted(c);
	if (c->state != VSOCK_OPEN)
		return false;
	switch (h->op) {
	case VIRTIO_VSOCK_OP_SHUTDOWN:
		guest_shuts(c, h->flags);
		return true;
	case VIRTIO_VSOCK_OP_RW:
		return guest_data(c, h->len, chain);
	case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
		c->pending |= BIT(VIRTIO_VSOCK_OP_CREDIT_UPDATE);
		return true;
	default:
		return h->op == VIRTIO_VSOCK_OP_CREDIT_UPDATE;
	}
}

void vsock_conn_packet(
	struct vsock_conn *c, const struct virtio_vsock_hdr *h, const struct virtq_chain *chain)
{
	if (h->op == VIRTIO_VSOCK_OP_RST) {
		if (c->state == VSOCK_REQUESTED)
			atomic_fetch_add(&c->of->refused, 1);
		if (c->state != VSOCK_ENDED)
			vsock_conn_close_host(c);
		forget(c);
		return;
	}
	if (c->state == VSOCK_ENDED)
		return; /* it has not seen our RST yet */
	c->peer_alloc = h->buf_alloc;
	c->peer_fwd = h->fwd_cnt;
	if (credit(c))
		c->credit_asked = false;
	if (handle(c, h, chain))
		schedule(c);
	else
		vsock_conn_reset(c);
}

bool vsock_conns_request(struct vsock_conns *s, const struct virtio_vsock_hdr *h, int fd)
{
	struct vsock_conn *c = vsock_conn_new(s, fd);

	if (!c)
		return false;
	if (!vsock_conn_watch(c)) {
		vsock_conn_reset(c); /* still HELLO: nobody hears of it */
		return false;
	}
	vsock_conn_set_ports(c, h->src_port, h->dst_port);
	c->state = VSOCK_OPEN;
	c->peer_alloc = h->buf_alloc;
	c->peer_fwd = h->fwd_cnt;
	c->pending = BIT(VIRTIO_VSOCK_OP_RESPONSE);
	atomic_fetch_add(&s->connections, 1);
	schedule(c);
	return true;
}

void vsock_conns_accept(struct vsock_conns *s, int fd)
{
	struct vsock_conn *c = vsock_conn_new(s, fd);

	if (!c)
		return;
	if (vsock_conn_watch(c))
		vsock_conn_start_wait(c);
	else
		vsock_conn_reset(c);
}

/* "CONNECT 52", without the line's end. */
static bool parse_line(char *line, uint32_t *ret_port)
{
	char *save, *word = strtok_r(line, " ", &save), *number = strtok_r(NULL, " ", &save);
	uint64_t port;

	if (!word || strcasecmp(word, "CONNECT") != 0 || !number || strtok_r(NULL, " ", &save) ||
		num_parse(number, &port) < 0 || port > UINT32_MAX)
		return false;
	*ret_port = port;
	return true;
}

/* False: no good line; c is gone. */
static bool request(struct vsock_conn *c)
{
	uint32_t port;

	if (!parse_line(c->line, &port)) {
		vsock_conn_reset(c);
		return false;
	}
	c->state = VSOCK_REQUESTED;
	vsock_conn_set_ports(c, port, vsock_conns_port(c->of, port));
	c->pending = BIT(VIRTIO_VSOCK_OP_REQUEST);
	vsock_conn_start_wait(c);
	return true;
}

/* Reads no further than the line's end: what follows is for the guest. Returns true once the line
 * is whole and good; c may be gone else. */
static bool read_line(struct vsock_conn *c)
{
	for (;;) {
		char *at = c->line + c->nline, *nl;
		size_t room = VSOCK_LINE - c->nline;
		ssize_t n = recv(c->host.fd, at, room, MSG_PEEK | MSG_DONTWAIT);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return false;
		nl = n > 0 ? memchr(at, '\n', n) : NULL;
		if (nl)
			n = nl + 1 - at;
		if (n <= 0 || recv(c->host.fd, at, n, MSG_DONTWAIT) != n ||
			(!nl && (size_t)n == room)) {
			vsock_conn_reset(c);
			return false;
		}
		c->nline += n;
		if (nl) {
			*nl = 0;
			return request(c);
		}
	}
}

static void host_hangs_up(struct vsock_conn *c)
{
	c->host_gone = true;
	if (c->guest_shut & VIRTIO_VSOCK_SHUTDOWN_RCV)
		host_shuts(c, SHUT_BOTH);
	else if (c->host_shut & VIRTIO_VSOCK_SHUTDOWN_SEND)
		host_shuts(c, VIRTIO_VSOCK_SHUTDOWN_RCV);
}

void vsock_conn_event(struct vsock_conn *c, uint32_t events)
{
	if (c->state == VSOCK_HELLO && !read_line(c))
		return;
	if (c->state == VSOCK_REQUESTED && events & EPOLLHUP) {
		vsock_conn_reset(c);
		return;
	}
	c->readable = true; /* or at its end; reading tells */
	if (events & EPOLLHUP)
		host_hangs_up(c);
	if (!c->out_len || flush(c))
		schedule(c);
}

/* To the guest. */

static void fill_header(const struct vsock_conn *c, uint16_t op, struct virtio_vsock_hdr *ret_h)
{
	*ret_h = (struct virtio_vsock_hdr){.src_cid = VSOCK_HOST_CID,
		.dst_cid = c->of->guest_cid,
		.src_port = c->host_port,
		.dst_port = c->guest_port,
		.type = VIRTIO_VSOCK_TYPE_STREAM,
		.op = op,
		.flags = op == VIRTIO_VSOCK_OP_SHUTDOWN ? c->host_shut : 0,
		.buf_alloc = VSOCK_BUF,
		.fwd_cnt = c->fwd_cnt};
}

/* c may be gone. */
static void send_pending(struct vsock_conn *c, struct virtio_vsock_hdr *ret_h)
{
	/* Whichever comes first of these: answers before news. */
	static const uint8_t order[] = {VIRTIO_VSOCK_OP_RST, VIRTIO_VSOCK_OP_REQUEST,
		VIRTIO_VSOCK_OP_RESPONSE, VIRTIO_VSOCK_OP_CREDIT_UPDATE,
		VIRTIO_VSOCK_OP_CREDIT_REQUEST, VIRTIO_VSOCK_OP_SHUTDOWN};
	unsigned i = 0;

	while (!(c->pending & BIT(order[i])))
		i++;
	c->pending &= ~BIT(order[i]);
	c->told_fwd = c->fwd_cnt;
	fill_header(c, order[i], ret_h);
	if (order[i] == VIRTIO_VSOCK_OP_SHUTDOWN && c->host_shut == SHUT_BOTH)
		vsock_conn_start_wait(c);
	if (order[i] == VIRTIO_VSOCK_OP_RST)
		forget(c);
	else
		schedule(c);
}

/* Returns the bytes read; 0 with c changed: no data now, the end, or an error. */
static size_t read_host(struct vsock_conn *c, struct iovec *iov, unsigned niov, size_t room)
{
	size_t most = MIN(room, (size_t)VSOCK_PACKET), left = MIN(most, (size_t)credit(c));
	struct msghdr m = {.msg_iov = iov};
	ssize_t r;

	for (; m.msg_iovlen < niov && left; m.msg_iovlen++) {
		struct iovec *v = &iov[m.msg_iovlen];

		v->iov_len = MIN(v->iov_len, left);
		left -= v->iov_len;
	}
	r = recvmsg(c->host.fd, &m, MSG_DONTWAIT);
	if (r > 0)
		return r;
	if (r < 0 && errno == EINTR)
		return 0;
	c->readable = false;
	if (r == 0)
		host_shuts(c, VIRTIO_VSOCK_SHUTDOWN_SEND);
	else if (errno != EAGAIN)
		vsock_conn_reset(c);
	return 0;
}

bool vsock_conn_next(struct vsock_conn *c, struct virtio_vsock_hdr *ret_h, struct iovec *iov,
	unsigned niov, size_t room)
{
	size_t n;

	list_del(&c->ready);
	if (c->pending) {
		send_pending(c, ret_h);
		return true;
	}
	n = has_data(c) && credit(c) ? read_host(c, iov, niov, room) : 0;
	if (n) {
		c->sent += n;
		atomic_fetch_add(&c->of->rx_bytes, n);
		c->told_fwd = c->fwd_cnt;
		fill_header(c, VIRTIO_VSOCK_OP_RW, ret_h);
		ret_h->len = n;
	}
	schedule(c);
	return n;
}
