/* SPDX-License-Identifier: Apache-2.0 */
/* polyctl offload: the devices of a polyvisor-offload, by its control socket. */
#include <string.h>
#include "tools/polyctl/polyctl.h"
#include "tools/polyctl/table.h"
#include "tools/polyctl/words.h"
#include "vmm/base/num.h"

#define API "/api/v1/"

/* ---- flags ---- */

static int set_once(struct call *c, const struct flag *f, const char *value, struct err *e)
{
	c->once = true;
	return 0;
}

static int set_total(struct call *c, const struct flag *f, const char *value, struct err *e)
{
	c->total = true;
	return 0;
}

static const struct flag offload_flags[] = {
	{"--socket", "PATH",
		"polyvisor-offload's --api-socket; $POLYVISOR_OFFLOAD_SOCKET by default", HINT_FILE,
		flag_socket},
	{"--json", NULL, "the server's own answer, not a table", HINT_NONE, flag_json},
	{0},
};
static const struct flag list_flags[] = {
	{"--ids", NULL, "only the ids, one a line", HINT_NONE, flag_ids},
	{0},
};
static const struct flag add_flags[] = {
	{"--fd", "N", "an open file or tap of this process is passed on, instead of its name",
		HINT_NONE, flag_fd},
	{0},
};
static const struct flag top_flags[] = {
	{"--once", NULL, "one look and the end; of several, the second", HINT_NONE, set_once},
	{"--total", NULL, "since each device was made, instead of since the last look", HINT_NONE,
		set_total},
	{"--interval", "SECONDS", "between two looks, 1 by default", HINT_NONE, flag_seconds},
	{0},
};

/* ---- words ---- */

#define KEY(n, t, h, ...)                                                                          \
	{                                                                                          \
		.name = n, .type = t, .help = h, __VA_ARGS__                                       \
	}
static const char *const backends[] = {"file", "ram", "null", "tap", "passt", NULL};
static const struct opt device_keys[] = {
	KEY("socket", OPT_STR, "unix socket where the device shall listen", .max = 96),
	KEY("id", OPT_STR, "name in logs and threads", .max = 31),
	KEY("backend", OPT_ENUM, "file, ram or null of a disk; tap, passt or null of a network",
		.values = backends),
	KEY("path", OPT_STR, "raw file or block device"),
	KEY("size", OPT_SIZE, "of ram and null"),
	KEY("readonly", OPT_BOOL, "refuse writes"),
	KEY("direct", OPT_BOOL, "bypass the host's page cache"),
	KEY("serial", OPT_STR, "serial number, at most 20 bytes", .max = 20),
	KEY("tap", OPT_STR, "tap interface, made if absent", .max = 15),
	KEY("forward", OPT_STR, "arguments for passt, as \"-t 2222:22\""),
	KEY("mac", OPT_MAC, "guest's address, random by default"),
	KEY("mtu", OPT_U32, "told to the guest", .min = 68, .max = 65535),
	KEY("queues", OPT_U32, "of a disk, or pairs of a network", .min = 1, .max = 16),
	KEY("queue_size", OPT_U32, "entries in a ring, a power of two", .min = 2, .max = 1024),
	KEY("poll", OPT_U32, "percent of a core for looking at rings", .max = 100),
	KEY("unsealed", OPT_BOOL, "map memory that the front-end could still truncate"),
};
static const struct opt_table device_words = {.flag = "offload add",
	.help = "a device, by its type and keys",
	.opts = device_keys,
	.n = ARRAY_SIZE(device_keys),
	.size = sizeof(uint64_t)};
static const struct opt size_keys[] = {KEY("size", OPT_SIZE, "bytes")};
static const struct opt_table size_words = {.flag = "offload resize",
	.help = "a size",
	.opts = size_keys,
	.n = ARRAY_SIZE(size_keys),
	.size = sizeof(uint64_t)};

