/* SPDX-License-Identifier: Apache-2.0 */
/* Host documents to facts. Each row holds a reference to the document that its strings lie in. */
#include "cloud/control/schedule_fleet.h"

#include <stdlib.h>

#include "cloud/control/pool.h"
#include "cloud/control/schedule_match.h"
#include "vmm/base/cleanup.h"

struct row {
	json_t *doc, *blobs; /* blobs: an array of strings, own copy */
};
struct baseline {
	json_t *pool; /* document; reference */
	struct names shared[CHIPS];
};
struct fleet {
	struct objects *objects;
	struct host_facts *facts; /* rows[i] owns what facts[i] points to */
	struct row *rows;
	unsigned n, cap;
	struct baseline *baselines;
	unsigned nbaselines;
	bool pools_stale;
};

static int by_string(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Sorted, none twice; what is not a string is left out. */
static int names_read(const json_t *array, struct names *ret)
{
	const char **v = calloc(json_array_size(array) + 1, sizeof(*v));
	if (!v)
		return -ENOMEM;
	unsigned n = 0, m = 0;
	for (size_t i = 0; i < json_array_size(array); i++) {
		const char *s = json_string_value(json_array_get(array, i));
		if (s)
			v[n++] = s;
	}
	qsort(v, n, sizeof(*v), by_string);
	for (unsigned i = 0; i < n; i++) {
		if (!m || strcmp(v[m - 1], v[i]))
			v[m++] = v[i];
	}
	*ret = (struct names){v, m};
	return 0;
}

static int labels_read(const json_t *object, struct labels *ret)
{
	struct label *v = calloc(json_object_size(object) + 1, sizeof(*v));
	if (!v)
		return -ENOMEM;
	unsigned n = 0;
	const char *key;
	json_t *value;
	json_object_foreach ((json_t *)object, key, value) {
		if (json_is_string(value))
			v[n++] = (struct label){key, json_string_value(value)};
	}
	*ret = (struct labels){v, n};
	return 0;
}

static enum host_state state_read(const json_t *doc)
{
	static const char *const names[] = {"online", "cordoned", "draining", "fenced", "offline"};
	const char *s = json_string_value(json_object_get(doc, "state"));
	for (int i = HOST_ONLINE; s && i < HOST_OFFLINE; i++) {
		if (!strcmp(s, names[i]))
			return i;
	}
	return HOST_OFFLINE;
}

static uint32_t number(const json_t *doc, const char *key)
{
	json_int_t v = json_integer_value(json_object_get(doc, key));
	return v < 0 ? 0 : v > INT32_MAX ? INT32_MAX : (uint32_t)v;
}

static void facts_free(struct host_facts *h)
{
	free((void *)h->features.v);
	free((void *)h->labels.v);
	h->features = (struct names){NULL, 0};
	h->labels = (struct labels){NULL, 0};
}

/* Fills what comes from the document; what is used and the files stay. */
static int facts_read(struct host_facts *h, const struct obj *o)
{
	const char *chip = json_string_value(json_object_get(o->doc, "chip"));
	int c = chip ? chip_parse(chip) : -EINVAL;
	struct host_facts f = *h;
	int rc = names_read(json_object_get(o->doc, "features"), &f.features);
	if (!rc && (rc = labels_read(json_object_get(o->doc, "labels"), &f.labels)))
		free((void *)f.features.v);
	if (rc)
		return rc;
	facts_free(h);
	*h = f;
	h->id = json_string_value(json_object_get(o->doc, "id"));
	h->name = json_string_value(json_object_get(o->doc, "name"));
	h->name = h->name ? h->name : h->id;
	h->state = state_read(o->doc);
	h->chip = c < 0 ? CHIPS : (unsigned)c;
	const char *kvm = json_string_value(json_object_get(o->doc, "kvm"));
	h->bare_metal_only = kvm && !strcmp(kvm, "bare-metal");
	h->cores = number(o->doc, "cores");
	h->memory_mib = number(o->doc, "memory_mib");
	return 0;
}

/* The first row whose id is not less. */
static unsigned lower(const struct fleet *f, const char *id)
{
	unsigned lo = 0, hi = f->n;
	while (lo < hi) {
		unsigned mid = lo + (hi - lo) / 2;
		if (strcmp(f->facts[mid].id, id) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

int fleet_index(const struct fleet *f, const char *host_id)
{
	unsigned i = lower(f, host_id);
	return i < f->n && !strcmp(f->facts[i].id, host_id) ? (int)i : -ENOENT;
}

static int grow(struct fleet *f)
{
	if (f->n < f->cap)
		return 0;
	unsigned cap = f->cap ? f->cap * 2 : 16;
	struct host_facts *facts = realloc(f->facts, cap * sizeof(*facts));
	if (!facts)
		return -ENOMEM;
	f->facts = facts;
	struct row *rows = realloc(f->rows, cap * sizeof(*rows));
	if (!rows)
		return -ENOMEM;
	f->rows = rows;
	f->cap = cap;
	return 0;
}

static int row_insert(struct fleet *f, const struct obj *o)
{
	struct host_facts h = {0};
	int rc = grow(f);
	if (!rc)
		rc = facts_read(&h, o);
	if (rc)
		return rc;
	unsigned i = lower(f, o->id);
	memmove(&f->facts[i + 1], &f->facts[i], (f->n - i) * sizeof(h));
	memmove(&f->rows[i + 1], &f->rows[i], (f->n - i) * sizeof(struct row));
	f->facts[i] = h;
	f->rows[i] = (struct row){.doc = json_incref(o->doc)};
	f->n++;
	return 1;
}

static void row_free(struct fleet *f, unsigned i)
{
	facts_free(&f->facts[i]);
	free((void *)f->facts[i].blobs.v);
	json_decref(f->rows[i].doc);
	json_decref(f->rows[i].blobs);
}

static void row_remove(struct fleet *f, unsigned i)
{
	row_free(f, i);
	f->n--;
	memmove(&f->facts[i], &f->facts[i + 1], (f->n - i) * sizeof(*f->facts));
	memmove(&f->rows[i], &f->rows[i + 1], (f->n - i) * sizeof(*f->rows));
}

/* A change of load alone must not send every instance that waits for a place through the scheduler.
 */
static bool matters(const json_t *old, const json_t *new)
{
	static const char *const keys[] = {
		"state", "chip", "features", "labels", "cores", "memory_mib", "name", "kvm"};
	for (unsigned i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
		json_t *a = json_object_get(old, keys[i]), *b = json_object_get(new, keys[i]);
		if (a != b && !json_equal(a, b))
			return true;
	}
	return false;
}

int fleet_host_changed(struct fleet *f, const struct obj *host, bool deleted)
{
	int i = fleet_index(f, host->id);
	if (i < 0 && deleted)
		return 0;
	if (i >= 0 && !deleted && !matters(f->rows[i].doc, host->doc))
		return 0;
	/* Baselines borrow strings of the rows. */
	fleet_pools_changed(f);
	if (i < 0)
		return row_insert(f, host);
	if (deleted) {
		row_remove(f, i);
		return 0;
	}
	int rc = facts_read(&f->facts[i], host);
	if (rc)
		return rc;
	json_incref(host->doc);
	json_decref(f->rows[i].doc);
	f->rows[i].doc = host->doc;
	return 1;
}

void fleet_charge(struct fleet *f, const char *host_id, int64_t cpus, int64_t memory_mib)
{
	int i = fleet_index(f, host_id);
	if (i < 0)
		return;
	struct host_facts *h = &f->facts[i];
	int64_t c = h->used_cpus + cpus, m = h->used_memory_mib + memory_mib;
	h->used_cpus = c < 0 ? 0 : (uint32_t)c;
	h->used_memory_mib = m < 0 ? 0 : (uint32_t)m;
}

static int blobs_take(struct fleet *f, int i, json_t *blobs)
{
	struct names n;
	int rc = blobs ? names_read(blobs, &n) : -ENOMEM;
	if (rc) {
		json_decref(blobs);
		return rc;
	}
	free((void *)f->facts[i].blobs.v);
	json_decref(f->rows[i].blobs);
	f->facts[i].blobs = n;
	f->rows[i].blobs = blobs;
	return 0;
}

int fleet_set_blobs(struct fleet *f, const char *host_id, const json_t *digests)
{
	int i = fleet_index(f, host_id);
	if (i < 0)
		return i;
	return blobs_take(f, i, json_is_array(digests) ? json_deep_copy(digests) : json_array());
}

int fleet_add_blob(struct fleet *f, const char *host_id, const char *digest)
{
	int i = fleet_index(f, host_id);
	if (i < 0 || names_have(f->facts[i].blobs, digest))
		return i < 0 ? i : 0;
	json_t *all = f->rows[i].blobs ? json_copy(f->rows[i].blobs) : json_array();
	if (all && json_array_append_new(all, json_string(digest))) {
		json_decref(all);
		return -ENOMEM;
	}
	return blobs_take(f, i, all);
}

bool fleet_has_blob(const struct fleet *f, const char *host_id, const char *digest)
{
	int i = fleet_index(f, host_id);
	return i >= 0 && names_have(f->facts[i].blobs, digest);
}

/* ---- pools ---- */

void fleet_pools_changed(struct fleet *f)
{
	if (f->pools_stale)
		return;
	for (unsigned i = 0; i < f->n; i++) {
		f->facts[i].pool = NULL;
		f->facts[i].baseline = (struct names){NULL, 0};
	}
	for (unsigned i = 0; i < f->nbaselines; i++) {
		for (unsigned c = 0; c < CHIPS; c++)
			free((void *)f->baselines[i].shared[c].v);
		json_decref(f->baselines[i].pool);
	}
	free(f->baselines);
	f->baselines = NULL;
	f->nbaselines = 0;
	f->pools_stale = true;
}

/* The hosts of one chip in one pool: they get what they share. A host that two pools name belongs
 * to the older one. */
static int baseline_of(struct fleet *f, struct baseline *b, unsigned chip)
{
	cleanup_free const struct host_facts **in = calloc(f->n + 1, sizeof(*in));
	if (!in)
		return -ENOMEM;
	unsigned n = 0;
	for (unsigned i = 0; i < f->n; i++) {
		struct host_facts *h = &f->facts[i];
		if (h->chip == chip && !h->pool && pool_has(b->pool, h))
			in[n++] = h;
	}
	int rc = pool_intersect(in, n, &b->shared[chip]);
	for (unsigned i = 0; !rc && i < n; i++) {
		struct host_facts *h = &f->facts[in[i] - f->facts];
		h->pool = json_string_value(json_object_get(b->pool, "name"));
		h->baseline = b->shared[chip];
	}
	return rc;
}

/* Without memory a pool has no baseline, so nothing that asks for features fits: the safe side. */
static void pools_read(struct fleet *f)
{
	unsigned n = obj_count(f->objects, KIND_POOL);
	f->pools_stale = false;
	f->baselines = n ? calloc(n, sizeof(*f->baselines)) : NULL;
	if (!f->baselines)
		return;
	for (struct obj *o = obj_next(f->objects, KIND_POOL, NULL); o && f->nbaselines < n;
		o = obj_next(f->objects, KIND_POOL, o)) {
		struct baseline *b = &f->baselines[f->nbaselines++];
		b->pool = json_incref(o->doc);
		for (unsigned c = 0; c < CHIPS; c++)
			baseline_of(f, b, c);
	}
}

const struct host_facts *fleet_facts(struct fleet *f, unsigned *ret_n)
{
	if (f->pools_stale)
		pools_read(f);
	*ret_n = f->n;
	return f->facts;
}

json_t *fleet_pool_baseline(struct fleet *f, const char *pool)
{
	json_t *out = json_object();
	if (f->pools_stale)
		pools_read(f);
	for (unsigned i = 0; out && i < f->nbaselines; i++) {
		struct baseline *b = &f->baselines[i];
		const char *name = json_string_value(json_object_get(b->pool, "name"));
		if (!name || strcmp(name, pool))
			continue;
		for (unsigned c = 0; c < CHIPS; c++) {
			if (!b->shared[c].v)
				continue;
			json_t *list = json_array();
			for (unsigned k = 0; k < b->shared[c].n; k++)
				json_array_append_new(list, json_string(b->shared[c].v[k]));
			json_object_set_new(out, chip_text(c), list);
		}
	}
	return out;
}

int fleet_new(struct objects *objects, struct fleet **ret_fleet)
{
	struct fleet *f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	f->objects = objects;
	f->pools_stale = true;
	for (struct obj *o = obj_next(objects, KIND_HOST, NULL); o;
		o = obj_next(objects, KIND_HOST, o)) {
		int rc = row_insert(f, o);
		if (rc < 0) {
			fleet_free(f);
			return rc;
		}
	}
	*ret_fleet = f;
	return 0;
}

void fleet_free(struct fleet *f)
{
	if (!f)
		return;
	fleet_pools_changed(f);
	for (unsigned i = 0; i < f->n; i++)
		row_free(f, i);
	free(f->facts);
	free(f->rows);
	free(f);
}
