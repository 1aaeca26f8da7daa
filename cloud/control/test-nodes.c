/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes that join, report and go, and streams through them: the other end of the link is a fake
 * node, the other end of a call is a fake client; objects and links are real. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "cloud/control/hosts_do.h"
#include "cloud/control/stream.h"
#include "cloud/control/test_nodes.h"

/* ---- a fake reconciler ---- */

static int ups, downs, observed;
static char last_observed[64];

void host_doc_state(json_t *doc)
{
	bool on = json_is_true(json_object_get(doc, "connected"));

	json_object_set_new(doc, "state", json_string(on ? "online" : "offline"));
}

void reconcile_host_up(struct reconciler *r, const char *host_id, const json_t *state)
{
	ups++;
}

void reconcile_host_down(struct reconciler *r, const char *host_id)
{
	downs++;
}

void reconcile_observed(struct reconciler *r, const char *host_id, const json_t *o)
{
	observed++;
	snprintf(last_observed, sizeof(last_observed), "%s",
		json_string_value(json_object_get(o, "id")));
}

/* ---- a fake node ---- */

struct fake_node {
	struct link *l;
	struct link_stream *watch, *stream;
	struct link_req *state;
	bool hold_state, refuse;
	const char *facts;
	size_t got;
	int gone, eof, closed;
	char path[96], query[32];
};

static void node_data(struct link_stream *s, const void *p, size_t n, void *arg)
{
	((struct fake_node *)arg)->got += n;
	link_stream_took(s, n);
}

static void node_eof(struct link_stream *s, void *arg)
{
	((struct fake_node *)arg)->eof++;
}

static void node_closed(struct link_stream *s, int error, void *arg)
{
	struct fake_node *f = arg;

	f->closed += s == f->stream;
	if (s == f->stream)
		f->stream = NULL;
	else
		f->watch = NULL;
}

static const struct link_stream_ops node_ops = {
	.data = node_data, .eof = node_eof, .closed = node_closed};

static bool node_stream_ok(const char *method, const char *path, void *arg)
{
	return strcmp(path, "/v1/state") != 0 && !strstr(path, "/stats");
}

static void node_state(struct fake_node *f, struct link_req *r)
{
	json_t *doc = json_loads(f->facts, 0, NULL);

	link_reply(r, 200, doc);
	json_decref(doc);
}

static const char good_facts[] =
	"{\"host\":{\"chip\":\"arm64\",\"cores\":4,\"memory_mib\":2048,\"features\":[\"sve\"],"
	"\"load\":0.5,\"admin\":\"cordoned\",\"id\":\"evil\"},\"instances\":[]}";

static void node_request(struct link_req *r, void *arg)
{
	struct fake_node *f = arg;

	snprintf(f->path, sizeof(f->path), "%s %s", r->method, r->path);
	snprintf(f->query, sizeof(f->query), "%s", r->query ? r->query : "");
	if (strcmp(r->path, "/v1/watch") == 0)
		f->watch = link_accept(r, &node_ops, f);
	else if (strcmp(r->path, "/v1/state") == 0 && f->hold_state)
		f->state = r;
	else if (strcmp(r->path, "/v1/state") == 0 || strstr(r->path, "/stats"))
		node_state(f, r);
	else if (f->refuse)
		link_problem(r, 404, "no such instance");
	else
		f->stream = link_accept(r, &node_ops, f);
}

static void node_gone(struct link *l, const char *why, void *arg)
{
	((struct fake_node *)arg)->gone++;
}

/* ---- the rig ---- */

static struct control control;
static struct fake_node one, two;
static char dir[64];

static void make(void)
{
	char path[96];

	strcpy(dir, "/tmp/test-nodes.XXXXXX");
	cr_assert_not_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/db", dir);
	control = (struct control){0};
	cr_assert_eq(ev_loop_new(&control.loop), 0);
	cr_assert_eq(store_open(path, &control.store, NULL), 0);
	cr_assert_eq(objects_new(control.store, &control.objects, NULL), 0);
	cr_assert_eq(nodes_new(&control, &control.nodes), 0);
	one = two = (struct fake_node){.facts = good_facts};
	ups = downs = observed = 0;
}

static void unmake(void)
{
	char cmd[96];

	nodes_free(control.nodes);
	if (one.state)
		link_reply(one.state, 503, NULL);
	link_free(one.l);
	link_free(two.l);
	objects_free(control.objects);
	store_close(control.store);
	ev_loop_free(control.loop);
	snprintf(cmd, sizeof(cmd), "rm -r %s", dir);
	if (system(cmd))
		abort();
}

TestSuite(nodes, .init = make, .fini = unmake, .timeout = 60);