/* "virtio-blk path=disk socket=/run/s", or with commas as --device has it. */
static int prepare_add(struct call *c, struct err *e)
{
	char *comma = strchr(c->word[0], ',');
	int r;

	if (comma) {
		*comma = '\0';
		memmove(c->word + 2, c->word + 1, (c->nwords - 1) * sizeof(c->word[0]));
		c->word[1] = comma + 1;
		c->nwords++;
	}
	r = words_to_json(&device_words, c->word + 1, c->nwords - 1, &c->body, e);
	if (r == 0 && json_object_set_new(c->body, "type", json_string(c->word[0])) < 0)
		r = err_set(e, ERR_USAGE, -EINVAL, "offload add: the type is not UTF-8");
	return r;
}

static int prepare_id(struct call *c, struct err *e)
{
	return path_with_id(c, c->word[0], e);
}

static int prepare_resize(struct call *c, struct err *e)
{
	char pair[80], *words[] = {pair};

	snprintf(pair, sizeof(pair), "size=%.64s", c->nwords > 1 ? c->word[1] : "0");
	int r = words_to_json(&size_words, words, 1, &c->body, e);
	return r < 0 ? r : path_with_id(c, c->word[0], e);
}

/* ---- answers ---- */

static const char *text_of(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

static const char *backing(const json_t *d)
{
	static const char *const keys[] = {"path", "tap", "backend"};
	const json_t *config = json_object_get(d, "config");

	for (unsigned i = 0; i < ARRAY_SIZE(keys); i++)
		if (text_of(config, keys[i]))
			return text_of(config, keys[i]);
	return NULL;
}

static int show_list(struct call *c, const json_t *answer)
{
	struct table t = TABLE_INIT(6);
	json_t *d;
	size_t i;
	int r;

	if (!c->ids)
		table_row(&t, "DEVICE", "TYPE", "BACKING", "HEALTH", "CONNECTED SINCE", "SOCKET");
	json_array_foreach (answer, i, d) {
		const json_t *front = json_object_get(d, "front_end");

		if (c->ids)
			fprintf(c->out, "%s\n", text_of(d, "id") ? text_of(d, "id") : "");
		else
			table_row(&t, text_of(d, "id"), text_of(d, "type"), backing(d),
				text_of(d, "health"), text_of(front, "connected_since"),
				text_of(d, "socket"));
	}
	r = table_print(&t, c->out);
	table_fini(&t);
	return r;
}

static int show_id(struct call *c, const json_t *answer)
{
	if (text_of(answer, "id"))
		fprintf(c->out, "%s\n", text_of(answer, "id"));
	return 0;
}

static void value_row(struct table *t, const char *key, const json_t *v)
{
	char buf[512] = "";
	size_t i, at = 0;
	json_t *one;

	if (json_is_string(v))
		snprintf(buf, sizeof(buf), "%s", json_string_value(v));
	else if (json_is_real(v))
		snprintf(buf, sizeof(buf), "%.1f", json_real_value(v));
	else if (!json_is_array(v))
		buf[json_dumpb(v, buf, sizeof(buf) - 1, JSON_ENCODE_ANY) % sizeof(buf)] = '\0';
	json_array_foreach (v, i, one)
		if (at < sizeof(buf))
			at += (size_t)snprintf(buf + at, sizeof(buf) - at, "%s%s", at ? " " : "",
				json_is_string(one) ? json_string_value(one) : "?");
	table_row(t, key, buf);
}

/* What was not asked for is left out, as is what is in both. */
static void object_rows(struct table *t, const char *prefix, const json_t *object)
{
	const char *key;
	json_t *v;

	json_object_foreach ((json_t *)object, key, v) {
		char path[80];

		snprintf(path, sizeof(path), "%s%s", prefix, key);
		if (!json_is_null(v) && !json_is_object(v) && !json_is_object(json_array_get(v, 0)))
			value_row(t, path, v);
	}
}

static int queue_table(struct call *c, const json_t *queues)
{
	static const char *const keys[] = {"requests", "read_bytes", "written_bytes", "errors",
		"kicks", "interrupts", "in_flight"};
	struct table t = TABLE_INIT(10);
	size_t i;
	json_t *q;
	int r;

	t.right = 0x3fd;
	table_row(&t, "QUEUE", "STATE", "SIZE", "REQUESTS", "READ", "WRITTEN", "ERRORS", "KICKS",
		"INTERRUPTS", "IN FLIGHT");
	json_array_foreach (queues, i, q) {
		bool runs = json_is_true(json_object_get(q, "running"));
		char cell[ARRAY_SIZE(keys)][24] = {0}, index[24], size[24];

		for (unsigned k = 0; k < ARRAY_SIZE(keys); k++)
			if (json_object_get(q, keys[k]))
				snprintf(cell[k], sizeof(cell[k]), "%lld",
					(long long)json_integer_value(json_object_get(q, keys[k])));
		snprintf(index, sizeof(index), "%zu", i);
		snprintf(size, sizeof(size), "%lld",
			(long long)json_integer_value(json_object_get(q, "size")));
		table_row(&t, index, runs ? "running" : "stopped", size, cell[0], cell[1], cell[2],
			cell[3], cell[4], cell[5], cell[6]);
	}
	r = table_print(&t, c->out);
	table_fini(&t);
	return r;
}

static int show_inspect(struct call *c, const json_t *answer)
{
	struct table t = TABLE_INIT(2);
	int r;

	object_rows(&t, "", answer);
	object_rows(&t, "config ", json_object_get(answer, "config"));
	object_rows(&t, "front-end ", json_object_get(answer, "front_end"));
	object_rows(&t, "features ", json_object_get(answer, "features"));
	r = table_print(&t, c->out);
	table_fini(&t);
	if (r == 0) {
		putc('\n', c->out);
		r = queue_table(c, json_object_get(answer, "queues"));
	}
	return r;
}

/* ---- the table ---- */

static const struct verb offload_verbs[] = {
	{"ping", "", "whether polyvisor-offload answers, and which", "GET", API "ping",
		.show = show_ping},
	{"list", "", "the devices", "GET", API "devices", .flags = list_flags, .show = show_list},
	{"inspect", "ID", "everything about a device", "GET", API "devices/ID", .min = 1, .max = 1,
		.hint = HINT_DEVICE, .prepare = prepare_id, .show = show_inspect},
	{"add", "TYPE KEY=VALUE...", "serve one more device, virtio-blk or virtio-net", "POST",
		API "devices", .min = 1, .max = CALL_WORDS - 1, .help_keys = &device_words,
		.flags = add_flags, .prepare = prepare_add, .show = show_id,
		.more = "The keys are those of polyvisor-offload --device; names of files are looked "
			"for\nfrom here."},
	{"remove", "ID", "let the front-end go and give everything of the device back", "DELETE",
		API "devices/ID", .min = 1, .max = 1, .hint = HINT_DEVICE, .prepare = prepare_id},
	{"resize", "ID [SIZE]", "give a disk another size, which its guest sees", "PUT",
		API "devices/ID/size", .min = 1, .max = 2, .hint = HINT_DEVICE,
		.prepare = prepare_resize, .show = show_id,
		.more = "SIZE is in bytes, or with K, M, G or T; without it the size that the file or\n"
			"block device has now. A file grows, or is cut."},
	{"top", "", "requests, latencies and costs of every device and queue, live", "GET",
		API "devices", .flags = top_flags, .run = run_top,
		.more = "--socket may be repeated, for several processes. With --json each look is one\n"
			"line. What the columns mean is in docs/offload.md."},
	{"metrics", "", "counts for Prometheus", "GET", "/metrics"},
	{"openapi", "", "the API's own description", "GET", "/openapi.json"},
	{0},
};

const struct noun noun_offload = {"offload",
	"Devices outside the VMM, by polyvisor-offload's socket", offload_verbs, offload_flags,
	.server = "polyvisor-offload", .env = "POLYVISOR_OFFLOAD_SOCKET", .ids = "offload list"};
