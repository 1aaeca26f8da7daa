/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of --device: one for each type, over one struct. */
#include "offload/served.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include "vmm/base/num.h"

#define OPT(f, t, ...)                                                                             \
	{                                                                                          \
		.name = #f, .type = t, .offset = offsetof(struct served_config, f), __VA_ARGS__    \
	}

static const char *const blk_backends[] = {"file", "ram", "null", NULL};
static const char *const net_backends[] = {"tap", "passt", "null", NULL};

#define OPT_COMMON(queues_max, queues_help)                                                        \
	OPT(id, OPT_STR, .min = 1, .max = 31, .help = "name in logs and threads"),                 \
		OPT(socket, OPT_STR, .min = 1,                                                     \
			.help = "where it listens; as --socket behind the device"),                \
		OPT(queues, OPT_U32, .min = 1, .max = (queues_max), .help = queues_help),          \
		OPT(queue_size, OPT_U32, .min = 2, .max = VIRTIO_QUEUE_MAX,                        \
			.help = "largest ring, a power of two, 256 by default"),                   \
		OPT(poll, OPT_U32, .max = 100,                                                     \
			.help = "percent of a core for looking at rings, 0 by default"),           \
		OPT(unsealed, OPT_BOOL,                                                            \
			.help = "map memory that the front-end could still truncate")

static const struct opt blk_opts[] = {
	OPT(backend, OPT_ENUM, .values = blk_backends,
		.help = "file by default; ram and null need a size"),
	OPT(path, OPT_STR, .min = 1, .help = "raw file or block device"),
	OPT(fd, OPT_FD, .help = "or an open file descriptor"),
	OPT(size, OPT_SIZE, .min = 512, .max = 1024 * 1024 * GIB, .help = "of ram and null"),
	OPT(readonly, OPT_BOOL, .help = "refuse writes"),
	OPT(direct, OPT_BOOL, .help = "bypass the host's page cache"),
	OPT(serial, OPT_STR, .max = 20, .help = "serial number, at most 20 bytes"),
	OPT_COMMON(VIRTIO_QUEUES - 1, "request queues, each with a thread; 1 by default"),
};

static const struct opt net_opts[] = {
	OPT(backend, OPT_ENUM, .values = net_backends,
		.help = "tap (the default), passt: no privileges needed, or null"),
	OPT(tap, OPT_STR, .max = 15, .help = "tap interface, made if absent"),
	OPT(fd, OPT_FD, .help = "or an open tap's file descriptor"),
	OPT(forward, OPT_STR, .help = "arguments for passt, as \"-t 2222:22\""),
	OPT(mac, OPT_MAC, .set_offset = offsetof(struct served_config, mac_given),
		.help = "guest's address, random by default"),
	OPT(mtu, OPT_U32, .min = 68, .max = 65535, .help = "told to the guest"),
	OPT_COMMON(SERVED_PAIRS, "pairs of queues; 1 by default"),
};

const struct served_type served_types[SERVED_TYPES] = {
	{"virtio-blk", "_disk", VIRTIO_TYPE_BLOCK,
		{.flag = "--device virtio-blk",
			.help = "a disk",
			.opts = blk_opts,
			.n = ARRAY_SIZE(blk_opts),
			.size = sizeof(struct served_config)}},
	{"virtio-net", "_net", VIRTIO_TYPE_NET,
		{.flag = "--device virtio-net",
			.help = "a network interface",
			.opts = net_opts,
			.n = ARRAY_SIZE(net_opts),
			.size = sizeof(struct served_config)}},
};

static int check_blk(const struct served_config *c, struct err *e)
{
	bool file = c->backend == SERVED_FILE, named = c->path || c->fd >= 0;
	const char *name = blk_backends[c->backend];

	if (file && !c->path == (c->fd < 0))
		return err_set(e, ERR_USAGE, -EINVAL,
			"--device virtio-blk: give exactly one of path and fd");
	if (!file && named)
		return err_set(e, ERR_USAGE, -EINVAL,
			"--device virtio-blk: path and fd go with backend=file, not %s", name);
	if (file && c->size)
		return err_set(e, ERR_USAGE, -EINVAL,
			"--device virtio-blk: size goes with backend=ram or null; a file has its own");
	if (!file && !c->size)
		return err_set(e, ERR_USAGE, -EINVAL,
			"--device virtio-blk: backend=%s needs a size, as size=1G", name);
	if (c->size % 512)
		return err_set(e, ERR_USAGE, -EINVAL,
			"--device virtio-blk size: allowed: a multiple of 512");
	if (!file && c->direct)
		return err_set(e, ERR_USAGE, -EINVAL,
			"--device virtio-blk: direct goes with backend=file");
	return 0;
}

