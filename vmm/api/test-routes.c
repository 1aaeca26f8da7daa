/* SPDX-License-Identifier: Apache-2.0 */
/* Every call of the table against every way of getting it wrong. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include "vmm/api/routes.h"
#include "vmm/api/test_fake.h"
#include "vmm/api/v1.h"
#include "vmm/base/num.h"

#define V1 "/api/v1/"

TestSuite(routes, .init = fake_init, .fini = fake_fini);

/* A body that is right. */
static const char *right(const struct route *r)
{
	if (r->body == BODY_CONFIG)
		return "{\"payload\":{\"kernel\":\"/k\"}}";
	if (r->body == BODY_TABLE)
		return "{\"destination_url\":\"file:///core\"}";
	if (r->body == BODY_PART && !strcmp(r->part, "vsock"))
		return "{\"cid\":3,\"socket\":\"/s\"}";
	if (r->body == BODY_PART && !strcmp(r->part, "vhost_user_devices"))
		return "{\"type\":\"fs\",\"socket\":\"/s\"}";
	if (r->body == BODY_PART)
		return !strcmp(r->part, "net") ? "{\"tap\":\"t0\"}" : "{\"path\":\"/d\"}";
	return NULL;
}

/* The one that a descriptor completes. */
static const char *with_fd(const struct route *r)
{
	return !strcmp(r->part, "vhost_user_devices") ? "{\"type\":\"fs\"}" : "{}";
}

static int fd_of(const struct route *r)
{
	return !strcmp(r->part, "net")			? fake.config.net[0].fd
	       : !strcmp(r->part, "vdpa")		? fake.config.vdpa[0].fd
	       : !strcmp(r->part, "vhost_user_devices") ? fake.config.vhost_user[0].fd
							: fake.config.disk[0].fd;
}

static const char *target(const struct route *r)
{
	return strchr(r->path, '{') ? V1 "vm.devices/_disk0" : r->path;
}

Test(routes, right_requests_reach_control)
{
	for (const struct route *r = routes; r->path; r++) {
		unsigned before = fake.commands;
		unsigned status = ask(r->method, target(r), right(r));

		cr_expect_eq(status, r->kind == ROUTE_UNOFFERED ? 501 : route_success(r), "%s: %u",
			r->path, status);
		if (r->kind == ROUTE_COMMAND) {
			cr_expect_eq(fake.commands, before + 1);
			cr_expect_eq(fake.op, r->op, "%s", r->path);
		}
		cr_expect_eq(
			fake.len == 0, status == 204 || r->kind == ROUTE_EVENTS, "%s", r->path);
	}
}

Test(routes, other_methods_are_405_and_told_which_is_right)
{
	static const char *const methods[] = {
		"GET", "PUT", "POST", "DELETE", "PATCH", "HEAD", "OPTIONS", "BREW"};
	char want[32];

	for (const struct route *r = routes; r->path; r++)
		for (unsigned i = 0; i < ARRAY_SIZE(methods); i++) {
			if (!strcmp(r->method, methods[i]))
				continue;
			cr_expect_eq(ask(methods[i], target(r), NULL), 405, "%s %s", methods[i],
				r->path);
			snprintf(want, sizeof(want), "Allow: %s", r->method);
			cr_expect_str_eq(fake.header, want);
			cr_expect(strstr(said(), r->method));
		}
	cr_expect_eq(fake.commands, 0);
}

Test(routes, unknown_paths_are_404)
{
	static const char *const paths[] = {"/", "", "/api", "/api/v1", V1, V1 "vm", V1 "vm.boots",
		V1 "vm.boot/", V1 "VM.boot", "/api/v2/vm.boot", "//api/v1/vm.boot",
		V1 "vm.devices/", V1 "vm.devices/a/b", V1 "vm.devices/%", V1 "vm.devices/%4",
		V1 "vm.devices/%zz", V1 "vm.devices/a%00b",
		V1 "vm.devices/0123456789012345678901234567890123", "/metrics/", "/\xff\xfe"};

	for (unsigned i = 0; i < ARRAY_SIZE(paths); i++) {
		cr_expect_eq(ask("GET", paths[i], NULL), 404, "%s: %u", paths[i], fake.status);
		said();
		cr_expect_str_eq(fake.header, "");
	}
	cr_expect_eq(fake.commands, 0);
}

Test(routes, an_id_is_decoded)
{
	cr_assert_eq(ask("GET", V1 "vm.devices/a%22%2fb", NULL), 200);
	cr_assert_str_eq(fake.id, "a\"/b");
}

