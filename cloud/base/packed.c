/* SPDX-License-Identifier: Apache-2.0 */
/* The packer gathers bytes into pieces that start on 4 KiB boundaries where it can, drops those
 * that are zero, and deflates the rest. The unpacker holds one piece: a header, then its stored
 * bytes; what a peer says of lengths is checked before anything is kept. */
#include "cloud/base/packed.h"

#include <errno.h>
#include <string.h>
#include <sys/types.h>
#include <zlib.h>
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"

#define HEADER 16u
#define BLOCK  4096u

static const char magic[8] = "PVPACK1\n";

static int write_all(int fd, const void *p, size_t n)
{
	while (n) {
		ssize_t w = write(fd, p, n);

		if (w < 0 && errno == EINTR)
			continue;
		if (w < 0)
			return -errno;
		p = (const uint8_t *)p + w;
		n -= w;
	}
	return 0;
}

static bool all_zero(const uint8_t *p, size_t n)
{
	return !n || (!p[0] && !memcmp(p, p + 1, n - 1));
}

/* ---- packing ---- */

struct pack {
	int out, error;
	uint64_t size, at, packed; /* at: where in the file piece[] begins */
	uint32_t len;
	struct digest *sum;
	uint8_t piece[PACKED_PIECE], stored[PACKED_PIECE];
};

static int emit(struct pack *k, const void *p, size_t n)
{
	digest_add(k->sum, p, n);
	k->packed += n;
	return write_all(k->out, p, n);
}

static int emit_header(struct pack *k, uint64_t offset, uint32_t len, uint32_t stored)
{
	uint8_t h[HEADER];

	store_le(h, 8, offset);
	store_le(h + 8, 4, len);
	store_le(h + 12, 4, stored);
	return emit(k, h, sizeof(h));
}

/* One run of bytes that is neither zero at its first nor at its last block. */
static int emit_run(struct pack *k, uint64_t offset, const uint8_t *p, uint32_t len)
{
	uLongf stored = len - 1; /* larger is not worth it, and equal means "as it is" */
	int r;

	if (len < 64 || compress2(k->stored, &stored, p, len, Z_BEST_SPEED) != Z_OK)
		stored = len;
	r = emit_header(k, offset, len, stored);
	return r < 0 ? r : emit(k, stored == len ? p : k->stored, stored);
}

/* What was gathered goes out, without the zero blocks at both ends. */
static int flush_piece(struct pack *k)
{
	uint32_t from = 0, to = k->len;
	int r = 0;

	while (from < to && all_zero(k->piece + from, MIN(BLOCK, to - from)))
		from += MIN(BLOCK, to - from);
	while (to > from) {
		uint32_t last = (to - from) % BLOCK ? (to - from) % BLOCK : BLOCK;

		if (!all_zero(k->piece + to - last, last))
			break;
		to -= last;
	}
	if (to > from)
		r = emit_run(k, k->at + from, k->piece + from, to - from);
	k->at += k->len;
	k->len = 0;
	return r;
}

int pack_new(int out, uint64_t size, struct pack **ret_pack)
{
	struct pack *k;
	uint8_t h[HEADER];

	if (size > PACKED_LIMIT)
		return -EFBIG;
	k = calloc(1, sizeof(*k));
	if (!k)
		return -ENOMEM;
	k->out = out;
	k->size = size;
	k->sum = digest_new();
	if (!k->sum) {
		pack_free(k);
		return -ENOMEM;
	}
	memcpy(h, magic, sizeof(magic));
	store_le(h + 8, 8, size);
	k->error = emit(k, h, sizeof(h));
	*ret_pack = k;
	return 0;
}

int pack_put(struct pack *k, uint64_t offset, const void *p, size_t n)
{
	const uint8_t *from = p;

	if (k->error)
		return k->error;
	if (offset < k->at + k->len || offset > k->size || n > k->size - offset)
		return k->error = -EBADMSG;
	if (offset != k->at + k->len) {
		k->error = flush_piece(k);
		k->at = offset;
	}
	while (n && !k->error) {
		/* Pieces end where the file's own 256 KiB do: the same bytes pack the same. */
		uint32_t room = PACKED_PIECE - k->at % PACKED_PIECE - k->len;
		uint32_t take = MIN(room, n);

		memcpy(k->piece + k->len, from, take);
		k->len += take;
		from += take;
		n -= take;
		if (take == room)
			k->error = flush_piece(k);
	}
	return k->error;
}

