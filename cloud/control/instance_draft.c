/* SPDX-License-Identifier: Apache-2.0 */
/* What a body asks for, as a whole instance: names become objects' ids, what was left out becomes
 * its default. Nothing is stored here, so the scheduler can explain an instance that is not made.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "cloud/control/fields.h"
#include "cloud/control/resources.h"
#include "cloud/image/image.h"

struct draft {
	struct call *c;
	struct objects *os;
	const json_t *body;
	json_t *doc;
	char *field; /* [64], the one at fault */
	struct err *e;
};

static int at_fault(struct draft *d, const char *field, int r)
{
	snprintf(d->field, 64, "%s", field);
	return r;
}

#define REFUSE(d, field, kind, code, ...)                                                          \
	at_fault(d, field, err_set((d)->e, kind, code, field ": " __VA_ARGS__))

/* The body's value (null counts as absent) or the default. */
static void put_text(struct draft *d, const char *key, const char *otherwise)
{
	const json_t *v = json_object_get(d->body, key);

	if (json_is_string(v))
		otherwise = json_string_value(v);
	json_object_set_new(d->doc, key, otherwise ? json_string(otherwise) : json_null());
}

static void put_copy(struct draft *d, const char *key, json_t *otherwise)
{
	const json_t *v = json_object_get(d->body, key);

	json_object_set_new(
		d->doc, key, v && !json_is_null(v) ? json_deep_copy(v) : json_incref(otherwise));
	json_decref(otherwise);
}

static struct obj *named(struct draft *d, enum kind k, const char *name)
{
	return obj_find(d->os, k, kind_in_project(k) ? d->c->project : NULL, name);
}

static int draft_flavor(struct draft *d)
{
	static const char *const sizes[] = {"cpus", "memory_mib", "root_gib"};
	const struct obj *f;

	put_text(d, "flavor", "small");
	f = named(d, KIND_FLAVOR, doc_text(d->doc, "flavor"));
	if (!f)
		return REFUSE(d, "flavor", ERR_NOT_FOUND, -ENOENT, "%s: there is none",
			doc_text(d->doc, "flavor"));
	json_object_set_new(d->doc, "flavor", json_string(f->name));
	for (unsigned i = 0; i < 3; i++) {
		json_t *size = json_object_get(f->doc, sizes[i]);

		put_copy(d, sizes[i], size ? json_incref(size) : json_null());
	}
	return 0;
}

/* Pins the tag to the index that it names now. */
static int draft_image(struct draft *d)
{
	static const char *const chips[] = {"x86_64", "arm64", "riscv64"};
	const char *image = doc_text(d->body, "image"), *chip;
	struct image_platform platform;
	unsigned has = 0, i = 0;
	int r;

	put_text(d, "image", NULL);
	put_text(d, "chip", "any");
	chip = doc_text(d->doc, "chip");
	if (!strcmp(chip, "amd64"))
		json_object_set_new(d->doc, "chip", json_string(chips[0]));
	if (!strcmp(chip, "aarch64"))
		json_object_set_new(d->doc, "chip", json_string(chips[1]));
	chip = doc_text(d->doc, "chip");
	r = image_chips(d->c->control->images, d->c->project, image, &has, d->e);
	if (r)
		return at_fault(d, "image", r);
	while (i < 2 && !(has >> i & 1))
		i++;
	r = image_resolve(d->c->control->images, d->c->project, image,
		!strcmp(chip, "any") ? chips[i] : chip, &platform, d->e);
	if (r)
		return at_fault(d, "image", r);
	json_object_set_new(d->doc, "image_digest", json_string(platform.index));
	json_object_set_new(d->doc, "platform_digest", json_null());
	return 0;
}

