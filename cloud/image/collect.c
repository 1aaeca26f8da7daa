/* SPDX-License-Identifier: Apache-2.0 */
/* Deleting what nothing needs: blobs that no reference of index.json reaches, unpacked manifests
 * that neither a reference nor an instance names, temporary files that a crash left. If any index
 * or manifest cannot be read nothing is deleted: better a blob too many. */
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "cloud/image/internal.h"

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	remove(path);
	return 0;
}

void remove_tree(const char *path)
{
	nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void keep(json_t *set, const json_t *descriptor)
{
	const char *digest = json_string_value(json_object_get(descriptor, "digest"));

	if (digest)
		json_object_set_new(set, digest, json_true());
}

/* Everything that a manifest or an index leads to. */
static int keep_below(const char *layout, const json_t *descriptor, json_t *set, unsigned depth)
{
	json_t *doc, *d;
	size_t i;
	int r = layout_get_json(layout, descriptor, &doc, NULL);

	if (r < 0)
		return r;
	keep(set, descriptor);
	keep(set, json_object_get(doc, "config"));
	json_array_foreach (json_object_get(doc, "layers"), i, d)
		keep(set, d);
	json_array_foreach (json_object_get(doc, "manifests"), i, d)
		if (!r)
			r = depth ? keep_below(layout, d, set, depth - 1) : -ELOOP;
	json_decref(doc);
	return r;
}

static int keep_all(const char *layout, json_t *set)
{
	char path[PATH_MAX];
	json_t *index, *d;
	size_t i;
	int r = 0;

	if (snprintf(path, sizeof(path), "%s/index.json", layout) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	index = json_load_file(path, 0, NULL);
	if (!index)
		return -EIO;
	json_array_foreach (json_object_get(index, "manifests"), i, d)
		if (!r)
			r = keep_below(layout, d, set, 3);
	json_decref(index);
	return r;
}

/* Removes what is in a folder and is named "PREFIXhex" of no digest in the set. */
static void sweep(const char *folder, const char *prefix, const json_t *set)
{
	DIR *d = opendir(folder);
	struct dirent *entry;
	char path[PATH_MAX], digest[DIGEST_LEN];

	while (d && (entry = readdir(d))) {
		size_t n = strlen(prefix);
		bool temp = !strncmp(entry->d_name, ".part-", 6);

		if (entry->d_name[0] == '.' && !temp)
			continue;
		if (!temp && !strncmp(entry->d_name, prefix, n)) {
			snprintf(digest, sizeof(digest), "sha256:%.64s", entry->d_name + n);
			if (json_object_get(set, digest))
				continue;
		} else if (!temp)
			continue;
		if (snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name) <
			(int)sizeof(path))
			remove_tree(path);
	}
	if (d)
		closedir(d);
}

/* Temporary files of our own; those that another tool makes there have other names. */
static void sweep_temps(const char *layout)
{
	json_t *none = json_object();

	sweep(layout, "/", none); /* nothing begins like that */
	json_decref(none);
}

void layout_collect(const char *data, const json_t *pinned)
{
	char layout[PATH_MAX], folder[PATH_MAX];
	json_t *set = json_object();
	const json_t *p;
	size_t i;

	snprintf(layout, sizeof(layout), "%s/images", data);
	if (set && keep_all(layout, set) == 0) {
		if (snprintf(folder, sizeof(folder), "%s/blobs/sha256", layout) <
			(int)sizeof(folder))
			sweep(folder, "", set);
		json_array_foreach (pinned, i, p)
			json_object_set_new(set, json_string_value(p), json_true());
		snprintf(folder, sizeof(folder), "%s/unpacked", data);
		sweep(folder, "sha256-", set);
		sweep_temps(layout);
	}
	json_decref(set);
}
