/* SPDX-License-Identifier: Apache-2.0 */
/* The dirty log ("Migration"): the front-end gives memory with a bit for each 4 KiB of the guest's,
 * and switches it on and off by VHOST_F_LOG_ALL while the rings run. What the device writes is
 * marked where it is written (struct guest_mem), the rings' own writes among it. */
#include "offload/vu_device_priv.h"

void vu_log_switch(struct vu_device *d)
{
	bool on = d->features & VU_F_LOG_ALL && d->dirty.map.at;

	guest_mem_log_to(&d->mem.guest, on ? &d->dirty.log : NULL);
}

/* Rings are stopped for a moment: a worker may be marking in the log that there was. */
int vu_set_log_base(struct vu_device *d, struct vu_msg *m, struct vu_msg *reply)
{
	const struct vu_log *l = &m->p.log;
	struct vu_map map = {0};
	int r = d->dirty.map.at ? vu_rings_stop(d) : 0;

	if (r == 0)
		r = vu_map(m->fds[0], l->offset, l->size, d->mem.allow_unsealed, &map);
	if (r)
		return r;
	vu_log_fini(d);
	d->dirty.map = map;
	d->dirty.log = (struct mem_log){map.at, map.size};
	vu_log_switch(d);
	reply->p.u64 = 0;
	return 0;
}

/* "It may be used to inform the front-end that the log has been modified": nobody waits for that,
 * and it would be a system call a batch. */
int vu_set_log_fd(struct vu_device *d, struct vu_msg *m, struct vu_msg *reply)
{
	return 0;
}

void vu_log_fini(struct vu_device *d)
{
	guest_mem_log_to(&d->mem.guest, NULL);
	vu_unmap(&d->dirty.map);
}
