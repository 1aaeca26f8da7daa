/* SPDX-License-Identifier: Apache-2.0 */
/* Packed files: how a disk, a kernel or an initramfs travels to a node. A stream of pieces, each
 * with its place in the file and deflated by itself; what no piece covers is a hole, so zeros cost
 * neither bytes nor hashing nor disk. The digest of a blob is the SHA-256 of this stream.
 *
 *   header   8 bytes "PVPACK1\n", u64 size of the file
 *   piece    u64 offset (grows), u32 length (1 to 256 KiB), u32 stored, then `stored` bytes:
 *            a zlib stream (RFC 1950), or the bytes themselves where stored == length
 *   end      u64 size of the file, u32 0, u32 0
 *
 * All numbers little-endian. */
#ifndef CLOUD_BASE_PACKED_H
#define CLOUD_BASE_PACKED_H

#include <stddef.h>
#include <stdint.h>
#include "cloud/base/digest.h"

#define PACKED_PIECE (256u << 10)
#define PACKED_LIMIT ((uint64_t)1 << 42) /* bytes of the largest file: 4 TiB */

/* Packing. size: the file's, known before. Bytes are put where they grow in the file, in any
 * lengths; zeros may be left out. Blocks on `out`: for a job thread. 0 or a negative errno, which
 * later calls repeat. */
struct pack;
int pack_new(int out, uint64_t size, struct pack **ret_pack);
int pack_put(struct pack *k, uint64_t offset, const void *p, size_t n);
/* ret_packed (may be NULL): bytes written. */
int pack_end(struct pack *k, char ret_digest[DIGEST_LEN], uint64_t *ret_packed);
void pack_free(struct pack *k); /* NULL is fine; out stays open */

/* The other way, in pieces as they come; one thread. */
struct unpack;
/* fd: an empty file that may be written; borrowed. 0 or -ENOMEM. */
int unpack_new(int fd, uint64_t max_size, struct unpack **ret_unpack);
/* 0; -EBADMSG: not a packed file; -EFBIG: larger than max_size; or what writing said (-ENOSPC).
 * After an error it takes nothing more. */
int unpack_feed(struct unpack *u, const void *p, size_t n);
/* All came: makes the file its size. -EBADMSG: it is truncated; -EILSEQ: its digest is another. */
int unpack_end(struct unpack *u, const char *digest, uint64_t *ret_size);
void unpack_free(struct unpack *u); /* NULL is fine; fd stays open */

#endif
