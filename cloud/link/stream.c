/* SPDX-License-Identifier: Apache-2.0 */
/* Streams: bytes both ways, each way with its own bound. What the peer sends counts against the
 * stream's window until the owner took it, so a slow owner stops its own stream and no other: the
 * connection's window is opened at once (RFC 9113 §5.2.1 leaves that to the receiver). What we
 * send waits in a queue of the window's size. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "cloud/link/internal.h"

struct link_stream *link_stream_new(struct link *l)
{
	struct link_stream *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->l = l;
	list_init(&s->ready);
	list_add(&l->streams, &s->node);
	l->nstreams++;
	return s;
}

void link_stream_ready(struct link_stream *s)
{
	if (list_empty(&s->ready))
		list_add(&s->l->ready, &s->ready);
	link_kick(s->l);
}

/* ---- from the peer ---- */

int link_stream_keep(struct link_stream *s, const void *p, size_t n)
{
	if (s->in.len + n > LINK_BODY_MAX || s->l->bodies + n > LINK_BODIES_MAX)
		return -EMSGSIZE;
	s->l->bodies += n;
	return link_buf_add(&s->in, p, n);
}

static void forget_in(struct link_stream *s)
{
	s->l->bodies -= s->in.len;
	link_buf_fini(&s->in);
}

void link_stream_data(struct link_stream *s, const void *p, size_t n)
{
	bool early = s->asked && s->req && !s->ops;

	if (s->reset || s->replied) {
		nghttp2_session_consume_stream(s->l->h2, s->id, n);
		return;
	}
	if (s->ops && s->in.len == 0) {
		s->ops->data(s, p, n, s->arg);
		return;
	}
	/* What comes before link_accept() keeps the window shut; a body opens it again. */
	if (!early && !s->ops)
		nghttp2_session_consume_stream(s->l->h2, s->id, n);
	if (link_stream_keep(s, p, n) < 0)
		nghttp2_submit_rst_stream(
			s->l->h2, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_ENHANCE_YOUR_CALM);
}

void link_stream_eof(struct link_stream *s)
{
	s->in_end = true;
	if (s->done) {
		s->whole = true;
	} else if (s->l->server && !s->asked) {
		link_server_body(s);
	} else if (!s->reset && !s->replied) {
		s->eof_owed = true;
		if (s->ops && s->in.len == 0)
			link_stream_tell(s);
	}
}

/* ---- to the owner ---- */

static void tell_data(struct link_stream *s)
{
	struct link_buf b = s->in;

	s->in = (struct link_buf){0};
	s->l->bodies -= b.len;
	if (b.len && !s->reset)
		s->ops->data(s, b.p + b.off, b.len, s->arg);
	link_buf_fini(&b);
}

void link_stream_tell(struct link_stream *s)
{
	struct link *l = s->l;

	if (s->fail) {
		link_stream_over(s, -EAGAIN);
		return;
	}
	if (s->ops && s->in.len)
		tell_data(s);
	if (!l->freed && s->ops && s->eof_owed) {
		s->eof_owed = false;
		if (!s->reset && s->ops->eof)
			s->ops->eof(s, s->arg);
	}
	if (!l->freed && s->ops && s->drained) {
		s->drained = false;
		if (!s->reset && !s->out_end && s->ops->writable)
			s->ops->writable(s, s->arg);
	}
}

void link_stream_over(struct link_stream *s, int error)
{
	struct link *l = s->l;

	list_del(&s->node);
	list_del(&s->ready);
	l->nstreams--;
	if (s->id)
		nghttp2_session_set_stream_user_data(l->h2, s->id, NULL);
	link_server_detach(s);
	if (s->done)
		link_call_over(s, error);
	else if (s->ops && s->ops->closed)
		s->ops->closed(s, error, s->arg);
	forget_in(s);
	link_buf_fini(&s->out);
	free(s->method);
	free(s->path);
	free(s->request_id);
	free(s);
}

/* ---- to the peer ---- */

static ssize_t source_read(nghttp2_session *h2, int32_t id, uint8_t *buf, size_t cap,
	uint32_t *flags, nghttp2_data_source *source, void *arg)
{
	struct link_stream *s = source->ptr;
	size_t n = s->out.len < cap ? s->out.len : cap;

	if (n == 0 && !s->out_end) {
		s->deferred = true;
		return NGHTTP2_ERR_DEFERRED;
	}
	if (n) {
		memcpy(buf, s->out.p + s->out.off, n);
		link_buf_drop(&s->out, n);
	}
	if (s->out.len == 0 && s->out_end) {
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	} else if (s->out.len == 0) {
		s->drained = true;
		link_stream_ready(s);
	}
	return (ssize_t)n;
}

nghttp2_data_provider link_stream_source(struct link_stream *s)
{
	return (nghttp2_data_provider){.source.ptr = s, .read_callback = source_read};
}

nghttp2_nv link_nv(const char *name, const char *value)
{
	return (nghttp2_nv){.name = (uint8_t *)name,
		.value = (uint8_t *)value,
		.namelen = strlen(name),
		.valuelen = strlen(value)};
}

static void resume(struct link_stream *s)
{
	if (s->deferred)
		nghttp2_session_resume_data(s->l->h2, s->id);
	s->deferred = false;
	link_kick(s->l);
}

ssize_t link_stream_write(struct link_stream *s, const void *p, size_t n)
{
	int r;

	if (s->out_end || s->reset || s->l->broken)
		return -EPIPE;
	if (n > LINK_WINDOW)
		return -EMSGSIZE;
	if (s->out.len + n > LINK_WINDOW)
		return -EAGAIN;
	r = link_buf_add(&s->out, p, n);
	if (r < 0)
		return r;
	resume(s);
	return (ssize_t)(LINK_WINDOW - s->out.len);
}

void link_stream_took(struct link_stream *s, size_t n)
{
	if (n == 0 || s->l->broken)
		return;
	nghttp2_session_consume_stream(s->l->h2, s->id, n);
	link_kick(s->l);
}

void link_stream_end(struct link_stream *s)
{
	if (s->out_end || s->l->broken)
		return;
	s->out_end = true;
	resume(s);
}

void link_stream_reset(struct link_stream *s)
{
	if (s->reset || s->l->broken)
		return;
	s->reset = true;
	nghttp2_submit_rst_stream(s->l->h2, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_CANCEL);
	link_kick(s->l);
}
