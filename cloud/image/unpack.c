/* SPDX-License-Identifier: Apache-2.0 */
/* A manifest's layers to packed files in DATA/unpacked. Layers are archives from anywhere: only
 * three paths are taken, and no path of an archive ever names a file of ours. The folder is made
 * under another name and renamed when it is whole. */
#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "cloud/image/internal.h"
#include "vmm/base/cleanup.h"

struct unpacking {
	char dir[PATH_MAX];
	struct image_platform *p;
	const struct work *w;
	struct err *e;
};

static int which_part(const char *path)
{
	if (!strncmp(path, "./", 2))
		path += 2;
	for (enum image_part i = 0; i < IMAGE_PARTS; i++)
		if (!strcmp(path, layer_path(i)))
			return i;
	return -1;
}

static int copy_data(struct unpacking *u, struct archive *a, struct pack *k)
{
	const void *p;
	size_t n;
	la_int64_t offset;
	int r;

	while ((r = archive_read_data_block(a, &p, &n, &offset)) == ARCHIVE_OK) {
		if (atomic_load(u->w->stop))
			return -ECANCELED;
		r = pack_put(k, offset, p, n);
		if (r < 0)
			return err_set(u->e, ERR_USAGE, r, "layer: its data cannot be kept: %s",
				strerror(-r));
		atomic_fetch_add(u->w->done, n);
	}
	return r == ARCHIVE_EOF
		       ? 0
		       : err_set(u->e, ERR_USAGE, -EBADMSG, "layer: truncated or damaged: %.160s",
				 archive_error_string(a));
}

static int take_part(struct unpacking *u, struct archive *a, enum image_part i, uint64_t size)
{
	uint64_t max = i == IMAGE_ROOT ? IMAGE_ROOT_MAX : IMAGE_BOOT_MAX;
	char path[PATH_MAX], digest[DIGEST_LEN];
	cleanup_fd int fd = -1;
	struct pack *k = NULL;
	int r;

	if (u->p->part[i].digest[0])
		return err_set(u->e, ERR_USAGE, -EEXIST, "layers hold %s twice", layer_path(i));
	if (!size || size > max)
		return err_set(u->e, ERR_USAGE, -EFBIG,
			"%s: %llu bytes are not allowed; allowed: 1 to %llu", layer_path(i),
			(unsigned long long)size, (unsigned long long)max);
	if (snprintf(path, sizeof(path), "%s/%s", u->dir, image_part_name(i)) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0)
		return err_set(u->e, ERR_HOST, -errno, "%s: %s", path, strerror(errno));
	r = pack_new(fd, size, &k);
	if (!r)
		r = copy_data(u, a, k);
	if (!r)
		r = pack_end(k, digest, &u->p->part[i].packed);
	if (!r && fsync(fd) < 0)
		r = -errno;
	pack_free(k);
	if (r < 0)
		return err_set(u->e, ERR_HOST, r, "%s: %s", path, strerror(-r));
	strcpy(u->p->part[i].digest, digest);
	u->p->part[i].size = size;
	return 0;
}

static int take_entry(struct unpacking *u, struct archive *a, struct archive_entry *entry)
{
	const char *path = archive_entry_pathname(entry);
	int part = path ? which_part(path) : -1;

	if (path && archive_entry_filetype(entry) == AE_IFDIR &&
		(!strcmp(path, "disk/") || !strcmp(path, "boot/") || !strcmp(path, "./") ||
			!strcmp(path, "./disk/") || !strcmp(path, "./boot/")))
		return 0;
	if (part < 0)
		return err_set(u->e, ERR_USAGE, -EINVAL,
			"layer holds '%.80s'; allowed: disk/root.raw, boot/kernel, boot/initramfs",
			path ? path : "");
	if (archive_entry_filetype(entry) != AE_IFREG || archive_entry_hardlink(entry))
		return err_set(u->e, ERR_USAGE, -EINVAL, "layer: %s is not a plain file",
			layer_path(part));
	return take_part(u, a, part, archive_entry_size(entry));
}

static int read_layer(struct unpacking *u, const char *path)
{
	struct archive *a = archive_read_new();
	struct archive_entry *entry;
	int r = a ? 0 : -ENOMEM, got;

	if (!r) {
		archive_read_support_format_tar(a);
		archive_read_support_filter_gzip(a);
		archive_read_support_filter_zstd(a);
		if (archive_read_open_filename(a, path, 1 << 17) != ARCHIVE_OK)
			r = err_set(u->e, ERR_USAGE, -EBADMSG, "layer: %.200s",
				archive_error_string(a));
	}
	while (!r && (got = archive_read_next_header(a, &entry)) != ARCHIVE_EOF) {
		if (got != ARCHIVE_OK && got != ARCHIVE_WARN)
			r = err_set(u->e, ERR_USAGE, -EBADMSG,
				"layer: truncated or damaged: %.160s", archive_error_string(a));
		else
			r = take_entry(u, a, entry);
	}
	archive_read_free(a);
	return r;
}

static int read_layers(struct unpacking *u, const char *layout, const json_t *layers)
{
	const json_t *layer;
	char path[PATH_MAX];
	size_t i;

	json_array_foreach (layers, i, layer) {
		const char *media = json_string_value(json_object_get(layer, "mediaType"));
		int r;

		if (!media || (strcmp(media, MEDIA_TAR) && strcmp(media, MEDIA_TAR_GZIP) &&
				      strcmp(media, MEDIA_TAR_ZSTD)))
			return err_set(u->e, ERR_USAGE, -EINVAL,
				"layer %zu: media type '%.80s' is not allowed; allowed: %s, also "
				"with +gzip or +zstd",
				i, media ? media : "", MEDIA_TAR);
		layout_blob_path(layout, json_string_value(json_object_get(layer, "digest")), path);
		r = read_layer(u, path);
		if (r < 0)
			return r;
	}
	if (!u->p->part[IMAGE_KERNEL].digest[0])
		return err_set(u->e, ERR_USAGE, -EINVAL,
			"no layer holds boot/kernel, which an image needs");
	return 0;
}

static int put_parts(struct unpacking *u)
{
	char path[PATH_MAX];
	json_t *doc = platform_json(u->p);
	int r = doc && snprintf(path, sizeof(path), "%s/parts.json", u->dir) < (int)sizeof(path) &&
				json_dump_file(doc, path, JSON_COMPACT) == 0
			? 0
			: -EIO;

	json_decref(doc);
	return r;
}

int manifest_unpack(const char *data, const char *manifest, const json_t *layers,
	struct image_platform *ret_platform, const struct work *w, struct err *e)
{
	char to[PATH_MAX], layout[PATH_MAX];
	struct unpacking u = {.p = ret_platform, .w = w, .e = e};
	int r;

	if (platform_load(data, manifest, ret_platform) == 0)
		return 0;
	snprintf(layout, sizeof(layout), "%s/images", data);
	snprintf(u.dir, sizeof(u.dir), "%s/unpacked/.part-XXXXXX", data);
	if (!mkdtemp(u.dir))
		return err_set(e, ERR_HOST, -errno, "%s/unpacked: %s", data, strerror(errno));
	chmod(u.dir, 0755);
	r = read_layers(&u, layout, layers);
	if (!r)
		r = put_parts(&u);
	unpacked_path(data, manifest, to);
	if (!r && rename(u.dir, to) < 0)
		r = err_set(e, ERR_HOST, -errno, "%s: %s", to, strerror(errno));
	if (r)
		remove_tree(u.dir);
	return r;
}
