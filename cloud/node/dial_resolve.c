/* SPDX-License-Identifier: Apache-2.0 */
/* Looking up a name may take many seconds, in which the node has instances to look after: so a
 * thread waits for it and says through an eventfd that it is done. An address needs no thread. */
#include "cloud/node/dial_internal.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "vmm/base/list.h"

struct resolve {
	struct ev_fd fd;
	pthread_t thread;
	bool threaded;
	char host[256], port[8];
	struct addrinfo *list;
	int error;
	void (*done)(void *arg, struct addrinfo *list, const char *error);
	void *arg;
};

static void look_up(struct resolve *r, int flags)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = flags};

	r->error = getaddrinfo(r->host, r->port, &hints, &r->list);
}

static void *body(void *arg)
{
	struct resolve *r = arg;

	look_up(r, AI_ADDRCONFIG);
	eventfd_write(r->fd.fd, 1);
	return NULL;
}

/* What the thread wrote may be read from now on. */
static void join(struct resolve *r)
{
	if (r->threaded)
		pthread_join(r->thread, NULL);
	r->threaded = false;
}

void resolve_cancel(struct resolve *r)
{
	if (!r)
		return;
	join(r);
	if (r->fd.loop)
		ev_del(&r->fd);
	if (r->fd.fd >= 0)
		close(r->fd.fd);
	if (r->list)
		freeaddrinfo(r->list);
	free(r);
}

static void came(struct ev_fd *w, uint32_t events)
{
	struct resolve *r = container_of(w, struct resolve, fd);
	void (*done)(void *, struct addrinfo *, const char *) = r->done;
	void *arg = r->arg;
	struct addrinfo *list;
	const char *error;

	join(r);
	list = r->list;
	error = r->error ? gai_strerror(r->error) : NULL;
	r->list = NULL;
	resolve_cancel(r);
	done(arg, list, error);
}

int resolve_start(struct ev_loop *loop, const char *host, const char *port,
	void (*done)(void *arg, struct addrinfo *list, const char *error), void *arg,
	struct resolve **ret)
{
	struct resolve *r = calloc(1, sizeof(*r));
	int e;

	if (!r)
		return -ENOMEM;
	r->done = done;
	r->arg = arg;
	strncpy(r->host, host, sizeof(r->host) - 1);
	strncpy(r->port, port, sizeof(r->port) - 1);
	r->fd = (struct ev_fd){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .ready = came};
	e = r->fd.fd < 0 ? -errno : ev_add(loop, &r->fd, EPOLLIN);
	if (e == 0) {
		look_up(r, AI_NUMERICHOST);
		r->threaded = r->error != 0; /* the thread writes r->error: not to be read below */
		if (!r->threaded)
			eventfd_write(r->fd.fd, 1);
		else
			e = -pthread_create(&r->thread, NULL, body, r);
		r->threaded = r->threaded && e == 0;
	}
	if (e < 0) {
		resolve_cancel(r);
		return e;
	}
	*ret = r;
	return 0;
}
