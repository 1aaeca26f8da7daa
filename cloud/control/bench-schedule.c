/* SPDX-License-Identifier: Apache-2.0 */
/* Decisions per second over N simulated hosts: `bench-schedule N [SECONDS]` prints the number, then
 * what it means. Every decision takes its place on the host, as the reconciler's do. */
#include <stdio.h>
#include <stdlib.h>

#include "cloud/control/schedule.h"
#include "vmm/base/ev.h"

static const char *const features[] = {"aes", "asimd", "avx2", "sse2", "v"};

static struct host_facts make(char name[24], unsigned i)
{
	snprintf(name, 24, "host-%05u", i);
	return (struct host_facts){.id = name,
		.name = name,
		.chip = i % CHIPS,
		.cores = 32 + i % 3 * 32,
		.memory_mib = 131072 + i % 5 * 65536,
		.features = {features, 5}};
}

int main(int argc, char **argv)
{
	long n = argc > 1 ? strtol(argv[1], NULL, 10) : 1000;
	double seconds = argc > 2 ? strtod(argv[2], NULL) : 2;
	if (n < 1 || n > 1000000 || seconds <= 0) {
		fprintf(stderr, "usage: bench-schedule HOSTS [SECONDS]\n");
		return 2;
	}
	struct host_facts *h = calloc((size_t)n, sizeof(*h));
	char(*names)[24] = calloc((size_t)n, sizeof(*names));
	if (!h || !names)
		return 1;
	for (long i = 0; i < n; i++)
		h[i] = make(names[i], (unsigned)i);
	struct sched_request r = {.image_chips = CHIP_ALL, .cpus = 1, .memory_mib = 256};
	r.features = (struct names){&features[1], 1};
	uint64_t begin = ev_now_ns(), end = begin + (uint64_t)(seconds * 1e9);
	unsigned long made = 0, placed = 0;
	while (ev_now_ns() < end) {
		r.chips = made % 2 ? CHIP_ALL : 1u << made % CHIPS;
		r.pack = made % 4 == 3;
		int i = schedule(h, (unsigned)n, &r);
		made++;
		if (i < 0)
			continue;
		h[i].used_cpus++;
		h[i].used_memory_mib += 256;
		placed++;
	}
	double took = (double)(ev_now_ns() - begin) / 1e9;
	printf("%.0f decisions/s at %ld hosts (%lu placed)\n", (double)made / took, n, placed);
	free(h);
	free(names);
	return 0;
}
