/* SPDX-License-Identifier: Apache-2.0 */
/* A key is checked by opts_set() into a scratch field of its type and turned into JSON by
 * opts_to_json() of a table that has that key alone, so nothing about types is known here. */
#include "tools/polyctl/words.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"
#include "vmm/base/opts_json.h"

/* Holds a field of any type; a set_offset of 0 means "none". */
union scratch {
	uint64_t number;
	char *text;
	uint8_t mac[6];
	int fd;
};

static const struct opt *find(const struct opt_table *t, const char *key)
{
	for (unsigned i = 0; i < t->n; i++)
		if (!strcmp(t->opts[i].name, key))
			return &t->opts[i];
	return NULL;
}

int words_absolute(const char *name, char *ret_path, size_t cap, struct err *e)
{
	char dir[PATH_MAX] = "";
	int n;

	if (name[0] != '/' && !getcwd(dir, sizeof(dir)))
		return err_set(
			e, ERR_HOST, -errno, "the current folder: %s", strerrordesc_np(errno));
	n = snprintf(ret_path, cap, "%s%s%s", dir, *dir ? "/" : "", name);
	return n < 0 || (size_t)n >= cap ? err_set(e, ERR_USAGE, -ENAMETOOLONG,
						   "%.64s...: the name is too long", name)
					 : 0;
}

/* Where in the value a file's name begins, or NULL. */
static const char *file_in(const char *key, const char *value)
{
	const char *name = NULL;

	if (!strcmp(key, "path") || !strcmp(key, "file") || !strcmp(key, "socket") ||
		!strcmp(key, "vhost_socket"))
		name = value;
	else if (!strcmp(key, "src") && strcmp(value, "off"))
		name = value;
	else if (!strcmp(key, "model") && !strncmp(value, "baseline:", 9))
		name = value + 9;
	return name && *name ? name : NULL;
}

/* value with its file's name made absolute, in text. */
static int seen_from_server(
	const char *value, const char *name, char *text, size_t cap, struct err *e)
{
	size_t n = (size_t)(name - value);

	memcpy(text, value, n);
	return words_absolute(name, text + n, cap - n, e);
}

static int set_key(const struct opt_table *t, const char *key, const char *value, json_t *object,
	struct err *e)
{
	union scratch s = {0};
	const struct opt *o = find(t, key);
	struct opt_table one = {.flag = t->flag, .opts = o, .n = 1, .size = sizeof(s)};
	const char *name = file_in(key, value);
	char text[PATH_MAX];
	int r = 0;

	if (name) {
		r = seen_from_server(value, name, text, sizeof(text), e);
		value = text;
	}
	if (r == 0)
		r = opts_set(t, key, value, &s, e);
	if (r < 0)
		return r;
	if (json_object_get(object, opts_json_key(find(t, key))))
		r = err_set(e, ERR_USAGE, -EINVAL, "%s %s: given twice", t->flag, key);
	json_t *v = r < 0 ? NULL : opts_to_json(&one, &s);
	if (r == 0 && (json_is_null(json_object_get(v, opts_json_key(find(t, key)))) ||
			      json_object_update(object, v) < 0))
		r = err_set(e, ERR_USAGE, -EINVAL, "%s %s: not UTF-8", t->flag, key);
	json_decref(v);
	opts_free(&one, &s);
	return r;
}

/* Cuts the next key=value off, at the first comma outside quotes and brackets, and takes the quotes
 * away. Returns NULL at the end. */
static char *next_pair(char **rest)
{
	char *pair = *rest, *to = pair, *p = pair;
	bool quoted = false;
	int depth = 0;

	if (!pair || !*pair)
		return NULL;
	for (; *p && (quoted || depth > 0 || *p != ','); p++) {
		if (!quoted)
			depth += (*p == '[') - (*p == ']');
		if (*p == '"')
			quoted = !quoted;
		else
			*to++ = *p;
	}
	*rest = *p ? p + 1 : NULL;
	*to = '\0';
	return pair;
}

