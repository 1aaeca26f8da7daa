/* SPDX-License-Identifier: Apache-2.0 */
/* What an instance does: its VMM's own words, and counters. */
#include "cloud/node/ask.h"

/* ---- info ---- */

static void info_done(struct asking *a, struct instance *in)
{
	json_t *o = node_instance_observed(in);

	json_object_set(o, "vm", a->got[ASK_INFO] ? a->got[ASK_INFO] : json_null());
	json_object_set(o, "counters", a->got[ASK_COUNTERS] ? a->got[ASK_COUNTERS] : json_null());
	json_object_set(o, "disks", a->got[ASK_DISKS] ? a->got[ASK_DISKS] : json_null());
	json_object_set(o, "net", a->got[ASK_NET] ? a->got[ASK_NET] : json_null());
	ask_reply(a->req, o);
}

void info_get(struct instance *in, struct link_req *r)
{
	ask(in, r, info_done);
}

/* ---- stats ---- */

/* Summed over the queues of a device; `which` picks one of both directions of a network. */
static json_int_t sum(const json_t *device, const char *key)
{
	const json_t *q;
	json_int_t n = 0;
	size_t i;

	json_array_foreach (json_object_get(device, "queues"), i, q) {
		const json_t *v = json_object_get(q, key);

		n += json_integer_value(v ? v : json_object_get(json_object_get(q, "counts"), key));
	}
	return n;
}

static json_t *disks_of(struct asking *a, struct instance *in)
{
	json_t *list = json_array();
	const json_t *d;
	size_t i;

	json_array_foreach (asked_devices(a, ASK_DISKS), i, d) {
		json_array_append_new(list,
			json_pack("{s:O?, s:I, s:I, s:I, s:I}", "id", json_object_get(d, "id"),
				"requests", sum(d, "requests"), "read_bytes", sum(d, "read_bytes"),
				"write_bytes", sum(d, "written_bytes"), "stalled_ms",
				(json_int_t)(in->proc[PART_DISKS].stalled_ns / 1000000)));
	}
	return list;
}

/* To the guest is what the guest receives. */
static json_t *nets_of(struct asking *a)
{
	json_t *list = json_array();
	const json_t *d;
	size_t i;

	json_array_foreach (asked_devices(a, ASK_NET), i, d) {
		json_array_append_new(
			list, json_pack("{s:O?, s:I, s:I, s:I}", "id", json_object_get(d, "id"),
				      "rx_bytes", sum(d, "read_bytes"), "tx_bytes",
				      sum(d, "written_bytes"), "packets", sum(d, "requests")));
	}
	return list;
}

static void stats_done(struct asking *a, struct instance *in)
{
	uint64_t cpu = 0, rss = 0;

	for (enum part p = 0; p < PARTS; p++)
		if (part_runs(in, p))
			proc_usage(in->proc[p].pid, &cpu, &rss);
	ask_reply(a->req, json_pack("{s:I, s:I, s:I, s:o, s:o}", "time_ns", (json_int_t)ev_now_ns(),
				  "cpu_ns", (json_int_t)cpu, "memory_mib", (json_int_t)(rss >> 20),
				  "disks", disks_of(a, in), "nets", nets_of(a)));
}

void stats_get(struct instance *in, struct link_req *r)
{
	ask(in, r, stats_done);
}
