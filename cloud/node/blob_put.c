/* SPDX-License-Identifier: Apache-2.0 */
/* A blob that comes. Its pieces go to the unpacking thread and their room in the stream's window
 * comes back with them, so no more than a window is ever held. The last piece, sent once, makes of
 * the half file either the blob or nothing; only then is the sender answered. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include "cloud/base/packed.h"
#include "cloud/node/blob_priv.h"
#include "vmm/base/cleanup.h"

#define PUTS_MAX 16 /* at a time: each holds 512 KiB of buffers and a window */

struct piece;
struct put {
	struct list node;
	struct blobs *b;
	struct link_stream *s; /* NULL: has gone */
	char digest[DIGEST_LEN], temp[DIGEST_LEN + 4];
	struct piece *last; /* NULL: was sent, nothing more is */
	bool over;	    /* … and is back */
	int error;	    /* the first that came back */

	/* the thread's */
	int fd;
	struct unpack *unpack;
};

struct piece {
	struct ev_msg m;
	struct put *p;
	int error;
	bool last, keep;
	size_t n;
	char bytes[];
};

static void put_freep(struct put **p)
{
	struct put *put = *p;

	if (!put)
		return;
	list_del(&put->node);
	if (put->fd >= 0)
		close(put->fd);
	unpack_free(put->unpack);
	free(put->last);
	free(put);
}

/* ---- the thread ---- */

static bool is_full(int fd)
{
	struct statvfs v;

	return fstatvfs(fd, &v) == 0 && (uint64_t)v.f_bavail * v.f_frsize < BLOB_RESERVE;
}

static int feed(struct put *p, const void *bytes, size_t n)
{
	/* Others live on this file system too: what runs, and the node's own state. */
	if (is_full(p->fd))
		return -ENOSPC;
	return unpack_feed(p->unpack, bytes, n);
}

static int keep(struct put *p)
{
	int r = unpack_end(p->unpack, p->digest, NULL);

	if (r == 0 && (fchmod(p->fd, 0444) < 0 || fsync(p->fd) < 0))
		r = -errno;
	if (r == 0 && renameat(p->b->dir, p->temp, p->b->dir, p->digest) < 0)
		r = -errno;
	if (r == 0 && fsync(p->b->dir) < 0)
		r = -errno;
	return r;
}

static void piece_back(struct ev_msg *m);

static void piece_work(struct ev_msg *m)
{
	struct piece *x = container_of(m, struct piece, m);
	struct put *p = x->p;

	if (!x->last)
		x->error = feed(p, x->bytes, x->n);
	else if (x->keep)
		x->error = keep(p);
	if (x->last && (x->error || !x->keep))
		unlinkat(p->b->dir, p->temp, 0);
	x->m.handle = piece_back;
	ev_post(p->b->loop, &x->m);
}

/* ---- the loop ---- */

static const char *full(int dir, char text[128])
{
	struct statvfs v = {0};

	fstatvfs(dir, &v);
	snprintf(text, 128, "the disk of the host is full: %llu MiB free, of which %llu stay so",
		(unsigned long long)v.f_bavail * v.f_frsize >> 20, BLOB_RESERVE >> 20);
	return text;
}

static const char *why(struct blobs *b, int error, char text[128], unsigned *ret_status)
{
	*ret_status = 422;
	switch (error) {
	case -EILSEQ:
		return "its digest is another";
	case -EBADMSG:
		return "it is not a packed file, or not all of one";
	case -EFBIG:
		return "it is larger than a blob may be";
	case -ENOSPC:
	case -EDQUOT:
		*ret_status = 507;
		return full(b->dir, text);
	default:
		*ret_status = 500;
		return strerrordesc_np(-error);
	}
}

static void tell(struct put *p)
{
	char line[300], said[128];
	unsigned status;
	int n;

	if (p->error) {
		const char *text = why(p->b, p->error, said, &status);

		n = snprintf(
			line, sizeof(line), "{\"error\":\"%s\",\"status\":%u}\n", text, status);
		log_line(p->b->log, LOG_WARN, "blobs", "%s was refused: %s", p->digest, text);
	} else {
		n = snprintf(line, sizeof(line), "{\"ok\":true}\n");
	}
	if (!p->s)
		return;
	link_stream_write(p->s, line, (size_t)n);
	link_stream_end(p->s);
}

