/* SPDX-License-Identifier: Apache-2.0 */
/* The server's answers as tables for people. What an answer lacks is left out; what is of another
 * type than expected counts as lacking. */
#include <inttypes.h>
#include <string.h>
#include "tools/polyctl/polyctl.h"
#include "tools/polyctl/table.h"
#include "vmm/base/num.h"

static const char *text_of(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

static int finish(struct table *t, FILE *out)
{
	int r = table_print(t, out);

	table_fini(t);
	return r;
}

/* A value as one would write it: no quotes around texts. */
static const char *plain(const json_t *v, char *buf, size_t cap)
{
	buf[0] = '\0';
	if (json_is_string(v))
		snprintf(buf, cap, "%s", json_string_value(v));
	else
		buf[json_dumpb(v, buf, cap - 1, JSON_ENCODE_ANY | JSON_COMPACT) % cap] = '\0';
	return buf;
}

int show_ping(struct call *c, const json_t *answer)
{
	struct table t = TABLE_INIT(2);
	const char *key;
	json_t *v;
	char buf[256];

	json_object_foreach ((json_t *)answer, key, v) {
		if (json_is_array(v)) {
			size_t i, at = 0;
			json_t *one;

			buf[0] = '\0';
			json_array_foreach (v, i, one)
				if (json_is_string(one) && at < sizeof(buf))
					at += (size_t)snprintf(buf + at, sizeof(buf) - at, "%s%s",
						at ? ", " : "", json_string_value(one));
		} else {
			plain(v, buf, sizeof(buf));
		}
		table_row(&t, key, buf);
	}
	return finish(&t, c->out);
}

/* ---- info ---- */

static void size_row(struct table *t, const char *name, const json_t *info)
{
	const json_t *config = json_object_get(info, "config");
	json_t *asked = json_object_get(json_object_get(config, "memory"), "size");
	json_t *actual = json_object_get(info, "memory_actual_size");
	char a[24], b[24], line[80];

	if (!json_is_integer(asked) && !json_is_integer(actual))
		return;
	if (!json_is_integer(actual))
		actual = asked;
	num_format_size((uint64_t)json_integer_value(actual), a);
	snprintf(line, sizeof(line), "%s", a);
	if (json_is_integer(asked) && json_integer_value(asked) != json_integer_value(actual))
		snprintf(line, sizeof(line), "%s of %s", a,
			num_format_size((uint64_t)json_integer_value(asked), b));
	table_row(t, name, line);
}

static void cpus_row(struct table *t, const json_t *cpus)
{
	json_int_t boot = json_integer_value(json_object_get(cpus, "boot_vcpus"));
	json_int_t max = json_integer_value(json_object_get(cpus, "max_vcpus"));
	char line[80];

	if (!boot)
		return;
	snprintf(line, sizeof(line), "%lld", (long long)boot);
	if (max > boot)
		snprintf(line, sizeof(line), "%lld, at most %lld", (long long)boot, (long long)max);
	table_row(t, "vcpus", line);
}

/* "Pty /dev/pts/3" */
static void console_row(struct table *t, const char *name, const json_t *config)
{
	json_t *c = json_object_get(config, name);
	const char *mode = text_of(c, "mode"), *where = text_of(c, "file");
	char line[4200];

	if (!mode)
		return;
	if (!where)
		where = text_of(c, "socket");
	snprintf(line, sizeof(line), "%s%s%s", mode, where ? " " : "", where ? where : "");
	table_row(t, name, line);
}

static int show_state(struct call *c, const json_t *info)
{
	static const char *const payload_keys[] = {"kernel", "initramfs", "cmdline"};
	const json_t *config = json_object_get(info, "config");
	struct table t = TABLE_INIT(2);

	table_row(&t, "state", text_of(info, "state"));
	size_row(&t, "memory", info);
	cpus_row(&t, json_object_get(config, "cpus"));
	for (unsigned i = 0; i < ARRAY_SIZE(payload_keys); i++) {
		const char *text = text_of(json_object_get(config, "payload"), payload_keys[i]);
		if (text)
			table_row(&t, payload_keys[i], text);
	}
	console_row(&t, "serial", config);
	console_row(&t, "console", config);
	return finish(&t, c->out);
}

/* What one of the configuration's devices stands on, if it is the one with this id. */
static const char *backing_of(const json_t *device, const char *id)
{
	static const char *const keys[] = {"path", "tap", "socket", "backend"};
	const char *own = text_of(device, "id");

	for (unsigned i = 0; own && !strcmp(own, id) && i < ARRAY_SIZE(keys); i++)
		if (text_of(device, keys[i]))
			return text_of(device, keys[i]);
	return own && !strcmp(own, id) && json_is_integer(json_object_get(device, "fd"))
		       ? "a descriptor"
		       : NULL;
}

static const char *device_backing(const json_t *config, const char *id)
{
	static const char *const lists[] = {"disks", "net"};
	const char *backing = backing_of(json_object_get(config, "vsock"), id);
	size_t k;
	json_t *d;

	for (unsigned i = 0; i < ARRAY_SIZE(lists) && !backing; i++)
		json_array_foreach (json_object_get(config, lists[i]), k, d)
			if (!backing)
				backing = backing_of(d, id);
	return backing;
}

/* The list of vm.devices, and what each stands on when the configuration is at hand. */
static int device_table(struct call *c, const json_t *devices, const json_t *config)
{
	struct table t = TABLE_INIT(4);
	json_t *d;
	size_t i;

	table_row(&t, "DEVICE", "TYPE", "PCI", config ? "BACKING" : NULL);
	json_array_foreach (devices, i, d) {
		const char *id = text_of(d, "id");
		table_row(&t, id, text_of(d, "type"), text_of(d, "pci_bdf"),
			id ? device_backing(config, id) : NULL);
	}
	return finish(&t, c->out);
}

int show_devices(struct call *c, const json_t *answer)
{
	json_t *d;
	size_t i;

	if (!c->ids)
		return device_table(c, answer, NULL);
	json_array_foreach (answer, i, d)
		if (text_of(d, "id"))
			fprintf(c->out, "%s\n", text_of(d, "id"));
	return 0;
}

/* Whether what was achieved is less than what was asked for. The server says both in words: "on",
 * "64M of 64M", "pages of 2M", "applied"; an unbooted machine has achieved nothing yet. */
static bool falls_short(const char *want, const char *got)
{
	const char *of = strstr(got, " of "), *comma = strstr(want, ", ");
	size_t n = of ? (size_t)(of - got) : 0;

	if (!strcmp(want, "auto") || !strncmp(want, "vhost", 5) || !strcmp(want, "vdpa"))
		return !strncmp(got, "away", 4);
	if (!strcmp(got, "on") && !strncmp(want, "on, ", 4))
		return false;
	if (!strcmp(want, got) || !strcmp(got, "applied") || !strcmp(got, "not booted") ||
		!strcmp(got, "none yet"))
		return false;
	if (!of)
		return true;
	if (!strncmp(got, "pages of ", 9)) /* base pages are counted in K */
		return comma ? strcmp(comma + 2, of + 4) : of[strlen(of) - 1] == 'K';
	return strlen(of + 4) != n || strncmp(got, of + 4, n);
}

/* Line by line what was asked for and what became of it; what falls short is marked. */
static int show_asked(struct call *c, const json_t *asked)
{
	struct table t = TABLE_INIT(4);
	json_t *line;
	size_t i;

	table_row(&t, "", "OPTION", "ASKED FOR", "ACHIEVED");
	json_array_foreach (asked, i, line) {
		const char *want = text_of(line, "asked"), *got = text_of(line, "achieved");
		char what[80];

		if (!want || !got || !text_of(line, "id") || !text_of(line, "what"))
			continue;
		snprintf(what, sizeof(what), "%s %s", text_of(line, "id"), text_of(line, "what"));
		table_row(&t, falls_short(want, got) ? "!" : "", what, want, got);
	}
	return finish(&t, c->out);
}

/* vm.info of v1 has no place for a device's type, so that the devices are another call. */
int show_info(struct call *c, const json_t *answer)
{
	json_t *asked = json_object_get(json_object_get(answer, "polyvisor"), "asked");
	json_t *devices = NULL;
	int r = show_state(c, answer);

	if (r == 0 && json_object_size(json_object_get(answer, "device_tree")) &&
		call_get(c, "/api/v1/vm.devices", &devices, NULL) == 0) {
		putc('\n', c->out);
		r = device_table(c, devices, json_object_get(answer, "config"));
		json_decref(devices);
	}
	if (r == 0 && json_array_size(asked)) {
		putc('\n', c->out);
		r = show_asked(c, asked);
	}
	return r;
}

/* ---- the others ---- */

int show_counters(struct call *c, const json_t *answer)
{
	struct table t = TABLE_INIT(3);
	const char *id, *name;
	json_t *device, *v;

	t.right = 1u << 2;
	table_row(&t, "DEVICE", "COUNTER", "VALUE");
	json_object_foreach ((json_t *)answer, id, device) {
		json_object_foreach (device, name, v) {
			char buf[64];
			table_row(&t, id, name, plain(v, buf, sizeof(buf)));
		}
	}
	return finish(&t, c->out);
}

#define LONG_VALUE 64

static void value_row(struct table *t, const char *path, const json_t *v)
{
	char buf[512], cut[LONG_VALUE + 32];

	plain(v, buf, sizeof(buf));
	if (strlen(buf) > LONG_VALUE) {
		snprintf(cut, sizeof(cut), "%.*s... (--json has all)", LONG_VALUE, buf);
		table_row(t, path, cut);
	} else {
		table_row(t, path, buf);
	}
}

/* "queue[0].avail  17": every value of a device's state by its path. Keys that begin with '@' are
 * about the format. */
static void flatten(struct table *t, const char *path, const json_t *v)
{
	char sub[512];
	const char *key;
	json_t *m;
	size_t i;

	if (!json_is_object(v) && !json_is_array(v)) {
		value_row(t, path, v);
		return;
	}
	json_object_foreach ((json_t *)v, key, m) {
		if (*key == '@')
			continue;
		snprintf(sub, sizeof(sub), "%s%s%s", path, *path ? "." : "", key);
		flatten(t, sub, m);
	}
	json_array_foreach (v, i, m) {
		snprintf(sub, sizeof(sub), "%s[%zu]", path, i);
		flatten(t, sub, m);
	}
}

/* {"id": "_disk0", "pause_us": 12, "state": {"_disk0": {…}}}, and the rest as it comes. */
int show_device(struct call *c, const json_t *answer)
{
	json_t *state = json_object_get(answer, "state");
	const char *id = text_of(answer, "id"), *key;
	json_t *own = id ? json_object_get(state, id) : NULL, *v;
	struct table t = TABLE_INIT(2);

	json_object_foreach ((json_t *)answer, key, v)
		if (v != state)
			flatten(&t, key, v);
	flatten(&t, "", own ? own : state);
	return finish(&t, c->out);
}

int show_added(struct call *c, const json_t *answer)
{
	const char *id = text_of(answer, "id"), *bdf = text_of(answer, "bdf");

	if (id)
		fprintf(c->out, "%s%s%s\n", id, bdf ? " " : "", bdf ? bdf : "");
	return 0;
}
