/* SPDX-License-Identifier: Apache-2.0 */
/* Making a layer: one file in a pax archive (POSIX 1003.1-2001) with a map of its holes, gzipped.
 * No times and no owners go in, so that the same file makes the same layer. The diff_id is of the
 * archive, the digest of what gzip made of it (image-spec 1.1, config.md "Layer DiffID"). */
#include <archive.h>
#include <archive_entry.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>
#include "cloud/image/internal.h"
#include "vmm/base/cleanup.h"

#define CHUNK (64u << 10)

/* The paths inside an archive; unpack.c takes no others. */
const char *layer_path(enum image_part p)
{
	static const char *const paths[IMAGE_PARTS] = {
		"disk/root.raw", "boot/kernel", "boot/initramfs"};

	return paths[p];
}

struct out {
	int fd;
	struct digest *diff, *blob;
	uint64_t size;
	z_stream z;
	uint8_t buf[CHUNK];
};

static int deflate_some(struct out *o, const void *p, size_t n, int flush)
{
	o->z.next_in = (Bytef *)p;
	o->z.avail_in = n;
	do {
		size_t made;

		o->z.next_out = o->buf;
		o->z.avail_out = sizeof(o->buf);
		if (deflate(&o->z, flush) == Z_STREAM_ERROR)
			return -EIO;
		made = sizeof(o->buf) - o->z.avail_out;
		for (size_t at = 0; at < made;) {
			ssize_t w = write(o->fd, o->buf + at, made - at);

			if (w < 0 && errno != EINTR)
				return -errno;
			at += MAX(w, 0);
		}
		digest_add(o->blob, o->buf, made);
		o->size += made;
	} while (o->z.avail_out == 0);
	return 0;
}

static la_ssize_t out_write(struct archive *a, void *arg, const void *p, size_t n)
{
	struct out *o = arg;
	int r;

	digest_add(o->diff, p, n);
	r = deflate_some(o, p, n, Z_NO_FLUSH);
	if (r < 0) {
		archive_set_error(a, -r, "%s", strerror(-r));
		return -1;
	}
	return n;
}

static bool all_zero(const uint8_t *p, size_t n)
{
	return !p[0] && !memcmp(p, p + 1, n - 1);
}

/* Tells the archive where the file has bytes. */
static int map_holes(struct archive_entry *entry, int fd, uint64_t size, const struct work *w)
{
	cleanup_free uint8_t *buf = malloc(CHUNK);
	uint64_t from = 0, to = 0;

	if (!buf)
		return -ENOMEM;
	for (uint64_t at = 0; at < size; at += CHUNK) {
		ssize_t n = pread(fd, buf, CHUNK, at);

		if (n <= 0)
			return n < 0 ? -errno : -ENODATA;
		if (atomic_load(w->stop))
			return -ECANCELED;
		atomic_fetch_add(w->done, n / 4);
		if (all_zero(buf, n))
			continue;
		if (at != to) {
			if (to > from)
				archive_entry_sparse_add_entry(entry, from, to - from);
			from = at;
		}
		to = at + n;
	}
	/* A file of zeros alone has one byte, because a map without an entry means "no holes". */
	if (to == from && size)
		to = from + 1;
	if (to > from && (from || to < size))
		archive_entry_sparse_add_entry(entry, from, to - from);
	return 0;
}

static int put_bytes(struct archive *a, int fd, uint64_t size, const struct work *w)
{
	cleanup_free uint8_t *buf = malloc(CHUNK);

	if (!buf)
		return -ENOMEM;
	for (uint64_t at = 0; at < size;) {
		ssize_t n = pread(fd, buf, CHUNK, at);

		if (n <= 0)
			return n < 0 ? -errno : -ENODATA;
		if (atomic_load(w->stop))
			return -ECANCELED;
		if (archive_write_data(a, buf, n) != n)
			return -EIO;
		atomic_fetch_add(w->done, n - n / 4);
		at += n;
	}
	return 0;
}

static int put_file(struct archive *a, enum image_part part, int fd, const struct work *w)
{
	struct archive_entry *entry = archive_entry_new();
	struct stat st;
	int r = entry && fstat(fd, &st) == 0 ? 0 : -ENOMEM;

	if (!r) {
		archive_entry_set_pathname(entry, layer_path(part));
		archive_entry_set_filetype(entry, AE_IFREG);
		archive_entry_set_perm(entry, 0644);
		archive_entry_set_size(entry, st.st_size);
		archive_entry_set_mtime(entry, 0, 0);
		r = map_holes(entry, fd, st.st_size, w);
	}
	if (!r && archive_write_header(a, entry) != ARCHIVE_OK)
		r = -EIO;
	if (!r)
		r = put_bytes(a, fd, st.st_size, w);
	archive_entry_free(entry);
	return r;
}

static int write_archive(struct out *o, enum image_part part, int fd, const struct work *w)
{
	struct archive *a = archive_write_new();
	int r = a ? 0 : -ENOMEM;

	if (!r && (archive_write_set_format_pax(a) != ARCHIVE_OK ||
			  archive_write_set_bytes_per_block(a, CHUNK) != ARCHIVE_OK ||
			  archive_write_set_bytes_in_last_block(a, 1) != ARCHIVE_OK ||
			  archive_write_open(a, o, NULL, out_write, NULL) != ARCHIVE_OK))
		r = -EIO;
	if (!r)
		r = put_file(a, part, fd, w);
	if (!r && archive_write_close(a) != ARCHIVE_OK)
		r = -archive_errno(a);
	archive_write_free(a);
	return r ? r : deflate_some(o, NULL, 0, Z_FINISH);
}

static int write_layer(struct out *o, enum image_part part, int fd, const struct work *w)
{
	int r;

	o->diff = digest_new();
	o->blob = digest_new();
	/* 15 bits of window and 16 for gzip's header, which has no time in it. */
	if (!o->diff || !o->blob ||
		deflateInit2(&o->z, Z_BEST_SPEED, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) !=
			Z_OK)
		r = -ENOMEM;
	else {
		r = write_archive(o, part, fd, w);
		deflateEnd(&o->z);
	}
	return r;
}

int layer_write(const char *dir, enum image_part part, int fd, const struct work *w,
	json_t **ret_layer, char ret_diff[DIGEST_LEN], struct err *e)
{
	cleanup_free struct out *o = calloc(1, sizeof(*o));
	char temp[PATH_MAX], digest[DIGEST_LEN] = "";
	int r = o ? layout_temp(dir, temp, &o->fd, e) : -ENOMEM;

	if (r < 0)
		return r;
	r = write_layer(o, part, fd, w);
	if (!r) {
		digest_end(o->diff, ret_diff);
		digest_end(o->blob, digest);
	}
	digest_free(o->diff);
	digest_free(o->blob);
	if (!r && fsync(o->fd) < 0)
		r = -errno;
	close(o->fd);
	if (r < 0) {
		unlink(temp);
		return err_set(e, ERR_HOST, r, "making the layer of %s: %s", image_part_name(part),
			strerror(-r));
	}
	*ret_layer = json_pack("{s:s, s:s, s:I}", "mediaType", MEDIA_TAR_GZIP, "digest", digest,
		"size", (json_int_t)o->size);
	return layout_put_file(dir, temp, digest, e);
}
