/* SPDX-License-Identifier: Apache-2.0 */
/* Desired to observed, over scripted nodes: single stories first, then random ones, in which
 * connections break, answers come in any order or not at all, hosts are fenced and control starts
 * anew. In none of them does an instance begin on a node while another one has it. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cloud/control/hosts_do.h"
#include "cloud/control/test_node.h"

static struct world w;

static void start(unsigned nodes)
{
	world_start(&w);
	for (unsigned i = 0; i < nodes; i++)
		node_connect(&w.node[i]);
	settle(&w);
}

static void stop(void)
{
	cr_expect_eq(w.doubled, 0);
	world_stop(&w);
}

static int on(const char *id)
{
	for (int i = 0; i < NODES; i++) {
		if (node_has(&w.node[i], id))
			return i;
	}
	return -1;
}

static const char *reason(const char *id)
{
	return doc_str(json_object_get(doc_of(&w, id), "observed"), "reason");
}

static const char *keep(char out[ID_LEN], const char *id)
{
	snprintf(out, ID_LEN, "%s", id);
	return out;
}

Test(reconcile, an_instance_runs_and_goes)
{
	char id[ID_LEN];
	start(1);
	keep(id, make(&w, "a", NULL));
	settle(&w);
	cr_expect_str_eq(observed(&w, id), "running");
	cr_expect_str_eq(doc_str(doc_of(&w, id), "host"), "n0");
	cr_expect_str_eq(doc_str(doc_of(&w, id), "chip"), "x86_64");
	cr_expect_eq(doc_num(doc_of(&w, id), "generation"), 1);
	cr_expect_eq(w.pushed, 1);
	struct has *h = node_has(&w.node[0], id);
	cr_assert_not_null(h);
	cr_expect_str_eq(doc_str(h->assignment, "kernel"), "sha256:kernel-x86_64");
	desire(&w, id, "stopped");
	settle(&w);
	cr_expect_str_eq(observed(&w, id), "stopped");
	desire(&w, id, "deleted");
	settle(&w);
	cr_expect_null(doc_of(&w, id));
	cr_expect_eq(w.node[0].n, 0);
	stop();
}

Test(reconcile, what_does_not_fit_waits_and_is_placed_when_a_host_comes)
{
	char id[ID_LEN];
	start(1);
	keep(id, make(&w, "a", "{\"chip\": \"arm64\", \"features\": [\"sve\"]}"));
	settle(&w);
	cr_expect_str_eq(observed(&w, id), "pending");
	cr_expect_str_eq(reason(id), "n0: chip x86_64, not arm64, has no feature sve");
	node_connect(&w.node[3]);
	settle(&w);
	cr_expect_str_eq(reason(id),
		"n0: chip x86_64, not arm64, has no feature sve; arm: has no feature sve");
	desire(&w, id, "deleted");
	keep(id, make(&w, "b", "{\"chip\": \"arm64\"}"));
	settle(&w);
	cr_expect_eq(on(id), 3);
	stop();
}

Test(reconcile, a_second_connection_tells_everything_again)
{
	char id[ID_LEN];
	start(1);
	keep(id, make(&w, "a", NULL));
	settle(&w);
	unsigned puts = w.node[0].puts;
	node_cut(&w.node[0]);
	settle(&w);
	cr_expect_str_eq(observed(&w, id), "unknown");
	desire(&w, id, "stopped");
	settle(&w);
	cr_expect_str_eq(observed(&w, id), "unknown");
	node_connect(&w.node[0]);
	settle(&w);
	cr_expect_str_eq(observed(&w, id), "stopped");
	cr_expect_eq(w.node[0].puts, puts + 1);
	stop();
}

Test(reconcile, an_offline_host_keeps_its_instances)
{
	char id[ID_LEN], no[ID_LEN];
	start(2);
	keep(id, make(&w, "a", NULL));
	settle(&w);
	int at = on(id);
	node_cut(&w.node[at]);
	settle(&w);
	cr_expect_eq(on(id), at);
	cr_expect_eq(copies(&w, id), 1);
	/* A new one goes to the other. */
	keep(no, make(&w, "b", NULL));
	settle(&w);
	cr_expect_eq(on(no), !at);
	/* A delete waits for the host. */
	desire(&w, id, "deleted");
	settle(&w);
	cr_expect_not_null(doc_of(&w, id));
	cr_expect_str_eq(observed(&w, id), "deleting");
	node_connect(&w.node[at]);
	settle(&w);
	cr_expect_null(doc_of(&w, id));
	cr_expect_eq(on(id), -1);
	stop();
}

