/* SPDX-License-Identifier: Apache-2.0 */
/* A device process that is killed, at every store. A child pops, puts back, pushes and publishes by
 * lot; the parent steps it instruction by instruction and plays the driver between rounds. Whenever
 * memory has changed, that is what a successor would find had the child been killed right there. So
 * a successor takes it over, in the test, on a copy: chains whose end was visible stay ended, all
 * others are popped once, in the order in which they were offered, and come back once. Some of the
 * successors are killed at every store, too. */
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>
#include "devices/testing/guest_driver.h"
#include "devices/virtio/virtq.h"
#include "vmm/base/num.h"

#define RAM    0x2000
#define CHAINS 512
#define ROUNDS 12
#define SIZE   8
#define NEST   16 /* of so many states one is that of a successor killed as well */

/* What outlives the process. */
struct world {
	uint8_t ram[RAM];
	uint64_t area[64];
	_Atomic uint32_t round; /* the child waits for the driver */
};

struct chain {
	uint16_t head;
	uint8_t ndesc;
	enum { OUT, VISIBLE, POPPED, DONE } state;
};

/* The driver and what it remembers. */
struct driver {
	struct fake_host f; /* only its memory */
	struct guest_driver g;
	struct virtq_setup setup;
	struct chain chain[CHAINS]; /* [back, offered) are the driver's */
	unsigned offered, back, indirect;
	uint64_t lot;
};

static struct world *live[2]; /* of a process, and of a successor that is killed as well */
static unsigned states;

static unsigned draw(uint64_t *lot, unsigned n)
{
	*lot = *lot * 6364136223846793005u + 1442695040888963407u;
	return (*lot >> 33) % n;
}

/* The driver's memory is w from now on. */
static void look_at(struct driver *d, struct world *w)
{
	d->f.mem = (struct guest_mem){.n = 1, .page_size = 4096};
	d->f.mem.region[0] = (struct mem_region){.gpa = 0, .size = RAM, .host = w->ram, .fd = -1};
	d->g.f = &d->f;
	d->setup.inflight = w->area;
	d->setup.inflight_len = sizeof(w->area);
}

static void queue_setup(struct guest_driver *g, unsigned i, uint16_t size, uint64_t desc,
	uint64_t avail, uint64_t used)
{
	struct driver *d = container_of(g, struct driver, g);

	d->setup = (struct virtq_setup){.size = size,
		.desc = desc,
		.avail = avail,
		.used = used,
		.features = g->negotiated};
}

static const struct guest_transport none = {.name = "none", .queue_setup = queue_setup};

/* A chain's first readable byte is its number; then there may be a writable buffer. */
static bool offer(struct driver *d)
{
	struct chain *c = &d->chain[d->offered];
	bool indirect = draw(&d->lot, 3) == 0, two = draw(&d->lot, 2);
	uint64_t data = 0x1000 + 4 * (uint64_t)d->offered, heap = d->g.heap;
	struct guest_buf b[2] = {{data, 2, false}, {data + 2, 2, true}};
	unsigned used = 0, ndesc = indirect ? 1 : 1 + two;

	for (unsigned i = d->back; i < d->offered; i++)
		used += d->chain[i].ndesc;
	if (used + ndesc > SIZE)
		return false;
	*(uint16_t *)guest_ptr(&d->g, data, 2) = d->offered;
	d->g.heap = 0x1800 + 32 * (uint64_t)(d->offered % 32);
	c->head = indirect ? guest_add_indirect(&d->g, 0, b, 1 + two)
			   : guest_add(&d->g, 0, b, 1 + two);
	d->g.heap = heap;
	c->ndesc = ndesc;
	d->offered++;
	return true;
}

/* What has come back; each was not back before, and in `from`. */
static void take(struct driver *d, unsigned from, unsigned to)
{
	uint32_t id;

	while (guest_take_used(&d->g, 0, &id, NULL)) {
		unsigned i = d->back;

		while (i < d->offered && (d->chain[i].head != id || d->chain[i].state != from))
			i++;
		cr_assert_lt(i, d->offered, "%u came back out of turn", id);
		d->chain[i].state = to;
	}
}

static void driver_round(struct driver *d)
{
	take(d, OUT, DONE);
	while (d->back < d->offered && d->chain[d->back].state == DONE)
		d->back++;
	for (unsigned n = draw(&d->lot, 5); n && d->offered < CHAINS && offer(d); n--)
		;
}

