/* SPDX-License-Identifier: Apache-2.0 */
/* Three kinds of line.
 *
 * Level wire: the pin's count of lines that assert it goes 0 -> 1 -> 0, and the pin follows, all
 * under the pin's lock so that two threads cannot leave the pin in the older state.
 *
 * Edge wire: a pulse; through the eventfd once it is attached, so that no call into the domain is
 * needed.
 *
 * MSI: the eventfd is attached to a route while unmasked. While masked it is detached and keeps
 * what is written to it: the pending bit of MSI-X (PCIe 6.0 §6.1.4.5) is its counter. Attaching
 * delivers what it holds. Where there is no irqfd, `pending` plays that part and the loop relays.
 */
#include "devices/irq.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "vmm/base/cleanup.h"
#include "vmm/base/ev.h"
#include "vmm/base/list.h"

enum kind { KIND_EDGE, KIND_LEVEL, KIND_MSI };

struct irq_line {
	struct irq_domain *domain;
	struct ev_loop *loop; /* control's; not owned */
	enum kind kind;

	uint32_t pin;
	struct irq_pin *shared; /* level: the pin's count, own unless INTx */
	struct irq_pin own;
	bool level; /* level: what this line asserts; under shared->lock */

	pthread_mutex_t lock; /* edge and MSI: all below. Inside the device's lock; the domain's
				 own lock may be taken while it is held */
	int fd;		      /* -1 until asked for */
	bool attached;	      /* fd is an irqfd now */
	struct ev_fd relay;   /* fd is watched on loop instead */
	int gsi;	      /* MSI: -1 until first attached */
	bool masked, pending, has_msg;
	struct irq_msg msg;
};

void irq_pin_init(struct irq_pin *p)
{
	p->asserted = 0;
	pthread_mutex_init(&p->lock, NULL);
}

static struct irq_line *line_new(struct irq_domain *d, enum kind kind, struct ev_loop *loop)
{
	struct irq_line *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->domain = d;
	l->kind = kind;
	l->loop = loop;
	l->fd = -1;
	l->gsi = -1;
	pthread_mutex_init(&l->lock, NULL);
	irq_pin_init(&l->own);
	l->shared = &l->own;
	return l;
}

int irq_wire_new(struct irq_domain *d, struct irq_pin *shared, uint32_t pin, enum irq_trigger t,
	struct ev_loop *loop, struct irq_line **ret_line)
{
	struct irq_line *l = line_new(d, t == IRQ_LEVEL ? KIND_LEVEL : KIND_EDGE, loop);

	if (!l)
		return -ENOMEM;
	l->pin = pin;
	if (shared)
		l->shared = shared;
	*ret_line = l;
	return 0;
}

int irq_msi_new(struct irq_domain *d, struct ev_loop *loop, struct irq_line **ret_line)
{
	struct irq_line *l;

	if (!d->has_msi)
		return -EOPNOTSUPP;
	l = line_new(d, KIND_MSI, loop);
	if (!l)
		return -ENOMEM;
	l->masked = true;
	*ret_line = l;
	return 0;
}

static void detach(struct irq_line *l)
{
	if (!l->attached)
		return;
	if (l->kind == KIND_MSI)
		l->domain->ops->msi_detach(l->domain, l->gsi, l->fd);
	else
		l->domain->ops->wire_detach(l->domain, l->pin, l->fd);
	l->attached = false;
}

