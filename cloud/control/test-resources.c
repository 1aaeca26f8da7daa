/* SPDX-License-Identifier: Apache-2.0 */
/* Each resource made, listed, changed, deleted, and refused. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include "cloud/control/operation.h"
#include "cloud/control/test_calls.h"
#include "vmm/base/num.h"

TestSuite(resources, .init = rig_init, .fini = rig_fini);

#define KEY                                                                                        \
	"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHRlc3QwMTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3 me@here"

static size_t listed(const char *path)
{
	cr_assert_eq(ask("GET", path, NULL), 200, "%s: %s", path, rig.text);
	return json_array_size(json_object_get(rig.answer, "items"));
}

Test(resources, a_first_start_makes_what_instances_need)
{
	cr_expect_eq(listed("/v1/projects"), 1);
	cr_expect_eq(listed("/v1/networks"), 1);
	cr_expect_eq(listed("/v1/flavors"), 4);
	cr_expect_eq(listed("/v1/keys"), 0);
	cr_assert_eq(ask("DELETE", "/v1/flavors/large", NULL), 204);
	rig_restart();
	cr_expect_eq(listed("/v1/flavors"), 3, "a later start makes nothing again");
	cr_expect_eq(listed("/v1/networks"), 1);
}

Test(resources, keys_are_taken_from_the_home)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/.ssh", getenv("HOME"));
	cr_assert_eq(mkdir(path, 0700), 0);
	snprintf(path, sizeof(path), "%s/.ssh/Id_ed25519.pub", getenv("HOME"));
	f = fopen(path, "w");
	fputs(KEY "\n", f);
	fclose(f);
	snprintf(path, sizeof(path), "%s/.ssh/broken.pub", getenv("HOME"));
	f = fopen(path, "w");
	fputs("ssh-ed25519 AAAA\n", f);
	fclose(f);
	cr_assert_eq(keys_from_home(rig.control.objects, getenv("HOME")), 0);
	cr_expect_eq(listed("/v1/keys"), 1);
	cr_assert_eq(ask("GET", "/v1/keys/id-ed25519", NULL), 200);
	cr_expect_str_eq(got("public_key"), KEY, "%s", got("public_key"));
}

Test(resources, a_name_and_an_image_are_enough)
{
	cr_assert_eq(ask("POST", "/v1/keys", "{'name':'k','public_key':'" KEY "'}"), 201);
	cr_assert_eq(
		ask("POST", "/v1/instances", "{'name':'a','image':'tiny'}"), 201, "%s", rig.text);
	cr_expect_str_eq(got("chip"), "any");
	cr_expect_str_eq(got("image_digest"), "sha256:index");
	cr_expect_str_eq(got("ip"), "10.64.0.2");
	cr_expect_eq(strncmp(got("mac"), "52:54:00:", 9), 0);
	cr_expect_str_eq(got("desired.state"), "running");
	cr_expect_str_eq(got("observed.state"), "pending");
	cr_expect_str_eq(got("restart"), "on-failure");
	cr_expect_eq(doc_int(rig.answer, "memory_mib"), 256);
	cr_expect_str_eq(
		json_string_value(json_array_get(json_object_get(rig.answer, "keys"), 0)), "k");
	cr_expect_eq(ask("POST", "/v1/instances", "{'name':'a','image':'tiny'}"), 409);
	cr_expect_str_eq(rig.field, "name");
	cr_expect_eq(listed("/v1/ports"), 1, "and the second left no port behind");
	rig_restart();
	cr_assert_eq(ask("GET", "/v1/instances/a", NULL), 200);
	cr_expect_str_eq(got("ip"), "10.64.0.2");
}

Test(resources, what_an_instance_names_must_be_there)
{
	static const struct {
		const char *body, *field;
		unsigned status;
	} wrong[] = {
		{"{'name':'a','image':'none'}", "image", 404},
		{"{'name':'a','image':'tiny','chip':'riscv64'}", "image", 409},
		{"{'name':'a','image':'tiny','chip':'mips'}", "chip", 400},
		{"{'name':'a','image':'tiny','flavor':'none'}", "flavor", 404},
		{"{'name':'a','image':'tiny','network':'none'}", "network", 404},
		{"{'name':'a','image':'tiny','keys':['none']}", "keys", 404},
		{"{'name':'a','image':'tiny','disks':[{'volume':'none'}]}", "disks", 404},
		{"{'name':'a','image':'tiny','host':'none'}", "host", 404},
		{"{'name':'a','image':'tiny','pool':'none'}", "pool", 404},
		{"{'name':'a','image':'tiny','port':'none'}", "port", 404},
		{"{'name':'a','image':'tiny','cpus':900}", "cpus", 400},
		{"{'name':'a','image':'tiny','network':null,"
		 "'ports':[{'host_port':2000,'guest_port':1}]}",
			"ports", 400},
		{"{'name':'a','image':'tiny','ports':[{'host_port':80,'guest_port':80}]}",
			"ports[0].host_port", 400},
		{"{'name':'a','image':'tiny','ports':[{'host_port':2000,'guest_port':1},"
		 "{'host_port':2000,'guest_port':2}]}",
			"ports", 409},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
		cr_expect_eq(ask("POST", "/v1/instances", wrong[i].body), wrong[i].status, "%s: %s",
			wrong[i].body, rig.text);
		cr_expect_str_eq(rig.field, wrong[i].field, "%s: %s", wrong[i].body, rig.field);
	}
	cr_expect_eq(listed("/v1/instances"), 0);
	cr_expect_eq(listed("/v1/ports"), 0, "nothing is left behind");
}

Test(resources, a_volume_has_one_instance)
{
	cr_assert_eq(ask("POST", "/v1/volumes", "{'name':'v'}"), 400);
	cr_assert_eq(ask("POST", "/v1/volumes", "{'name':'v','size_gib':1,'size_mib':5}"), 400);
	cr_assert_eq(ask("POST", "/v1/volumes", "{'name':'v','size_gib':2}"), 201);
	cr_expect_eq(doc_int(rig.answer, "size_mib"), 2048);
	cr_assert_eq(ask("POST", "/v1/instances",
			     "{'name':'a','image':'tiny','disks':[{'volume':'v'},{'volume':'v'}]}"),
		409);
	cr_assert_eq(ask("POST", "/v1/instances",
			     "{'name':'a','image':'tiny','disks':[{'volume':'v'}]}"),
		201);
	cr_assert_eq(ask("POST", "/v1/instances",
			     "{'name':'b','image':'tiny','disks':[{'volume':'v'}]}"),
		409);
	cr_expect_eq(ask("DELETE", "/v1/volumes/v", NULL), 409);
	cr_assert_eq(ask("GET", "/v1/volumes/v", NULL), 200);
	cr_expect_str_eq(got("state"), "attached");
}

Test(resources, networks_and_their_ports)
{
	cr_expect_eq(ask("POST", "/v1/networks", "{'name':'n','cidr':'10.1.0.1/24'}"), 400);
	cr_expect_eq(ask("POST", "/v1/networks", "{'name':'n','cidr':'10.0.0.0/8'}"), 400);
	cr_expect_eq(ask("POST", "/v1/networks", "{'name':'n','dns':'localhost'}"), 400);
	cr_assert_eq(ask("POST", "/v1/networks", "{'name':'n','cidr':'10.1.0.0/28'}"), 201);
	cr_expect_str_eq(got("gateway"), "10.1.0.1");
	cr_expect_eq(ask("POST", "/v1/networks", "{'name':'n'}"), 409);
	cr_expect_eq(ask("POST", "/v1/ports", "{'network':'n','ip':'10.2.0.9'}"), 400);
	cr_assert_eq(ask("POST", "/v1/ports", "{'network':'n','name':'p','ip':'10.1.0.9'}"), 201);
	cr_expect_eq(ask("POST", "/v1/ports", "{'network':'n','ip':'10.1.0.9'}"), 409);
	for (unsigned i = 0; i < 12; i++)
		cr_expect_eq(ask("POST", "/v1/ports", "{'network':'n'}"), 201, "%u", i);
	cr_expect_eq(ask("POST", "/v1/ports", "{'network':'n'}"), 409, "it is full");
	cr_expect_eq(
		ask("POST", "/v1/instances", "{'name':'a','image':'tiny','network':'n'}"), 409);
	cr_expect_str_eq(rig.field, "network", "%s", rig.text);
	cr_expect_eq(ask("DELETE", "/v1/networks/n", NULL), 409, "it is in use");
	cr_assert_eq(ask("POST", "/v1/instances",
			     "{'name':'a','image':'tiny','network':'n','port':'p'}"),
		201, "%s", rig.text);
	cr_expect_str_eq(got("ip"), "10.1.0.9");
	cr_expect_eq(ask("DELETE", "/v1/ports/p", NULL), 409);
	cr_expect_eq(ask("POST", "/v1/instances",
			     "{'name':'b','image':'tiny','network':'n','port':'p'}"),
		409);
}

Test(resources, actions_change_what_is_desired)
{
	static const struct {
		const char *action;
		unsigned status;
		const char *state;
		int reboots;
	} steps[] = {
		{"reboot", 202, "running", 1},
		{"pause", 202, "paused", 1},
		{"reboot", 409, "", 0},
		{"resume", 202, "running", 1},
		{"stop", 202, "stopped", 1},
		{"pause", 409, "", 0},
		{"resume", 409, "", 0},
		{"start", 202, "running", 1},
		{"start", 202, "running", 1},
		{"jump", 404, "", 0},
	};
	char path[64];

	cr_assert_eq(ask("POST", "/v1/instances", "{'name':'a','image':'tiny'}"), 201);
	for (unsigned i = 0; i < ARRAY_SIZE(steps); i++) {
		snprintf(path, sizeof(path), "/v1/instances/a/actions/%s", steps[i].action);
		cr_expect_eq(ask("POST", path, NULL), steps[i].status, "%u: %s", i, rig.text);
		cr_expect_str_eq(got("desired.state"), steps[i].state, "%u", i);
		cr_expect_eq(doc_int(json_object_get(rig.answer, "desired"), "reboots"),
			steps[i].reboots, "%u", i);
	}
	cr_expect_eq(ask("POST", "/v1/instances/a/actions/move", NULL), 202);
	cr_expect_str_eq(rig.did, "move a");
	cr_expect_eq(ask("POST", "/v1/instances/a/actions/stop", "{'force':true}"), 202);
	cr_expect(json_is_true(json_object_get(json_object_get(rig.answer, "desired"), "force")));
	cr_expect_gt(listed("/v1/instances/a/events"), 5);
}

Test(resources, what_ended_by_itself_starts_again)
{
	struct objects *os = rig.control.objects;
	struct obj *o;
	json_t *doc;

	cr_assert_eq(ask("POST", "/v1/instances", "{'name':'a','image':'tiny'}"), 201);
	o = obj_find(os, KIND_INSTANCE, "default", "a");
	doc = json_deep_copy(o->doc);
	json_object_set_new(json_object_get(doc, "observed"), "state", json_string("crashed"));
	cr_assert_eq(obj_put(os, KIND_INSTANCE, doc, NULL, NULL), 0);
	cr_expect_eq(ask("POST", "/v1/instances/a/actions/start", NULL), 202);
	cr_expect_eq(doc_int(json_object_get(rig.answer, "desired"), "reboots"), 1);
	cr_expect_eq(listed("/v1/instances?state=crashed"), 1);
}

Test(resources, deletion_is_a_wish_and_may_be_refused)
{
	cr_assert_eq(
		ask("POST", "/v1/instances", "{'name':'a','image':'tiny','protected':true}"), 201);
	cr_expect_eq(ask("DELETE", "/v1/instances/a", NULL), 409);
	cr_assert_eq(ask("PATCH", "/v1/instances/a", "{'protected':false}"), 200);
	cr_expect_eq(ask("DELETE", "/v1/instances/a", NULL), 202);
	cr_expect_str_eq(got("desired.state"), "deleted");
	cr_expect_eq(ask("DELETE", "/v1/instances/a", NULL), 202, "again is the same");
	cr_expect_eq(ask("POST", "/v1/instances/a/actions/start", NULL), 409);
	cr_expect_eq(ask("PATCH", "/v1/instances/a", "{'protected':true}"), 409);
}

Test(resources, changes_need_the_revision_when_one_is_given)
{
	uint64_t first;

	cr_assert_eq(ask("POST", "/v1/instances", "{'name':'a','image':'tiny'}"), 201);
	first = (uint64_t)doc_int(rig.answer, "revision");
	rig.if_match = first;
	cr_assert_eq(ask("PATCH", "/v1/instances/a",
			     "{'labels':{'x':'1','y':'2'},'name':'b','state':'stopped'}"),
		200, "%s", rig.text);
	cr_expect_str_eq(got("desired.state"), "stopped");
	cr_expect_null(json_object_get(rig.answer, "state"));
	rig.if_match = first;
	cr_expect_eq(ask("PATCH", "/v1/instances/b", "{}"), 412);
	rig.if_match = first;
	cr_expect_eq(ask("DELETE", "/v1/instances/b", NULL), 412);
	cr_assert_eq(ask("PATCH", "/v1/instances/b", "{'labels':{'x':null}}"), 200);
	cr_expect_str_eq(got("labels.y"), "2");
	cr_expect_str_eq(got("labels.x"), "");
}

Test(resources, lists_have_filters_labels_and_pages)
{
	char body[128], path[128];
	size_t n = 0, pages = 0;

	for (unsigned i = 0; i < 25; i++) {
		snprintf(body, sizeof(body),
			"{'name':'i%u','image':'tiny','labels':{'odd':'%u','n':'%u'}}", i, i % 2,
			i);
		cr_assert_eq(ask("POST", "/v1/instances", body), 201);
	}
	cr_expect_eq(listed("/v1/instances?label=odd=1"), 12);
	cr_expect_eq(listed("/v1/instances?label=odd=1,n=3"), 1);
	cr_expect_eq(listed("/v1/instances?label=odd"), 25);
	cr_expect_eq(listed("/v1/instances?label=none"), 0);
	cr_expect_eq(listed("/v1/instances?name=i7"), 1);
	cr_expect_eq(listed("/v1/instances?state=running"), 0);
	cr_expect_eq(listed("/v1/instances?chip=any"), 25);
	cr_expect_eq(ask("GET", "/v1/instances?limit=0", NULL), 400);
	cr_expect_eq(ask("GET", "/v1/instances?limit=x", NULL), 400);
	strcpy(path, "/v1/instances?limit=10");
	do {
		n += listed(path);
		pages++;
		snprintf(path, sizeof(path), "/v1/instances?limit=10&page=%s", got("next"));
	} while (*got("next"));
	cr_expect_eq(n, 25);
	cr_expect_eq(pages, 3);
	cr_expect_eq(listed("/v1/instances?page=zzz"), 0);
}

Test(resources, ports_are_published_once)
{
	cr_assert_eq(ask("POST", "/v1/instances", "{'name':'a','image':'tiny'}"), 201);
	cr_assert_eq(ask("POST", "/v1/instances", "{'name':'b','image':'tiny'}"), 201);
	cr_expect_eq(
		ask("POST", "/v1/instances/a/ports", "{'host_port':8080,'guest_port':80}"), 201);
	cr_expect_eq(
		ask("POST", "/v1/instances/a/ports", "{'host_port':8080,'guest_port':81}"), 409);
	cr_expect_eq(
		ask("POST", "/v1/instances/b/ports", "{'host_port':8080,'guest_port':80}"), 409);
	cr_expect_eq(ask("POST", "/v1/instances/b/ports",
			     "{'host_port':8081,'guest_port':80,'address':'example'}"),
		400);
	cr_expect_eq(ask("DELETE", "/v1/instances/a/ports/8081", NULL), 404);
	cr_expect_eq(ask("DELETE", "/v1/instances/a/ports/8080", NULL), 200);
	cr_expect_eq(json_array_size(json_object_get(rig.answer, "ports")), 0);
}

Test(resources, projects_do_not_see_each_other)
{
	static const char *const kinds[] = {
		"instances", "volumes", "networks", "ports", "keys", "operations"};
	struct obj *op = NULL;
	char path[96];

	cr_assert_eq(ask("POST", "/v1/projects", "{'name':'other'}"), 201);
	cr_assert_eq(ask("POST", "/v1/instances", "{'name':'x','image':'tiny'}"), 201);
	cr_assert_eq(ask("POST", "/v1/volumes", "{'name':'x','size_mib':1}"), 201);
	cr_assert_eq(ask("POST", "/v1/networks", "{'name':'x'}"), 201);
	cr_assert_eq(ask("POST", "/v1/ports", "{'name':'x','network':'x'}"), 201);
	cr_assert_eq(ask("POST", "/v1/keys", "{'name':'x','public_key':'" KEY "'}"), 201);
	cr_assert_eq(
		operation_new(rig.control.objects, "default", "move", "x", "test", NULL, &op), 0);
	rig.role = ROLE_PROJECT;
	rig.project = "other";
	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		const struct obj *o;
		const enum kind k[] = {KIND_INSTANCE, KIND_VOLUME, KIND_NETWORK, KIND_PORT,
			KIND_KEY, KIND_OPERATION};

		snprintf(path, sizeof(path), "/v1/%s", kinds[i]);
		cr_expect_eq(listed(path), k[i] == KIND_NETWORK, "%s", path);
		o = k[i] == KIND_OPERATION ? op
					   : obj_find(rig.control.objects, k[i], "default", "x");
		snprintf(path, sizeof(path), "/v1/%s/%s", kinds[i], o->id);
		cr_expect_eq(ask("GET", path, NULL), 404, "%s", path);
		if (k[i] == KIND_OPERATION)
			continue;
		cr_expect_eq(ask("PATCH", path, "{}"), 404, "%s", path);
		cr_expect_eq(ask("DELETE", path, NULL), 404, "%s", path);
	}
	cr_expect_eq(ask("POST", "/v1/instances/x/actions/stop", NULL), 404);
	cr_expect_eq(ask("GET", "/v1/instances/x/events", NULL), 404);
	cr_expect_eq(
		ask("POST", "/v1/instances/x/ports", "{'host_port':8080,'guest_port':1}"), 404);
	cr_expect_eq(ask("DELETE", "/v1/instances/x/ports/8080", NULL), 404);
	cr_expect_eq(ask("POST", "/v1/instances",
			     "{'name':'y','image':'tiny','disks':[{'volume':'x'}]}"),
		404);
	cr_expect_eq(
		ask("POST", "/v1/instances", "{'name':'y','image':'tiny','network':'x'}"), 404);
	cr_expect_eq(ask("POST", "/v1/instances", "{'name':'y','image':'tiny','keys':['x']}"), 404);
	cr_expect_eq(ask("POST", "/v1/instances", "{'name':'y','image':'tiny','host':'h'}"), 400);
	cr_expect_eq(ask("POST", "/v1/ports", "{'network':'x'}"), 404);
	cr_expect_eq(listed("/v1/projects"), 1);
	cr_expect_eq(ask("GET", "/v1/projects/default", NULL), 404);
	cr_expect_eq(ask("GET", "/v1/hosts", NULL), 403);
	cr_expect_eq(ask("GET", "/v1/tokens", NULL), 403);
	cr_expect_eq(listed("/v1/flavors"), 4);
	cr_expect_eq(ask("POST", "/v1/instances", "{'name':'x','image':'tiny'}"), 201,
		"a name of another project's is free here");
}

Test(resources, a_project_goes_when_it_is_empty)
{
	cr_assert_eq(ask("POST", "/v1/projects", "{'name':'p'}"), 201);
	cr_expect_eq(ask("POST", "/v1/projects", "{'name':'p'}"), 409);
	cr_expect_eq(ask("PATCH", "/v1/projects/p", "{'name':'q'}"), 400,
		"what is in it knows it by its name");
	rig.project = "p";
	cr_assert_eq(ask("POST", "/v1/volumes", "{'name':'v','size_mib':1}"), 201);
	cr_expect_eq(ask("DELETE", "/v1/projects/p", NULL), 409);
	obj_delete(rig.control.objects, obj_find(rig.control.objects, KIND_VOLUME, "p", "v"), NULL);
	cr_expect_eq(ask("DELETE", "/v1/projects/p", NULL), 204, "%s", rig.text);
	cr_expect_eq(ask("POST", "/v1/volumes", "{'name':'v','size_mib':1}"), 404);
	cr_expect_eq(ask("DELETE", "/v1/projects/default", NULL), 409);
	cr_expect_eq(obj_count(rig.control.objects, KIND_NETWORK), 1);
}

Test(resources, a_secret_is_shown_once)
{
	struct obj *o;

	cr_expect_eq(ask("POST", "/v1/tokens", "{'name':'t','role':'node','once':true}"), 400);
	cr_expect_eq(ask("POST", "/v1/tokens", "{'name':'t','role':'admin','host':'h'}"), 400);
	cr_expect_eq(ask("POST", "/v1/tokens", "{'name':'t','role':'admin','project':'p'}"), 400);
	cr_expect_eq(ask("POST", "/v1/tokens", "{'name':'t','role':'project','project':'p'}"), 404);
	cr_assert_eq(ask("POST", "/v1/tokens", "{'name':'t','role':'project','expires':60}"), 201);
	cr_expect_str_eq(got("token"), "pv_secret");
	cr_expect_str_eq(got("fingerprint"), "f1");
	cr_expect_str_eq(got("project"), "default");
	cr_expect_eq(strlen(got("expires_at")), 20);
	cr_expect_str_eq(got("hash"), "");
	o = obj_find(rig.control.objects, KIND_TOKEN, NULL, "t");
	cr_expect_str_eq(doc_text(o->doc, "hash"), "hash-of-it");
	cr_expect_null(json_object_get(o->doc, "token"));
	cr_assert_eq(ask("GET", "/v1/tokens/t", NULL), 200);
	cr_expect_str_eq(got("token"), "");
	cr_expect_str_eq(got("hash"), "");
}

Test(resources, expired_tokens_go)
{
	struct obj *o;
	json_t *doc;

	cr_assert_eq(ask("POST", "/v1/tokens", "{'name':'t','role':'admin','expires':60}"), 201);
	o = obj_find(rig.control.objects, KIND_TOKEN, NULL, "t");
	doc = json_deep_copy(o->doc);
	json_object_set_new(doc, "expires_at", json_string("2020-01-01T00:00:00Z"));
	cr_assert_eq(obj_put(rig.control.objects, KIND_TOKEN, doc, NULL, NULL), 0);
	cr_assert_eq(ask("POST", "/v1/tokens", "{'name':'u','role':'admin'}"), 201);
	cr_expect_eq(listed("/v1/tokens"), 1);
	rig_restart();
	cr_expect_eq(listed("/v1/tokens"), 1);
}

Test(resources, hosts_are_acted_on_and_forgotten)
{
	struct obj *h = host_make("h1");
	json_t *doc;

	cr_assert_eq(ask("GET", "/v1/hosts/h1", NULL), 200);
	cr_expect_str_eq(got("identity_hash"), "");
	cr_expect_not_null(json_object_get(rig.answer, "allocated"));
	cr_expect(json_real_value(json_object_get(rig.answer, "load")) == 0.5);
	cr_expect_eq(json_integer_value(json_object_get(rig.answer, "memory_free_mib")), 7);
	cr_expect_null(json_object_get(rig.answer, "else")); /* only what the document says */
	cr_expect_eq(ask("POST", "/v1/hosts/h1/actions/fence", "{'confirm':true}"), 202);
	cr_expect_str_eq(rig.did, "fence h1");
	cr_expect_eq(ask("POST", "/v1/hosts/h1/actions/melt", NULL), 404);
	cr_assert_eq(ask("PATCH", "/v1/hosts/h1", "{'labels':{'rack':'2'}}"), 200);
	cr_expect_eq(listed("/v1/hosts?label=rack=2"), 1);
	cr_assert_eq(ask("POST", "/v1/volumes", "{'name':'v','size_mib':1,'host':'h1'}"), 201);
	cr_expect_str_eq(got("pin"), "h1");
	doc = json_deep_copy(rig.answer);
	json_object_set_new(doc, "host_id", json_string(h->id));
	cr_assert_eq(obj_put(rig.control.objects, KIND_VOLUME, doc, NULL, NULL), 0);
	cr_expect_eq(ask("DELETE", "/v1/hosts/h1", NULL), 409);
	obj_delete(rig.control.objects, obj_find(rig.control.objects, KIND_VOLUME, "default", "v"),
		NULL);
	cr_expect_eq(ask("DELETE", "/v1/hosts/h1", NULL), 204);
}

