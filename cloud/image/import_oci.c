/* SPDX-License-Identifier: Apache-2.0 */
/* From another OCI image layout, such as skopeo makes: every blob is copied with its digest and
 * size checked, every platform unpacked, and only then the tag points at it. */
#include <stdio.h>
#include <string.h>
#include "cloud/image/internal.h"

/* The chip that an index says a manifest is for. */
static int platform_chip(const json_t *platform, struct err *e)
{
	const char *arch = json_string_value(json_object_get(platform, "architecture"));
	const char *os = json_string_value(json_object_get(platform, "os"));
	int chip = chip_index(arch);

	if (chip < 0)
		return err_set(e, ERR_USAGE, -EINVAL,
			"unknown chip '%.60s'; allowed: amd64, arm64, riscv64", arch ? arch : "");
	if (!os || strcmp(os, "linux"))
		return err_set(e, ERR_USAGE, -EINVAL,
			"platform.os '%.60s' is not allowed; allowed: linux", os ? os : "");
	return chip;
}

static bool is_media(const json_t *doc, const char *media)
{
	const char *m = json_string_value(json_object_get(doc, "mediaType"));

	return m && !strcmp(m, media);
}

/* Calls each() for the configuration and the layers of a manifest. */
static int each_blob(
	const struct import *im, const char *from, const json_t *manifest, struct err *e)
{
	const json_t *layers = json_object_get(manifest, "layers"), *layer;
	char layout[PATH_MAX];
	size_t i;
	int r;

	snprintf(layout, sizeof(layout), "%s/images", im->data);
	if (!json_is_array(layers) || json_array_size(layers) > IMAGE_LAYERS)
		return err_set(e, ERR_USAGE, -EINVAL, "manifest: 1 to %d layers are allowed",
			IMAGE_LAYERS);
	if (!is_media(json_object_get(manifest, "config"), MEDIA_CONFIG))
		return err_set(e, ERR_USAGE, -EINVAL,
			"manifest: config's media type is not allowed; allowed: %s", MEDIA_CONFIG);
	r = layout_copy(from, layout, json_object_get(manifest, "config"), e);
	json_array_foreach (layers, i, layer) {
		if (!r && atomic_load(im->work.stop))
			r = -ECANCELED;
		if (!r)
			r = layout_copy(from, layout, layer, e);
	}
	return r;
}

/* The configuration must agree with the index, and may say what kind of guest it is. */
static int read_config(const char *layout, const json_t *manifest, int *ret_chip,
	struct image_platform *p, struct err *e)
{
	json_t *config;
	const char *guest;
	int r = layout_get_json(layout, json_object_get(manifest, "config"), &config, e);

	if (r < 0)
		return r;
	r = platform_chip(config, e);
	guest = json_string_value(json_object_get(
		json_object_get(json_object_get(config, "config"), "Labels"), LABEL_GUEST));
	p->bare_metal = guest && !strcmp(guest, "bare-metal");
	json_decref(config);
	if (r < 0)
		return r;
	if (*ret_chip >= 0 && *ret_chip != r)
		return err_set(e, ERR_USAGE, -EINVAL,
			"the index says %s, the configuration says %s", chip_oci(*ret_chip),
			chip_oci(r));
	*ret_chip = r;
	return 0;
}

/* One manifest that is in the layout. chip: what the index says, or -1. */
static int unpack_one(const struct import *im, const json_t *descriptor, int chip,
	json_t *platforms, struct err *e)
{
	char layout[PATH_MAX];
	struct image_platform p = {0};
	const json_t *other;
	json_t *manifest;
	size_t i;
	int r;

	snprintf(layout, sizeof(layout), "%s/images", im->data);
	r = layout_get_json(layout, descriptor, &manifest, e);
	if (r < 0)
		return r;
	r = read_config(layout, manifest, &chip, &p, e);
	if (!r) {
		const char *digest = json_string_value(json_object_get(descriptor, "digest"));

		snprintf(p.chip, sizeof(p.chip), "%s", chip_name(chip));
		snprintf(p.platform, sizeof(p.platform), "%s", digest);
		r = manifest_unpack(
			im->data, digest, json_object_get(manifest, "layers"), &p, &im->work, e);
	}
	json_decref(manifest);
	json_array_foreach (platforms, i, other)
		if (!r && !strcmp(json_string_value(json_object_get(other, "chip")), p.chip))
			r = err_set(e, ERR_USAGE, -EEXIST, "the index has %s twice", p.chip);
	if (!r && json_array_append_new(platforms, platform_json(&p)) < 0)
		r = -ENOMEM;
	return r;
}

