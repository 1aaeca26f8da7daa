/* SPDX-License-Identifier: Apache-2.0 */
/* How the devices do that somebody else serves. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "offload/vu_proxy.h"
#include "vmm/info.h"
#include "vmm/vm_internal.h"

static struct vm_offload *put(struct vm_info *info, const char *id, const char *kind)
{
	struct vm_offload *o = &info->offload[info->noffloads++];

	snprintf(o->id, sizeof(o->id), "%s", id);
	o->kind = kind;
	o->connected = true; /* the kernel does not go away */
	return o;
}

static struct vm_offload *put_peer(
	struct vm_info *info, const char *id, const char *kind, struct vu_peer *p)
{
	struct vm_offload *o = put(info, id, kind);
	struct vu_peer_status st;

	vu_peer_status(p, &st);
	o->connected = st.connected;
	o->seconds = (ev_now_ns() - st.since_ns) / 1000000000;
	o->reconnects = st.connects - 1;
	return o;
}

/* Of a disk or interface, whose process may be our own. */
static void put_own(struct vm_info *info, const char *id, bool own, struct vu_peer *p,
	const struct offload_auto *a)
{
	struct vm_offload *o;

	if (!p)
		return;
	o = put_peer(info, id, own ? "auto" : "vhost-user", p);
	if (own) {
		o->pid = a->pid;
		o->restarts = a->restarts;
	}
}

int vm_info_offload(struct vm_info *info, const struct vm_config *c, const struct host_res *res)
{
	info->offload = calloc(VM_CONFIG_DEVICES, sizeof(*info->offload));
	if (!info->offload)
		return -ENOMEM;
	for (unsigned i = 0; i < c->ndisks; i++)
		put_own(info, c->disk[i].id, c->disk[i].offload, res->disk_peer[i], &res->offload);
	for (unsigned i = 0; i < c->nnets; i++) {
		put_own(info, c->net[i].id, c->net[i].offload, res->net_peer[i], &res->offload);
		if (res->vhost_net[i])
			put(info, c->net[i].id, "vhost-net");
	}
	for (unsigned i = 0; i < c->nvhost_users; i++)
		put_peer(info, c->vhost_user[i].id, "vhost-user", res->vhost_user[i]);
	for (unsigned i = 0; i < c->nvdpas; i++)
		put(info, c->vdpa[i].id, "vdpa");
	return 0;
}