Test(resources, flavors_pools_and_backups)
{
	char body[160];

	cr_assert_eq(ask("POST", "/v1/flavors", "{'name':'f','cpus':3,'memory_mib':99}"), 201);
	cr_assert_eq(ask("POST", "/v1/instances", "{'name':'a','image':'tiny','flavor':'f'}"), 201);
	cr_expect_eq(doc_int(rig.answer, "cpus"), 3);
	cr_expect_eq(ask("DELETE", "/v1/flavors/f", NULL), 204, "instances have its numbers");
	cr_expect_eq(ask("POST", "/v1/pools", "{'name':'p'}"), 400);
	cr_expect_eq(ask("POST", "/v1/pools", "{'name':'p','hosts':['h1']}"), 201);
	cr_expect_not_null(json_object_get(rig.answer, "baseline"));
	cr_expect_eq(ask("POST", "/v1/backup", "{'path':'relative'}"), 400);
	snprintf(body, sizeof(body), "{'path':'%s/copy'}", getenv("HOME"));
	cr_expect_eq(ask("POST", "/v1/backup", body), 201);
	cr_expect_eq(ask("POST", "/v1/backup", body), 409);
}

Test(resources, operations_go_on_and_end)
{
	struct objects *os = rig.control.objects;
	struct obj *o = NULL;
	char id[2][32];

	for (unsigned i = 0; i < 2; i++) {
		cr_assert_eq(operation_new(os, "default", "drain", "h1", "test", "r", &o), 0);
		strcpy(id[i], o->id);
	}
	operation_progress(os, id[0], 50);
	cr_expect_eq(doc_int(o->doc, "progress"), 0);
	operation_finish(os, id[0], NULL, json_pack("{s:i}", "moved", 3));
	operation_finish(os, id[0], "too late", NULL);
	operation_finish(os, "none", NULL, json_object());
	rig_restart();
	cr_assert_eq(listed("/v1/operations?state=done"), 1);
	cr_assert_eq(listed("/v1/operations?state=failed"), 1, "a stop ends those that ran");
	cr_assert_eq(ask("GET", "/v1/operations/none", NULL), 404);
}