int import_index(
	const struct import *im, const json_t *descriptor, json_t **ret_platforms, struct err *e)
{
	json_t *platforms = json_array(), *index = NULL, *m;
	char layout[PATH_MAX];
	size_t i;
	int r;

	snprintf(layout, sizeof(layout), "%s/images", im->data);
	r = platforms ? layout_get_json(layout, descriptor, &index, e) : -ENOMEM;
	json_array_foreach (json_object_get(index, "manifests"), i, m) {
		int chip = r ? -1 : platform_chip(json_object_get(m, "platform"), e);

		if (!r)
			r = chip < 0 ? chip : unpack_one(im, m, chip, platforms, e);
	}
	json_decref(index);
	if (r < 0)
		json_decref(platforms);
	else
		*ret_platforms = platforms;
	return r;
}

static int copy_manifest(const struct import *im, const char *from, const json_t *m, struct err *e)
{
	char layout[PATH_MAX];
	json_t *manifest;
	int r;

	snprintf(layout, sizeof(layout), "%s/images", im->data);
	if (!is_media(m, MEDIA_MANIFEST))
		return err_set(e, ERR_USAGE, -EINVAL,
			"a manifest's media type is not allowed; allowed: %s", MEDIA_MANIFEST);
	r = layout_get_json(from, m, &manifest, e);
	if (r < 0)
		return r;
	r = each_blob(im, from, manifest, e);
	json_decref(manifest);
	return r ? r : layout_copy(from, layout, m, e);
}

/* An index with all that it names. */
static int copy_index(const struct import *im, const char *from, const json_t *d, struct err *e)
{
	char layout[PATH_MAX];
	json_t *index, *list, *m;
	size_t i;
	int r;

	snprintf(layout, sizeof(layout), "%s/images", im->data);
	r = layout_get_json(from, d, &index, e);
	if (r < 0)
		return r;
	list = json_object_get(index, "manifests");
	if (!json_array_size(list) || json_array_size(list) > IMAGE_MANIFESTS)
		r = err_set(e, ERR_USAGE, -EINVAL, "index: 1 to %d manifests are allowed",
			IMAGE_MANIFESTS);
	json_array_foreach (list, i, m) {
		if (!r)
			r = MIN(platform_chip(json_object_get(m, "platform"), e), 0);
		if (!r)
			r = copy_manifest(im, from, m, e);
	}
	json_decref(index);
	return r ? r : layout_copy(from, layout, d, e);
}

/* An image of one chip: an index is made around its manifest. */
static int wrap_manifest(const struct import *im, const char *from, const json_t *d,
	json_t **ret_index, struct err *e)
{
	char layout[PATH_MAX];
	struct image_platform p = {0};
	json_t *manifest, *index;
	int chip = -1, r = copy_manifest(im, from, d, e);

	snprintf(layout, sizeof(layout), "%s/images", im->data);
	if (!r)
		r = layout_get_json(layout, d, &manifest, e);
	if (r < 0)
		return r;
	r = read_config(layout, manifest, &chip, &p, e);
	json_decref(manifest);
	if (r < 0)
		return r;
	index = json_pack("{s:i, s:s, s:[{s:s, s:O, s:O, s:{s:s, s:s}}]}", "schemaVersion", 2,
		"mediaType", MEDIA_INDEX, "manifests", "mediaType", MEDIA_MANIFEST, "digest",
		json_object_get(d, "digest"), "size", json_object_get(d, "size"), "platform",
		"architecture", chip_oci(chip), "os", "linux");
	r = index ? layout_put_json(layout, index, MEDIA_INDEX, ret_index, e) : -ENOMEM;
	json_decref(index);
	return r;
}

int import_oci(const struct import *im, const char *dir, const char *ref,
	char ret_index[DIGEST_LEN], json_t **ret_platforms, struct err *e)
{
	json_t *d = NULL, *index = NULL, *platforms = NULL;
	char layout[PATH_MAX];
	int r = layout_check(dir, e);

	snprintf(layout, sizeof(layout), "%s/images", im->data);
	if (!r)
		r = layout_find(dir, ref, &d, e);
	if (!r && is_media(d, MEDIA_INDEX)) {
		r = copy_index(im, dir, d, e);
		index = json_incref(d);
	} else if (!r && is_media(d, MEDIA_MANIFEST))
		r = wrap_manifest(im, dir, d, &index, e);
	else if (!r)
		r = err_set(e, ERR_USAGE, -EINVAL, "media type is not allowed; allowed: %s, %s",
			MEDIA_INDEX, MEDIA_MANIFEST);
	if (!r)
		r = import_index(im, index, &platforms, e);
	if (!r)
		r = layout_set(layout, im->ref, index, e);
	if (!r) {
		snprintf(ret_index, DIGEST_LEN, "%s",
			json_string_value(json_object_get(index, "digest")));
		*ret_platforms = json_incref(platforms);
	}
	json_decref(d);
	json_decref(index);
	json_decref(platforms);
	return r;
}