static int check_net(const struct served_config *c, struct err *e)
{
	if (c->backend != SERVED_TAP && (c->tap || c->fd >= 0))
		return err_set(e, ERR_USAGE, -EINVAL,
			"--device virtio-net: tap and fd go with backend=tap");
	if (c->tap && c->fd >= 0)
		return err_set(
			e, ERR_USAGE, -EINVAL, "--device virtio-net: give one of tap and fd");
	if (c->backend != SERVED_PASST && c->forward)
		return err_set(e, ERR_USAGE, -EINVAL,
			"--device virtio-net: forward goes with backend=passt");
	if (c->queues > 1 && c->backend == SERVED_PASST)
		return err_set(e, ERR_USAGE, -EINVAL,
			"--device virtio-net queues: backend=passt has one pair; allowed: 1");
	if (c->queues > 1 && c->fd >= 0)
		return err_set(e, ERR_USAGE, -EINVAL,
			"--device virtio-net queues: fd is one queue of a tap; give its name as tap");
	if (c->mac_given && c->mac[0] & 1)
		return err_set(e, ERR_USAGE, -EINVAL,
			"--device virtio-net mac: allowed: an address that is no group's");
	return 0;
}

int served_config_check(const struct served_config *c, struct err *e)
{
	if (c->queue_size && !is_pow2(c->queue_size))
		return err_set(e, ERR_USAGE, -EINVAL,
			"--device queue_size: allowed: a power of two, 2 to %d", VIRTIO_QUEUE_MAX);
	return c->type == VIRTIO_TYPE_BLOCK ? check_blk(c, e) : check_net(c, e);
}

const struct served_type *served_type_of(enum virtio_type type)
{
	return &served_types[type == VIRTIO_TYPE_NET];
}

const struct served_type *served_type_named(const char *name, size_t len, struct err *e)
{
	for (unsigned i = 0; i < SERVED_TYPES; i++)
		if (strlen(served_types[i].name) == len && !memcmp(served_types[i].name, name, len))
			return &served_types[i];
	err_set(e, ERR_USAGE, -EINVAL,
		"--device: \"%.*s\" is not a type; allowed: virtio-blk, virtio-net",
		(int)MIN(len, (size_t)40), name);
	return NULL;
}

void served_config_init(struct served_config *c, enum virtio_type type)
{
	*c = (struct served_config){.type = type, .fd = -1};
}

int served_parse(const char *text, struct served_config *c, struct err *e)
{
	size_t len = strcspn(text, ",");
	const struct served_type *t = served_type_named(text, len, e);
	int r = 0;

	served_config_init(c, t ? t->type : VIRTIO_TYPE_BLOCK);
	if (!t)
		return -EINVAL;
	if (text[len])
		r = opts_parse(&t->table, text + len + 1, c, e);
	if (r == 0)
		r = served_config_check(c, e);
	if (r < 0)
		served_config_fini(c);
	return r;
}

void served_config_fini(struct served_config *c)
{
	char **const texts[] = {&c->id, &c->socket, &c->path, &c->serial, &c->tap, &c->forward};

	for (unsigned i = 0; i < ARRAY_SIZE(texts); i++) {
		free(*texts[i]);
		*texts[i] = NULL;
	}
}

static bool taken(struct served_config *const *c, unsigned n, const char *id)
{
	for (unsigned i = 0; i < n; i++)
		if (c[i]->id && !strcmp(c[i]->id, id))
			return true;
	return false;
}

/* The first free number of its kind. */
static int give_id(struct served_config *const *all, unsigned n, struct served_config *c)
{
	const char *prefix = served_type_of(c->type)->prefix;
	char id[32];
	unsigned i = 0;

	do
		snprintf(id, sizeof(id), "%s%u", prefix, i++);
	while (taken(all, n, id));
	c->id = strdup(id);
	return c->id ? 0 : -ENOMEM;
}

static void give_mac(struct served_config *c)
{
	if (c->mac_given || c->type != VIRTIO_TYPE_NET)
		return;
	if (getrandom(c->mac, sizeof(c->mac), 0) != sizeof(c->mac))
		memset(c->mac, 1, sizeof(c->mac));
	c->mac[0] = 0x02; /* locally administered, unicast (IEEE 802 §8.2) */
	c->mac_given = true;
}

static int check_pair(const struct served_config *a, const struct served_config *b, struct err *e)
{
	if (!strcmp(a->socket, b->socket))
		return err_set(e, ERR_USAGE, -EEXIST,
			"--socket %s: given to two devices; allowed: one socket a device",
			a->socket);
	if (a->id && b->id && !strcmp(a->id, b->id))
		return err_set(
			e, ERR_USAGE, -EEXIST, "--device id=%s: given to two devices", a->id);
	return 0;
}

int served_check(struct served_config *const *c, unsigned n, unsigned known, struct err *e)
{
	int r = 0;

	for (unsigned i = known; i < n && r == 0; i++) {
		if (!c[i]->socket)
			return err_set(e, ERR_USAGE, -EINVAL,
				"--device: number %u has no --socket behind it", i + 1);
		for (unsigned j = 0; j < i && r == 0; j++)
			r = check_pair(c[j], c[i], e);
	}
	for (unsigned i = known; i < n && r == 0; i++) {
		give_mac(c[i]);
		if (!c[i]->id)
			r = give_id(c, n, c[i]);
	}
	return r;
}

void served_help(FILE *out)
{
	for (unsigned i = 0; i < SERVED_TYPES; i++)
		opts_help(&served_types[i].table, out);
}
