/* SPDX-License-Identifier: Apache-2.0 */
/* The store in SQLite: one connection that holds the file's lock for as long as it is open, a
 * write-ahead log that is synced at each commit, so what was answered survives a power cut. */
#include "cloud/store/store_internal.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"

static const char *const statements[ST_COUNT] = {
	[ST_BEGIN] = "BEGIN IMMEDIATE",
	[ST_COMMIT] = "COMMIT",
	[ST_ROLLBACK] = "ROLLBACK",
	[ST_GET] = "SELECT revision, doc FROM doc WHERE kind = ?1 AND id = ?2",
	[ST_PUT] = ("INSERT INTO doc (kind, id, revision, doc) VALUES (?1, ?2, ?3, ?4) "
		    "ON CONFLICT (kind, id) DO UPDATE SET revision = ?3, doc = ?4"),
	[ST_DELETE] = "DELETE FROM doc WHERE kind = ?1 AND id = ?2",
	[ST_REVISION] = "UPDATE counter SET value = ?1 WHERE name = 'revision'",
	[ST_EVENT] = "INSERT INTO event (doc, target) VALUES (?1, ?2)",
	[ST_EVENT_TRIM] = "DELETE FROM event WHERE seq <= ?1",
	[ST_AUDIT] = "INSERT INTO audit (doc) VALUES (?1)",
	[ST_AUDIT_TRIM] = "DELETE FROM audit WHERE seq <= ?1",
};

int store_error(int rc)
{
	switch (rc & 0xff) {
	case SQLITE_OK:
	case SQLITE_ROW:
	case SQLITE_DONE:
		return 0;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EBUSY;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_READONLY:
	case SQLITE_PERM:
		return -EROFS;
	case SQLITE_CANTOPEN:
		return -EACCES;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return -EUCLEAN;
	default:
		return -EIO;
	}
}

/* SQLite would make the file readable for others; its log takes the file's mode. */
static int make_file(const char *path, struct err *e)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0)
		return err_set(e, ERR_HOST, -errno, "%s: %s", path, strerror(errno));
	close(fd);
	return 0;
}

int store_open_db(const char *path, bool make, sqlite3 **ret_db, struct err *e)
{
	sqlite3 *db = NULL;
	int r = make ? make_file(path, e) : 0;
	int rc;

	if (r)
		return r;
	rc = sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
	/* Exclusive before the first access: the write-ahead log's index is then kept in memory and
	 * the lock stays until the end (sqlite.org/wal.html, §6). */
	if (rc == SQLITE_OK)
		rc = sqlite3_exec(db,
			"PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL;"
			"PRAGMA synchronous = FULL; PRAGMA cache_size = -1024;"
			"BEGIN IMMEDIATE; COMMIT",
			NULL, NULL, NULL);
	if (rc == SQLITE_OK) {
		*ret_db = db;
		return 0;
	}
	if ((rc & 0xff) == SQLITE_BUSY)
		r = err_set(e, ERR_CONFLICT, -EBUSY, "%s: another process has it open", path);
	else
		r = err_set(e, ERR_HOST, store_error(rc), "%s: %s", path, sqlite3_errmsg(db));
	sqlite3_close(db);
	return r;
}

