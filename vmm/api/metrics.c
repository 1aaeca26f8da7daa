/* SPDX-License-Identifier: Apache-2.0 */
/* A family is one HELP and one TYPE line and then all of its samples, together. */
#include "vmm/api/metrics.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "vmm/api/v1.h"

static void family(FILE *f, const char *name, const char *type, const char *help)
{
	fprintf(f, "# HELP polyvisor_%s %s\n# TYPE polyvisor_%s %s\n", name, help, name, type);
}

/* In a label's value a backslash, a quote and a line's end are escaped; the rest is UTF-8. */
static void label(FILE *f, const char *name, const char *value)
{
	fprintf(f, "%s=\"", name);
	for (; *value; value++) {
		if (*value == '\\' || *value == '"')
			fputc('\\', f);
		if (*value == '\n')
			fputs("\\n", f);
		else
			fputc(*value, f);
	}
	fputc('"', f);
}

static void gauge(FILE *f, const char *name, const char *help, uint64_t value)
{
	family(f, name, "gauge", help);
	fprintf(f, "polyvisor_%s %" PRIu64 "\n", name, value);
}

static void seconds(FILE *f, const char *name, const char *type, const char *help, uint64_t ns)
{
	family(f, name, type, help);
	fprintf(f, "polyvisor_%s %" PRIu64 ".%06" PRIu64 "\n", name, ns / 1000000000,
		ns / 1000 % 1000000);
}

static uint64_t resident_bytes(void)
{
	FILE *f = fopen("/proc/self/statm", "re");
	unsigned long pages = 0;

	if (f && fscanf(f, "%*u %lu", &pages) != 1)
		pages = 0;
	if (f)
		fclose(f);
	return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void process(FILE *f, const struct metrics *m)
{
	struct timespec cpu = {0};

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
	family(f, "build_info", "gauge", "which polyvisor this is; always 1");
	fprintf(f, "polyvisor_build_info{version=\"%s\"} 1\n", POLYVISOR_VERSION);
	gauge(f, "process_resident_memory_bytes", "memory of the process, the guest's included",
		resident_bytes());
	seconds(f, "process_cpu_seconds_total", "counter", "CPU time of the process, all threads",
		(uint64_t)cpu.tv_sec * 1000000000 + (uint64_t)cpu.tv_nsec);
	seconds(f, "uptime_seconds", "gauge", "since the process has begun", m->uptime_ns);
	gauge(f, "api_clients", "connections to the API, this one included", m->clients);
}

static void machine(FILE *f, const struct vm_info *i)
{
	static const int states[] = {VM_NONE, VM_CREATED, VM_RUNNING, VM_PAUSED};
	int now = i ? i->state : VM_NONE;

	family(f, "vm_state", "gauge", "1 for the state that the VM is in");
	for (unsigned k = 0; k < sizeof(states) / sizeof(states[0]); k++)
		fprintf(f, "polyvisor_vm_state{state=\"%s\"} %d\n", v1_state_name(states[k]),
			!strcmp(v1_state_name(now), v1_state_name(states[k])));
	if (!i)
		return;
	gauge(f, "vm_memory_bytes", "RAM that the guest has", i->memory_actual);
	gauge(f, "vm_vcpus", "vCPUs that the guest boots with", i->config->cpus.boot);
}

static bool first_of_name(const struct vm_counters *c, unsigned i)
{
	for (unsigned k = 0; k < i; k++)
		if (!strcmp(c->counter[k].name, c->counter[i].name))
			return false;
	return true;
}

/* "read_latency_avg" and its like come and go: a gauge, in microseconds. */
static bool is_level(const char *name)
{
	return strstr(name, "_latency_") != NULL;
}

static void counters(FILE *f, const struct vm_counters *c)
{
	char name[64];

	for (unsigned i = 0; c && i < c->n; i++) {
		bool level = is_level(c->counter[i].name);

		if (!first_of_name(c, i))
			continue;
		snprintf(name, sizeof(name), "%s%s", c->counter[i].name, level ? "_us" : "_total");
		family(f, name, level ? "gauge" : "counter",
			level ? "microseconds, of all since boot" : "counted since boot");
		for (unsigned k = i; k < c->n; k++) {
			if (strcmp(c->counter[k].name, c->counter[i].name))
				continue;
			fprintf(f, "polyvisor_%s{", name);
			label(f, "id", c->counter[k].id);
			fprintf(f, "} %" PRIu64 "\n", c->counter[k].value);
		}
	}
}

char *metrics_text(const struct metrics *m, size_t *ret_len)
{
	char *text = NULL;
	FILE *f = open_memstream(&text, ret_len);

	if (!f)
		return NULL;
	process(f, m);
	machine(f, m->info);
	counters(f, m->counters);
	if (fclose(f) == 0)
		return text;
	free(text);
	return NULL;
}
