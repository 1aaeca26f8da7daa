/* SPDX-License-Identifier: Apache-2.0 */
/* What was asked for against what became of it: only what somebody asked for, and what the guest's
 * driver had to agree to. The kernel is asked how memory and threads really are (proc(5), smaps);
 * devices answer for themselves. */
#include <inttypes.h>
#include <linux/mempolicy.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"
#include "vmm/info.h"
#include "vmm/vm_internal.h"

#define ACHIEVED_MAX 32	 /* of one device */
#define QUEUE_SIZE   256 /* where nobody asked */
#define NOT_YET	     "not booted"

/* A new line, or NULL when memory is short: then it is left out. */
static struct vm_asked *line(struct vm_info *info, const char *id, const char *what)
{
	struct vm_asked *all = reallocarray(info->asked, info->nasked + 1, sizeof(*all));

	if (!all)
		return NULL;
	info->asked = all;
	struct vm_asked *l = &all[info->nasked++];
	memset(l, 0, sizeof(*l));
	snprintf(l->id, sizeof(l->id), "%s", id);
	snprintf(l->what, sizeof(l->what), "%s", what);
	return l;
}

static void add(struct vm_info *info, const char *id, const char *what, const char *asked,
	const char *achieved)
{
	struct vm_asked *l = line(info, id, what);

	if (!l)
		return;
	snprintf(l->asked, sizeof(l->asked), "%s", asked);
	snprintf(l->achieved, sizeof(l->achieved), "%s", achieved);
}

/* ---- memory ---- */

/* What smaps says about the mappings of guest memory, summed; bytes. */
struct mapped {
	uint64_t page; /* of the first */
	uint64_t resident, huge;
	bool shared, mergeable;
};

static bool in_guest(const struct guest_mem *m, uint64_t at)
{
	for (unsigned i = 0; i < m->n; i++) {
		uint64_t start = (uintptr_t)m->region[i].host;
		if (at >= start && at < start + m->region[i].size)
			return true;
	}
	return false;
}

static void read_field(struct mapped *s, const char *text)
{
	uint64_t kib;
	char name[32];

	if (!strncmp(text, "VmFlags:", 8)) {
		s->shared |= strstr(text, " sh") != NULL;
		s->mergeable |= strstr(text, " mg") != NULL;
		return;
	}
	if (sscanf(text, "%31[^:]: %" SCNu64 " kB", name, &kib) != 2)
		return;
	if (!strcmp(name, "KernelPageSize") && !s->page)
		s->page = kib * KIB;
	else if (!strcmp(name, "Rss") || !strcmp(name, "Shared_Hugetlb") ||
		 !strcmp(name, "Private_Hugetlb"))
		s->resident += kib * KIB;
	else if (!strcmp(name, "AnonHugePages") || !strcmp(name, "ShmemPmdMapped"))
		s->huge += kib * KIB;
}

static void read_smaps(const struct guest_mem *m, struct mapped *ret)
{
	cleanup_file FILE *f = fopen("/proc/self/smaps", "re");
	cleanup_free char *text = NULL;
	uint64_t start, end;
	bool ours = false;
	size_t cap = 0;

	*ret = (struct mapped){0};
	while (f && getline(&text, &cap, f) > 0) {
		if (sscanf(text, "%" SCNx64 "-%" SCNx64 " ", &start, &end) == 2)
			ours = in_guest(m, start);
		else if (ours)
			read_field(ret, text);
	}
}

static void add_share(struct vm_info *info, const char *what, uint64_t part, uint64_t whole)
{
	struct vm_asked *l = line(info, "memory", what);
	char a[24], b[24];

	if (!l)
		return;
	strcpy(l->asked, "on");
	if (whole)
		snprintf(l->achieved, sizeof(l->achieved), "%s of %s", num_format_size(part, a),
			num_format_size(whole, b));
	else
		strcpy(l->achieved, NOT_YET);
}

static void add_hugepages(
	struct vm_info *info, const struct memory_config *m, const struct mapped *s)
{
	char size[24], asked[48] = "on", achieved[48] = NOT_YET;

	if (m->hugepage_size)
		snprintf(asked, sizeof(asked), "on, %s", num_format_size(m->hugepage_size, size));
	if (s->page)
		snprintf(achieved, sizeof(achieved), "pages of %s", num_format_size(s->page, size));
	add(info, "memory", "hugepages", asked, achieved);
}

static void add_node(struct vm_info *info, int node, struct vm *vm)
{
	char asked[32], achieved[32] = NOT_YET;
	unsigned long mask[16] = {0};
	int mode = 0;

	snprintf(asked, sizeof(asked), "%d", node);
	if (vm && syscall(SYS_get_mempolicy, &mode, mask, 8 * sizeof(mask), vm->mem.region[0].host,
			  MPOL_F_ADDR) == 0) {
		const unsigned bits = 8 * sizeof(mask[0]);
		bool bound = mode == MPOL_BIND && mask[(unsigned)node / bits] >> node % bits & 1;
		snprintf(achieved, sizeof(achieved), bound ? "%d" : "any", node);
	}
	add(info, "memory", "numa_node", asked, achieved);
}

static void ask_memory(struct vm_info *info, const struct vm_config *c, struct vm *vm)
{
	const struct memory_config *m = &c->memory;
	struct mapped s = {0};
	uint64_t whole = vm ? guest_mem_size(&vm->mem) : 0;

	if (vm && (m->hugepages || m->thp || m->shared || m->mergeable || m->prefault))
		read_smaps(&vm->mem, &s);
	if (m->hugepages)
		add_hugepages(info, m, &s);
	if (m->thp)
		add_share(info, "thp", s.huge, whole);
	if (m->shared)
		add(info, "memory", "shared",
			vm_config_offloads(c) ? "on, vhost-user needs it" : "on",
			!vm	   ? NOT_YET
			: s.shared ? "on"
				   : "off");
	if (m->mergeable)
		add(info, "memory", "mergeable", "on", !vm ? NOT_YET : s.mergeable ? "on" : "off");
	if (m->prefault)
		add_share(info, "prefault", s.resident, whole);
	if (m->numa_node >= 0)
		add_node(info, m->numa_node, vm);
}

