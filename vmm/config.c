/* SPDX-License-Identifier: Apache-2.0 */
/* What concerns the configuration as a whole: flags, life, and what several parts must agree on:
 * ids, slots, the terminal. The parts themselves are in config_parts.c. */
#include "vmm/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include "devices/pci/pci.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"
#include "vmm/base/pins.h"

void vm_config_init(struct vm_config *c)
{
	*c = (struct vm_config){0};
	for (const struct vm_part *p = vm_parts; p->key; p++)
		if (!p->max)
			p->init(vm_part_at(p, c, 0));
}

static unsigned allocated(const struct vm_part *p, const struct vm_config *c)
{
	return p->max ? vm_part_count(p, c) : 1;
}

void vm_config_fini(struct vm_config *c)
{
	for (const struct vm_part *p = vm_parts; p->key; p++)
		for (unsigned i = 0; i < allocated(p, c); i++)
			opts_free(p->table, vm_part_at(p, c, i));
	free(c->serial.path);
	free(c->console.path);
	memset(c, 0, sizeof(*c));
}

static int copy_path(const char *from, char **ret_to)
{
	*ret_to = from ? strdup(from) : NULL;
	return from && !*ret_to ? -ENOMEM : 0;
}

int vm_config_copy(const struct vm_config *from, struct vm_config *ret_to)
{
	struct vm_config to = {0};
	int r = 0;

	/* A part that could not be copied owns nothing; one that is not yet copied is zero. */
	for (const struct vm_part *p = vm_parts; p->key && !r; p++)
		for (unsigned i = 0; i < allocated(p, from) && !r; i++)
			r = opts_copy(p->table, vm_part_at(p, from, i), vm_part_at(p, &to, i));
	to.serial.path = to.console.path = NULL;
	to.ndisks = from->ndisks;
	to.nnets = from->nnets;
	to.nvhost_users = from->nvhost_users;
	to.nvdpas = from->nvdpas;
	to.test_exit = from->test_exit;
	if (!r)
		r = copy_path(from->serial.path, &to.serial.path);
	if (!r)
		r = copy_path(from->console.path, &to.console.path);
	if (r < 0) {
		vm_config_fini(&to);
		return r;
	}
	*ret_to = to;
	return 0;
}

int vm_config_affinity(const struct cpus_config *c, unsigned vcpu, cpu_set_t *ret_cpus)
{
	return pins_find(c->affinity, vcpu, ret_cpus);
}

static int set_text(char **field, const char *flag, const char *text, struct err *e)
{
	if (*field)
		return err_set(e, ERR_USAGE, -EINVAL, "%s: given twice", flag);
	*field = strdup(text);
	return *field ? 0 : -ENOMEM;
}

/* One flag that is a part: "--disk" adds one, "--vsock" and its like fill the one there is. */
static int set_part(struct vm_config *c, const struct vm_part *p, const char *text, struct err *e)
{
	const struct opt_at at = {.path = p->table->flag};
	void *part = p->max ? vm_part_add(p, c, at.path, e) : vm_part_at(p, c, 0);
	int r = part ? opts_parse(p->table, text, part, e) : -EINVAL;

	return r < 0 || !p->check ? r : p->check(part, &at, e);
}

#define VHOST_USER "vhost-user,"

static int set_device(struct vm_config *c, const char *text, struct err *e)
{
	if (!strncmp(text, VHOST_USER, strlen(VHOST_USER)))
		return vm_config_flag(c, "--device vhost-user", text + strlen(VHOST_USER), e);
	if (strcmp(text, "test-exit"))
		return err_set(e, ERR_USAGE, -EINVAL,
			"--device: \"%s\" is not a device; allowed: test-exit, or "
			"vhost-user,type=…,socket=…",
			text);
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
	if (!strcmp(flag, "--device"))
		return set_device(c, text, e);
	for (const struct vm_part *p = vm_parts; p->key; p++)
		if (p->table->flag && !strcmp(flag, p->table->flag))
			return set_part(c, p, text, e);
	return -ENOENT;
}

void vm_config_help(FILE *out)
{
	fputs("  --kernel FILE\n      kernel of this chip: bzImage or PVH ELF (x86_64), Image (arm64, "
	      "riscv64)\n"
	      "  --initramfs FILE\n      initial RAM disk\n"
	      "  --cmdline TEXT\n      kernel command line\n",
		out);
	for (const struct vm_part *p = vm_parts; p->key; p++)
		if (p->table->flag)
			opts_help(p->table, out);
	fputs("  --device test-exit\n      lets a bare-metal guest set the exit status\n", out);
}

static const char *flag_of(const char *key)
{
	for (const struct vm_part *p = vm_parts; p->key; p++)
		if (!strcmp(p->key, key))
			return p->table->flag;
	return key;
}

