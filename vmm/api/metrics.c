/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/api/metrics.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "vmm/api/v1.h"

static void family(FILE *f, const char *name, const char *type, const char *help)
{
	char whole[80];

	snprintf(whole, sizeof(whole), "polyvisor_%s", name);
	metrics_family(f, whole, type, help);
}

static void gauge(FILE *f, const char *name, const char *help, uint64_t value)
{
	family(f, name, "gauge", help);
	fprintf(f, "polyvisor_%s %" PRIu64 "\n", name, value);
}

static void seconds(FILE *f, const char *name, const char *type, const char *help, uint64_t ns)
{
	family(f, name, type, help);
	fprintf(f, "polyvisor_%s", name);
	metrics_seconds(f, ns);
}

static void process(FILE *f, const struct metrics *m)
{
	family(f, "build_info", "gauge", "which polyvisor this is; always 1");
	fprintf(f, "polyvisor_build_info{version=\"%s\"} 1\n", POLYVISOR_VERSION);
	gauge(f, "process_resident_memory_bytes", "memory of the process, the guest's included",
		metrics_resident_bytes());
	seconds(f, "process_cpu_seconds_total", "counter", "CPU time of the process, all threads",
		metrics_cpu_ns());
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

static void offload(FILE *f, const struct vm_info *i)
{
	if (!i || !i->noffloads)
		return;
	family(f, "offload_connected", "gauge",
		"1 while somebody serves the device, 0 while its I/O waits");
	for (unsigned k = 0; k < i->noffloads; k++) {
		fputs("polyvisor_offload_connected{", f);
		metrics_label(f, "id", i->offload[k].id);
		fputc(',', f);
		metrics_label(f, "kind", i->offload[k].kind);
		fprintf(f, "} %d\n", i->offload[k].connected);
	}
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
			metrics_label(f, "id", c->counter[k].id);
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
	offload(f, m->info);
	counters(f, m->counters);
	if (fclose(f) == 0)
		return text;
	free(text);
	return NULL;
}