static int set_pair(const struct opt_table *t, char *pair, json_t *object, struct err *e)
{
	char *eq = strchr(pair, '=');

	if (!eq && t->bare_key)
		return set_key(t, t->bare_key, pair, object, e);
	if (!eq)
		return err_set(e, ERR_USAGE, -EINVAL,
			"%s: \"%.64s\" is not key=value; polyctl %s%s --help lists the keys",
			t->flag, pair, strchr(t->flag, ' ') ? "" : "vm ",
			t->flag[0] == '-' ? "create" : t->flag);
	*eq = '\0';
	return set_key(t, pair, eq + 1, object, e);
}

int words_to_json(const struct opt_table *t, char *const *word, unsigned n, json_t **ret_object,
	struct err *e)
{
	json_t *object = json_object();
	int r = object ? 0 : -ENOMEM;

	for (unsigned i = 0; i < n && r == 0; i++) {
		cleanup_free char *copy = strdup(word[i]);
		char *rest = copy, *pair;

		while (r == 0 && (pair = next_pair(&rest)))
			r = set_pair(t, pair, object, e);
	}
	if (r < 0)
		json_decref(object);
	else
		*ret_object = object;
	return r;
}

/* ---- the keys of each object, by their names in the API ---- */

static const char *const transports[] = {"pci", "mmio", NULL};
static const char *const backends[] = {"tap", "passt", NULL};
static const char *const offloads[] = {"off", "auto", NULL};
static const char *const device_types[] = {
	"net", "blk", "console", "rng", "scsi", "vsock", "fs", "i2c", "can", "sound", "gpio", NULL};
static const char *const modes[] = {"off", "null", "tty", "pty", "file", "socket", NULL};
static const char *const json_modes[] = {"Off", "Null", "Tty", "Pty", "File", "Socket", NULL};
static const char *const pinned[] = {"vcpu", NULL};

#define KEY(n, t, h, ...)                                                                          \
	{                                                                                          \
		.name = n, .type = t, .help = h, __VA_ARGS__                                       \
	}
#define PLACE_KEYS                                                                                 \
	KEY("transport", OPT_ENUM, "virtio transport, pci by default", .values = transports),      \
		KEY("pci_device_id", OPT_U32, "PCI slot, the next free one by default", .max = 31)
#define DEVICE_KEYS KEY("id", OPT_STR, "name in logs, threads and events", .max = 31), PLACE_KEYS
#define QUEUE_SIZE                                                                                 \
	KEY("queue_size", OPT_U32, "entries in a ring, a power of two", .min = 2, .max = 1024)

#define SERVED_KEYS                                                                                \
	KEY("offload", OPT_ENUM, "auto: a process of its own serves it, kept alive",               \
		.values = offloads),                                                               \
		KEY("num_queues", OPT_U32, "rings", .min = 1, .max = 16),                          \
		KEY("poll", OPT_U32, "percent of a core that looking at a ring may cost",          \
			.max = 100)
#define VHOST_KEYS                                                                                 \
	KEY("vhost_user", OPT_BOOL, "another process serves it"),                                  \
		KEY("vhost_socket", OPT_STR, "unix socket where that process listens", .max = 107)
