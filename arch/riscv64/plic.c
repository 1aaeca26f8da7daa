/* SPDX-License-Identifier: Apache-2.0 */
/* See the header. A source is pending until a hart claims it; then its gateway is shut until the
 * completion, which looks at the line again. One lock guards all of it; the dispatcher takes it for
 * register accesses, the domain's functions take it themselves. */
#include "arch/riscv64/plic.h"

#include <errno.h>
#include <stdlib.h>
#include "vmm/base/cleanup.h"
#include "vmm/base/list.h"

#define SOURCES 1024
#define WORDS	(SOURCES / 32)

/* Register map, RISC-V PLIC 1.0 §3. */
#define PENDING	     0x1000u
#define ENABLE	     0x2000u
#define ENABLE_STEP  0x80u
#define CONTEXT	     0x200000u
#define CONTEXT_STEP 0x1000u
#define PRIORITY_MAX 7u

struct context {
	uint32_t enable[WORDS];
	uint32_t threshold;
	bool driven; /* what the hart sees */
};

struct plic {
	struct irq_domain domain;
	struct io_region region;
	struct plic_opts opts;
	pthread_mutex_t lock; /* taken under device locks; takes nothing */
	uint32_t priority[SOURCES];
	uint32_t level[WORDS], pending[WORDS], claimed[WORDS], again[WORDS];
	struct context *context; /* opts.harts of them */
};

static bool bit(const uint32_t *w, unsigned n)
{
	return w[n / 32] >> (n % 32) & 1;
}

static void put_bit(uint32_t *w, unsigned n, bool v)
{
	if (v)
		w[n / 32] |= 1u << (n % 32);
	else
		w[n / 32] &= ~(1u << (n % 32));
}

/* The source that the context should take: highest priority, then lowest number; 0 = none. */
static unsigned best(const struct plic *p, const struct context *c)
{
	unsigned found = 0;
	uint32_t priority = c->threshold;

	for (unsigned w = 0; w < (p->opts.npins + 31) / 32; w++)
		for (uint32_t set = p->pending[w] & c->enable[w]; set; set &= set - 1) {
			unsigned n = w * 32 + (unsigned)__builtin_ctz(set);

			if (p->priority[n] > priority) {
				found = n;
				priority = p->priority[n];
			}
		}
	return found;
}

static void update(struct plic *p)
{
	for (unsigned i = 0; i < p->opts.harts; i++) {
		struct context *c = &p->context[i];
		bool want = best(p, c) != 0;

		if (want == c->driven)
			continue;
		c->driven = want;
		p->opts.drive(p->opts.arg, i, want);
	}
}

static bool is_edge(const struct plic *p, unsigned n)
{
	return n - p->opts.edge_first < p->opts.edge_count;
}

static int wire_set(struct irq_domain *d, uint32_t pin, bool level)
{
	struct plic *p = container_of(d, struct plic, domain);
	bool rising;

	if (!pin || pin >= p->opts.npins)
		return -EINVAL;
	LOCK_SCOPE(&p->lock);
	rising = level && !bit(p->level, pin);
	put_bit(p->level, pin, level);
	if (is_edge(p, pin)) {
		/* An edge while the gateway is shut counts once, after the completion. */
		if (rising)
			put_bit(bit(p->claimed, pin) ? p->again : p->pending, pin, true);
	} else if (!bit(p->claimed, pin)) {
		put_bit(p->pending, pin, level);
	}
	update(p);
	return 0;
}

static uint32_t claim(struct plic *p, struct context *c)
{
	unsigned n = best(p, c);

	if (n) {
		put_bit(p->pending, n, false);
		put_bit(p->claimed, n, true);
		update(p);
	}
	return n;
}

/* Ignored for a source that this context does not have enabled (§9). */
static void complete(struct plic *p, const struct context *c, uint32_t n)
{
	if (!n || n >= p->opts.npins || !bit(c->enable, n) || !bit(p->claimed, n))
		return;
	put_bit(p->claimed, n, false);
	put_bit(p->pending, n, is_edge(p, n) ? bit(p->again, n) : bit(p->level, n));
	put_bit(p->again, n, false);
	update(p);
}

static struct context *context_at(struct plic *p, uint64_t i)
{
	return i < p->opts.harts ? &p->context[i] : NULL;
}

