/* SPDX-License-Identifier: Apache-2.0 */
/* Words to JSON, answers to tables, the command line's mistakes, and the completion scripts. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "tools/polyctl/console.h"
#include "tools/polyctl/polyctl.h"
#include "tools/polyctl/table.h"
#include "tools/polyctl/words.h"

/* The JSON of words, or its error's text. */
static char *json_of(const struct opt_table *t, const char *a, const char *b)
{
	char *words[] = {(char *)a, (char *)b};
	struct err e = {0};
	json_t *object;

	if (words_to_json(t, words, b ? 2 : 1, &object, &e) < 0)
		return strdup(e.text);
	char *text = json_dumps(object, JSON_COMPACT);
	json_decref(object);
	return text;
}

static void expect(const struct opt_table *t, const char *a, const char *b, const char *want)
{
	char *got = json_of(t, a, b);

	cr_expect_str_eq(got, want);
	free(got);
}

static void expect_part(const struct opt_table *t, const char *a, const char *b, const char *want)
{
	char *got = json_of(t, a, b);

	cr_expect_not_null(strstr(got, want), "no %s in %s", want, got);
	free(got);
}

Test(words, take_the_types_of_the_option_tables)
{
	expect(&words_disk, "path=/a", NULL, "{\"path\":\"/a\"}");
	expect(&words_disk, "readonly=on", "direct=false", "{\"readonly\":true,\"direct\":false}");
	expect(&words_disk, "serial=007", "queue_size=128",
		"{\"serial\":\"007\",\"queue_size\":128}");
	expect(&words_memory, "size=1G", NULL, "{\"size\":1073741824}");
	expect(&words_cpus, "boot=2,max=4", NULL, "{\"boot_vcpus\":2,\"max_vcpus\":4}");
	expect(&words_net, "mac=52:54:00:12:34:56", NULL, "{\"mac\":\"52:54:00:12:34:56\"}");
	expect(&words_net, "forward=\"-t 1,2\",mtu=1500", NULL,
		"{\"forward\":\"-t 1,2\",\"mtu\":1500}");
	expect(&words_vsock, "cid=3", "socket=/v", "{\"cid\":3,\"socket\":\"/v\"}");
	expect(&words_serial, "pty", NULL, "{\"mode\":\"Pty\"}");
	expect(&words_console, "pty", "transport=mmio",
		"{\"mode\":\"Pty\",\"transport\":\"mmio\"}");
	expect(&words_rng, "off", "pci_device_id=7", "{\"src\":\"off\",\"pci_device_id\":7}");
	expect(&words_console, "socket=/s", NULL, "{\"socket\":\"/s\"}");
	expect(&words_cpus, "affinity=[0@[1,3]],boot=1", NULL,
		"{\"affinity\":[{\"vcpu\":0,\"host_cpus\":[1,3]}],\"boot_vcpus\":1}");
}

Test(words, mistakes_name_the_key_and_what_is_allowed)
{
	expect_part(&words_disk, "paht=/a", NULL, "paht: unknown key; allowed are path");
	expect_part(&words_disk, "readonly=maybe", NULL, "give on or off");
	expect_part(&words_disk, "path", NULL, "not key=value");
	expect_part(&words_disk, "path=/a", "path=/b", "path: given twice");
	expect_part(&words_cpus, "boot=1", "boot=2", "boot: given twice");
	expect_part(&words_vsock, "cid=2", NULL, "between 3 and");
	expect_part(&words_disk, "queue_size=2048", NULL, "1024");
	expect_part(&words_memory, "size=lots", NULL, "K, M, G or T");
	expect_part(&words_disk, "serial=\xff", NULL, "UTF-8");
}

