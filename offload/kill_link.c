/* SPDX-License-Identifier: Apache-2.0 */
#include "offload/kill_link.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "offload/vhost_user.h"
#include "vmm/base/cleanup.h"

#define PATIENCE_MS 30000 /* on a machine where everything else runs, too */

static int failed(struct kill_link *l, int r, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static int failed(struct kill_link *l, int r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(l->why, sizeof(l->why), fmt, ap);
	va_end(ap);
	return r;
}

/* ---- the process ---- */

int kill_link_spawn(struct kill_link *l)
{
	l->dead = false;
	l->pid = fork();
	if (l->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL); /* no orphans of a test */
		execv(l->argv[0], l->argv);
		_exit(127);
	}
	return l->pid < 0 ? failed(l, -errno, "cannot fork") : 0;
}

/* 0: it lives, or a SIGKILL ended it (then l->dead). */
static int look(struct kill_link *l, int options)
{
	int status;
	pid_t p = l->dead ? 0 : waitpid(l->pid, &status, options);

	if (p <= 0)
		return 0;
	l->dead = true;
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		return 0;
	return failed(l, -ECHILD, "polyvisor-offload ended by itself, %s %d",
		WIFSIGNALED(status) ? "signal" : "status",
		WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

int kill_link_down(struct kill_link *l)
{
	int r = look(l, 0);

	cleanup_closep(&l->fd);
	l->fd = -1;
	l->pid = 0;
	return r;
}

/* The other side has gone: killed, or it has something to answer for. A SIGKILL on its way shows
 * within moments. */
static int gone(struct kill_link *l, const char *what)
{
	for (int i = 0; i < 2000; i++) {
		int r = look(l, WNOHANG);

		if (r < 0)
			return r;
		if (l->dead)
			return -EPIPE;
		usleep(1000);
	}
	return failed(l, -ECONNRESET, "%s: polyvisor-offload lives, but has hung up", what);
}

/* ---- messages ---- */

static const char *name_of(uint32_t request, char buf[32])
{
	snprintf(buf, 32, "message %u", request);
	return buf;
}

static int say(
	struct kill_link *l, uint32_t request, uint32_t flags, const void *p, uint32_t size, int fd)
{
	uint32_t head[3] = {request, VU_VERSION | flags, size};
	struct iovec iov[2] = {{head, sizeof(head)}, {(void *)p, size}};
	union {
		struct cmsghdr h;
		char space[CMSG_SPACE(sizeof(int))];
	} c = {.h = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = size ? 2 : 1};
	char buf[32];

	if (fd >= 0) {
		memcpy(CMSG_DATA(&c.h), &fd, sizeof(fd));
		m.msg_control = &c;
		m.msg_controllen = sizeof(c.space);
	}
	return sendmsg(l->fd, &m, MSG_NOSIGNAL) < 0 ? gone(l, name_of(request, buf)) : 0;
}

static int receive(struct kill_link *l, uint32_t request, void *to, size_t len, int *ret_fd)
{
	union {
		struct cmsghdr h;
		char space[CMSG_SPACE(sizeof(int))];
	} c;
	char buf[32];

	while (len) {
		struct pollfd p = {.fd = l->fd, .events = POLLIN};
		struct iovec v = {to, len};
		struct msghdr m = {.msg_iov = &v,
			.msg_iovlen = 1,
			.msg_control = &c,
			.msg_controllen = sizeof(c)};
		int r = poll(&p, 1, PATIENCE_MS);
		ssize_t n = r == 1 ? recvmsg(l->fd, &m, MSG_CMSG_CLOEXEC) : -1;

		if (r == 0)
			return failed(l, -ETIMEDOUT, "%s: no answer", name_of(request, buf));
		if (n <= 0)
			return gone(l, name_of(request, buf));
		if (m.msg_controllen && ret_fd)
			memcpy(ret_fd, CMSG_DATA(&c.h), sizeof(int));
		to = (char *)to + n;
		len -= n;
	}
	return 0;
}

static int answer(struct kill_link *l, uint32_t request, struct vu_msg *ret_m, int *ret_fd)
{
	char buf[32];
	int r = receive(l, request, ret_m, 12, ret_fd);

	if (r == 0 && (ret_m->request != request || ret_m->size > sizeof(ret_m->p)))
		return failed(l, -EPROTO, "%s: a strange answer", name_of(request, buf));
	return r < 0 ? r : receive(l, request, &ret_m->p, ret_m->size, NULL);
}

/* With an acknowledgement. */
static int ask(struct kill_link *l, uint32_t request, const void *p, uint32_t size, int fd)
{
	struct vu_msg m;
	char buf[32];
	int r = say(l, request, VU_NEED_REPLY, p, size, fd);

	if (r == 0)
		r = answer(l, request, &m, NULL);
	if (r == 0 && m.p.u64)
		return failed(l, -EPROTO, "%s refused", name_of(request, buf));
	return r;
}

static int ask_u64(struct kill_link *l, uint32_t request, uint64_t v)
{
	return ask(l, request, &v, sizeof(v), -1);
}

static int ask_state(struct kill_link *l, uint32_t request, unsigned i, uint32_t num)
{
	struct vu_vring_state s = {i, num};

	return ask(l, request, &s, sizeof(s), -1);
}

static int ask_fd(struct kill_link *l, uint32_t request, unsigned i, int fd)
{
	uint64_t v = i;

	return ask(l, request, &v, sizeof(v), fd);
}

static int get(struct kill_link *l, uint32_t request, uint64_t *ret_v)
{
	struct vu_msg m;
	int r = say(l, request, 0, NULL, 0, -1);

	if (r == 0)
		r = answer(l, request, &m, NULL);
	if (r == 0)
		*ret_v = m.p.u64;
	return r;
}

/* ---- the handshake ---- */

static int connect_patiently(struct kill_link *l)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	strncpy(a.sun_path, l->socket, sizeof(a.sun_path) - 1);
	for (int i = 0; i < PATIENCE_MS * 2; i++) {
		int r = look(l, WNOHANG);

		if (r < 0 || l->dead)
			return r < 0 ? r : -EPIPE;
		l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (connect(l->fd, (struct sockaddr *)&a, sizeof(a)) == 0)
			return 0;
		cleanup_closep(&l->fd);
		l->fd = -1;
		usleep(500);
	}
	return failed(l, -ETIMEDOUT, "polyvisor-offload does not listen");
}

static int agree(struct kill_link *l)
{
	uint64_t want = 1ull << VIRTIO_F_VERSION_1 | VU_F_PROTOCOL_FEATURES |
			1ull << VIRTIO_RING_F_INDIRECT_DESC | 1ull << 9; /* 9: VIRTIO_BLK_F_FLUSH */
	uint64_t need = VU_PF(REPLY_ACK) | VU_PF(CONFIGURE_MEM_SLOTS);
	uint64_t offered = 0, protocol = 0;
	int r = say(l, VU_SET_OWNER, 0, NULL, 0, -1);

	want |= l->packed ? 1ull << VIRTIO_F_RING_PACKED : 0;
	want |= l->event_idx ? 1ull << VIRTIO_RING_F_EVENT_IDX : 0;
	need |= l->inflight ? VU_PF(INFLIGHT_SHMFD) : 0;
	need |= l->queues > 1 ? VU_PF(MQ) : 0;
	if (r == 0)
		r = get(l, VU_GET_FEATURES, &offered);
	if (r == 0)
		r = get(l, VU_GET_PROTOCOL_FEATURES, &protocol);
	if (r < 0)
		return r;
	if ((offered & want) != want || (protocol & need) != need)
		return failed(l, -ENOTSUP, "not offered: features %#llx, protocol features %#llx",
			(unsigned long long)(want & ~offered),
			(unsigned long long)(need & ~protocol));
	r = ask_u64(l, VU_SET_PROTOCOL_FEATURES, need);
	return r < 0 ? r : ask_u64(l, VU_SET_FEATURES, want);
}

static int share_memory(struct kill_link *l)
{
	struct vu_mem_reg r = {.region = {0, l->mem_size, 0, 0}};

	return ask(l, VU_ADD_MEM_REG, &r, sizeof(r), l->memfd);
}

/* The area is the back-end's to make, ours to keep: its successor gets it back. */
static int share_inflight(struct kill_link *l)
{
	struct vu_inflight want = {.num_queues = l->queues, .queue_size = l->ring};
	struct vu_msg m;
	int r = 0;

	if (l->area_fd < 0) {
		r = say(l, VU_GET_INFLIGHT_FD, 0, &want, sizeof(want), -1);
		if (r == 0)
			r = answer(l, VU_GET_INFLIGHT_FD, &m, &l->area_fd);
		if (r < 0)
			return r;
		if (l->area_fd < 0 || !m.p.inflight.mmap_size)
			return failed(l, -EPROTO, "it made no in-flight area");
		l->area_size = m.p.inflight.mmap_size;
		l->area_offset = m.p.inflight.mmap_offset;
	}
	want.mmap_size = l->area_size;
	want.mmap_offset = l->area_offset;
	return ask(l, VU_SET_INFLIGHT_FD, &want, sizeof(want), l->area_fd);
}

static int start_queue(struct kill_link *l, unsigned i)
{
	struct vu_vring_addr a = {.index = i,
		.desc = l->queue[i].desc,
		.avail = l->queue[i].avail,
		.used = l->queue[i].used};
	int r = ask_state(l, VU_SET_VRING_NUM, i, l->ring);

	if (r == 0)
		r = ask_state(l, VU_SET_VRING_BASE, i, l->queue[i].base);
	if (r == 0)
		r = ask(l, VU_SET_VRING_ADDR, &a, sizeof(a), -1);
	if (r == 0)
		r = ask_fd(l, VU_SET_VRING_CALL, i, l->queue[i].call);
	if (r == 0)
		r = ask_fd(l, VU_SET_VRING_KICK, i, l->queue[i].kick);
	if (r == 0)
		r = ask_state(l, VU_SET_VRING_ENABLE, i, 1);
	return r;
}

int kill_link_up(struct kill_link *l)
{
	int r = connect_patiently(l);

	if (r == 0)
		r = agree(l);
	if (r == 0)
		r = share_memory(l);
	if (r == 0 && l->inflight)
		r = share_inflight(l);
	for (unsigned i = 0; i < l->queues && r == 0; i++)
		r = start_queue(l, i);
	/* The kicks of its predecessor's time may have died with it. */
	for (unsigned i = 0; i < l->queues && r == 0; i++)
		eventfd_write(l->queue[i].kick, 1);
	return r;
}
