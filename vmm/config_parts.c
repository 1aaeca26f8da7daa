/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of the configuration: a part is a struct, its options, its defaults and one row in
 * vm_parts. Names follow cloud-hypervisor's flags and v1 API at->path it has them; what v1 has and
 * we do not is listed with its default, so that documents written for it are understood. */
#include "vmm/config.h"

#include <string.h>
#include "arch/plan.h"
#include "devices/pci/pci.h"
#include "devices/virtio/virtio.h"
#include "vmm/base/num.h"
#include "vmm/config_unoffered.h"

#define OPT(s, f, t, ...)                                                                          \
	{                                                                                          \
		.name = #f, .type = t, .offset = offsetof(struct s, f), __VA_ARGS__                \
	}

static const char *const transports[] = {"pci", "mmio", NULL};
static const char *const net_backends[] = {"tap", "passt", NULL};
static const char *const offloads[] = {"off", "auto", NULL};
/* Those that vu_type_of() knows. */
static const char *const device_types[] = {
	"net", "blk", "console", "rng", "scsi", "vsock", "fs", "i2c", "can", "sound", "gpio", NULL};
static const char *const chr_modes[] = {"off", "null", "tty", "pty", "file", "socket", NULL};
static const char *const chr_json[] = {"Off", "Null", "Tty", "Pty", "File", "Socket", NULL};
static const char *const pinned[] = {"vcpu", NULL};

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
#define OPT_OFFLOAD(s)                                                                             \
	OPT(s, offload, OPT_ENUM, .values = offloads,                                              \
		.help = "auto: a process of ours serves it, kept alive (off by default)")
#define OPT_POLL(s)                                                                                \
	OPT(s, poll, OPT_U32, .max = 100,                                                          \
		.help = "percent of a core that looking at a ring may cost, 0 by default")
#define OPT_ID(s) OPT(s, id, OPT_STR, .max = 31, .help = "name in logs, threads and events")