Test(routes, bodies_come_where_they_are_expected)
{
	for (const struct route *r = routes; r->path; r++) {
		unsigned before = fake.commands;

		if (r->kind == ROUTE_UNOFFERED)
			continue;
		cr_expect_eq(ask(r->method, target(r), right(r) ? NULL : "{}"), 400, "%s", r->path);
		cr_expect(strstr(said(), right(r) ? "missing" : "takes no body"), "%s", said());
		cr_expect_eq(fake.commands, before);
	}
}

Test(routes, ours_are_strict_about_queries)
{
	for (const struct route *r = routes; r->path; r++) {
		char path[128];

		if (r->kind == ROUTE_UNOFFERED)
			continue;
		snprintf(path, sizeof(path), "%s?colour=blue", target(r));
		cr_expect_eq(ask(r->method, path, right(r)), r->ours ? 400 : route_success(r), "%s",
			path);
	}
}

static char *nested(const char *open, unsigned n)
{
	char *text = calloc(n + 64, strlen(open) + 2), *p = text;

	p = stpcpy(p, "{\"x\":");
	for (unsigned i = 0; i < n; i++)
		p = stpcpy(p, open);
	return text;
}

Test(routes, bad_json_is_400_everywhere)
{
	static const struct {
		const char *text, *says;
		long len;
	} bad[] = {
		{"{", "line 1"},
		{"{\"a\":1", "line 1"},
		{"\n\n {\"a\" 1}", "line 3, column"},
		{"{}x", "line 1"},
		{"{'a':1}", "line 1"},
		{"{\"a\":01}", "line 1"},
		{"{\"a\":1e999}", "overflow"},
		{"{\"a\":99999999999999999999999}", "big"},
		{"{\"a\":1,\"a\":1}", "duplicate"},
		{"{\"a\":\"\xff\xfe\"}", "0xff"},
		{"{\"a\":\"\xc3\"}", "0xc3"},
		{"{\"a\":\"\\ud800\"}", "Unicode"},
		{"{\"a\":\"\\u0000\"}", "line 1"},
		{"{\"a\":\"\n\"}", "line 1"},
		{"{\"a\0\":1}", "line 1", 8},
		{"\0", "line", 1},
		{"\xef\xbb\xbf{}", "line 1"},
		{"[]", "give an object"},
		{"null", "give an object"},
		{"\"text\"", "give an object"},
		{"1", "give an object"},
		{"   ", "line 1"},
	};
	char *deep[] = {nested("[", 33), nested("[", 200000), nested("{\"a\":", 40)};

	for (const struct route *r = routes; r->path; r++) {
		if (r->body == BODY_NONE)
			continue;
		for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
			unsigned s = ask_bytes(
				r->method, r->path, bad[i].text, bad[i].len ? bad[i].len : -1);
			cr_expect_eq(s, 400, "%s %s: %u", r->path, bad[i].text, s);
			cr_expect(strstr(said(), bad[i].says), "%s: %s", bad[i].text, said());
		}
		for (unsigned i = 0; i < ARRAY_SIZE(deep); i++) {
			cr_expect_eq(ask(r->method, r->path, deep[i]), 400, "%s", r->path);
			cr_expect(strstr(said(), "deeper than the 32"), "%s", said());
		}
	}
	for (unsigned i = 0; i < ARRAY_SIZE(deep); i++)
		free(deep[i]);
	cr_expect_eq(fake.commands, 0);
}

Test(routes, a_body_of_a_million_values_is_400)
{
	char *text = calloc(1, 4 << 20), *p = stpcpy(text, "{\"x\":[[]");

	while (p < text + (4 << 20) - 8)
		p = stpcpy(p, ",[]");
	strcpy(p, "]}");
	cr_expect_eq(ask("PUT", V1 "vm.create", text), 400);
	cr_expect(strstr(said(), "more than the 65536 values"), "%s", said());
	memset(text + 6, ' ', (size_t)(p - text) - 6); /* as long, but nothing in it */
	text[5] = '1';
	p[0] = ' ';
	cr_expect_eq(ask("PUT", V1 "vm.create", text), 204, "%.100s", fake.body);
	free(text);
}

