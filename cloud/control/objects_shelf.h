/* SPDX-License-Identifier: Apache-2.0 */
/* The objects of one kind in memory: a list in the order of ids, and two hash tables, by id and by
 * (project, name). It owns the objects and their documents and knows nothing of the store. */
#ifndef CLOUD_CONTROL_OBJECTS_SHELF_H
#define CLOUD_CONTROL_OBJECTS_SHELF_H

#include "cloud/control/objects.h"

struct shelf_obj {
	struct obj o; /* first: an obj is its shelf_obj */
	struct shelf_obj *prev, *next, *same_id, *same_name;
};
struct shelf {
	enum kind kind;
	struct shelf_obj *first, *last, **by_id, **by_name;
	unsigned count, size; /* size is 0 or a power of two */
};

void shelf_fini(struct shelf *s);
struct obj *shelf_by_id(const struct shelf *s, const char *id);
struct obj *shelf_by_name(const struct shelf *s, const char *project, const char *name);
/* Makes or replaces the one with doc's id. doc is taken, also on error (-ENOMEM). */
int shelf_set(struct shelf *s, json_t *doc, uint64_t revision, struct obj **ret_obj);
/* Takes it off without freeing it; then shelf_free(). */
void shelf_remove(struct shelf *s, struct obj *o);
void shelf_free(struct obj *o);

#endif
