/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-vsock (virtio 1.2 §5.10), stream sockets, over a unix socket on the host. Queue 0 brings
 * packets to the driver, queue 1 takes its packets, queue 2 is for events, of which there are none
 * before migration (§5.10.6.7). One worker serves them with all host sockets.
 *
 * Packets to the driver are made when it has given a buffer, never before: connections that have
 * something to say take turns in `ready`. Only resets of what is no connection wait in `reply`;
 * when that is full, no more packets are taken from the driver until it has given buffers for
 * those (§5.10.6.1), and meanwhile its own ring holds it back. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include "devices/backend/vsock_unix.h"
#include "devices/virtio/devs.h"
#include "devices/virtio/queue_run.h"
#include "devices/virtio/vsock_priv.h"

#define RX	   0
#define TX	   1
#define EVENT	   2
#define QUEUE_SIZE 256
#define EVENT_SIZE 16
#define REPLIES	   256
#define BUDGET	   256 /* packets before the worker looks at its other fds */
#define ACCEPTS	   16  /* connections likewise */
#define RETRY_NS   UINT64_C(100000000)
#define F_STREAM   0 /* §5.10.3 */

struct virtio_vsock {
	struct virtio_dev dev; /* first */
	struct queue_run *run;
	struct vsock_unix *host; /* borrowed */
	struct virtio_vsock_config config;
	atomic_bool stale; /* connections are of a driver that is gone */
	_Atomic uint64_t dropped;

	/* The worker's. */
	struct virtq *q[3];
	struct ev_loop *loop; /* set while rx and tx are attached */
	struct ev_fd listen;
	struct ev_timer retry; /* listens again after the host ran out of something */
	struct vsock_conns conns;
	struct virtio_vsock_hdr reply[REPLIES];
	unsigned reply_at, nreplies;
	bool tx_blocked;	  /* until there is room in reply */
	struct virtq_chain chain; /* the one being looked at */
};

static struct virtio_vsock *of_dev(struct virtio_dev *d)
{
	return (struct virtio_vsock *)d;
}

/* To the driver. */

/* The chain's writable buffers behind the header. */
static unsigned behind_header(const struct virtq_chain *c, struct iovec *ret_iov)
{
	size_t skip = VSOCK_HDR;
	unsigned n = 0;

	for (unsigned i = c->nout; i < (unsigned)c->nout + c->nin; i++) {
		size_t off = MIN(skip, c->iov[i].iov_len);

		skip -= off;
		if (off < c->iov[i].iov_len)
			ret_iov[n++] = (struct iovec){
				(char *)c->iov[i].iov_base + off, c->iov[i].iov_len - off};
	}
	return n;
}

/* The next packet for the chain; false: there is none. */
static bool next_packet(struct virtio_vsock *v, struct virtio_vsock_hdr *ret_h)
{
	struct iovec iov[VIRTQ_CHAIN_MAX];
	size_t room = v->chain.in_len - VSOCK_HDR;
	unsigned niov;

	if (v->nreplies) {
		*ret_h = v->reply[v->reply_at];
		v->reply_at = (v->reply_at + 1) % REPLIES;
		v->nreplies--;
		return true;
	}
	while (!list_empty(&v->conns.ready)) {
		struct vsock_conn *c = container_of(v->conns.ready.next, struct vsock_conn, ready);

		niov = behind_header(&v->chain, iov);
		if (vsock_conn_next(c, ret_h, iov, niov, room))
			return true;
	}
	return false;
}

static bool has_packets(const struct virtio_vsock *v)
{
	return v->nreplies || !list_empty(&v->conns.ready);
}