static const struct opt cpus_opts[] = {
	OPT(cpus_config, boot, OPT_U32, .json = "boot_vcpus", .min = 1, .max = PLAN_MAX_VCPUS,
		.help = "vCPUs, 1 by default"),
	OPT(cpus_config, max, OPT_U32, .json = "max_vcpus", .min = 1, .max = PLAN_MAX_VCPUS,
		.help = "vCPUs at most, boot by default"),
	OPT(cpus_config, model, OPT_STR,
		.help = "host, or baseline:FILE to mask features (host by default)"),
	OPT(cpus_config, affinity, OPT_PINS, .values = pinned,
		.help = "host CPUs of each vCPU, as [0@[0,2-3],1@[4]]"),
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
	OPT(disk_config, vhost_user, OPT_BOOL,
		.help = "served by a vhost-user back-end, which sets size and mode"),
	OPT(disk_config, vhost_socket, OPT_STR, .min = 1, .max = 107,
		.help = "unix socket of the back-end; or fd=N, connected"),
	OPT(disk_config, readonly, OPT_BOOL, .help = "refuse writes"),
	OPT(disk_config, direct, OPT_BOOL, .help = "bypass the host's page cache"),
	OPT(disk_config, serial, OPT_STR, .max = 20, .help = "serial number, at most 20 bytes"),
	OPT_OFFLOAD(disk_config),
	OPT(disk_config, num_queues, OPT_U32, .min = 1, .max = VIRTIO_QUEUES - 1,
		.help = "rings, 1 by default"),
	OPT_QUEUE_SIZE(disk_config),
	OPT_POLL(disk_config),
	OPT_ID(disk_config),
	OPT_TRANSPORT(disk_config),
	OPT_SLOT(disk_config),
};
static const struct opt net_opts[] = {
	OPT(net_config, tap, OPT_STR, .max = 15, .help = "tap interface, made if absent"),
	OPT(net_config, fd, OPT_FD, .help = "or an open tap's file descriptor"),
	OPT(net_config, backend, OPT_ENUM, .values = net_backends,
		.help = "tap, or passt: no privileges needed (tap by default)"),
	OPT(net_config, vhost_user, OPT_BOOL, .help = "served by a vhost-user back-end"),
	OPT(net_config, vhost_socket, OPT_STR, .min = 1, .max = 107,
		.help = "unix socket of the back-end; or fd=N, connected"),
	OPT(net_config, vhost, OPT_BOOL, .help = "served by the host's kernel, /dev/vhost-net"),
	OPT_OFFLOAD(net_config),
	OPT(net_config, forward, OPT_STR, .help = "arguments for passt, as \"-t 2222:22\""),
	OPT(net_config, mac, OPT_MAC, .set_offset = offsetof(struct net_config, mac_given),
		.help = "guest's address, random by default"),
	OPT(net_config, mtu, OPT_U32, .min = 68, .max = 65535, .help = "told to the guest"),
	OPT(net_config, num_queues, OPT_U32, .min = 2, .max = VIRTIO_QUEUES - 1,
		.help = "rings, two for each pair, 2 by default"),
	OPT_QUEUE_SIZE(net_config),
	OPT_POLL(net_config),
	OPT_ID(net_config),
	OPT_TRANSPORT(net_config),
	OPT_SLOT(net_config),
};
static const struct opt rng_opts[] = {
	OPT(rng_config, src, OPT_STR, .help = "file to read, /dev/urandom by default; or off"),
	OPT_TRANSPORT(rng_config),
	OPT_SLOT(rng_config),
};
static const struct opt serial_opts[] = {
	OPT(console_config, mode, OPT_ENUM, .values = chr_modes, .json_values = chr_json,
		.set_offset = offsetof(struct console_config, mode_given),
		.help = "off, null, tty, pty, or file=PATH, socket=PATH"),
	OPT(console_config, file, OPT_STR, .help = "write to a file"),
	OPT(console_config, socket, OPT_STR, .max = 107, .help = "listen on a unix socket"),
};
static const struct opt console_opts[] = {
	OPT(console_config, mode, OPT_ENUM, .values = chr_modes, .json_values = chr_json,
		.set_offset = offsetof(struct console_config, mode_given),
		.help = "off, null, tty, pty, or file=PATH, socket=PATH"),
	OPT(console_config, file, OPT_STR, .help = "write to a file"),
	OPT(console_config, socket, OPT_STR, .max = 107, .help = "listen on a unix socket"),
	OPT_TRANSPORT(console_config),
	OPT_SLOT(console_config),
};
static const struct opt vsock_opts[] = {
	OPT(vsock_config, cid, OPT_U64, .min = 3, .max = 0xfffffffe, .required = true,
		.help = "the guest's context id"),
	OPT(vsock_config, socket, OPT_STR, .min = 1, .max = 96,
		.help = "unix socket to serve; the guest reaches SOCKET_PORT"),
	OPT(vsock_config, fd, OPT_FD, .help = "or a listening socket's file descriptor"),
	OPT_ID(vsock_config),
	OPT_TRANSPORT(vsock_config),
	OPT_SLOT(vsock_config),
};
static const struct opt vhost_user_opts[] = {
	OPT(vhost_user_config, type, OPT_ENUM, .values = device_types, .required = true,
		.help = "what the device is"),
	OPT(vhost_user_config, socket, OPT_STR, .min = 1, .max = 107,
		.help = "unix socket of the back-end"),
	OPT(vhost_user_config, fd, OPT_FD, .help = "or a connected socket's file descriptor"),
	OPT(vhost_user_config, num_queues, OPT_U32, .max = VIRTIO_QUEUES,
		.help = "rings, as many as the back-end has by default"),
	OPT_QUEUE_SIZE(vhost_user_config),
	OPT_ID(vhost_user_config),
	OPT_TRANSPORT(vhost_user_config),
	OPT_SLOT(vhost_user_config),
};
static const struct opt vdpa_opts[] = {
	OPT(vdpa_config, path, OPT_STR, .min = 1, .help = "/dev/vhost-vdpa-N"),
	OPT(vdpa_config, fd, OPT_FD, .help = "or its open file descriptor"),
	OPT(vdpa_config, num_queues, OPT_U32, .min = 1, .max = VIRTIO_QUEUES,
		.help = "rings that it must have; it says itself how many there are"),
	OPT_ID(vdpa_config),
	OPT_TRANSPORT(vdpa_config),
	OPT_SLOT(vdpa_config),
};
static const struct opt payload_opts[] = {
	OPT(payload_config, kernel, OPT_STR, .min = 1, .help = "kernel of this chip"),
	OPT(payload_config, initramfs, OPT_STR, .min = 1, .help = "initial RAM disk"),
	OPT(payload_config, cmdline, OPT_STR, .help = "kernel command line"),
};
static const struct opt machine_opts[] = {
	OPT(machine_config, version, OPT_U32, .min = 1, .max = MACHINE_VERSION,
		.help = "pins every default that a guest can see"),
	OPT(machine_config, packed, OPT_BOOL,
		.help = "virtio devices offer packed rings (off by default)"),
};