Test(reconcile, a_fenced_host_loses_its_instances)
{
	char id[ID_LEN], gone[ID_LEN];
	start(2);
	keep(id, make(&w, "a", "{\"pin\": \"n0\"}"));
	keep(gone, make(&w, "b", "{\"pin\": \"n0\"}"));
	settle(&w);
	cr_assert_eq(on(id), 0);
	hosts_fence(call_as(&w, "{\"confirm\": true}"), host_of(&w, 0));
	cr_expect_eq(w.status, 409); /* it is connected */
	node_cut(&w.node[0]);
	settle(&w);
	hosts_fence(call_as(&w, "{\"confirm\": false}"), host_of(&w, 0));
	cr_expect_eq(w.status, 400);
	desire(&w, gone, "deleted");
	json_t *doc = json_deep_copy(doc_of(&w, id));
	json_object_del(doc, "pin");
	struct change c = {.actor = "test"};
	obj_put(w.c.objects, KIND_INSTANCE, doc, &c, NULL);
	w.node[0].dead = true;
	hosts_fence(call_as(&w, "{\"confirm\": true}"), host_of(&w, 0));
	cr_expect_eq(w.status, 200);
	settle(&w);
	cr_expect_null(doc_of(&w, gone));
	cr_expect_not_null(node_has(&w.node[1], id));
	cr_expect_eq(doc_num(doc_of(&w, id), "generation"), 2);
	/* It comes back and still has both: they are deleted there, the new one stays. */
	node_connect(&w.node[0]);
	settle(&w);
	cr_expect_eq(w.node[0].n, 0);
	cr_expect_not_null(node_has(&w.node[1], id));
	hosts_uncordon(call_as(&w, NULL), host_of(&w, 0));
	cr_expect_str_eq(doc_str(host_of(&w, 0)->doc, "state"), "online");
	stop();
}

Test(reconcile, a_move_stops_releases_and_starts_elsewhere)
{
	char id[ID_LEN];
	start(2);
	keep(id, make(&w, "a", NULL));
	settle(&w);
	int at = on(id);
	instance_move(call_as(&w, NULL), obj_get(w.c.objects, KIND_INSTANCE, id));
	cr_assert_eq(w.status, 202);
	char op[ID_LEN];
	keep(op, doc_str(w.answer, "id"));
	settle(&w);
	cr_expect_eq(on(id), !at);
	cr_expect_eq(copies(&w, id), 1);
	cr_expect_str_eq(observed(&w, id), "running");
	cr_expect_eq(doc_num(doc_of(&w, id), "generation"), 2);
	cr_expect_str_eq(doc_str(obj_get(w.c.objects, KIND_OPERATION, op)->doc, "state"), "done");
	/* Nowhere to go. */
	node_cut(&w.node[at]);
	settle(&w);
	instance_move(call_as(&w, NULL), obj_get(w.c.objects, KIND_INSTANCE, id));
	cr_expect_eq(w.status, 409);
	stop();
}

Test(reconcile, a_drain_moves_or_names_what_blocks)
{
	char id[ID_LEN], root[ID_LEN], op[ID_LEN];
	start(2);
	hosts_cordon(call_as(&w, NULL), host_of(&w, 1));
	keep(id, make(&w, "a", NULL));
	settle(&w);
	cr_assert_eq(on(id), 0);
	hosts_uncordon(call_as(&w, NULL), host_of(&w, 1));
	hosts_drain(call_as(&w, NULL), host_of(&w, 0));
	cr_assert_eq(w.status, 202);
	keep(op, doc_str(w.answer, "id"));
	settle(&w);
	cr_expect_eq(on(id), 1);
	cr_expect_str_eq(doc_str(host_of(&w, 0)->doc, "state"), "cordoned");
	cr_expect_str_eq(doc_str(obj_get(w.c.objects, KIND_OPERATION, op)->doc, "state"), "done");
	hosts_uncordon(call_as(&w, NULL), host_of(&w, 0));
	w.has_root = true;
	keep(root, make(&w, "b", "{\"pin\": \"n0\"}"));
	settle(&w);
	hosts_drain(call_as(&w, NULL), host_of(&w, 0));
	keep(op, doc_str(w.answer, "id"));
	settle(&w);
	json_t *o = obj_get(w.c.objects, KIND_OPERATION, op)->doc;
	cr_expect_str_eq(doc_str(o, "state"), "failed");
	cr_expect_str_eq(doc_str(o, "error"), "1 stay: b: its root disk is on host n0");
	cr_expect_eq(on(root), 0);
	stop();
}

