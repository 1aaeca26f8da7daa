/* SPDX-License-Identifier: Apache-2.0 */
/* Blobs: the files of images on this host, each under its digest, never written again. They come
 * as packed streams (cloud/base/packed.h) and are checked while they come: a file with the name of
 * a digest is whole and true. Root disks are made of them by copying, without the bytes where the
 * file system can (FICLONE).
 *
 * Hashing, inflating and copying are done by two threads; all calls and callbacks are on the
 * loop's. */
#ifndef CLOUD_NODE_BLOB_H
#define CLOUD_NODE_BLOB_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "cloud/base/digest.h"
#include "cloud/link/link.h"
#include "vmm/base/ev.h"
#include "vmm/base/log.h"

#define BLOB_RESERVE (64ull << 20) /* bytes that stay free on the file system */

struct blobs;

/* The folder name in dir, made if absent; what an earlier life left half done is removed. */
int blobs_new(
	struct ev_loop *loop, struct log *log, int dir, const char *name, struct blobs **ret_blobs);
/* After the link, not inside a handler; waits for what the threads have in hand, which is undone.
 * Clones that are under way call nobody. NULL is fine. */
void blobs_free(struct blobs *b);

/* ---- the node protocol ---- */

/* Answers PUT /v1/blobs/DIGEST, whose path takes a stream: 204 it is there; 400 no digest; 409 it
 * comes already; 507 the disk is full; else 200, the packed stream is taken, and one line ends it:
 * {"ok":true}, or {"error":"why","status":507|422|500}. */
void blob_put(struct blobs *b, struct link_req *r, const char *digest);
/* Answers DELETE: 204, or 404. Whoever has it open keeps it. */
void blob_delete(struct blobs *b, struct link_req *r, const char *digest);
/* ["sha256:…", …], new. */
json_t *blobs_list(struct blobs *b);
/* changed() is called when a blob has come or gone. */
void blobs_watch(struct blobs *b, void (*changed)(void *arg), void *arg);

/* ---- use ---- */

/* Open for reading (give it on: the file is the node's, mode 0444). -ENOENT: not here. */
int blob_open(struct blobs *b, const char *digest);
bool blob_here(struct blobs *b, const char *digest);
/* What it takes up on the disk, in bytes; 0 when it is not here. */
uint64_t blob_bytes(struct blobs *b, const char *digest);
/* DATA/blobs/DIGEST. -ENOENT: not here; -ENAMETOOLONG. */
int blob_path(struct blobs *b, const char *digest, char *buf, size_t cap);

/* A root disk: a private copy of a blob as the file name (at most 60 bytes) in the folder dir
 * (copied), of size_bytes or the blob's size if that is more. It is there whole or not at all, mode
 * 0600, of uid and gid unless uid is (uid_t)-1. done's error is 0 or a negative errno (-ENOENT: no
 * such blob; -ENOSPC); called once, never from inside blob_clone(). NULL: no memory. */
struct blob_clone;
typedef void blob_clone_fn(void *arg, int error);
struct blob_clone *blob_clone(struct blobs *b, const char *digest, int dir, const char *name,
	uint64_t size_bytes, uid_t uid, gid_t gid, blob_clone_fn *done, void *arg);
/* done is not called any more, and no file appears later. NULL is fine; not after done. */
void blob_clone_cancel(struct blob_clone *c);

#endif