Test(routes, brackets_in_text_are_not_nesting)
{
	char text[256], *p = stpcpy(text, "{\"payload\":{\"kernel\":\"/k\",\"cmdline\":\"\\\\\\\"");

	for (unsigned i = 0; i < 50; i++)
		*p++ = '[';
	strcpy(p, "\\\\\"}}");
	cr_assert_eq(ask("PUT", V1 "vm.create", text), 204, "%s", fake.body);
}

Test(routes, descriptors_come_where_they_are_expected)
{
	for (const struct route *r = routes; r->path; r++) {
		fake.nfds = 1;
		fake.fds[0] = 42;
		unsigned s = ask(r->method, target(r), r->max_fds ? with_fd(r) : right(r));
		cr_expect_eq(s, r->max_fds ? 204 : 400, "%s: %u", r->path, s);
		if (!r->max_fds)
			cr_expect(strstr(said(), "takes no file descriptors"), "%s", said());
		else
			cr_expect_eq(fd_of(r), 42, "%s", r->path);
	}
	fake.nfds = 2;
	cr_expect_eq(ask("PUT", V1 "vm.add-net", "{\"num_queues\":2}"), 400);
	cr_expect(strstr(said(), "one is offered"), "%s", said());
	fake.nfds = 2;
	cr_expect_eq(ask("PUT", V1 "vm.add-disk", "{}"), 400);
	fake.nfds = 1;
	cr_expect_eq(ask("PUT", V1 "vm.add-disk", "{\"path\":\"/d\"}"), 400);
	cr_expect(strstr(said(), "exactly one of path and fd"), "%s", said());
}

Test(routes, core_destinations)
{
	static const struct {
		const char *url, *path;
	} urls[] = {{"file:///a/b", "/a/b"}, {"fd:7", "fd=7"}, {"file://a", NULL}, {"/a", NULL},
		{"fd:", NULL}, {"fd:-1", NULL}, {"fd:9999999999", NULL}, {"", NULL},
		{"http://x", NULL}};
	char body[128];

	for (unsigned i = 0; i < ARRAY_SIZE(urls); i++) {
		snprintf(
			body, sizeof(body), "{\"destination_url\":\"%s\",\"more\":1}", urls[i].url);
		cr_expect_eq(ask("PUT", V1 "vm.coredump", body), urls[i].path ? 204 : 400, "%s",
			urls[i].url);
		if (urls[i].path)
			cr_expect_str_eq(fake.path, urls[i].path);
		else
			cr_expect(strstr(said(), "destination_url"), "%s", said());
	}
}

Test(routes, errors_have_their_status_and_the_clients_words)
{
	static const struct {
		enum err_kind kind;
		unsigned status;
	} kinds[] = {{ERR_USAGE, 400}, {ERR_NOT_FOUND, 404}, {ERR_CONFLICT, 409},
		{ERR_UNOFFERED, 501}, {ERR_HOST, 500}};
	static const struct {
		const char *flag, *json;
	} words[] = {{"--kernel: needed", "payload.kernel: needed"},
		{"--kernel /x: gone", "payload.kernel /x: gone"},
		{"--cpus max: 1 is less", "cpus.max_vcpus: 1 is less"},
		{"--disk _disk0: PCI slot 3 is taken", "disks _disk0: PCI slot 3 is taken"},
		{"--disk id: \"x\" is used twice", "disks.id: \"x\" is used twice"},
		{"--diskette: no", "--diskette: no"},
		{"vm.add: there already", "vm.add-disk: there already"}};

	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		fake.err = (struct err){.kind = kinds[i].kind, .text = "vm.boot: no \xff\n\x01"};
		cr_expect_eq(ask("PUT", V1 "vm.boot", NULL), kinds[i].status);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(words); i++) {
		fake.err = (struct err){.kind = ERR_USAGE};
		strcpy(fake.err.text, words[i].flag);
		cr_expect_eq(ask("PUT", V1 "vm.add-disk", "{\"path\":\"/d\"}"), 400);
		cr_expect_str_eq(said(), words[i].json);
	}
}