int pack_end(struct pack *k, char ret_digest[DIGEST_LEN], uint64_t *ret_packed)
{
	if (!k->error)
		k->error = flush_piece(k);
	if (!k->error)
		k->error = emit_header(k, k->size, 0, 0);
	if (k->error)
		return k->error;
	digest_end(k->sum, ret_digest);
	if (ret_packed)
		*ret_packed = k->packed;
	return ret_digest[0] ? 0 : -ENOMEM;
}

void pack_free(struct pack *k)
{
	if (!k)
		return;
	digest_free(k->sum);
	free(k);
}

/* ---- unpacking ---- */

struct unpack {
	int fd, error;
	bool begun, ended;
	uint64_t max, size, at; /* at: where the next piece may begin at the earliest */
	uint64_t offset;	/* of the piece whose bytes come */
	uint32_t len, stored;	/* its lengths; 0: a header comes */
	uint32_t have;		/* bytes in in[] */
	struct digest *sum;
	uint8_t in[PACKED_PIECE], out[PACKED_PIECE];
};

int unpack_new(int fd, uint64_t max_size, struct unpack **ret_unpack)
{
	struct unpack *u = calloc(1, sizeof(*u));

	if (!u)
		return -ENOMEM;
	u->fd = fd;
	u->max = MIN(max_size, PACKED_LIMIT);
	u->sum = digest_new();
	if (!u->sum) {
		unpack_free(u);
		return -ENOMEM;
	}
	*ret_unpack = u;
	return 0;
}

/* The stream's header, or a piece's. */
static int take_header(struct unpack *u)
{
	uint64_t first = load_le(u->in, 8);

	if (!u->begun) {
		u->size = load_le(u->in + 8, 8);
		u->begun = true;
		if (memcmp(u->in, magic, sizeof(magic)))
			return -EBADMSG;
		return u->size > u->max ? -EFBIG : 0;
	}
	u->offset = first;
	u->len = load_le(u->in + 8, 4);
	u->stored = load_le(u->in + 12, 4);
	if (!u->len) {
		u->ended = true;
		return u->offset == u->size && !u->stored ? 0 : -EBADMSG;
	}
	if (u->len > PACKED_PIECE || !u->stored || u->stored > u->len)
		return -EBADMSG;
	if (u->offset < u->at || u->offset > u->size || u->len > u->size - u->offset)
		return -EBADMSG;
	return 0;
}

static int take_piece(struct unpack *u)
{
	const uint8_t *from = u->in;
	uLongf len = u->len;
	uint32_t done = 0;

	if (u->stored < u->len) {
		if (uncompress(u->out, &len, u->in, u->stored) != Z_OK || len != u->len)
			return -EBADMSG;
		from = u->out;
	}
	while (done < u->len) {
		ssize_t w = pwrite(u->fd, from + done, u->len - done, u->offset + done);

		if (w < 0 && errno != EINTR)
			return -errno;
		done += MAX(w, 0);
	}
	u->at = u->offset + u->len;
	u->stored = 0;
	return 0;
}

int unpack_feed(struct unpack *u, const void *p, size_t n)
{
	const uint8_t *from = p;

	if (!u->error)
		digest_add(u->sum, p, n);
	while (n && !u->error) {
		uint32_t want = u->stored ? u->stored : HEADER, take = MIN(want - u->have, n);

		if (u->ended)
			return u->error = -EBADMSG; /* bytes behind the end */
		memcpy(u->in + u->have, from, take);
		u->have += take;
		from += take;
		n -= take;
		if (u->have < want)
			break;
		u->have = 0;
		u->error = u->stored ? take_piece(u) : take_header(u);
	}
	return u->error;
}

int unpack_end(struct unpack *u, const char *digest, uint64_t *ret_size)
{
	char sum[DIGEST_LEN];

	if (!u->error && !u->ended)
		u->error = -EBADMSG;
	if (u->error)
		return u->error;
	digest_end(u->sum, sum);
	u->error = -EILSEQ; /* once */
	if (strcmp(sum, digest))
		return -EILSEQ;
	if (ftruncate(u->fd, u->size) < 0)
		return u->error = -errno;
	if (ret_size)
		*ret_size = u->size;
	return 0;
}

void unpack_free(struct unpack *u)
{
	if (!u)
		return;
	digest_free(u->sum);
	free(u);
}