/* As a full disk does, a limit on files' sizes fails the commit of what was already in memory. */
Test(resources, what_cannot_be_stored_is_not_there)
{
	struct rlimit old, small = {.rlim_cur = 4096};

	cr_assert_eq(ask("POST", "/v1/volumes", "{'name':'v','size_mib':1}"), 201);
	signal(SIGXFSZ, SIG_IGN);
	cr_assert_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
	small.rlim_max = old.rlim_max;
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
	cr_expect_geq(ask("POST", "/v1/instances",
			      "{'name':'a','image':'tiny','disks':[{'volume':'v'}]}"),
		500);
	cr_expect_geq(ask("POST", "/v1/projects", "{'name':'p'}"), 500);
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &old), 0);
	cr_expect_eq(listed("/v1/instances"), 0);
	cr_expect_eq(listed("/v1/ports"), 0);
	cr_expect_eq(listed("/v1/projects"), 1);
	cr_assert_eq(ask("GET", "/v1/volumes/v", NULL), 200);
	cr_expect_str_eq(got("state"), "available");
	cr_expect_eq(ask("POST", "/v1/instances",
			     "{'name':'a','image':'tiny','disks':[{'volume':'v'}]}"),
		201, "and then it can: %s", rig.text);
	rig_restart();
	cr_expect_eq(listed("/v1/ports"), 1);
}

