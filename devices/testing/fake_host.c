/* SPDX-License-Identifier: Apache-2.0 */
/* The interrupt domain behaves as KVM's: an eventfd that is attached while readable delivers at
 * once, one that is detached delivers what it holds first. Attached fds are polled by the pump and
 * at each change, so no thread is needed. */
#include "devices/testing/fake_host.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"

#define FAKE_GSIS      256
#define FAKE_DOORBELLS 512
#define PUMP_NS	       5000000000ull

struct fake_gsi {
	bool used;
	uint32_t data;
	int fd;
};

struct fake_doorbell {
	enum dev_space space;
	uint64_t addr, match;
	unsigned size;
	bool has_match;
	int fd; /* not owned, as below; -1 = free entry */
};

struct fake_internal {
	struct fake_host *f;
	pthread_mutex_t lock;
	int wire_fd[FAKE_PINS]; /* attached irqfds, -1 = none */
	struct fake_gsi gsi[FAKE_GSIS];
	struct fake_doorbell bell[FAKE_DOORBELLS];
};

static struct fake_host *of_irqs(struct irq_domain *d)
{
	return container_of(d, struct fake_host, irqs);
}

static struct fake_internal *of_host(struct dev_host *h)
{
	return container_of(h, struct fake_host, host)->internal;
}

static bool eventfd_take(int fd)
{
	uint64_t count;
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return fd >= 0 && poll(&p, 1, 0) == 1 && read(fd, &count, sizeof(count)) == sizeof(count);
}

/* Locked: counts what the attached eventfds hold. */
static void deliver(struct fake_internal *in)
{
	for (unsigned i = 0; i < FAKE_PINS; i++)
		if (eventfd_take(in->wire_fd[i]))
			in->f->edges[i]++;
	for (unsigned i = 0; i < FAKE_GSIS; i++)
		if (in->gsi[i].used && eventfd_take(in->gsi[i].fd))
			in->f->msis[in->gsi[i].data % FAKE_MSIS]++;
}

static int wire_set(struct irq_domain *d, uint32_t pin, bool level)
{
	struct fake_host *f = of_irqs(d);
	struct fake_internal *in = f->internal;
	LOCK_SCOPE(&in->lock);

	if (pin >= FAKE_PINS)
		return -EINVAL;
	if (level && !f->wire[pin])
		f->edges[pin]++;
	f->wire[pin] = level;
	return 0;
}

static int wire_attach(struct irq_domain *d, uint32_t pin, int fd)
{
	struct fake_internal *in = of_irqs(d)->internal;
	LOCK_SCOPE(&in->lock);

	if (pin >= FAKE_PINS)
		return -EINVAL;
	if (in->wire_fd[pin] >= 0)
		return -EBUSY;
	in->wire_fd[pin] = fd;
	return 0;
}

static void wire_detach(struct irq_domain *d, uint32_t pin, int fd)
{
	struct fake_internal *in = of_irqs(d)->internal;
	LOCK_SCOPE(&in->lock);

	deliver(in);
	in->wire_fd[pin] = -1;
}

static int msi_alloc(struct irq_domain *d)
{
	struct fake_internal *in = of_irqs(d)->internal;
	LOCK_SCOPE(&in->lock);

	for (int i = 0; i < FAKE_GSIS; i++) {
		if (in->gsi[i].used)
			continue;
		in->gsi[i] = (struct fake_gsi){.used = true, .fd = -1};
		return i;
	}
	return -ENOSPC;
}

static void msi_release(struct irq_domain *d, int gsi)
{
	struct fake_internal *in = of_irqs(d)->internal;
	LOCK_SCOPE(&in->lock);

	in->gsi[gsi].used = false;
}

static int msi_route(struct irq_domain *d, int gsi, const struct irq_msg *m)
{
	struct fake_internal *in = of_irqs(d)->internal;
	LOCK_SCOPE(&in->lock);

	deliver(in); /* what came before goes by the old route */
	in->gsi[gsi].data = m->data;
	return 0;
}

static int msi_attach(struct irq_domain *d, int gsi, int fd)
{
	struct fake_internal *in = of_irqs(d)->internal;
	LOCK_SCOPE(&in->lock);

	if (in->gsi[gsi].fd >= 0)
		return -EBUSY;
	in->gsi[gsi].fd = fd;
	deliver(in);
	return 0;
}

static void msi_detach(struct irq_domain *d, int gsi, int fd)
{
	struct fake_internal *in = of_irqs(d)->internal;
	LOCK_SCOPE(&in->lock);

	deliver(in);
	in->gsi[gsi].fd = -1;
}

static int msi_send(struct irq_domain *d, const struct irq_msg *m)
{
	of_irqs(d)->msis[m->data % FAKE_MSIS]++;
	return 0;
}

static const struct irq_domain_ops fake_irq_ops = {
	.wire_set = wire_set,
	.wire_attach = wire_attach,
	.wire_detach = wire_detach,
	.msi_alloc = msi_alloc,
	.msi_release = msi_release,
	.msi_route = msi_route,
	.msi_attach = msi_attach,
	.msi_detach = msi_detach,
	.msi_send = msi_send,
};

static void host_event(struct dev_host *h, enum dev_event ev, int value)
{
	struct fake_internal *in = of_host(h);
	LOCK_SCOPE(&in->lock);

	in->f->events[ev]++;
	in->f->last_event_value = value;
}

