/* SPDX-License-Identifier: Apache-2.0 */
/* What the host lends to an instance: open files, locks, taps, consoles, helper processes. They
 * live as long as the instance and so survive a reboot, which destroys and rebuilds only struct vm.
 */
#ifndef VMM_HOST_H
#define VMM_HOST_H

#include <sys/types.h>
#include "devices/backend/block.h"
#include "devices/backend/chr.h"
#include "devices/backend/netdev.h"
#include "devices/backend/vsock_unix.h"
#include "vmm/base/log.h"
#include "vmm/config.h"
#include "vmm/kvm/kvm.h"
#include "vmm/offload_auto.h"

struct vdpa;
struct vhost_net;
struct vu_peer;
struct vu_peer_opts;

struct host_res {
	struct log *log; /* borrowed */
	struct kvm kvm;
	int kernel_fd, initrd_fd; /* initrd -1 = none */
	char *cpu_baseline;	  /* text of the baseline file, NULL = model=host */
	struct block *disk[CONFIG_DISKS];
	struct netdev *net[CONFIG_NETS][NETDEV_QUEUES]; /* one for each pair of queues */
	/* Instead: who serves it elsewhere. */
	struct vu_peer *disk_peer[CONFIG_DISKS], *net_peer[CONFIG_NETS];
	struct vhost_net *vhost_net[CONFIG_NETS];
	struct vu_peer *vhost_user[CONFIG_VHOST_USERS];
	struct vdpa *vdpa[CONFIG_VDPAS];
	struct offload_auto offload;
	pid_t passt[CONFIG_NETS];     /* 0 = none */
	struct chr *serial, *console; /* NULL = off */
	struct vsock_unix *vsock;     /* NULL = none */
	int rng_fd;
};

/* Keeps h->offload's supervisor and api_path. Opens everything a resolved configuration names. File
 * descriptors that it names are duplicated: they stay the caller's. Returns 0, or a negative errno
 * with e naming flag and field; nothing is left behind then. */
int host_res_open(struct host_res *h, const struct vm_config *c, struct log *log, struct err *e);
/* Opens what devices were added to the configuration since. On error h is as before. */
int host_res_add(struct host_res *h, const struct vm_config *c, struct err *e);
void host_res_close(struct host_res *h); /* a zeroed one is fine; h->offload as above */

/* The front halves of devices that are served elsewhere, for vu_peer_open(); texts are borrowed. */
void host_disk_front(const struct disk_config *d, struct vu_peer_opts *ret);
void host_net_front(const struct net_config *n, struct vu_peer_opts *ret);

#endif
