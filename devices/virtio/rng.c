/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-rng (virtio 1.2 §5.4): fills the driver's buffers with random bytes, at most REQUEST_MAX a
 * request. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>
#include "devices/count.h"
#include "devices/virtio/devs.h"
#include "devices/virtio/queue_run.h"
#include "vmm/base/num.h"

#define QUEUE_SIZE  64
#define REQUEST_MAX 4096

struct virtio_rng {
	struct virtio_dev dev; /* first */
	struct queue_run *run;
	int source_fd; /* borrowed; -1 = getrandom */
	dev_count bytes;
	struct virtq_chain chain;
};

static struct virtio_rng *of_dev(struct virtio_dev *d)
{
	return (struct virtio_rng *)d;
}

/* At least one byte: the driver waits for that (§5.4.6.1). A source that has nothing now, or has
 * failed, is replaced by the kernel's generator. */
static size_t draw(struct virtio_rng *g, uint8_t *buf, size_t len)
{
	struct pollfd p = {.fd = g->source_fd, .events = POLLIN};
	ssize_t n = -1;

	if (g->source_fd >= 0 && poll(&p, 1, 0) == 1)
		n = read(g->source_fd, buf, len);
	if (n <= 0)
		n = getrandom(buf, len, 0);
	return n > 0 ? n : 0;
}

static void serve(struct virtio_rng *g, struct virtq *q)
{
	uint8_t buf[REQUEST_MAX];
	size_t len = draw(g, buf, MIN(g->chain.in_len, (uint32_t)sizeof(buf)));

	len = virtq_chain_write(&g->chain, 0, buf, len);
	count_add(&g->bytes, len);
	virtq_push(q, &g->chain, len);
}

static int serve_some(struct virtio_rng *g, struct virtq *q, unsigned *budget)
{
	for (; *budget; --*budget) {
		int r = virtq_pop(q, &g->chain);

		if (r <= 0)
			return r;
		serve(g, q);
	}
	return 1;
}

static void rng_process(struct virtio_dev *d, unsigned i, struct virtq *q)
{
	struct virtio_rng *g = of_dev(d);
	unsigned budget = q->size;
	int more;

	do {
		virtq_disable_kick(q);
		more = serve_some(g, q, &budget);
		virtq_flush(q);
	} while (more == 0 && virtq_enable_kick(q));
	if (more < 0)
		queue_run_broken(g->run, i);
	else if (more)
		queue_run_again(g->run, i);
}

static const struct queue_worker_ops rng_worker = {.process = rng_process};

static uint64_t rng_features(struct virtio_dev *d)
{
	return VIRTIO_RING_FEATURES;
}

static int rng_accept(struct virtio_dev *d, uint64_t features)
{
	return 0;
}

static int rng_queue_start(struct virtio_dev *d, unsigned i, const struct virtq_setup *s)
{
	return queue_run_start(of_dev(d)->run, i, s);
}

static int rng_queue_stop(struct virtio_dev *d, unsigned i)
{
	return queue_run_stop(of_dev(d)->run, i);
}

static void rng_reset(struct virtio_dev *d)
{
	queue_run_reset(of_dev(d)->run);
}

static unsigned rng_counters(struct virtio_dev *d, struct dev_counter *ret, unsigned max)
{
	struct dev_counter bytes = {"bytes", count_get(&of_dev(d)->bytes)};

	return counters_copy(&bytes, 1, ret, max);
}

static void rng_free(struct virtio_dev *d)
{
	queue_run_free(of_dev(d)->run);
	free(d);
}

static const struct virtio_dev_ops rng_ops = {
	.features = rng_features,
	.accept = rng_accept,
	.queue_start = rng_queue_start,
	.queue_stop = rng_queue_stop,
	.reset = rng_reset,
	.counters = rng_counters,
	.free = rng_free,
};

int virtio_rng_new(struct dev_host *h, const char *id, int source_fd, struct virtio_dev **ret_dev)
{
	struct virtio_rng *g = calloc(1, sizeof(*g));
	const char *names[] = {id};
	int r;

	if (!g)
		return -ENOMEM;
	g->dev = (struct virtio_dev){.ops = &rng_ops,
		.type = VIRTIO_TYPE_RNG,
		.nqueues = 1,
		.queue_max = {QUEUE_SIZE},
		.host = h};
	snprintf(g->dev.id, sizeof(g->dev.id), "%s", id);
	g->source_fd = source_fd;
	r = queue_run_new(&g->dev, &rng_worker, (unsigned[]){0}, names, &g->run);
	if (r < 0) {
		free(g);
		return r;
	}
	*ret_dev = &g->dev;
	return 0;
}
