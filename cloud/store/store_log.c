/* SPDX-License-Identifier: Apache-2.0 */
/* The two logs, of events and of who did what: rows with a number that only grows, the oldest
 * deleted with each new one, so neither the file nor a start's work grows without bound. */
#include "cloud/store/store_internal.h"
#include <stdlib.h>
#include "vmm/base/cleanup.h"

static int append(struct store *s, enum statement add, enum statement trim, const char *text,
	const char *target, uint64_t *ret_seq)
{
	sqlite3_int64 seq;
	int r;

	sqlite3_bind_text(s->st[add], 1, text, -1, SQLITE_STATIC);
	if (target)
		sqlite3_bind_text(s->st[add], 2, target, -1, SQLITE_STATIC);
	r = store_run(s, add);
	if (r)
		return r;
	seq = sqlite3_last_insert_rowid(s->db);
	sqlite3_bind_int64(s->st[trim], 1, seq - STORE_KEEP);
	r = store_run(s, trim);
	if (!r)
		*ret_seq = (uint64_t)seq;
	return r;
}

static int append_doc(struct store *s, enum statement add, enum statement trim, const json_t *doc,
	const char *target, uint64_t *ret_seq)
{
	cleanup_free char *text = json_dumps(doc, JSON_COMPACT);
	bool own = false;
	uint64_t seq = 0;
	int r;

	if (!text)
		return -ENOMEM;
	r = scope_begin(s, &own);
	if (r)
		return r;
	r = scope_end(s, own, append(s, add, trim, text, target, &seq));
	if (!r && ret_seq)
		*ret_seq = seq;
	return r;
}

int store_event(struct store *s, const json_t *event, uint64_t *ret_seq)
{
	return append_doc(s, ST_EVENT, ST_EVENT_TRIM, event,
		json_string_value(json_object_get(event, "id")), ret_seq);
}

int store_audit(struct store *s, const json_t *row)
{
	if (!s->open)
		store_lazy(s);
	return append_doc(s, ST_AUDIT, ST_AUDIT_TRIM, row, NULL, NULL);
}

struct walk {
	int (*each)(void *arg, uint64_t seq, json_t *doc);
	void *arg;
};

/* Steps through a SELECT of (seq, doc) and finalizes it. */
static int walk(sqlite3_stmt *st, const struct walk *w)
{
	int r = 0, rc = SQLITE_DONE;

	while (!r && (rc = sqlite3_step(st)) == SQLITE_ROW) {
		json_t *doc = json_loadb((const char *)sqlite3_column_text(st, 1),
			(size_t)sqlite3_column_bytes(st, 1), 0, NULL);

		r = doc ? w->each(w->arg, (uint64_t)sqlite3_column_int64(st, 0), doc) : -EUCLEAN;
		json_decref(doc);
	}
	if (!r)
		r = store_error(rc);
	sqlite3_finalize(st);
	return r;
}

static int select_rows(struct store *s, const char *sql, sqlite3_stmt **ret_st)
{
	return store_error(sqlite3_prepare_v2(s->db, sql, -1, ret_st, NULL));
}

int store_events_since(struct store *s, uint64_t seq,
	int (*each)(void *arg, uint64_t seq, json_t *event), void *arg)
{
	sqlite3_stmt *st;
	int r = select_rows(s, "SELECT seq, doc FROM event WHERE seq > ?1 ORDER BY seq", &st);

	if (r)
		return r;
	sqlite3_bind_int64(st, 1, seq > INT64_MAX ? INT64_MAX : (sqlite3_int64)seq);
	return walk(st, &(struct walk){each, arg});
}

int store_events_of(struct store *s, const char *id, unsigned limit,
	int (*each)(void *arg, uint64_t seq, json_t *event), void *arg)
{
	sqlite3_stmt *st;
	int r = select_rows(s,
		"SELECT seq, doc FROM (SELECT seq, doc FROM event WHERE target = ?1"
		" ORDER BY seq DESC LIMIT ?2) ORDER BY seq",
		&st);

	if (r)
		return r;
	sqlite3_bind_text(st, 1, id, -1, SQLITE_STATIC);
	sqlite3_bind_int64(st, 2, limit);
	return walk(st, &(struct walk){each, arg});
}

int store_audit_each(struct store *s, uint64_t before, unsigned limit,
	int (*each)(void *arg, uint64_t seq, json_t *row), void *arg)
{
	sqlite3_stmt *st;
	int r = select_rows(
		s, "SELECT seq, doc FROM audit WHERE seq < ?1 ORDER BY seq DESC LIMIT ?2", &st);

	if (r)
		return r;
	sqlite3_bind_int64(st, 1, before && before < INT64_MAX ? (sqlite3_int64)before : INT64_MAX);
	sqlite3_bind_int64(st, 2, limit);
	return walk(st, &(struct walk){each, arg});
}

static uint64_t one_number(struct store *s, const char *sql)
{
	sqlite3_stmt *st;
	uint64_t v = 0;

	if (select_rows(s, sql, &st))
		return 0;
	if (sqlite3_step(st) == SQLITE_ROW)
		v = (uint64_t)sqlite3_column_int64(st, 0);
	sqlite3_finalize(st);
	return v;
}

uint64_t store_oldest_event(struct store *s)
{
	return one_number(s, "SELECT coalesce(min(seq), 0) FROM event");
}

uint64_t store_newest_event(struct store *s)
{
	return one_number(s, "SELECT coalesce(max(seq), 0) FROM event");
}