Test(words, names_of_files_are_seen_from_here)
{
	char *dir = getcwd(NULL, 0), want[5000];

	snprintf(want, sizeof(want), "{\"path\":\"%s/a.raw\"}", dir);
	expect(&words_disk, "path=a.raw", NULL, want);
	snprintf(want, sizeof(want), "{\"src\":\"%s/noise\"}", dir);
	expect(&words_rng, "noise", NULL, want);
	snprintf(want, sizeof(want), "{\"model\":\"baseline:%s/all\"}", dir);
	expect(&words_cpus, "model=baseline:all", NULL, want);
	expect(&words_cpus, "model=host", NULL, "{\"model\":\"host\"}");
	free(dir);
}

/* ---- tables ---- */

static char *shown(int (*show)(struct call *c, const json_t *j), const char *json)
{
	char *text;
	size_t len;
	json_t *j = json_loads(json, 0, NULL);
	struct call c = {.out = open_memstream(&text, &len)};

	cr_assert_not_null(j, "%s", json);
	cr_assert_eq(show(&c, j), 0);
	fclose(c.out);
	json_decref(j);
	return text;
}

static void expect_shown(
	int (*show)(struct call *c, const json_t *j), const char *json, const char *want)
{
	char *got = shown(show, json);

	cr_expect_str_eq(got, want);
	free(got);
}

Test(table, columns_are_aligned_by_characters)
{
	struct table t = TABLE_INIT(3);
	char *text;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	t.right = 1 << 1;
	table_row(&t, "芯片", "1", "x");
	table_row(&t, "a", "100", NULL);
	table_row(&t, "\033[31m", "7", "\n");
	cr_assert_eq(table_print(&t, f), 0);
	table_fini(&t);
	fclose(f);
	cr_assert_str_eq(text, "芯片       1  x\na      100\n?[31m    7  ?\n");
	free(text);
}

Test(show, info)
{
	expect_shown(show_info,
		"{\"state\":\"Running\",\"memory_actual_size\":67108864,\"config\":{"
		"\"memory\":{\"size\":134217728},\"cpus\":{\"boot_vcpus\":1,\"max_vcpus\":2},"
		"\"payload\":{\"kernel\":\"/k\",\"cmdline\":null},"
		"\"disks\":[{\"id\":\"_disk0\",\"path\":\"/d\"}],"
		"\"serial\":{\"mode\":\"Pty\",\"file\":\"/dev/pts/3\"}},"
		"\"polyvisor\":{\"asked\":[{\"id\":\"memory\",\"what\":\"hugepages\",\"asked\":\"on\","
		"\"achieved\":\"off: the pool is empty\"},"
		"{\"id\":\"_disk0\",\"what\":\"direct\",\"asked\":\"on\",\"achieved\":\"on\"}]}}",
		"state   Running\n"
		"memory  64M of 128M\n"
		"vcpus   1, at most 2\n"
		"kernel  /k\n"
		"serial  Pty /dev/pts/3\n"
		"\n"
		"   OPTION            ASKED FOR  ACHIEVED\n"
		"!  memory hugepages  on         off: the pool is empty\n"
		"   _disk0 direct     on         on\n");
	static const struct {
		const char *asked, *achieved;
		bool marked;
	} lines[] = {
		{"on", "64M of 64M", false},
		{"on", "12M of 64M", true},
		{"on", "pages of 2M", false},
		{"on", "pages of 4K", true},
		{"on, 1G", "pages of 2M", true},
		{"on, 1G", "pages of 1G", false},
		{"0-1", "0", true},
		{"baseline:/x", "applied", false},
		{"on", "not booted", false},
		{"128", "64", true},
	};
	for (unsigned i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
		char json[256];

		snprintf(json, sizeof(json),
			"{\"polyvisor\":{\"asked\":[{\"id\":\"a\",\"what\":\"b\","
			"\"asked\":\"%s\",\"achieved\":\"%s\"}]}}",
			lines[i].asked, lines[i].achieved);
		char *text = shown(show_info, json);
		cr_expect_eq(strchr(text, '!') != NULL, lines[i].marked, "%s", text);
		free(text);
	}
}