static const struct opt disk_keys[] = {
	KEY("path", OPT_STR, "raw file or block device"),
	KEY("readonly", OPT_BOOL, "refuse writes"),
	KEY("direct", OPT_BOOL, "bypass the host's page cache"),
	KEY("serial", OPT_STR, "serial number, at most 20 bytes", .max = 20),
	SERVED_KEYS,
	VHOST_KEYS,
	QUEUE_SIZE,
	DEVICE_KEYS,
};
static const struct opt net_keys[] = {
	KEY("tap", OPT_STR, "tap interface, made if absent", .max = 15),
	KEY("backend", OPT_ENUM, "tap, or passt: no privileges needed", .values = backends),
	KEY("forward", OPT_STR, "arguments for passt, as \"-t 2222:22\""),
	KEY("mac", OPT_MAC, "guest's address, random by default"),
	KEY("mtu", OPT_U32, "told to the guest", .min = 68, .max = 65535),
	KEY("vhost", OPT_BOOL, "the host's kernel serves it"),
	SERVED_KEYS,
	VHOST_KEYS,
	QUEUE_SIZE,
	DEVICE_KEYS,
};
static const struct opt vhost_user_keys[] = {
	KEY("type", OPT_ENUM, "what the device is", .values = device_types),
	KEY("socket", OPT_STR, "unix socket of the back-end", .max = 107),
	KEY("num_queues", OPT_U32, "rings, what the type needs by default", .max = 17),
	QUEUE_SIZE,
	DEVICE_KEYS,
};
static const struct opt vdpa_keys[] = {
	KEY("path", OPT_STR, "/dev/vhost-vdpa-N"),
	KEY("num_queues", OPT_U32, "rings that it must have", .min = 1, .max = 17),
	DEVICE_KEYS,
};
static const struct opt vsock_keys[] = {
	KEY("cid", OPT_U64, "the guest's address, from 3", .min = 3, .max = UINT32_MAX - 1),
	KEY("socket", OPT_STR, "unix socket that connects to the guest", .max = 96),
	DEVICE_KEYS,
};
static const struct opt cpus_keys[] = {
	KEY("boot", OPT_U32, "vCPUs", .json = "boot_vcpus", .min = 1, .max = 255),
	KEY("max", OPT_U32, "vCPUs at most", .json = "max_vcpus", .min = 1, .max = 255),
	KEY("model", OPT_STR, "host, or baseline:FILE to mask features"),
	KEY("affinity", OPT_PINS, "host CPUs of each vCPU, as [0@[0,2-3],1@[4]]", .values = pinned),
};
static const struct opt memory_keys[] = {
	KEY("size", OPT_SIZE, "guest RAM, with K, M, G or T"),
	KEY("shared", OPT_BOOL, "other processes may map it"),
	KEY("hugepages", OPT_BOOL, "from the host's huge page pool"),
	KEY("hugepage_size", OPT_SIZE, "which pool"),
	KEY("thp", OPT_BOOL, "ask for transparent huge pages"),
	KEY("mergeable", OPT_BOOL, "let the host merge equal pages"),
	KEY("prefault", OPT_BOOL, "allocate at start"),
	KEY("numa_node", OPT_INT, "bind to a host node", .min = (uint64_t)-1, .max = 1023),
	KEY("file", OPT_STR, "start from a private mapping of this file"),
};
#define CONSOLE_KEYS                                                                               \
	KEY("mode", OPT_ENUM, "off, null, tty, pty, or file=PATH, socket=PATH", .values = modes,   \
		.json_values = json_modes),                                                        \
		KEY("file", OPT_STR, "write to a file"),                                           \
		KEY("socket", OPT_STR, "listen on a unix socket", .max = 107)
static const struct opt serial_keys[] = {CONSOLE_KEYS};
static const struct opt console_keys[] = {CONSOLE_KEYS, PLACE_KEYS};
static const struct opt rng_keys[] = {
	KEY("src", OPT_STR, "file to read, /dev/urandom by default; or off"),
	PLACE_KEYS,
};
static const struct opt machine_keys[] = {
	KEY("version", OPT_U32, "pins every default that a guest can see", .min = 1),
	KEY("packed", OPT_BOOL, "virtio devices offer packed rings"),
};

#define TABLE(f, h, k, b)                                                                          \
	{                                                                                          \
		.flag = f, .help = h, .opts = k, .n = ARRAY_SIZE(k),                               \
		.size = sizeof(union scratch), .bare_key = b                                       \
	}
const struct opt_table words_disk = TABLE("add-disk", "a virtio disk", disk_keys, NULL);
const struct opt_table words_net = TABLE("add-net", "a virtio network interface", net_keys, NULL);
const struct opt_table words_vsock = TABLE("add-vsock", "a virtio socket device", vsock_keys, NULL);
const struct opt_table words_vhost_user =
	TABLE("add-vhost-user", "a device of a vhost-user back-end", vhost_user_keys, NULL);
const struct opt_table words_vdpa = TABLE("add-vdpa", "a vDPA device", vdpa_keys, NULL);
const struct opt_table words_cpus = TABLE("--cpus", "the vCPUs", cpus_keys, NULL);
const struct opt_table words_memory = TABLE("--memory", "guest RAM", memory_keys, NULL);
const struct opt_table words_serial =
	TABLE("--serial", "where the serial port's bytes go", serial_keys, "mode");
const struct opt_table words_console = TABLE("--console", "a virtio console", console_keys, "mode");
const struct opt_table words_rng = TABLE("--rng", "the entropy source", rng_keys, "src");
const struct opt_table words_machine = TABLE("--machine", "machine type", machine_keys, NULL);
