/* SPDX-License-Identifier: Apache-2.0 */
/* From an instance's document to what the scheduler is asked. */
#include "cloud/control/reconcile_internal.h"

#include <stdlib.h>
#include <string.h>

static int by_string(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int read_features(const json_t *doc, struct sched_want *w, struct err *e)
{
	const json_t *list = json_object_get(doc, "features");
	size_t max = sizeof(w->features) / sizeof(*w->features);
	if (json_array_size(list) > max)
		return err_set(e, ERR_USAGE, -EINVAL, "features: at most %zu are allowed", max);
	unsigned n = 0;
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *f = json_string_value(json_array_get(list, i));
		if (f)
			w->features[n++] = f;
	}
	qsort(w->features, n, sizeof(*w->features), by_string);
	w->req.features = (struct names){w->features, n};
	return 0;
}

static int read_labels(const json_t *doc, struct sched_want *w, struct err *e)
{
	json_t *labels = json_object_get(doc, "host_labels"), *value;
	size_t max = sizeof(w->label_rows) / sizeof(*w->label_rows);
	if (json_object_size(labels) > max)
		return err_set(e, ERR_USAGE, -EINVAL, "host_labels: at most %zu are allowed", max);
	unsigned n = 0;
	const char *key;
	json_object_foreach (labels, key, value) {
		if (json_is_string(value))
			w->label_rows[n++] = (struct label){key, json_string_value(value)};
	}
	w->req.labels = (struct labels){w->label_rows, n};
	return 0;
}

/* Volumes are files of one host: an instance goes to its data. */
static int read_volumes(struct control *c, const char *project, const json_t *doc,
	struct sched_want *w, struct err *e)
{
	size_t i;
	json_t *disk;
	json_array_foreach (json_object_get(doc, "disks"), i, disk) {
		const char *id = doc_str(disk, "volume");
		struct obj *v = id ? obj_find(c->objects, KIND_VOLUME, project, id) : NULL;
		if (!v)
			return err_set(e, ERR_NOT_FOUND, -ENOENT, "disks: there is no volume %s",
				id ? id : "");
		const char *host = doc_str(v->doc, "host_id");
		const char *name = doc_str(v->doc, "host");
		struct obj *h = !host && name ? obj_find(c->objects, KIND_HOST, NULL, name) : NULL;
		host = h ? h->id : host;
		if (host && w->req.data_host && strcmp(host, w->req.data_host))
			return err_set(e, ERR_CONFLICT, -EXDEV,
				"disks: the volumes are on different hosts");
		w->req.data_host = host ? host : w->req.data_host;
	}
	return 0;
}

static void use_platform(struct sched_want *w, unsigned chip, const struct image_platform *p)
{
	const char *digest = p->part[IMAGE_ROOT].digest[0] ? p->part[IMAGE_ROOT].digest
							   : p->part[IMAGE_KERNEL].digest;
	snprintf(w->blob[chip], DIGEST_LEN, "%s", digest);
	w->req.blob[chip] = digest[0] ? w->blob[chip] : NULL;
	w->req.linux_guest |= !p->bare_metal;
}

/* An instance that once had a place has a disk of one chip. */
static int read_pinned(struct control *c, const char *digest, struct sched_want *w, struct err *e)
{
	struct image_platform p;
	int rc = image_pinned(c->images, digest, &p, e);
	if (rc)
		return rc;
	int chip = chip_parse(p.chip);
	if (chip < 0)
		return err_set(e, ERR_HOST, -EINVAL, "image: unknown chip %s", p.chip);
	w->req.chips = 1u << chip;
	use_platform(w, chip, &p);
	return 0;
}

static int read_image(struct control *c, const char *project, const json_t *doc,
	struct sched_want *w, struct err *e)
{
	const char *image = doc_str(doc, "image"), *pinned = doc_str(doc, "platform_digest");
	const char *chip = doc_str(doc, "chip");
	unsigned chips = CHIP_ALL;
	if (chip && strcmp(chip, "any")) {
		int one = chip_parse(chip);
		if (one < 0)
			return err_set(e, ERR_USAGE, -EINVAL,
				"chip: %s is not allowed; allowed: "
				"any, x86_64, arm64, riscv64",
				chip);
		chips = 1u << one;
	}
	w->req.chips = chips;
	if (!image)
		return 0;
	if (pinned)
		return read_pinned(c, pinned, w, e);
	unsigned has;
	int rc = image_chips(c->images, project, image, &has, e);
	if (rc)
		return rc;
	w->req.image_chips = has & CHIP_ALL;
	for (unsigned i = 0; i < CHIPS; i++) {
		struct image_platform p;
		if ((chips & has & 1u << i) &&
			!image_resolve(c->images, project, image, chip_text(i), &p, NULL))
			use_platform(w, i, &p);
	}
	return 0;
}

int want_read(struct control *c, const char *project, const json_t *doc,
	struct sched_want *ret_want, struct err *e)
{
	struct sched_want *w = ret_want;
	memset(w, 0, sizeof(*w));
	w->req.image_chips = CHIP_ALL;
	w->req.cpus = (uint32_t)doc_num(doc, "cpus");
	w->req.memory_mib = (uint32_t)doc_num(doc, "memory_mib");
	w->req.pin = doc_str(doc, "pin");
	w->req.pool = doc_str(doc, "pool");
	const char *spread = doc_str(doc, "spread");
	w->req.pack = spread && !strcmp(spread, "pack");
	int rc = read_features(doc, w, e);
	if (!rc)
		rc = read_labels(doc, w, e);
	if (!rc)
		rc = read_volumes(c, project, doc, w, e);
	return rc ? rc : read_image(c, project, doc, w, e);
}
