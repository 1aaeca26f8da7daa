/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/base/opts.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include "vmm/base/num.h"
#include "vmm/base/opts_json.h"

struct thing {
	char *path, *note;
	bool readonly;
	uint32_t queues;
	uint64_t big, size;
	int node, mode, fd;
	uint8_t mac[6];
	bool mac_given;
};

static const char *const modes[] = {"off", "tty", "file", NULL};

#define OPT(f, t, ...)                                                                             \
	{                                                                                          \
		.name = #f, .type = t, .offset = offsetof(struct thing, f), __VA_ARGS__            \
	}

static const struct opt thing_opts[] = {
	OPT(path, OPT_STR, .required = true, .min = 1, .max = 20, .help = "the file"),
	OPT(note, OPT_STR, .help = "text"),
	OPT(readonly, OPT_BOOL, .help = "no writes"),
	OPT(queues, OPT_U32, .min = 1, .max = 16, .help = "queues"),
	OPT(big, OPT_U64, .help = "any number"),
	OPT(size, OPT_SIZE, .min = 16 * MIB, .max = 16 * 1024 * GIB, .help = "bytes"),
	OPT(node, OPT_INT, .min = (uint64_t)-1, .max = 7, .help = "node"),
	OPT(mode, OPT_ENUM, .values = modes, .help = "mode"),
	OPT(fd, OPT_FD, .help = "descriptor"),
	OPT(mac, OPT_MAC, .set_offset = offsetof(struct thing, mac_given), .help = "address"),
};

static const struct opt_table table = {.flag = "--thing",
	.help = "a thing",
	.opts = thing_opts,
	.n = ARRAY_SIZE(thing_opts),
	.size = sizeof(struct thing),
	.bare_key = "path"};

static struct thing t;

static void make(void)
{
	t = (struct thing){.fd = -1, .node = -1, .queues = 1, .note = strdup("default")};
}

static void unmake(void)
{
	opts_free(&table, &t);
}

TestSuite(opts, .init = make, .fini = unmake);

Test(opts, every_type)
{
	struct err e = {0};
	int r = opts_parse(&table,
		"path=/a,note=\"x=1,y=2\",readonly=on,queues=0x10,big=18446744073709551615,"
		"size=2G,node=-1,mode=file,fd=7,mac=52:54:00:12:34:56",
		&t, &e);

	cr_assert_eq(r, 0, "%s", e.text);
	cr_assert_str_eq(t.path, "/a");
	cr_assert_str_eq(t.note, "x=1,y=2");
	cr_assert(t.readonly && t.queues == 16 && t.big == UINT64_MAX && t.size == 2 * GIB);
	cr_assert(t.node == -1 && t.mode == 2 && t.fd == 7);
	cr_assert(t.mac_given && t.mac[0] == 0x52 && t.mac[5] == 0x56);
}

static void accepted(const char *text)
{
	struct err e = {0};
	int r;

	unmake();
	make();
	r = opts_parse(&table, text, &t, &e);
	cr_assert_eq(r, 0, "%s: %s", text, e.text);
}

Test(opts, forms)
{
	accepted("/a");
	cr_assert_str_eq(t.path, "/a");
	cr_assert(!t.mac_given);
	cr_assert_str_eq(t.note, "default");
	accepted("/a,readonly=true");
	cr_assert(t.readonly);
	accepted("\"/a,b\",readonly=false");
	cr_assert_str_eq(t.path, "/a,b");
	accepted("note=,path=\"x\"");
	cr_assert_str_eq(t.note, "");
	accepted("readonly=off,path=a=b");
	cr_assert_str_eq(t.path, "a=b");
}

static void refused(const char *text, const char *message)
{
	struct err e = {0};
	int r;

	unmake();
	make();
	r = opts_parse(&table, text, &t, &e);
	cr_assert_eq(r, -EINVAL, "%s gives %d", text, r);
	cr_assert_eq(e.kind, ERR_USAGE);
	cr_assert_str_eq(e.text, message);
}

Test(opts, messages_name_flag_field_and_what_is_allowed)
{
	refused("", "--thing path: missing; give path=VALUE, a text of 1 to 20 bytes");
	refused("path=", "--thing path: \"\" is not long enough; give a text of 1 to 20 bytes");
	refused("aaaaaaaaaabbbbbbbbbbc",
		"--thing path: \"aaaaaaaaaabbbbbbbbbbc\" is not short enough; give a text of 1 to 20 bytes");
	refused("a,size=12Q",
		"--thing size: \"12Q\" is not a size; give a number with K, M, G or T, between 16M and 16T");
	refused("a,size=15M",
		"--thing size: \"15M\" is not in range; give a number with K, M, G or T, between 16M and 16T");
	refused("a,readonly=maybe", "--thing readonly: \"maybe\" is not allowed; give on or off");
	refused("a,readonly", "--thing readonly: no value; give readonly=VALUE, on or off");
	refused("a,queues=17",
		"--thing queues: \"17\" is not in range; give a number between 1 and 16");
	refused("a,queues=x",
		"--thing queues: \"x\" is not a number; give a number between 1 and 16");
	refused("a,big=18446744073709551616",
		"--thing big: \"18446744073709551616\" is not in range; give a number between 0 and 18446744073709551615");
	refused("a,node=-2",
		"--thing node: \"-2\" is not in range; give a number between -1 and 7");
	refused("a,node=99999999999",
		"--thing node: \"99999999999\" is not in range; give a number between -1 and 7");
	refused("a,mode=TTY", "--thing mode: \"TTY\" is not allowed; give one of off, tty, file");
	refused("a,fd=-1",
		"--thing fd: \"-1\" is not in range; give the number of an open file descriptor");
	refused("a,mac=1:2",
		"--thing mac: \"1:2\" is not a MAC address; give an address such as 52:54:00:12:34:56");
	refused("a,path=b", "--thing path: given twice; once is allowed");
	refused("path=a,pth=b",
		"--thing pth: unknown key; allowed are path, note, readonly, queues, big, size, node, mode, fd, mac");
	refused("path=a,", "--thing : no value; give KEY=VALUE");
	refused("path=\"a",
		"--thing path: a value in \"double quotes\" must end with a quote and a comma");
	refused("path=\"a\"b",
		"--thing path: a value in \"double quotes\" must end with a quote and a comma");
}

