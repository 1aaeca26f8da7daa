/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a connection. The first one is made and shaken hands over on a private loop, because
 * control's is not running yet; then it waits, idle, until the first device attaches it to
 * control's. From there on a connection that ends is followed by another one. */
#include "offload/vu_peer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "offload/vu_peer_priv.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"

#define WAIT_MIN_MS 50
#define WAIT_MAX_MS 2000
#define MS	    1000000ull

/* For messages. */
static const char *name_of(const struct vu_peer *p)
{
	return p->o.called ? p->o.called : p->o.socket;
}

static void set_connected(struct vu_peer *p, bool connected)
{
	LOCK_SCOPE(&p->lock);

	p->status.connected = connected;
	p->status.connects += connected;
	p->status.since_ns = ev_now_ns();
	if (!connected)
		return;
	p->status.features = p->offer.features;
	p->status.protocol = p->offer.protocol;
}

/* ---- connecting ---- */

static int connect_to(const char *path, int *ret_fd)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	cleanup_fd int fd = -1;
	struct stat st;

	if (strlen(path) >= sizeof(a.sun_path))
		return -ENAMETOOLONG;
	if (stat(path, &st) == 0 && !S_ISSOCK(st.st_mode))
		return -ENOTSOCK;
	strcpy(a.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return -errno;
	*ret_fd = steal_fd(&fd);
	return 0;
}

static const char *connect_fault(int r)
{
	switch (r) {
	case -ENOENT:
		return "no such socket; start the back-end first";
	case -ECONNREFUSED:
		return "nobody listens there; a back-end that has ended left its socket behind";
	case -EAGAIN:
		return "the back-end accepts no more connections; it may serve another one";
	case -ENAMETOOLONG:
		return "the path is longer than 107 bytes";
	case -ENOTSOCK:
	case -EPROTOTYPE:
		return "not a socket, or not a stream socket";
	default:
		return strerrordesc_np(-r);
	}
}

static void retry(struct ev_timer *t);

static void try_later(struct vu_peer *p, const char *why)
{
	if (!p->o.socket) {
		log_line(p->o.log, LOG_ERROR, p->o.id,
			"vhost-user: %s; it came as a descriptor and cannot be connected again",
			why);
		return;
	}
	if (!p->complained)
		log_line(p->o.log, LOG_WARN, p->o.id,
			"vhost-user %s: %s; I/O waits until it is back", name_of(p), why);
	p->complained = true;
	p->again.fire = retry;
	ev_timer_arm(p->loop, &p->again, ev_now_ns() + p->wait_ms * MS);
	p->wait_ms = MIN(2 * p->wait_ms, p->o.retry_ms);
}

static void retry(struct ev_timer *t)
{
	struct vu_peer *p = container_of(t, struct vu_peer, again);
	cleanup_fd int fd = -1;
	int r = connect_to(p->o.socket, &fd);

	if (r == 0)
		r = vu_steps_open(&p->steps, p->loop, fd);
	if (r < 0) {
		try_later(p, connect_fault(r));
		return;
	}
	steal_fd(&fd);
	vu_shake_begin(p);
}

/* The steps failed, on whichever loop. */
static void on_failed(struct vu_steps *s, const char *why)
{
	struct vu_peer *p = container_of(s, struct vu_peer, steps);
	bool was_ready = p->state == PEER_READY;

	snprintf(p->why, sizeof(p->why), "%s", why);
	p->state = PEER_AWAY;
	p->ngiven = 0;
	p->refreshing = false;
	vu_peer_area_gone(p);
	vu_conn_free(steal_ptr(&p->back));
	vu_steps_close(s);
	if (!p->loop)
		return; /* the first handshake: open() looks at the state */
	if (was_ready) {
		struct vu_peer_status st;

		/* One that falls over at once is not run after. */
		vu_peer_status(p, &st);
		if (ev_now_ns() - st.since_ns > p->o.retry_ms * MS)
			p->wait_ms = WAIT_MIN_MS;
		p->complained = false;
		set_connected(p, false);
		if (p->client)
			p->client->gone(p->client->arg);
	}
	try_later(p, p->why);
}

/* ---- the back-end's own requests ---- */

/* Locked. What the driver wrote stays: the peer has been told, or is going to be. True: changed. */
static bool take_bytes(struct vu_peer *p, uint8_t *config)
{
	memcpy(config + p->wrote_from, p->config + p->wrote_from, p->wrote_to - p->wrote_from);
	if (!memcmp(p->config, config, VU_CONFIG_MAX))
		return false;
	memcpy(p->config, config, VU_CONFIG_MAX);
	return true;
}

static void got_config(void *arg, int result, const struct vu_msg *reply)
{
	struct vu_peer *p = arg;
	uint8_t config[VU_CONFIG_MAX] = {0};
	bool changed;

	p->refreshing = false;
	if (result < 0)
		return;
	if (vu_config_reply(p, reply, config) < 0) {
		vu_steps_fail(&p->steps, "it gives no config space of %u bytes", p->o.config_len);
		return;
	}
	{
		LOCK_SCOPE(&p->lock);
		changed = take_bytes(p, config);
	}
	if (changed && p->client)
		p->client->config_changed(p->client->arg);
}