/* Fills the ring with what is there, at most *budget packets: 1 when that is used up. */
static int receive_some(struct virtio_vsock *v, struct virtq *q, unsigned *budget)
{
	for (; *budget && has_packets(v); --*budget) {
		struct virtio_vsock_hdr h;
		int r = virtq_pop(q, &v->chain);

		if (r <= 0)
			return r;
		if (v->chain.in_len <= VSOCK_HDR) {
			virtq_push(q, &v->chain, 0); /* no room for any payload: useless */
			continue;
		}
		if (!next_packet(v, &h)) {
			virtq_unpop(q, 1);
			return 0;
		}
		virtq_chain_write(&v->chain, 0, &h, sizeof(h));
		virtq_push(q, &v->chain, sizeof(h) + h.len);
	}
	return *budget ? 0 : 1;
}

static void receive(struct virtio_vsock *v)
{
	struct virtq *q = v->q[RX];
	unsigned budget = BUDGET;
	int more;

	if (!v->loop || q->broken)
		return;
	do {
		virtq_disable_kick(q);
		more = receive_some(v, q, &budget);
		virtq_flush(q);
	} while (more == 0 && has_packets(v) && virtq_enable_kick(q));
	if (more < 0)
		queue_run_broken(v->run, RX);
	else if (more)
		queue_run_again(v->run, RX);
	if (v->tx_blocked && v->nreplies <= REPLIES / 2) {
		v->tx_blocked = false;
		queue_run_again(v->run, TX);
	}
}

static void wake(struct vsock_conns *s)
{
	receive(container_of(s, struct virtio_vsock, conns));
}

/* From the driver. */

/* §5.10.6.5: an RST for what is no connection. The caller has seen that there is room. */
static void refuse(struct virtio_vsock *v, const struct virtio_vsock_hdr *h)
{
	if (h->op == VIRTIO_VSOCK_OP_RST)
		return;
	v->reply[(v->reply_at + v->nreplies++) % REPLIES] =
		(struct virtio_vsock_hdr){.src_cid = h->dst_cid,
			.dst_cid = h->src_cid,
			.src_port = h->dst_port,
			.dst_port = h->src_port,
			.type = h->type,
			.op = VIRTIO_VSOCK_OP_RST};
}

static void connect_host(struct virtio_vsock *v, const struct virtio_vsock_hdr *h)
{
	int fd = vsock_unix_connect(v->host, h->dst_port);

	if (fd < 0)
		atomic_fetch_add(&v->conns.refused, 1);
	if (fd < 0 || !vsock_conns_request(&v->conns, h, fd))
		refuse(v, h);
}

static void packet(struct virtio_vsock *v, const struct virtio_vsock_hdr *h)
{
	struct vsock_conn *c;

	/* §5.10.6.2, §5.10.6.4: of the types we know one, of the hosts one. */
	if (h->dst_cid != VSOCK_HOST_CID || h->type != VIRTIO_VSOCK_TYPE_STREAM) {
		refuse(v, h);
		return;
	}
	c = vsock_conns_find(&v->conns, h->src_port, h->dst_port);
	if (c)
		vsock_conn_packet(c, h, &v->chain);
	else if (h->op == VIRTIO_VSOCK_OP_REQUEST)
		connect_host(v, h);
	else
		refuse(v, h);
}

/* A packet that nothing can be answered to is dropped: no header, a foreign source (§5.10.6.4), or
 * less payload than it says. */
static void transmit(struct virtio_vsock *v)
{
	const struct virtq_chain *c = &v->chain;
	struct virtio_vsock_hdr h;

	if (virtq_chain_read(c, 0, &h, sizeof(h)) < sizeof(h) || h.src_cid != v->config.guest_cid ||
		h.len > c->out_len - sizeof(h))
		atomic_fetch_add(&v->dropped, 1);
	else
		packet(v, &h);
}

static int transmit_some(struct virtio_vsock *v, struct virtq *q, unsigned *budget)
{
	for (; *budget; --*budget) {
		int r;

		v->tx_blocked = v->nreplies == REPLIES;
		if (v->tx_blocked)
			return 0;
		r = virtq_pop(q, &v->chain);
		if (r <= 0)
			return r;
		transmit(v);
		virtq_push(q, &v->chain, 0);
	}
	return 1;
}

