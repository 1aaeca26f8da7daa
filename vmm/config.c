/* SPDX-License-Identifier: Apache-2.0 */
/* Tables first: a flag is one option table and one row in `flags`. Then what concerns several parts
 * at once: ids, slots, the terminal. Names follow cloud-hypervisor's flags where it has them. */
#include "vmm/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include "arch/plan.h"
#include "devices/pci/pci.h"
#include "devices/virtio/virtio.h"
#include "vmm/base/num.h"

#define OPT(s, f, t, ...)                                                                          \
	{                                                                                          \
		.name = #f, .type = t, .offset = offsetof(struct s, f), __VA_ARGS__                \
	}

static const char *const transports[] = {"pci", "mmio", NULL};
static const char *const net_backends[] = {"tap", "passt", NULL};
static const char *const chr_modes[] = {"off", "null", "tty", "pty", "file", "socket", NULL};

#define OPT_TRANSPORT(s)                                                                           \
	OPT(s, transport, OPT_ENUM, .values = transports,                                          \
		.help = "virtio transport, pci by default")
#define OPT_SLOT(s)                                                                                \
	{                                                                                          \
		.name = "pci_device_id", .type = OPT_INT, .offset = offsetof(struct s, slot),      \
		.min = (uint64_t)-1, .max = PCI_SLOTS - 1, .help = "PCI slot, -1 = next free"      \
	}
#define OPT_QUEUE_SIZE(s)                                                                          \
	OPT(s, queue_size, OPT_U32, .min = 2, .max = VIRTIO_QUEUE_MAX,                             \
		.help = "entries in a ring, a power of two, 256 by default")
#define OPT_ID(s) OPT(s, id, OPT_STR, .max = 31, .help = "name in logs, threads and events")

static const struct opt cpus_opts[] = {
	OPT(cpus_config, boot, OPT_U32, .min = 1, .max = PLAN_MAX_VCPUS,
		.help = "vCPUs, 1 by default"),
	OPT(cpus_config, max, OPT_U32, .min = 1, .max = PLAN_MAX_VCPUS,
		.help = "vCPUs at most, boot by default"),
	OPT(cpus_config, model, OPT_STR,
		.help = "host, or baseline:FILE to mask features (host by default)"),
};
static const struct opt memory_opts[] = {
	OPT(memory_config, size, OPT_SIZE, .min = 16 * MIB, .max = 64 * 1024 * GIB,
		.help = "guest RAM, 512M by default"),
	OPT(memory_config, shared, OPT_BOOL, .help = "other processes may map it"),
	OPT(memory_config, hugepages, OPT_BOOL, .help = "from the host's huge page pool"),
	OPT(memory_config, hugepage_size, OPT_SIZE, .max = 16 * GIB,
		.help = "which pool, the host's default by default"),
	OPT(memory_config, thp, OPT_BOOL, .help = "ask for transparent huge pages"),
	OPT(memory_config, mergeable, OPT_BOOL, .help = "let the host merge equal pages"),
	OPT(memory_config, prefault, OPT_BOOL, .help = "allocate at start"),
	OPT(memory_config, numa_node, OPT_INT, .min = (uint64_t)-1, .max = 1023,
		.help = "bind to a host node, -1 = any"),
	OPT(memory_config, file, OPT_STR, .help = "start from a private mapping of this file"),
};
static const struct opt disk_opts[] = {
	OPT(disk_config, path, OPT_STR, .help = "raw file or block device"),
	OPT(disk_config, fd, OPT_FD, .help = "or an open file descriptor"),
	OPT(disk_config, readonly, OPT_BOOL, .help = "refuse writes"),
	OPT(disk_config, direct, OPT_BOOL, .help = "bypass the host's page cache"),
	OPT(disk_config, serial, OPT_STR, .max = 20, .help = "serial number, at most 20 bytes"),
	OPT_ID(disk_config),
	OPT_QUEUE_SIZE(disk_config),
	OPT_TRANSPORT(disk_config),
	OPT_SLOT(disk_config),
};
static const struct opt net_opts[] = {
	OPT(net_config, tap, OPT_STR, .max = 15, .help = "tap interface, made if absent"),
	OPT(net_config, fd, OPT_FD, .help = "or an open tap's file descriptor"),
	OPT(net_config, backend, OPT_ENUM, .values = net_backends,
		.help = "tap, or passt: no privileges needed (tap by default)"),
	OPT(net_config, forward, OPT_STR, .help = "arguments for passt, as \"-t 2222:22\""),
	OPT(net_config, mac, OPT_MAC, .set_offset = offsetof(struct net_config, mac_given),
		.help = "guest's address, random by default"),
	OPT(net_config, mtu, OPT_U32, .min = 68, .max = 65535, .help = "told to the guest"),
	OPT_ID(net_config),
	OPT_QUEUE_SIZE(net_config),
	OPT_TRANSPORT(net_config),
	OPT_SLOT(net_config),
};
static const struct opt rng_opts[] = {
	OPT(rng_config, src, OPT_STR, .help = "file to read, /dev/urandom by default; or off"),
	OPT_TRANSPORT(rng_config),
	OPT_SLOT(rng_config),
};
static const struct opt serial_opts[] = {
	OPT(console_config, mode, OPT_ENUM, .values = chr_modes,
		.help = "off, null, tty, pty, or file=PATH, socket=PATH"),
	OPT(console_config, file, OPT_STR, .help = "write to a file"),
	OPT(console_config, socket, OPT_STR, .max = 107, .help = "listen on a unix socket"),
};
static const struct opt console_opts[] = {
	OPT(console_config, mode, OPT_ENUM, .values = chr_modes,
		.help = "off, null, tty, pty, or file=PATH, socket=PATH"),
	OPT(console_config, file, OPT_STR, .help = "write to a file"),
	OPT(console_config, socket, OPT_STR, .max = 107, .help = "listen on a unix socket"),
	OPT_TRANSPORT(console_config),
	OPT_SLOT(console_config),
};
static const struct opt machine_opts[] = {
	OPT(machine_config, version, OPT_U32, .min = 1, .max = MACHINE_VERSION,
		.help = "pins every default that a guest can see"),
};

