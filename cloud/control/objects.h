/* SPDX-License-Identifier: Apache-2.0 */
/* The control plane's objects: every resource is a JSON document, kept in memory, written through
 * to the store. Readers look at obj->doc; the only way to change one is obj_put(), which stores it,
 * gives it the next revision (its ETag), appends an event and tells who watches. Control thread
 * only. */
#ifndef CLOUD_CONTROL_OBJECTS_H
#define CLOUD_CONTROL_OBJECTS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "cloud/store/store.h"
#include "vmm/base/err.h"

enum kind {
	KIND_PROJECT,
	KIND_TOKEN,
	KIND_INSTANCE,
	KIND_IMAGE,
	KIND_VOLUME,
	KIND_NETWORK,
	KIND_PORT,
	KIND_KEY,
	KIND_HOST,
	KIND_FLAVOR,
	KIND_OPERATION,
	KIND_POOL,
	KIND_COUNT
};
const char *kind_name(enum kind k);   /* "instance" */
const char *kind_plural(enum kind k); /* "instances", as in /v1/instances */
bool kind_in_project(enum kind k);    /* instance image volume network port key operation */

struct obj {
	enum kind kind;
	const char *id, *name, *project; /* into doc; project NULL for those outside projects */
	uint64_t revision;
	json_t *doc; /* read only outside obj_put() */
};
struct objects;

int objects_new(
	struct store *s, struct objects **ret_objects, struct err *e); /* loads everything */
void objects_free(struct objects *os);
struct store *objects_store(struct objects *os);

struct obj *obj_get(struct objects *os, enum kind k, const char *id);
/* By id, or by name within the project (NULL for kinds outside projects). */
struct obj *obj_find(struct objects *os, enum kind k, const char *project, const char *id_or_name);
/* In the order of ids (which is the order of making); next(NULL) is the first. Safe when the
 * current one is deleted after its next was taken. */
struct obj *obj_next(struct objects *os, enum kind k, struct obj *after);
unsigned obj_count(struct objects *os, enum kind k);

/* Makes or replaces. doc is taken, also on error; it has an "id", mostly a "name", and the
 * "project" of a kind that is in projects; "revision", "created_at" and "updated_at" are set here.
 * To change an object, change a json_deep_copy() of its doc and put that; o stays the same pointer
 * until it is deleted, its doc does not. -EEXIST: the name is taken. event: "created", "started",
 * NULL = no event worth telling; text: one line for people, or NULL. actor: who did it (a token's
 * name, "scheduler", "node:NAME"). -ESTALE: `expect` is not the revision. ret_obj may be NULL. An
 * event is {time, kind, id, name, project, event, text, actor, request_id, revision}. */
struct change {
	const char *event, *text, *actor, *request_id;
	uint64_t expect; /* the revision it must have now; 0 or STORE_ANY: whatever it is */
	bool lazy;	 /* can be learnt again (what a node reports): the disk is not waited for */
};
int obj_put(
	struct objects *os, enum kind k, json_t *doc, const struct change *c, struct obj **ret_obj);
int obj_delete(struct objects *os, struct obj *o, const struct change *c);
/* Several changes as one transaction; they do not nest. When the commit fails (a full disk), or by
 * the rollback, memory is again as it was at begin: then pointers to objects that were made or
 * deleted meanwhile are not valid any more. */
int objects_begin(struct objects *os);
int objects_commit(struct objects *os);
void objects_rollback(struct objects *os);

/* Called after every change (now deleted: doc still readable). Watchers only note what they want to
 * look at and look later, in their own turn of the loop. */
struct obj_watch {
	void (*changed)(struct obj_watch *w, struct obj *o, bool deleted);
	struct obj_watch *next;
};
void objects_watch(struct objects *os, struct obj_watch *w);
void objects_unwatch(struct objects *os, struct obj_watch *w); /* not from inside changed() */

/* "i-01hx…": kind's letter and 26 characters that sort by time (as a ULID, to the nanosecond). */
void obj_new_id(enum kind k, char ret_id[32]);
/* RFC 3339 UTC with milliseconds. */
void obj_now(char ret_text[32]);

#endif
