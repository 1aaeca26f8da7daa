/* SPDX-License-Identifier: Apache-2.0 */
/* Every family is a row: its samples are of a device or of each of its queues. */
#include "offload/control_priv.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "vmm/base/num.h"
#include "vmm/http/metrics.h"

#define PREFIX "polyvisor_offload_"

#define COUNT(m, n, h)                                                                             \
	{                                                                                          \
		PREFIX n, "counter", h, offsetof(struct queue_stats, m)                            \
	}
static const struct {
	const char *name, *type, *help;
	size_t offset;
	bool ns; /* shown in seconds */
} counts[] = {
	COUNT(requests, "requests_total", "completed; of a network: frames"),
	COUNT(reads, "reads_total", "reads; of a network: frames to the guest"),
	COUNT(writes, "writes_total", "writes; of a network: frames from the guest"),
	COUNT(flushes, "flushes_total", "flushes"),
	COUNT(others, "other_requests_total", "other requests"),
	COUNT(read_bytes, "read_bytes_total", "to the guest"),
	COUNT(written_bytes, "written_bytes_total", "from the guest"),
	COUNT(errors, "errors_total", "requests answered with an error"),
	COUNT(dropped, "dropped_total", "frames thrown away"),
	COUNT(kicks, "kicks_total", "times that the guest woke the queue"),
	COUNT(interrupts, "interrupts_total", "times that the guest was told"),
	COUNT(poll_hits, "poll_hits_total", "times that looking at a ring paid"),
	{PREFIX "poll_seconds_total", "counter", "CPU time spent looking at rings",
		offsetof(struct queue_stats, poll_ns), true},
	{PREFIX "in_flight", "gauge", "requests that are not yet answered",
		offsetof(struct queue_stats, in_flight)},
};

struct queue {
	const char *id;
	unsigned i;
	struct virtio_dev *dev;
	const struct queue_stats *stats;
};

static void labels(FILE *f, const char *name, const struct queue *q)
{
	fprintf(f, "%s{", name);
	metrics_label(f, "device", q->id);
	fprintf(f, ",queue=\"%u\"", q->i);
}

static void each_queue(FILE *f, const struct served_set *set,
	void (*sample)(FILE *f, const struct queue *q, unsigned what), unsigned what)
{
	for (unsigned i = 0; i < set->n; i++) {
		struct virtio_dev *d = vu_device_virtio(served_device(set->at[i]));

		for (unsigned k = 0; k < d->nqueues; k++) {
			const struct queue q = {
				served_config(set->at[i])->id, k, d, control_stats(d, k)};

			sample(f, &q, what);
		}
	}
}

static void count_sample(FILE *f, const struct queue *q, unsigned what)
{
	uint64_t v;

	if (!q->stats)
		return;
	v = count_get((const dev_count *)((const char *)q->stats + counts[what].offset));
	labels(f, counts[what].name, q);
	fputc('}', f);
	if (counts[what].ns)
		metrics_seconds(f, v);
	else
		fprintf(f, " %" PRIu64 "\n", v);
}

static void cpu_sample(FILE *f, const struct queue *q, unsigned what)
{
	if (!q->dev->ops->cpu_ns)
		return;
	labels(f, PREFIX "queue_cpu_seconds_total", q);
	fputc('}', f);
	metrics_seconds(f, q->dev->ops->cpu_ns(q->dev, q->i));
}

/* Each fourth power of two, from a microsecond to 4 s: bounds that the histogram has, too. */
static void latency_sample(FILE *f, const struct queue *q, unsigned what)
{
	static const char name[] = PREFIX "latency_seconds";
	uint64_t below = 0;
	unsigned b = 0;

	if (!q->stats)
		return;
	for (unsigned bit = 10; bit <= 32; bit += 2) {
		uint64_t bound = (UINT64_C(1) << bit) - 1;

		for (; b < HISTOGRAM_BUCKETS && histogram_bound(b) <= bound; b++)
			below += count_get(&q->stats->latency.bucket[b]);
		labels(f, PREFIX "latency_seconds_bucket", q);
		fprintf(f, ",le=\"%" PRIu64 ".%09" PRIu64 "\"} %" PRIu64 "\n", bound / 1000000000,
			bound % 1000000000, below);
	}
	for (; b < HISTOGRAM_BUCKETS; b++)
		below += count_get(&q->stats->latency.bucket[b]);
	labels(f, PREFIX "latency_seconds_bucket", q);
	fprintf(f, ",le=\"+Inf\"} %" PRIu64 "\n", below);
	fprintf(f, "%s_count", name);
	labels(f, "", q);
	fprintf(f, "} %" PRIu64 "\n", below);
}