#define TABLE(f, h, o, s, b)                                                                       \
	{                                                                                          \
		.flag = f, .help = h, .opts = o, .n = ARRAY_SIZE(o), .size = sizeof(struct s),     \
		.bare_key = b                                                                      \
	}

static const struct opt_table cpus_table =
	TABLE("--cpus", "vCPUs and what they offer", cpus_opts, cpus_config, NULL);
static const struct opt_table memory_table =
	TABLE("--memory", "guest RAM and its backing", memory_opts, memory_config, NULL);
static const struct opt_table disk_table =
	TABLE("--disk", "virtio-blk; may be repeated", disk_opts, disk_config, NULL);
static const struct opt_table net_table =
	TABLE("--net", "virtio-net; may be repeated", net_opts, net_config, NULL);
static const struct opt_table rng_table = TABLE("--rng", "virtio-rng", rng_opts, rng_config, "src");
static const struct opt_table serial_table =
	TABLE("--serial", "16550 UART, tty by default", serial_opts, console_config, "mode");
static const struct opt_table console_table =
	TABLE("--console", "virtio-console, off by default", console_opts, console_config, "mode");
static const struct opt_table machine_table =
	TABLE("--machine", "machine type", machine_opts, machine_config, NULL);

static const struct flag {
	const struct opt_table *table;
	size_t offset;
} flags[] = {
	{&cpus_table, offsetof(struct vm_config, cpus)},
	{&memory_table, offsetof(struct vm_config, memory)},
	{&rng_table, offsetof(struct vm_config, rng)},
	{&serial_table, offsetof(struct vm_config, serial)},
	{&console_table, offsetof(struct vm_config, console)},
	{&machine_table, offsetof(struct vm_config, machine)},
};