/* A path alone names the mode, too ("--serial file=PATH"); a given mode picks its path, and the
 * others' mean nothing: vm.info shows a PTY as file, and takes its own words back. */
static int resolve_console(struct console_config *c, const char *key, struct err *e)
{
	const char *path, *word;

	if (!c->mode_given && c->file && c->socket)
		return err_set(e, ERR_USAGE, -EINVAL, "%s: give one of file=PATH and socket=PATH",
			flag_of(key));
	if (!c->mode_given && (c->file || c->socket))
		c->mode = c->file ? CHR_FILE : CHR_SOCKET;
	c->mode_given = true;
	if (c->mode != CHR_FILE && c->mode != CHR_SOCKET)
		return 0;
	path = c->mode == CHR_FILE ? c->file : c->socket;
	word = c->mode == CHR_FILE ? "file" : "socket";
	if (!path || !*path)
		return err_set(e, ERR_USAGE, -EINVAL, "%s: %s needs a path: %s=PATH", flag_of(key),
			word, word);
	free(c->path);
	c->path = strdup(path);
	return c->path ? 0 : -ENOMEM;
}

/* A visit over every device that has an id, in the order in which default slots are given. */
#define CONFIG_NAMED (CONFIG_DISKS + CONFIG_NETS + CONFIG_VHOST_USERS + CONFIG_VDPAS + 3)
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
	for (unsigned i = 0; i < c->nvhost_users; i++)
		out[n++] = (struct named){"--device vhost-user", c->vhost_user[i].id,
			c->vhost_user[i].transport, &c->vhost_user[i].slot};
	for (unsigned i = 0; i < c->nvdpas; i++)
		out[n++] = (struct named){
			"--vdpa", c->vdpa[i].id, c->vdpa[i].transport, &c->vdpa[i].slot};
	if (strcmp(c->rng.src, "off"))
		out[n++] = (struct named){"--rng", "_rng", c->rng.transport, &c->rng.slot};
	if (c->console.mode != CHR_OFF)
		out[n++] = (struct named){
			"--console", "_console", c->console.transport, &c->console.slot};
	if (c->vsock.cid)
		out[n++] =
			(struct named){"--vsock", c->vsock.id, c->vsock.transport, &c->vsock.slot};
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
	for (unsigned i = 0; i < c->nvhost_users && !r; i++)
		r = default_id(&c->vhost_user[i].id, "_vhost", i);
	for (unsigned i = 0; i < c->nvdpas && !r; i++)
		r = default_id(&c->vdpa[i].id, "_vdpa", i);
	if (!r && c->vsock.cid && !c->vsock.id)
		r = (c->vsock.id = strdup("_vsock")) ? 0 : -ENOMEM;
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

static int check_affinity(const struct cpus_config *c, struct err *e)
{
	const char *at = c->affinity;
	cpu_set_t cpus;
	unsigned vcpu;

	while (at && pins_next(&at, &vcpu, &cpus) > 0)
		if (vcpu >= c->max)
			return err_set(e, ERR_USAGE, -EINVAL,
				"--cpus affinity: there is no vCPU %u; they are 0 to %u", vcpu,
				c->max - 1);
	return 0;
}

bool vm_config_offload_auto(const struct vm_config *c)
{
	bool any = false;

	for (unsigned i = 0; i < c->ndisks; i++)
		any |= c->disk[i].offload == OFFLOAD_AUTO;
	for (unsigned i = 0; i < c->nnets; i++)
		any |= c->net[i].offload == OFFLOAD_AUTO;
	return any;
}

bool vm_config_offloads(const struct vm_config *c)
{
	bool any = c->nvhost_users || c->nvdpas || vm_config_offload_auto(c);

	for (unsigned i = 0; i < c->ndisks; i++)
		any |= c->disk[i].vhost_user;
	for (unsigned i = 0; i < c->nnets; i++)
		any |= c->net[i].vhost_user;
	return any;
}

/* Whoever serves a device maps the guest's memory, so it has to be shared. */
static int resolve_memory(struct vm_config *c, struct err *e)
{
	struct memory_config *m = &c->memory;

	if (!vm_config_offloads(c))
		return 0;
	if (m->mergeable || m->file)
		return err_set(e, ERR_USAGE, -EINVAL,
			"--memory %s: not together with a vhost_user, vdpa or offload=auto device, which "
			"needs shared memory",
			m->file ? "file" : "mergeable");
	m->shared = true;
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
	return check_affinity(&c->cpus, e);
}

