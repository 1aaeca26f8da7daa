/* SPDX-License-Identifier: Apache-2.0 */
/* PUT /v1/images/{id}/upload: one part for one chip, as it comes, into a file of the folder that
 * the image will be made of. Nothing is an image before POST /v1/images says so. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "cloud/control/control.h"
#include "cloud/image/routes.h"
#include "vmm/base/cleanup.h"

#define UPLOADS 64 /* names at a time */

struct upload {
	struct call *c;
	int fd, error;
	uint64_t size, max;
	struct digest *sum; /* where the client said what it must be */
	char digest[DIGEST_LEN];
	char path[PATH_MAX], temp[PATH_MAX];
	char chip[8];
	enum image_part part;
};

static void upload_free(struct upload *u)
{
	if (u->fd >= 0)
		close(u->fd);
	if (u->temp[0])
		unlink(u->temp);
	digest_free(u->sum);
	free(u);
}

static int upload_piece(void *arg, const void *p, size_t n)
{
	struct upload *u = arg;
	const uint8_t *from = p;

	if (u->size + n > u->max)
		return u->error = -EFBIG;
	if (u->sum)
		digest_add(u->sum, p, n);
	u->size += n;
	while (n) {
		ssize_t w = write(u->fd, from, n);

		if (w < 0 && errno == EINTR)
			continue;
		if (w < 0)
			return u->error = -errno;
		from += w;
		n -= w;
	}
	return 0;
}

static void upload_refuse(struct upload *u, int error)
{
	const char *part = image_part_name(u->part);

	if (error == -EFBIG)
		call_problem(u->c, 413, part, "%s: at most %llu bytes are allowed", part,
			(unsigned long long)u->max);
	else if (error == -ENOSPC || error == -EDQUOT)
		call_problem(u->c, 507, part, "%s: the disk of the control plane is full", part);
	else if (error == -EILSEQ)
		call_problem(u->c, 422, "digest", "%s: its bytes have another digest than %s", part,
			u->digest);
	else if (error == -ENODATA)
		call_problem(u->c, 422, part, "%s: an empty body is not allowed", part);
	else
		call_problem(u->c, 500, part, "%s: %s", part, strerror(-error));
}

static void upload_end(void *arg, int error)
{
	struct upload *u = arg;
	char sum[DIGEST_LEN] = "";
	int r = u->error ? u->error : error;

	if (!r && !u->size)
		r = -ENODATA;
	if (!r && u->sum) {
		digest_end(u->sum, sum);
		r = strcmp(sum, u->digest) ? -EILSEQ : 0;
	}
	if (!r && rename(u->temp, u->path) < 0)
		r = -errno;
	if (!r) {
		u->temp[0] = 0;
		call_reply(u->c, 200,
			json_pack("{s:s, s:s, s:I}", "chip", u->chip, "part",
				image_part_name(u->part), "size", (json_int_t)u->size));
	} else
		upload_refuse(u, r);
	upload_free(u);
}

static const struct body_ops upload_ops = {upload_piece, upload_end};

static unsigned entries(const char *folder)
{
	DIR *d = opendir(folder);
	struct dirent *e;
	unsigned n = 0;

	while (d && (e = readdir(d)))
		n += e->d_name[0] != '.';
	if (d)
		closedir(d);
	return n;
}

/* Makes the folder of a name and chip and opens a file there. */
static int upload_open(struct upload *u, const char *data, const char *name)
{
	char folder[PATH_MAX], all[PATH_MAX];
	int n;

	n = snprintf(all, sizeof(all), "%s/uploads", data);
	upload_path(data, u->c->project, name, folder);
	if (n >= (int)sizeof(all) || (access(folder, F_OK) < 0 && entries(all) >= UPLOADS))
		return -EBUSY;
	if (mkdir(folder, 0700) < 0 && errno != EEXIST)
		return -errno;
	n = snprintf(u->path, sizeof(u->path), "%s/%s", folder, u->chip);
	if (n >= (int)sizeof(u->path) || (mkdir(u->path, 0700) < 0 && errno != EEXIST))
		return -errno;
	n = snprintf(u->temp, sizeof(u->temp), "%s/.part-XXXXXX", u->path);
	strncat(u->path, "/", sizeof(u->path) - strlen(u->path) - 1);
	strncat(u->path, image_part_name(u->part), sizeof(u->path) - strlen(u->path) - 1);
	if (n >= (int)sizeof(u->temp))
		return -ENAMETOOLONG;
	u->fd = mkostemp(u->temp, O_CLOEXEC);
	if (u->fd < 0) {
		u->temp[0] = 0;
		return -errno;
	}
	return 0;
}

static int part_index(const char *name)
{
	for (int i = 0; name && i < IMAGE_PARTS; i++)
		if (!strcmp(image_part_name(i), name))
			return i;
	return -1;
}

/* The words of the request; answers and returns NULL when one is wrong. */
static struct upload *upload_new(struct call *c)
{
	const char *chip = call_query(c, "chip"), *part = call_query(c, "part");
	const char *digest = call_query(c, "digest");
	struct upload *u;

	if (chip_index(chip) < 0)
		call_problem(c, 400, "chip",
			"unknown chip '%.60s'; allowed: x86_64, arm64, riscv64", chip ? chip : "");
	else if (part_index(part) < 0)
		call_problem(c, 400, "part",
			"part '%.60s' is not allowed; allowed: root, kernel, initramfs",
			part ? part : "");
	else if (digest && !digest_ok(digest))
		call_problem(c, 400, "digest",
			"digest is not allowed; allowed: sha256: and 64 hexadecimal digits");
	else if (!(u = calloc(1, sizeof(*u))))
		call_problem(c, 500, NULL, "no memory");
	else {
		u->c = c;
		u->fd = -1;
		u->part = part_index(part);
		u->max = u->part == IMAGE_ROOT ? IMAGE_ROOT_MAX : IMAGE_BOOT_MAX;
		snprintf(u->chip, sizeof(u->chip), "%s", chip_name(chip_index(chip)));
		if (digest)
			strcpy(u->digest, digest);
		u->sum = digest ? digest_new() : NULL;
		return u;
	}
	return NULL;
}

void image_upload(struct call *c)
{
	char name[IMAGE_REF_MAX];
	struct err e = {0};
	struct upload *u;
	int r;

	if (image_name(c->param[0], name, &e) < 0) {
		call_problem(c, 400, "name", "%s", e.text);
		return;
	}
	u = upload_new(c);
	if (!u)
		return;
	r = upload_open(u, c->control->data, name);
	if (r < 0) {
		if (r == -EBUSY)
			call_problem(
				c, 409, NULL, "%u uploads wait already to become images", UPLOADS);
		else
			upload_refuse(u, r);
		upload_free(u);
		return;
	}
	call_take_body(c, &upload_ops, u);
}
