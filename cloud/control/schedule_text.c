/* SPDX-License-Identifier: Apache-2.0 */
/* The scheduler's verdicts in words. */
#include <stdarg.h>
#include <stdio.h>

#include "cloud/control/schedule_match.h"

struct lines {
	char (*line)[SCHED_REASON_LEN];
	unsigned n;
};

static void say(struct lines *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void say(struct lines *l, const char *fmt, ...)
{
	if (l->n == SCHED_REASONS)
		return;
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(l->line[l->n++], SCHED_REASON_LEN, fmt, ap);
	va_end(ap);
}

static void say_chip(struct lines *l, const struct host_facts *h, const struct sched_request *r)
{
	unsigned asked = r->chips & CHIP_ALL;
	if (h->chip < CHIPS && (asked & 1u << h->chip))
		say(l, "the image has no %s", chip_text(h->chip));
	else if (asked && !(asked & (asked - 1)))
		say(l, "chip %s, not %s", chip_text(h->chip), chip_text(__builtin_ctz(asked)));
	else
		say(l, "chip %s", chip_text(h->chip));
}

static void say_features(struct lines *l, const struct host_facts *h, const struct sched_request *r)
{
	unsigned i = features_missing(h, r, 0);
	for (; i < r->features.n; i = features_missing(h, r, i + 1)) {
		const char *f = r->features.v[i];
		if (h->pool && names_have(h->features, f))
			say(l, "has feature %s, but the baseline of its pool %s has not", f,
				h->pool);
		else
			say(l, "has no feature %s", f);
	}
}

static void say_labels(struct lines *l, const struct host_facts *h, const struct sched_request *r)
{
	unsigned i = labels_missing(h->labels, r->labels, 0);
	for (; i < r->labels.n; i = labels_missing(h->labels, r->labels, i + 1))
		say(l, "has no label %s=%s", r->labels.v[i].key, r->labels.v[i].value);
}

static void say_room(
	struct lines *l, const struct host_facts *h, const struct sched_request *r, unsigned no)
{
	uint32_t cpus = h->cores * SCHED_OVERCOMMIT;
	if (no & NO_CPUS)
		say(l, "%u CPUs free of %u (%u cores), %u asked for",
			cpus > h->used_cpus ? cpus - h->used_cpus : 0, cpus, h->cores, r->cpus);
	if (no & NO_MEMORY)
		say(l, "%u MiB of memory free of %u, %u asked for",
			h->memory_mib > h->used_memory_mib ? h->memory_mib - h->used_memory_mib : 0,
			h->memory_mib, r->memory_mib);
}

static void say_no(
	struct lines *l, const struct host_facts *h, const struct sched_request *r, unsigned no)
{
	static const char *const state[] = {"online", "cordoned", "draining", "fenced", "offline"};
	if (no & NO_STATE)
		say(l, "%s", state[h->state]);
	if (no & NO_CHIP)
		say_chip(l, h, r);
	if (no & NO_KVM)
		say(l, "its KVM runs only bare-metal guests");
	if (no & NO_PIN)
		say(l, "not %s, which was asked for", r->pin);
	if (no & NO_AVOID)
		say(l, "the instance is to leave it");
	if (no & NO_DATA)
		say(l, "the instance's volumes are on another host");
	if ((no & NO_POOL) && h->pool)
		say(l, "in pool %s, not %s", h->pool, r->pool);
	else if (no & NO_POOL)
		say(l, "not in pool %s", r->pool);
	if (no & NO_FEATURE)
		say_features(l, h, r);
	if (no & NO_LABEL)
		say_labels(l, h, r);
	say_room(l, h, r, no);
}

unsigned schedule_reasons(const struct host_facts *h, const struct sched_request *r,
	char ret_reason[SCHED_REASONS][SCHED_REASON_LEN])
{
	struct lines l = {.line = ret_reason};
	struct sched_verdict v = schedule_host(h, r);
	if (v.no) {
		say_no(&l, h, r, v.no);
		return l.n;
	}
	say(&l, "%u MiB of memory and %u CPUs left after it (%s)",
		h->memory_mib - h->used_memory_mib - r->memory_mib,
		h->cores * SCHED_OVERCOMMIT - h->used_cpus - r->cpus, r->pack ? "pack" : "spread");
	if (r->blob[h->chip])
		say(&l, names_have(h->blobs, r->blob[h->chip]) ? "has the image"
							       : "does not have the image yet");
	return l.n;
}

void schedule_why_not(const struct host_facts *hosts, unsigned n, const struct sched_request *r,
	char *ret_text, size_t cap)
{
	char reason[SCHED_REASONS][SCHED_REASON_LEN];
	size_t len = 0;
	ret_text[0] = 0;
	if (!n) {
		snprintf(ret_text, cap, "no host has joined");
		return;
	}
	for (unsigned i = 0; i < n; i++) {
		char one[SCHED_REASON_LEN * 2];
		unsigned m = schedule_reasons(&hosts[i], r, reason);
		int k = snprintf(one, sizeof(one), "%s%s: %s", i ? "; " : "", hosts[i].name,
			m ? reason[0] : "");
		for (unsigned j = 1; j < m && k < (int)sizeof(one); j++)
			k += snprintf(one + k, sizeof(one) - k, ", %s", reason[j]);
		/* Room for the last words is kept. */
		if (len + strlen(one) + 32 > cap) {
			snprintf(ret_text + len, cap - len, "%s%u more do not fit", i ? "; " : "",
				n - i);
			return;
		}
		len += (size_t)snprintf(ret_text + len, cap - len, "%s", one);
	}
}