static void process_tx(struct virtio_vsock *v, struct virtq *q)
{
	unsigned budget = BUDGET;
	int more;

	if (!v->loop || v->tx_blocked)
		return;
	do {
		virtq_disable_kick(q);
		more = transmit_some(v, q, &budget);
		virtq_flush(q);
	} while (more == 0 && !v->tx_blocked && virtq_enable_kick(q));
	if (more < 0)
		queue_run_broken(v->run, TX);
	else if (more)
		queue_run_again(v->run, TX);
}

static void vsock_process(struct virtio_dev *d, unsigned i, struct virtq *q)
{
	struct virtio_vsock *v = of_dev(d);

	if (i == TX)
		process_tx(v, q);
	if (i != EVENT)
		receive(v);
}

/* From the host. */

static void listen_again(struct ev_timer *t)
{
	struct virtio_vsock *v = container_of(t, struct virtio_vsock, retry);

	if (ev_add(v->loop, &v->listen, EPOLLIN) < 0)
		ev_timer_arm(v->loop, t, ev_now_ns() + RETRY_NS);
}

static void host_connects(struct ev_fd *w, uint32_t events)
{
	struct virtio_vsock *v = container_of(w, struct virtio_vsock, listen);
	int fd = 0;

	for (int i = 0; i < ACCEPTS && fd >= 0; i++) {
		fd = vsock_unix_accept(v->host);
		if (fd >= 0)
			vsock_conns_accept(&v->conns, fd);
	}
	if (fd < 0 && fd != -EAGAIN) { /* out of fds or memory: who waits, waits */
		ev_del(w);
		ev_timer_arm(v->loop, &v->retry, ev_now_ns() + RETRY_NS);
	}
}

/* The worker's ends. */

static void drop_stale(struct virtio_vsock *v)
{
	if (!atomic_exchange(&v->stale, false))
		return;
	vsock_conns_close(&v->conns);
	v->nreplies = 0;
	v->tx_blocked = false;
}

static int bind_loop(struct virtio_vsock *v, struct ev_loop *loop)
{
	int r = ev_add(loop, &v->listen, EPOLLIN);

	if (r < 0)
		return r;
	drop_stale(v);
	v->loop = loop;
	vsock_conns_attach(&v->conns, loop);
	queue_run_again(v->run, RX);
	queue_run_again(v->run, TX);
	return 0;
}

static void unbind_loop(struct virtio_vsock *v)
{
	ev_del(&v->listen);
	ev_timer_cancel(&v->retry);
	vsock_conns_detach(&v->conns);
	v->loop = NULL;
	drop_stale(v);
}

static int vsock_attach(struct virtio_dev *d, unsigned i, struct virtq *q, struct ev_loop *loop)
{
	struct virtio_vsock *v = of_dev(d);

	int r = 0;

	v->q[i] = q;
	if (i != EVENT && v->q[RX] && v->q[TX])
		r = bind_loop(v, loop);
	if (r < 0)
		v->q[i] = NULL;
	return r;
}

static void vsock_detach(struct virtio_dev *d, unsigned i)
{
	struct virtio_vsock *v = of_dev(d);

	if (v->loop && i != EVENT)
		unbind_loop(v);
	v->q[i] = NULL;
}

static const struct queue_worker_ops vsock_worker = {
	.process = vsock_process,
	.attach = vsock_attach,
	.detach = vsock_detach,
};

/* The device. */

static uint64_t vsock_features(struct virtio_dev *d)
{
	return VIRTIO_RING_FEATURES | UINT64_C(1) << F_STREAM;
}

/* §5.10.3: with no socket type accepted it is stream all the same. A driver that negotiates is a
 * new one. */
static int vsock_accept(struct virtio_dev *d, uint64_t features)
{
	atomic_store(&of_dev(d)->stale, true);
	return 0;
}

static void vsock_config_read(struct virtio_dev *d, uint32_t off, void *buf, uint32_t len)
{
	memcpy(buf, (uint8_t *)&of_dev(d)->config + off, len);
}

static int vsock_queue_start(struct virtio_dev *d, unsigned i, const struct virtq_setup *s)
{
	return queue_run_start(of_dev(d)->run, i, s);
}

