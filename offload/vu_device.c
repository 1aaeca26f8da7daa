/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a connection. Whatever ends it (the front-end left, broke a rule, or we are freed),
 * the way back is one: the device is reset, which stops its rings wherever they are, and when that
 * has ended everything of the front-end's is given back and the socket listens again. */
#include "offload/vu_device_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "devices/virtio/core.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/fd_arg.h"
#include "vmm/base/num.h"

#define ACCEPT_RETRY_NS 100000000ull /* out of descriptors: look again then */

/* ---- what the device is given ---- */

static void host_event(struct dev_host *h, enum dev_event ev, int value)
{
}

static int host_doorbell(struct dev_host *h, bool add, enum dev_space space, uint64_t addr,
	unsigned size, bool has_match, uint64_t match, int fd)
{
	return -EOPNOTSUPP;
}

static uint64_t host_realtime(struct dev_host *h)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static const struct dev_host_ops host_ops = {
	.event = host_event,
	.doorbell = host_doorbell,
	.realtime_ns = host_realtime,
};

/* ---- leaving ---- */

static void begin_reset(struct vu_device *d)
{
	if (d->reset == VU_RESET_RUNS)
		return;
	d->reset = VU_RESET_RUNS;
	d->dev->ops->reset(d->dev);
}

/* Rings stand: back to the start of a session, but for memory and descriptors to call. */
static void clear_session(struct vu_device *d)
{
	d->features = 0;
	d->features_set = false;
	d->status = 0;
	vu_rings_clear(d);
	vu_log_switch(d);
}

static void leave(struct vu_device *d, int why)
{
	if (!d->conn)
		return;
	if (why == -ENOTCONN || why == -ECONNRESET) /* with answers that it did not read */
		log_line(d->log, LOG_INFO, d->id, "the front-end left");
	else if (why)
		log_limited(d->log, &d->limit, LOG_WARN, d->id, "the front-end is let go: %s",
			strerrordesc_np(-why));
	ev_del(&d->listen); /* the next one waits in the backlog until all is given back */
	vu_conn_free(d->conn);
	vu_conn_free(d->backend);
	d->conn = d->backend = NULL;
	vu_msg_close_fds(&d->waiting);
	d->waiting.request = 0;
	d->leaving = true;
	begin_reset(d);
}

static void finish_leaving(struct vu_device *d)
{
	d->reset = VU_RESET_NONE;
	clear_session(d);
	for (unsigned i = 0; i < d->dev->nqueues; i++)
		vu_ring_set_call(&d->ring[i], -1);
	d->protocol = 0;
	vu_inflight_fini(d);
	vu_log_fini(d);
	vu_mem_fini(&d->mem);
	d->leaving = false;
	if (!d->closing)
		ev_add(d->host.control, &d->listen, EPOLLIN);
}

int vu_device_reset(struct vu_device *d)
{
	if (d->reset != VU_RESET_ENDED) {
		begin_reset(d);
		return VU_WAIT;
	}
	d->reset = VU_RESET_NONE;
	vu_inflight_forget(d); /* of rings of the kind that they still are */
	clear_session(d);
	return 0;
}

/* ---- the front-end ---- */

/* Runs the request again that waited for a ring or the device. */
static void go_on(struct vu_device *d)
{
	struct vu_msg m = d->waiting;
	int r;

	d->waiting.request = d->waiting.nfds = 0;
	r = vu_request(d, &m);
	vu_msg_close_fds(&m);
	if (r < 0)
		leave(d, r);
	else if (!d->waiting.request)
		vu_conn_pause(d->conn, false);
}

static int on_message(void *arg, struct vu_msg *m)
{
	struct vu_device *d = arg;
	int r = vu_request(d, m);

	if (r == 0 && d->waiting.request)
		vu_conn_pause(d->conn, true);
	return r;
}

static void on_gone(void *arg, int why)
{
	leave(arg, why);
}

static const struct vu_conn_ops conn_ops = {on_message, on_gone};

/* On the back-end's channel: nothing but replies, to which we pay no heed. */
static int on_backend_message(void *arg, struct vu_msg *m)
{
	return m->flags & VU_REPLY ? 0 : -EPROTO;
}

static void on_backend_gone(void *arg, int why)
{
	struct vu_device *d = arg;

	vu_conn_free(d->backend);
	d->backend = NULL;
}

static const struct vu_conn_ops backend_ops = {on_backend_message, on_backend_gone};

int vu_device_set_backend(struct vu_device *d, int fd)
{
	struct vu_conn *c;
	int r = vu_conn_new(d->host.control, fd, &backend_ops, d, &c);

	if (r < 0)
		return r;
	vu_conn_free(d->backend);
	d->backend = c;
	return 0;
}

/* ---- news of the device ---- */

static void on_queue_stopped(void *transport, unsigned i, const struct virtq_pos *pos)
{
	struct vu_device *d = transport;

	vu_ring_stopped(&d->ring[i], pos);
	if (d->waiting.request)
		go_on(d);
}

static void on_reset_done(void *transport)
{
	struct vu_device *d = transport;

	d->reset = VU_RESET_ENDED;
	if (d->leaving)
		finish_leaving(d);
	else
		go_on(d);
}

static void on_config_changed(void *transport)
{
	const struct vu_msg m = {.request = VU_BACKEND_CONFIG_CHANGE, .flags = VU_VERSION};
	struct vu_device *d = transport;

	if (!d->backend || !(d->protocol & VU_PF(CONFIG)))
		return;
	if (vu_conn_send(d->backend, &m) < 0)
		on_backend_gone(d, -EPIPE);
}

