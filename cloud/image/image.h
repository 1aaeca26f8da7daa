/* SPDX-License-Identifier: Apache-2.0 */
/* Images: one name, many chips. DATA/images is an OCI image layout (image-spec 1.1) that other
 * tools read and write: a tag is an image index with one manifest per chip; docs/cloud-images.md
 * says what is in the layers. Beside it DATA/unpacked holds, per manifest, the files in the form
 * that nodes take (cloud/base/packed.h): made once, at import.
 *
 *   import, delete ──► job thread (layout.c, import.c …) ──► news on the control loop
 *   resolve, push, seed: control thread, nothing blocks
 *
 * An object of KIND_IMAGE is a tag: its name is "NAME" (which is NAME:latest) or "NAME:TAG". */
#ifndef CLOUD_IMAGE_IMAGE_H
#define CLOUD_IMAGE_IMAGE_H

#include <jansson.h>
#include <stdint.h>
#include "cloud/base/packed.h"
#include "cloud/control/objects.h"
#include "cloud/control/route.h"
#include "cloud/link/link.h"
#include "vmm/base/err.h"
#include "vmm/base/ev.h"
#include "vmm/base/log.h"

struct images;

/* Opens or makes DATA/images. `data`, loop, log and objects are borrowed. */
int images_new(struct ev_loop *loop, struct log *log, struct objects *objects, const char *data,
	struct images **ret_images, struct err *e);
/* Ends the job in hand (its operation stays "running" and fails at the next start); NULL is fine.
 */
void images_free(struct images *im);

/* ---- what an image is on one chip ---- */

enum image_part { IMAGE_ROOT, IMAGE_KERNEL, IMAGE_INITRAMFS, IMAGE_PARTS };
const char *image_part_name(enum image_part p); /* "root", "kernel", "initramfs" */

struct image_platform {
	char chip[8];		   /* "x86_64", "arm64", "riscv64" */
	char index[DIGEST_LEN];	   /* of the tag now; "" when found by its own digest */
	char platform[DIGEST_LEN]; /* the manifest: pinned on the instance */
	bool bare_metal;	   /* boots where KVM runs no Linux, too */
	struct {
		char digest[DIGEST_LEN]; /* what the node calls the blob; "" = the image has none */
		uint64_t size;		 /* of the file */
		uint64_t packed;	 /* bytes on the wire */
	} part[IMAGE_PARTS];
};

/* "NAME[:TAG]" of a project on a chip. -ENOENT and e: no such image (ERR_NOT_FOUND, with what there
 * is), or it has no such chip (ERR_CONFLICT, with those it has). */
int image_resolve(struct images *im, const char *project, const char *name, const char *chip,
	struct image_platform *ret_platform, struct err *e);
/* The chips that it has, as bits 1 << (0 x86_64, 1 arm64, 2 riscv64). Same errors. */
int image_chips(struct images *im, const char *project, const char *name, unsigned *ret_chips,
	struct err *e);
/* By the digest pinned on an instance, which stays valid until no instance names it. */
int image_pinned(struct images *im, const char *platform_digest,
	struct image_platform *ret_platform, struct err *e);

/* ---- to a node ---- */

/* Called on the loop, never from inside image_push(). */
struct image_push_ops {
	void (*progress)(void *arg, uint64_t sent, uint64_t of); /* packed bytes; may be NULL */
	/* error 0 or a negative errno, and why in one line. Always exactly once. */
	void (*done)(void *arg, int error, const char *why);
};
/* Makes sure that the node has every part of p: PUT /v1/blobs/DIGEST for each, one after another.
 * Two pushes of one blob over one link send it once. The link going away ends it with -ENOTCONN.
 *   node answers 204 (it has the blob) or 200, takes the packed stream until its end, then sends
 *   one line {"ok":true} or {"error":"why"} and ends. */
void image_push(struct images *im, struct link *l, const struct image_platform *p,
	const char *request_id, const struct image_push_ops *ops, void *arg);

/* Deletes what neither a tag nor an instance (its "platform_digest") needs. Later, by a job. */
void images_collect(struct images *im);

/* ---- NoCloud ---- */

/* The seed disk of an instance: an ISO 9660 image labelled "cidata" with meta-data, user-data and
 * network-config. instance: its document ("id", "name", "mac", "user_data"); keys: array of public
 * keys as text. ret is malloc'ed. */
int seed_make(
	const json_t *instance, const json_t *keys, void **ret, size_t *ret_len, struct err *e);

/* ---- /v1/images ---- */
extern const struct route image_routes[];
extern const unsigned image_nroutes;

#endif
