/* SPDX-License-Identifier: Apache-2.0 */
/* What an image is on one chip, as JSON: an element of the object's "platforms", and parts.json
 * beside the unpacked files, which a pinned instance finds after the tag has moved. */
#include <stdio.h>
#include <string.h>
#include "cloud/image/internal.h"

json_t *platform_json(const struct image_platform *p)
{
	json_t *doc = json_pack("{s:s, s:s, s:s}", "chip", p->chip, "digest", p->platform, "guest",
		p->bare_metal ? "bare-metal" : "linux");

	for (enum image_part i = 0; doc && i < IMAGE_PARTS; i++) {
		json_t *part = !p->part[i].digest[0]
				       ? json_null()
				       : json_pack("{s:s, s:I, s:I}", "digest", p->part[i].digest,
						 "size", (json_int_t)p->part[i].size, "packed",
						 (json_int_t)p->part[i].packed);

		json_object_set_new(doc, image_part_name(i), part);
	}
	return doc;
}

static void parse_part(const json_t *part, struct image_platform *p, enum image_part i)
{
	const char *digest = json_string_value(json_object_get(part, "digest"));

	if (!digest_ok(digest))
		return;
	strcpy(p->part[i].digest, digest);
	p->part[i].size = json_integer_value(json_object_get(part, "size"));
	p->part[i].packed = json_integer_value(json_object_get(part, "packed"));
}

int platform_parse(const json_t *doc, struct image_platform *ret_platform)
{
	const char *chip = json_string_value(json_object_get(doc, "chip"));
	const char *digest = json_string_value(json_object_get(doc, "digest"));
	const char *guest = json_string_value(json_object_get(doc, "guest"));
	struct image_platform p = {0};

	if (chip_index(chip) < 0 || !digest_ok(digest))
		return -EINVAL;
	snprintf(p.chip, sizeof(p.chip), "%s", chip_name(chip_index(chip)));
	strcpy(p.platform, digest);
	p.bare_metal = guest && !strcmp(guest, "bare-metal");
	for (enum image_part i = 0; i < IMAGE_PARTS; i++)
		parse_part(json_object_get(doc, image_part_name(i)), &p, i);
	*ret_platform = p;
	return 0;
}

void unpacked_path(const char *data, const char *manifest, char ret_path[PATH_MAX])
{
	snprintf(ret_path, PATH_MAX, "%s/unpacked/sha256-%s", data, manifest + strlen("sha256:"));
}

int platform_load(const char *data, const char *manifest, struct image_platform *ret_platform)
{
	char path[PATH_MAX], file[PATH_MAX];
	json_t *doc;
	int r;

	if (!digest_ok(manifest))
		return -EINVAL;
	unpacked_path(data, manifest, path);
	if (snprintf(file, sizeof(file), "%s/parts.json", path) >= (int)sizeof(file))
		return -ENAMETOOLONG;
	doc = json_load_file(file, 0, NULL);
	r = doc ? platform_parse(doc, ret_platform) : -ENOENT;
	json_decref(doc);
	return r;
}
