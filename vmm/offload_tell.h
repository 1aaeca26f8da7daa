/* SPDX-License-Identifier: Apache-2.0 */
/* What the instance's polyvisor-offload is told and given: its command line and descriptors. For
 * offload_auto.c. */
#ifndef VMM_OFFLOAD_TELL_H
#define VMM_OFFLOAD_TELL_H

#include "vmm/offload_auto.h"
#include "vmm/supervisor.h"

#define OFFLOAD_PROGRAM "polyvisor-offload"
#define TELLING_WORDS	(4 * (CONFIG_DISKS + CONFIG_NETS) + 4)

struct telling {
	char *word[TELLING_WORDS];
	unsigned nwords;
	int fd[SUPERVISOR_FDS];
	unsigned nfds;
	uint64_t reopen;
	int listen[CONFIG_DISKS + CONFIG_NETS]; /* to be closed */
	unsigned nlisten;
	int r; /* the first error */
};

/* Fills a zeroed t for every device of a that is open, and makes each a new socket (auto_dev's).
 * t->r is the first error. */
void offload_tell(struct offload_auto *a, const struct vm_config *c, struct telling *t);
/* Gives back what t has of its own. */
void offload_told(struct telling *t);

#endif
