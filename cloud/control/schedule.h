/* SPDX-License-Identifier: Apache-2.0 */
/* The scheduler: a pure function from facts about hosts and what an instance needs to a choice, and
 * per host why it was or was not chosen. Filters say whether a host can take the instance at all,
 * scores which of those is best:
 *
 *   filters  state, chip, pin, labels, pool, CPU features, cpus, memory, where volumes are
 *   score    free memory and cpus (spread: much is good, pack: little is good) + image present
 *
 * No JSON, no clock and no chance in here: equal facts give an equal choice, ties go to the least
 * name. A fleet of 30,000 hosts is one pass over an array. */
#ifndef CLOUD_CONTROL_SCHEDULE_H
#define CLOUD_CONTROL_SCHEDULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CHIP_X86_64, CHIP_ARM64, CHIP_RISCV64, CHIPS, CHIP_ALL = (1 << CHIPS) - 1 };
/* "x86_64", "arm64", "riscv64"; takes amd64 and aarch64 too. -EINVAL. */
int chip_parse(const char *name);
const char *chip_text(unsigned chip);

/* Sorted strings, none twice; borrowed. */
struct names {
	const char *const *v;
	unsigned n;
};
struct label {
	const char *key, *value;
};
struct labels {
	const struct label *v;
	unsigned n;
};

enum host_state { HOST_ONLINE, HOST_CORDONED, HOST_DRAINING, HOST_FENCED, HOST_OFFLINE };

struct host_facts {
	const char *id, *name;
	enum host_state state;
	unsigned chip;
	uint32_t cores, memory_mib;	     /* that instances may have */
	uint32_t used_cpus, used_memory_mib; /* given to instances that are assigned to it */
	struct names features;
	bool bare_metal_only;  /* its KVM runs no Linux guests */
	const char *pool;      /* NULL: in none */
	struct names baseline; /* of the pool: what all its hosts have */
	struct labels labels;
	struct names blobs; /* digests of files that it has */
};

/* What an instance needs. */
struct sched_request {
	unsigned chips;	      /* bits 1 << CHIP_…: asked for */
	unsigned image_chips; /* that the image has */
	uint32_t cpus, memory_mib;
	struct names features;
	const char *pin;	 /* host's name or id; NULL: any */
	const char *avoid;	 /* host's id that is not taken (a move's source); NULL */
	const char *pool;	 /* NULL: any */
	const char *data_host;	 /* id of the host where its volumes are; NULL: any */
	struct labels labels;	 /* that the host must have */
	const char *blob[CHIPS]; /* the largest file of the image per chip; NULL */
	bool linux_guest;	 /* not a bare-metal one */
	bool pack;		 /* else spread */
};

/* Virtual CPUs that are given out per core of a host. */
#define SCHED_OVERCOMMIT 4

/* One bit per filter that said no. */
enum sched_no {
	NO_STATE = 1,
	NO_CHIP = 2,
	NO_PIN = 4,
	NO_LABEL = 8,
	NO_POOL = 16,
	NO_FEATURE = 32,
	NO_CPUS = 64,
	NO_MEMORY = 128,
	NO_DATA = 256,
	NO_AVOID = 512,
	NO_KVM = 1024,
};
struct sched_verdict {
	unsigned no;   /* 0: it fits */
	int32_t score; /* 0 … 1100; only when it fits */
};

/* One host. */
struct sched_verdict schedule_host(const struct host_facts *h, const struct sched_request *r);
/* Index of the best host, or -ENOSPC when none fits. */
int schedule(const struct host_facts *hosts, unsigned n, const struct sched_request *r);

/* Why a host does not fit, or what its score is made of: one line per reason ("chip riscv64, not
 * arm64", "has no feature sve"). Returns their number. */
#define SCHED_REASONS	 12
#define SCHED_REASON_LEN 160
unsigned schedule_reasons(const struct host_facts *h, const struct sched_request *r,
	char ret_reason[SCHED_REASONS][SCHED_REASON_LEN]);
/* The whole "why not" in one line of at most cap bytes: the first hosts with their reasons, and
 * how many more ("riscv64-1: chip riscv64, has no feature sve; 3 more do not fit"). */
void schedule_why_not(const struct host_facts *hosts, unsigned n, const struct sched_request *r,
	char *ret_text, size_t cap);

#endif