void vm_config_init(struct vm_config *c)
{
	*c = (struct vm_config){
		.cpus = {.boot = 1},
		.memory = {.size = 512 * MIB, .numa_node = -1},
		.rng = {.slot = -1},
		.serial = {.mode = CHR_TTY, .slot = -1},
		.console = {.mode = CHR_OFF, .slot = -1},
		.machine = {.version = MACHINE_VERSION},
	};
}

void vm_config_fini(struct vm_config *c)
{
	for (unsigned i = 0; i < ARRAY_SIZE(flags); i++)
		opts_free(flags[i].table, (char *)c + flags[i].offset);
	for (unsigned i = 0; i < c->ndisks; i++)
		opts_free(&disk_table, &c->disk[i]);
	for (unsigned i = 0; i < c->nnets; i++)
		opts_free(&net_table, &c->net[i]);
	free(c->serial.path);
	free(c->console.path);
	free(c->payload.kernel);
	free(c->payload.initramfs);
	free(c->payload.cmdline);
	memset(c, 0, sizeof(*c));
}

static int set_text(char **field, const char *flag, const char *text, struct err *e)
{
	if (*field)
		return err_set(e, ERR_USAGE, -EINVAL, "%s: given twice", flag);
	*field = strdup(text);
	return *field ? 0 : -ENOMEM;
}

static int add_disk(struct vm_config *c, const char *text, struct err *e)
{
	if (c->ndisks == CONFIG_DISKS)
		return err_set(e, ERR_USAGE, -EINVAL, "--disk: at most %d disks", CONFIG_DISKS);
	struct disk_config *d = &c->disk[c->ndisks++];
	*d = (struct disk_config){.fd = -1, .queue_size = 256, .slot = -1};
	int r = opts_parse(&disk_table, text, d, e);
	if (r < 0)
		return r;
	if (!d->path == (d->fd < 0))
		return err_set(
			e, ERR_USAGE, -EINVAL, "--disk: give exactly one of path=FILE and fd=N");
	return 0;
}

static int add_net(struct vm_config *c, const char *text, struct err *e)
{
	if (c->nnets == CONFIG_NETS)
		return err_set(e, ERR_USAGE, -EINVAL, "--net: at most %d interfaces", CONFIG_NETS);
	struct net_config *n = &c->net[c->nnets++];
	*n = (struct net_config){.fd = -1, .queue_size = 256, .slot = -1};
	int r = opts_parse(&net_table, text, n, e);
	if (r < 0)
		return r;
	if (n->backend == NET_PASST && (n->tap || n->fd >= 0))
		return err_set(e, ERR_USAGE, -EINVAL, "--net: tap and fd go with backend=tap only");
	if (n->backend == NET_TAP && n->forward)
		return err_set(
			e, ERR_USAGE, -EINVAL, "--net: forward goes with backend=passt only");
	if (n->tap && n->fd >= 0)
		return err_set(e, ERR_USAGE, -EINVAL, "--net: give one of tap=NAME and fd=N");
	return 0;
}

static int set_device(struct vm_config *c, const char *text, struct err *e)
{
	if (strcmp(text, "test-exit"))
		return err_set(e, ERR_USAGE, -EINVAL,
			"--device: \"%s\" is not a device; allowed: test-exit", text);
	if (c->test_exit)
		return err_set(e, ERR_USAGE, -EINVAL, "--device: test-exit given twice");
	c->test_exit = true;
	return 0;
}

int vm_config_flag(struct vm_config *c, const char *flag, const char *text, struct err *e)
{
	if (!strcmp(flag, "--kernel"))
		return set_text(&c->payload.kernel, flag, text, e);
	if (!strcmp(flag, "--initramfs"))
		return set_text(&c->payload.initramfs, flag, text, e);
	if (!strcmp(flag, "--cmdline"))
		return set_text(&c->payload.cmdline, flag, text, e);
	if (!strcmp(flag, "--disk"))
		return add_disk(c, text, e);
	if (!strcmp(flag, "--net"))
		return add_net(c, text, e);
	if (!strcmp(flag, "--device"))
		return set_device(c, text, e);
	for (unsigned i = 0; i < ARRAY_SIZE(flags); i++)
		if (!strcmp(flag, flags[i].table->flag))
			return opts_parse(flags[i].table, text, (char *)c + flags[i].offset, e);
	return -ENOENT;
}

