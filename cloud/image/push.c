/* SPDX-License-Identifier: Apache-2.0 */
/* Blobs to nodes. A `push` is one blob over one link; a `want` is a caller's wish for all parts of
 * a platform, which waits for one push after another. Wants for the same blob over the same link
 * wait for the same push. Back-pressure is the stream's: what it does not take waits in the file.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include "cloud/image/internal.h"
#include "vmm/base/cleanup.h"

#define CHUNK	   (64u << 10)
#define ANSWER_MAX 2048u

struct push {
	struct list node; /* in images.pushes */
	struct images *im;
	struct link *link;
	struct link_stream *stream;
	char digest[DIGEST_LEN];
	struct list wants;
	int fd;
	unsigned status;
	int error; /* of ours */
	bool ended;
	uint64_t sent;
	size_t answer_len;
	char answer[ANSWER_MAX + 1];
};

struct want {
	struct list node; /* in push.wants */
	struct ev_msg msg;
	struct images *im;
	struct link *link;
	struct image_platform p;
	unsigned part;	     /* under way */
	uint64_t before, of; /* packed bytes of the parts done, of all */
	char *request_id;
	struct image_push_ops ops;
	void *arg;
	int error;
	char why[320];
};

static void want_over(struct want *w)
{
	struct want done = *w;

	free(w->request_id);
	free(w);
	done.ops.done(done.arg, done.error, done.why);
}

static void want_posted(struct ev_msg *m)
{
	struct want *w = container_of(m, struct want, msg);

	list_del(&w->node);
	want_over(w);
}

/* Ends a want, never from inside image_push(). */
static void want_end_later(struct want *w, int error, const char *why)
{
	w->error = error;
	snprintf(w->why, sizeof(w->why), "%s", why);
	w->msg.handle = want_posted;
	list_add(&w->im->ended, &w->node);
	ev_post(w->im->loop, &w->msg);
}

void pushes_end(struct images *im)
{
	list_for_each_safe (at, &im->ended) {
		struct want *w = container_of(at, struct want, node);

		list_del(at);
		want_over(w);
	}
}

static void want_next(struct want *w);

/* ---- one blob ---- */

static void push_free(struct push *u)
{
	list_del(&u->node);
	if (u->fd >= 0)
		close(u->fd);
	free(u);
}

static void push_stop(struct push *u, int error)
{
	u->error = error;
	link_stream_reset(u->stream);
}

static void tell_progress(struct push *u)
{
	list_for_each_safe (at, &u->wants) {
		struct want *w = container_of(at, struct want, node);

		if (w->ops.progress)
			w->ops.progress(w->arg, w->before + u->sent, w->of);
	}
}

/* Sends until the stream takes no more or the file ends. */
static void pump(struct push *u)
{
	uint8_t buf[CHUNK];

	while (!u->ended && !u->error) {
		ssize_t n = pread(u->fd, buf, sizeof(buf), u->sent), room;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			push_stop(u, -errno);
			return;
		}
		if (!n) {
			u->ended = true;
			link_stream_end(u->stream);
			return;
		}
		room = link_stream_write(u->stream, buf, n);
		if (room == -EAGAIN)
			break;
		if (room < 0) {
			push_stop(u, room);
			return;
		}
		u->sent += n;
	}
	tell_progress(u);
}

static void push_answered(struct link_stream *s, unsigned status, void *arg)
{
	struct push *u = arg;

	(void)s;
	u->status = status;
	if (status == 200)
		pump(u);
}

static void push_writable(struct link_stream *s, void *arg)
{
	struct push *u = arg;

	(void)s;
	if (u->status == 200)
		pump(u);
}

static void push_data(struct link_stream *s, const void *p, size_t n, void *arg)
{
	struct push *u = arg;
	size_t take = MIN(n, ANSWER_MAX - u->answer_len);

	memcpy(u->answer + u->answer_len, p, take);
	u->answer_len += take;
	link_stream_took(s, n);
}

static void push_eof(struct link_stream *s, void *arg)
{
	struct push *u = arg;

	/* The node has said all; what it did not want is not sent. */
	if (!u->ended && u->status) {
		u->ended = true;
		link_stream_end(s);
	}
}

