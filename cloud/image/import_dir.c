/* SPDX-License-Identifier: Apache-2.0 */
/* From a folder: CHIP/root, CHIP/kernel, CHIP/initramfs, raw or (root) qcow2. What is uploaded
 * gathers in such a folder, too. Makes layers, configurations, manifests and an index of it. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "cloud/image/internal.h"
#include "vmm/base/cleanup.h"

static int open_part(const struct import *im, const char *dir, int chip, enum image_part part,
	int *ret_fd, struct err *e)
{
	uint64_t max = part == IMAGE_ROOT ? IMAGE_ROOT_MAX : IMAGE_BOOT_MAX;
	char path[PATH_MAX], raw[PATH_MAX];
	bool converted = false;
	struct stat st;
	int r, fd;

	if (snprintf(path, sizeof(path), "%s/%s/%s", dir, chip_name(chip), image_part_name(part)) >=
		(int)sizeof(path))
		return -ENAMETOOLONG;
	if (stat(path, &st) < 0)
		return errno == ENOENT
			       ? 0
			       : err_set(e, ERR_HOST, -errno, "%s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode) || !st.st_size || (uint64_t)st.st_size > max)
		return err_set(e, ERR_USAGE, -EINVAL, "%s of %s: not a file of 1 to %llu bytes",
			image_part_name(part), chip_name(chip), (unsigned long long)max);
	if (part == IMAGE_ROOT) {
		r = convert_qcow2(path, max, &im->work, &converted, raw, e);
		if (r < 0)
			return r;
	}
	fd = open(converted ? raw : path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (converted)
		unlink(raw);
	if (fd < 0)
		return err_set(e, ERR_HOST, -errno, "%s: %s", path, strerror(errno));
	*ret_fd = fd;
	return 1;
}

static json_t *config_of(int chip, json_t *diffs, bool bare_metal)
{
	json_t *config = json_pack("{s:s, s:s, s:{}, s:{s:s, s:O}}", "architecture", chip_oci(chip),
		"os", "linux", "config", "rootfs", "type", "layers", "diff_ids", diffs);

	if (config && bare_metal)
		json_object_set_new(json_object_get(config, "config"), "Labels",
			json_pack("{s:s}", LABEL_GUEST, "bare-metal"));
	return config;
}

/* The layers of a chip, as far as the folder has its files. */
static int make_layers(const struct import *im, const char *layout, const char *dir, int chip,
	json_t *layers, json_t *diffs, struct err *e)
{
	for (enum image_part part = 0; part < IMAGE_PARTS; part++) {
		char diff[DIGEST_LEN];
		cleanup_fd int fd = -1;
		json_t *layer;
		int r = open_part(im, dir, chip, part, &fd, e);

		if (r < 0)
			return r;
		if (!r && part == IMAGE_KERNEL)
			return err_set(e, ERR_USAGE, -EINVAL, "%s: an image needs a kernel",
				chip_name(chip));
		if (!r)
			continue;
		r = layer_write(layout, part, fd, &im->work, &layer, diff, e);
		if (r < 0)
			return r;
		json_array_append_new(layers, layer);
		json_array_append_new(diffs, json_string(diff));
	}
	return 0;
}

/* One chip's manifest; appends its descriptor to an index's manifests. */
static int make_manifest(const struct import *im, const char *layout, const char *dir, int chip,
	json_t *manifests, struct err *e)
{
	json_t *layers = json_array(), *diffs = json_array(), *config = NULL, *manifest = NULL;
	json_t *config_d = NULL, *d = NULL;
	int r = make_layers(im, layout, dir, chip, layers, diffs, e);

	if (!r) {
		config = config_of(chip, diffs, im->bare_metal);
		r = config ? layout_put_json(layout, config, MEDIA_CONFIG, &config_d, e) : -ENOMEM;
	}
	if (!r) {
		manifest = json_pack("{s:i, s:s, s:O, s:O}", "schemaVersion", 2, "mediaType",
			MEDIA_MANIFEST, "config", config_d, "layers", layers);
		r = manifest ? layout_put_json(layout, manifest, MEDIA_MANIFEST, &d, e) : -ENOMEM;
	}
	if (!r) {
		json_object_set_new(d, "platform",
			json_pack("{s:s, s:s}", "architecture", chip_oci(chip), "os", "linux"));
		json_array_append(manifests, d);
	}
	json_decref(layers);
	json_decref(diffs);
	json_decref(config);
	json_decref(config_d);
	json_decref(manifest);
	json_decref(d);
	return r;
}

