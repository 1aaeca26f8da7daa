/* SPDX-License-Identifier: Apache-2.0 */
/* Backup and restore: whole copies by VACUUM INTO (sqlite.org/lang_vacuum.html), which reads one
 * state of the database however much is written meanwhile and leaves a file without a log beside
 * it. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "cloud/store/store_internal.h"
#include "vmm/base/cleanup.h"

static int sync_path(const char *path, int flags)
{
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | flags);

	return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

static int sync_with_folder(const char *path)
{
	cleanup_free char *folder = strdup(path);
	char *slash = folder ? strrchr(folder, '/') : NULL;
	int r = sync_path(path, 0);

	if (!folder)
		return -ENOMEM;
	if (slash)
		slash[slash == folder] = '\0';
	return r ? r : sync_path(slash ? folder : ".", O_DIRECTORY);
}

/* A new, empty file is what VACUUM INTO takes; made here it has the right mode and is surely ours.
 */
static int copy_into(sqlite3 *db, const char *path, struct err *e)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	char *sql;
	int rc, r;

	if (fd < 0)
		return err_set(e, errno == EEXIST ? ERR_CONFLICT : ERR_HOST, -errno, "path: %s: %s",
			path, strerror(errno));
	close(fd);
	sql = sqlite3_mprintf("VACUUM INTO %Q", path);
	rc = sql ? sqlite3_exec(db, sql, NULL, NULL, NULL) : SQLITE_NOMEM;
	sqlite3_free(sql);
	r = rc == SQLITE_OK ? sync_with_folder(path) : store_error(rc);
	if (!r)
		return 0;
	err_set(e, ERR_HOST, r, "%s: %s", path,
		rc == SQLITE_OK ? strerror(-r) : sqlite3_errmsg(db));
	unlink(path);
	return r;
}

int store_backup(struct store *s, const char *path, struct err *e)
{
	if (s->open)
		return err_set(e, ERR_CONFLICT, -EBUSY, "%s: a transaction is open", path);
	return copy_into(s->db, path, e);
}

/* ---- restore ---- */

static int check_whole(sqlite3 *db, const char *path, struct err *e)
{
	sqlite3_stmt *st = NULL;
	int rc = sqlite3_prepare_v2(db, "PRAGMA integrity_check(1)", -1, &st, NULL);
	bool ok = rc == SQLITE_OK && sqlite3_step(st) == SQLITE_ROW &&
		  !strcmp((const char *)sqlite3_column_text(st, 0), "ok");

	sqlite3_finalize(st);
	return ok ? 0 : err_set(e, ERR_HOST, -EUCLEAN, "%s: the database is damaged", path);
}

/* Says when in ("meta", "restored"), for whoever must first ask what has happened since. */
static int leap(sqlite3 *db)
{
	char sql[512];

	snprintf(sql, sizeof(sql),
		"BEGIN; UPDATE counter SET value = value + %d WHERE name = 'revision';"
		"UPDATE sqlite_sequence SET seq = seq + %d;"
		"INSERT OR REPLACE INTO doc SELECT 'meta', 'restored', value,"
		"  json_object('at', strftime('%%Y-%%m-%%dT%%H:%%M:%%fZ', 'now'))"
		"  FROM counter WHERE name = 'revision'; COMMIT; PRAGMA journal_mode = DELETE",
		RESTORE_LEAP, RESTORE_LEAP);
	return store_error(sqlite3_exec(db, sql, NULL, NULL, NULL));
}

/* The new file beside the old one, checked and migrated. */
static int prepare_copy(const char *backup, const char *fresh, struct err *e)
{
	sqlite3 *from = NULL, *to = NULL;
	int rc = sqlite3_open_v2(backup, &from, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL);
	int r;

	if (rc != SQLITE_OK) {
		r = err_set(e, ERR_USAGE, store_error(rc), "%s: %s", backup, sqlite3_errmsg(from));
		sqlite3_close(from);
		return r;
	}
	unlink(fresh); /* left by one that was killed */
	r = check_whole(from, backup, e);
	if (!r)
		r = copy_into(from, fresh, e);
	sqlite3_close(from);
	if (!r)
		r = store_open_db(fresh, false, &to, e);
	if (!r)
		r = schema_apply(to, backup, e);
	if (!r) {
		r = leap(to);
		if (r)
			err_set(e, ERR_HOST, r, "%s: %s", fresh, sqlite3_errmsg(to));
	}
	sqlite3_close(to);
	return r ? r : sync_with_folder(fresh);
}

static char *with_suffix(const char *path, const char *suffix)
{
	char *name;

	return asprintf(&name, "%s%s", path, suffix) < 0 ? NULL : name;
}

/* The old file's log must not be read into the new one: closing the last connection deletes it;
 * that of a file that does not open is deleted here. */
static int replace(const char *fresh, const char *path, struct err *e)
{
	cleanup_free char *log = with_suffix(path, "-wal");
	sqlite3 *old = NULL;
	/* A damaged file is a reason to restore; one that is in use is not. */
	int r = store_open_db(path, true, &old, NULL);

	if (r == -EBUSY)
		return err_set(e, ERR_CONFLICT, r, "%s: another process has it open", path);
	sqlite3_close(old);
	if (!log)
		return err_set(e, ERR_HOST, -ENOMEM, "%s: no memory", path);
	if (unlink(log) < 0 && errno != ENOENT)
		return err_set(e, ERR_HOST, -errno, "%s: %s", log, strerror(errno));
	if (rename(fresh, path) < 0)
		return err_set(e, ERR_HOST, -errno, "%s: %s", path, strerror(errno));
	return sync_with_folder(path);
}

int store_restore(const char *backup, const char *path, struct err *e)
{
	cleanup_free char *fresh = with_suffix(path, ".restored");
	cleanup_free char *log = with_suffix(path, ".restored-wal");
	int r;

	if (!fresh || !log)
		return err_set(e, ERR_HOST, -ENOMEM, "%s: no memory", path);
	r = prepare_copy(backup, fresh, e);
	if (!r)
		r = replace(fresh, path, e);
	if (r) {
		unlink(fresh);
		unlink(log);
	}
	return r;
}
