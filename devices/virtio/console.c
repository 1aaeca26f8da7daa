/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-console (virtio 1.2 §5.3), one port: queue 0 brings input to the driver, queue 1 takes its
 * output. Output goes straight to the back-end, which never blocks. Input arrives on control's loop
 * (the back-end must also hear Ctrl-A x while no driver listens) and waits in a small buffer for
 * the worker; `input_lock` guards that buffer and is a leaf. */
#include <errno.h>
#include <linux/virtio_console.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "devices/backend/chr.h"
#include "devices/count.h"
#include "devices/virtio/devs.h"
#include "devices/virtio/queue_run.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"

#define RX	   0
#define TX	   1
#define QUEUE_SIZE 64
#define INPUT_MAX  256
#define OUTPUT_MAX (64 * KIB) /* of one chain: drivers send lines, and nobody else shall wait */

struct virtio_console {
	struct virtio_dev dev; /* first */
	struct queue_run *run;
	struct chr *chr; /* borrowed */
	bool bound;
	struct virtio_console_config config;
	dev_count rx_bytes, tx_bytes, dropped;
	struct virtq_chain chain; /* the worker's */

	pthread_mutex_t input_lock;
	uint8_t input[INPUT_MAX];
	size_t ninput;
	bool full;	/* chr holds back more */
	bool receiving; /* a receive queue is there to be told */
};

static struct virtio_console *of_dev(struct virtio_dev *d)
{
	return (struct virtio_console *)d;
}

/* chr's input, on control's loop. */
static size_t input(void *arg, const uint8_t *p, size_t n)
{
	struct virtio_console *c = arg;
	size_t take;

	LOCK_SCOPE(&c->input_lock);
	take = MIN(n, INPUT_MAX - c->ninput);
	memcpy(c->input + c->ninput, p, take);
	c->ninput += take;
	c->full = take < n;
	if (take && c->receiving)
		queue_run_again(c->run, RX);
	return take;
}

/* Moves waiting input into the chain; returns how much. */
static uint32_t take_input(struct virtio_console *c)
{
	uint32_t n;
	bool more;

	pthread_mutex_lock(&c->input_lock);
	n = virtq_chain_write(&c->chain, 0, c->input, c->ninput);
	c->ninput -= n;
	memmove(c->input, c->input + n, c->ninput);
	more = c->full && n;
	pthread_mutex_unlock(&c->input_lock);
	count_add(&c->rx_bytes, n);
	if (more)
		chr_input_ready(c->chr);
	return n;
}

static bool has_input(struct virtio_console *c)
{
	LOCK_SCOPE(&c->input_lock);
	return c->ninput;
}

/* At most a ring's worth of chains; what is left over waits for the next kick or input. */
static int receive_some(struct virtio_console *c, struct virtq *q, unsigned *budget)
{
	for (; *budget && has_input(c); --*budget) {
		int r = virtq_pop(q, &c->chain);

		if (r <= 0)
			return r;
		virtq_push(q, &c->chain, take_input(c));
	}
	return *budget ? 0 : 1;
}

static void write_out(struct virtio_console *c, const uint8_t *p, size_t n)
{
	size_t lost = chr_write(c->chr, p, n);

	count_add(&c->tx_bytes, n);
	if (lost && !count_get(&c->dropped))
		log_line(c->dev.host->log, LOG_WARN, c->dev.id,
			"output is being lost: its reader is slow or absent");
	count_add(&c->dropped, lost);
}

static void transmit(struct virtio_console *c)
{
	size_t left = OUTPUT_MAX;

	for (unsigned i = 0; i < c->chain.nout && left; i++) {
		size_t n = MIN(c->chain.iov[i].iov_len, left);

		write_out(c, c->chain.iov[i].iov_base, n);
		left -= n;
	}
}

static int transmit_some(struct virtio_console *c, struct virtq *q, unsigned *budget)
{
	for (; *budget; --*budget) {
		int r = virtq_pop(q, &c->chain);

		if (r <= 0)
			return r;
		transmit(c);
		virtq_push(q, &c->chain, 0);
	}
	return 1;
}