/* ---- the device's process ---- */

struct popped {
	struct virtq_chain chain[SIZE], *c[SIZE]; /* c[n] on are unused ones */
	unsigned n;
};

static void popped_init(struct popped *p)
{
	for (unsigned i = 0; i < SIZE; i++)
		p->c[i] = &p->chain[i];
	p->n = 0;
}

static void pop_some(struct virtq *q, struct popped *p, unsigned n)
{
	while (n-- && p->n < SIZE && virtq_pop(q, p->c[p->n]) == 1)
		p->n++;
}

static void push_some(struct virtq *q, struct popped *p, unsigned n, uint64_t *lot)
{
	while (n-- && p->n) {
		struct virtq_chain **c = &p->c[draw(lot, p->n)], *pushed = *c;

		virtq_push(q, pushed, pushed->nin ? 1 : 0);
		*c = p->c[--p->n];
		p->c[p->n] = pushed;
	}
}

static void device_round(struct virtq *q, struct popped *p, uint64_t *lot)
{
	unsigned before = p->n;

	pop_some(q, p, draw(lot, 5));
	if (draw(lot, 4) == 0 && p->n > before) {
		virtq_unpop(q, 1);
		p->n--;
	}
	push_some(q, p, draw(lot, 3), lot);
	pop_some(q, p, draw(lot, 2)); /* between push and publication */
	push_some(q, p, draw(lot, 3), lot);
	virtq_publish(q);
}

/* What a front-end knows after a kill: of a split ring where it stands; of a packed one nothing,
 * but that one which nobody has worked on is fresh. */
static struct virtq_pos position(const struct driver *d, const struct world *w)
{
	const uint16_t *used = (const uint16_t *)(w->ram + d->g.q[0].used), *version;

	version = (const uint16_t *)w->area + 4;
	if (!d->g.q[0].packed)
		return (struct virtq_pos){.avail = used[1], .used = used[1]};
	return *version ? (struct virtq_pos){.avail = 3, .used = 3} : VIRTQ_POS_FRESH;
}

static _Noreturn void device(const struct driver *d, struct world *w, unsigned rounds)
{
	static struct virtq q;
	static struct popped p;
	struct virtq_pos pos = position(d, w);
	struct virtq_setup s = d->setup;
	uint64_t lot = d->lot;

	s.pos = &pos;
	popped_init(&p);
	if (virtq_init(&q, (struct guest_mem *)&d->f.mem, &s) < 0)
		_exit(1);
	while (rounds--) {
		device_round(&q, &p, &lot);
		atomic_fetch_add(&w->round, 1);
	}
	_exit(0);
}

/* ---- the successor ---- */

static void pop_all(struct driver *d, struct virtq *q, struct popped *p)
{
	int last = -1;
	int r;

	for (popped_init(p); p->n < SIZE; p->n++) {
		uint16_t serial = 0;

		r = virtq_pop(q, p->c[p->n]);
		if (r <= 0)
			break;
		virtq_chain_read(p->c[p->n], 0, &serial, 2);
		cr_assert(serial >= d->back && serial < d->offered, "chain %u", serial);
		cr_assert_gt((int)serial, last, "in the old order");
		last = serial;
		cr_assert_eq(d->chain[serial].state, OUT, "chain %u had ended", serial);
		cr_assert_eq(d->chain[serial].head, p->c[p->n]->head);
		d->chain[serial].state = POPPED;
	}
	for (unsigned i = d->back; i < d->offered; i++)
		cr_assert_neq(d->chain[i].state, OUT, "chain %u is lost", i);
}

/* w is a state in which a process was killed; both are the caller's copies. */
static void succeed(struct driver *d, struct world *w)
{
	static struct virtq q;
	static struct popped p;
	struct virtq_pos pos;
	uint64_t lot = d->lot;

	look_at(d, w);
	take(d, OUT, VISIBLE);
	pos = position(d, w);
	d->setup.pos = &pos;
	cr_assert_eq(virtq_init(&q, &d->f.mem, &d->setup), 0);
	pop_all(d, &q, &p);
	if (p.n) { /* puts the last one back, and gets it again */
		virtq_unpop(&q, 1);
		cr_assert_eq(virtq_pop(&q, p.c[p.n - 1]), 1);
	}
	push_some(&q, &p, 2, &lot);
	virtq_publish(&q);
	push_some(&q, &p, SIZE, &lot);
	virtq_publish(&q);
	take(d, POPPED, DONE);
	for (unsigned i = d->back; i < d->offered; i++)
		cr_assert(d->chain[i].state == DONE || d->chain[i].state == VISIBLE,
			"chain %u did not come back", i);
	virtq_pos_get(&q, &pos);
	cr_assert_eq(virtq_init(&q, &d->f.mem, &d->setup), 0);
	cr_assert_eq(virtq_to_redo(&q), 0u, "all is done");
}

