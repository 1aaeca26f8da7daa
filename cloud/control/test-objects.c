/* SPDX-License-Identifier: Apache-2.0 */
/* Objects over a real store: what memory shows is what a reopening shows. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cloud/control/objects.h"

static char dir[64], path[80];
static struct store *store;
static struct objects *os;
static unsigned changes, deletions;

static void note(struct obj_watch *w, struct obj *o, bool deleted)
{
	cr_expect_not_null(json_object_get(o->doc, "id"));
	changes++;
	deletions += deleted;
}
static struct obj_watch watch;

static void open_all(void)
{
	struct err e = {0};

	cr_assert_eq(store_open(path, &store, &e), 0, "%s", e.text);
	cr_assert_eq(objects_new(store, &os, &e), 0, "%s", e.text);
	watch = (struct obj_watch){.changed = note};
	objects_watch(os, &watch);
}

static void close_all(void)
{
	objects_free(os);
	store_close(store);
}

static void init(void)
{
	strcpy(dir, "/tmp/objects-XXXXXX");
	cr_assert(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/db", dir);
	open_all();
}

static void fini(void)
{
	char cmd[96];

	close_all();
	snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
	cr_expect_eq(system(cmd), 0);
}

TestSuite(objects, .init = init, .fini = fini);

static int make(const char *project, const char *name, struct obj **ret)
{
	char id[32];
	struct change c = {.event = "created", .text = name, .actor = "test"};

	obj_new_id(KIND_INSTANCE, id);
	return obj_put(os, KIND_INSTANCE,
		json_pack("{s:s, s:s, s:s}", "id", id, "name", name, "project", project), &c, ret);
}

static int rename_to(struct obj *o, const char *name, uint64_t expect)
{
	json_t *doc = json_deep_copy(o->doc);

	json_object_set_new(doc, "name", json_string(name));
	return obj_put(os, KIND_INSTANCE, doc, &(struct change){.expect = expect}, NULL);
}

static struct obj *find(const char *project, const char *what)
{
	return obj_find(os, KIND_INSTANCE, project, what);
}

Test(objects, are_found_by_id_and_by_name_in_their_project)
{
	struct obj *a, *b;

	cr_assert_eq(make("p", "web", &a), 0);
	cr_assert_eq(make("q", "web", &b), 0);
	cr_expect_eq(make("p", "web", NULL), -EEXIST);
	cr_expect_eq(find("p", "web"), a);
	cr_expect_eq(find("q", "web"), b);
	cr_expect_eq(find("p", a->id), a);
	cr_expect_null(find("q", a->id), "another project's id");
	cr_expect_null(find("r", "web"));
	cr_expect_eq(find(NULL, a->id), a);
	cr_expect_null(find(NULL, "web"));
	cr_expect_eq(obj_count(os, KIND_INSTANCE), 2);
	cr_expect_null(json_object_get(a->doc, "missing"));
	cr_expect_not_null(json_object_get(a->doc, "created_at"));
}

Test(objects, a_change_needs_the_revision_that_was_read)
{
	struct obj *a;
	uint64_t first;

	cr_assert_eq(make("p", "a", &a), 0);
	first = a->revision;
	cr_expect_eq(rename_to(a, "b", first), 0);
	cr_expect_gt(a->revision, first);
	cr_expect_str_eq(a->name, "b");
	cr_expect_null(find("p", "a"), "the old name is free");
	cr_expect_eq(find("p", "b"), a);
	cr_expect_eq(rename_to(a, "c", first), -ESTALE);
	cr_expect_eq(obj_delete(os, a, &(struct change){.expect = first}), -ESTALE);
	cr_expect_eq(json_integer_value(json_object_get(a->doc, "revision")), a->revision);
	cr_expect_eq(obj_delete(os, a, NULL), 0);
	cr_expect_null(find("p", "b"));
	cr_expect_eq(changes, 3);
	cr_expect_eq(deletions, 1);
}

Test(objects, survive_a_reopening_in_order)
{
	char name[16];
	struct obj *o = NULL;
	uint64_t revision;

	for (int i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "n%02d", i);
		cr_assert_eq(make("p", name, &o), 0);
	}
	revision = o->revision;
	close_all();
	open_all();
	o = NULL;
	for (int i = 0; i < 100; i++) {
		o = obj_next(os, KIND_INSTANCE, o);
		snprintf(name, sizeof(name), "n%02d", i);
		cr_assert_str_eq(o->name, name);
	}
	cr_expect_null(obj_next(os, KIND_INSTANCE, o));
	cr_expect_eq(o->revision, revision);
	cr_expect_eq(find("p", "n42"), obj_find(os, KIND_INSTANCE, "p", find("p", "n42")->id));
}

Test(objects, a_rollback_brings_memory_back)
{
	struct obj *a, *b;
	uint64_t revision;

	cr_assert_eq(make("p", "a", &a), 0);
	cr_assert_eq(make("p", "b", &b), 0);
	revision = a->revision;
	cr_assert_eq(objects_begin(os), 0);
	cr_assert_eq(rename_to(a, "x", STORE_ANY), 0);
	cr_assert_eq(rename_to(a, "y", STORE_ANY), 0);
	cr_assert_eq(obj_delete(os, b, NULL), 0);
	cr_assert_eq(make("p", "new", NULL), 0);
	cr_expect_not_null(find("p", "y"));
	objects_rollback(os);
	cr_expect_eq(find("p", "a"), a);
	cr_expect_eq(a->revision, revision);
	cr_expect_not_null(find("p", "b"));
	cr_expect_null(find("p", "x"));
	cr_expect_null(find("p", "y"));
	cr_expect_null(find("p", "new"));
	cr_assert_eq(objects_begin(os), 0);
	cr_assert_eq(make("p", "new", NULL), 0);
	cr_assert_eq(objects_commit(os), 0);
	close_all();
	open_all();
	cr_expect_eq(obj_count(os, KIND_INSTANCE), 3);
	cr_expect_not_null(find("p", "new"));
}

static int keep_event(void *arg, uint64_t seq, json_t *event)
{
	json_array_append(arg, event);
	return 0;
}

Test(objects, a_change_that_is_worth_telling_is_an_event)
{
	json_t *events = json_array(), *e;
	struct obj *a;

	cr_assert_eq(make("p", "a", &a), 0);
	cr_assert_eq(rename_to(a, "b", STORE_ANY), 0);
	cr_assert_eq(store_events_since(store, 0, keep_event, events), 0);
	cr_assert_eq(json_array_size(events), 1);
	e = json_array_get(events, 0);
	cr_expect_str_eq(json_string_value(json_object_get(e, "kind")), "instance");
	cr_expect_str_eq(json_string_value(json_object_get(e, "event")), "created");
	cr_expect_str_eq(json_string_value(json_object_get(e, "id")), a->id);
	cr_expect_str_eq(json_string_value(json_object_get(e, "project")), "p");
	json_decref(events);
}

Test(objects, lazy_changes_are_there_too)
{
	struct obj *a;

	cr_assert_eq(make("p", "a", &a), 0);
	for (int i = 0; i < 50; i++) {
		json_t *doc = json_deep_copy(a->doc);

		json_object_set_new(doc, "i", json_integer(i));
		cr_assert_eq(
			obj_put(os, KIND_INSTANCE, doc, &(struct change){.lazy = true}, NULL), 0);
	}
	cr_assert_eq(make("p", "b", NULL), 0);
	close_all();
	open_all();
	cr_expect_eq(json_integer_value(json_object_get(find("p", "a")->doc, "i")), 49);
	cr_expect_not_null(find("p", "b"));
}

Test(objects, ids_sort_by_time)
{
	char a[32], b[32];

	obj_new_id(KIND_VOLUME, a);
	for (int i = 0; i < 1000; i++) {
		obj_new_id(KIND_VOLUME, b);
		cr_assert_lt(strcmp(a, b), 0, "%s %s", a, b);
		strcpy(a, b);
	}
	cr_expect_eq(strlen(a), 28);
	obj_now(a);
	cr_expect_eq(strlen(a), 24, "%s", a);
}

Test(objects, documents_without_what_they_need_are_refused)
{
	cr_expect_eq(obj_put(os, KIND_INSTANCE, json_pack("{s:s}", "id", "x"), NULL, NULL), -EINVAL,
		"no project");
	cr_expect_eq(obj_put(os, KIND_HOST, json_pack("{s:s}", "name", "x"), NULL, NULL), -EINVAL,
		"no id");
	cr_expect_eq(changes, 0);
}
