/* SPDX-License-Identifier: Apache-2.0 */
/* Volumes: sparse files ID.raw that outlive instances, each with ID.json beside it: the size and
 * the generation, which the control plane raises whenever it gives the volume to another
 * instance. Who comes with an older one has been overtaken and gets nothing. Loop thread; files are
 * only made, never filled, so nothing takes long. */
#ifndef CLOUD_NODE_VOLUME_H
#define CLOUD_NODE_VOLUME_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "cloud/link/link.h"
#include "vmm/base/err.h"

#define VOLUME_LIMIT_MIB ((json_int_t)64 << 20) /* 64 TiB */

struct volumes;

/* The folder name in dir, made if absent, and what is in it. 0 or a negative errno. */
int volumes_new(int dir, const char *name, struct volumes **ret_volumes);
void volumes_free(struct volumes *v); /* NULL is fine */

/* PUT /v1/volumes/ID with the body {size_mib, generation, release}: makes it, lets it grow (a
 * smaller size than it has is left alone), takes over the generation. release: nobody may open it
 * until a PUT with a higher one. ret_doc is new: {id, size_mib, generation, released}. Errors with
 * e: -EINVAL (400), -ESTALE (409: an older generation), -ENOSPC (507), others (500). */
int volume_put(
	struct volumes *v, const char *id, const json_t *body, json_t **ret_doc, struct err *e);
/* -ENOENT: there is none. Who has it open keeps it until he ends: end him first. */
int volume_delete(struct volumes *v, const char *id);
/* [{id, size_mib, generation, released}, …], new. */
json_t *volumes_list(struct volumes *v);

/* Opened for reading, or for both; the file then belongs to uid and gid unless uid is (uid_t)-1.
 * -ENOENT; -ESTALE: it is of another generation, or released. e says so. */
int volume_open(struct volumes *v, const char *id, json_int_t generation, bool readonly, uid_t uid,
	gid_t gid, struct err *e);

/* The two requests, answered. */
void volume_serve_put(struct volumes *v, struct link_req *r, const char *id);
void volume_serve_delete(struct volumes *v, struct link_req *r, const char *id);

#endif
