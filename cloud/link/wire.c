/* SPDX-License-Identifier: Apache-2.0 */
/* Wires without encryption: a socket, and one whose first bytes somebody has read already. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "cloud/link/link.h"
#include "vmm/base/list.h"

static ssize_t socket_read(struct link_wire *w, void *buf, size_t cap)
{
	ssize_t n;

	do
		n = recv(w->fd, buf, cap, MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static ssize_t socket_write(struct link_wire *w, const void *buf, size_t len)
{
	ssize_t n;

	do
		n = send(w->fd, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static bool socket_pending(struct link_wire *w)
{
	return false;
}

static void socket_free(struct link_wire *w)
{
	close(w->fd);
	free(w);
}

struct link_wire *link_wire_socket(int fd)
{
	struct link_wire *w = malloc(sizeof(*w));

	if (!w) {
		close(fd);
		return NULL;
	}
	*w = (struct link_wire){
		.read = socket_read,
		.write = socket_write,
		.pending = socket_pending,
		.free = socket_free,
		.fd = fd,
	};
	return w;
}

struct after {
	struct link_wire w, *inner;
	size_t off, len;
	char first[];
};

static ssize_t after_read(struct link_wire *w, void *buf, size_t cap)
{
	struct after *a = container_of(w, struct after, w);
	size_t n = a->len - a->off < cap ? a->len - a->off : cap;

	if (n == 0)
		return a->inner->read(a->inner, buf, cap);
	memcpy(buf, a->first + a->off, n);
	a->off += n;
	return (ssize_t)n;
}

static ssize_t after_write(struct link_wire *w, const void *buf, size_t len)
{
	struct after *a = container_of(w, struct after, w);

	return a->inner->write(a->inner, buf, len);
}

static bool after_pending(struct link_wire *w)
{
	struct after *a = container_of(w, struct after, w);

	return a->off < a->len || a->inner->pending(a->inner);
}

static void after_free(struct link_wire *w)
{
	struct after *a = container_of(w, struct after, w);

	a->inner->free(a->inner);
	free(a);
}

struct link_wire *link_wire_after(struct link_wire *inner, const void *first, size_t len)
{
	struct after *a;

	if (len == 0)
		return inner;
	a = malloc(sizeof(*a) + len);
	if (!a) {
		inner->free(inner);
		return NULL;
	}
	*a = (struct after){
		.w = {after_read, after_write, after_pending, after_free, inner->fd},
		.inner = inner,
		.len = len,
	};
	memcpy(a->first, first, len);
	return &a->w;
}
