/* SPDX-License-Identifier: Apache-2.0 */
/* vm create: the machine's description from a JSON file, or from the flags that polyvisor takes. */
#include <stdlib.h>
#include <string.h>
#include "tools/polyctl/polyctl.h"
#include "tools/polyctl/words.h"

/* Which part of the description a flag is. */
static const struct part {
	const char *flag;
	const struct opt_table *table;
	const char *key;
	bool array;
} parts[] = {
	{"--cpus", &words_cpus, "cpus", false},
	{"--memory", &words_memory, "memory", false},
	{"--disk", &words_disk, "disks", true},
	{"--net", &words_net, "net", true},
	{"--vsock", &words_vsock, "vsock", false},
	{"--device", &words_vhost_user, "vhost_user_devices", true},
	{"--vdpa", &words_vdpa, "vdpa", true},
	{"--rng", &words_rng, "rng", false},
	{"--serial", &words_serial, "serial", false},
	{"--console", &words_console, "console", false},
	{"--machine", &words_machine, "machine", false},
};

/* The member of an object, made when it is not there; borrowed. */
static json_t *member(json_t *object, const char *key, json_t *(*make)(void))
{
	if (!json_object_get(object, key))
		json_object_set_new(object, key, make());
	return json_object_get(object, key);
}

static json_t *body(struct call *c)
{
	if (!c->body)
		c->body = json_object();
	return c->body;
}

static int set_payload(struct call *c, const struct flag *f, const char *value, struct err *e)
{
	const char *key = f->name + 2;
	json_t *payload = member(body(c), "payload", json_object);
	char path[4096];

	if (json_object_get(payload, key))
		return err_set(e, ERR_USAGE, -EINVAL, "%s: given twice", f->name);
	if (strcmp(key, "cmdline")) {
		int r = words_absolute(value, path, sizeof(path), e);
		if (r < 0)
			return r;
		value = path;
	}
	return json_object_set_new(payload, key, json_string(value)) < 0
		       ? err_set(e, ERR_USAGE, -EINVAL, "%s: not UTF-8", f->name)
		       : 0;
}

static int set_part(struct call *c, const struct flag *f, const char *value, struct err *e)
{
	const struct part *p = parts;
	json_t *object;

	while (strcmp(p->flag, f->name))
		p++;
	struct opt_table named = *p->table;
	named.flag = p->flag;
	int r = words_to_json(&named, (char *const *)&value, 1, &object, e);
	if (r < 0)
		return r;
	if (p->array)
		r = json_array_append_new(member(body(c), p->key, json_array), object);
	else if (json_object_get(body(c), p->key)) {
		json_decref(object);
		return err_set(e, ERR_USAGE, -EINVAL, "%s: given twice", f->name);
	} else
		r = json_object_set_new(body(c), p->key, object);
	return r < 0 ? err_set(e, ERR_HOST, -ENOMEM, "out of memory") : 0;
}

static int set_device(struct call *c, const struct flag *f, const char *value, struct err *e)
{
	static const char vhost_user[] = "vhost-user,";

	if (!strncmp(value, vhost_user, strlen(vhost_user)))
		return set_part(c, f, value + strlen(vhost_user), e);
	if (strcmp(value, "test-exit"))
		return err_set(e, ERR_USAGE, -EINVAL,
			"--device: \"%.64s\" is not a device; allowed: test-exit, or "
			"vhost-user,type=TYPE,socket=PATH",
			value);
	return json_object_set_new(body(c), "test_exit", json_true());
}

const struct flag create_flags[] = {
	{"--kernel", "FILE", "the kernel", HINT_FILE, set_payload},
	{"--initramfs", "FILE", "the initial RAM disk", HINT_FILE, set_payload},
	{"--cmdline", "TEXT", "the kernel's command line", HINT_NONE, set_payload},
	{"--cpus", "boot=N,...", "the vCPUs", HINT_NONE, set_part},
	{"--memory", "size=S,...", "guest RAM", HINT_NONE, set_part},
	{"--disk", "path=FILE,...", "a virtio disk; may be repeated", HINT_NONE, set_part},
	{"--net", "tap=NAME,...", "a virtio network interface; may be repeated", HINT_NONE,
		set_part},
	{"--vsock", "cid=N,socket=PATH", "a virtio socket device", HINT_NONE, set_part},
	{"--rng", "src=FILE", "the entropy source", HINT_NONE, set_part},
	{"--serial", "MODE", "pty by default; off, null, tty, file=PATH, socket=PATH", HINT_NONE,
		set_part},
	{"--console", "MODE", "the virtio console, likewise; off by default", HINT_NONE, set_part},
	{"--machine", "version=N", "the machine type", HINT_NONE, set_part},
	{"--device", "test-exit|vhost-user,...",
		"lets a bare-metal guest set the exit status; or a vhost-user device", HINT_NONE,
		set_device},
	{"--vdpa", "path=PATH", "a vDPA device; may be repeated", HINT_NONE, set_part},
	{0},
};

/* The API's own defaults suit programs: a silent serial port, and a virtio console on polyvisor's
 * terminal. Somebody who types flags wants to see the machine. */
static int default_consoles(struct call *c)
{
	int r = 0;

	if (!json_object_get(c->body, "serial"))
		r = json_object_set_new(c->body, "serial", json_pack("{s:s}", "mode", "Pty"));
	if (r == 0 && !json_object_get(c->body, "console"))
		r = json_object_set_new(c->body, "console", json_pack("{s:s}", "mode", "Off"));
	return r < 0 ? -ENOMEM : 0;
}

int create_prepare(struct call *c, struct err *e)
{
	const char *file = c->nwords ? c->word[0] : NULL;
	json_error_t why;

	if (!file == !c->body)
		return err_set(e, ERR_USAGE, -EINVAL,
			"vm create: give a FILE with JSON, or flags such as --kernel");
	if (!file)
		return default_consoles(c);
	c->body = strcmp(file, "-") ? json_load_file(file, JSON_REJECT_DUPLICATES, &why)
				    : json_loadf(stdin, JSON_REJECT_DUPLICATES, &why);
	if (c->body)
		return 0;
	if (why.line < 1)
		return err_set(e, ERR_HOST, -EINVAL, "%s", why.text);
	return err_set(e, ERR_USAGE, -EINVAL, "%s:%d:%d: %s", file, why.line, why.column, why.text);
}
