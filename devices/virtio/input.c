/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-input (virtio 1.2 §5.8) with one key, KEY_POWER: queue 0 brings events to the driver, each
 * in a buffer of its own; queue 1 takes what the driver sets (lights), of which there is none here.
 *
 * A press is four events. They go out one by one as the driver gives buffers, and a sequence that
 * has begun is finished, so that no key stays down. A press that comes meanwhile, or before there
 * is a driver, waits; one that comes on top of that is the same wish. */
#include <errno.h>
#include <linux/input.h>
#include <linux/virtio_input.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "devices/count.h"
#include "devices/virtio/devs.h"
#include "devices/virtio/queue_run.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"

#define EVENTS	   0
#define STATUS	   1
#define QUEUE_SIZE 64

struct virtio_input {
	struct virtio_dev dev; /* first */
	struct queue_run *run;
	uint8_t select, subsel; /* under the transport's device lock */
	atomic_bool pressed;	/* and not yet begun to be sent */
	dev_count sent;

	/* The worker's. */
	uint8_t next; /* event of the sequence, 0 = none is under way */
	struct virtq_chain chain;

	pthread_mutex_t lock; /* leaf */
	bool running;	      /* an event queue is there to be told */
};

static const struct virtio_input_event sequence[] = {
	{EV_KEY, KEY_POWER, 1},
	{EV_SYN, SYN_REPORT, 0},
	{EV_KEY, KEY_POWER, 0},
	{EV_SYN, SYN_REPORT, 0},
};

static struct virtio_input *of_dev(struct virtio_dev *d)
{
	return (struct virtio_input *)d;
}

static bool has_event(struct virtio_input *k)
{
	return k->next || atomic_load(&k->pressed);
}

/* The next event, for the chain at hand. Returns its bytes. */
static uint32_t take_event(struct virtio_input *k)
{
	const struct virtio_input_event *e = &sequence[k->next];

	if (!k->next)
		atomic_store(&k->pressed, false);
	k->next = (k->next + 1) % ARRAY_SIZE(sequence);
	count_add(&k->sent, 1);
	return virtq_chain_write(&k->chain, 0, e, sizeof(*e));
}

static int send_some(struct virtio_input *k, struct virtq *q, unsigned *budget)
{
	for (; *budget && has_event(k); --*budget) {
		int r = virtq_pop(q, &k->chain);

		if (r <= 0)
			return r;
		virtq_push(q, &k->chain, take_event(k));
	}
	return *budget ? 0 : 1;
}

static int ignore_some(struct virtio_input *k, struct virtq *q, unsigned *budget)
{
	for (; *budget; --*budget) {
		int r = virtq_pop(q, &k->chain);

		if (r <= 0)
			return r;
		virtq_push(q, &k->chain, 0);
	}
	return 1;
}

static void input_process(struct virtio_dev *d, unsigned i, struct virtq *q)
{
	struct virtio_input *k = of_dev(d);
	unsigned budget = q->size;
	int more;

	do {
		virtq_disable_kick(q);
		more = (i == EVENTS ? send_some : ignore_some)(k, q, &budget);
		virtq_flush(q);
	} while (more == 0 && virtq_enable_kick(q) && (i == STATUS || has_event(k)));
	if (more < 0)
		queue_run_broken(k->run, i);
	else if (more)
		queue_run_again(k->run, i);
}

static void set_running(struct virtio_input *k, unsigned i, bool on)
{
	LOCK_SCOPE(&k->lock);
	if (i == EVENTS)
		k->running = on;
}

static int input_attach(struct virtio_dev *d, unsigned i, struct virtq *q, struct ev_loop *loop)
{
	set_running(of_dev(d), i, true);
	return 0;
}

static void input_detach(struct virtio_dev *d, unsigned i)
{
	set_running(of_dev(d), i, false);
}

static const struct queue_worker_ops input_worker = {
	.process = input_process,
	.attach = input_attach,
	.detach = input_detach,
};

void virtio_input_power_key(struct virtio_dev *d)
{
	struct virtio_input *k = of_dev(d);

	LOCK_SCOPE(&k->lock);
	atomic_store(&k->pressed, true);
	if (k->running)
		queue_run_again(k->run, EVENTS);
}

/* §5.8.5: what `select` and `subsel` ask for; size 0 = there is no such thing. */
static struct virtio_input_config config_of(const struct virtio_input *k)
{
	struct virtio_input_config c = {.select = k->select, .subsel = k->subsel};
	const struct virtio_input_devids ids = {.bustype = BUS_VIRTUAL, .version = 1};