static int draft_network(struct draft *d)
{
	const json_t *asked = json_object_get(d->body, "network");
	const struct obj *n;

	json_object_set_new(d->doc, "port_id", json_null());
	json_object_set_new(d->doc, "mac", json_null());
	json_object_set_new(d->doc, "ip", json_null());
	json_object_set_new(d->doc, "network_id", json_null());
	if (json_is_null(asked)) {
		json_object_set_new(d->doc, "network", json_null());
		return 0;
	}
	put_text(d, "network", "default");
	n = named(d, KIND_NETWORK, doc_text(d->doc, "network"));
	if (!n)
		return REFUSE(d, "network", ERR_NOT_FOUND, -ENOENT, "%s: there is none",
			doc_text(d->doc, "network"));
	json_object_set_new(d->doc, "network", json_string(n->name));
	json_object_set_new(d->doc, "network_id", json_string(n->id));
	return 0;
}

static int draft_port(struct draft *d)
{
	const char *name = json_string_value(json_object_get(d->body, "port"));
	const struct obj *p = name ? named(d, KIND_PORT, name) : NULL;

	if (!name)
		return 0;
	if (!p)
		return REFUSE(d, "port", ERR_NOT_FOUND, -ENOENT, "%s: there is none", name);
	if (*doc_text(p->doc, "instance"))
		return REFUSE(d, "port", ERR_CONFLICT, -EBUSY, "%s: an instance has it", name);
	if (strcmp(doc_text(p->doc, "network_id"), doc_text(d->doc, "network_id")))
		return REFUSE(d, "port", ERR_CONFLICT, -EXDEV, "%s: is in network %s", name,
			doc_text(p->doc, "network"));
	json_object_set_new(d->doc, "port_id", json_string(p->id));
	json_object_set(d->doc, "mac", json_object_get(p->doc, "mac"));
	json_object_set(d->doc, "ip", json_object_get(p->doc, "ip"));
	return 0;
}

static bool has_disk(const json_t *disks, const char *id)
{
	const json_t *disk;
	size_t i;

	json_array_foreach ((json_t *)disks, i, disk) {
		if (!strcmp(doc_text(disk, "volume"), id))
			return true;
	}
	return false;
}

static int draft_disks(struct draft *d)
{
	json_t *disks = json_array(), *asked = json_object_get(d->body, "disks"), *disk;
	size_t i;

	json_object_set_new(d->doc, "disks", disks);
	json_array_foreach (asked, i, disk) {
		const char *name = doc_text(disk, "volume");
		const struct obj *v = named(d, KIND_VOLUME, name);

		if (!v)
			return REFUSE(d, "disks", ERR_NOT_FOUND, -ENOENT,
				"volume %s: there is none", name);
		if (strcmp(doc_text(v->doc, "state"), "available") ||
			*doc_text(v->doc, "attached_to") || has_disk(disks, v->id))
			return REFUSE(d, "disks", ERR_CONFLICT, -EBUSY,
				"volume %s: is in use already", name);
		json_array_append_new(disks,
			json_pack("{s:s, s:s, s:b}", "volume", v->id, "name", v->name, "readonly",
				json_is_true(json_object_get(disk, "readonly"))));
	}
	return 0;
}

static int draft_keys(struct draft *d)
{
	json_t *keys = json_array(), *asked = json_object_get(d->body, "keys"), *name;
	size_t i;

	json_object_set_new(d->doc, "keys", keys);
	json_array_foreach (asked, i, name) {
		const struct obj *k = named(d, KIND_KEY, json_string_value(name));

		if (!k)
			return REFUSE(d, "keys", ERR_NOT_FOUND, -ENOENT, "%s: there is none",
				json_string_value(name));
		json_array_append_new(keys, json_string(k->name));
	}
	for (struct obj *k = asked ? NULL : obj_next(d->os, KIND_KEY, NULL); k;
		k = obj_next(d->os, KIND_KEY, k))
		if (!strcmp(k->project, d->c->project))
			json_array_append_new(keys, json_string(k->name));
	return 0;
}

bool forward_taken(struct objects *os, const struct obj *self, int64_t host_port)
{
	for (struct obj *o = obj_next(os, KIND_INSTANCE, NULL); o;
		o = obj_next(os, KIND_INSTANCE, o)) {
		json_t *f;
		size_t i;

		if (o == self)
			continue;
		json_array_foreach (json_object_get(o->doc, "ports"), i, f) {
			if (doc_int(f, "host_port") == host_port)
				return true;
		}
	}
	return false;
}

