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

/* The next transaction (or change that stands alone) is whole and in order, but its commit does not
 * wait for the disk: a power cut, not a kill, may lose it unless one that waited came after it. For
 * what can be learnt again. */
void store_lazy(struct store *s);

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

/* The log of events, bounded: the oldest go beyond STORE_KEEP. ret_seq (may be NULL) grows by one
 * each. An event is an object; its "id" names what it is about. `each` is called in the order of
 * happening, with a borrowed event; its non-zero return ends the walk and is returned. It may not
 * call the store. */
#define STORE_KEEP 20000
int store_event(struct store *s, const json_t *event, uint64_t *ret_seq);
int store_events_since(struct store *s, uint64_t seq,
	int (*each)(void *arg, uint64_t seq, json_t *event), void *arg);
/* The newest `limit` events of one object, in the order of happening. */
int store_events_of(struct store *s, const char *id, unsigned limit,
	int (*each)(void *arg, uint64_t seq, json_t *event), void *arg);
uint64_t store_oldest_event(struct store *s); /* 0: none is kept */
uint64_t store_newest_event(struct store *s);

/* Who did what: a log like that of events, bounded in the same way; lazy. The walk gives rows with
 * a number smaller than `before` (0: from the newest), newest first, at most `limit`. */
int store_audit(struct store *s, const json_t *row);
int store_audit_each(struct store *s, uint64_t before, unsigned limit,
	int (*each)(void *arg, uint64_t seq, json_t *row), void *arg);

/* A consistent copy in a new file (0600), durable when it returns. Not inside a transaction. */
int store_backup(struct store *s, const char *path, struct err *e);
/* Puts a backup (of this or an older release) in the place of the database at path, which no
 * process may have open. The copy is checked before anything is replaced. Revisions and numbers of
 * events go on far above those of the backup, so that none of the lost time is given twice. The new
 * database has the document ("meta", "restored") {"at": time}; who has dealt with it deletes it. */
int store_restore(const char *backup, const char *path, struct err *e);

#endif
