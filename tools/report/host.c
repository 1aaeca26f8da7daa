/* SPDX-License-Identifier: Apache-2.0 */
/* The host and its CPU as Linux shows them. Nothing here that tells one machine from its twin
 * (host name, serial numbers, addresses), because reports are made to be passed on. */
#include "facts.h"

#include <ctype.h>
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>
#include "guest_out.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"

#define CPU_DIR "/sys/devices/system/cpu"

char *read_text(const char *path)
{
	cleanup_file FILE *f = fopen(path, "re");
	size_t room = 64 * KIB, n;
	char *text = f ? malloc(room) : NULL;

	if (!text)
		return NULL;
	n = fread(text, 1, room - 1, f);
	while (n && isspace((unsigned char)text[n - 1]))
		n--;
	text[n] = '\0';
	return text;
}

void set_text(json_t *obj, const char *key, const char *text)
{
	char clean[4096];

	if (!text)
		return;
	copy_printable(clean, sizeof(clean), text, strlen(text));
	json_object_set_new(obj, key, json_string(clean));
}

void set_file(json_t *obj, const char *key, const char *path)
{
	cleanup_free char *text = read_text(path);

	set_text(obj, key, text);
}

void set_hex(json_t *obj, const char *key, uint64_t value)
{
	json_object_set_new(obj, key, json_sprintf("0x%llx", (unsigned long long)value));
}

void set_int(json_t *obj, const char *key, long long value)
{
	json_object_set_new(obj, key, json_integer(value));
}

json_t *dir_texts(const char *path)
{
	json_t *obj = json_object();
	struct dirent **e = NULL;
	int n = scandir(path, &e, NULL, alphasort);
	char file[PATH_MAX];

	for (int i = 0; i < n; i++) {
		if (*e[i]->d_name != '.' && snprintf(file, sizeof(file), "%s/%s", path,
						    e[i]->d_name) < (int)sizeof(file))
			set_file(obj, e[i]->d_name, file);
		free(e[i]);
	}
	free(e);
	return obj;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(
		json_string_value(*(json_t *const *)a), json_string_value(*(json_t *const *)b));
}

void sort_texts(json_t *array)
{
	size_t n = json_array_size(array);
	json_t **item = calloc(n + 1, sizeof(*item));

	if (!item)
		return;
	for (size_t i = 0; i < n; i++)
		item[i] = json_incref(json_array_get(array, i));
	qsort(item, n, sizeof(*item), by_text);
	json_array_clear(array);
	for (size_t i = 0; i < n; i++) {
		if (!i || by_text(&item[i], &item[i - 1]))
			json_array_append(array, item[i]);
	}
	for (size_t i = 0; i < n; i++)
		json_decref(item[i]);
	free(item);
}

json_t *words(const char *text)
{
	json_t *array = json_array();

	while (*text) {
		size_t n = strcspn(text, " \t\n");
		if (n)
			json_array_append_new(array, json_stringn(text, n));
		text += n + (text[n] != '\0');
	}
	sort_texts(array);
	return array;
}

/* ---- the host ---- */

/* "MemTotal:  123 kB": the number. */
static long long meminfo(const char *key)
{
	cleanup_free char *text = read_text("/proc/meminfo");
	char *at = text ? strstr(text, key) : NULL;

	return at ? atoll(at + strlen(key)) : -1;
}

static void add_system(json_t *host)
{
	cleanup_free char *text = read_text("/etc/os-release");
	char *at = text ? strstr(text, "PRETTY_NAME=\"") : NULL;

	if (!at)
		return;
	at += strlen("PRETTY_NAME=\"");
	at[strcspn(at, "\"")] = '\0';
	set_text(host, "system", at);
}

