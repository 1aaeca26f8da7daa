/* SPDX-License-Identifier: Apache-2.0 */
#include "offload/test_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "devices/virtio/devs.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "test rig: %s\n", what);
	abort();
}

static struct sockaddr_un address(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	strcpy(a.sun_path, path);
	return a;
}

static void hang_up(struct backend *b)
{
	vu_conn_free(steal_ptr(&b->front));
	vu_conn_free(steal_ptr(&b->inner));
	b->count = 0;
}

/* ---- in the middle ---- */

static bool drops_here(struct backend *b)
{
	if (!b->drop_at || b->drops <= 0 || ++b->count < b->drop_at)
		return false;
	b->drops--;
	return true;
}

static int from_front(void *arg, struct vu_msg *m)
{
	struct backend *b = arg;

	if (b->stall)
		return 0;
	if (drops_here(b)) {
		hang_up(b);
		return 0;
	}
	if (m->request < VU_REQUESTS) {
		b->messages[m->request]++;
		b->said[m->request] = m->p.u64;
	}
	if (m->request == VU_SET_VRING_ENABLE && m->p.state.index < VIRTIO_QUEUES)
		b->enabled[m->p.state.index] = (int)m->p.state.num;
	return vu_conn_send(b->inner, m);
}

static int from_inner(void *arg, struct vu_msg *m)
{
	struct backend *b = arg;

	if (b->stall)
		return 0;
	if (m->request == VU_GET_PROTOCOL_FEATURES)
		m->p.u64 &= ~b->hide;
	if (m->request == VU_GET_FEATURES)
		m->p.u64 &= ~b->hide_features;
	if (m->request == VU_GET_INFLIGHT_FD && b->no_area) {
		vu_msg_close_fds(m);
		m->p.inflight.mmap_size = 0;
	}
	return vu_conn_send(b->front, m);
}

static void gone(void *arg, int why)
{
	hang_up(arg);
}

static const struct vu_conn_ops front_ops = {from_front, gone};
static const struct vu_conn_ops inner_ops = {from_inner, gone};

static void on_connect(struct ev_fd *w, uint32_t events)
{
	struct backend *b = container_of(w, struct backend, listen);
	struct sockaddr_un a = address(b->inner_path);
	int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC);
	int to = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	must(fd >= 0 && to >= 0, "accept");
	must(connect(to, (struct sockaddr *)&a, sizeof(a)) == 0, "connect");
	hang_up(b);
	must(vu_conn_new(b->loop, fd, &front_ops, b, &b->front) == 0, "front");
	must(vu_conn_new(b->loop, to, &inner_ops, b, &b->inner) == 0, "inner");
}

/* ---- the thread ---- */

static int make(struct dev_host *h, const char *id, void *arg, struct virtio_dev **ret_dev)
{
	struct backend *b = arg;
	struct virtio_blk_opts o = {.serial = "served elsewhere", .queues = b->queues};
	struct virtio_net_opts n = {.mac = {2, 0, 0, 0, 0, 7}, .mtu = 9000, .pairs = b->pairs};

	return b->pairs ? virtio_net_new(h, id, b->net, &n, ret_dev)
			: virtio_blk_new(h, id, b->block, &o, ret_dev);
}

static void listen_at(struct backend *b)
{
	struct sockaddr_un a = address(b->path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	must(fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0, "bind");
	must(listen(fd, 8) == 0, "listen");
	b->listen = (struct ev_fd){.fd = fd, .ready = on_connect};
	must(ev_add(b->loop, &b->listen, EPOLLIN) == 0, "listen");
}

static void resize(struct backend *b)
{
	uint64_t size = atomic_exchange(&b->resize, 0);

	if (size)
		virtio_blk_resize(vu_device_virtio(b->device), size);
}

static void *thread_main(void *arg)
{
	struct backend *b = arg;

	while (!b->stop) {
		ev_run_once(b->loop, 2);
		resize(b);
	}
	hang_up(b);
	ev_del(&b->listen);
	close(b->listen.fd);
	unlink(b->path);
	vu_device_free(b->device);
	ev_loop_free(b->loop);
	return NULL;
}

void backend_start(struct backend *b)
{
	struct vu_device_opts o = {.id = "_disk0", .socket = b->inner_path, .make = make, .arg = b};

	b->stop = false;
	for (unsigned i = 0; i < VIRTIO_QUEUES; i++)
		b->enabled[i] = -1;
	must(ev_loop_new(&b->loop) == 0, "loop");
	must(vu_device_new(b->loop, &o, &b->device, NULL) == 0, "device");
	listen_at(b);
	must(pthread_create(&b->thread, NULL, thread_main, b) == 0, "thread");
	b->running = true;
}

void backend_stop(struct backend *b)
{
	if (!b->running)
		return;
	b->running = false;
	b->stop = true;
	pthread_join(b->thread, NULL);
}

static void init(struct backend *b, unsigned queues, unsigned pairs)
{
	int fd;

	*b = (struct backend){
		.disk_path = "/tmp/polyvisor-vu-XXXXXX", .queues = queues, .pairs = pairs};
	for (unsigned i = 0; i < pairs; i++)
		must(netdev_null_new(&b->net[i]) == 0, "net");
	fd = mkstemp(b->disk_path);
	must(fd >= 0 && ftruncate(fd, 1 * MIB) == 0, "disk");
	close(fd);
	snprintf(b->path, sizeof(b->path), "%s.sock", b->disk_path);
	snprintf(b->inner_path, sizeof(b->inner_path), "%s.inner", b->disk_path);
	struct block_opts o = {.path = b->disk_path, .fd = -1, .flag = "--disk", .id = "_disk0"};
	must(block_open(&o, &b->block, NULL) == 0, "block");
	backend_start(b);
}

void backend_init(struct backend *b)
{
	init(b, 1, 0);
}

void backend_init_queues(struct backend *b, unsigned queues)
{
	init(b, queues, 0);
}

void backend_init_net(struct backend *b, unsigned pairs)
{
	init(b, 1, pairs);
}

void backend_fini(struct backend *b)
{
	backend_stop(b);
	block_free(b->block);
	for (unsigned i = 0; i < b->pairs; i++)
		netdev_free(b->net[i]);
	unlink(b->disk_path);
}
