/* SPDX-License-Identifier: Apache-2.0 */
/* The assignment: all that a node is told of an instance, always the whole of it. */
#include "cloud/control/reconcile_internal.h"

#include <arpa/inet.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/cleanup.h"

static void copy(json_t *to, const json_t *from, const char *key, const char *as)
{
	json_t *v = json_object_get(from, key);
	json_object_set(to, as, v ? v : json_null());
}

/* 10.0.2.0/24: the gateway is the first address, as passt's guests expect theirs. */
static void set_cidr(json_t *net, const char *cidr)
{
	char text[64], gateway[INET_ADDRSTRLEN];
	struct in_addr a;
	snprintf(text, sizeof(text), "%s", cidr);
	char *slash = strchr(text, '/');
	if (slash)
		*slash++ = 0;
	if (inet_pton(AF_INET, text, &a) != 1)
		return;
	a.s_addr = htonl(ntohl(a.s_addr) + 1);
	inet_ntop(AF_INET, &a, gateway, sizeof(gateway));
	doc_set_str(net, "gateway", gateway);
	json_object_set_new(net, "prefix", json_integer(slash ? strtol(slash, NULL, 10) : 24));
}

static json_t *forwards(const json_t *doc)
{
	json_t *list = json_array(), *port;
	size_t i;
	json_array_foreach (json_object_get(doc, "ports"), i, port)
		json_array_append(list, port);
	return list;
}

static json_t *network(struct control *c, const json_t *doc)
{
	const char *name = doc_str(doc, "network");
	struct obj *n =
		name ? obj_find(c->objects, KIND_NETWORK, doc_str(doc, "project"), name) : NULL;
	if (!n)
		return json_null();
	json_t *net = json_object();
	copy(net, doc, "mac", "mac");
	copy(net, doc, "ip", "ip");
	const char *cidr = doc_str(n->doc, "cidr");
	if (cidr)
		set_cidr(net, cidr);
	if (doc_str(n->doc, "gateway"))
		copy(net, n->doc, "gateway", "gateway");
	copy(net, n->doc, "dns", "dns");
	json_object_set_new(net, "forwards", forwards(doc));
	return net;
}

static json_t *volumes(struct control *c, const json_t *doc)
{
	json_t *list = json_array(), *disk;
	size_t i;
	json_array_foreach (json_object_get(doc, "disks"), i, disk) {
		const char *id = doc_str(disk, "volume");
		struct obj *v =
			id ? obj_find(c->objects, KIND_VOLUME, doc_str(doc, "project"), id) : NULL;
		if (v)
			json_array_append_new(
				list, json_pack("{s:s, s:O?, s:b}", "id", v->id, "generation",
					      json_object_get(v->doc, "generation"), "readonly",
					      json_is_true(json_object_get(disk, "readonly"))));
	}
	return list;
}

static void set_image(json_t *a, const json_t *doc, const struct image_platform *p)
{
	static const char *const keys[] = {
		[IMAGE_KERNEL] = "kernel", [IMAGE_INITRAMFS] = "initramfs"};
	for (int i = IMAGE_KERNEL; i <= IMAGE_INITRAMFS; i++)
		doc_set_str(a, keys[i], p->part[i].digest[0] ? p->part[i].digest : NULL);
	if (!p->part[IMAGE_ROOT].digest[0]) {
		json_object_set_new(a, "root", json_null());
		return;
	}
	uint64_t mib = (p->part[IMAGE_ROOT].size + (1 << 20) - 1) >> 20;
	uint64_t asked = (uint64_t)doc_num(doc, "root_gib") << 10;
	json_object_set_new(a, "root",
		json_pack("{s:s, s:I}", "digest", p->part[IMAGE_ROOT].digest, "size_mib",
			(json_int_t)(asked > mib ? asked : mib)));
}

/* A Linux kernel has to be told where its console and its root are. */
static void set_cmdline(json_t *a, const struct image_platform *p)
{
	if (p->bare_metal || doc_str(a, "cmdline"))
		return;
	doc_set_str(a, "cmdline",
		p->part[IMAGE_ROOT].digest[0] ? "console=ttyS0 root=/dev/vda quiet"
					      : "console=ttyS0 quiet");
}

/* What changes while an instance exists, also of an adopted one. */
static void set_wishes(json_t *a, const json_t *doc, bool stop)
{
	json_t *desired = json_object_get(doc, "desired");
	const char *state = doc_str(desired, "state");
	doc_set_str(a, "state", stop ? "stopped" : state ? state : "running");
	json_object_set_new(a, "reboots", json_integer(doc_num(desired, "reboots")));
	bool force = json_is_true(json_object_get(desired, "force"));
	json_object_set_new(a, "force_stop", json_boolean(force));
	copy(a, doc, "generation", "generation");
	copy(a, doc, "restart", "restart");
	copy(a, doc, "labels", "labels");
}

json_t *assignment_make(struct control *c, const json_t *doc, bool stop,
	const struct image_platform *p, struct err *e)
{
	static const char *const same[] = {
		"id", "name", "project", "cpus", "memory_mib", "cmdline"};
	const json_t *adopted = json_object_get(doc, "assignment");
	json_t *a = adopted ? json_deep_copy(adopted) : json_object();
	if (!a) {
		err_set(e, ERR_HOST, -ENOMEM, "no memory");
		return NULL;
	}
	for (unsigned i = 0; i < sizeof(same) / sizeof(*same); i++) {
		if (!adopted || json_object_get(doc, same[i]))
			copy(a, doc, same[i], same[i]);
	}
	set_wishes(a, doc, stop);
	if (adopted)
		return a;
	set_image(a, doc, p);
	set_cmdline(a, p);
	json_object_set_new(a, "volumes", volumes(c, doc));
	json_object_set_new(a, "net", network(c, doc));
	return a;
}

/* ---- the seed ---- */

static bool key_wanted(const json_t *doc, const struct obj *key)
{
	const json_t *list = json_object_get(doc, "keys");
	if (!json_is_array(list))
		return true;
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *k = json_string_value(json_array_get(list, i));
		if (k && (!strcmp(k, key->id) || !strcmp(k, key->name)))
			return true;
	}
	return false;
}

static json_t *keys_of(struct control *c, const json_t *doc)
{
	const char *project = doc_str(doc, "project");
	json_t *list = json_array();
	for (struct obj *o = obj_next(c->objects, KIND_KEY, NULL); o;
		o = obj_next(c->objects, KIND_KEY, o)) {
		json_t *text = json_object_get(o->doc, "public_key");
		if (text && project && !strcmp(o->project, project) && key_wanted(doc, o))
			json_array_append(list, text);
	}
	return list;
}

int assignment_seed(struct control *c, const json_t *doc, json_t *assignment, struct err *e)
{
	cleanup_free void *seed = NULL;
	size_t len = 0;
	if (!json_is_object(json_object_get(assignment, "root")))
		return json_object_set_new(assignment, "seed", json_null());
	json_t *keys = keys_of(c, doc);
	int rc = seed_make(doc, keys, &seed, &len, e);
	json_decref(keys);
	if (rc)
		return rc;
	cleanup_free unsigned char *text = malloc(len / 3 * 4 + 8);
	if (!text || len > INT32_MAX / 2)
		return -ENOMEM;
	int n = EVP_EncodeBlock(text, seed, (int)len);
	return json_object_set_new(assignment, "seed", json_stringn((char *)text, (size_t)n));
}
