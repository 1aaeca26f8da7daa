/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/base/opts.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include "vmm/base/num.h"
#include "vmm/base/opts_json.h"

struct thing {
	char *path, *note, *pins;
	bool readonly;
	uint32_t queues;
	uint64_t big, size;
	int node, mode, fd;
	uint8_t mac[6];
	bool mac_given;
};

static const char *const modes[] = {"off", "tty", "file", NULL};
static const char *const json_modes[] = {"Off", "Tty", "File", NULL};
static const char *const pinned[] = {"vcpu", NULL};

#define OPT(f, t, ...)                                                                             \
	{                                                                                          \
		.name = #f, .type = t, .offset = offsetof(struct thing, f), __VA_ARGS__            \
	}

static const struct opt thing_opts[] = {
	OPT(path, OPT_STR, .required = true, .min = 1, .max = 20, .help = "the file"),
	OPT(note, OPT_STR, .help = "text"),
	OPT(readonly, OPT_BOOL, .help = "no writes"),
	OPT(queues, OPT_U32, .json = "num_queues", .min = 1, .max = 16, .help = "queues"),
	OPT(big, OPT_U64, .help = "any number"),
	OPT(size, OPT_SIZE, .min = 16 * MIB, .max = 16 * 1024 * GIB, .help = "bytes"),
	OPT(node, OPT_INT, .min = (uint64_t)-1, .max = 7, .help = "node"),
	OPT(mode, OPT_ENUM, .values = modes, .json_values = json_modes, .help = "mode"),
	OPT(fd, OPT_FD, .help = "descriptor"),
	OPT(mac, OPT_MAC, .set_offset = offsetof(struct thing, mac_given), .help = "address"),
	OPT(pins, OPT_PINS, .values = pinned, .help = "pins"),
};

static const struct opt_unoffered not_ours[] = {
	{"iommu", "false"}, {"kind", "\"Raw\""}, {"limits", "null"}};

static const struct opt_table table = {.flag = "--thing",
	.help = "a thing",
	.opts = thing_opts,
	.n = ARRAY_SIZE(thing_opts),
	.size = sizeof(struct thing),
	.bare_key = "path",
	.unoffered = not_ours,
	.nunoffered = ARRAY_SIZE(not_ours)};

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
	accepted("pins=[0@[0,2-3],1@[4]],path=a[0");
	cr_assert_str_eq(t.pins, "[0@[0,2-3],1@[4]]");
	cr_assert_str_eq(t.path, "a[0");
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
		"--thing pth: unknown key; allowed are path, note, readonly, queues, big, size, node, mode, fd, mac, pins");
	refused("path=a,", "--thing : no value; give KEY=VALUE");
	refused("path=\"a",
		"--thing path: a value in \"double quotes\" must end with a quote and a comma");
	refused("a,pins=[0@[1,2]",
		"--thing pins: a value in [brackets] must end with its bracket and a comma");
	refused("a,pins=0@1",
		"--thing pins: \"0@1\" is not a list of pins; give a list such as [0@[2-3],1@[4]]");
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

static void warn(void *arg, const char *path)
{
	cr_assert_str_eq(path, "things[1].foreign");
	warned++;
}

static int from_json(const char *text, bool strict, struct err *e)
{
	json_t *o = json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
	int r;

	cr_assert(o, "%s", text);
	unmake();
	make();
	const struct opts_json how = {.strict = strict, .warn = warn};
	r = opts_from_json(&table, o, "things[1]", &how, &t, e);
	json_decref(o);
	return r;
}

