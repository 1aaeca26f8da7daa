/* SPDX-License-Identifier: Apache-2.0 */
/* Flags to bodies, words to paths, documents to tables, contexts: what needs no server. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "tools/polyctl/cloud.h"

static char said[65536], complained[1024];

static int polyctl(const char *words)
{
	char copy[512], *argv[32] = {(char *)"polyctl"}, *rest = copy;
	int argc = 1;
	FILE *out = fmemopen(said, sizeof(said), "w"),
	     *err = fmemopen(complained, sizeof(complained), "w");

	snprintf(copy, sizeof(copy), "%s", words);
	while ((argv[argc] = strsep(&rest, " ")))
		argc++;
	said[0] = complained[0] = '\0';
	int status = polyctl_main(argc, argv, out, err);
	fclose(out);
	fclose(err);
	return status;
}

/* What verb's flags make of their values: the body, or the error. */
static char *body_of(const struct verb *v, const char *const *flags)
{
	struct call c = {.verb = v};
	struct err e = {0};
	int r = 0;

	for (; r == 0 && *flags; flags += 2) {
		const struct flag *f = v->flags;

		while (f->name && strcmp(f->name, flags[0]))
			f++;
		cr_assert_not_null(f->name, "%s", flags[0]);
		r = f->set(&c, f, flags[1], &e);
	}
	char *text = r < 0 ? strdup(e.text) : json_dumps(c.body, JSON_COMPACT);
	json_decref(c.body);
	return text;
}

static void expect_body(const struct noun *n, const char *flag, const char *value, const char *want)
{
	const char *const flags[] = {flag, value, NULL};
	char *got = body_of(n->verbs, flags);

	cr_expect_not_null(strstr(got, want), "%s %s: no %s in %s", flag, value, want, got);
	free(got);
}

Test(flags, become_fields)
{
	const struct noun *n = &noun_instance;

	expect_body(n, "--image", "debian:12", "{\"image\":\"debian:12\"}");
	expect_body(n, "--memory", "512M", "{\"memory_mib\":512}");
	expect_body(n, "--memory", "512", "{\"memory_mib\":512}");
	expect_body(n, "--memory", "1G", "{\"memory_mib\":1024}");
	expect_body(n, "--memory", "3K", "whole MiB");
	expect_body(n, "--memory", "lots", "give a size");
	expect_body(n, "--root-size", "4G", "{\"root_gib\":4}");
	expect_body(n, "--network", "none", "{\"network\":null}");
	expect_body(n, "--network", "lab", "{\"network\":\"lab\"}");
	expect_body(n, "--feature", "sve,sve2", "{\"features\":[\"sve\",\"sve2\"]}");
	expect_body(n, "--label", "tier=web", "{\"labels\":{\"tier\":\"web\"}}");
	expect_body(n, "--label", "=web", "give KEY=VALUE");
	expect_body(n, "--volume", "data", "{\"disks\":[{\"volume\":\"data\"}]}");
	expect_body(n, "--port", "8080:80", "{\"ports\":[{\"host_port\":8080,\"guest_port\":80}]}");
	expect_body(n, "--port", "127.0.0.1:8080:80", "\"address\":\"127.0.0.1\"");
	expect_body(n, "--port", "[::1]:8080:80", "\"address\":\"[::1]\"");
	for (const char *const *bad = (const char *const[]){"80", ":80", "0:80", "80:65536", "a:b",
		     "80:", "", NULL};
		*bad; bad++)
		expect_body(n, "--port", *bad, "give [ADDRESS:]HOST-PORT:GUEST-PORT");
	expect_body(n, "--cpus", "many", "give a number");
	expect_body(n, "--protect", "", "{\"protected\":true}");
	expect_body(n, "--label", "\xff=1", "UTF-8");
}

static void expect_cell(const char *doc, const char *path, const char *want)
{
	json_t *j = json_loads(doc, 0, NULL);
	char text[64];

	cloud_cell(j, path, text, sizeof(text));
	cr_expect_str_eq(text, want);
	json_decref(j);
}

Test(cells, follow_paths)
{
	expect_cell("{\"a\":{\"b\":\"c\"}}", "a.b", "c");
	expect_cell("{\"a\":[{\"b\":1},{\"b\":2}]}", "a.b", "1, 2");
	expect_cell("{\"a\":[\"x\",\"y\"]}", "a", "x, y");
	expect_cell("{\"a\":null}", "a", "");
	expect_cell("{}", "a.b.c", "");
	expect_cell("{\"a\":3}", "a.b", "");
	expect_cell("{\"a\":{\"k\":\"v\",\"l\":2}}", "a", "k=v,l=2");
	expect_cell("{\"a\":[{\"host_port\":80,\"guest_port\":8080,\"address\":\"::1\"}]}", "a",
		"::1:80:8080");
	expect_cell("{\"a\":\"no time\"}", "@a", "no time");
	expect_cell("{\"a\":true,\"b\":0.5}", "b", "0.50");
}

static void expect_path(const char *path, const char *word, const char *project, const char *want)
{
	struct cloud_end end = {.project = (char *)project};
	struct call c = {.end = &end, .query = "&state=running"};
	char *words[] = {(char *)word}, *got = NULL;
	unsigned used;
	struct err e = {0};

	int r = cloud_path(&c, path, words, 1, &used, &got, &e);
	if (want) {
		cr_assert_eq(r, 0, "%s", e.text);
		cr_expect_str_eq(got, want);
		free(got);
	} else {
		cr_expect_lt(r, 0);
	}
}

