/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of cloud/image among themselves. What has `layout` in its name runs on the job thread
 * and may block; it says what is wrong in e. */
#ifndef CLOUD_IMAGE_INTERNAL_H
#define CLOUD_IMAGE_INTERNAL_H

#include <limits.h>
#include <stdatomic.h>
#include "cloud/image/image.h"
#include "vmm/base/list.h"
#include "vmm/base/num.h"

#define IMAGE_CHIPS	3
#define IMAGE_NAME_MAX	63
#define IMAGE_REF_MAX	200		     /* PROJECT/NAME:TAG */
#define IMAGE_LAYERS	16		     /* of one manifest */
#define IMAGE_MANIFESTS 16		     /* of one index */
#define IMAGE_JSON_MAX	(4u << 20)	     /* bytes of an index, a manifest, a configuration */
#define IMAGE_ROOT_MAX	((uint64_t)64 << 30) /* bytes of a root disk */
#define IMAGE_BOOT_MAX	((uint64_t)1 << 30)  /* of a kernel or an initramfs */
#define IMAGE_QUEUE	64		     /* jobs that wait */

/* OCI image-spec 1.1, media-types.md */
#define MEDIA_INDEX    "application/vnd.oci.image.index.v1+json"
#define MEDIA_MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define MEDIA_CONFIG   "application/vnd.oci.image.config.v1+json"
#define MEDIA_TAR      "application/vnd.oci.image.layer.v1.tar"
#define MEDIA_TAR_GZIP "application/vnd.oci.image.layer.v1.tar+gzip"
#define MEDIA_TAR_ZSTD "application/vnd.oci.image.layer.v1.tar+zstd"
#define REF_NAME       "org.opencontainers.image.ref.name"
#define LABEL_GUEST    "org.polyvisor.guest" /* of the configuration: "bare-metal"; absent: linux */

/* ---- names (names.c) ---- */

/* Index of a chip as we, Debian or OCI spell it ("x86_64", "amd64"), -1: unknown. */
int chip_index(const char *name);
const char *chip_name(int chip); /* "x86_64" */
const char *chip_oci(int chip);	 /* "amd64" */
/* "NAME", "NAME:TAG" to the tag's name, where :latest is left out. -EINVAL and e. */
int image_name(const char *text, char ret_name[IMAGE_REF_MAX], struct err *e);
/* What the tag is called in the layout: "NAME[:TAG]" in project default, "PROJECT/NAME[:TAG]". */
void image_ref(const char *project, const char *name, char ret_ref[IMAGE_REF_MAX]);

/* ---- an image's parts as JSON: in the object's "platforms" and in parts.json (parts.c) ---- */
json_t *platform_json(const struct image_platform *p);
int platform_parse(const json_t *doc, struct image_platform *ret_platform); /* -EINVAL */
/* DATA/unpacked/sha256-… of a manifest. */
void unpacked_path(const char *data, const char *manifest, char ret_path[PATH_MAX]);
int platform_load(const char *data, const char *manifest, struct image_platform *ret_platform);

/* ---- the layout: files and references (layout.c) ---- */

int layout_init(const char *dir, struct err *e);
/* Refuses a folder that is no OCI image layout of version 1. */
int layout_check(const char *dir, struct err *e);
void layout_blob_path(const char *dir, const char *digest, char ret_path[PATH_MAX]);
/* A JSON blob, its digest and size checked. */
int layout_get_json(const char *dir, const json_t *descriptor, json_t **ret_doc, struct err *e);
/* Writes a JSON blob; ret_descriptor: {mediaType, digest, size}. */
int layout_put_json(const char *dir, const json_t *doc, const char *media, json_t **ret_descriptor,
	struct err *e);