void vm_config_help(FILE *out)
{
	fputs("  --kernel FILE\n      kernel of this chip: bzImage or PVH ELF (x86_64), Image (arm64, "
	      "riscv64)\n"
	      "  --initramfs FILE\n      initial RAM disk\n"
	      "  --cmdline TEXT\n      kernel command line\n",
		out);
	for (unsigned i = 0; i < 2; i++)
		opts_help(flags[i].table, out);
	opts_help(&disk_table, out);
	opts_help(&net_table, out);
	for (unsigned i = 2; i < ARRAY_SIZE(flags); i++)
		opts_help(flags[i].table, out);
	fputs("  --device test-exit\n      lets a bare-metal guest set the exit status\n", out);
}

static int resolve_console(struct console_config *c, const char *flag, struct err *e)
{
	int named = !!c->file + !!c->socket;

	if (named > 1)
		return err_set(
			e, ERR_USAGE, -EINVAL, "%s: give one of file=PATH and socket=PATH", flag);
	if ((c->mode == CHR_FILE || c->mode == CHR_SOCKET) && !named)
		return err_set(e, ERR_USAGE, -EINVAL, "%s: %s needs a path: %s=PATH", flag,
			chr_modes[c->mode], chr_modes[c->mode]);
	if (!named)
		return 0;
	c->mode = c->file ? CHR_FILE : CHR_SOCKET;
	c->path = strdup(c->file ? c->file : c->socket);
	return c->path ? 0 : -ENOMEM;
}

/* A visit over every device that has an id, in the order in which default slots are given. */
struct named {
	const char *flag, *id;
	int transport, *slot;
};

static unsigned list_devices(struct vm_config *c, struct named *out)
{
	unsigned n = 0;

	for (unsigned i = 0; i < c->ndisks; i++)
		out[n++] = (struct named){
			"--disk", c->disk[i].id, c->disk[i].transport, &c->disk[i].slot};
	for (unsigned i = 0; i < c->nnets; i++)
		out[n++] =
			(struct named){"--net", c->net[i].id, c->net[i].transport, &c->net[i].slot};
	if (strcmp(c->rng.src, "off"))
		out[n++] = (struct named){"--rng", "_rng", c->rng.transport, &c->rng.slot};
	if (c->console.mode != CHR_OFF)
		out[n++] = (struct named){
			"--console", "_console", c->console.transport, &c->console.slot};
	return n;
}

static int resolve_slots(const struct named *dev, unsigned n, struct err *e)
{
	uint32_t used = 1; /* slot 0 is the host bridge */

	for (unsigned i = 0; i < n; i++) {
		int s = *dev[i].slot;
		if (s < 0 || dev[i].transport != TRANSPORT_PCI)
			continue;
		if (used & (1u << s))
			return err_set(e, ERR_USAGE, -EINVAL, "%s %s: PCI slot %d is taken",
				dev[i].flag, dev[i].id, s);
		used |= 1u << s;
	}
	for (unsigned i = 0; i < n; i++) {
		if (*dev[i].slot >= 0 || dev[i].transport != TRANSPORT_PCI)
			continue;
		unsigned s = 0;
		while (s < PCI_SLOTS && (used & (1u << s)))
			s++;
		if (s == PCI_SLOTS)
			return err_set(e, ERR_USAGE, -EINVAL,
				"%s %s: no PCI slot is left, there are %d", dev[i].flag, dev[i].id,
				PCI_SLOTS - 1);
		*dev[i].slot = (int)s;
		used |= 1u << s;
	}
	return 0;
}

