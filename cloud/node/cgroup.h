/* SPDX-License-Identifier: Apache-2.0 */
/* A control group for each instance (cgroup v2, Linux Documentation/admin-guide/cgroup-v2.rst):
 * HIERARCHY/polycloud/ID with limits on memory, processes and CPU time, where the host has a
 * writable hierarchy with these controllers. */
#ifndef CLOUD_NODE_CGROUP_H
#define CLOUD_NODE_CGROUP_H

#include <stdint.h>

struct cgroups {
	int dir;       /* of HIERARCHY/polycloud, or -1 */
	char why[160]; /* "v2", or "none: …" */
};

void cgroups_open(struct cgroups *g);
void cgroups_close(struct cgroups *g);
/* Makes or changes the group. cgroup.procs to write to, -1 when there are no groups, or -errno
 * below -1. */
int cgroup_make(struct cgroups *g, const char *id, uint64_t memory_bytes, unsigned cpus);
void cgroup_remove(struct cgroups *g, const char *id);

#endif