Test(reconcile, volumes_carry_a_generation_and_hold_their_instance)
{
	char id[ID_LEN], two[ID_LEN];
	start(2);
	struct change c = {.actor = "test"};
	obj_put(w.c.objects, KIND_VOLUME,
		json_pack("{s:s, s:s, s:s, s:i, s:i, s:n, s:n, s:s}", "id", "v-00000001", "name",
			"v", "project", "default", "size_mib", 64, "generation", 0, "attached_to",
			"host_id", "state", "available"),
		&c, NULL);
	keep(id, make(&w, "a", "{\"disks\": [{\"volume\": \"v-00000001\"}]}"));
	settle(&w);
	int at = on(id);
	cr_assert_geq(at, 0);
	cr_expect_eq(json_integer_value(json_object_get(w.node[at].volumes, "v-00000001")), 1);
	keep(two, make(&w, "b", "{\"disks\": [{\"volume\": \"v-00000001\"}]}"));
	settle(&w);
	cr_expect_str_eq(reason(two), "volume v is attached to another instance");
	desire(&w, id, "deleted");
	settle(&w);
	/* The other one gets it, where its data is, by a newer generation. */
	cr_expect_eq(on(two), at);
	cr_expect_eq(json_integer_value(json_object_get(w.node[at].volumes, "v-00000001")), 2);
	desire(&w, two, "deleted");
	settle(&w);
	struct obj *v = obj_get(w.c.objects, KIND_VOLUME, "v-00000001");
	json_t *doc = json_deep_copy(v->doc);
	doc_set_str(doc, "state", "deleting");
	obj_put(w.c.objects, KIND_VOLUME, doc, &c, NULL);
	settle(&w);
	cr_expect_null(obj_get(w.c.objects, KIND_VOLUME, "v-00000001"));
	cr_expect_eq(json_object_size(w.node[at].volumes), 0);
	stop();
}

Test(reconcile, a_node_that_refuses_is_asked_again)
{
	char id[ID_LEN];
	start(1);
	w.node[0].refuse = true;
	keep(id, make(&w, "a", NULL));
	for (int i = 0; i < 100 && w.node[0].puts < 2; i++)
		ev_run_once(w.c.loop, 20);
	cr_expect_str_eq(reason(id), "host n0: the node says 507");
	w.node[0].refuse = false;
	settle(&w);
	cr_expect_str_eq(observed(&w, id), "running");
	stop();
}

Test(reconcile, an_older_backup_adopts_what_runs)
{
	char old[ID_LEN], late[ID_LEN], cmd[400];
	start(2);
	keep(old, make(&w, "old", NULL));
	settle(&w);
	int was = on(old);
	control_stop(&w);
	snprintf(cmd, sizeof(cmd), "cp -r %s/db %s/backup", w.dir, w.dir);
	cr_assert_eq(system(cmd), 0);
	control_start(&w);
	node_connect(&w.node[0]);
	node_connect(&w.node[1]);
	settle(&w);
	keep(late, make(&w, "late", NULL));
	instance_move(call_as(&w, NULL), obj_get(w.c.objects, KIND_INSTANCE, old));
	settle(&w);
	cr_assert_eq(on(old), !was);
	int late_on = on(late);
	control_stop(&w);
	snprintf(cmd, sizeof(cmd), "rm -f %s/db*; cp -r %s/backup %s/db", w.dir, w.dir, w.dir);
	cr_assert_eq(system(cmd), 0);
	/* As a restore says. */
	struct err e = {0};
	snprintf(cmd, sizeof(cmd), "%s/db", w.dir);
	cr_assert_eq(store_open(cmd, &w.c.store, &e), 0);
	json_t *at = json_pack("{s:s}", "at", "9999");
	store_put(w.c.store, "meta", "restored", at, STORE_ANY, NULL);
	json_decref(at);
	store_close(w.c.store);
	control_start(&w);
	/* The host that the backup names comes first, and has not got it: nothing is started. */
	node_connect(&w.node[was]);
	settle(&w);
	cr_expect_eq(on(old), !was);
	cr_expect_eq(copies(&w, old), 1);
	node_connect(&w.node[!was]);
	settle(&w);
	cr_expect_eq(copies(&w, old), 1);
	cr_expect_str_eq(doc_str(doc_of(&w, old), "host"), w.node[!was].name);
	cr_expect_eq(doc_num(doc_of(&w, old), "generation"), 2);
	cr_assert_not_null(doc_of(&w, late));
	cr_expect_str_eq(doc_str(doc_of(&w, late), "name"), "late");
	cr_expect_str_eq(observed(&w, late), "running");
	cr_expect_eq(on(late), late_on);
	desire(&w, late, "deleted");
	settle(&w);
	cr_expect_eq(on(late), -1);
	stop();
}

