/* SPDX-License-Identifier: Apache-2.0 */
/* The table of virtio-vsock's connections, bounded: who is there by ports, their sockets on the
 * worker's loop, and one timer for all who wait, since all wait equally long. */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include "devices/virtio/vsock_priv.h"

/* Ports that we give to hosts' ends: well above those that guests' programs name. */
#define PORT_FIRST (UINT32_C(1) << 30)
#define PORT_LAST  (UINT32_MAX >> 1)

static void conn_ready(struct ev_fd *w, uint32_t events);

static struct list *bucket_of(struct vsock_conns *s, uint32_t guest_port, uint32_t host_port)
{
	uint64_t h = ((uint64_t)guest_port << 32 | host_port) * UINT64_C(0x9e3779b97f4a7c15);

	return &s->bucket[h >> 32 & (VSOCK_BUCKETS - 1)];
}

struct vsock_conn *vsock_conns_find(struct vsock_conns *s, uint32_t guest_port, uint32_t host_port)
{
	list_for_each (it, bucket_of(s, guest_port, host_port)) {
		struct vsock_conn *c = container_of(it, struct vsock_conn, hash);

		if (c->guest_port == guest_port && c->host_port == host_port)
			return c;
	}
	return NULL;
}

void vsock_conn_set_ports(struct vsock_conn *c, uint32_t guest_port, uint32_t host_port)
{
	c->guest_port = guest_port;
	c->host_port = host_port;
	list_add(bucket_of(c->of, guest_port, host_port), &c->hash);
}

void vsock_conn_close_host(struct vsock_conn *c)
{
	ev_del(&c->host);
	if (c->host.fd >= 0)
		close(c->host.fd);
	c->host.fd = -1;
	free(c->out);
	c->out = NULL;
	c->out_len = 0;
}

void vsock_conn_free(struct vsock_conn *c)
{
	vsock_conn_close_host(c);
	list_del(&c->all);
	list_del(&c->hash);
	list_del(&c->ready);
	list_del(&c->timed);
	c->of->n--;
	free(c);
}

/* Takes fd in all cases. */
struct vsock_conn *vsock_conn_new(struct vsock_conns *s, int fd)
{
	struct vsock_conn *c = s->n < s->max ? calloc(1, sizeof(*c)) : NULL;

	if (!c) {
		close(fd);
		atomic_fetch_add(&s->refused, 1);
		return NULL;
	}
	c->of = s;
	list_init(&c->hash);
	list_init(&c->ready);
	list_init(&c->timed);
	list_add(&s->all, &c->all);
	s->n++;
	c->host = (struct ev_fd){.fd = fd, .ready = conn_ready};
	return c;
}

static uint32_t events_of(const struct vsock_conn *c)
{
	return EPOLLIN | EPOLLRDHUP | EPOLLET | (c->out ? EPOLLOUT : 0);
}

bool vsock_conn_watch(struct vsock_conn *c)
{
	return ev_add(c->of->loop, &c->host, events_of(c)) == 0;
}

void vsock_conn_rewatch(struct vsock_conn *c)
{
	ev_mod(&c->host, events_of(c));
}

/* All waits are equally long, so the list is in the order of deadlines. */
void vsock_conn_start_wait(struct vsock_conn *c)
{
	struct vsock_conns *s = c->of;

	list_del(&c->timed);
	list_add(&s->timed, &c->timed);
	c->deadline = ev_now_ns() + VSOCK_TIMEOUT_NS;
	if (!s->timer.loop)
		ev_timer_arm(s->loop, &s->timer, c->deadline);
}

uint32_t vsock_conns_port(struct vsock_conns *s, uint32_t guest_port)
{
	uint32_t port;

	do {
		port = s->next_port;
		s->next_port = port == PORT_LAST ? PORT_FIRST : port + 1;
	} while (vsock_conns_find(s, guest_port, port));
	return port;
}

static void conn_ready(struct ev_fd *w, uint32_t events)
{
	struct vsock_conn *c = container_of(w, struct vsock_conn, host);
	struct vsock_conns *s = c->of;

	vsock_conn_event(c, events);
	s->wake(s);
}

static void timer_fires(struct ev_timer *t)
{
	struct vsock_conns *s = container_of(t, struct vsock_conns, timer);
	uint64_t now = ev_now_ns();

	while (!list_empty(&s->timed)) {
		struct vsock_conn *c = container_of(s->timed.next, struct vsock_conn, timed);

		if (c->deadline > now) {
			ev_timer_arm(s->loop, t, c->deadline);
			break;
		}
		list_del(&c->timed);
		vsock_conn_reset(c); /* in OPEN: our SHUTDOWN got no RST (§5.10.6.5) */
	}
	s->wake(s);
}

void vsock_conns_init(struct vsock_conns *s, uint64_t guest_cid, unsigned max,
	void (*wake)(struct vsock_conns *s))
{
	list_init(&s->all);
	list_init(&s->ready);
	list_init(&s->timed);
	for (unsigned i = 0; i < VSOCK_BUCKETS; i++)
		list_init(&s->bucket[i]);
	s->guest_cid = guest_cid;
	s->max = max;
	s->next_port = PORT_FIRST;
	s->timer.fire = timer_fires;
	s->wake = wake;
}

void vsock_conns_attach(struct vsock_conns *s, struct ev_loop *loop)
{
	s->loop = loop;
	list_for_each_safe (it, &s->all) {
		struct vsock_conn *c = container_of(it, struct vsock_conn, all);

		if (!list_empty(&c->timed))
			vsock_conn_start_wait(c); /* time stood still */
		if (c->host.fd >= 0 && !vsock_conn_watch(c))
			vsock_conn_reset(c);
	}
}

void vsock_conns_detach(struct vsock_conns *s)
{
	list_for_each (it, &s->all)
		ev_del(&container_of(it, struct vsock_conn, all)->host);
	ev_timer_cancel(&s->timer);
	s->loop = NULL;
}

void vsock_conns_close(struct vsock_conns *s)
{
	while (!list_empty(&s->all))
		vsock_conn_free(container_of(s->all.next, struct vsock_conn, all));
}
