/* SPDX-License-Identifier: Apache-2.0 */
/* Filters and scores. schedule() stops at a host's first no; who asks why gets every bit. */
#include "cloud/control/schedule.h"

#include <errno.h>
#include <string.h>

#include "cloud/control/schedule_match.h"

static const char *const chip_names[CHIPS] = {"x86_64", "arm64", "riscv64"};

const char *chip_text(unsigned chip)
{
	return chip < CHIPS ? chip_names[chip] : "unknown";
}

int chip_parse(const char *name)
{
	if (!strcmp(name, "amd64"))
		return CHIP_X86_64;
	if (!strcmp(name, "aarch64"))
		return CHIP_ARM64;
	for (int i = 0; i < CHIPS; i++) {
		if (!strcmp(name, chip_names[i]))
			return i;
	}
	return -EINVAL;
}

static unsigned no_room(const struct host_facts *h, const struct sched_request *r)
{
	unsigned no = 0;
	if ((uint64_t)h->used_cpus + r->cpus > (uint64_t)h->cores * SCHED_OVERCOMMIT)
		no |= NO_CPUS;
	if ((uint64_t)h->used_memory_mib + r->memory_mib > h->memory_mib)
		no |= NO_MEMORY;
	return no;
}

static unsigned no_host(const struct host_facts *h, const struct sched_request *r)
{
	unsigned no = 0;
	if (h->state != HOST_ONLINE)
		no |= NO_STATE;
	if (h->chip >= CHIPS || !(r->chips & r->image_chips & 1u << h->chip))
		no |= NO_CHIP;
	if (r->linux_guest && h->bare_metal_only)
		no |= NO_KVM;
	return no;
}

static unsigned no_match(const struct host_facts *h, const struct sched_request *r)
{
	unsigned no = 0;
	if (r->pin && strcmp(r->pin, h->name) && strcmp(r->pin, h->id))
		no |= NO_PIN;
	if (r->avoid && !strcmp(r->avoid, h->id))
		no |= NO_AVOID;
	if (r->data_host && strcmp(r->data_host, h->id))
		no |= NO_DATA;
	if (r->pool && (!h->pool || strcmp(r->pool, h->pool)))
		no |= NO_POOL;
	if (r->labels.n && labels_missing(h->labels, r->labels, 0) < r->labels.n)
		no |= NO_LABEL;
	if (r->features.n && features_missing(h, r, 0) < r->features.n)
		no |= NO_FEATURE;
	return no;
}

/* 0 … 1000 for room, and up to 100 for a file that need not travel. */
static int32_t score(const struct host_facts *h, const struct sched_request *r)
{
	uint64_t cpus = (uint64_t)h->cores * SCHED_OVERCOMMIT;
	uint64_t free_cpus = cpus - h->used_cpus - r->cpus;
	uint64_t free_mib = h->memory_mib - h->used_memory_mib - r->memory_mib;
	int32_t room = (int32_t)((cpus ? 500 * free_cpus / cpus : 0) +
				 (h->memory_mib ? 500 * free_mib / h->memory_mib : 0));
	const char *blob = r->blob[h->chip];
	return (r->pack ? 1000 - room : room) + (blob && names_have(h->blobs, blob) ? 100 : 0);
}

struct sched_verdict schedule_host(const struct host_facts *h, const struct sched_request *r)
{
	struct sched_verdict v = {.no = no_host(h, r) | no_room(h, r) | no_match(h, r)};
	if (!v.no)
		v.score = score(h, r);
	return v;
}

int schedule(const struct host_facts *hosts, unsigned n, const struct sched_request *r)
{
	int best = -ENOSPC;
	int32_t best_score = -1;
	for (unsigned i = 0; i < n; i++) {
		const struct host_facts *h = &hosts[i];
		if (no_host(h, r) || no_room(h, r) || no_match(h, r))
			continue;
		int32_t s = score(h, r);
		if (s > best_score || (s == best_score && strcmp(h->name, hosts[best].name) < 0)) {
			best = (int)i;
			best_score = s;
		}
	}
	return best;
}