static int load_revision(struct store *s)
{
	sqlite3_stmt *st = NULL;
	int rc = sqlite3_prepare_v2(
		s->db, "SELECT value FROM counter WHERE name = 'revision'", -1, &st, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_step(st);
	if (rc == SQLITE_ROW)
		s->revision = s->saved = (uint64_t)sqlite3_column_int64(st, 0);
	sqlite3_finalize(st);
	return rc == SQLITE_DONE ? -EUCLEAN : store_error(rc);
}

static int prepare_all(struct store *s)
{
	int rc = SQLITE_OK;

	for (unsigned i = 0; rc == SQLITE_OK && i < ST_COUNT; i++)
		rc = sqlite3_prepare_v3(
			s->db, statements[i], -1, SQLITE_PREPARE_PERSISTENT, &s->st[i], NULL);
	return store_error(rc);
}

int store_open(const char *path, struct store **ret_store, struct err *e)
{
	struct store *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return err_set(e, ERR_HOST, -ENOMEM, "%s: no memory", path);
	r = store_open_db(path, true, &s->db, e);
	if (!r)
		r = schema_apply(s->db, path, e);
	if (!r) {
		r = prepare_all(s);
		if (!r)
			r = load_revision(s);
		if (r)
			err_set(e, ERR_HOST, r, "%s: %s", path, sqlite3_errmsg(s->db));
	}
	if (r) {
		store_close(s);
		return r;
	}
	*ret_store = s;
	return 0;
}

void store_close(struct store *s)
{
	if (!s)
		return;
	store_rollback(s);
	for (unsigned i = 0; i < ST_COUNT; i++)
		sqlite3_finalize(s->st[i]);
	sqlite3_close(s->db);
	free(s);
}

/* ---- transactions ---- */

int store_run(struct store *s, enum statement st)
{
	int rc = sqlite3_step(s->st[st]);

	sqlite3_reset(s->st[st]);
	sqlite3_clear_bindings(s->st[st]);
	return store_error(rc);
}

void store_lazy(struct store *s)
{
	s->lazy = true;
}

/* sqlite.org/pragma.html#pragma_synchronous: with a write-ahead log NORMAL is whole and in order,
 * FULL also durable; a FULL commit syncs the log with all that came before. */
static int set_synchronous(struct store *s, bool relaxed)
{
	int rc = SQLITE_OK;

	if (s->relaxed != relaxed)
		rc = sqlite3_exec(s->db,
			relaxed ? "PRAGMA synchronous = NORMAL" : "PRAGMA synchronous = FULL", NULL,
			NULL, NULL);
	if (rc == SQLITE_OK)
		s->relaxed = relaxed;
	return store_error(rc);
}

int store_begin(struct store *s)
{
	int r;

	if (s->open)
		return -EALREADY;
	r = set_synchronous(s, s->lazy);
	s->lazy = false;
	if (!r)
		r = store_run(s, ST_BEGIN);
	if (r)
		return r;
	s->open = true;
	s->failed = 0;
	return 0;
}

int store_commit(struct store *s)
{
	int r;

	if (!s->open)
		return -EINVAL;
	r = s->failed;
	if (!r && s->revision != s->saved) {
		sqlite3_bind_int64(s->st[ST_REVISION], 1, (sqlite3_int64)s->revision);
		r = store_run(s, ST_REVISION);
	}
	if (!r)
		r = store_run(s, ST_COMMIT);
	if (r) {
		store_rollback(s);
		return r;
	}
	s->saved = s->revision;
	s->open = false;
	return 0;
}

void store_rollback(struct store *s)
{
	if (!s->open)
		return;
	store_run(s, ST_ROLLBACK); /* fails when SQLite already did: a full disk does that */
	s->revision = s->saved;
	s->open = false;
}

int scope_begin(struct store *s, bool *ret_own)
{
	bool own = !s->open;
	int r = own ? store_begin(s) : s->failed;

	if (!r)
		*ret_own = own;
	return r;
}

int scope_end(struct store *s, bool own, int result)
{
	if (own && !result)
		return store_commit(s);
	if (own)
		store_rollback(s);
	else if (result && result != -ESTALE && result != -ENOENT)
		s->failed = result;
	return result;
}

/* ---- documents ---- */

static int get(
	struct store *s, const char *kind, const char *id, uint64_t *ret_revision, json_t **ret_doc)
{
	sqlite3_stmt *st = s->st[ST_GET];
	json_t *doc = NULL;
	int rc, r;

	sqlite3_bind_text(st, 1, kind, -1, SQLITE_STATIC);
	sqlite3_bind_text(st, 2, id, -1, SQLITE_STATIC);
	rc = sqlite3_step(st);
	r = rc == SQLITE_DONE ? -ENOENT : store_error(rc);
	if (rc == SQLITE_ROW && ret_doc) {
		doc = json_loadb((const char *)sqlite3_column_text(st, 1),
			(size_t)sqlite3_column_bytes(st, 1), 0, NULL);
		if (!doc)
			r = -EUCLEAN;
	}
	if (!r && ret_revision)
		*ret_revision = (uint64_t)sqlite3_column_int64(st, 0);
	if (!r && ret_doc)
		*ret_doc = doc;
	sqlite3_reset(st);
	sqlite3_clear_bindings(st);
	return r;
}

int store_get(
	struct store *s, const char *kind, const char *id, json_t **ret_doc, uint64_t *ret_revision)
{
	return get(s, kind, id, ret_revision, ret_doc);
}

static int check_revision(struct store *s, const char *kind, const char *id, uint64_t expect)
{
	uint64_t now = 0;
	int r;

	if (expect == STORE_ANY)
		return 0;
	r = get(s, kind, id, &now, NULL);
	if (r && r != -ENOENT)
		return r;
	return now == expect ? 0 : -ESTALE;
}

static int put(struct store *s, const char *kind, const char *id, const char *text, uint64_t expect)
{
	sqlite3_stmt *st = s->st[ST_PUT];
	int r = check_revision(s, kind, id, expect);

	if (r)
		return r;
	sqlite3_bind_text(st, 1, kind, -1, SQLITE_STATIC);
	sqlite3_bind_text(st, 2, id, -1, SQLITE_STATIC);
	sqlite3_bind_int64(st, 3, (sqlite3_int64)(s->revision + 1));
	sqlite3_bind_text(st, 4, text, -1, SQLITE_STATIC);
	r = store_run(s, ST_PUT);
	if (!r)
		s->revision++;
	return r;
}

int store_put(struct store *s, const char *kind, const char *id, const json_t *doc, uint64_t expect,
	uint64_t *ret_revision)
{
	cleanup_free char *text = json_dumps(doc, JSON_COMPACT);
	bool own = false;
	uint64_t revision;
	int r;

	if (!text)
		return -ENOMEM;
	r = scope_begin(s, &own);
	if (r)
		return r;
	r = put(s, kind, id, text, expect);
	revision = s->revision;
	r = scope_end(s, own, r);
	if (!r && ret_revision)
		*ret_revision = revision;
	return r;
}

static int delete (struct store *s, const char *kind, const char *id, uint64_t expect)
{
	sqlite3_stmt *st = s->st[ST_DELETE];
	int r = check_revision(s, kind, id, expect);

	if (r)
		return r;
	sqlite3_bind_text(st, 1, kind, -1, SQLITE_STATIC);
	sqlite3_bind_text(st, 2, id, -1, SQLITE_STATIC);
	r = store_run(s, ST_DELETE);
	if (r)
		return r;
	if (!sqlite3_changes(s->db))
		return -ENOENT;
	s->revision++;
	return 0;
}

int store_delete(struct store *s, const char *kind, const char *id, uint64_t expect)
{
	bool own = false;
	int r = scope_begin(s, &own);

	if (r)
		return r;
	return scope_end(s, own, delete (s, kind, id, expect));
}

int store_each(struct store *s, const char *kind,
	int (*each)(void *arg, const char *id, json_t *doc, uint64_t revision), void *arg)
{
	sqlite3_stmt *st = NULL;
	int r = store_error(sqlite3_prepare_v2(s->db,
		"SELECT id, revision, doc FROM doc WHERE kind = ?1 ORDER BY id", -1, &st, NULL));
	int rc = SQLITE_DONE;

	if (r)
		return r;
	sqlite3_bind_text(st, 1, kind, -1, SQLITE_STATIC);
	while (!r && (rc = sqlite3_step(st)) == SQLITE_ROW) {
		json_t *doc = json_loadb((const char *)sqlite3_column_text(st, 2),
			(size_t)sqlite3_column_bytes(st, 2), 0, NULL);

		r = doc ? each(arg, (const char *)sqlite3_column_text(st, 0), doc,
				  (uint64_t)sqlite3_column_int64(st, 1))
			: -EUCLEAN;
		json_decref(doc);
	}
	if (!r)
		r = store_error(rc);
	sqlite3_finalize(st);
	return r;
}