static bool in_ports(const json_t *ports, int64_t host_port)
{
	const json_t *f;
	size_t i;

	json_array_foreach ((json_t *)ports, i, f) {
		if (doc_int(f, "host_port") == host_port)
			return true;
	}
	return false;
}

static int draft_forwards(struct draft *d)
{
	json_t *ports = json_array(), *asked = json_object_get(d->body, "ports"), *f;
	size_t i;

	json_object_set_new(d->doc, "ports", ports);
	if (json_array_size(asked) && json_is_null(json_object_get(d->doc, "network")))
		return REFUSE(d, "ports", ERR_USAGE, -EINVAL, "need a network");
	json_array_foreach (asked, i, f) {
		const char *address = json_string_value(json_object_get(f, "address"));
		struct in_addr a;

		if (address && inet_pton(AF_INET, address, &a) != 1)
			return REFUSE(d, "ports", ERR_USAGE, -EINVAL,
				"address %s: allowed: an IPv4 address", address);
		if (in_ports(ports, doc_int(f, "host_port")) ||
			forward_taken(d->os, NULL, doc_int(f, "host_port")))
			return REFUSE(d, "ports", ERR_CONFLICT, -EBUSY,
				"host_port %lld: is published already",
				(long long)doc_int(f, "host_port"));
		json_array_append_new(ports,
			json_pack("{s:s, s:I, s:I}", "address", address ? address : "0.0.0.0",
				"host_port", (json_int_t)doc_int(f, "host_port"), "guest_port",
				(json_int_t)doc_int(f, "guest_port")));
	}
	return 0;
}

static int draft_place(struct draft *d)
{
	const char *host = json_string_value(json_object_get(d->body, "host"));
	const struct obj *h = host ? named(d, KIND_HOST, host) : NULL;

	if (host && !h)
		return REFUSE(d, "host", ERR_NOT_FOUND, -ENOENT, "%s: there is none", host);
	json_object_set_new(d->doc, "pin", h ? json_string(h->name) : json_null());
	put_text(d, "pool", NULL);
	if (*doc_text(d->doc, "pool") && !named(d, KIND_POOL, doc_text(d->doc, "pool")))
		return REFUSE(d, "pool", ERR_NOT_FOUND, -ENOENT, "%s: there is none",
			doc_text(d->doc, "pool"));
	put_copy(d, "host_labels", json_object());
	put_text(d, "spread", "spread");
	put_copy(d, "features", json_array());
	json_object_set_new(d->doc, "host", json_null());
	json_object_set_new(d->doc, "host_id", json_null());
	return 0;
}

static void draft_rest(struct draft *d)
{
	const char *state = json_string_value(json_object_get(d->body, "state"));
	char now[32];

	obj_now(now);
	put_text(d, "user_data", NULL);
	put_text(d, "cmdline", NULL);
	put_text(d, "restart", "on-failure");
	put_copy(d, "protected", json_false());
	json_object_set_new(d->doc, "generation", json_integer(0));
	json_object_set_new(d->doc, "desired",
		json_pack("{s:s, s:i}", "state", state ? state : "running", "reboots", 0));
	json_object_set_new(d->doc, "observed",
		json_pack("{s:s, s:s, s:s}", "state", "pending", "reason", "", "since", now));
}

int instance_draft(
	struct call *c, const json_t *body, json_t **ret_doc, char ret_field[64], struct err *e)
{
	static int (*const steps[])(struct draft *) = {draft_image, draft_flavor, draft_network,
		draft_port, draft_disks, draft_keys, draft_forwards, draft_place};
	struct draft d = {
		.c = c, .os = c->control->objects, .body = body, .field = ret_field, .e = e};
	int r = 0;

	d.doc = res_draft(c, KIND_INSTANCE, json_string_value(json_object_get(body, "name")));
	ret_field[0] = '\0';
	for (unsigned i = 0; !r && i < sizeof(steps) / sizeof(steps[0]); i++)
		r = steps[i](&d);
	if (r) {
		json_decref(d.doc);
		return r;
	}
	draft_rest(&d);
	*ret_doc = d.doc;
	return 0;
}
