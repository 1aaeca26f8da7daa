/* SPDX-License-Identifier: Apache-2.0 */
/* The store over real files: what is committed is there after a reopening, what is not is not. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "cloud/store/store.h"

static char dir[64], path[80], copy[80];
static struct store *s;
static struct err e;

static void init(void)
{
	strcpy(dir, "/tmp/store-XXXXXX");
	cr_assert(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/db", dir);
	snprintf(copy, sizeof(copy), "%s/copy", dir);
	cr_assert_eq(store_open(path, &s, &e), 0, "%s", e.text);
}

static void fini(void)
{
	char cmd[96];

	store_close(s);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
	cr_expect_eq(system(cmd), 0);
}

TestSuite(store, .init = init, .fini = fini);

static void reopen(void)
{
	store_close(s);
	s = NULL;
	cr_assert_eq(store_open(path, &s, &e), 0, "%s", e.text);
}

static int put(const char *id, int value, uint64_t expect, uint64_t *rev)
{
	json_t *d = json_pack("{s:i}", "v", value);
	int r = store_put(s, "instance", id, d, expect, rev);

	json_decref(d);
	return r;
}

static int value(const char *id, uint64_t *rev)
{
	json_t *d = NULL;
	int r = store_get(s, "instance", id, &d, rev);

	if (!r)
		r = (int)json_integer_value(json_object_get(d, "v"));
	json_decref(d);
	return r;
}

Test(store, documents_survive)
{
	uint64_t a, b, rev;

	cr_assert_eq(put("i-1", 1, 0, &a), 0);
	cr_assert_eq(put("i-2", 2, STORE_ANY, &b), 0);
	cr_expect_gt(b, a);
	cr_expect_eq(put("i-1", 9, 0, NULL), -ESTALE, "it exists");
	cr_expect_eq(put("i-1", 9, b, NULL), -ESTALE, "that is another's revision");
	cr_expect_eq(put("i-3", 9, a, NULL), -ESTALE, "it does not exist");
	cr_assert_eq(put("i-1", 3, a, &a), 0);
	cr_expect_gt(a, b);
	reopen();
	cr_expect_eq(value("i-1", &rev), 3);
	cr_expect_eq(rev, a);
	cr_expect_eq(store_delete(s, "instance", "i-1", b), -ESTALE);
	cr_expect_eq(store_delete(s, "instance", "i-1", a), 0);
	cr_expect_eq(store_delete(s, "instance", "i-1", STORE_ANY), -ENOENT);
	cr_expect_eq(value("i-1", NULL), -ENOENT);
}

Test(store, revisions_never_come_twice)
{
	uint64_t a, b;

	cr_assert_eq(put("i-1", 1, 0, &a), 0);
	cr_assert_eq(store_delete(s, "instance", "i-1", STORE_ANY), 0);
	reopen();
	cr_assert_eq(put("i-1", 1, 0, &b), 0);
	cr_expect_gt(b, a + 1, "a deletion has a revision too");
}

Test(store, transactions_are_whole)
{
	cr_assert_eq(store_begin(s), 0);
	cr_expect_eq(store_begin(s), -EALREADY);
	cr_assert_eq(put("i-1", 1, 0, NULL), 0);
	cr_expect_eq(put("i-1", 1, 0, NULL), -ESTALE, "and that does not end it");
	cr_assert_eq(store_commit(s), 0);
	cr_assert_eq(store_begin(s), 0);
	cr_assert_eq(put("i-1", 2, STORE_ANY, NULL), 0);
	cr_assert_eq(put("i-2", 2, STORE_ANY, NULL), 0);
	store_rollback(s);
	cr_expect_eq(value("i-1", NULL), 1);
	cr_expect_eq(value("i-2", NULL), -ENOENT);
	cr_assert_eq(store_begin(s), 0);
	cr_assert_eq(put("i-1", 3, STORE_ANY, NULL), 0);
	reopen();
	cr_expect_eq(value("i-1", NULL), 1, "what was not committed is not there");
	cr_expect_eq(store_commit(s), -EINVAL);
}

static int join_ids(void *arg, const char *id, json_t *doc, uint64_t revision)
{
	strcat(arg, id);
	return json_integer_value(json_object_get(doc, "v")) == 7 ? 7 : 0;
}

Test(store, a_kind_is_walked_in_the_order_of_ids)
{
	char got[64] = "";

	put("b", 1, 0, NULL);
	put("a", 2, 0, NULL);
	put("c", 7, 0, NULL);
	put("d", 7, 0, NULL);
	cr_expect_eq(store_each(s, "instance", join_ids, got), 7);
	cr_expect_str_eq(got, "abc");
	cr_expect_eq(store_each(s, "volume", join_ids, got), 0);
}

static int count_events(void *arg, uint64_t seq, json_t *event)
{
	unsigned *n = arg;

	cr_expect(json_is_object(event));
	++*n;
	return 0;
}

static uint64_t event(const char *id)
{
	json_t *d = json_pack("{s:s}", "id", id);
	uint64_t seq = 0;

	cr_assert_eq(store_event(s, d, &seq), 0);
	json_decref(d);
	return seq;
}

Test(store, events_are_numbered_and_bounded)
{
	unsigned n = 0;
	uint64_t last = 0;

	cr_expect_eq(store_oldest_event(s), 0);
	cr_assert_eq(store_begin(s), 0);
	for (unsigned i = 0; i < STORE_KEEP + 10; i++)
		last = event(i % 1000 ? "i-1" : "i-2");
	cr_assert_eq(store_commit(s), 0);
	cr_expect_eq(last, STORE_KEEP + 10);
	cr_expect_eq(store_oldest_event(s), 11);
	cr_expect_eq(store_newest_event(s), last);
	cr_expect_eq(store_events_since(s, last - 5, count_events, &n), 0);
	cr_expect_eq(n, 5);
	n = 0;
	cr_expect_eq(store_events_of(s, "i-2", 100, count_events, &n), 0);
	cr_expect_eq(n, 20);
	n = 0;
	cr_expect_eq(store_events_of(s, "i-2", 3, count_events, &n), 0);
	cr_expect_eq(n, 3);
}

static int note_seq(void *arg, uint64_t seq, json_t *row)
{
	*(uint64_t *)arg = seq;
	return 0;
}

Test(store, audit_rows_come_newest_first)
{
	json_t *row = json_pack("{s:s}", "actor", "token:a");
	uint64_t seq = 0;

	for (unsigned i = 0; i < 5; i++)
		cr_assert_eq(store_audit(s, row), 0);
	json_decref(row);
	cr_expect_eq(store_audit_each(s, 0, 1, note_seq, &seq), 0);
	cr_expect_eq(seq, 5);
	cr_expect_eq(store_audit_each(s, 4, 2, note_seq, &seq), 0);
	cr_expect_eq(seq, 2);
}

Test(store, one_process_has_the_file)
{
	struct stat st;
	pid_t pid = fork();
	int status;

	if (!pid) {
		struct store *other = NULL;
		int r = store_open(path, &other, &e);

		_exit(r == -EBUSY && strstr(e.text, "another process") && !other ? 0 : 1);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_expect_eq(status, 0);
	cr_assert_eq(stat(path, &st), 0);
	cr_expect_eq(st.st_mode & 0777, 0600);
}

Test(store, other_files_are_refused)
{
	struct store *other = NULL;
	FILE *f = fopen(copy, "w");

	for (unsigned i = 0; i < 1000; i++)
		fputs("not a database ", f);
	fclose(f);
	cr_expect_eq(store_open(copy, &other, &e), -EUCLEAN);
	cr_expect(strstr(e.text, copy), "%s", e.text);
	cr_expect_null(other);
}

static void exec_on(const char *file, const char *sql)
{
	sqlite3 *db;

	cr_assert_eq(sqlite3_open(file, &db), SQLITE_OK);
	cr_assert_eq(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK, "%s", sqlite3_errmsg(db));
	sqlite3_close(db);
}

Test(store, newer_and_foreign_databases_are_refused)
{
	struct store *other = NULL;

	exec_on(copy, "CREATE TABLE t (a)");
	cr_expect_eq(store_open(copy, &other, &e), -EMEDIUMTYPE);
	e = (struct err){0};
	cr_assert_eq(store_backup(s, copy, &e), -EEXIST, "a backup replaces nothing");
	unlink(copy);
	e = (struct err){0};
	cr_assert_eq(store_backup(s, copy, &e), 0, "%s", e.text);
	exec_on(copy, "PRAGMA user_version = 99");
	cr_expect_eq(store_open(copy, &other, &e), -EPROTONOSUPPORT);
	cr_expect(strstr(e.text, "newer"), "%s", e.text);
}

/* What version 1 of the schema made, written down when version 2 came. */
static const char version_1[] =
	"CREATE TABLE doc (kind TEXT NOT NULL, id TEXT NOT NULL, revision INTEGER NOT NULL,"
	"  doc TEXT NOT NULL, PRIMARY KEY (kind, id)) WITHOUT ROWID;"
	"CREATE TABLE event (seq INTEGER PRIMARY KEY AUTOINCREMENT, doc TEXT NOT NULL);"
	"CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;"
	"INSERT INTO counter VALUES ('revision', 41);"
	"INSERT INTO doc VALUES ('instance', 'i-1', 41, '{\"v\":5}');"
	"INSERT INTO event (doc) VALUES ('{\"id\":\"i-1\"}');"
	"PRAGMA application_id = 1347830595; PRAGMA user_version = 1";

