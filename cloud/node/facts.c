/* SPDX-License-Identifier: Apache-2.0 */
/* What the host is: its chip and what that can do, whether KVM runs guests, how large it is. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>
#include "cloud/node/file.h"
#include "cloud/node/node_priv.h"
#include "vmm/base/cleanup.h"

static const char *chip(void)
{
	struct utsname u;

	if (uname(&u) < 0)
		return "unknown";
	return !strcmp(u.machine, "x86_64")    ? "x86_64"
	       : !strcmp(u.machine, "aarch64") ? "arm64"
	       : !strcmp(u.machine, "riscv64") ? "riscv64"
					       : "unknown";
}

/* The value of "key   : value" of /proc/cpuinfo's first CPU; "" when absent. */
static void cpuinfo(const char *key, char *buf, size_t cap)
{
	cleanup_file FILE *f = fopen("/proc/cpuinfo", "re");
	cleanup_free char *line = NULL;
	size_t room = 0, n = strlen(key);

	buf[0] = '\0';
	while (f && !buf[0] && getline(&line, &room, f) > 0) {
		char *colon = strchr(line, ':');

		if (strncmp(line, key, n) || !colon || (line[n] != ' ' && line[n] != '\t'))
			continue;
		line[strcspn(line, "\n")] = '\0';
		snprintf(buf, cap, "%s", colon + 1 + (colon[1] == ' '));
	}
}

static json_t *words(char *text, const char *between)
{
	json_t *list = json_array();
	char *save = NULL;

	for (char *w = strtok_r(text, between, &save); w; w = strtok_r(NULL, between, &save))
		json_array_append_new(list, json_string(w));
	return list;
}

/* RISC-V's isa is "rv64imafdc_zicsr_…": the letters are extensions, too. */
static json_t *isa_words(char *isa)
{
	char *rest = strchr(isa, '_');
	json_t *list;

	if (strncmp(isa, "rv64", 4))
		return words(isa, "_ ");
	if (rest)
		*rest++ = '\0';
	list = rest ? words(rest, "_ ") : json_array();
	for (char *c = isa + 4; *c; c++)
		json_array_append_new(list, json_stringn(c, 1));
	return list;
}

static json_t *features(void)
{
	char text[8192];

	cpuinfo("flags", text, sizeof(text));
	if (text[0])
		return words(text, " ");
	cpuinfo("Features", text, sizeof(text));
	if (text[0])
		return words(text, " ");
	cpuinfo("isa", text, sizeof(text));
	return isa_words(text);
}

/* arm64 and RISC-V name no model: what stands for it, or the board's. */
static void model(char *buf, size_t cap)
{
	static const char *const keys[] = {"model name", "uarch", "mvendorid", "CPU part"};

	for (unsigned i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
		cpuinfo(keys[i], buf, cap);
		if (buf[0])
			return;
	}
	if (file_read_text(AT_FDCWD, "/sys/firmware/devicetree/base/model", buf, cap) <= 0)
		snprintf(buf, cap, "unknown");
}

/* The verdict of polyvisor --probe-kvm, which runs instructions. */
static json_t *probe(struct node *n)
{
	char command[600], text[4096];
	json_t *j;
	size_t got;
	FILE *f;

	snprintf(command, sizeof(command), "%s/polyvisor", n->bin);
	if (access(command, X_OK) < 0)
		return json_pack("{s:s, s:s}", "verdict", "none", "why",
			"polyvisor is not beside polycloud nor in $PATH");
	/* bin is a folder that the operator named; quoted, as it goes through a shell. */
	snprintf(command, sizeof(command), "'%s/polyvisor' --probe-kvm 2>/dev/null", n->bin);
	f = strchr(n->bin, '\'') ? NULL : popen(command, "re");
	got = f ? fread(text, 1, sizeof(text) - 1, f) : 0;
	if (f)
		pclose(f);
	j = json_loadb(text, got, 0, NULL);
	return j ? j : json_pack("{s:s, s:s}", "verdict", "none", "why", "polyvisor did not say");
}

static bool have_passt(void)
{
	static const char *const folders[] = {
		"/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"};
	char path[64];

	for (unsigned i = 0; i < sizeof(folders) / sizeof(*folders); i++) {
		snprintf(path, sizeof(path), "%s/passt", folders[i]);
		if (access(path, X_OK) == 0)
			return true;
	}
	return false;
}

static uint64_t meminfo_mib(const char *key)
{
	cleanup_file FILE *f = fopen("/proc/meminfo", "re");
	unsigned long kib = 0;
	char line[128];

	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, key, strlen(key)) &&
			sscanf(line + strlen(key), ": %lu", &kib) == 1)
			break;
	return kib >> 10;
}

static double load_of(void)
{
	double l[1] = {0};

	getloadavg(l, 1);
	return l[0];
}

json_t *facts_load(void)
{
	return json_pack("{s:f, s:I}", "load", load_of(), "memory_free_mib",
		(json_int_t)meminfo_mib("MemAvailable"));
}

json_t *facts_make(struct node *n)
{
	char cpu[256];
	json_t *kvm = probe(n);
	const char *verdict = json_string_value(json_object_get(kvm, "verdict"));
	json_t *f;

	model(cpu, sizeof(cpu));
	f = json_pack("{s:s, s:s, s:s, s:o, s:i, s:s, s:O, s:i, s:I, s:I, s:f, s:b, s:s, s:s, s:s}",
		"name", n->name, "chip", chip(), "cpu_model", cpu, "features", features(),
		"page_size", (int)sysconf(_SC_PAGESIZE), "kvm", verdict ? verdict : "none",
		"kvm_detail", kvm, "cores", (int)sysconf(_SC_NPROCESSORS_ONLN), "memory_mib",
		(json_int_t)meminfo_mib("MemTotal"), "memory_free_mib",
		(json_int_t)meminfo_mib("MemAvailable"), "load", load_of(), "passt", have_passt(),
		"cgroup", n->cgroups.why, "uids", n->own_uid ? "own" : n->uids_why, "version",
		POLYVISOR_VERSION);
	json_decref(kvm);
	return f;
}