static bool same_bell(const struct fake_doorbell *a, const struct fake_doorbell *b)
{
	return a->space == b->space && a->addr == b->addr && a->size == b->size &&
	       a->has_match == b->has_match && (!a->has_match || a->match == b->match);
}

static int host_doorbell(struct dev_host *h, bool add, enum dev_space space, uint64_t addr,
	unsigned size, bool has_match, uint64_t match, int fd)
{
	struct fake_internal *in = of_host(h);
	struct fake_doorbell want = {space, addr, match, size, has_match, fd}, *empty = NULL;
	LOCK_SCOPE(&in->lock);

	for (unsigned i = 0; i < FAKE_DOORBELLS; i++) {
		struct fake_doorbell *b = &in->bell[i];

		if (b->fd < 0 && !empty)
			empty = b;
		if (b->fd < 0 || !same_bell(b, &want))
			continue;
		if (add)
			return -EEXIST;
		b->fd = -1;
		return 0;
	}
	if (!add)
		return -ENOENT;
	if (!empty)
		return -ENOSPC;
	*empty = want;
	return 0;
}

static uint64_t host_realtime(struct dev_host *h)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void host_notice(struct dev_host *h, const char *id, enum dev_notice n)
{
	container_of(h, struct fake_host, host)->notices[n]++;
}

static const struct dev_host_ops fake_host_ops = {
	.event = host_event,
	.doorbell = host_doorbell,
	.realtime_ns = host_realtime,
	.notice = host_notice,
};

static struct fake_internal *internal_new(struct fake_host *f)
{
	struct fake_internal *in = calloc(1, sizeof(*in));

	if (!in)
		return NULL;
	in->f = f;
	pthread_mutex_init(&in->lock, NULL);
	for (unsigned i = 0; i < FAKE_PINS; i++)
		in->wire_fd[i] = -1;
	for (unsigned i = 0; i < FAKE_DOORBELLS; i++)
		in->bell[i].fd = -1;
	return in;
}

int fake_host_init(struct fake_host *f, uint64_t ram_bytes, bool with_msi)
{
	struct mem_range ram = {
		0, align_up(ram_bytes ? ram_bytes : 2 * MIB, (uint64_t)sysconf(_SC_PAGESIZE))};
	int r;

	*f = (struct fake_host){.log.fd = -1};
	f->irqs = (struct irq_domain){&fake_irq_ops, .has_msi = with_msi, .has_irqfd = with_msi};
	f->internal = internal_new(f);
	if (!f->internal)
		return -ENOMEM;
	r = guest_mem_init(&f->mem, &ram, 1, NULL, NULL);
	if (r == 0)
		r = ev_loop_new(&f->host.control);
	if (r < 0) {
		fake_host_fini(f);
		return r;
	}
	f->host.ops = &fake_host_ops;
	f->host.dma = &f->mem;
	f->host.mmio = &f->mmio;
	f->host.pio = &f->pio;
	f->host.irqs = &f->irqs;
	f->host.log = &f->log;
	f->host.dma_limit = UINT64_MAX;
	return 0;
}

void fake_host_fini(struct fake_host *f)
{
	struct fake_internal *in = f->internal;

	ev_loop_free(f->host.control);
	guest_mem_fini(&f->mem);
	if (in)
		pthread_mutex_destroy(&in->lock);
	free(in);
	f->internal = NULL;
	f->host.control = NULL;
}

static bool ring_doorbell(struct fake_host *f, uint64_t addr, unsigned size, uint64_t value)
{
	struct fake_internal *in = f->internal;
	LOCK_SCOPE(&in->lock);

	for (unsigned i = 0; i < FAKE_DOORBELLS; i++) {
		const struct fake_doorbell *b = &in->bell[i];
		uint64_t one = 1;

		if (b->fd >= 0 && b->space == SPACE_MMIO && b->addr == addr &&
			(!b->size || b->size == size) && (!b->has_match || b->match == value))
			return write(b->fd, &one, sizeof(one)) == sizeof(one);
	}
	return false;
}

void fake_write(struct fake_host *f, uint64_t addr, unsigned size, uint64_t value)
{
	unsigned hint = 0;

	if (!ring_doorbell(f, addr, size, value))
		bus_write(&f->mmio, addr, size, value, &hint);
}

uint64_t fake_read(struct fake_host *f, uint64_t addr, unsigned size)
{
	unsigned hint = 0;
	uint64_t value;

	bus_read(&f->mmio, addr, size, &value, &hint);
	return value;
}

static void pump_once(struct fake_host *f, int timeout_ms)
{
	struct fake_internal *in = f->internal;

	ev_run_once(f->host.control, timeout_ms);
	LOCK_SCOPE(&in->lock);
	deliver(in);
}

void fake_pump(struct fake_host *f)
{
	pump_once(f, 0);
	pump_once(f, 0); /* what the first round posted */
}

bool fake_pump_until(struct fake_host *f, bool (*cond)(void *arg), void *arg)
{
	uint64_t end = ev_now_ns() + PUMP_NS;

	while (!cond(arg)) {
		if (ev_now_ns() >= end)
			return false;
		pump_once(f, 1);
	}
	return true;
}
