/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/polyctl/rates.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "vmm/base/num.h"

#define MARKS 512 /* of a latency histogram: more than the server has buckets */

struct mark {
	int64_t bound, count;
};

/* One row: a queue, or a device as the sum of its queues. */
struct sum {
	int64_t requests, read_bytes, written_bytes, errors, dropped, kicks, interrupts;
	int64_t in_flight, poll_ns, cpu_ns;
	struct mark mark[MARKS]; /* by bound */
	unsigned nmarks;
};

static int64_t number(const json_t *o, const char *key)
{
	return json_integer_value(json_object_get(o, key));
}

/* Since `before`, unless the count began anew. */
static int64_t since(const json_t *now, const json_t *before, const char *key)
{
	int64_t n = number(now, key), b = number(before, key);

	return b > n ? n : n - b;
}

/* ---- latencies ---- */

static void add_mark(struct sum *s, int64_t bound, int64_t count)
{
	unsigned i = s->nmarks;

	while (i > 0 && s->mark[i - 1].bound > bound)
		i--;
	if (i > 0 && s->mark[i - 1].bound == bound) {
		s->mark[i - 1].count += count;
		return;
	}
	if (s->nmarks == MARKS)
		return;
	memmove(&s->mark[i + 1], &s->mark[i], (s->nmarks++ - i) * sizeof(s->mark[0]));
	s->mark[i] = (struct mark){bound, count};
}

static int64_t count_at(const json_t *buckets, int64_t bound)
{
	const json_t *pair;
	size_t i;

	json_array_foreach (buckets, i, pair)
		if (json_integer_value(json_array_get(pair, 0)) == bound)
			return json_integer_value(json_array_get(pair, 1));
	return 0;
}

static void add_latencies(struct sum *s, const json_t *now, const json_t *before)
{
	const json_t *new = json_object_get(json_object_get(now, "latency"), "buckets");
	const json_t *old = json_object_get(json_object_get(before, "latency"), "buckets");
	const json_t *pair;
	size_t i;

	json_array_foreach (new, i, pair) {
		int64_t bound = json_integer_value(json_array_get(pair, 0));
		int64_t n = json_integer_value(json_array_get(pair, 1));
		int64_t b = count_at(old, bound);

		if (b > n)
			b = 0;
		if (n > b)
			add_mark(s, bound, n - b);
	}
}

/* The bound below which per_mille of 1000 lie. */
static json_t *quantile(const struct sum *s, int per_mille)
{
	int64_t all = 0, seen = 0, rank;

	for (unsigned i = 0; i < s->nmarks; i++)
		all += s->mark[i].count;
	if (!all)
		return json_null();
	rank = all / 1000 * per_mille + (all % 1000 * per_mille + 999) / 1000;
	for (unsigned i = 0; i < s->nmarks; i++) {
		seen += s->mark[i].count;
		if (seen >= rank)
			return json_integer(s->mark[i].bound);
	}
	return json_integer(s->mark[s->nmarks - 1].bound);
}

/* ---- rows ---- */

static void add_queue(struct sum *s, const json_t *now, const json_t *before)
{
	s->requests += since(now, before, "requests");
	s->read_bytes += since(now, before, "read_bytes");
	s->written_bytes += since(now, before, "written_bytes");
	s->errors += since(now, before, "errors");
	s->dropped += since(now, before, "dropped");
	s->kicks += since(now, before, "kicks");
	s->interrupts += since(now, before, "interrupts");
	s->poll_ns += since(now, before, "poll_ns");
	s->in_flight += number(now, "in_flight");
	add_latencies(s, now, before);
}

static json_t *per(double what, double by, bool known)
{
	return known && by > 0 ? json_real(what / by) : json_null();
}

static void put(json_t *o, const char *key, json_t *v)
{
	json_object_set_new(o, key, v);
}

static void describe(json_t *o, const struct sum *s, double seconds)
{
	bool timed = seconds > 0, cpu = s->cpu_ns > 0;

	put(o, "requests", json_integer(s->requests));
	put(o, "read_bytes", json_integer(s->read_bytes));
	put(o, "written_bytes", json_integer(s->written_bytes));
	put(o, "errors", json_integer(s->errors));
	put(o, "dropped", json_integer(s->dropped));
	put(o, "in_flight", json_integer(s->in_flight));
	put(o, "requests_per_s", per(s->requests, seconds, timed));
	put(o, "read_bytes_per_s", per(s->read_bytes, seconds, timed));
	put(o, "written_bytes_per_s", per(s->written_bytes, seconds, timed));
	put(o, "cpu_percent", per(s->cpu_ns / 1e7, seconds, timed));
	put(o, "poll_percent", per(s->poll_ns / 1e7, seconds, timed));
	put(o, "p50_ns", quantile(s, 500));
	put(o, "p99_ns", quantile(s, 990));
	put(o, "p999_ns", quantile(s, 999));
	put(o, "kicks_per_io", per(s->kicks, s->requests, true));
	put(o, "interrupts_per_io", per(s->interrupts, s->requests, true));
	put(o, "cpu_ns_per_io", per(s->cpu_ns, s->requests, cpu));
}

static json_t *queue_row(const json_t *now, const json_t *before, double seconds)
{
	struct sum *s = calloc(1, sizeof(*s));
	json_t *o = s ? json_object() : NULL;

	if (o) {
		add_queue(s, now, before);
		s->cpu_ns = since(now, before, "cpu_ns");
		put(o, "index", json_integer(number(now, "index")));
		put(o, "running", json_boolean(json_is_true(json_object_get(now, "running"))));
		describe(o, s, seconds);
	}
	free(s);
	return o;
}

static void copy(json_t *o, const json_t *from, const char *key)
{
	json_t *v = json_object_get(from, key);

	put(o, key, v ? json_incref(v) : json_null());
}

static json_t *device_row(const json_t *now, const json_t *before, struct sum *s, double seconds)
{
	const json_t *queues = json_object_get(now, "queues"), *q;
	const json_t *old = json_object_get(before, "queues");
	json_t *o = json_object(), *rows = json_array();
	size_t i;

	json_array_foreach (queues, i, q) {
		add_queue(s, q, json_array_get(old, i));
		json_array_append_new(rows, queue_row(q, json_array_get(old, i), seconds));
	}
	s->cpu_ns = since(now, before, "cpu_ns");
	copy(o, now, "id");
	copy(o, now, "type");
	copy(o, now, "health");
	copy(o, json_object_get(now, "front_end"), "connected_seconds");
	describe(o, s, seconds);
	put(o, "queues", rows);
	return o;
}

json_t *rates_of(const json_t *now, const json_t *before, double seconds)
{
	struct sum *s = calloc(1, sizeof(*s));
	json_t *o = s ? device_row(now, before, s, before ? seconds : 0) : NULL;

	free(s);
	return o;
}
