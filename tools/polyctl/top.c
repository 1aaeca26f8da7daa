/* SPDX-License-Identifier: Apache-2.0 */
/* polyctl offload top: looks at every process again and again and shows what happened between. One
 * that does not answer has a line that says why; it may come back. */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "tools/polyctl/polyctl.h"
#include "tools/polyctl/rates.h"
#include "tools/polyctl/table.h"
#include "vmm/base/num.h"

struct look {
	json_t *devices[CALL_SOCKETS]; /* NULL: no answer */
	double at[CALL_SOCKETS];       /* seconds */
	struct err why[CALL_SOCKETS];
};

static double now_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void look_fini(struct look *l)
{
	for (unsigned i = 0; i < CALL_SOCKETS; i++)
		json_decref(l->devices[i]);
	memset(l, 0, sizeof(*l));
}

static void look(struct call *c, struct look *l)
{
	for (unsigned i = 0; i < c->nsockets; i++) {
		c->socket = c->sockets[i];
		if (call_get(c, c->verb->path, &l->devices[i], &l->why[i]) < 0)
			l->devices[i] = NULL;
		l->at[i] = now_seconds();
	}
}

static const json_t *find(const json_t *devices, const char *id)
{
	const json_t *d;
	size_t i;

	json_array_foreach (devices, i, d) {
		const char *other = json_string_value(json_object_get(d, "id"));

		if (other && id && !strcmp(other, id))
			return d;
	}
	return NULL;
}

/* All devices of process i, as rates; the first look at a device shows what was until then. */
static json_t *rates(
	const struct call *c, const struct look *now, const struct look *before, unsigned i)
{
	json_t *list = json_array();
	const json_t *d;
	size_t k;

	json_array_foreach (now->devices[i], k, d) {
		const char *id = json_string_value(json_object_get(d, "id"));
		const json_t *old = c->total ? NULL : find(before->devices[i], id);
		json_t *row = rates_of(d, old, now->at[i] - before->at[i]);

		if (row)
			json_object_set_new(row, "process", json_string(c->sockets[i]));
		json_array_append_new(list, row);
	}
	return list;
}

/* ---- cells ---- */

struct cell {
	char text[24];
};

static struct cell cell_number(const json_t *v, double scale, const char *suffix)
{
	double n = json_number_value(v) * scale;
	struct cell cell = {"-"};

	if (json_is_number(v))
		snprintf(cell.text, sizeof(cell.text), "%.*f%s",
			n && n < 10 ? 2
			: n < 100   ? 1
				    : 0,
			n, suffix);
	return cell;
}

/* 1234567 as 1.23M; step 1000, or 1024 for bytes. */
static struct cell cell_large(const json_t *v, double step)
{
	static const char *const suffix[] = {"", "K", "M", "G", "T", "P"};
	double n = json_number_value(v);
	struct cell cell = {"-"};
	unsigned i = 0;

	for (; n >= step && i + 1 < ARRAY_SIZE(suffix); i++)
		n /= step;
	if (json_is_number(v))
		snprintf(cell.text, sizeof(cell.text), "%.*f%s",
			i == 0 || n >= 100 ? 0
			: n >= 10	   ? 1
					   : 2,
			n, suffix[i]);
	return cell;
}

static struct cell cell_time(const json_t *ns)
{
	double n = json_number_value(ns);

	if (n >= 1e9)
		return cell_number(ns, 1e-9, "s");
	return n >= 1e6 ? cell_number(ns, 1e-6, "ms") : cell_number(ns, 1e-3, "us");
}

static struct cell cell_since(const json_t *seconds)
{
	long s = (long)json_number_value(seconds);
	struct cell cell = {"-"};

	if (s >= 86400)
		snprintf(cell.text, sizeof(cell.text), "%ldd%02ldh", s / 86400, s / 3600 % 24);
	else if (s >= 3600)
		snprintf(cell.text, sizeof(cell.text), "%ldh%02ldm", s / 3600, s / 60 % 60);
	else if (s >= 60)
		snprintf(cell.text, sizeof(cell.text), "%ldm%02lds", s / 60, s % 60);
	else if (json_is_number(seconds))
		snprintf(cell.text, sizeof(cell.text), "%lds", s);
	return cell;
}

/* ---- the table ---- */

static void add_row(struct table *t, const struct call *c, const char *name, const char *queue,
	const json_t *r, const char *health, const char *since)
{
	const json_t *count = json_object_get(r, c->total ? "requests" : "requests_per_s");
	const json_t *read = json_object_get(r, c->total ? "read_bytes" : "read_bytes_per_s");
	const json_t *wrote =
		json_object_get(r, c->total ? "written_bytes" : "written_bytes_per_s");

	table_row(t, name, queue, cell_large(count, 1000).text, cell_large(read, 1024).text,
		cell_large(wrote, 1024).text, cell_time(json_object_get(r, "p50_ns")).text,
		cell_time(json_object_get(r, "p99_ns")).text,
		cell_time(json_object_get(r, "p999_ns")).text,
		cell_number(json_object_get(r, "kicks_per_io"), 1, "").text,
		cell_number(json_object_get(r, "interrupts_per_io"), 1, "").text,
		cell_time(json_object_get(r, "cpu_ns_per_io")).text,
		cell_number(json_object_get(r, "cpu_percent"), 1, "").text,
		cell_number(json_object_get(r, "poll_percent"), 1, "").text, health, since);
}