static const struct opt config_opts[] = {
	OPT(vm_config, test_exit, OPT_BOOL, .help = "lets a bare-metal guest set the exit status"),
};

#define TABLE(f, h, o, not, s, b)                                                                  \
	{                                                                                          \
		.flag = f, .help = h, .opts = o, .n = ARRAY_SIZE(o), .size = sizeof(struct s),     \
		.bare_key = b, .unoffered = not, .nunoffered = ARRAY_SIZE(not )                    \
	}

static const struct opt_table cpus_table =
	TABLE("--cpus", "vCPUs and what they offer", cpus_opts, cpus_not, cpus_config, NULL);
static const struct opt_table memory_table = TABLE(
	"--memory", "guest RAM and its backing", memory_opts, memory_not, memory_config, NULL);
static const struct opt_table disk_table =
	TABLE("--disk", "virtio-blk; may be repeated", disk_opts, disk_not, disk_config, NULL);
static const struct opt_table net_table =
	TABLE("--net", "virtio-net; may be repeated", net_opts, net_not, net_config, NULL);
static const struct opt_table rng_table =
	TABLE("--rng", "virtio-rng", rng_opts, rng_not, rng_config, "src");
static const struct opt_table serial_table = TABLE(
	"--serial", "16550 UART, tty by default", serial_opts, serial_not, console_config, "mode");
static const struct opt_table console_table = TABLE("--console", "virtio-console, off by default",
	console_opts, console_not, console_config, "mode");
static const struct opt_table vsock_table = TABLE(
	"--vsock", "virtio-vsock over a unix socket", vsock_opts, vsock_not, vsock_config, NULL);
static const struct opt_table vhost_user_table = {.flag = "--device vhost-user",
	.help = "any device of a vhost-user back-end; may be repeated",
	.opts = vhost_user_opts,
	.n = ARRAY_SIZE(vhost_user_opts),
	.size = sizeof(struct vhost_user_config)};
static const struct opt_table vdpa_table = TABLE("--vdpa",
	"a vDPA device of the host; may be repeated", vdpa_opts, vdpa_not, vdpa_config, NULL);
static const struct opt_table payload_table =
	TABLE(NULL, "what the guest boots", payload_opts, payload_not, payload_config, NULL);
static const struct opt_table machine_table = {.flag = "--machine",
	.help = "machine type",
	.opts = machine_opts,
	.n = ARRAY_SIZE(machine_opts),
	.size = sizeof(struct machine_config)};
static const struct opt_table platform_table = {.help = "of the machine, nothing is offered",
	.unoffered = platform_not,
	.nunoffered = ARRAY_SIZE(platform_not)};
static const struct opt_table debug_console_table = {.help = "port 0xe9, not offered",
	.unoffered = debug_console_not,
	.nunoffered = ARRAY_SIZE(debug_console_not)};
const struct opt_table vm_config_table =
	TABLE(NULL, "one virtual machine", config_opts, config_not, vm_config, NULL);

const char *vhost_user_type_name(const struct vhost_user_config *v)
{
	return device_types[v->type];
}

/* ---- defaults, and what a table cannot say ---- */

static void init_cpus(void *part)
{
	*(struct cpus_config *)part = (struct cpus_config){.boot = 1};
}

static void init_memory(void *part)
{
	*(struct memory_config *)part = (struct memory_config){.size = 512 * MIB, .numa_node = -1};
}

static void init_disk(void *part)
{
	*(struct disk_config *)part =
		(struct disk_config){.fd = -1, .num_queues = 1, .queue_size = 256, .slot = -1};
}

static int check_queue_size(uint32_t size, const struct opt_at *at, struct err *e)
{
	if (is_pow2(size))
		return 0;
	return err_set(e, ERR_USAGE, -EINVAL, "%s%squeue_size: %u is not a power of two", at->path,
		at->json ? "." : " ", size);
}

/* What --disk and --net have in common: who is served by another process names its socket. */
static int check_vhost(bool on, const char *socket, int fd, const struct opt_at *at, struct err *e)
{
	if (!on && socket)
		return err_set(e, ERR_USAGE, -EINVAL,
			"%s: vhost_socket goes with vhost_user=on only", at->path);
	if (on && !socket == (fd < 0))
		return err_set(e, ERR_USAGE, -EINVAL,
			"%s: vhost_user=on needs exactly one of vhost_socket and fd", at->path);
	return 0;
}