void irq_line_free(struct irq_line *l)
{
	if (!l)
		return;
	if (l->kind == KIND_LEVEL)
		irq_set(l, false);
	ev_del(&l->relay);
	detach(l);
	if (l->gsi >= 0)
		l->domain->ops->msi_release(l->domain, l->gsi);
	cleanup_closep(&l->fd);
	pthread_mutex_destroy(&l->own.lock);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

static void set_level(struct irq_line *l, bool level)
{
	LOCK_SCOPE(&l->shared->lock);

	if (level == l->level)
		return;
	l->level = level;
	if (level ? l->shared->asserted++ == 0 : --l->shared->asserted == 0)
		l->domain->ops->wire_set(l->domain, l->pin, level);
}

static void kick(int fd)
{
	uint64_t one = 1;

	/* Fails only when 2^64-2 interrupts wait already: one more is not missed. */
	if (write(fd, &one, sizeof(one)) < 0) {
	}
}

static void pulse_wire(struct irq_line *l)
{
	if (l->attached) {
		kick(l->fd);
		return;
	}
	l->domain->ops->wire_set(l->domain, l->pin, true);
	l->domain->ops->wire_set(l->domain, l->pin, false);
}

static void send_msi(struct irq_line *l)
{
	if (l->attached)
		kick(l->fd);
	else if (l->masked || !l->has_msg)
		l->pending = true;
	else
		l->domain->ops->msi_send(l->domain, &l->msg);
}

void irq_set(struct irq_line *l, bool level)
{
	if (l->kind == KIND_LEVEL) {
		set_level(l, level);
		return;
	}
	if (!level)
		return;
	LOCK_SCOPE(&l->lock);
	if (l->kind == KIND_MSI)
		send_msi(l);
	else
		pulse_wire(l);
}

static void relay_ready(struct ev_fd *w, uint32_t events)
{
	struct irq_line *l = container_of(w, struct irq_line, relay);
	uint64_t count;

	if (read(w->fd, &count, sizeof(count)) == sizeof(count))
		irq_set(l, true);
}

static int make_fd(struct irq_line *l)
{
	if (l->fd < 0)
		l->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return l->fd < 0 ? -errno : 0;
}

/* A masked MSI's fd needs neither: its writes wait until it is attached. */
static int connect_fd(struct irq_line *l)
{
	int r = -EOPNOTSUPP;

	if (l->kind == KIND_MSI && l->domain->has_irqfd)
		return 0;
	if (l->kind == KIND_EDGE && l->domain->has_irqfd)
		r = l->domain->ops->wire_attach(l->domain, l->pin, l->fd);
	l->attached = r == 0;
	if (r != -EOPNOTSUPP)
		return r;
	l->relay.fd = l->fd;
	l->relay.ready = relay_ready;
	return ev_add(l->loop, &l->relay, EPOLLIN);
}

int irq_fd(struct irq_line *l)
{
	LOCK_SCOPE(&l->lock);
	int r = make_fd(l);

	if (r < 0)
		return r;
	if (!l->attached && !l->relay.loop)
		r = connect_fd(l);
	return r < 0 ? r : l->fd;
}

static int attach_msi(struct irq_line *l)
{
	const struct irq_domain_ops *ops = l->domain->ops;
	int r = make_fd(l);

	if (r == 0 && l->gsi < 0) {
		r = ops->msi_alloc(l->domain);
		if (r >= 0)
			l->gsi = r;
	}
	if (r >= 0)
		r = ops->msi_route(l->domain, l->gsi, &l->msg);
	if (r >= 0 && l->pending) { /* joins what others wrote while masked: one message */
		kick(l->fd);
		l->pending = false;
	}
	if (r >= 0)
		r = ops->msi_attach(l->domain, l->gsi, l->fd);
	l->attached = r >= 0;
	return r < 0 ? r : 0;
}

/* Brings the line in line with masked and msg; delivers what became pending. A line that cannot be
 * attached still sends by call. */
static int msi_update(struct irq_line *l)
{
	bool live = !l->masked && l->has_msg;
	int r = 0;

	if (!live)
		detach(l);
	else if (l->domain->has_irqfd && !l->attached)
		r = attach_msi(l);
	if (live && l->pending) {
		l->pending = false;
		send_msi(l);
	}
	return r;
}

int irq_msi_set(struct irq_line *l, const struct irq_msg *m)
{
	LOCK_SCOPE(&l->lock);

	l->msg = *m;
	l->has_msg = true;
	if (l->attached)
		return l->domain->ops->msi_route(l->domain, l->gsi, &l->msg);
	return msi_update(l);
}

int irq_msi_mask(struct irq_line *l, bool masked)
{
	LOCK_SCOPE(&l->lock);

	l->masked = masked;
	return msi_update(l);
}

bool irq_msi_pending(struct irq_line *l)
{
	LOCK_SCOPE(&l->lock);
	struct pollfd p = {.fd = l->fd, .events = POLLIN};

	if (!l->masked)
		return false;
	/* Without irqfd the loop empties the fd; what it has not seen yet is pending all the same.
	 */
	return l->pending || (l->fd >= 0 && poll(&p, 1, 0) == 1);
}