Test(show, devices)
{
	expect_shown(show_devices,
		"[{\"id\":\"_disk0\",\"type\":\"virtio-blk\",\"pci_bdf\":\"0000:00:01.0\"},"
		"{\"id\":\"_serial\",\"type\":\"ns16550\",\"pci_bdf\":null}]",
		"DEVICE   TYPE        PCI\n"
		"_disk0   virtio-blk  0000:00:01.0\n"
		"_serial  ns16550\n");
}

Test(show, answers_of_other_shapes_lack_lines_and_nothing_worse)
{
	static int (*const all[])(struct call *, const json_t *) = {
		show_ping, show_info, show_counters, show_devices, show_device, show_added};
	static const char *const odd[] = {"{}", "[]", "[1,[2]]",
		"{\"config\":[],\"device_tree\":1}",
		"{\"config\":{\"disks\":{\"a\":1},\"memory\":3,\"payload\":[]},\"state\":4}",
		"{\"polyvisor\":{\"asked\":[1,{},{\"asked\":\"x\",\"achieved\":\"y\"}]}}",
		"[{\"id\":1},{\"id\":\"a\",\"type\":[]}]", "{\"id\":1,\"bdf\":2}"};

	for (unsigned i = 0; i < sizeof(all) / sizeof(*all); i++)
		for (unsigned k = 0; k < sizeof(odd) / sizeof(*odd); k++)
			free(shown(all[i], odd[k]));
}

Test(show, counters_and_a_device)
{
	expect_shown(show_counters, "{\"_disk0\":{\"reads\":7,\"read_bytes\":4096}}",
		"DEVICE  COUNTER     VALUE\n"
		"_disk0  reads           7\n"
		"_disk0  read_bytes   4096\n");
	expect_shown(show_device,
		"{\"id\":\"x\",\"pause_us\":7,\"state\":{\"x\":{\"@version\":1,\"a\":{\"b\":[1,{"
		"\"c\":\"y\"}]},\"d\":true}}}",
		"id        x\n"
		"pause_us  7\n"
		"a.b[0]    1\n"
		"a.b[1].c  y\n"
		"d         true\n");
}

/* ---- the console without a terminal ---- */

Test(console, escapes)
{
	struct escape s = {0};
	char a[] = "ab\1", b[] = "\1c\1q\1", c[] = "xyz";

	cr_assert_eq(escape_filter(&s, a, 3), 2);
	cr_assert_eq(escape_filter(&s, b, 5), 3);
	cr_assert_eq(memcmp(b, "\1cq", 3), 0);
	cr_assert_eq(escape_filter(&s, c, 3), 0);
	cr_assert(s.leave);
}

static const char *found(const char *serial, bool *ret_socket, struct err *e)
{
	static char path[64];
	char text[256];
	const char *p = NULL;

	snprintf(text, sizeof(text), "{\"config\":{\"serial\":%s}}", serial);
	json_t *info = json_loads(text, 0, NULL);
	*e = (struct err){0};
	int r = console_find(info, "serial", ret_socket, &p, e);
	snprintf(path, sizeof(path), "%s", r == 0 ? p : "");
	json_decref(info);
	return path;
}

Test(console, is_found_or_the_reason_is_said)
{
	struct err e;
	bool socket;

	cr_assert_str_eq(
		found("{\"mode\":\"Pty\",\"file\":\"/dev/pts/1\"}", &socket, &e), "/dev/pts/1");
	cr_assert_not(socket);
	cr_assert_str_eq(found("{\"mode\":\"Socket\",\"socket\":\"/s\"}", &socket, &e), "/s");
	cr_assert(socket);
	cr_assert_str_eq(found("{\"mode\":\"File\",\"file\":\"/log\"}", &socket, &e), "");
	cr_assert_not_null(strstr(e.text, "/log"));
	cr_assert_str_eq(found("{\"mode\":\"Null\"}", &socket, &e), "");
	cr_assert_not_null(strstr(e.text, "Null"));
	cr_assert_str_eq(found("{\"mode\":\"Off\"}", &socket, &e), "");
	cr_assert_str_eq(found("null", &socket, &e), "");
	cr_assert_str_eq(found("{\"mode\":\"Pty\",\"file\":null}", &socket, &e), "");
}