/* The folders of dir as bits of chips. */
static int chips_in(const char *dir, unsigned *ret_chips, struct err *e)
{
	DIR *d = opendir(dir);
	struct dirent *entry;
	int r = 0;

	if (!d)
		return err_set(e, ERR_USAGE, -errno, "%s: %s", dir, strerror(errno));
	*ret_chips = 0;
	while (!r && (entry = readdir(d))) {
		int chip = chip_index(entry->d_name);

		if (entry->d_name[0] == '.')
			continue;
		if (chip < 0 || strcmp(chip_name(chip), entry->d_name))
			r = err_set(e, ERR_USAGE, -EINVAL,
				"unknown chip '%.60s'; allowed: x86_64, arm64, riscv64",
				entry->d_name);
		else
			*ret_chips |= 1u << chip;
	}
	closedir(d);
	if (!r && !*ret_chips)
		r = err_set(e, ERR_USAGE, -ENOENT,
			"nothing is there to make an image of: a kernel for a chip is needed");
	return r;
}

/* Manifests that the tag has now for chips that are not made anew. */
static void keep_others(
	const struct import *im, const char *layout, unsigned chips, json_t *manifests)
{
	json_t *d, *index = NULL, *m;
	size_t i;

	if (layout_find(layout, im->ref, &d, NULL) < 0)
		return;
	if (layout_get_json(layout, d, &index, NULL) == 0)
		json_array_foreach (json_object_get(index, "manifests"), i, m) {
			int chip = chip_index(json_string_value(
				json_object_get(json_object_get(m, "platform"), "architecture")));

			if (chip >= 0 && !(chips & 1u << chip))
				json_array_append(manifests, m);
		}
	json_decref(index);
	json_decref(d);
}

static int make_index(const struct import *im, const char *layout, json_t *manifests,
	char ret_index[DIGEST_LEN], json_t **ret_platforms, struct err *e)
{
	json_t *index = json_pack("{s:i, s:s, s:O}", "schemaVersion", 2, "mediaType", MEDIA_INDEX,
		"manifests", manifests);
	json_t *d = NULL, *platforms = NULL;
	int r = index ? layout_put_json(layout, index, MEDIA_INDEX, &d, e) : -ENOMEM;

	if (!r)
		r = import_index(im, d, &platforms, e);
	if (!r)
		r = layout_set(layout, im->ref, d, e);
	if (!r) {
		snprintf(ret_index, DIGEST_LEN, "%s",
			json_string_value(json_object_get(d, "digest")));
		*ret_platforms = json_incref(platforms);
	}
	json_decref(platforms);
	json_decref(index);
	json_decref(d);
	return r;
}

int import_dir(const struct import *im, const char *dir, char ret_index[DIGEST_LEN],
	json_t **ret_platforms, struct err *e)
{
	json_t *manifests = json_array();
	char layout[PATH_MAX];
	unsigned chips = 0;
	int r = manifests ? chips_in(dir, &chips, e) : -ENOMEM;

	snprintf(layout, sizeof(layout), "%s/images", im->data);
	for (int chip = 0; !r && chip < IMAGE_CHIPS; chip++)
		if (chips & 1u << chip)
			r = make_manifest(im, layout, dir, chip, manifests, e);
	if (!r && im->merge)
		keep_others(im, layout, chips, manifests);
	if (!r)
		r = make_index(im, layout, manifests, ret_index, ret_platforms, e);
	json_decref(manifests);
	return r;
}
