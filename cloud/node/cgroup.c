/* SPDX-License-Identifier: Apache-2.0 */
#include "cloud/node/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "cloud/node/file.h"
#include "vmm/base/cleanup.h"

#define PERIOD_US 100000 /* of cpu.max */

static int put(int dir, const char *name, const char *text)
{
	cleanup_fd int fd = openat(dir, name, O_WRONLY | O_CLOEXEC);

	return fd < 0 || write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

/* The first mount of type cgroup2 (proc_pid_mountinfo(5): the type stands behind " - "). */
static int find(char *ret_path, size_t cap)
{
	cleanup_file FILE *f = fopen("/proc/self/mountinfo", "re");
	char line[1024], path[512];

	while (f && fgets(line, sizeof(line), f))
		if (strstr(line, " - cgroup2 ") && sscanf(line, "%*s %*s %*s %*s %511s", path) == 1)
			return snprintf(ret_path, cap, "%s", path) < (int)cap ? 0 : -ENAMETOOLONG;
	return -ENOENT;
}

static int none(struct cgroups *g, const char *why, const char *where)
{
	snprintf(g->why, sizeof(g->why), "none: %s%.100s", why, where);
	return -1;
}

static int open_group(struct cgroups *g)
{
	char path[512], have[256];
	cleanup_fd int root = -1, dir = -1;

	if (find(path, sizeof(path)) < 0)
		return none(g, "no cgroup2 file system is mounted", "");
	root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root < 0 || file_read_text(root, "cgroup.controllers", have, sizeof(have)) < 0)
		return none(g, "cannot be read: ", path);
	if (!strstr(have, "memory") || !strstr(have, "pids") || !strstr(have, "cpu"))
		return none(g, "the controllers memory, pids and cpu are not at ", path);
	if (put(root, "cgroup.subtree_control", "+memory +pids +cpu") < 0)
		return none(g, "may not give controllers to groups below ", path);
	dir = file_open_folder(root, "polycloud", 0755);
	if (dir < 0 || put(dir, "cgroup.subtree_control", "+memory +pids +cpu") < 0)
		return none(g, "cannot make groups below ", path);
	return steal_fd(&dir);
}

void cgroups_open(struct cgroups *g)
{
	strcpy(g->why, "v2");
	g->dir = open_group(g);
}

void cgroups_close(struct cgroups *g)
{
	if (g->dir >= 0)
		close(g->dir);
	g->dir = -1;
}

/* What the three processes need beside the guest's memory: page tables, rings, buffers. */
static uint64_t with_overhead(uint64_t memory)
{
	return memory + memory / 16 + (192u << 20);
}

int cgroup_make(struct cgroups *g, const char *id, uint64_t memory_bytes, unsigned cpus)
{
	cleanup_fd int dir = g->dir < 0 ? -1 : file_open_folder(g->dir, id, 0755);
	char text[64];
	int r;

	if (g->dir < 0)
		return -1;
	if (dir < 0)
		return dir - 1;
	snprintf(text, sizeof(text), "%llu", (unsigned long long)with_overhead(memory_bytes));
	r = put(dir, "memory.max", text);
	snprintf(text, sizeof(text), "%u", 256 + 8 * cpus);
	if (r == 0)
		r = put(dir, "pids.max", text);
	/* One core more than the guest has, for its devices. */
	snprintf(text, sizeof(text), "%u %u", (cpus + 1) * PERIOD_US, PERIOD_US);
	if (r == 0)
		r = put(dir, "cpu.max", text);
	if (r < 0)
		return r - 1;
	r = openat(dir, "cgroup.procs", O_WRONLY | O_CLOEXEC);
	return r < 0 ? -errno - 1 : r;
}

void cgroup_remove(struct cgroups *g, const char *id)
{
	if (g->dir >= 0)
		unlinkat(g->dir, id, AT_REMOVEDIR);
}
