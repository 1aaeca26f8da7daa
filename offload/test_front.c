/* SPDX-License-Identifier: Apache-2.0 */
#include "offload/test_front.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "devices/virtio/devs.h"
#include "vmm/base/num.h"

#define WAIT_MS 5000

/* Used by fuzz targets, too: not Criterion's. */
#define must(c)                                                                                    \
	do                                                                                         \
		if (!(c)) {                                                                        \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #c);            \
			abort();                                                                   \
		}                                                                                  \
	while (0)

int front_memfd(uint64_t size, bool sealed)
{
	int fd = memfd_create("front", MFD_CLOEXEC | (sealed ? MFD_ALLOW_SEALING : 0));

	must(fd >= 0 && ftruncate(fd, (off_t)size) == 0);
	if (sealed)
		must(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0);
	return fd;
}

unsigned front_open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

bool front_fds_become(unsigned n)
{
	for (int i = 0; i < 5000 && front_open_fds() != n; i++)
		usleep(1000);
	return front_open_fds() == n;
}

/* ---- the back-end ---- */

static int make_disk(struct dev_host *h, const char *id, void *arg, struct virtio_dev **ret_dev)
{
	struct virtio_blk_opts o = {.serial = "front"};

	return virtio_blk_new(h, id, arg, &o, ret_dev);
}

static int make_net(struct dev_host *h, const char *id, void *arg, struct virtio_dev **ret_dev)
{
	struct front *t = arg;
	struct virtio_net_opts o = {.mac = {2, 0, 0, 0, 0, 1}, .pairs = t->net[1] ? 2 : 1};

	return virtio_net_new(h, id, t->net, &o, ret_dev);
}

static void *run(void *arg)
{
	struct front *t = arg;

	while (!atomic_load(&t->stop))
		ev_run_once(t->loop, 5);
	return NULL;
}

static struct netdev *net_to_nowhere(void)
{
	struct netdev *n;
	int pair[2];

	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	close(pair[1]);
	must(netdev_stream_new(pair[0], &n) == 0);
	return n;
}

static void init(struct front *t, unsigned pairs)
{
	struct vu_device_opts o = {.id = "_dev0", .socket = t->path};
	static struct log log = {.fd = -1};
	struct err e = {0};

	*t = (struct front){.fd = -1, .memfd = -1, .enable = true};
	for (unsigned i = 0; i < GUEST_QUEUES; i++)
		t->kick[i] = t->call[i] = -1;
	if (getenv("FRONT_LOG"))
		log = (struct log){.fd = 2, .level = LOG_DEBUG};
	snprintf(t->path, sizeof(t->path), "/tmp/polyvisor-front-%d.sock", (int)getpid());
	o.log = &log;
	o.make = pairs ? make_net : make_disk;
	must(ev_loop_new(&t->loop) == 0);
	for (unsigned i = 0; i < pairs; i++)
		t->net[i] = net_to_nowhere();
	o.arg = t;
	if (!pairs) {
		must(block_null_new(1 * MIB, false, &t->block) == 0);
		o.arg = t->block;
	}
	must(vu_device_new(t->loop, &o, &t->device, &e) == 0);
	pthread_create(&t->thread, NULL, run, t);
}

void front_init(struct front *t, bool net)
{
	init(t, net);
}

void front_init_pairs(struct front *t)
{
	init(t, 2);
}

void front_fini(struct front *t)
{
	front_hang_up(t);
	atomic_store(&t->stop, true);
	pthread_join(t->thread, NULL);
	vu_device_free(t->device);
	block_free(t->block);
	netdev_free(t->net[0]);
	netdev_free(t->net[1]);
	ev_loop_free(t->loop);
}

/* ---- the socket ---- */

void front_connect(struct front *t)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	strcpy(a.sun_path, t->path);
	t->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	must(connect(t->fd, (struct sockaddr *)&a, sizeof(a)) == 0);
}