static void on_broken(void *transport, unsigned i)
{
	struct vu_device *d = transport;

	log_limited(d->log, &d->limit, LOG_WARN, d->id, "the driver broke ring %u", i);
	d->status |= VIRTIO_S_NEEDS_RESET; /* virtio 1.2 §2.1.2 */
	vu_ring_failed(&d->ring[i]);
}

static const struct virtio_events events = {
	.queue_stopped = on_queue_stopped,
	.reset_done = on_reset_done,
	.config_changed = on_config_changed,
	.broken = on_broken,
};

void vu_device_config_changed(struct vu_device *d)
{
	on_config_changed(d);
}

/* ---- the socket ---- */

static void connected(struct vu_device *d, int fd)
{
	int r = vu_conn_new(d->host.control, fd, &conn_ops, d, &d->conn);

	if (r < 0) {
		close(fd);
		return;
	}
	d->connections++;
	d->connected_ns = ev_now_ns();
	log_line(d->log, LOG_INFO, d->id, "a front-end connected");
}

static void turn_away(struct vu_device *d, int fd)
{
	log_limited(d->log, &d->limit, LOG_WARN, d->id,
		"a second front-end was turned away: one at a time");
	close(fd);
}

static void take_client(struct vu_device *d)
{
	int fd = vsock_unix_accept(d->socket);

	if (fd >= 0 && d->conn) {
		turn_away(d, fd);
	} else if (fd >= 0) {
		connected(d, fd);
	} else if (fd != -EAGAIN) {
		ev_del(&d->listen);
		ev_timer_arm(d->host.control, &d->listen_again, ev_now_ns() + ACCEPT_RETRY_NS);
	}
}

/* Who comes back at once may be heard before it is known that they left. */
static void knock(struct ev_fd *w, uint32_t ready)
{
	struct vu_device *d = container_of(w, struct vu_device, listen);

	if (d->conn && vu_conn_hung_up(d->conn))
		leave(d, -ENOTCONN);
	else
		take_client(d);
}

static void listen_again(struct ev_timer *t)
{
	struct vu_device *d = container_of(t, struct vu_device, listen_again);

	if (!d->listen.loop && !d->leaving && !d->closing)
		ev_add(d->host.control, &d->listen, EPOLLIN);
}

/* ---- birth and death ---- */

static int make_device(struct vu_device *d, const struct vu_device_opts *o)
{
	int r = o->make(&d->host, o->id, o->arg, &d->dev);

	if (r < 0)
		return r;
	d->dev->events = &events;
	d->dev->transport = d;
	return vu_rings_init(d);
}

static int open_socket(struct vu_device *d, const struct vu_device_opts *o, struct err *e)
{
	int fd = fd_arg("--socket", o->socket, O_RDONLY, e), r;

	if (fd < 0 && fd != -ENOENT)
		return fd;
	r = vsock_unix_open(
		fd < 0 ? o->socket : NULL, fd < 0 ? -1 : fd, "--device", o->id, &d->socket, e);
	if (r < 0)
		return r;
	d->listen.fd = d->socket->listen_fd;
	return 0;
}

static int set_up(struct vu_device *d, const struct vu_device_opts *o, struct err *e)
{
	int r = open_socket(d, o, e);

	if (r < 0)
		return r;
	r = make_device(d, o);
	if (r == 0)
		r = ev_add(d->host.control, &d->listen, EPOLLIN);
	return r < 0 ? err_set(e, ERR_HOST, r, "--device %s: %s", o->id, strerrordesc_np(-r)) : 0;
}

int vu_device_new(struct ev_loop *loop, const struct vu_device_opts *o,
	struct vu_device **ret_device, struct err *e)
{
	struct vu_device *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return -ENOMEM;
	d->listen = (struct ev_fd){.fd = -1, .ready = knock};
	d->listen_again.fire = listen_again;
	d->nobody = -1;
	d->log = o->log;
	strncpy(d->id, o->id, sizeof(d->id) - 1);
	vu_mem_init(&d->mem);
	d->mem.allow_unsealed = o->allow_unsealed;
	d->host = (struct dev_host){
		.ops = &host_ops,
		.dma = &d->mem.guest,
		.irqs = &d->irqs,
		.control = loop,
		.log = o->log,
		.dma_limit = UINT64_MAX,
	};
	r = set_up(d, o, e);
	if (r < 0) {
		vu_device_free(d);
		return r;
	}
	*ret_device = d;
	return 0;
}

void vu_device_free(struct vu_device *d)
{
	if (!d)
		return;
	d->closing = true;
	leave(d, 0);
	while (d->leaving)
		ev_run_once(d->host.control, 100);
	ev_del(&d->listen);
	ev_timer_cancel(&d->listen_again);
	vsock_unix_free(d->socket);
	vu_inflight_fini(d);
	vu_log_fini(d);
	vu_rings_fini(d);
	virtio_dev_free(d->dev);
	vu_mem_fini(&d->mem);
	free(d);
}

void vu_device_status(const struct vu_device *d, struct vu_device_status *ret)
{
	*ret = (struct vu_device_status){
		.connected = d->conn != NULL,
		.broken = d->status & VIRTIO_S_NEEDS_RESET,
		.features = d->features,
		.protocol = d->protocol,
		.regions = d->mem.guest.n,
		.connections = d->connections,
		.connected_ns = d->conn ? d->connected_ns : 0,
	};
	for (unsigned i = 0; i < d->mem.guest.n; i++)
		ret->memory += d->mem.guest.region[i].size;
	for (unsigned i = 0; i < d->dev->nqueues; i++) {
		ret->running += d->ring[i].running;
		ret->queue[i].running = d->ring[i].running;
		ret->queue[i].enabled = d->ring[i].enabled;
		ret->queue[i].size = d->ring[i].num;
	}
}

struct virtio_dev *vu_device_virtio(struct vu_device *d)
{
	return d->dev;
}
