/* SPDX-License-Identifier: Apache-2.0 */
/* The images as a whole: their folders, and what a name means on a chip. */
#include "cloud/image/image.h"
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "cloud/image/internal.h"
#include "vmm/base/cleanup.h"

static int make_folders(const char *data, struct err *e)
{
	static const char *const names[] = {"unpacked", "uploads"};
	char path[PATH_MAX];

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", data, names[i]);
		if (!strcmp(names[i], "uploads"))
			remove_tree(path); /* nobody goes on with an upload of before */
		if (mkdir(path, 0700) < 0 && errno != EEXIST)
			return err_set(e, ERR_HOST, -errno, "%s: %s", path, strerror(errno));
	}
	snprintf(path, sizeof(path), "%s/images", data);
	return layout_init(path, e);
}

int images_new(struct ev_loop *loop, struct log *log, struct objects *objects, const char *data,
	struct images **ret_images, struct err *e)
{
	struct images *im;
	int r;

	if (strlen(data) > PATH_MAX / 2)
		return err_set(e, ERR_USAGE, -ENAMETOOLONG, "--data: the path is too long");
	r = make_folders(data, e);
	if (r < 0)
		return r;
	im = calloc(1, sizeof(*im));
	if (!im)
		return -ENOMEM;
	im->loop = loop;
	im->log = log;
	im->objects = objects;
	list_init(&im->jobs);
	list_init(&im->pushes);
	list_init(&im->ended);
	im->data = strdup(data);
	r = im->data ? ev_thread_new("images", &im->thread) : -ENOMEM;
	if (r < 0) {
		images_free(im);
		return err_set(e, ERR_HOST, r, "images: %s", strerror(-r));
	}
	images_collect(im);
	*ret_images = im;
	return 0;
}

void images_free(struct images *im)
{
	if (!im)
		return;
	pushes_end(im);
	jobs_end(im);
	free(im->data);
	free(im);
}

/* ---- names to digests ---- */

/* Names of a project's images, for a message. */
static void list_names(struct images *im, const char *project, char *buf, size_t cap)
{
	size_t n = 0;

	snprintf(buf, cap, "none");
	for (struct obj *o = NULL; (o = obj_next(im->objects, KIND_IMAGE, o));)
		if (!strcmp(o->project, project) && n + strlen(o->name) + 3 < cap)
			n += snprintf(buf + n, cap - n, "%s%s", n ? ", " : "", o->name);
}

static int find(struct images *im, const char *project, const char *text, struct obj **ret_obj,
	struct err *e)
{
	char name[IMAGE_REF_MAX], names[160];
	struct obj *o = obj_find(im->objects, KIND_IMAGE, project, text);
	int r = o ? 0 : image_name(text, name, e);

	if (r < 0)
		return r;
	if (!o)
		o = obj_find(im->objects, KIND_IMAGE, project, name);
	if (!o) {
		list_names(im, project, names, sizeof(names));
		return err_set(
			e, ERR_NOT_FOUND, -ENOENT, "no image '%s'; there is: %s", name, names);
	}
	*ret_obj = o;
	return 0;
}

int image_resolve(struct images *im, const char *project, const char *name, const char *chip,
	struct image_platform *ret_platform, struct err *e)
{
	struct image_platform p;
	char has[64] = "";
	struct obj *o;
	json_t *doc;
	size_t i;
	int r = find(im, project, name, &o, e);

	if (r < 0)
		return r;
	json_array_foreach (json_object_get(o->doc, "platforms"), i, doc) {
		if (platform_parse(doc, &p) < 0)
			continue;
		if (chip_index(p.chip) == chip_index(chip)) {
			const char *index = json_string_value(json_object_get(o->doc, "digest"));

			snprintf(p.index, sizeof(p.index), "%s", index ? index : "");
			*ret_platform = p;
			return 0;
		}
		snprintf(has + strlen(has), sizeof(has) - strlen(has), "%s%s", has[0] ? ", " : "",
			p.chip);
	}
	return err_set(e, ERR_CONFLICT, -ENOENT, "image '%s' is not made for %s; it has: %s",
		o->name, chip, has);
}

int image_chips(struct images *im, const char *project, const char *name, unsigned *ret_chips,
	struct err *e)
{
	struct obj *o;
	json_t *doc;
	unsigned chips = 0;
	size_t i;
	int r = find(im, project, name, &o, e);

	if (r < 0)
		return r;
	json_array_foreach (json_object_get(o->doc, "platforms"), i, doc) {
		int chip = chip_index(json_string_value(json_object_get(doc, "chip")));

		if (chip >= 0)
			chips |= 1u << chip;
	}
	*ret_chips = chips;
	return 0;
}

int image_pinned(struct images *im, const char *platform_digest,
	struct image_platform *ret_platform, struct err *e)
{
	int r = platform_load(im->data, platform_digest, ret_platform);

	return r < 0 ? err_set(e, ERR_NOT_FOUND, r, "no image with the digest %.80s",
			       platform_digest)
		     : 0;
}