Test(opts, json_takes_the_same_values)
{
	struct err e = {0};

	cr_assert_eq(
		from_json("{\"path\":\"/a\",\"readonly\":true,\"num_queues\":4,\"size\":33554432,"
			  "\"node\":-1,\"mode\":\"TTY\",\"fd\":null,\"foreign\":{}}",
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
	json_refused("{\"path\":\"a\",\"foreign\":1}",
		"things[1].foreign: unknown key; allowed are path");
	json_refused("{\"path\":\"a\",\"queues\":1}", "things[1].queues: unknown key; allowed are");
	json_refused("{}", "things[1].path: missing; give a text of 1 to 20 bytes");
	json_refused("{\"path\":null}", "things[1].path: missing");
	json_refused("{\"path\":3}",
		"things[1].path: is of the wrong JSON type; give a string: a text of 1 to 20 bytes");
	json_refused("{\"path\":\"a\\u0000b\"}", "things[1].path: is of the wrong JSON type");
	json_refused("{\"num_queues\":1.5}",
		"things[1].num_queues: is of the wrong JSON type; give an integer: a number between");
	json_refused("{\"num_queues\":\"4\"}", "things[1].num_queues: is of the wrong JSON type");
	json_refused("{\"num_queues\":-1}", "things[1].num_queues: \"-1\" is not a number");
	json_refused("{\"num_queues\":[1]}", "things[1].num_queues: is of the wrong JSON type");
	json_refused("{\"readonly\":1}",
		"things[1].readonly: is of the wrong JSON type; give a boolean: true or false");
	json_refused("{\"size\":1}",
		"things[1].size: \"1\" is not in range; give a number of bytes between 16777216 and");
	json_refused("{\"mode\":\"Pty\"}",
		"things[1].mode: \"Pty\" is not allowed; give one of Off, Tty, File");
	json_refused("{\"pins\":[{\"vcpu\":0,\"host_cpus\":[-1]}]}",
		"things[1].pins: is of the wrong JSON type; give an array: a list such as "
		"[{\"vcpu\": 0, \"host_cpus\": [2, 3]}]");
	json_refused("{\"pins\":[{\"vcpu\":0,\"host_cpus\":[]}]}", "things[1].pins: ");
	json_refused("{\"pins\":{}}", "things[1].pins: ");
	json_refused("[]", "things[1]: is of the wrong JSON type; give an object");
}

Test(opts, json_knows_what_is_not_offered)
{
	struct err e = {0};

	cr_assert_eq(from_json("{\"path\":\"a\",\"iommu\":false,\"kind\":\"Raw\",\"limits\":[]}",
			     true, &e),
		0, "%s", e.text);
	cr_assert_eq(from_json("{\"path\":\"a\",\"kind\":null,\"limits\":null}", true, &e), 0);
	json_refused("{\"iommu\":true}", "things[1].iommu: not offered; allowed is false");
	json_refused("{\"kind\":\"Qcow2\"}", "things[1].kind: not offered; allowed is \"Raw\"");
	json_refused("{\"limits\":{\"ops\":1}}",
		"things[1].limits: not offered; allowed is to leave it out");
}

Test(opts, json_pins)
{
	struct err e = {0};

	cr_assert_eq(from_json("{\"path\":\"a\",\"pins\":[{\"vcpu\":0,\"host_cpus\":[3,0,2]},"
			       "{\"vcpu\":9,\"host_cpus\":[1023]}]}",
			     true, &e),
		0, "%s", e.text);
	cr_assert_str_eq(t.pins, "[0@[0,2-3],9@[1023]]");
	cr_assert_eq(from_json("{\"path\":\"a\",\"pins\":[]}", true, &e), 0, "%s", e.text);
	cr_assert_null(t.pins);
}

Test(opts, json_round_trip)
{
	const struct opts_json how = {.strict = true};
	struct thing back = {.fd = -1};
	struct err e = {0};
	json_t *o;

	accepted("/a,big=18446744073709551615,mode=tty,size=1G,node=3,pins=[0@[1,2],5@[7]]");
	o = opts_to_json(&table, &t);
	cr_assert_eq(
		json_object_size(o), table.n + 2); /* and what is not offered but has a value */
	cr_assert_str_eq(json_string_value(json_object_get(o, "mode")), "Tty");
	cr_assert(json_is_null(json_object_get(o, "mac"))); /* never given */
	cr_assert_eq(opts_from_json(&table, o, "", &how, &back, &e), 0, "%s", e.text);
	cr_assert(back.big == UINT64_MAX && back.mode == 1 && back.node == 3 && !back.mac_given);
	cr_assert_str_eq(back.note, "default");
	cr_assert_str_eq(back.pins, "[0@[1-2],5@[7]]");
	opts_free(&table, &back);
	json_decref(o);
}

Test(opts, schema)
{
	json_t *o = opts_schema(&table, &t), *p = json_object_get(o, "properties");

	cr_assert_eq(json_object_size(p), table.n + table.nunoffered);
	cr_assert_eq(json_array_size(json_object_get(o, "required")), 1);
	cr_assert_eq(json_array_size(json_object_get(json_object_get(p, "mode"), "enum")), 3);
	cr_assert_eq(
		json_integer_value(json_object_get(json_object_get(p, "node"), "minimum")), -1);
	cr_assert_eq(
		json_integer_value(json_object_get(json_object_get(p, "num_queues"), "maximum")),
		16);
	cr_assert_str_eq(json_string_value(json_object_get(json_object_get(p, "note"), "default")),
		"default");
	cr_assert_eq(json_array_size(json_object_get(json_object_get(p, "kind"), "enum")), 1);
	json_decref(o);
}