static int check_disk(const void *part, const struct opt_at *at, struct err *e)
{
	const struct disk_config *d = part;
	int r = check_vhost(d->vhost_user, d->vhost_socket, d->fd, at, e);

	if (r < 0)
		return r;
	if (d->vhost_user && (d->path || d->serial || d->readonly || d->direct || d->poll))
		return err_set(e, ERR_USAGE, -EINVAL,
			"%s: path, serial, readonly, direct and poll are the back-end's to know "
			"with vhost_user=on",
			at->path);
	if (d->vhost_user && d->offload)
		return err_set(e, ERR_USAGE, -EINVAL,
			"%s: offload=auto starts the back-end itself; give that or vhost_user=on",
			at->path);
	if (!d->vhost_user && !d->path == (d->fd < 0))
		return err_set(
			e, ERR_USAGE, -EINVAL, "%s: give exactly one of path and fd", at->path);
	return check_queue_size(d->queue_size, at, e);
}

static void init_net(void *part)
{
	*(struct net_config *)part =
		(struct net_config){.fd = -1, .num_queues = 2, .queue_size = 256, .slot = -1};
}

/* Who serves an interface: at most one of them, and what goes with it. */
static int check_server(const struct net_config *n, const struct opt_at *at, struct err *e)
{
	if (n->vhost_user + n->vhost + (n->offload != 0) > 1)
		return err_set(e, ERR_USAGE, -EINVAL,
			"%s: give one of vhost_user=on, vhost=on and offload=auto", at->path);
	if (n->vhost_user && (n->tap || n->backend == NET_PASST))
		return err_set(e, ERR_USAGE, -EINVAL,
			"%s: tap and backend=passt do not go with vhost_user=on", at->path);
	if (n->vhost && n->backend == NET_PASST)
		return err_set(e, ERR_USAGE, -EINVAL,
			"%s: vhost=on goes with a tap, not with backend=passt", at->path);
	if ((n->vhost_user || n->vhost) && n->poll)
		return err_set(e, ERR_USAGE, -EINVAL,
			"%s: poll is the back-end's to know with %s=on", at->path,
			n->vhost ? "vhost" : "vhost_user");
	return 0;
}

static int check_pairs(const struct net_config *n, const struct opt_at *at, struct err *e)
{
	if (n->num_queues % 2)
		return err_set(e, ERR_USAGE, -EINVAL,
			"%s%snum_queues: %u is odd; allowed: 2 to %d, two for each pair", at->path,
			at->json ? "." : " ", n->num_queues, VIRTIO_QUEUES - 1);
	if (n->num_queues > 2 && n->backend == NET_PASST)
		return err_set(e, ERR_USAGE, -EINVAL,
			"%s: backend=passt has one pair: num_queues=2", at->path);
	if (n->num_queues > 2 && n->fd >= 0 && !n->vhost_user)
		return err_set(e, ERR_USAGE, -EINVAL,
			"%s: a tap given as fd has one pair: num_queues=2, or name it: tap=NAME",
			at->path);
	return 0;
}

static int check_net(const void *part, const struct opt_at *at, struct err *e)
{
	const struct net_config *n = part;
	int r = check_vhost(n->vhost_user, n->vhost_socket, n->fd, at, e);

	if (!r)
		r = check_server(n, at, e);
	if (!r)
		r = check_pairs(n, at, e);
	if (r < 0)
		return r;
	if (n->backend == NET_PASST && (n->tap || n->fd >= 0))
		return err_set(
			e, ERR_USAGE, -EINVAL, "%s: tap and fd go with backend=tap only", at->path);
	if (n->backend == NET_TAP && n->forward)
		return err_set(e, ERR_USAGE, -EINVAL, "%s: forward goes with backend=passt only",
			at->path);
	if (n->tap && n->fd >= 0)
		return err_set(e, ERR_USAGE, -EINVAL, "%s: give one of tap and fd", at->path);
	return check_queue_size(n->queue_size, at, e);
}

static void init_vhost_user(void *part)
{
	*(struct vhost_user_config *)part =
		(struct vhost_user_config){.fd = -1, .queue_size = 256, .slot = -1};
}

