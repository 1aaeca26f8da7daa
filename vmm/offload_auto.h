/* SPDX-License-Identifier: Apache-2.0 */
/* The instance's own polyvisor-offload: one process serves every device with offload=auto. The
 * supervisor starts it and keeps it alive; here is what it is given. Each device has a listening
 * socket that the supervisor keeps, so that a connection can be made whenever, and waits there for
 * the successor of a killed process. The socket has no name: it is reached through a descriptor.
 *
 * Owned by the host's resources, used on control's thread, while no machine has the devices. */
#ifndef VMM_OFFLOAD_AUTO_H
#define VMM_OFFLOAD_AUTO_H

#include <sys/types.h>
#include "vmm/base/err.h"
#include "vmm/config.h"

struct block;
struct host_res;
struct supervisor;

struct auto_dev {
	bool open;
	int fd;		     /* of the disk or tap; -1 = the process opens it itself */
	int socket;	     /* the listening socket's file, to connect to; -1 */
	struct block *probe; /* locked while the others are looked at */
};

struct offload_auto {
	struct supervisor *supervisor; /* borrowed; NULL: there is none */
	const char *api_path;	       /* borrowed: where the process answers polyctl; NULL */
	bool serving;
	pid_t pid; /* 0 = none runs now */
	uint64_t restarts;
	struct auto_dev disk[CONFIG_DISKS], net[CONFIG_NETS];
};

/* Starts the process for what c names, or starts it anew when c names more than before, and
 * connects to it: h->disk_peer and net_peer. On error it is as it was. */
int offload_auto_open(struct host_res *h, const struct vm_config *c, struct err *e);
/* Ends the process; the peers are closed already. */
void offload_auto_close(struct host_res *h);

#endif