static void expect_migrated(void)
{
	unsigned n = 0;
	uint64_t rev = 0;
	json_t *row = json_object();

	cr_expect_eq(value("i-1", &rev), 5);
	cr_expect_eq(rev, 41);
	cr_expect_eq(store_events_of(s, "i-1", 10, count_events, &n), 0);
	cr_expect_eq(n, 1);
	cr_expect_eq(store_audit(s, row), 0);
	cr_expect_eq(put("i-2", 1, 0, &rev), 0);
	cr_expect_gt(rev, 41);
	json_decref(row);
}

Test(store, a_database_of_version_1_migrates)
{
	exec_on(copy, version_1);
	store_close(s);
	cr_assert_eq(store_open(copy, &s, &e), 0, "%s", e.text);
	expect_migrated();
}

Test(store, a_backup_of_version_1_restores)
{
	exec_on(copy, version_1);
	store_close(s);
	s = NULL;
	cr_assert_eq(store_restore(copy, path, &e), 0, "%s", e.text);
	reopen();
	expect_migrated();
}

Test(store, backup_and_restore)
{
	uint64_t rev, later;
	json_t *restored = NULL;
	struct stat st;

	cr_assert_eq(put("i-1", 1, 0, &rev), 0);
	cr_assert_eq(store_backup(s, copy, &e), 0, "%s", e.text);
	cr_assert_eq(stat(copy, &st), 0);
	cr_expect_eq(st.st_mode & 0777, 0600);
	cr_assert_eq(put("i-1", 2, STORE_ANY, &rev), 0);
	cr_assert_eq(put("i-2", 2, STORE_ANY, &rev), 0);
	store_close(s);
	s = NULL;
	cr_assert_eq(store_restore(copy, path, &e), 0, "%s", e.text);
	reopen();
	cr_expect_eq(value("i-1", NULL), 1);
	cr_expect_eq(value("i-2", NULL), -ENOENT);
	cr_assert_eq(put("i-3", 1, 0, &later), 0);
	cr_expect_gt(later, rev, "numbers of the lost time are not given again");
	cr_assert_eq(store_get(s, "meta", "restored", &restored, NULL), 0);
	cr_expect(json_is_string(json_object_get(restored, "at")));
	json_decref(restored);
}

Test(store, restore_leaves_the_running_and_the_good)
{
	pid_t pid;
	int status;

	cr_assert_eq(put("i-1", 1, 0, NULL), 0);
	cr_assert_eq(store_backup(s, copy, &e), 0);
	pid = fork();
	if (!pid)
		_exit(store_restore(copy, path, &e) == -EBUSY ? 0 : 1);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_expect_eq(status, 0, "the running one keeps its file");
	store_close(s);
	s = NULL;
	cr_assert_eq(truncate(copy, 5000), 0);
	cr_expect_lt(store_restore(copy, path, &e), 0, "a damaged backup replaces nothing");
	reopen();
	cr_expect_eq(value("i-1", NULL), 1);
}