void vu_peer_refresh(struct vu_peer *p)
{
	struct vu_msg ask;

	if (p->refreshing || !p->o.config_len || p->o.own_config)
		return;
	vu_config_request(p, &ask);
	p->refreshing = vu_steps_say(&p->steps, &ask, got_config, p) == 0;
}

static int back_message(void *arg, struct vu_msg *m)
{
	const struct vu_rule *rule = vu_backend_rule(m->request);
	struct vu_peer *p = arg;
	struct vu_msg ask;
	const char *why = "unknown request";

	if (!rule || vu_check(rule, m, false, p->offer.protocol, &why) < 0) {
		vu_steps_fail(&p->steps, "on its own channel: message %u: %s", m->request, why);
		return 0;
	}
	vu_peer_refresh(p);
	if (!(m->flags & VU_NEED_REPLY))
		return 0;
	ask = (struct vu_msg){
		.request = m->request, .flags = VU_VERSION | VU_REPLY, .size = 8, .p.u64 = 0};
	return vu_conn_send(p->back, &ask);
}

static void back_gone(void *arg, int why)
{
	struct vu_peer *p = arg;

	vu_conn_free(steal_ptr(&p->back));
}

static const struct vu_conn_ops back_ops = {.message = back_message, .gone = back_gone};

/* Without it the device works, but its size never changes. */
static void open_back(struct vu_peer *p)
{
	struct vu_msg m = {.request = VU_SET_BACKEND_REQ_FD, .nfds = 1};
	int fd[2];

	if (!(p->offer.protocol & VU_PF(BACKEND_REQ)) ||
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fd) < 0)
		return;
	m.fds[0] = fd[1];
	if (vu_conn_new(p->loop, fd[0], &back_ops, p, &p->back) < 0)
		close(fd[0]);
	else
		vu_steps_say(&p->steps, &m, NULL, p);
	close(fd[1]);
}

/* ---- ready ---- */

/* Config space is fetched once more, for it may have changed before the back-end could say so: a
 * first connection waits long for its device. */
static void listen_to(struct vu_peer *p)
{
	open_back(p);
	vu_peer_refresh(p);
}

/* On control's loop, with the handshake done and judged. */
static void become_ready(struct vu_peer *p)
{
	listen_to(p);
	if (p->client)
		p->client->ready(p->client->arg);
}

static bool take_config(struct vu_peer *p)
{
	LOCK_SCOPE(&p->lock);

	if (!p->o.config_len || p->o.own_config)
		return false;
	return take_bytes(p, p->offer.config);
}

void vu_peer_shaken(struct vu_peer *p)
{
	struct vu_peer_status was;
	char why[128];
	bool changed;

	if (vu_shake_judge(p, why, sizeof(why)) < 0) {
		vu_steps_fail(&p->steps, "%s", why);
		return;
	}
	p->state = PEER_READY;
	changed = take_config(p);
	vu_peer_status(p, &was);
	set_connected(p, true);
	if (!p->loop)
		return;
	if (p->complained)
		log_line(p->o.log, LOG_WARN, p->o.id, "vhost-user %s: back after %llu ms",
			name_of(p), (unsigned long long)((ev_now_ns() - was.since_ns) / MS));
	become_ready(p);
	if (changed && p->client)
		p->client->config_changed(p->client->arg);
}

/* ---- opening ---- */

static int fault(const struct vu_peer *p, struct err *e, int code, const char *why)
{
	if (p->o.socket)
		return err_set(e, ERR_HOST, code, "%s %s: vhost_socket %s: %s", p->o.flag, p->o.id,
			name_of(p), why);
	return err_set(e, ERR_HOST, code, "%s %s: fd: %s", p->o.flag, p->o.id, why);
}

/* Over a duplicate of p->fd, which stays. */
static int shake_hands(struct vu_peer *p, struct ev_loop *loop, struct err *e)
{
	uint64_t end = ev_now_ns() + p->o.timeout_ms * MS;
	cleanup_fd int fd = fcntl(p->fd, F_DUPFD_CLOEXEC, 0);
	int r = fd < 0 ? -errno : vu_steps_open(&p->steps, loop, fd);

	if (r < 0)
		return fault(p, e, r, strerrordesc_np(-r));
	steal_fd(&fd);
	vu_shake_begin(p);
	while (p->state == PEER_SHAKING && ev_now_ns() < end)
		ev_run_once(loop, 1 + (int)((end - ev_now_ns()) / MS));
	vu_steps_close(&p->steps);
	if (p->state == PEER_READY)
		return 0;
	return fault(p, e, -EPROTO,
		p->state == PEER_AWAY
			? p->why
			: "the handshake takes too long: is it a vhost-user back-end?");
}

static int first_connection(struct vu_peer *p, struct err *e)
{
	struct ev_loop *loop;
	int r = p->o.socket ? connect_to(p->o.socket, &p->fd) : 0;

	if (r < 0)
		return fault(p, e, r, connect_fault(r));
	r = ev_loop_new(&loop);
	if (r < 0)
		return r;
	r = shake_hands(p, loop, e);
	ev_loop_free(loop);
	return r;
}