/* One row says it all where one queue does. */
static bool worth_a_row(const json_t *queue)
{
	return json_is_true(json_object_get(queue, "running")) ||
	       json_integer_value(json_object_get(queue, "requests"));
}

static unsigned worthy(const json_t *queues)
{
	unsigned n = 0;
	const json_t *q;
	size_t i;

	json_array_foreach (queues, i, q)
		n += worth_a_row(q);
	return n;
}

/* Ids are unique in a process only. */
static void name_device(const struct call *c, const json_t *d, char *buf, size_t cap)
{
	const char *id = json_string_value(json_object_get(d, "id"));
	const char *process = json_string_value(json_object_get(d, "process"));
	const char *slash = process ? strrchr(process, '/') : NULL;

	if (c->nsockets > 1 && process)
		snprintf(buf, cap, "%s:%s", slash ? slash + 1 : process, id ? id : "");
	else
		snprintf(buf, cap, "%s", id ? id : "");
}

static void device_rows(struct table *t, const struct call *c, const json_t *d)
{
	const json_t *queues = json_object_get(d, "queues"), *q;
	char name[160];
	size_t i;

	name_device(c, d, name, sizeof(name));
	add_row(t, c, name, "", d, json_string_value(json_object_get(d, "health")),
		cell_since(json_object_get(d, "connected_seconds")).text);
	if (worthy(queues) < 2)
		return;
	json_array_foreach (queues, i, q) {
		char index[24];

		snprintf(index, sizeof(index), "%zu", i);
		if (worth_a_row(q))
			add_row(t, c, "", index, q, "", "");
	}
}

static int print_table(struct call *c, const json_t *all, const struct look *l)
{
	struct table t = TABLE_INIT(15);
	const char *io = c->total ? "IO" : "IO/s";
	const json_t *d;
	size_t i;
	int r;

	t.right = 0x1ffc;
	table_row(&t, "DEVICE", "Q", io, c->total ? "READ" : "READ/s",
		c->total ? "WRITTEN" : "WRITE/s", "p50", "p99", "p99.9", "KICK/IO", "IRQ/IO",
		"CPU/IO", "CPU%", "POLL%", "HEALTH", "SINCE");
	json_array_foreach (all, i, d)
		device_rows(&t, c, d);
	r = table_print(&t, c->out);
	table_fini(&t);
	for (i = 0; i < c->nsockets; i++)
		if (!l->devices[i])
			fprintf(c->out, "%s\n", l->why[i].text);
	return r;
}

/* ---- the verb ---- */

static int show(struct call *c, const struct look *now, const struct look *before)
{
	json_t *all = json_array();
	int r = 0;

	for (unsigned i = 0; i < c->nsockets; i++) {
		json_t *some = rates(c, now, before, i);

		json_array_extend(all, some);
		json_decref(some);
	}
	if (c->json) {
		json_dumpf(all, c->out, JSON_COMPACT | JSON_REAL_PRECISION(12));
		putc('\n', c->out);
	} else {
		if (!c->once && isatty(fileno(c->out)))
			fputs("\033[H\033[J", c->out); /* ECMA-48: home, erase what is below */
		r = print_table(c, all, now);
	}
	json_decref(all);
	return fflush(c->out) ? -EIO : r;
}

static int first_error(const struct call *c, const struct look *l, struct err *e)
{
	for (unsigned i = 0; i < c->nsockets; i++)
		if (!l->devices[i]) {
			*e = l->why[i];
			return -EREMOTEIO;
		}
	return 0;
}

static void nap(const struct call *c)
{
	struct timespec t = {.tv_sec = c->wait ? c->wait : 1};

	nanosleep(&t, NULL);
}

/* Whoever is not there at the beginning was misspelt; later it may have been restarted. */
int run_top(struct call *c, struct err *e)
{
	struct look *looks = calloc(2, sizeof(*looks)), *before = looks, *now = looks + 1;
	int r = looks ? 0 : -ENOMEM;

	if (r == 0) {
		look(c, before);
		r = first_error(c, before, e);
	}
	if (r == 0 && c->once && c->total)
		r = show(c, before, now);
	while (r == 0 && !(c->once && c->total)) {
		struct look *other = before;

		nap(c);
		look_fini(now);
		look(c, now);
		r = c->once ? first_error(c, now, e) : 0;
		if (r == 0)
			r = show(c, now, before);
		before = now;
		now = other;
		if (c->once)
			break;
	}
	for (unsigned i = 0; looks && i < 2; i++)
		look_fini(&looks[i]);
	free(looks);
	return r;
}