Test(opts, copies_own_their_strings)
{
	struct thing copy;

	accepted("path=/a,note=n");
	cr_assert_eq(opts_copy(&table, &t, &copy), 0);
	cr_assert_neq(copy.path, t.path);
	cr_assert_str_eq(copy.path, "/a");
	opts_free(&table, &copy);
	opts_free(&table, &copy);
	cr_assert_null(copy.path);
}

Test(opts, help_lists_every_key)
{
	char *text;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	opts_help(&table, f);
	fclose(f);
	cr_assert_eq(
		strncmp(text, "  --thing path=TEXT,note=TEXT,readonly=on|off,", 46), 0, "%s", text);
	cr_assert(strstr(text, "mode=off|tty|file"));
	for (unsigned i = 0; i < table.n; i++)
		cr_assert(strstr(text, thing_opts[i].help), "%s", text);
	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
		cr_assert_leq(strlen(line), 80, "%s", line);
	free(text);
}

static unsigned warned;

static void warn(void *arg, const char *key)
{
	cr_assert_str_eq(key, "foreign");
	warned++;
}

static int from_json(const char *text, bool strict, struct err *e)
{
	json_t *o = json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
	int r;

	cr_assert(o, "%s", text);
	unmake();
	make();
	r = opts_from_json(&table, o, strict, warn, NULL, &t, e);
	json_decref(o);
	return r;
}

Test(opts, json_takes_the_same_values)
{
	struct err e = {0};

	cr_assert_eq(from_json("{\"path\":\"/a\",\"readonly\":true,\"queues\":4,\"size\":33554432,"
			       "\"node\":-1,\"mode\":\"tty\",\"fd\":null,\"foreign\":{}}",
			     false, &e),
		0, "%s", e.text);
	cr_assert(t.readonly && t.queues == 4 && t.size == 32 * MIB && t.mode == 1 && t.fd == -1);
	cr_assert_eq(warned, 1);
	cr_assert_eq(from_json("{\"path\":\"/a\",\"size\":\"1G\"}", true, &e), 0);
	cr_assert_eq(t.size, GIB);
}

static void json_refused(const char *text, const char *start)
{
	struct err e = {0};

	cr_assert_eq(from_json(text, true, &e), -EINVAL, "%s", text);
	cr_assert_eq(strncmp(e.text, start, strlen(start)), 0, "%s", e.text);
}

Test(opts, json_messages)
{
	json_refused(
		"{\"path\":\"a\",\"foreign\":1}", "--thing foreign: unknown key; allowed are path");
	json_refused("{}", "--thing path: missing");
	json_refused("{\"path\":null}", "--thing path: missing");
	json_refused("{\"path\":3}", "--thing path: is of the wrong JSON type; give a string");
	json_refused("{\"path\":\"a\\u0000b\"}", "--thing path: is of the wrong JSON type");
	json_refused(
		"{\"queues\":1.5}", "--thing queues: is of the wrong JSON type; give a integer");
	json_refused("{\"queues\":-1}", "--thing queues: \"-1\" is not a number");
	json_refused("{\"queues\":[1]}", "--thing queues: is of the wrong JSON type");
	json_refused("{\"readonly\":1}", "--thing readonly: is of the wrong JSON type");
	json_refused("[]", "--thing: give a JSON object");
}

Test(opts, json_round_trip)
{
	struct thing back = {.fd = -1};
	struct err e = {0};
	json_t *o;

	accepted("/a,big=18446744073709551615,mode=tty,size=1G,node=3");
	o = opts_to_json(&table, &t);
	cr_assert_eq(json_object_size(o), table.n);
	cr_assert(json_is_null(json_object_get(o, "mac"))); /* never given */
	cr_assert_eq(opts_from_json(&table, o, true, NULL, NULL, &back, &e), 0, "%s", e.text);
	cr_assert(back.big == UINT64_MAX && back.mode == 1 && back.node == 3 && !back.mac_given);
	cr_assert_str_eq(back.note, "default");
	opts_free(&table, &back);
	json_decref(o);
}

Test(opts, schema)
{
	json_t *o = opts_schema(&table), *p = json_object_get(o, "properties");

	cr_assert_eq(json_object_size(p), table.n);
	cr_assert_eq(json_array_size(json_object_get(o, "required")), 1);
	cr_assert_eq(json_array_size(json_object_get(json_object_get(p, "mode"), "enum")), 3);
	cr_assert_eq(
		json_integer_value(json_object_get(json_object_get(p, "node"), "minimum")), -1);
	cr_assert_eq(
		json_integer_value(json_object_get(json_object_get(p, "queues"), "maximum")), 16);
	json_decref(o);
}