/* What the node's last line says. */
static int verdict(struct push *u, int error, char why[320])
{
	json_t *doc = json_loadb(u->answer, u->answer_len, JSON_DISABLE_EOF_CHECK, NULL);
	const char *said = json_string_value(json_object_get(doc, "error"));
	int r = u->error ? u->error : error;

	if (!said)
		said = json_string_value(json_object_get(doc, "detail"));
	if (u->status == 204 || u->status == 201 ||
		(u->status == 200 && json_is_true(json_object_get(doc, "ok"))))
		r = 0;
	else if (u->status >= 400 || said) {
		r = -EREMOTEIO;
		snprintf(why, 320, "the node refuses blob %.20s…: %.200s", u->digest,
			said ? said : "no reason given");
	} else {
		r = r ? r : -ENOTCONN;
		snprintf(why, 320, "sending blob %.20s…: %s", u->digest, strerror(-r));
	}
	json_decref(doc);
	return r;
}

static void push_closed(struct link_stream *s, int error, void *arg)
{
	struct push *u = arg;
	char why[320] = "";
	int r = verdict(u, error, why);
	struct list wants;

	(void)s;
	list_init(&wants);
	list_for_each_safe (at, &u->wants) {
		list_del(at);
		list_add(&wants, at);
	}
	push_free(u);
	list_for_each_safe (it, &wants) {
		struct want *w = container_of(it, struct want, node);

		list_del(it);
		if (r)
			want_end_later(w, r, why);
		else {
			w->before += w->p.part[w->part].packed;
			w->part++;
			want_next(w);
		}
	}
}

static const struct link_stream_ops push_ops = {
	.answered = push_answered,
	.data = push_data,
	.writable = push_writable,
	.eof = push_eof,
	.closed = push_closed,
};

static int push_start(struct want *w, struct push **ret_push)
{
	char path[PATH_MAX], folder[PATH_MAX];
	struct push *u = calloc(1, sizeof(*u));
	int r;

	if (!u)
		return -ENOMEM;
	list_init(&u->node);
	list_init(&u->wants);
	u->im = w->im;
	u->link = w->link;
	snprintf(u->digest, sizeof(u->digest), "%s", w->p.part[w->part].digest);
	unpacked_path(w->im->data, w->p.platform, folder);
	r = snprintf(path, sizeof(path), "%s/%s", folder, image_part_name(w->part));
	u->fd = r < (int)sizeof(path) ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	r = u->fd < 0 ? -errno : 0;
	snprintf(path, sizeof(path), "/v1/blobs/%s", u->digest);
	if (!r)
		r = link_open(u->link, "PUT", path, w->request_id, &push_ops, u, &u->stream);
	if (r < 0) {
		push_free(u);
		return r;
	}
	list_add(&w->im->pushes, &u->node);
	*ret_push = u;
	return 0;
}

static struct push *push_find(struct want *w)
{
	list_for_each (at, &w->im->pushes) {
		struct push *u = container_of(at, struct push, node);

		if (u->link == w->link && !strcmp(u->digest, w->p.part[w->part].digest))
			return u;
	}
	return NULL;
}

static void want_next(struct want *w)
{
	struct push *u;
	int r = 0;

	while (w->part < IMAGE_PARTS && !w->p.part[w->part].digest[0])
		w->part++;
	if (w->part == IMAGE_PARTS) {
		want_end_later(w, 0, "");
		return;
	}
	u = push_find(w);
	if (!u)
		r = push_start(w, &u);
	if (r < 0)
		want_end_later(w, r, strerror(-r));
	else
		list_add(&u->wants, &w->node);
}

void image_push(struct images *im, struct link *l, const struct image_platform *p,
	const char *request_id, const struct image_push_ops *ops, void *arg)
{
	struct want *w = calloc(1, sizeof(*w));

	if (!w)
		abort(); /* the caller is owed an answer, and there is no memory to give one */
	list_init(&w->node);
	w->im = im;
	w->link = l;
	w->p = *p;
	w->request_id = request_id ? strdup(request_id) : NULL;
	w->ops = *ops;
	w->arg = arg;
	for (unsigned i = 0; i < IMAGE_PARTS; i++)
		w->of += p->part[i].packed;
	want_next(w);
}