Test(paths, take_words_that_cannot_leave_their_place)
{
	expect_path("/v1/instances/{name}", "a", NULL, "/v1/instances/a?state=running");
	expect_path("/v1/instances/{name}/log", "../b?c#d", NULL,
		"/v1/instances/..%2Fb%3Fc%23d/log?state=running");
	expect_path("/v1/instances", "a", "lab", "/v1/instances?project=lab&state=running");
	expect_path("/v1/x?port=1", "a", "lab", "/v1/x?port=1&project=lab&state=running");
	expect_path("/v1/instances/{name}", "", NULL, NULL);
}

static char *shown(
	int (*show)(struct call *, const json_t *), const struct verb *v, const char *doc)
{
	struct call c = {.verb = v};
	char *text;
	size_t len;
	json_t *j = json_loads(doc, 0, NULL);

	c.out = open_memstream(&text, &len);
	cr_assert_eq(show(&c, j), 0);
	fclose(c.out);
	json_decref(j);
	return text;
}

Test(show, tables)
{
	static const struct verb v = {"list", .columns = "NAME=name STATE=observed.state"};
	char *text = shown(cloud_show_list, &v,
		"{\"items\":[{\"name\":\"a\",\"observed\":{\"state\":\"running\"}},{\"name\":3}]}");
	cr_expect_str_eq(text, "NAME  STATE\na     running\n3\n");
	free(text);
	text = shown(cloud_show_diagnose, &v,
		"{\"hops\":[{\"hop\":\"host\",\"ok\":true},{\"hop\":\"vmm\",\"ok\":false,"
		"\"evidence\":\"gone\"},{\"hop\":\"ring\",\"ok\":false},{\"hop\":\"guest\"}]}");
	cr_expect_str_eq(text,
		"   HOP    HEALTHY  EVIDENCE\n   host   yes\n!  vmm    no       gone\n"
		"   ring   no\n   guest  -\n");
	free(text);
	text = shown(cloud_show_schedule, &v,
		"{\"host\":null,\"candidates\":[{\"host\":\"a\",\"fits\":false,\"reasons\":[\"no "
		"sve\",\"full\"]}]}");
	cr_expect_str_eq(text,
		"HOST  CHIP  FITS  SCORE  WHY\na           no           no sve, full\n\nno host fits\n");
	free(text);
	static const char *const odd[] = {
		"{}", "[]", "{\"items\":[1,[]]}", "{\"hops\":[3]}", "{\"candidates\":{}}"};
	for (unsigned i = 0; i < sizeof(odd) / sizeof(*odd); i++) {
		free(shown(cloud_show_list, &v, odd[i]));
		free(shown(cloud_show_diagnose, &v, odd[i]));
		free(shown(cloud_show_schedule, &v, odd[i]));
		free(shown(cloud_show_object, &v, odd[i]));
	}
}

Test(contexts, are_kept_for_their_owner_alone)
{
	char dir[] = "/tmp/polyctl-test-XXXXXX", path[64];
	struct stat st;

	cr_assert_not_null(mkdtemp(dir));
	setenv("XDG_CONFIG_HOME", dir, 1);
	unsetenv("POLYCLOUD_SOCKET");
	cr_expect_eq(
		polyctl("context add far https://h:1/ --token pv_x --fingerprint "
			"sha256:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:"
			"FF:00:11:22:33:44:55:66:77:88:99"),
		0, "%s", complained);
	snprintf(path, sizeof(path), "%s/polyctl/contexts.json", dir);
	cr_assert_eq(stat(path, &st), 0);
	cr_expect_eq(st.st_mode & 0777, 0600);
	cr_expect_eq(polyctl("context add near /tmp/none.sock"), 0);
	cr_expect_eq(polyctl("context list"), 0);
	cr_expect_not_null(strstr(said, "*  near"));
	cr_expect_not_null(strstr(said, "https://h:1 "));
	cr_expect_eq(polyctl("instance list"), 1);
	cr_expect_not_null(strstr(complained, "/tmp/none.sock"));
	cr_expect_eq(polyctl("instance list --context nobody"), 2);
	cr_expect_eq(polyctl("context use nobody"), 2);
	cr_expect_eq(polyctl("context add x http://h:1"), 2);
	cr_expect_eq(polyctl("context add x https://h:1 --fingerprint 12"), 2);
	cr_expect_eq(polyctl("context add x"), 2);
	cr_expect_eq(polyctl("context delete near"), 0);
	cr_expect_eq(polyctl("context delete near"), 2);
	cr_expect_eq(polyctl("context list --ids"), 0);
	cr_expect_str_eq(said, "far\n");
	unlink(path);
	snprintf(path, sizeof(path), "%s/polyctl", dir);
	rmdir(path);
	rmdir(dir);
}

Test(cli, mistakes_are_one_line_and_status_2)
{
	static const char *const bad[] = {"instance create", "instance create a --memory x",
		"port add a", "port add a 80", "tunnel a 0", "tunnel a", "host fence a",
		"image upload a", "image upload a --kernel x", "instance create a --nothing",
		"key create a /nowhere", "events --until", NULL};

	setenv("POLYCLOUD_SOCKET", "/nowhere/s", 1);
	for (const char *const *b = bad; *b; b++) {
		cr_expect_eq(polyctl(*b), 2, "%s: %s", *b, complained);
		cr_expect_eq(strchr(complained, '\n'), complained + strlen(complained) - 1);
		cr_expect_str_eq(said, "");
	}
}
