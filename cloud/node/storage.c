/* SPDX-License-Identifier: Apache-2.0 */
/* Volumes, root disks and seeds. A volume is a sparse file and a generation: it is opened for an
 * instance only with the generation that the control plane gave out last, so that what an older
 * assignment started cannot write it any more once a newer one came here. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "cloud/node/file.h"
#include "cloud/node/node_priv.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"

/* ---- volumes ---- */

static void file_of(const char *id, const char *ext, char buf[80])
{
	snprintf(buf, 80, "%s.%s", id, ext);
}

/* A disk without its json: its making, or its end, was cut short before anybody was told. */
static void drop_nameless(int dir, char *raw)
{
	size_t len = strlen(raw);
	char meta[80];

	if (len < 5 || len > 70 || strcmp(raw + len - 4, ".raw"))
		return;
	snprintf(meta, sizeof(meta), "%.*s.json", (int)len - 4, raw);
	if (faccessat(dir, meta, F_OK, 0) < 0 && errno == ENOENT)
		unlinkat(dir, raw, 0);
}

int volumes_load(struct node *n)
{
	int copy = openat(n->volumes_dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *x;

	file_drop_unfinished(n->volumes_dir);
	n->volumes = json_object();
	if (!d || !n->volumes)
		return -ENOMEM;
	while ((x = readdir(d))) {
		size_t len = strlen(x->d_name);
		json_t *j;

		drop_nameless(n->volumes_dir, x->d_name);
		if (len < 6 || strcmp(x->d_name + len - 5, ".json") ||
			file_read_json(n->volumes_dir, x->d_name, &j) < 0)
			continue;
		x->d_name[len - 5] = '\0';
		json_object_set_new(n->volumes, x->d_name, j);
	}
	closedir(d);
	return 0;
}

json_t *volumes_list(struct node *n)
{
	json_t *list = json_array(), *v;
	const char *id;

	json_object_foreach (n->volumes, id, v) {
		json_t *o = json_copy(v);

		json_object_set_new(o, "id", json_string(id));
		json_array_append_new(list, o);
	}
	return list;
}

/* Whose disks process has it, now. */
static const struct instance *user_of(struct node *n, const char *id)
{
	list_for_each (it, &n->instances) {
		struct instance *in = container_of(it, struct instance, link);
		const json_t *v;
		size_t i;

		if (!part_runs(in, PART_DISKS) && !part_runs(in, PART_VMM))
			continue;
		json_array_foreach (json_object_get(in->spec, "volumes"), i, v) {
			if (!strcmp(json_string_value(json_object_get(v, "id")), id))
				return in;
		}
	}
	return NULL;
}

static int make_sparse(int dir, const char *name, uint64_t bytes)
{
	cleanup_fd int fd = openat(dir, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	off_t now = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);

	if (now < 0)
		return -errno;
	if ((uint64_t)now < bytes && ftruncate(fd, (off_t)bytes) < 0)
		return -errno;
	return fsync(fd) < 0 ? -errno : 0;
}

static int volume_save(
	struct node *n, const char *id, json_int_t size_mib, json_int_t generation, bool released)
{
	char raw[80], meta[80];
	json_t *j = json_pack("{s:I, s:I, s:b}", "size_mib", size_mib, "generation", generation,
		"released", released);
	int r;

	file_of(id, "raw", raw);
	file_of(id, "json", meta);
	r = j ? make_sparse(n->volumes_dir, raw, (uint64_t)size_mib << 20) : -ENOMEM;
	if (r == 0)
		r = file_write_json(n->volumes_dir, meta, j, true);
	if (r == 0)
		json_object_set(n->volumes, id, j);
	else if (!json_object_get(n->volumes, id))
		unlinkat(n->volumes_dir, raw, 0); /* nothing half made stays */
	json_decref(j);
	return r;
}

void volume_put(struct node *n, struct link_req *r, const char *id)
{
	json_t *known = json_object_get(n->volumes, id), *o;
	json_int_t size = 0, generation = -1, have;
	int release = 0, bad;

	if (!file_id_ok(id) ||
		json_unpack(r->body, "{s:I, s:I, s?b}", "size_mib", &size, "generation",
			&generation, "release", &release) < 0 ||
		size < 1 || size > 64 << 20 || generation < 0) {
		link_problem(r, 400,
			"a volume: {size_mib: 1 to 67108864, generation: from 0, release} is "
			"allowed");
		return;
	}
	have = json_integer_value(json_object_get(known, "generation"));
	if (known && generation < have) {
		link_problem(
			r, 409, "generation %lld is known here, which is newer", (long long)have);
		return;
	}
	if (user_of(n, id) && (release || generation > have)) {
		link_problem(r, 409, "instance %s runs with it", user_of(n, id)->id);
		return;
	}
	have = json_integer_value(json_object_get(known, "size_mib"));
	bad = volume_save(n, id, size > have ? size : have, generation, release);
	if (bad < 0) {
		char why[128];

		link_problem(r, bad == -ENOSPC ? 507 : 500, "the host cannot keep the volume: %s",
			file_why(bad, n->volumes_dir, 0, why));
		return;
	}
	o = json_copy(json_object_get(n->volumes, id));
	json_object_set_new(o, "id", json_string(id));
	link_reply(r, known ? 200 : 201, o);
	json_decref(o);
}

void node_volume_delete(struct node *n, struct link_req *r, const char *id)
{
	char raw[80], meta[80];

	if (!file_id_ok(id) || !json_object_get(n->volumes, id)) {
		link_problem(r, 404, "no such volume on this host");
		return;
	}
	if (user_of(n, id)) {
		link_problem(r, 409, "instance %s runs with it", user_of(n, id)->id);
		return;
	}
	file_of(id, "raw", raw);
	file_of(id, "json", meta);
	unlinkat(n->volumes_dir, raw, 0);
	unlinkat(n->volumes_dir, meta, 0);
	json_object_del(n->volumes, id);
	link_reply(r, 204, NULL);
}

int volume_open(struct instance *in, const json_t *want, struct err *e)
{
	struct node *n = in->node;
	const char *id = json_string_value(json_object_get(want, "id"));
	const json_t *v = json_object_get(n->volumes, id);
	json_int_t have = json_integer_value(json_object_get(v, "generation"));
	const struct instance *user = user_of(n, id);
	bool readonly = json_is_true(json_object_get(want, "readonly"));
	char raw[80];
	int fd;

	if (!v)
		return err_set(e, ERR_NOT_FOUND, -ENOENT, "volume %s is not on this host", id);
	if (json_is_true(json_object_get(v, "released")))
		return err_set(e, ERR_CONFLICT, -EPERM, "volume %s was released by this host", id);
	if (json_integer_value(json_object_get(want, "generation")) != have)
		return err_set(e, ERR_CONFLICT, -ESTALE,
			"volume %s: the instance knows generation %lld, the host %lld", id,
			(long long)json_integer_value(json_object_get(want, "generation")),
			(long long)have);
	if (user && user != in)
		return err_set(e, ERR_CONFLICT, -EBUSY, "volume %s: instance %s runs with it", id,
			user->id);
	file_of(id, "raw", raw);
	fd = openat(n->volumes_dir, raw, (readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 ? err_set(e, ERR_HOST, -errno, "volume %s: %s", id, strerrordesc_np(errno))
		      : fd;
}

/* ---- root disks ---- */

static void cloned(void *arg, int error)
{
	struct instance *in = arg;

	in->clone = NULL;
	in->clone_error = error;
	instance_dirty(in);
}

int root_ready(struct instance *in, struct err *e)
{
	const json_t *root = json_object_get(in->spec, "root");
	const char *digest = json_string_value(json_object_get(root, "digest"));
	uint64_t size = (uint64_t)json_integer_value(json_object_get(root, "size_mib")) << 20;
	int r = in->clone_error;
	char why[128];

	in->clone_error = 0;
	if (r < 0)
		return err_set(e, ERR_HOST, r, "its root disk cannot be made: %s",
			r == -ENOENT
				? "the image is not on this host"
				: file_why(r, in->dir, blob_bytes(in->node->blobs, digest), why));
	if (!json_is_object(root) || faccessat(in->dir, "root.raw", F_OK, 0) == 0)
		return 1;
	if (!in->clone)
		in->clone = blob_clone(in->node->blobs, digest, in->dir, "root.raw", size,
			(uid_t)-1, (gid_t)-1, cloned, in);
	return in->clone ? 0 : err_set(e, ERR_HOST, -ENOMEM, "out of memory");
}

/* ---- seed ---- */

int seed_write(struct instance *in, const char *base64)
{
	size_t len = strlen(base64);
	cleanup_free unsigned char *bytes = malloc(len / 4 * 3 + 4);
	cleanup_fd int fd = -1;
	int n, pad = 0;

	if (!bytes)
		return -ENOMEM;
	n = EVP_DecodeBlock(bytes, (const unsigned char *)base64, (int)len);
	if (n < 0)
		return -EBADMSG;
	while (pad < 2 && len > (size_t)pad && base64[len - 1 - (size_t)pad] == '=')
		pad++;
	n -= pad;
	fd = openat(
		in->dir, "seed.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	/* A new file: the guest that runs keeps the one it has. */
	if (write(fd, bytes, (size_t)n) != n ||
		renameat(in->dir, "seed.new", in->dir, "seed.img") < 0) {
		int r = errno ? -errno : -ENOSPC;
		unlinkat(in->dir, "seed.new", 0);
		return r;
	}
	return 0;
}