static void put_over(struct put *p)
{
	struct blobs *b = p->b;
	bool changed = !p->error;

	p->over = true;
	b->nputs--;
	tell(p);
	list_del(&p->node); /* not in the way of another try */
	if (!p->s)
		put_freep(&p);
	if (changed && b->changed)
		b->changed(b->arg);
}

/* No piece follows. keep: all of the blob has come. */
static void send_last(struct put *p, bool keep)
{
	struct piece *x = steal_ptr(&p->last);

	if (!x)
		return;
	x->keep = keep;
	ev_post(ev_thread_loop(p->b->unpacker), &x->m);
}

static void fail(struct put *p, int error)
{
	if (!p->error)
		p->error = error;
	send_last(p, false);
}

static void piece_back(struct ev_msg *m)
{
	struct piece *x = container_of(m, struct piece, m);
	struct put *p = x->p;

	if (p->s)
		link_stream_took(p->s, x->n);
	if (x->error)
		fail(p, x->error);
	if (x->last)
		put_over(p);
	free(x);
}

static void on_data(struct link_stream *s, const void *bytes, size_t n, void *arg)
{
	struct put *p = arg;
	struct piece *x = p->last ? malloc(sizeof(*x) + n) : NULL;

	if (!x) {
		/* The sender reads the answer when it has sent all, or sooner. */
		link_stream_took(s, n);
		fail(p, -ENOMEM);
		return;
	}
	*x = (struct piece){.m.handle = piece_work, .p = p, .n = n};
	memcpy(x->bytes, bytes, n);
	ev_post(ev_thread_loop(p->b->unpacker), &x->m);
}

static void on_eof(struct link_stream *s, void *arg)
{
	send_last(arg, true);
}

static void on_closed(struct link_stream *s, int error, void *arg)
{
	struct put *p = arg;

	p->s = NULL;
	if (p->over)
		put_freep(&p);
	else
		fail(p, -ECONNRESET);
}

static const struct link_stream_ops put_ops = {.data = on_data, .eof = on_eof, .closed = on_closed};

static int put_open(struct blobs *b, const char *digest, struct put **ret_put)
{
	CLEANUP(put_freep) struct put *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return -ENOMEM;
	p->b = b;
	list_init(&p->node);
	snprintf(p->digest, sizeof(p->digest), "%s", digest);
	snprintf(p->temp, sizeof(p->temp), "%s.new", digest);
	p->fd = openat(b->dir, p->temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (p->fd < 0)
		return -errno;
	p->last = malloc(sizeof(*p->last));
	r = p->last ? unpack_new(p->fd, PACKED_LIMIT, &p->unpack) : -ENOMEM;
	if (r < 0) {
		unlinkat(b->dir, p->temp, 0);
		return r;
	}
	*p->last = (struct piece){.m.handle = piece_work, .p = p, .last = true};
	*ret_put = steal_ptr(&p);
	return 0;
}

static bool comes_already(struct blobs *b, const char *digest)
{
	list_for_each (it, &b->puts)
		if (strcmp(container_of(it, struct put, node)->digest, digest) == 0)
			return true;
	return false;
}

static void begin(struct blobs *b, struct link_req *r, const char *digest)
{
	struct put *p = NULL;
	unsigned status;
	char said[128];
	int error = put_open(b, digest, &p);

	if (error < 0) {
		const char *text = why(b, error, said, &status);

		link_problem(r, status, "the blob cannot be written: %s", text);
		return;
	}
	list_add(&b->puts, &p->node);
	b->nputs++;
	p->s = link_accept(r, &put_ops, p);
	if (!p->s)
		fail(p, -ECONNRESET);
}

void blob_put(struct blobs *b, struct link_req *r, const char *digest)
{
	char text[128];

	if (!digest_ok(digest))
		link_problem(r, 400, "the path names no digest; allowed: sha256: and 64 digits");
	else if (blob_here(b, digest))
		link_reply(r, 204, NULL);
	else if (comes_already(b, digest))
		link_problem(r, 409, "this blob comes already");
	else if (b->nputs >= PUTS_MAX)
		link_problem(r, 503, "%u blobs come already; try again later", PUTS_MAX);
	else if (is_full(b->dir))
		link_problem(r, 507, "%s", full(b->dir, text));
	else
		begin(b, r, digest);
}