static void drop(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void front_hang_up(struct front *t)
{
	drop(&t->fd);
	drop(&t->memfd);
	for (unsigned i = 0; i < GUEST_QUEUES; i++) {
		drop(&t->kick[i]);
		drop(&t->call[i]);
	}
	if (t->f.mem.n)
		munmap(t->f.mem.region[0].host, FRONT_RAM);
	t->f.mem.n = 0;
	t->agreed = 0;
}

void front_send(struct front *t, uint32_t request, uint32_t flags, const void *p, uint32_t size,
	const int *fds, unsigned nfds)
{
	uint32_t head[3] = {request, VU_VERSION | flags, size};
	struct iovec iov[2] = {{head, sizeof(head)}, {(void *)p, size}};
	union {
		struct cmsghdr h;
		char space[CMSG_SPACE(32 * sizeof(int))];
	} c = {0};
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = size ? 2 : 1};

	if (nfds) {
		c.h = (struct cmsghdr){CMSG_LEN(nfds * sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
		memcpy(CMSG_DATA(&c.h), fds, nfds * sizeof(int));
		m.msg_control = &c;
		m.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
	}
	sendmsg(t->fd, &m,
		MSG_NOSIGNAL); /* when it has hung up, the test sees that at the answer */
}

/* libFuzzer's alarm comes every few seconds, and poll() is never restarted (signal(7)). */
static bool readable(const struct front *t)
{
	struct pollfd p = {.fd = t->fd, .events = POLLIN};
	int n;

	do
		n = poll(&p, 1, WAIT_MS);
	while (n < 0 && errno == EINTR);
	return n == 1;
}

static bool receive(struct front *t, void *to, size_t len)
{
	while (len) {
		ssize_t n = readable(t) ? recv(t->fd, to, len, 0) : -1;

		if (n <= 0)
			return false;
		to = (char *)to + n;
		len -= n;
	}
	return true;
}

bool front_receive(struct front *t, struct vu_msg *m)
{
	*m = (struct vu_msg){0};
	return receive(t, m, 12) && m->size <= sizeof(m->p) && receive(t, &m->p, m->size);
}

bool front_closed(struct front *t)
{
	char c[64];
	ssize_t n;

	do
		n = readable(t) ? recv(t->fd, c, sizeof(c), MSG_DONTWAIT) : 1;
	while (n > 1);
	return n <= 0;
}

uint64_t front_ask(struct front *t, uint32_t request, const void *p, uint32_t size, const int *fds,
	unsigned nfds)
{
	struct vu_msg m;

	front_send(t, request, VU_NEED_REPLY, p, size, fds, nfds);
	if (!front_receive(t, &m))
		return UINT64_MAX;
	must(m.request == request);
	must(m.flags == (VU_VERSION | VU_REPLY));
	must(m.size == 8u);
	return m.p.u64;
}

uint64_t front_ask_u64(struct front *t, uint32_t request, uint64_t v)
{
	return front_ask(t, request, &v, 8, NULL, 0);
}

uint64_t front_ask_state(struct front *t, uint32_t request, uint32_t index, uint32_t num)
{
	struct vu_vring_state s = {index, num};

	return front_ask(t, request, &s, sizeof(s), NULL, 0);
}

uint64_t front_ask_fd(struct front *t, uint32_t request, uint32_t index, int fd)
{
	uint64_t v = index | (fd < 0 ? VU_VRING_NO_FD : 0);

	return front_ask(t, request, &v, 8, &fd, fd >= 0);
}

uint64_t front_get_u64(struct front *t, uint32_t request)
{
	struct vu_msg m;

	front_send(t, request, 0, NULL, 0, NULL, 0);
	must(front_receive(t, &m));
	must(m.request == request);
	return m.p.u64;
}

uint32_t front_get_base(struct front *t, uint32_t index)
{
	struct vu_vring_state s = {index, 0};
	struct vu_msg m;

	front_send(t, VU_GET_VRING_BASE, 0, &s, sizeof(s), NULL, 0);
	must(front_receive(t, &m));
	must(m.request == (uint32_t)VU_GET_VRING_BASE);
	must(m.p.state.index == index);
	return m.p.state.num;
}

uint64_t front_add_mem(struct front *t, uint64_t gpa, uint64_t size, uint64_t offset, int fd)
{
	struct vu_mem_reg r = {.region = {gpa, size, FRONT_UVA + gpa, offset}};

	return front_ask(t, VU_ADD_MEM_REG, &r, sizeof(r), &fd, 1);
}

/* ---- the driver ---- */

static void setup(struct guest_driver *g, unsigned i, uint16_t size, uint64_t desc, uint64_t avail,
	uint64_t used)
{
	struct front *t = container_of(g, struct front, g);
	struct vu_vring_addr a = {i, 0, FRONT_UVA + desc, FRONT_UVA + used, FRONT_UVA + avail, 0};

	drop(&t->kick[i]);
	drop(&t->call[i]);
	t->kick[i] = eventfd(0, EFD_CLOEXEC);
	t->call[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	must(front_ask_state(t, VU_SET_VRING_NUM, i, size) == 0u);
	must(front_ask(t, VU_SET_VRING_ADDR, &a, sizeof(a), NULL, 0) == 0u);
	must(front_ask_state(t, VU_SET_VRING_BASE, i,
		     g->negotiated & VIRTIO_BIT_RING_PACKED ? 0x8000 : 0) == 0u);
	must(front_ask_fd(t, VU_SET_VRING_KICK, i, t->kick[i]) == 0u);
	must(front_ask_fd(t, VU_SET_VRING_CALL, i, t->call[i]) == 0u);
	if (t->enable)
		must(front_ask_state(t, VU_SET_VRING_ENABLE, i, 1) == 0u);
}

static void kick(struct guest_driver *g, unsigned i)
{
	eventfd_write(container_of(g, struct front, g)->kick[i], 1);
}

static bool interrupted(struct guest_driver *g, unsigned i)
{
	eventfd_t n;

	return eventfd_read(container_of(g, struct front, g)->call[i], &n) == 0;
}

static const struct guest_transport vhost_user = {
	.name = "vhost-user",
	.queue_setup = setup,
	.kick = kick,
	.interrupted = interrupted,
};

void front_greet(struct front *t, uint64_t features)
{
	front_connect(t);
	t->memfd = front_memfd(FRONT_RAM, true);
	t->f.mem = (struct guest_mem){.n = 1, .page_size = (size_t)sysconf(_SC_PAGESIZE)};
	t->f.mem.region[0] = (struct mem_region){0, FRONT_RAM,
		mmap(NULL, FRONT_RAM, PROT_READ | PROT_WRITE, MAP_SHARED, t->memfd, 0), -1, 0};
	t->g = (struct guest_driver){.f = &t->f, .t = &vhost_user, .heap = 0x10000};
	front_send(t, VU_SET_OWNER, 0, NULL, 0, NULL, 0);
	t->g.negotiated = front_get_u64(t, VU_GET_FEATURES) & (features | VU_F_PROTOCOL_FEATURES);
	t->agreed = front_get_u64(t, VU_GET_PROTOCOL_FEATURES);
	must(front_ask_u64(t, VU_SET_PROTOCOL_FEATURES, t->agreed) == 0u);
	must(front_ask_u64(t, VU_SET_FEATURES, t->g.negotiated) == 0u);
	must(front_add_mem(t, 0, FRONT_RAM, 0, t->memfd) == 0u);
}

void front_start(struct front *t, uint64_t features)
{
	front_greet(t, features);
	guest_queue_init(&t->g, 0, 16);
}

bool front_read_sector(struct front *t, uint64_t sector)
{
	struct guest_driver *g = &t->g;
	struct virtio_blk_outhdr h = {.type = VIRTIO_BLK_T_IN, .sector = sector};
	uint64_t hdr = guest_alloc(g, 16, 16), data = guest_alloc(g, 512, 16);
	uint64_t status = guest_alloc(g, 1, 1);
	struct guest_buf b[] = {{hdr, 16, false}, {data, 512, true}, {status, 1, true}};

	memcpy(guest_ptr(g, hdr, 16), &h, 16);
	memset(guest_ptr(g, data, 512), 0x11, 512);
	*(uint8_t *)guest_ptr(g, status, 1) = 0xff;
	guest_add(g, 0, b, 3);
	kick(g, 0);
	return guest_wait_used(g, 0, NULL, NULL) && *(uint8_t *)guest_ptr(g, status, 1) == 0 &&
	       *(uint8_t *)guest_ptr(g, data, 1) == 0;
}