static uint32_t read32(struct plic *p, uint64_t off)
{
	struct context *c;

	if (off < PENDING)
		return p->priority[off / 4];
	if (off < PENDING + SOURCES / 8)
		return p->pending[(off - PENDING) / 4];
	if (off >= CONTEXT) {
		c = context_at(p, (off - CONTEXT) / CONTEXT_STEP);
		switch ((off - CONTEXT) % CONTEXT_STEP) {
		case 0:
			return c ? c->threshold : 0;
		case 4:
			return c ? claim(p, c) : 0;
		}
		return 0;
	}
	c = off >= ENABLE ? context_at(p, (off - ENABLE) / ENABLE_STEP) : NULL;
	return c ? c->enable[(off - ENABLE) % ENABLE_STEP / 4] : 0;
}

/* Only sources that exist can be enabled or given a priority. */
static uint32_t existing(const struct plic *p, unsigned word)
{
	uint32_t mask = 0;

	for (unsigned n = word * 32; n < word * 32 + 32; n++)
		if (n && n < p->opts.npins)
			mask |= 1u << (n % 32);
	return mask;
}

static void write32(struct plic *p, uint64_t off, uint32_t v)
{
	struct context *c;

	if (off < PENDING) {
		if (off && off / 4 < p->opts.npins)
			p->priority[off / 4] = v & PRIORITY_MAX;
	} else if (off >= CONTEXT) {
		c = context_at(p, (off - CONTEXT) / CONTEXT_STEP);
		if (c && (off - CONTEXT) % CONTEXT_STEP == 0)
			c->threshold = v & PRIORITY_MAX;
		else if (c && (off - CONTEXT) % CONTEXT_STEP == 4)
			complete(p, c, v);
	} else if (off >= ENABLE) {
		unsigned word = (unsigned)((off - ENABLE) % ENABLE_STEP / 4);

		c = context_at(p, (off - ENABLE) / ENABLE_STEP);
		if (c)
			c->enable[word] = v & existing(p, word);
	}
	update(p);
}

/* Registers are 32 bits wide and aligned; anything else reads zero and writes nothing. */
static uint64_t plic_read(void *dev, uint64_t off, unsigned size)
{
	return size == 4 && off % 4 == 0 ? read32(dev, off) : 0;
}

static void plic_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	if (size == 4 && off % 4 == 0)
		write32(dev, off, (uint32_t)value);
}

static int wire_attach(struct irq_domain *d, uint32_t pin, int fd)
{
	return -EOPNOTSUPP;
}

static void wire_detach(struct irq_domain *d, uint32_t pin, int fd)
{
}

static int msi_alloc(struct irq_domain *d)
{
	return -EOPNOTSUPP;
}

static void msi_release(struct irq_domain *d, int gsi)
{
}

static int msi_route(struct irq_domain *d, int gsi, const struct irq_msg *m)
{
	return -EOPNOTSUPP;
}

static int msi_attach(struct irq_domain *d, int gsi, int fd)
{
	return -EOPNOTSUPP;
}

static void msi_detach(struct irq_domain *d, int gsi, int fd)
{
}

static int msi_send(struct irq_domain *d, const struct irq_msg *m)
{
	return -EOPNOTSUPP;
}

static const struct irq_domain_ops plic_irq_ops = {
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

static const struct io_ops plic_io_ops = {.read = plic_read, .write = plic_write};

int plic_new(const struct plic_opts *o, struct plic **ret_plic)
{
	struct plic *p;

	if (o->npins > SOURCES || !o->harts || CONTEXT + o->harts * CONTEXT_STEP > o->size)
		return -EINVAL;
	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->context = calloc(o->harts, sizeof(*p->context));
	if (!p->context) {
		free(p);
		return -ENOMEM;
	}
	p->opts = *o;
	p->domain.ops = &plic_irq_ops;
	pthread_mutex_init(&p->lock, NULL);
	p->region = (struct io_region){.base = o->base,
		.size = o->size,
		.ops = &plic_io_ops,
		.dev = p,
		.lock = &p->lock,
		.name = "_plic"};
	*ret_plic = p;
	return 0;
}

void plic_free(struct plic *p)
{
	if (!p)
		return;
	pthread_mutex_destroy(&p->lock);
	free(p->context);
	free(p);
}

struct irq_domain *plic_domain(struct plic *p)
{
	return &p->domain;
}

struct io_region *plic_region(struct plic *p)
{
	return &p->region;
}