/* A node that says of another's instance and volume whatever it likes. */
Test(reconcile, a_node_touches_only_its_own)
{
	char id[ID_LEN];
	start(2);
	struct change c = {.actor = "test"};
	obj_put(w.c.objects, KIND_VOLUME,
		json_pack("{s:s, s:s, s:s, s:i, s:i, s:n, s:n, s:s}", "id", "v-00000001", "name",
			"v", "project", "default", "size_mib", 64, "generation", 0, "attached_to",
			"host_id", "state", "available"),
		&c, NULL);
	keep(id, make(&w, "a", "{\"pin\": \"n0\", \"disks\": [{\"volume\": \"v-00000001\"}]}"));
	settle(&w);
	cr_assert_eq(on(id), 0);
	struct has lie = *node_has(&w.node[0], id);
	json_incref(lie.assignment);
	lie.generation = 7;
	snprintf(lie.state, sizeof(lie.state), "crashed");
	/* While it is connected: of the right generation, of a later one. */
	node_report(&w.node[1], &lie);
	lie.generation = 1;
	node_report(&w.node[1], &lie);
	settle(&w);
	cr_expect_str_eq(observed(&w, id), "running");
	/* And as what it has when it comes. */
	lie.generation = 7;
	node_cut(&w.node[1]);
	settle(&w);
	w.node[1].has[w.node[1].n++] = lie;
	json_object_set_new(w.node[1].volumes, "v-00000001", json_integer(99));
	node_connect(&w.node[1]);
	settle(&w);
	cr_expect_str_eq(doc_str(doc_of(&w, id), "host"), "n0");
	cr_expect_eq(doc_num(doc_of(&w, id), "generation"), 1);
	cr_expect_str_eq(observed(&w, id), "running");
	cr_expect_eq(
		doc_num(obj_get(w.c.objects, KIND_VOLUME, "v-00000001")->doc, "generation"), 1);
	cr_expect_not_null(node_has(&w.node[0], id));
	cr_expect_eq(w.node[0].deletes, 0);
	stop();
}

static void put_host(const char *id, const char *features)
{
	struct change c = {.actor = "test"};
	json_t *doc = json_pack("{s:s, s:s, s:s, s:s, s:b, s:i, s:i, s:o}", "id", id, "name", id,
		"chip", "arm64", "state", "online", "connected", 1, "cores", 4, "memory_mib", 4096,
		"features", json_loads(features, 0, NULL));
	cr_assert_eq(obj_put(w.c.objects, KIND_HOST, doc, &c, NULL), 0);
}

Test(reconcile, a_pool_promises_only_what_all_its_hosts_have)
{
	char id[ID_LEN];
	struct change c = {.actor = "test"};
	start(0);
	put_host("h-00000001", "[\"sve\", \"asimd\", \"asimd\"]");
	put_host("h-00000002", "[\"asimd\", \"crc32\"]");
	obj_put(w.c.objects, KIND_POOL,
		json_pack("{s:s, s:s, s:[s,s]}", "id", "l-00000001", "name", "old", "hosts",
			"h-00000001", "h-00000002"),
		&c, NULL);
	json_t *shared = fleet_pool_baseline(w.c.reconciler->fleet, "old");
	json_t *want = json_pack("{s:[s]}", "arm64", "asimd");
	cr_expect(json_equal(shared, want));
	json_decref(shared);
	json_decref(want);
	keep(id, make(&w, "a", "{\"features\": [\"sve\"], \"pool\": \"old\"}"));
	settle(&w);
	cr_expect_str_eq(reason(id),
		"h-00000001: has feature sve, but the baseline of its pool old has not; "
		"h-00000002: has no feature sve");
	/* The weaker host leaves the fleet: what is left has it. */
	obj_delete(w.c.objects, obj_get(w.c.objects, KIND_HOST, "h-00000002"), &c);
	settle(&w);
	cr_expect_str_eq(doc_str(doc_of(&w, id), "host"), "h-00000001");
	stop();
}