static void rounds(unsigned n)
{
	while (n--)
		ev_run_once(control.loop, 0);
}

static const char id_a[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
static const char id_b[] = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

static struct fake_call connect_call(const char *name, const char *identity)
{
	return (struct fake_call){.c = {.control = &control, .role = ROLE_NODE, .actor = "token:t"},
		.query = {"name", name, "version", POLYVISOR_VERSION},
		.header = {"Upgrade", "polycloud-node/1", "X-Polycloud-Identity", identity},
		.peer = -1};
}

static void join(struct fake_node *f, const char *name, const char *identity)
{
	const struct link_handler h = {node_stream_ok, node_request, node_gone, f};
	struct fake_call c = connect_call(name, identity);

	nodes_routes[0].handle(&c.c);
	cr_assert_eq(c.status, 101, "%s", c.text);
	cr_assert_eq(link_server_new(control.loop, link_wire_socket(c.peer), &h, &f->l), 0);
	rounds(20);
}

static struct obj *host(const char *name)
{
	return obj_find(control.objects, KIND_HOST, NULL, name);
}

static const char *word(const struct obj *o, const char *key)
{
	return json_string_value(json_object_get(o->doc, key));
}

static void say(struct fake_node *f, const char *line)
{
	link_stream_write(f->watch, line, strlen(line));
	rounds(20);
}

Test(nodes, a_node_joins_reports_and_goes)
{
	uint64_t revision;
	struct obj *o;

	join(&one, "n1", id_a);
	o = host("n1");
	cr_assert_not_null(o);
	cr_assert_eq(ups, 1);
	cr_assert_str_eq(word(o, "state"), "online");
	cr_assert_str_eq(word(o, "chip"), "arm64");
	cr_assert_str_eq(word(o, "admin"), "none"); /* not a node's to say */
	cr_assert_neq(strcmp(o->id, "evil"), 0);
	cr_assert_not_null(nodes_link(control.nodes, o->id));
	cr_assert_eq(nodes_count(control.nodes), 1);

	revision = o->revision;
	say(&one, "{\"host\":{\"load\":1.5,\"memory_free_mib\":9}}\n{\"instance\":{\"id\":");
	say(&one, "\"i-1\"}}\n");
	cr_assert_eq(observed, 1);
	cr_assert_str_eq(last_observed, "i-1");
	cr_assert_eq(host("n1")->revision, revision); /* a load is no news */
	cr_assert_eq(
		json_real_value(json_object_get(nodes_load(control.nodes, o->id), "load")), 1.5);
	say(&one, "{\"host\":{\"features\":[\"sve\",\"sve2\"]}}\n");
	cr_assert_gt(host("n1")->revision, revision);

	link_free(one.l);
	one.l = NULL;
	rounds(20);
	cr_assert_eq(downs, 1);
	cr_assert_str_eq(word(host("n1"), "state"), "offline");
	cr_assert_null(nodes_link(control.nodes, host("n1")->id));
}

Test(nodes, news_before_the_state_is_kept_until_then)
{
	one.hold_state = true;
	join(&one, "n1", id_a);
	say(&one, "{\"instance\":{\"id\":\"i-early\"}}\n");
	cr_assert_eq(ups + observed, 0);
	cr_assert_null(host("n1"));
	node_state(&one, one.state);
	one.state = NULL;
	rounds(20);
	cr_assert_eq(ups, 1);
	cr_assert_eq(observed, 1);
	cr_assert_str_eq(last_observed, "i-early");
}

static void refuse(struct fake_call c, unsigned status, const char *why)
{
	nodes_routes[0].handle(&c.c);
	cr_assert_eq(c.answers, 1);
	cr_assert_eq(c.status, status);
	cr_assert_not_null(strstr(c.text, why), "%s", c.text);
}

Test(nodes, two_of_one_name)
{
	join(&one, "n1", id_a);
	refuse(connect_call("n1", id_b), 409, "another node named n1 is connected");
	cr_assert_eq(one.gone, 0);
	link_free(one.l);
	one.l = NULL;
	rounds(20);
	refuse(connect_call("n1", id_b), 409, "belongs to another node");
	/* The same one again takes the place of its old connection. */
	join(&one, "n1", id_a);
	join(&two, "n1", id_a);
	cr_assert_eq(one.gone, 1);
	cr_assert_eq(nodes_count(control.nodes), 1);
	cr_assert_str_eq(word(host("n1"), "state"), "online");
	cr_assert_eq(obj_count(control.objects, KIND_HOST), 1);
}

Test(nodes, what_may_not_join)
{
	struct fake_call c = connect_call("n1", id_a);
	json_t *doc = json_pack("{s:s,s:s,s:s}", "id", "t-1", "name", "t", "host", "n2");

	refuse(connect_call("N_1", id_a), 400, "a-z");
	refuse(connect_call("n1", "short"), 400, "X-Polycloud-Identity");
	c.header[1] = "polycloud-node/0";
	refuse(c, 426, "polycloud-node/1");
	c = connect_call("n1", id_a);
	c.query[3] = "0.0.9";
	refuse(c, 426, "runs polycloud 0.0.9");
	c.query[3] = "junk";
	refuse(c, 426, "runs polycloud junk");
	c = connect_call("n1", id_a);
	c.c.role = ROLE_PROJECT;
	refuse(c, 403, "role node");
	cr_assert_eq(obj_put(control.objects, KIND_TOKEN, doc, NULL, NULL), 0);
	c = connect_call("n1", id_a);
	c.c.token_id = "t-1";
	refuse(c, 403, "for host n2, not for n1");
}

static void joins_with(const char *facts)
{
	struct fake_node f = {.facts = facts};

	join(&f, "n1", id_a);
	cr_assert_eq(f.gone, 1, "%s", facts);
	cr_assert_null(host("n1"));
	link_free(f.l);
}

Test(nodes, facts_that_are_none)
{
	joins_with("{}");
	joins_with("[]");
	joins_with("{\"host\":{\"chip\":\"sparc\",\"cores\":1,\"memory_mib\":1}}");
	joins_with("{\"host\":{\"chip\":\"arm64\",\"cores\":0,\"memory_mib\":1}}");
	joins_with("{\"host\":{\"chip\":\"arm64\",\"cores\":1,\"memory_mib\":\"x\"}}");
	joins_with("{\"host\":{\"chip\":\"arm64\",\"cores\":1,\"memory_mib\":1,\"features\":[1]}}");
	cr_assert_eq(ups, 0);
}

Test(nodes, a_watch_of_garbage_ends_the_connection)
{
	join(&one, "n1", id_a);
	say(&one, "not json\n");
	cr_assert_eq(one.gone, 1);
	cr_assert_eq(downs, 1);
	link_free(one.l);
	join(&one, "n1", id_a);
	link_stream_end(one.watch);
	rounds(5);
	link_stream_reset(one.watch);
	rounds(20);
	cr_assert_eq(one.gone, 2);
}

Test(nodes, a_deleted_host_is_hung_up_on)
{
	join(&one, "n1", id_a);
	cr_assert_eq(obj_delete(control.objects, host("n1"), NULL), 0);
	rounds(20);
	cr_assert_eq(one.gone, 1);
	cr_assert_null(host("n1"));
}

Test(nodes, events_of_its_own_instances_only)
{
	uint64_t before;

	join(&one, "n1", id_a);
	obj_put(control.objects, KIND_INSTANCE,
		json_pack("{s:s,s:s,s:s,s:s}", "id", "i-1", "name", "a", "project", "p", "host_id",
			host("n1")->id),
		NULL, NULL);
	obj_put(control.objects, KIND_INSTANCE,
		json_pack("{s:s,s:s,s:s,s:s}", "id", "i-2", "name", "b", "project", "p", "host_id",
			"h-other"),
		NULL, NULL);
	before = obj_get(control.objects, KIND_INSTANCE, "i-2")->revision;
	say(&one, "{\"event\":{\"instance\":\"i-2\",\"event\":\"x\",\"text\":\"y\"}}\n");
	cr_assert_eq(obj_get(control.objects, KIND_INSTANCE, "i-2")->revision, before);
	say(&one, "{\"event\":{\"instance\":\"i-1\",\"event\":\"x\",\"text\":\"y\"}}\n");
	cr_assert_gt(obj_get(control.objects, KIND_INSTANCE, "i-1")->revision, before);
}

/* ---- streams ---- */

static const struct route *stream_route(const char *last)
{
	for (unsigned i = 0; i < stream_nroutes; i++)
		if (strstr(stream_routes[i].path, last))
			return &stream_routes[i];
	abort();
}

static struct fake_call stream_call(const char *name)
{
	return (struct fake_call){
		.c = {.control = &control, .role = ROLE_PROJECT, .project = "p", .param = {name}}};
}

static void with_instance(void)
{
	join(&one, "n1", id_a);
	obj_put(control.objects, KIND_INSTANCE,
		json_pack("{s:s,s:s,s:s,s:s}", "id", "i-1", "name", "vm", "project", "p", "host_id",
			host("n1")->id),
		NULL, NULL);
}

Test(nodes, a_console_is_a_bridge_with_back_pressure)
{
	static char piece[64 << 10];
	struct fake_call c = stream_call("vm");

	with_instance();
	stream_route("/console")->handle(&c.c);
	rounds(20);
	cr_assert_eq(c.status, 101, "%s", c.text);
	cr_assert_str_eq(one.path, "POST /v1/instances/i-1/console");
	pipe_end.ops->data(&pipe_end, "ls\n", 3, pipe_end.arg);
	rounds(20);
	cr_assert_eq(one.got, 3);
	cr_assert_eq(pipe_end.took, 3);
	/* The client reads nothing: what the node may send is bounded. */
	for (int i = 0; i < 100; i++) {
		link_stream_write(one.stream, piece, sizeof(piece));
		rounds(2);
	}
	cr_assert_eq(pipe_end.got, 256 << 10);
	pipe_end.ops->writable(&pipe_end, pipe_end.arg);
	rounds(50);
	cr_assert_eq(pipe_end.got, 512 << 10);
	/* It goes: the node hears of it. */
	pipe_end.ops->closed(&pipe_end, pipe_end.arg);
	rounds(20);
	cr_assert_eq(one.closed, 1);
}

Test(nodes, the_node_ends_a_tunnel_and_its_client_is_told)
{
	struct fake_call c = stream_call("vm");

	with_instance();
	c.query[0] = "port";
	c.query[1] = "22";
	stream_route("/tunnel")->handle(&c.c);
	rounds(20);
	cr_assert_eq(c.status, 101);
	cr_assert_str_eq(one.query, "port=22");
	link_stream_write(one.stream, "SSH-2.0", 7);
	link_stream_end(one.stream);
	rounds(20);
	cr_assert_eq(pipe_end.got, 7);
	cr_assert(pipe_end.closing);
	pipe_end.ops->closed(&pipe_end, pipe_end.arg);
	rounds(20);
	cr_assert_null(one.stream);
}

Test(nodes, the_last_words_of_a_client_arrive)
{
	struct fake_call c = stream_call("vm");

	with_instance();
	stream_route("/console")->handle(&c.c);
	rounds(20);
	pipe_end.ops->data(&pipe_end, "poweroff\n", 9, pipe_end.arg);
	pipe_end.ops->closed(&pipe_end, pipe_end.arg);
	rounds(20);
	cr_assert_eq(one.got, 9);
	cr_assert_eq(one.closed, 1);
}

Test(nodes, what_a_stream_may_be_refused_for)
{
	static const char *const ports[] = {"0", "65536", "x", "", "22x", "-1"};
	struct fake_call c;

	with_instance();
	for (size_t i = 0; i < sizeof(ports) / sizeof(ports[0]); i++) {
		c = stream_call("vm");
		c.query[0] = "port";
		c.query[1] = ports[i];
		stream_route("/tunnel")->handle(&c.c);
		cr_assert_eq(c.status, 400, "%s", ports[i]);
	}
	c = stream_call("none");
	stream_route("/console")->handle(&c.c);
	cr_assert_eq(c.status, 404);
	one.refuse = true;
	c = stream_call("vm");
	stream_route("/console")->handle(&c.c);
	rounds(20);
	cr_assert_eq(c.status, 409);
	cr_assert_eq(c.answers, 1);
	link_free(one.l);
	one.l = NULL;
	rounds(20);
	c = stream_call("vm");
	stream_route("/console")->handle(&c.c);
	cr_assert_eq(c.status, 503);
}

Test(nodes, a_node_that_goes_ends_what_goes_through_it)
{
	struct fake_call c = stream_call("vm"), stats = stream_call("vm");

	with_instance();
	stream_route("/console")->handle(&c.c);
	rounds(20);
	stream_route("/stats")->handle(&stats.c);
	link_free(one.l);
	one.l = NULL;
	rounds(20);
	cr_assert(pipe_end.closing);
	cr_assert_eq(stats.status, 503);
	pipe_end.ops->closed(&pipe_end, pipe_end.arg);
}

Test(nodes, logs_and_counters)
{
	struct fake_call c = stream_call("vm");

	with_instance();
	stream_route("/log")->handle(&c.c);
	rounds(20);
	cr_assert_eq(c.answers, 0);
	link_stream_write(one.stream, "boot\n", 5);
	link_stream_end(one.stream);
	rounds(20);
	cr_assert_eq(c.status, 200);
	cr_assert_str_eq(c.text, "boot\n");
	c = stream_call("vm");
	stream_route("/stats")->handle(&c.c);
	rounds(20);
	cr_assert_eq(c.status, 200);
	cr_assert_not_null(json_object_get(c.doc, "host"));
	json_decref(c.doc);
}
