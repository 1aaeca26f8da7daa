/* SPDX-License-Identifier: Apache-2.0 */
/* Host objects, as far as nodes write them: identity, facts, whether it is connected. What people
 * decide about a host ("admin", labels) stays as it is. The document changes with facts only; the
 * load, which every heartbeat brings, is kept beside it. */
#include <stdio.h>
#include <string.h>
#include "cloud/control/hosts_do.h"
#include "cloud/control/nodes_internal.h"

/* Not a node's to say. */
static const char *const ours[] = {"id", "name", "project", "labels", "admin", "state", "connected",
	"identity_hash", "created_at", "updated_at", "revision", "allocated", NULL};
/* Not worth a revision. */
static const char *const volatile_facts[] = {
	"load", "memory_free_mib", "uptime_s", "time", "disk_free_mib", NULL};

static bool listed(const char *const *list, const char *key)
{
	for (; *list; list++)
		if (strcmp(*list, key) == 0)
			return true;
	return false;
}

static struct obj *host_of(struct node_conn *n)
{
	return obj_get(n->all->c->objects, KIND_HOST, n->host_id);
}

/* lazy: the node will say it again if it is lost. */
static int put(struct node_conn *n, json_t *doc, const char *event, const char *text, bool lazy)
{
	char actor[80];
	const struct change c = {
		.event = event, .text = text, .actor = actor, .expect = STORE_ANY, .lazy = lazy};

	snprintf(actor, sizeof(actor), "node:%s", n->name);
	host_doc_state(doc);
	return obj_put(n->all->c->objects, KIND_HOST, doc, &c, NULL);
}

int node_may_be(struct nodes *all, const char *name, const char *identity, struct err *e)
{
	struct obj *o = obj_find(all->c->objects, KIND_HOST, NULL, name);
	const char *known = o ? json_string_value(json_object_get(o->doc, "identity_hash")) : NULL;

	if (!known || strcmp(known, identity) == 0)
		return 0;
	if (nodes_by_name(all, name))
		return err_set(e, ERR_CONFLICT, -EEXIST,
			"another node named %s is connected: give this one another --name", name);
	return err_set(e, ERR_CONFLICT, -EEXIST,
		"host %s belongs to another node, which kept another identity: give this one "
		"another --name, or delete the host first",
		name);
}

/* ---- facts ---- */

static int check_facts(const json_t *host, struct err *e)
{
	static const char *const chips[] = {"x86_64", "arm64", "riscv64", NULL};
	const char *chip = json_string_value(json_object_get(host, "chip"));
	const json_t *features = json_object_get(host, "features"), *word;
	size_t i;

	if (!chip || !listed(chips, chip))
		return err_set(
			e, ERR_USAGE, -EINVAL, "host.chip is none of x86_64, arm64, riscv64");
	if (json_integer_value(json_object_get(host, "cores")) < 1)
		return err_set(e, ERR_USAGE, -EINVAL, "host.cores is not a number from 1");
	if (json_integer_value(json_object_get(host, "memory_mib")) < 1)
		return err_set(e, ERR_USAGE, -EINVAL, "host.memory_mib is not a number from 1");
	if (features && !json_is_array(features))
		return err_set(e, ERR_USAGE, -EINVAL, "host.features is not a list");
	json_array_foreach ((json_t *)features, i, word)
		if (!json_is_string(word))
			return err_set(e, ERR_USAGE, -EINVAL, "host.features are not words");
	if (json_dumpb(host, NULL, 0, JSON_COMPACT) > NODE_FACTS_MAX)
		return err_set(e, ERR_USAGE, -EINVAL, "host is larger than 64 KiB");
	return 0;
}

/* Copies what changed; whether anything did. */
static bool merge_facts(json_t *doc, const json_t *host)
{
	const char *key;
	json_t *value;
	bool changed = false;

	json_object_foreach ((json_t *)host, key, value) {
		if (listed(ours, key) || listed(volatile_facts, key) ||
			json_equal(json_object_get(doc, key), value))
			continue;
		json_object_set(doc, key, value);
		changed = true;
	}
	return changed;
}

static void keep_load(struct node_conn *n, const json_t *host)
{
	json_t *load = json_object(), *value;

	for (const char *const *key = volatile_facts; *key; key++) {
		value = json_object_get(host, *key);
		if (value)
			json_object_set(load, *key, value);
	}
	json_decref(n->load);
	n->load = load;
}

void node_facts_line(struct node_conn *n, const json_t *host)
{
	struct obj *o = host_of(n);
	json_t *doc;

	keep_load(n, host);
	if (!o)
		return;
	doc = json_deep_copy(o->doc);
	if (doc && merge_facts(doc, host) && check_facts(doc, NULL) == 0)
		put(n, doc, NULL, NULL, true);
	else
		json_decref(doc);
}

/* ---- joining and leaving ---- */

static json_t *fresh(const struct node_conn *n)
{
	char id[32];

	obj_new_id(KIND_HOST, id);
	return json_pack(
		"{s:s, s:s, s:{}, s:s}", "id", id, "name", n->name, "labels", "admin", "none");
}

int node_join(struct node_conn *n, const json_t *state, struct err *e)
{
	const json_t *host = json_object_get(state, "host");
	struct obj *o = obj_find(n->all->c->objects, KIND_HOST, NULL, n->name);
	json_t *doc;
	char text[160];
	int r = json_is_object(host) ? check_facts(host, e)
				     : err_set(e, ERR_USAGE, -EINVAL, "host is missing");

	if (r < 0)
		return r;
	doc = o ? json_deep_copy(o->doc) : fresh(n);
	if (!doc)
		return err_set(e, ERR_HOST, -ENOMEM, "no memory");
	merge_facts(doc, host);
	json_object_set_new(doc, "connected", json_true());
	json_object_set_new(doc, "identity_hash", json_string(n->identity));
	snprintf(n->host_id, sizeof(n->host_id), "%s",
		json_string_value(json_object_get(doc, "id")));
	snprintf(text, sizeof(text), "%s, %s, %lld cores", n->name,
		json_string_value(json_object_get(host, "chip")),
		(long long)json_integer_value(json_object_get(host, "cores")));
	keep_load(n, host);
	r = put(n, doc, o ? "online" : "joined", text, o != NULL);
	return r < 0 ? err_set(e, ERR_HOST, r, "the host cannot be stored: %s", strerror(-r)) : 0;
}

int node_set_connected(struct node_conn *n, bool connected, const char *event)
{
	struct obj *o = host_of(n);
	json_t *doc = o ? json_deep_copy(o->doc) : NULL;

	if (!doc)
		return -ENOENT;
	json_object_set_new(doc, "connected", json_boolean(connected));
	return put(n, doc, event, n->why[0] ? n->why : NULL, true);
}