static int vsock_queue_stop(struct virtio_dev *d, unsigned i)
{
	return queue_run_stop(of_dev(d)->run, i);
}

static void vsock_reset(struct virtio_dev *d)
{
	atomic_store(&of_dev(d)->stale, true);
	queue_run_reset(of_dev(d)->run);
}

/* §5.10.4 */
static bool usable(uint64_t cid)
{
	return cid > VSOCK_HOST_CID && cid < UINT32_MAX;
}

/* Connections do not outlive the process that has their sockets: none are saved. */
static int vsock_visit(struct virtio_dev *d, struct visitor *v)
{
	struct virtio_vsock *s = of_dev(d);
	uint64_t cid = s->config.guest_cid;
	uint32_t version = 1;

	visit_begin(v, "vsock", &version);
	visit_u64(v, "guest_cid", &cid);
	visit_end(v);
	if (visit_mode(v) != VISIT_LOAD || visit_status(v))
		return visit_status(v);
	if (!usable(cid))
		return visit_fail(v, -EINVAL);
	s->config.guest_cid = s->conns.guest_cid = cid;
	return 0;
}

static unsigned vsock_counters(struct virtio_dev *d, struct dev_counter *ret, unsigned max)
{
	struct virtio_vsock *v = of_dev(d);
	const struct dev_counter c[] = {
		{"connections", atomic_load(&v->conns.connections)},
		{"rx_bytes", atomic_load(&v->conns.rx_bytes)},
		{"tx_bytes", atomic_load(&v->conns.tx_bytes)},
		{"refused", atomic_load(&v->conns.refused)},
		{"dropped", atomic_load(&v->dropped)},
	};
	unsigned n = MIN(max, (unsigned)ARRAY_SIZE(c));

	memcpy(ret, c, n * sizeof(c[0]));
	return n;
}

static void vsock_free(struct virtio_dev *d)
{
	struct virtio_vsock *v = of_dev(d);

	queue_run_free(v->run);
	vsock_conns_close(&v->conns);
	free(v);
}

static const struct virtio_dev_ops vsock_ops = {
	.features = vsock_features,
	.accept = vsock_accept,
	.config_read = vsock_config_read,
	.queue_start = vsock_queue_start,
	.queue_stop = vsock_queue_stop,
	.reset = vsock_reset,
	.visit = vsock_visit,
	.counters = vsock_counters,
	.free = vsock_free,
};

/* Half of the fds that the process may have are left to everything else. */
static unsigned max_conns(void)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l) < 0)
		return VSOCK_CONNS / 2;
	return MIN(l.rlim_cur / 2, (rlim_t)VSOCK_CONNS);
}

int virtio_vsock_new(struct dev_host *h, const char *id, uint64_t cid, struct vsock_unix *u,
	struct virtio_dev **ret_dev)
{
	struct virtio_vsock *v;
	const char *names[] = {id};
	int r;

	if (!usable(cid))
		return -EINVAL;
	v = calloc(1, sizeof(*v));
	if (!v)
		return -ENOMEM;
	v->dev = (struct virtio_dev){.ops = &vsock_ops,
		.type = VIRTIO_TYPE_VSOCK,
		.nqueues = 3,
		.queue_max = {QUEUE_SIZE, QUEUE_SIZE, EVENT_SIZE},
		.config_len = sizeof(v->config),
		.host = h};
	snprintf(v->dev.id, sizeof(v->dev.id), "%s", id);
	v->config.guest_cid = cid;
	v->host = u;
	v->listen = (struct ev_fd){.fd = u->listen_fd, .ready = host_connects};
	v->retry.fire = listen_again;
	vsock_conns_init(&v->conns, cid, max_conns(), wake);
	r = queue_run_new(&v->dev, &vsock_worker, (unsigned[]){0, 0, 0}, names, &v->run);
	if (r < 0) {
		free(v);
		return r;
	}
	*ret_dev = &v->dev;
	return 0;
}