int vm_config_resolve(struct vm_config *c, struct err *e)
{
	struct named dev[CONFIG_NAMED];
	int r = resolve_ids(c);

	if (r < 0)
		return r;
	if (!c->cpus.max)
		c->cpus.max = c->cpus.boot;
	if ((r = resolve_memory(c, e)) < 0 || (r = resolve_console(&c->serial, "serial", e)) < 0 ||
		(r = resolve_console(&c->console, "console", e)) < 0 || (r = check_parts(c, e)) < 0)
		return r;
	unsigned n = list_devices(c, dev);
	if ((r = check_ids(dev, n, e)) < 0)
		return r;
	resolve_macs(c);
	return resolve_slots(dev, n, e);
}

/* ---- adding one ---- */

static const struct vm_part *only_part(const struct vm_config *more)
{
	const struct vm_part *ret = NULL;

	for (const struct vm_part *p = vm_parts; p->key; p++)
		if ((p->max || p->present) && vm_part_count(p, more)) {
			if (ret || vm_part_count(p, more) > 1)
				return NULL;
			ret = p;
		}
	return ret;
}

static int check_new_id(struct vm_config *c, struct vm_config *more, struct err *e)
{
	struct named dev[CONFIG_NAMED], add[CONFIG_NAMED];
	unsigned n = list_devices(c, dev);

	more->rng.slot = more->console.slot = -1;
	free(more->rng.src);
	more->rng.src = strdup("off"); /* its own, and a console, are not what is added */
	more->console.mode = CHR_OFF;
	if (!more->rng.src)
		return -ENOMEM;
	if (more->vsock.cid && c->vsock.cid)
		return err_set(e, ERR_CONFLICT, -EEXIST, "--vsock: there is one already, \"%s\"",
			c->vsock.id);
	if (!list_devices(more, add) || !add[0].id)
		return 0;
	for (unsigned i = 0; i < n; i++)
		if (!strcmp(dev[i].id, add[0].id))
			return err_set(e, ERR_CONFLICT, -EEXIST,
				"%s id: \"%s\" is used already; ids are unique", add[0].flag,
				add[0].id);
	return 0;
}

/* Default ids count devices: one that a user gave may be in the way of the next number. */
static int free_default_id(struct vm_config *c, char **id, const char *prefix, unsigned from)
{
	struct named dev[CONFIG_NAMED];
	unsigned n = list_devices(c, dev);

	if (*id)
		return 0;
	for (unsigned i = from, taken = 1; taken; i++) {
		free(steal_ptr(id));
		if (default_id(id, prefix, i) < 0)
			return -ENOMEM;
		taken = 0;
		for (unsigned k = 0; k < n; k++)
			taken |= dev[k].id && !strcmp(dev[k].id, *id);
	}
	return 0;
}

static int name_new(struct vm_config *c, struct vm_config *more)
{
	if (more->ndisks)
		return free_default_id(c, &more->disk[0].id, "_disk", c->ndisks);
	if (more->nnets)
		return free_default_id(c, &more->net[0].id, "_net", c->nnets);
	if (more->nvhost_users)
		return free_default_id(c, &more->vhost_user[0].id, "_vhost", c->nvhost_users);
	if (more->nvdpas)
		return free_default_id(c, &more->vdpa[0].id, "_vdpa", c->nvdpas);
	return 0;
}

/* Of the device that c has more than before. */
static const char *new_id(const struct vm_config *c, const struct vm_config *more)
{
	return more->ndisks	    ? c->disk[c->ndisks - 1].id
	       : more->nnets	    ? c->net[c->nnets - 1].id
	       : more->nvhost_users ? c->vhost_user[c->nvhost_users - 1].id
	       : more->nvdpas	    ? c->vdpa[c->nvdpas - 1].id
				    : c->vsock.id;
}

int vm_config_add(struct vm_config *c, struct vm_config *more, char ret_id[32], struct err *e)
{
	const struct vm_part *p = only_part(more);
	struct vm_config trial;
	int r = p ? check_new_id(c, more, e) : -EINVAL;

	if (r < 0)
		return r;
	r = name_new(c, more);
	if (!r)
		r = vm_config_copy(c, &trial);
	if (r < 0)
		return r;
	void *to = p->max ? vm_part_add(p, &trial, p->table->flag, e) : vm_part_at(p, &trial, 0);
	r = to ? opts_copy(p->table, vm_part_at(p, more, 0), to) : -EINVAL;
	if (r == -ENOMEM)
		p->init(to); /* nothing is owned by it */
	if (!r)
		r = vm_config_resolve(&trial, e);
	if (r < 0) {
		vm_config_fini(&trial);
		return r;
	}
	snprintf(ret_id, 32, "%s", new_id(&trial, more));
	vm_config_fini(c);
	*c = trial;
	return 0;
}