/* A temporary file in dir that layout_put_file() turns into a blob; path is then gone. */
int layout_temp(const char *dir, char ret_path[PATH_MAX], int *ret_fd, struct err *e);
int layout_put_file(const char *dir, const char *path, const char *digest, struct err *e);
/* Copies one blob from another layout (or checks it where it is), with its digest and size. */
int layout_copy(const char *from, const char *dir, const json_t *descriptor, struct err *e);
/* The descriptor that a reference names; ref NULL: the only one. */
int layout_find(const char *dir, const char *ref, json_t **ret_descriptor, struct err *e);
/* Points a reference at an index; descriptor NULL: takes it away. */
int layout_set(const char *dir, const char *ref, const json_t *descriptor, struct err *e);
/* Deletes blobs that no reference reaches, and unpacked manifests that neither a reference nor
 * `pinned` (array of digests) names. */
void layout_collect(const char *data, const json_t *pinned);

/* ---- layers (layer.c, unpack.c) ---- */

/* Stops what is long when *stop; counts bytes for progress. */
struct work {
	_Atomic bool *stop;
	_Atomic uint64_t *done;
};
/* What a part is called inside its archive: "disk/root.raw". */
const char *layer_path(enum image_part p);
/* One file as a tar+gzip layer of the layout. ret_layer: its descriptor; ret_diff: its diff_id. */
int layer_write(const char *dir, enum image_part part, int fd, const struct work *w,
	json_t **ret_layer, char ret_diff[DIGEST_LEN], struct err *e);
/* The layers of a manifest to DATA/unpacked, unless it is there; fills ret_platform->part. */
int manifest_unpack(const char *data, const char *manifest, const json_t *layers,
	struct image_platform *ret_platform, const struct work *w, struct err *e);

/* ---- imports (import_dir.c, import_oci.c) ---- */

struct import {
	const char *data; /* DATA */
	const char *ref;  /* of the tag that is made */
	bool bare_metal;  /* import_dir */
	bool merge;	  /* import_dir: chips that the tag has and the folder has not stay */
	struct work work;
};
/* Both make the tag and return its index's digest and the array of platforms. */
int import_dir(const struct import *im, const char *dir, char ret_index[DIGEST_LEN],
	json_t **ret_platforms, struct err *e);
int import_oci(const struct import *im, const char *dir, const char *ref,
	char ret_index[DIGEST_LEN], json_t **ret_platforms, struct err *e);
/* Reads an index in the layout, unpacks every platform of it. */
int import_index(
	const struct import *im, const json_t *descriptor, json_t **ret_platforms, struct err *e);
/* A qcow2 file to a raw one by qemu-img; 0 and nothing done for a file that is raw already. */
int convert_qcow2(const char *path, uint64_t max, const struct work *w, bool *ret_converted,
	char ret_raw[PATH_MAX], struct err *e);

/* ---- the jobs (jobs.c) and what they share with the control thread ---- */

struct images {
	struct ev_loop *loop;
	struct log *log;
	struct objects *objects;
	char *data;
	struct ev_thread *thread;
	struct list jobs; /* queued or running */
	unsigned njobs;
	struct list pushes; /* blobs under way */
	struct list ended;  /* wishes for them whose end is posted */
	struct ev_timer tick;
	_Atomic bool stop;
};

enum job_kind { JOB_UPLOAD, JOB_DIR, JOB_OCI, JOB_UNTAG, JOB_COLLECT };
struct job_spec {
	enum job_kind kind;
	const char *project, *name; /* "NAME[:TAG]" */
	const char *path, *ref;	    /* source */
	bool bare_metal;
	const char *actor, *request_id;
	const json_t *labels;
};
/* Queues a job. ret_operation: its id, where the kind has one (the imports). -EBUSY: too many. */
int job_start(struct images *im, const struct job_spec *s, char ret_operation[32], struct err *e);
void jobs_end(struct images *im);   /* ends the one in hand, drops the others */
void pushes_end(struct images *im); /* the links are gone: tells those who were not told yet */
/* DATA/uploads/PROJECT@NAME */
void upload_path(const char *data, const char *project, const char *name, char ret_path[PATH_MAX]);
/* Removes a folder of ours with all in it. */
void remove_tree(const char *path);

#endif