static int check_vhost_user(const void *part, const struct opt_at *at, struct err *e)
{
	const struct vhost_user_config *v = part;

	if (!v->socket == (v->fd < 0))
		return err_set(
			e, ERR_USAGE, -EINVAL, "%s: give exactly one of socket and fd", at->path);
	return check_queue_size(v->queue_size, at, e);
}

static void init_vdpa(void *part)
{
	*(struct vdpa_config *)part = (struct vdpa_config){.fd = -1, .num_queues = 1, .slot = -1};
}

static int check_vdpa(const void *part, const struct opt_at *at, struct err *e)
{
	const struct vdpa_config *v = part;

	if (!v->path == (v->fd < 0))
		return err_set(
			e, ERR_USAGE, -EINVAL, "%s: give exactly one of path and fd", at->path);
	return 0;
}

static void init_rng(void *part)
{
	*(struct rng_config *)part = (struct rng_config){.slot = -1};
}

static void init_serial(void *part)
{
	*(struct console_config *)part = (struct console_config){.mode = CHR_TTY, .slot = -1};
}

static void init_console(void *part)
{
	*(struct console_config *)part = (struct console_config){.mode = CHR_OFF, .slot = -1};
}

static void init_vsock(void *part)
{
	*(struct vsock_config *)part = (struct vsock_config){.fd = -1, .slot = -1};
}

static bool has_vsock(const void *part)
{
	return ((const struct vsock_config *)part)->cid != 0;
}

static int check_vsock(const void *part, const struct opt_at *at, struct err *e)
{
	const struct vsock_config *v = part;

	if (!v->socket == (v->fd < 0))
		return err_set(
			e, ERR_USAGE, -EINVAL, "%s: give exactly one of socket and fd", at->path);
	return 0;
}

static void init_machine(void *part)
{
	*(struct machine_config *)part = (struct machine_config){.version = MACHINE_VERSION};
}

static void init_nothing(void *part)
{
	(void)part;
}

static void init_payload(void *part)
{
	*(struct payload_config *)part = (struct payload_config){0};
}

#define PART(k, t, f, ...)                                                                         \
	{                                                                                          \
		.key = k, .table = &t##_table, .offset = offsetof(struct vm_config, f),            \
		.init = init_##t, __VA_ARGS__                                                      \
	}
#define LIST(n, m) .count = offsetof(struct vm_config, n), .max = m

/* In the order of the manual. */
const struct vm_part vm_parts[] = {
	PART("cpus", cpus, cpus),
	PART("memory", memory, memory),
	PART("payload", payload, payload),
	PART("disks", disk, disk, LIST(ndisks, CONFIG_DISKS), .check = check_disk),
	PART("net", net, net, LIST(nnets, CONFIG_NETS), .check = check_net),
	PART("vhost_user_devices", vhost_user, vhost_user, LIST(nvhost_users, CONFIG_VHOST_USERS),
		.check = check_vhost_user),
	PART("vdpa", vdpa, vdpa, LIST(nvdpas, CONFIG_VDPAS), .check = check_vdpa),
	PART("rng", rng, rng),
	PART("serial", serial, serial),
	PART("console", console, console),
	PART("vsock", vsock, vsock, .present = has_vsock, .check = check_vsock),
	PART("machine", machine, machine),
	{.key = "platform", .table = &platform_table, .init = init_nothing},
	{.key = "debug_console", .table = &debug_console_table, .init = init_nothing},
	{0},
};

void *vm_part_at(const struct vm_part *p, const struct vm_config *c, unsigned i)
{
	return (char *)(uintptr_t)c + p->offset + i * p->table->size;
}

static unsigned *count_of(const struct vm_part *p, const struct vm_config *c)
{
	return (unsigned *)((char *)(uintptr_t)c + p->count);
}

unsigned vm_part_count(const struct vm_part *p, const struct vm_config *c)
{
	if (p->max)
		return *count_of(p, c);
	return !p->present || p->present(vm_part_at(p, c, 0));
}

void *vm_part_add(const struct vm_part *p, struct vm_config *c, const char *path, struct err *e)
{
	unsigned n = *count_of(p, c);

	if (n == p->max) {
		err_set(e, ERR_USAGE, -EINVAL, "%s: at most %u are allowed", path, p->max);
		return NULL;
	}
	p->init(vm_part_at(p, c, n));
	*count_of(p, c) = n + 1;
	return vm_part_at(p, c, n);
}
