/* SPDX-License-Identifier: Apache-2.0 */
/* What the store's files share: the open database, its prepared statements, and the step from
 * SQLite's result codes to ours. */
#ifndef CLOUD_STORE_STORE_INTERNAL_H
#define CLOUD_STORE_STORE_INTERNAL_H

#include <sqlite3.h>
#include "cloud/store/store.h"

#define STORE_SCHEMA 2		/* PRAGMA user_version */
#define STORE_APP_ID 0x50564343 /* PRAGMA application_id: "PVCC" */
#define RESTORE_LEAP 1000000	/* numbers that a restored database leaves out */

enum statement {
	ST_BEGIN,
	ST_COMMIT,
	ST_ROLLBACK,
	ST_GET,
	ST_PUT,
	ST_DELETE,
	ST_REVISION,
	ST_EVENT,
	ST_EVENT_TRIM,
	ST_AUDIT,
	ST_AUDIT_TRIM,
	ST_COUNT
};

struct store {
	sqlite3 *db;
	sqlite3_stmt *st[ST_COUNT];
	uint64_t revision, saved; /* the counter; what the database has of it */
	bool lazy, relaxed;	  /* wanted of the next transaction; how SQLite is set */
	bool open;		  /* a transaction is */
	int failed;		  /* first failure in it: it cannot be committed any more */
};

int store_error(int rc); /* SQLITE_… to negative errno; OK, ROW and DONE are 0 */
/* Makes or migrates. Fills e with one line that names path. */
int schema_apply(sqlite3 *db, const char *path, struct err *e);
/* Opens with the lock held; the database may be new. */
int store_open_db(const char *path, bool make, sqlite3 **ret_db, struct err *e);

/* A change that may stand alone: opens a transaction unless one is open. */
int scope_begin(struct store *s, bool *ret_own);
int scope_end(struct store *s, bool own, int result);
/* Runs a statement that gives no rows and resets it. */
int store_run(struct store *s, enum statement st);

#endif
