/* SPDX-License-Identifier: Apache-2.0 */
/* The tables, as steps: step n takes a database of version n to version n + 1, so a new one and an
 * old one go the same way and every release's file can be migrated. A step that has been released
 * is never edited. All steps of one opening are one transaction. */
#include "cloud/store/store_internal.h"
#include "vmm/base/num.h"

static const char *const steps[] = {
	/* 0 -> 1: documents, events, counters. */
	"CREATE TABLE doc (kind TEXT NOT NULL, id TEXT NOT NULL, revision INTEGER NOT NULL,"
	"  doc TEXT NOT NULL, PRIMARY KEY (kind, id)) WITHOUT ROWID;"
	"CREATE TABLE event (seq INTEGER PRIMARY KEY AUTOINCREMENT, doc TEXT NOT NULL);"
	"CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;"
	"INSERT INTO counter VALUES ('revision', 0);",
	/* 1 -> 2: the events of one object without reading all; the audit log. */
	"ALTER TABLE event ADD COLUMN target TEXT;"
	"UPDATE event SET target = json_extract(doc, '$.id');"
	"CREATE INDEX event_target ON event (target, seq);"
	"CREATE TABLE audit (seq INTEGER PRIMARY KEY AUTOINCREMENT, doc TEXT NOT NULL);",
};
_Static_assert(ARRAY_SIZE(steps) == STORE_SCHEMA, "one step for each version");

static int pragma_int(sqlite3 *db, const char *sql, int *ret_value)
{
	sqlite3_stmt *st = NULL;
	int rc = sqlite3_prepare_v2(db, sql, -1, &st, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_step(st);
	if (rc == SQLITE_ROW)
		*ret_value = sqlite3_column_int(st, 0);
	sqlite3_finalize(st);
	return store_error(rc);
}

static int run_steps(sqlite3 *db, int from)
{
	char sql[128];
	int rc = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);

	for (int v = from; rc == SQLITE_OK && v < STORE_SCHEMA; v++)
		rc = sqlite3_exec(db, steps[v], NULL, NULL, NULL);
	snprintf(sql, sizeof(sql), "PRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT",
		STORE_APP_ID, STORE_SCHEMA);
	if (rc == SQLITE_OK)
		rc = sqlite3_exec(db, sql, NULL, NULL, NULL);
	if (rc != SQLITE_OK)
		sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
	return store_error(rc);
}

int schema_apply(sqlite3 *db, const char *path, struct err *e)
{
	int version = 0, app = 0, tables = 0;
	int r = pragma_int(db, "PRAGMA user_version", &version);

	if (!r)
		r = pragma_int(db, "PRAGMA application_id", &app);
	if (!r)
		r = pragma_int(db, "SELECT count(*) FROM sqlite_schema", &tables);
	if (r)
		return err_set(e, ERR_HOST, r, "%s: %s", path, sqlite3_errmsg(db));
	if (app != STORE_APP_ID && (app || version || tables))
		return err_set(e, ERR_USAGE, -EMEDIUMTYPE, "%s: not a database of polycloud", path);
	if (version > STORE_SCHEMA)
		return err_set(e, ERR_USAGE, -EPROTONOSUPPORT,
			"%s: made by a newer release (schema %d; this one reads up to %d)", path,
			version, STORE_SCHEMA);
	if (version == STORE_SCHEMA)
		return 0;
	r = run_steps(db, version);
	if (r)
		return err_set(e, ERR_HOST, r, "%s: migration from schema %d: %s", path, version,
			sqlite3_errmsg(db));
	return 0;
}