Test(resources, keys_are_keys)
{
	static const char *const wrong[] = {
		"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHRlc3Q=",
		"ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIHRlc3QwMTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3",
		"ssh-dss AAAAC3NzaC1lZDI1NTE5AAAAIHRlc3QwMTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3",
		"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHRlc3QwMTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM=",
		"ssh-ed25519 AAAA C3NzaC1lZDI1NTE5AAAAIHRlc3QwMTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0",
		"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHRlc3QwMTIzNDU2!zg5MDEyMzQ1Njc4OTAxMjM0",
		"command=\\'x\\' " KEY,
		KEY "\\nssh-ed25519 more",
		"-----BEGIN OPENSSH PRIVATE KEY-----",
	};
	char body[512];

	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
		snprintf(body, sizeof(body), "{'name':'k','public_key':'%s'}", wrong[i]);
		cr_expect_eq(ask("POST", "/v1/keys", body), 400, "%s", wrong[i]);
	}
	cr_expect_eq(ask("POST", "/v1/keys", "{'name':'k','public_key':'" KEY "\\n'}"), 201);
	/* As ssh-keygen -l shows it. */
	cr_expect_str_eq(got("fingerprint"), "SHA256:uWpeFMMDtcqDHREBFBVcF1K939cU0TA8UkdlF6hr3T0");
	cr_expect_str_eq(got("public_key"), KEY);
}
