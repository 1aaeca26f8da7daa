/* SPDX-License-Identifier: Apache-2.0 */
/* Where the control plane's state is kept: documents by (kind, id), each with the revision of its
 * last change, and a log of events. An interface from the start: SQLite inside the process today,
 * etcd for a cluster later; what uses it sees only this. Calls are short and made on the control
 * thread. */
#ifndef CLOUD_STORE_STORE_H
#define CLOUD_STORE_STORE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "vmm/base/err.h"

struct store;

/* Opens or makes the database at path (0600), migrates an older release's; refuses a newer one and
 * one that another process has open, in one line. */
int store_open(const char *path, struct store **ret_store, struct err *e);
void store_close(struct store *s); /* NULL is fine */

/* Everything between begin and commit is durable together or not at all. They do not nest. */
int store_begin(struct store *s);
int store_commit(struct store *s);
void store_rollback(struct store *s);

/* Revisions come from one counter, so a later change of anything has a larger one. expect: the
 * revision the document must have now, 0 = must not exist, STORE_ANY = does not matter; else
 * -ESTALE. */
#define STORE_ANY UINT64_MAX
int store_put(struct store *s, const char *kind, const char *id, const json_t *doc, uint64_t expect,
	uint64_t *ret_revision);
int store_delete(struct store *s, const char *kind, const char *id, uint64_t expect);
/* -ENOENT. ret_doc is a new reference. */
int store_get(struct store *s, const char *kind, const char *id, json_t **ret_doc,
	uint64_t *ret_revision);
/* Every document of a kind in the order of ids; a callback's non-zero return ends it and is
 * returned. */
int store_each(struct store *s, const char *kind,
	int (*each)(void *arg, const char *id, json_t *doc, uint64_t revision), void *arg);

/* The log of events, bounded: the oldest go beyond `keep`. ret_seq grows by one each. */
int store_event(struct store *s, const json_t *event, uint64_t *ret_seq);
int store_events_since(struct store *s, uint64_t seq,
	int (*each)(void *arg, uint64_t seq, json_t *event), void *arg);
uint64_t store_oldest_event(struct store *s);

/* A consistent copy in a new file, while others use it (progress may be NULL). */
int store_backup(struct store *s, const char *path, struct err *e);

#endif