/* ---- command line ---- */

static char said[1 << 18], complained[1024];

static int polyctl(char *a, char *b, char *c, char *d)
{
	char *argv[] = {(char *)"polyctl", a, b, c, d, NULL};
	int argc = 1;
	FILE *out = fmemopen(said, sizeof(said), "w"),
	     *err = fmemopen(complained, sizeof(complained), "w");

	while (argv[argc])
		argc++;
	said[0] = complained[0] = '\0';
	int status = polyctl_main(argc, argv, out, err);
	fclose(out);
	fclose(err);
	return status;
}

#define W(text)                                                                                    \
	(char[])                                                                                   \
	{                                                                                          \
		text                                                                               \
	}

Test(cli, mistakes_are_one_line_and_status_2)
{
	static const char *const bad[][4] = {
		{NULL},
		{"instance"},
		{"vm"},
		{"vm", "fly"},
		{"vm", "ping", "--socket"},
		{"vm", "ping", "--colour"},
		{"vm", "ping", "--json=yes"},
		{"vm", "ping", "word"},
		{"vm", "coredump"},
		{"vm", "device", "a", "b"},
		{"vm", "create", "--socket=/s"},
		{"vm", "create", "--socket=/s", "--kernel"},
		{"vm", "create", "--device=toaster", "--socket=/s"},
		{"vm", "add-net", "--tap-fd=77", "--socket=/s"},
		{"offload"},
		{"offload", "resize", "--socket=/s"},
		{"offload", "add", "virtio-blk", "size"},
		{"completion", "csh"},
	};

	for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		char *w[4] = {0};

		for (unsigned k = 0; k < 4 && bad[i][k]; k++)
			w[k] = strdup(bad[i][k]);
		cr_expect_eq(polyctl(w[0], w[1], w[2], w[3]), 2, "%u: %s", i, complained);
		cr_expect_eq(strncmp(complained, "polyctl: ", 9), 0);
		cr_expect_eq(strchr(complained, '\n'), complained + strlen(complained) - 1);
		cr_expect_str_eq(said, "");
		for (unsigned k = 0; k < 4; k++)
			free(w[k]);
	}
}

Test(cli, every_verb_has_its_help_and_is_completed)
{
	static char bash[1 << 18], zsh[1 << 18], fish[1 << 18];

	cr_assert_eq(polyctl(W("completion"), W("bash"), NULL, NULL), 0);
	strcpy(bash, said);
	cr_assert_eq(polyctl(W("completion"), W("zsh"), NULL, NULL), 0);
	strcpy(zsh, said);
	cr_assert_eq(polyctl(W("completion"), W("fish"), NULL, NULL), 0);
	strcpy(fish, said);
	cr_assert_eq(strncmp(zsh, "#compdef polyctl\n", 17), 0);
	for (unsigned i = 0; nouns[i]; i++) {
		for (const struct verb *v = nouns[i]->verbs; v->name; v++) {
			char name[64], want[200];
			bool word = NOUN_IS_VERB(nouns[i]);

			snprintf(name, sizeof(name), "%s", word ? "--help" : v->name);
			cr_expect_eq(polyctl((char *)nouns[i]->name, name, W("--help"), NULL), 0);
			snprintf(want, sizeof(want), "Usage: polyctl %s %s", nouns[i]->name,
				v->name);
			cr_expect_eq(strncmp(said, want, strlen(want)), 0, "%s", v->name);
			snprintf(want, sizeof(want), "'%s %s'%s)", nouns[i]->name, v->name,
				word ? "*" : "");
			cr_expect_not_null(strstr(bash, want), "%s", v->name);
			cr_expect_not_null(strstr(zsh, want), "%s", v->name);
			snprintf(want, sizeof(want), "'__polyctl_%s %s%s%s'", word ? "in" : "at",
				nouns[i]->name, word ? "" : " ", v->name);
			cr_expect_not_null(strstr(fish, want), "%s", v->name);
		}
	}
}