static void check_state(const struct driver *d, const struct world *now)
{
	static struct driver driver;
	static struct world w;

	driver = *d;
	memcpy(&w, now, sizeof(w));
	succeed(&driver, &w);
	states++;
}

/* ---- the killer ---- */

static pid_t start_stepped(const struct driver *d, struct world *w, unsigned rounds)
{
	pid_t pid = fork();
	int st;

	cr_assert_geq(pid, 0);
	if (pid == 0) {
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
			_exit(1);
		raise(SIGSTOP);
		device(d, w, rounds);
	}
	cr_assert_eq(waitpid(pid, &st, 0), pid);
	if (!WIFSTOPPED(st) || ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) < 0) {
		kill(pid, SIGKILL);
		waitpid(pid, &st, 0);
		cr_skip_test("no process can be stepped here");
	}
	return pid;
}

static void run_stepped(struct driver *d, struct world *w, unsigned rounds, unsigned depth);

static void changed(struct driver *d, struct world *w, unsigned depth)
{
	static struct driver heir;

	check_state(d, w);
	if (depth || states % NEST)
		return;
	heir = *d;
	memcpy(live[1], w, sizeof(*w));
	look_at(&heir, live[1]);
	run_stepped(&heir, live[1], 2, 1);
}

/* Runs a device from where driver and world stand, and looks at every state on the way. */
static void run_stepped(struct driver *d, struct world *w, unsigned rounds, unsigned depth)
{
	static struct world last_of[2];
	struct world *last = &last_of[depth];
	uint32_t round = w->round;
	pid_t pid;
	int st;

	memcpy(last, w, sizeof(*last));
	pid = start_stepped(d, w, rounds);
	while (waitpid(pid, &st, 0) == pid && WIFSTOPPED(st)) {
		if (round != w->round) {
			round = w->round;
			driver_round(d);
		}
		if (memcmp(last, w, sizeof(*last))) {
			memcpy(last, w, sizeof(*last));
			changed(d, w, depth);
		}
		ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL);
	}
	cr_assert(WIFEXITED(st) && WEXITSTATUS(st) == 0, "the device ended with %#x", st);
}

/* Instrumented, there are twenty times as many instructions, of which none stores anything new. */
#ifdef __has_feature
#define INSTRUMENTED (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define INSTRUMENTED true
#else
#define INSTRUMENTED false
#endif

static void kill_everywhere(uint64_t features, uint64_t lot)
{
	static struct driver d;

	if (INSTRUMENTED)
		cr_skip_test("this build is instrumented: stepping it takes minutes");
	for (unsigned i = 0; i < 2; i++) {
		live[i] = mmap(NULL, sizeof(*live[i]), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		cr_assert_neq((void *)live[i], MAP_FAILED);
	}
	memset(&d, 0, sizeof(d));
	d.g = (struct guest_driver){.t = &none, .negotiated = features};
	d.lot = lot;
	look_at(&d, live[0]);
	guest_queue_init(&d.g, 0, SIZE);
	look_at(&d, live[0]);
	driver_round(&d);
	run_stepped(&d, live[0], ROUNDS, 0);
	cr_expect_gt(states, 200u);
	cr_expect_gt(d.back, SIZE + 0u, "the ring went round");
	for (unsigned i = 0; i < 2; i++)
		munmap(live[i], sizeof(*live[i]));
}

Test(virtq_kill, split, .timeout = 120)
{
	kill_everywhere(VIRTIO_BIT_INDIRECT_DESC, 1);
}

Test(virtq_kill, packed, .timeout = 120)
{
	kill_everywhere(VIRTIO_BIT_INDIRECT_DESC | VIRTIO_BIT_RING_PACKED, 2);
}