static void console_process(struct virtio_dev *d, unsigned i, struct virtq *q)
{
	struct virtio_console *c = of_dev(d);
	unsigned budget = q->size;
	int more;

	do {
		virtq_disable_kick(q);
		more = (i == RX ? receive_some : transmit_some)(c, q, &budget);
		virtq_flush(q);
	} while (more == 0 && virtq_enable_kick(q) && (i == TX || has_input(c)));
	if (more < 0)
		queue_run_broken(c->run, i);
	else if (more)
		queue_run_again(c->run, i);
}

static void set_receiving(struct virtio_console *c, bool on)
{
	LOCK_SCOPE(&c->input_lock);
	c->receiving = on;
}

static int console_attach(struct virtio_dev *d, unsigned i, struct virtq *q, struct ev_loop *loop)
{
	if (i == RX)
		set_receiving(of_dev(d), true);
	return 0;
}

static void console_detach(struct virtio_dev *d, unsigned i)
{
	if (i == RX)
		set_receiving(of_dev(d), false);
}

static const struct queue_worker_ops console_worker = {
	.process = console_process,
	.attach = console_attach,
	.detach = console_detach,
};

static uint64_t console_features(struct virtio_dev *d)
{
	uint64_t f = VIRTIO_RING_FEATURES;

	if (of_dev(d)->config.cols)
		f |= UINT64_C(1) << VIRTIO_CONSOLE_F_SIZE;
	return f;
}

static int console_accept(struct virtio_dev *d, uint64_t features)
{
	return 0;
}

static void console_config_read(struct virtio_dev *d, uint32_t off, void *buf, uint32_t len)
{
	memcpy(buf, (uint8_t *)&of_dev(d)->config + off, len);
}

static int console_queue_start(struct virtio_dev *d, unsigned i, const struct virtq_setup *s)
{
	return queue_run_start(of_dev(d)->run, i, s);
}

static int console_queue_stop(struct virtio_dev *d, unsigned i)
{
	return queue_run_stop(of_dev(d)->run, i);
}

static void console_reset(struct virtio_dev *d)
{
	queue_run_reset(of_dev(d)->run);
}

static unsigned console_counters(struct virtio_dev *d, struct dev_counter *ret, unsigned max)
{
	const struct virtio_console *c = of_dev(d);
	const struct dev_counter all[] = {
		{"rx_bytes", count_get(&c->rx_bytes)},
		{"tx_bytes", count_get(&c->tx_bytes)},
		{"tx_dropped_bytes", count_get(&c->dropped)},
	};

	return counters_copy(all, ARRAY_SIZE(all), ret, max);
}

static void console_free(struct virtio_dev *d)
{
	struct virtio_console *c = of_dev(d);

	if (c->bound)
		chr_unbind(c->chr);
	queue_run_free(c->run);
	pthread_mutex_destroy(&c->input_lock);
	free(c);
}

static const struct virtio_dev_ops console_ops = {
	.features = console_features,
	.accept = console_accept,
	.config_read = console_config_read,
	.queue_start = console_queue_start,
	.queue_stop = console_queue_stop,
	.reset = console_reset,
	.counters = console_counters,
	.free = console_free,
};

int virtio_console_new(
	struct dev_host *h, const char *id, struct chr *chr, struct virtio_dev **ret_dev)
{
	struct virtio_console *c = calloc(1, sizeof(*c));
	const char *names[] = {id};
	uint16_t cols = 0, rows = 0;
	int r;

	if (!c)
		return -ENOMEM;
	c->dev = (struct virtio_dev){.ops = &console_ops,
		.type = VIRTIO_TYPE_CONSOLE,
		.nqueues = 2,
		.queue_max = {QUEUE_SIZE, QUEUE_SIZE},
		.config_len = sizeof(c->config),
		.host = h};
	snprintf(c->dev.id, sizeof(c->dev.id), "%s", id);
	pthread_mutex_init(&c->input_lock, NULL);
	c->chr = chr;
	if (chr_size(chr, &cols, &rows) == 0)
		c->config = (struct virtio_console_config){.cols = cols, .rows = rows};
	c->config.max_nr_ports = 1;
	r = queue_run_new(&c->dev, &console_worker, (unsigned[]){0, 0}, names, &c->run);
	if (r == 0)
		r = chr_bind(chr, h->control, input, c);
	c->bound = r == 0;
	if (r < 0) {
		console_free(&c->dev);
		return r;
	}
	*ret_dev = &c->dev;
	return 0;
}