/* ---- vCPUs ---- */

/* "0,2-3" */
static void format_cpus(char *out, size_t cap, const cpu_set_t *set)
{
	size_t n = 0;

	*out = '\0';
	for (int i = 0, last; i < CPU_SETSIZE && n < cap; i = last + 1) {
		last = i;
		if (!CPU_ISSET(i, set))
			continue;
		while (last + 1 < CPU_SETSIZE && CPU_ISSET(last + 1, set))
			last++;
		n += (size_t)snprintf(
			out + n, cap - n, last > i ? "%s%d-%d" : "%s%d", n ? "," : "", i, last);
	}
}

static void ask_cpus(struct vm_info *info, const struct cpus_config *c, struct vm *vm)
{
	char what[24], asked[64], achieved[64];
	cpu_set_t set;

	for (unsigned i = 0; i < c->max; i++) {
		if (vm_config_affinity(c, i, &set) <= 0)
			continue;
		snprintf(what, sizeof(what), "affinity vcpu%u", i);
		format_cpus(asked, sizeof(asked), &set);
		strcpy(achieved, NOT_YET);
		if (vm && vcpu_cpus(&vm->vcpus[i], &set) == 0)
			format_cpus(achieved, sizeof(achieved), &set);
		add(info, "cpus", what, asked, achieved);
	}
	if (strcmp(c->model, "host"))
		add(info, "cpus", "model", c->model, vm ? "applied" : NOT_YET);
}

/* ---- devices ---- */

static const char *asked_offload(
	int offload, bool vhost_user, const char *socket, int fd, char buf[64])
{
	if (offload)
		return "auto";
	if (!vhost_user)
		return NULL;
	if (socket)
		snprintf(buf, 64, "vhost-user %s", socket);
	else
		snprintf(buf, 64, "vhost-user fd=%d", fd);
	return buf;
}

/* What was asked of a device: the words, or NULL when nobody asked. */
static const char *asked_of(
	const struct vm_config *c, const char *id, const struct dev_achieved *a, char buf[64])
{
	const char *what = a->what;
	uint32_t queue_size = 0;

	for (unsigned i = 0; i < c->ndisks; i++) {
		if (strcmp(id, c->disk[i].id))
			continue;
		queue_size = c->disk[i].queue_size;
		if (!strcmp(what, "direct"))
			return c->disk[i].direct ? "on" : NULL;
		if (!strcmp(what, "offload"))
			return asked_offload(c->disk[i].offload, c->disk[i].vhost_user,
				c->disk[i].vhost_socket, c->disk[i].fd, buf);
	}
	for (unsigned i = 0; i < c->nnets; i++) {
		if (strcmp(id, c->net[i].id))
			continue;
		queue_size = c->net[i].queue_size;
		if (!strcmp(what, "offload") && c->net[i].vhost)
			return "vhost-net";
		if (!strcmp(what, "offload"))
			return asked_offload(c->net[i].offload, c->net[i].vhost_user,
				c->net[i].vhost_socket, c->net[i].fd, buf);
		/* Nobody asks for offloads: what the device can is on unless the driver or the
		 * host says no. */
		if (!strncmp(what, "offload", 7))
			return strcmp(a->text, "off: not offered") ? "on" : NULL;
	}
	for (unsigned i = 0; i < c->nvhost_users; i++)
		if (!strcmp(id, c->vhost_user[i].id) && !strcmp(what, "offload"))
			return asked_offload(
				0, true, c->vhost_user[i].socket, c->vhost_user[i].fd, buf);
	for (unsigned i = 0; i < c->nvdpas; i++)
		if (!strcmp(id, c->vdpa[i].id) && !strcmp(what, "offload"))
			return "vdpa";
	if (strcmp(what, "queue_size") || !queue_size || queue_size == QUEUE_SIZE)
		return NULL;
	snprintf(buf, 64, "%u", queue_size);
	return buf;
}

/* Of a device that a process of our own serves: which one that is, too. */
static void add_auto(
	struct vm_info *info, const char *id, const struct offload_auto *a, const char *text)
{
	char achieved[96];

	if (a->pid)
		snprintf(achieved, sizeof(achieved), "%s, pid %d", text, a->pid);
	else
		snprintf(achieved, sizeof(achieved), "%s, it has ended", text);
	add(info, id, "offload", "auto", achieved);
}

static void ask_device(
	struct vm_info *info, const struct vm_config *c, struct vm *vm, struct device *d)
{
	struct dev_achieved a[ACHIEVED_MAX];
	unsigned n = d->ops->achieved ? d->ops->achieved(d, a, ACHIEVED_MAX) : 0;
	char buf[64];

	for (unsigned i = 0; i < n; i++) {
		const char *asked = asked_of(c, d->id, &a[i], buf);
		if (asked && !strcmp(asked, "auto"))
			add_auto(info, d->id, &vm->res->offload, a[i].text);
		else if (asked)
			add(info, d->id, a[i].what, asked, a[i].text);
	}
}

int vm_info_asked(struct vm_info *info, const struct vm_config *c, struct vm *vm)
{
	ask_memory(info, c, vm);
	ask_cpus(info, &c->cpus, vm);
	if (vm)
		list_for_each (it, &vm->devices)
			ask_device(info, c, vm, container_of(it, struct device, link));
	return 0;
}