static void queues(FILE *f, const struct served_set *set)
{
	for (unsigned i = 0; i < ARRAY_SIZE(counts); i++) {
		metrics_family(f, counts[i].name, counts[i].type, counts[i].help);
		each_queue(f, set, count_sample, i);
	}
	metrics_family(f, PREFIX "queue_cpu_seconds_total", "counter",
		"CPU time of the thread that serves the queue; a network's pair has one thread");
	each_queue(f, set, cpu_sample, 0);
	metrics_family(f, PREFIX "latency_seconds", "histogram",
		"from taking a request out of the ring to its answer there");
	each_queue(f, set, latency_sample, 0);
}

/* ---- devices ---- */

static void device_label(FILE *f, const char *name, struct served *s)
{
	fprintf(f, "%s{", name);
	metrics_label(f, "device", served_config(s)->id);
}

static void health(FILE *f, const struct served_set *set)
{
	static const char *const states[] = {"waiting", "connected", "running", "broken"};
	static const char name[] = PREFIX "health";

	metrics_family(f, name, "gauge", "1 for the state that the device is in");
	for (unsigned i = 0; i < set->n; i++) {
		for (unsigned k = 0; k < ARRAY_SIZE(states); k++) {
			device_label(f, name, set->at[i]);
			fprintf(f, ",state=\"%s\"} %d\n", states[k],
				!strcmp(control_health(set->at[i]), states[k]));
		}
	}
}

static void connections(FILE *f, const struct served_set *set)
{
	static const char name[] = PREFIX "connections_total";

	metrics_family(f, name, "counter", "front-ends that have come");
	for (unsigned i = 0; i < set->n; i++) {
		struct vu_device_status st;

		vu_device_status(served_device(set->at[i]), &st);
		device_label(f, name, set->at[i]);
		fprintf(f, "} %" PRIu64 "\n", st.connections);
	}
}

static void connected(FILE *f, const struct served_set *set)
{
	static const char name[] = PREFIX "connected_seconds";

	metrics_family(f, name, "gauge", "since the front-end of now has come; 0 without one");
	for (unsigned i = 0; i < set->n; i++) {
		struct vu_device_status st;

		vu_device_status(served_device(set->at[i]), &st);
		device_label(f, name, set->at[i]);
		fputc('}', f);
		metrics_seconds(f, st.connected ? ev_now_ns() - st.connected_ns : 0);
	}
}

static void cpu(FILE *f, const struct served_set *set)
{
	static const char name[] = PREFIX "device_cpu_seconds_total";

	metrics_family(f, name, "counter", "CPU time of the device's threads that run now");
	for (unsigned i = 0; i < set->n; i++) {
		device_label(f, name, set->at[i]);
		fputc('}', f);
		metrics_seconds(f, control_cpu_ns(vu_device_virtio(served_device(set->at[i]))));
	}
}

static void sizes(FILE *f, const struct served_set *set)
{
	static const char name[] = PREFIX "size_bytes";

	metrics_family(f, name, "gauge", "of a disk");
	for (unsigned i = 0; i < set->n; i++) {
		if (served_config(set->at[i])->type != VIRTIO_TYPE_BLOCK)
			continue;
		device_label(f, name, set->at[i]);
		fprintf(f, "} %" PRIu64 "\n", served_size(set->at[i]));
	}
}

static void process(FILE *f, const struct control *c)
{
	metrics_family(
		f, PREFIX "build_info", "gauge", "which polyvisor-offload this is; always 1");
	fprintf(f, PREFIX "build_info{version=\"%s\"} 1\n", POLYVISOR_VERSION);
	metrics_family(f, PREFIX "devices", "gauge", "devices that are served");
	fprintf(f, PREFIX "devices %u\n", c->set->n);
	metrics_family(f, PREFIX "process_resident_memory_bytes", "gauge",
		"memory of the process, guests' that it has touched included");
	fprintf(f, PREFIX "process_resident_memory_bytes %" PRIu64 "\n", metrics_resident_bytes());
	metrics_family(f, PREFIX "process_cpu_seconds_total", "counter",
		"CPU time of the process, all threads");
	fputs(PREFIX "process_cpu_seconds_total", f);
	metrics_seconds(f, metrics_cpu_ns());
	metrics_family(f, PREFIX "uptime_seconds", "gauge", "since the process has begun");
	fputs(PREFIX "uptime_seconds", f);
	metrics_seconds(f, ev_now_ns() - c->began_ns);
}

char *control_metrics(const struct control *c, size_t *ret_len)
{
	char *text = NULL;
	FILE *f = open_memstream(&text, ret_len);

	if (!f)
		return NULL;
	process(f, c);
	health(f, c->set);
	connections(f, c->set);
	connected(f, c->set);
	cpu(f, c->set);
	sizes(f, c->set);
	queues(f, c->set);
	if (fclose(f) == 0)
		return text;
	free(text);
	return NULL;
}
