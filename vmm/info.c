/* SPDX-License-Identifier: Apache-2.0 */
/* What control tells about a machine. Everything here is copied, so that whoever asked may look at
 * it on a thread of its own while the machine goes on. */
#include "vmm/info.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "devices/virtio/virtio.h"
#include "vmm/vm_internal.h"

#define DEVICES_MAX  64 /* of a machine */
#define COUNTERS_MAX 32 /* of one device */

static void put_device(struct vm_device_info *d, const char *id, const char *type, int slot)
{
	snprintf(d->id, sizeof(d->id), "%s", id);
	snprintf(d->type, sizeof(d->type), "%s", type);
	d->slot = slot;
}

/* ---- devices ---- */

unsigned vm_config_devices(const struct vm_config *c, struct vm_device_info *ret)
{
	char type[24];
	unsigned n = 0;

	for (unsigned i = 0; i < c->ndisks; i++)
		put_device(&ret[n++], c->disk[i].id, "virtio-blk", c->disk[i].slot);
	for (unsigned i = 0; i < c->nnets; i++)
		put_device(&ret[n++], c->net[i].id, "virtio-net", c->net[i].slot);
	for (unsigned i = 0; i < c->nvhost_users; i++) {
		snprintf(type, sizeof(type), "virtio-%s", vhost_user_type_name(&c->vhost_user[i]));
		put_device(&ret[n++], c->vhost_user[i].id, type, c->vhost_user[i].slot);
	}
	for (unsigned i = 0; i < c->nvdpas; i++)
		put_device(&ret[n++], c->vdpa[i].id, "vdpa", c->vdpa[i].slot);
	if (strcmp(c->rng.src, "off"))
		put_device(&ret[n++], "_rng", "virtio-rng", c->rng.slot);
	if (c->console.mode != CHR_OFF)
		put_device(&ret[n++], "_console", "virtio-console", c->console.slot);
	if (c->vsock.cid)
		put_device(&ret[n++], c->vsock.id, "virtio-vsock", c->vsock.slot);
	return n;
}

static bool listed(const struct vm_info *info, const char *id)
{
	for (unsigned i = 0; i < info->ndevices; i++)
		if (!strcmp(info->device[i].id, id))
			return true;
	return false;
}

static int list_devices(struct vm_info *info, const struct vm_config *c, const struct vm *vm)
{
	info->device = calloc(DEVICES_MAX, sizeof(*info->device));
	if (!info->device)
		return -ENOMEM;
	info->ndevices = vm_config_devices(c, info->device);
	if (!vm)
		return 0;
	list_for_each (it, &vm->devices) {
		const struct device *d = container_of(it, struct device, link);
		bool key = vm->power_key && !strcmp(d->id, vm->power_key->id);
		if (info->ndevices < DEVICES_MAX && !listed(info, d->id))
			put_device(&info->device[info->ndevices++], d->id,
				key ? "virtio-input" : d->ops->type, key ? vm->power_slot : -1);
	}
	return 0;
}

/* ---- the whole ---- */

static int set_pty(struct console_config *c, const struct chr *chr)
{
	const char *path = chr ? chr_pty_path(chr) : NULL;

	if (!path)
		return 0;
	free(c->path);
	c->path = strdup(path);
	return c->path ? 0 : -ENOMEM;
}

static int fill(
	struct vm_info *info, const struct vm_config *c, struct vm *vm, const struct host_res *res)
{
	info->config = calloc(1, sizeof(*info->config));
	int r = info->config ? vm_config_copy(c, info->config) : -ENOMEM;

	if (!r)
		r = set_pty(&info->config->serial, res->serial);
	if (!r)
		r = set_pty(&info->config->console, res->console);
	if (!r)
		r = list_devices(info, c, vm);
	info->memory_actual = vm ? guest_mem_size(&vm->mem) : c->memory.size;
	if (!r)
		r = vm_info_offload(info, c, res);
	return r ? r : vm_info_asked(info, c, vm);
}

int vm_info(const struct vm_config *c, struct vm *vm, const struct host_res *res,
	struct vm_info **ret_info)
{
	struct vm_info *info = calloc(1, sizeof(*info));
	int r = info ? fill(info, c, vm, res) : -ENOMEM;

	if (r < 0) {
		vm_info_free(info);
		return r;
	}
	*ret_info = info;
	return 0;
}

void vm_info_free(struct vm_info *i)
{
	if (!i)
		return;
	if (i->config)
		vm_config_fini(i->config);
	free(i->config);
	free(i->device);
	free(i->asked);
	free(i->offload);
	free(i);
}

/* ---- counters ---- */

/* c has room. */
static void count(struct vm_counters *c, const char *id, const char *name, uint64_t value)
{
	struct vm_counter *n = &c->counter[c->n++];

	snprintf(n->id, sizeof(n->id), "%s", id);
	n->name = name;
	n->value = value;
}

static void count_vm(struct vm_counters *c, const struct vm *vm)
{
	const char *name[COUNTERS_MAX];
	uint64_t value[COUNTERS_MAX];
	unsigned n = arch_vm_counters(vm->arch, name, value, COUNTERS_MAX);

	for (unsigned i = 0; i < n; i++)
		count(c, "vm", name[i], value[i]);
}

static void count_device(struct vm_counters *c, struct device *d)
{
	struct dev_counter k[COUNTERS_MAX];
	unsigned n = d->ops->counters ? d->ops->counters(d, k, COUNTERS_MAX) : 0;

	for (unsigned i = 0; i < n; i++)
		count(c, d->id, k[i].name, k[i].value);
}

int vm_counters(struct vm *vm, struct vm_counters **ret_counters)
{
	size_t max = COUNTERS_MAX + vm->nvcpus + 1;
	char id[16];

	list_for_each (it, &vm->devices)
		max += COUNTERS_MAX;
	struct vm_counters *c = calloc(1, sizeof(*c) + max * sizeof(c->counter[0]));
	if (!c)
		return -ENOMEM;
	count_vm(c, vm);
	for (unsigned i = 0; i < vm->nvcpus; i++) {
		snprintf(id, sizeof(id), "vcpu%u", i);
		count(c, id, "exits", atomic_load(&vm->vcpus[i].nexits));
	}
	if (vm->res->offload.serving)
		count(c, "offload", "restarts", vm->res->offload.restarts);
	list_for_each (it, &vm->devices)
		count_device(c, container_of(it, struct device, link));
	*ret_counters = c;
	return 0;
}