/* ---- random stories ---- */

static void fence(unsigned i)
{
	struct node_script *n = &w.node[i];
	if (n->link || !host_of(&w, i) || n->dead)
		return;
	/* What the operator confirms is true. */
	n->dead = true;
	hosts_fence(call_as(&w, "{\"confirm\": true}"), host_of(&w, i));
	n->dead = w.status == 200;
}

static void back(unsigned i)
{
	struct node_script *n = &w.node[i];
	if (n->link)
		return;
	node_connect(n);
}

static void one_act(char ids[][ID_LEN], unsigned count, unsigned *made)
{
	const char *id = ids[(unsigned)rand() % count];
	unsigned i = (unsigned)rand() % 3;
	struct obj *o = obj_get(w.c.objects, KIND_INSTANCE, id);
	char name[16];
	switch (rand() % 12) {
	case 0:
	case 1:
		if (*made == count)
			break;
		snprintf(name, sizeof(name), "i%u", *made);
		keep(ids[(*made)++], make(&w, name, NULL));
		break;
	case 2:
		desire(&w, id, "deleted");
		break;
	case 3:
	case 4:
		if (o && strcmp(doc_state(o->doc, "desired"), "deleted"))
			desire(&w, id, rand() % 2 ? "stopped" : "running");
		break;
	case 5:
		if (o)
			instance_move(call_as(&w, NULL), o);
		break;
	case 6:
	case 7:
		if (w.node[i].link)
			node_cut(&w.node[i]);
		break;
	case 8:
		back(i);
		break;
	case 9:
		fence(i);
		break;
	case 10:
		if (host_of(&w, i) && !w.node[i].dead)
			hosts_drain(call_as(&w, NULL), host_of(&w, i));
		break;
	default:
		if (w.node[i].n)
			node_report(&w.node[i], &w.node[i].has[(unsigned)rand() % w.node[i].n]);
	}
}

static void check_end(char ids[][ID_LEN], unsigned made)
{
	for (unsigned k = 0; k < made; k++) {
		json_t *doc = doc_of(&w, ids[k]);
		const char *want = doc ? doc_state(doc, "desired") : "deleted";
		if (!strcmp(want, "deleted")) {
			cr_expect_eq(on(ids[k]), -1, "%s is left over", ids[k]);
			cr_expect_null(doc);
			continue;
		}
		int at = on(ids[k]);
		cr_assert_geq(at, 0, "%s is lost: %s", ids[k], reason(ids[k]));
		cr_expect_eq(copies(&w, ids[k]), 1);
		cr_expect_str_eq(doc_str(doc, "host"), w.node[at].name);
		cr_expect_eq(doc_num(doc, "generation"), node_has(&w.node[at], ids[k])->generation);
		cr_expect_str_eq(node_has(&w.node[at], ids[k])->state, want);
		cr_expect_str_eq(observed(&w, ids[k]), want);
	}
}

static void heal(void)
{
	for (unsigned i = 0; i < 3; i++) {
		struct node_script *n = &w.node[i];
		n->hold = false;
		while (n->nheld)
			node_release(n, 0);
		/* A fenced host comes back with nothing running, and is told what to forget. */
		if (!n->link)
			node_connect(n);
	}
	settle(&w);
	for (unsigned i = 0; i < 3; i++) {
		w.node[i].dead = false;
		hosts_uncordon(call_as(&w, NULL), host_of(&w, i));
	}
	settle(&w);
}

static void story(unsigned seed)
{
	static char ids[24][ID_LEN];
	unsigned made = 0;
	srand(seed);
	memset(ids, 0, sizeof(ids));
	start(3);
	for (unsigned k = 0; k < 3; k++)
		w.node[k].hold = rand() % 2;
	for (unsigned step = 0; step < 250; step++) {
		one_act(ids, 24, &made);
		for (int k = rand() % 6; k > 0; k--) {
			node_release(&w.node[rand() % 3], (unsigned)rand());
			ev_run_once(w.c.loop, 0);
		}
		if (rand() % 60 == 0) {
			control_stop(&w);
			control_start(&w);
		}
		cr_assert_eq(w.doubled, 0, "doubled at step %u of story %u", step, seed);
	}
	heal();
	check_end(ids, made);
	stop();
}

Test(reconcile, random_stories, .timeout = 300)
{
	for (unsigned seed = 1; seed <= 4; seed++)
		story(seed);
}