	if (k->select == VIRTIO_INPUT_CFG_EV_BITS) {
		if (k->subsel == EV_KEY) {
			c.u.bitmap[KEY_POWER / 8] = 1 << KEY_POWER % 8;
			c.size = KEY_POWER / 8 + 1;
		}
	} else if (k->subsel) {
		return c; /* the others have no parts */
	} else if (k->select == VIRTIO_INPUT_CFG_ID_NAME) {
		c.size = snprintf(c.u.string, sizeof(c.u.string), "polyvisor power button");
	} else if (k->select == VIRTIO_INPUT_CFG_ID_SERIAL) {
		c.size = snprintf(c.u.string, sizeof(c.u.string), "%s", k->dev.id);
	} else if (k->select == VIRTIO_INPUT_CFG_ID_DEVIDS) {
		c.u.ids = ids;
		c.size = sizeof(c.u.ids);
	}
	return c;
}

static void input_config_read(struct virtio_dev *d, uint32_t off, void *buf, uint32_t len)
{
	struct virtio_input_config c = config_of(of_dev(d));

	memcpy(buf, (uint8_t *)&c + off, len);
}

/* Only the two selectors can be written. */
static void input_config_write(struct virtio_dev *d, uint32_t off, const void *buf, uint32_t len)
{
	struct virtio_input *k = of_dev(d);
	const uint8_t *p = buf;

	for (uint32_t i = 0; i < len; i++) {
		if (off + i == offsetof(struct virtio_input_config, select))
			k->select = p[i];
		else if (off + i == offsetof(struct virtio_input_config, subsel))
			k->subsel = p[i];
	}
}

static uint64_t input_features(struct virtio_dev *d)
{
	return VIRTIO_RING_FEATURES;
}

/* A new driver, and no queue runs: what the one before has seen of a press is forgotten. */
static int input_accept(struct virtio_dev *d, uint64_t features)
{
	of_dev(d)->next = 0;
	return 0;
}

static int input_queue_start(struct virtio_dev *d, unsigned i, const struct virtq_setup *s)
{
	return queue_run_start(of_dev(d)->run, i, s);
}

static int input_queue_stop(struct virtio_dev *d, unsigned i)
{
	return queue_run_stop(of_dev(d)->run, i);
}

static void input_reset(struct virtio_dev *d)
{
	queue_run_reset(of_dev(d)->run);
}

static int input_visit(struct virtio_dev *d, struct visitor *v)
{
	struct virtio_input *k = of_dev(d);
	bool pressed = atomic_load(&k->pressed);
	uint32_t version = 1;

	visit_begin(v, "input", &version);
	visit_u8(v, "select", &k->select);
	visit_u8(v, "subsel", &k->subsel);
	visit_bool(v, "pressed", &pressed);
	visit_u8(v, "next", &k->next);
	if (k->next >= ARRAY_SIZE(sequence)) {
		k->next = 0;
		visit_fail(v, -EINVAL);
	}
	visit_end(v);
	atomic_store(&k->pressed, pressed);
	return visit_status(v);
}

static unsigned input_counters(struct virtio_dev *d, struct dev_counter *ret, unsigned max)
{
	struct dev_counter events = {"events", count_get(&of_dev(d)->sent)};

	return counters_copy(&events, 1, ret, max);
}

static void input_free(struct virtio_dev *d)
{
	struct virtio_input *k = of_dev(d);

	queue_run_free(k->run);
	pthread_mutex_destroy(&k->lock);
	free(k);
}

static const struct virtio_dev_ops input_ops = {
	.features = input_features,
	.accept = input_accept,
	.config_read = input_config_read,
	.config_write = input_config_write,
	.queue_start = input_queue_start,
	.queue_stop = input_queue_stop,
	.reset = input_reset,
	.visit = input_visit,
	.counters = input_counters,
	.free = input_free,
};

int virtio_input_new(struct dev_host *h, const char *id, struct virtio_dev **ret_dev)
{
	struct virtio_input *k = calloc(1, sizeof(*k));
	const char *names[] = {id};
	int r;

	if (!k)
		return -ENOMEM;
	k->dev = (struct virtio_dev){.ops = &input_ops,
		.type = VIRTIO_TYPE_INPUT,
		.nqueues = 2,
		.queue_max = {QUEUE_SIZE, QUEUE_SIZE},
		.config_len = sizeof(struct virtio_input_config),
		.host = h};
	snprintf(k->dev.id, sizeof(k->dev.id), "%s", id);
	pthread_mutex_init(&k->lock, NULL);
	r = queue_run_new(&k->dev, &input_worker, (unsigned[]){0, 0}, names, &k->run);
	if (r < 0) {
		input_free(&k->dev);
		return r;
	}
	*ret_dev = &k->dev;
	return 0;
}