static int copy_texts(struct vu_peer *p, const struct vu_peer_opts *o)
{
	p->o.socket = o->socket ? strdup(o->socket) : NULL;
	p->o.flag = strdup(o->flag);
	p->o.id = strdup(o->id);
	if (o->own_config)
		memcpy(p->config, p->o.config, o->config_len);
	p->o.called = o->called ? strdup(o->called) : NULL;
	return (o->socket && !p->o.socket) || (o->called && !p->o.called) || !p->o.flag || !p->o.id
		       ? -ENOMEM
		       : 0;
}

int vu_peer_open(const struct vu_peer_opts *o, struct vu_peer **ret_peer, struct err *e)
{
	uint32_t room = o->own_config ? sizeof(o->config) : VU_CONFIG_MAX;
	struct vu_peer *p = o->config_len <= room ? calloc(1, sizeof(*p)) : NULL;
	int r;

	if (!p)
		return -ENOMEM;
	pthread_mutex_init(&p->lock, NULL);
	p->o = *o;
	p->fd = o->socket ? -1 : o->fd;
	p->area.fd = -1;
	vu_front_queues(&p->o);
	p->o.retry_ms = o->retry_ms ? o->retry_ms : WAIT_MAX_MS;
	p->wait_ms = WAIT_MIN_MS;
	p->steps = (struct vu_steps){.failed = on_failed, .timeout_ms = o->timeout_ms};
	r = copy_texts(p, o);
	if (r == 0)
		r = first_connection(p, e);
	if (r < 0) {
		if (!o->socket)
			p->fd = -1; /* still the caller's */
		vu_peer_close(p);
		return r;
	}
	*ret_peer = p;
	return 0;
}

void vu_peer_close(struct vu_peer *p)
{
	if (!p)
		return;
	ev_timer_cancel(&p->again);
	vu_conn_free(p->back);
	vu_steps_close(&p->steps);
	cleanup_closep(&p->fd);
	cleanup_closep(&p->area.fd);
	free((char *)p->o.socket);
	free((char *)p->o.called);
	free((char *)p->o.flag);
	free((char *)p->o.id);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

int vu_peer_attach(struct vu_peer *p, struct ev_loop *loop, const struct vu_client *c)
{
	int r;

	if (p->client || (p->loop && p->loop != loop))
		return -EBUSY;
	if (!p->loop) {
		r = vu_steps_open(&p->steps, loop, p->fd);
		if (r < 0)
			return r;
		p->fd = -1;
		p->loop = loop;
		p->steps.agreed = p->offer.protocol;
		listen_to(p);
	}
	p->client_copy = *c;
	p->client = &p->client_copy;
	return 0;
}

void vu_peer_detach(struct vu_peer *p)
{
	vu_steps_mute(&p->steps, p);
	p->client = NULL;
	vu_peer_reset(p);
	vu_peer_take_back(p);
}

/* ---- what the proxy asks ---- */

void vu_peer_drop(struct vu_peer *p, const char *why)
{
	vu_steps_fail(&p->steps, "%s", why);
}

bool vu_peer_ready(const struct vu_peer *p)
{
	return p->state == PEER_READY && !p->steps.dead;
}

const struct vu_peer_opts *vu_peer_opts(const struct vu_peer *p)
{
	return &p->o;
}

void vu_peer_status(struct vu_peer *p, struct vu_peer_status *ret)
{
	LOCK_SCOPE(&p->lock);

	*ret = p->status;
}

uint64_t vu_peer_offers(struct vu_peer *p)
{
	LOCK_SCOPE(&p->lock);
	uint64_t f = p->status.features & p->o.may;

	/* Where a killed back-end stood in a packed ring, only the area tells. */
	if (!(p->status.protocol & VU_PF(INFLIGHT_SHMFD)))
		f &= ~VIRTIO_BIT_RING_PACKED;
	return f | p->o.own;
}

void vu_peer_config(struct vu_peer *p, uint32_t off, void *buf, uint32_t len)
{
	LOCK_SCOPE(&p->lock);

	memcpy(buf, p->config + off, len);
}

void vu_peer_config_set(struct vu_peer *p, uint32_t off, const void *buf, uint32_t len)
{
	LOCK_SCOPE(&p->lock);

	memcpy(p->config + off, buf, len);
	p->wrote_from = p->wrote_to ? MIN(p->wrote_from, off) : off;
	p->wrote_to = MAX(p->wrote_to, off + len);
}

void vu_peer_config_wrote(struct vu_peer *p, struct vu_config *ret)
{
	LOCK_SCOPE(&p->lock);

	ret->offset = p->wrote_from;
	ret->size = p->wrote_to - p->wrote_from;
	memcpy(ret->bytes, p->config + ret->offset, ret->size);
}

void vu_peer_needs(struct vu_peer *p, uint64_t features)
{
	LOCK_SCOPE(&p->lock);

	p->needs = features & ~p->o.own;
}