Test(routes, info_as_v1_shows_it)
{
	cr_assert_eq(ask("GET", V1 "vm.info", NULL), 200);
	json_t *o = answer();
	cr_expect_str_eq(json_string_value(json_object_get(o, "state")), "Paused");
	json_t *serial = json_object_get(json_object_get(o, "config"), "serial");
	cr_expect_str_eq(json_string_value(json_object_get(serial, "mode")), "Pty");
	cr_expect_str_eq(json_string_value(json_object_get(serial, "file")), "/dev/pts/7");
	json_t *tree = json_object_get(o, "device_tree");
	cr_expect_str_eq(
		json_string_value(json_object_get(json_object_get(tree, "_disk0"), "pci_bdf")),
		"0000:00:11.0");
	cr_expect(json_is_null(json_object_get(json_object_get(tree, "a\"b"), "pci_bdf")));
	json_t *asked = json_object_get(json_object_get(o, "polyvisor"), "asked");
	cr_expect_str_eq(
		json_string_value(json_object_get(json_array_get(asked, 0), "what")), "hugepages");
	json_t *offload = json_object_get(json_object_get(o, "polyvisor"), "offload");
	json_t *disk = json_array_get(offload, 0), *net = json_array_get(offload, 1);
	cr_expect_str_eq(json_string_value(json_object_get(disk, "kind")), "auto");
	cr_expect_eq(json_integer_value(json_object_get(disk, "pid")), 4711);
	cr_expect_eq(json_integer_value(json_object_get(disk, "restarts")), 2);
	cr_expect(json_is_false(json_object_get(net, "connected")));
	cr_expect(!json_object_get(net, "pid"));

	cr_assert_eq(ask("GET", V1 "vm.counters", NULL), 200);
	cr_expect_eq(json_integer_value(
			     json_object_get(json_object_get(answer(), "_disk0"), "read_bytes")),
		4096);
	cr_assert_eq(ask("GET", V1 "vm.devices", NULL), 200);
	cr_expect_eq(json_array_size(answer()), 2);
	cr_assert_eq(ask("GET", V1 "vm.devices/_disk0", NULL), 200);
	o = answer();
	cr_expect_eq(json_integer_value(json_object_get(o, "pause_us")), 123);
	cr_expect_eq(json_object_size(json_object_get(o, "state")), 2);
	cr_assert_eq(ask("GET", V1 "vmm.ping", NULL), 200);
	cr_expect(json_is_array(json_object_get(answer(), "features")));
}

/* The text format: a family is HELP, TYPE and all of its samples, named once. */
static void check_metrics(void)
{
	char seen[4096] = "", name[128] = "", word[160];
	char *copy = strdup(fake.body), *save = NULL;

	for (char *l = strtok_r(copy, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
		if (!strncmp(l, "# HELP ", 7)) {
			cr_assert_eq(sscanf(l + 7, "%127s", name), 1);
			snprintf(word, sizeof(word), " %s ", name);
			cr_expect(!strstr(seen, word), "%s comes twice", name);
			strcat(seen, word);
		} else if (!strncmp(l, "# TYPE ", 7)) {
			cr_expect_eq(strncmp(l + 7, name, strlen(name)), 0, "%s", l);
			cr_expect(strstr(l, " gauge") || strstr(l, " counter"), "%s", l);
		} else {
			char *end;
			cr_expect_eq(strncmp(l, name, strlen(name)), 0, "%s", l);
			strtod(strrchr(l, ' '), &end);
			cr_expect_eq(*end, '\0', "%s", l);
		}
	}
	free(copy);
}

Test(routes, metrics)
{
	cr_assert_eq(ask("GET", "/metrics", NULL), 200);
	cr_expect_str_eq(fake.type, "text/plain; version=0.0.4; charset=utf-8");
	check_metrics();
	cr_expect(strstr(fake.body, "polyvisor_read_bytes_total{id=\"_disk0\"} 4096\n"
				    "polyvisor_read_bytes_total{id=\"a\\\"b\"} 1\n"),
		"%s", fake.body);
	cr_expect(strstr(fake.body, "polyvisor_vm_state{state=\"Paused\"} 1\n"));
	cr_expect(strstr(fake.body, "polyvisor_api_clients 3\n"));
	cr_expect(strstr(
		fake.body, "polyvisor_offload_connected{id=\"_net0\",kind=\"vhost-user\"} 0\n"));
	cr_expect(strstr(fake.body, "# TYPE polyvisor_read_latency_avg_us gauge\n"
				    "polyvisor_read_latency_avg_us{id=\"_disk0\"} 250\n"),
		"%s", fake.body);
	fake.err = (struct err){.kind = ERR_NOT_FOUND, .text = "no VM"};
	cr_assert_eq(ask("GET", "/metrics", NULL), 200);
	check_metrics();
	cr_expect(strstr(fake.body, "polyvisor_vm_state{state=\"NotCreated\"} 1\n"));
	cr_expect(!strstr(fake.body, "read_bytes"));
}