static int default_id(char **id, const char *prefix, unsigned i)
{
	if (!*id && asprintf(id, "%s%u", prefix, i) < 0) {
		*id = NULL;
		return -ENOMEM;
	}
	return 0;
}

static int resolve_ids(struct vm_config *c)
{
	int r = 0;

	for (unsigned i = 0; i < c->ndisks && !r; i++)
		r = default_id(&c->disk[i].id, "_disk", i);
	for (unsigned i = 0; i < c->nnets && !r; i++)
		r = default_id(&c->net[i].id, "_net", i);
	if (!r && !c->rng.src)
		r = (c->rng.src = strdup("/dev/urandom")) ? 0 : -ENOMEM;
	if (!r && !c->cpus.model)
		r = (c->cpus.model = strdup("host")) ? 0 : -ENOMEM;
	return r;
}

static void resolve_macs(struct vm_config *c)
{
	for (unsigned i = 0; i < c->nnets; i++) {
		struct net_config *n = &c->net[i];
		if (n->mac_given)
			continue;
		if (getrandom(n->mac, sizeof(n->mac), 0) != sizeof(n->mac))
			memset(n->mac, (int)i, sizeof(n->mac));
		n->mac[0] = 0x02; /* locally administered, unicast (IEEE 802 §8.2) */
		n->mac_given = true;
	}
}

static int check_ids(const struct named *dev, unsigned n, struct err *e)
{
	for (unsigned i = 0; i < n; i++)
		for (unsigned j = 0; j < i; j++)
			if (!strcmp(dev[i].id, dev[j].id))
				return err_set(e, ERR_USAGE, -EINVAL,
					"%s id: \"%s\" is used twice; ids are unique", dev[i].flag,
					dev[i].id);
	return 0;
}

static int check_queue_sizes(const struct vm_config *c, struct err *e)
{
	for (unsigned i = 0; i < c->ndisks; i++)
		if (!is_pow2(c->disk[i].queue_size))
			return err_set(e, ERR_USAGE, -EINVAL,
				"--disk queue_size: %u is not a power of two",
				c->disk[i].queue_size);
	for (unsigned i = 0; i < c->nnets; i++)
		if (!is_pow2(c->net[i].queue_size))
			return err_set(e, ERR_USAGE, -EINVAL,
				"--net queue_size: %u is not a power of two", c->net[i].queue_size);
	return 0;
}

static int check_parts(const struct vm_config *c, struct err *e)
{
	if (!c->payload.kernel)
		return err_set(
			e, ERR_USAGE, -EINVAL, "--kernel: needed; give a kernel of this chip");
	if (strcmp(c->cpus.model, "host") && strncmp(c->cpus.model, "baseline:", 9))
		return err_set(e, ERR_USAGE, -EINVAL,
			"--cpus model: \"%s\" is not a model; allowed: host, baseline:FILE",
			c->cpus.model);
	if (c->cpus.max < c->cpus.boot)
		return err_set(e, ERR_USAGE, -EINVAL, "--cpus max: %u is less than boot=%u",
			c->cpus.max, c->cpus.boot);
	if (c->serial.mode == CHR_TTY && c->console.mode == CHR_TTY)
		return err_set(e, ERR_USAGE, -EINVAL,
			"--console: the terminal is taken by --serial tty; give --serial off or another "
			"mode");
	return check_queue_sizes(c, e);
}

int vm_config_resolve(struct vm_config *c, struct err *e)
{
	struct named dev[CONFIG_DISKS + CONFIG_NETS + 2];
	int r = resolve_ids(c);

	if (r < 0)
		return r;
	if (!c->cpus.max)
		c->cpus.max = c->cpus.boot;
	if ((r = resolve_console(&c->serial, "--serial", e)) < 0 ||
		(r = resolve_console(&c->console, "--console", e)) < 0 ||
		(r = check_parts(c, e)) < 0)
		return r;
	unsigned n = list_devices(c, dev);
	if ((r = check_ids(dev, n, e)) < 0)
		return r;
	resolve_macs(c);
	return resolve_slots(dev, n, e);
}