json_t *host_facts(void)
{
	json_t *host = json_object();
	struct utsname u;

	if (!uname(&u)) {
		set_text(host, "machine", u.machine);
		set_text(host, "kernel", u.release);
		set_text(host, "kernel_build", u.version);
	}
	add_system(host);
	set_int(host, "page_size", sysconf(_SC_PAGESIZE));
	if (meminfo("MemTotal:") > 0)
		set_int(host, "memory_mib", meminfo("MemTotal:") / 1024);
	if (meminfo("Hugepagesize:") > 0)
		set_int(host, "huge_page_kib", meminfo("Hugepagesize:"));
	set_file(host, "transparent_huge_pages", "/sys/kernel/mm/transparent_hugepage/enabled");
	set_file(host, "clock_source",
		"/sys/devices/system/clocksource/clocksource0/current_clocksource");
	set_file(host, "product", "/sys/class/dmi/id/product_name");
	set_file(host, "board", "/sys/firmware/devicetree/base/model");
	set_file(host, "hypervisor", "/sys/hypervisor/type");
	json_object_set_new(host, "vulnerabilities", dir_texts(CPU_DIR "/vulnerabilities"));
	return host;
}

/* ---- the CPU ---- */

/* What /proc/cpuinfo calls the list of features, on one chip or another. */
static bool is_features(const char *key)
{
	return !strcmp(key, "flags") || !strcmp(key, "Features");
}

/* These change from one moment or core to the next and describe nothing. */
static bool is_noise(const char *key)
{
	static const char *const noise[] = {
		"processor", "cpu MHz", "apicid", "initial apicid", "core id", "hart", "bogomips"};

	for (unsigned i = 0; i < ARRAY_SIZE(noise); i++)
		if (!strcasecmp(key, noise[i]))
			return true;
	return false;
}

static void add_field(json_t *cpu, json_t *fields, char *line)
{
	char *colon = strchr(line, ':');

	if (!colon)
		return;
	char *value = colon + 1 + strspn(colon + 1, " \t");
	while (colon > line && isspace((unsigned char)colon[-1]))
		colon--;
	*colon = '\0';
	if (is_features(line))
		json_object_set_new(cpu, "features", words(value));
	else if (!is_noise(line) && *value && !json_object_get(fields, line))
		set_text(fields, line, value);
}

/* The first processor's paragraph, and lines that stand after the last (an arm64 "Hardware:"). All
 * are alike on a plain machine; where they are not, "kinds" counts the different ones. */
static void add_cpuinfo(json_t *cpu)
{
	cleanup_free char *text = read_text("/proc/cpuinfo");
	json_t *fields = json_object();
	char *save = NULL;
	int n = 0;

	for (char *line = text ? strtok_r(text, "\n", &save) : NULL; line;
		line = strtok_r(NULL, "\n", &save)) {
		if (!strncmp(line, "processor", 9))
			n++;
		if (n <= 1)
			add_field(cpu, fields, line);
	}
	json_object_set_new(cpu, "fields", fields);
}

static void add_caches(json_t *cpu)
{
	json_t *list = json_array();
	char path[128];

	for (unsigned i = 0; i < 8; i++) {
		snprintf(path, sizeof(path), CPU_DIR "/cpu0/cache/index%u/level", i);
		cleanup_free char *level = read_text(path);
		snprintf(path, sizeof(path), CPU_DIR "/cpu0/cache/index%u/type", i);
		cleanup_free char *type = read_text(path);
		snprintf(path, sizeof(path), CPU_DIR "/cpu0/cache/index%u/size", i);
		cleanup_free char *size = read_text(path);
		if (level && type && size)
			json_array_append_new(list, json_sprintf("L%s %s %s", level, type, size));
	}
	json_object_set_new(cpu, "caches", list);
}

json_t *cpu_facts(void)
{
	json_t *cpu = json_object();

	set_int(cpu, "online", sysconf(_SC_NPROCESSORS_ONLN));
	add_cpuinfo(cpu);
	add_caches(cpu);
	set_file(cpu, "siblings_of_cpu_0", CPU_DIR "/cpu0/topology/thread_siblings_list");
	set_file(cpu, "numa_nodes", "/sys/devices/system/node/online");
	set_file(cpu, "frequency_max_khz", CPU_DIR "/cpu0/cpufreq/cpuinfo_max_freq");
	set_file(cpu, "frequency_governor", CPU_DIR "/cpu0/cpufreq/scaling_governor");
	chip_cpu_facts(cpu);
	return cpu;
}
