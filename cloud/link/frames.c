/* SPDX-License-Identifier: Apache-2.0 */
/* nghttp2's callbacks, and the limits it keeps for us: streams at a time, PING and SETTINGS frames
 * whose answers the peer does not read, RST_STREAM and CONTINUATION floods (its defaults), windows.
 * Header fields are counted here. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "cloud/link/internal.h"
#include "vmm/base/num.h"

static struct link_stream *stream_of(nghttp2_session *h2, int32_t id)
{
	return id ? nghttp2_session_get_stream_user_data(h2, id) : NULL;
}

/* What a callback returns: after the end there is nothing more to read. */
static int go_on(const struct link *l)
{
	return l->freed || l->broken ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static int on_begin_headers(nghttp2_session *h2, const nghttp2_frame *f, void *arg)
{
	struct link *l = arg;
	struct link_stream *s;

	if (!l->server || f->headers.cat != NGHTTP2_HCAT_REQUEST)
		return 0;
	s = l->nrequests < LINK_STREAMS ? link_stream_new(l) : NULL;
	if (!s)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	s->id = f->hd.stream_id;
	nghttp2_session_set_stream_user_data(h2, s->id, s);
	return 0;
}

static bool name_is(const char *want, const uint8_t *name, size_t len)
{
	return strlen(want) == len && memcmp(want, name, len) == 0;
}

static int keep_word(char **word, const uint8_t *value, size_t len)
{
	free(*word);
	*word = strndup((const char *)value, len);
	return *word ? 0 : NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static int on_header(nghttp2_session *h2, const nghttp2_frame *f, const uint8_t *name,
	size_t namelen, const uint8_t *value, size_t valuelen, uint8_t flags, void *arg)
{
	struct link_stream *s = stream_of(h2, f->hd.stream_id);

	if (!s)
		return 0;
	s->headers += namelen + valuelen;
	if (s->headers > LINK_HEADERS_MAX)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	if (f->headers.cat != NGHTTP2_HCAT_REQUEST) {
		if (name_is(":status", name, namelen))
			s->status =
				(unsigned)atoi((const char *)value); /* three digits: RFC 9113 */
		return 0;
	}
	if (name_is(":method", name, namelen))
		return keep_word(&s->method, value, valuelen);
	if (name_is(":path", name, namelen))
		return keep_word(&s->path, value, valuelen);
	if (name_is("x-request-id", name, namelen))
		return keep_word(&s->request_id, value, valuelen);
	return 0;
}

static void headers_done(struct link *l, struct link_stream *s, const nghttp2_frame *f)
{
	bool end = f->hd.flags & NGHTTP2_FLAG_END_STREAM;

	if (f->headers.cat == NGHTTP2_HCAT_REQUEST) {
		if (link_server_headers(s, end) < 0)
			nghttp2_submit_rst_stream(
				l->h2, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_PROTOCOL_ERROR);
		return;
	}
	/* 1xx answers are followed by another; trailers have no status of their own. */
	if (!l->server && s->status >= 200 && !s->answered) {
		s->answered = true;
		if (s->ops && s->ops->answered && !s->reset)
			s->ops->answered(s, s->status, s->arg);
	}
	if (end && !l->freed)
		link_stream_eof(s);
}

static int on_frame_recv(nghttp2_session *h2, const nghttp2_frame *f, void *arg)
{
	struct link *l = arg;
	struct link_stream *s = stream_of(h2, f->hd.stream_id);

	if (f->hd.type == NGHTTP2_HEADERS && s)
		headers_done(l, s, f);
	else if (f->hd.type == NGHTTP2_DATA && s && f->hd.flags & NGHTTP2_FLAG_END_STREAM)
		link_stream_eof(s);
	else if (f->hd.type == NGHTTP2_PING && f->hd.flags & NGHTTP2_FLAG_ACK)
		l->ping_out = false;
	else if (f->hd.type == NGHTTP2_GOAWAY)
		link_break(l, "the other end ended the connection: %s",
			nghttp2_http2_strerror(f->goaway.error_code));
	return go_on(l);
}

static int on_data(
	nghttp2_session *h2, uint8_t flags, int32_t id, const uint8_t *p, size_t n, void *arg)
{
	struct link_stream *s = stream_of(h2, id);

	nghttp2_session_consume_connection(h2, n);
	if (s)
		link_stream_data(s, p, n);
	return go_on(arg);
}

/* RFC 9113 §8.1: who has answered wholly may tell the peer to stop sending. */
static int on_frame_send(nghttp2_session *h2, const nghttp2_frame *f, void *arg)
{
	struct link_stream *s = stream_of(h2, f->hd.stream_id);
	bool last = (f->hd.type == NGHTTP2_DATA || f->hd.type == NGHTTP2_HEADERS) &&
		    f->hd.flags & NGHTTP2_FLAG_END_STREAM;

	if (s && last && s->replied && !s->in_end)
		nghttp2_submit_rst_stream(h2, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_NO_ERROR);
	return 0;
}

static int close_errno(uint32_t code)
{
	switch (code) {
	case NGHTTP2_NO_ERROR:
		return 0;
	case NGHTTP2_REFUSED_STREAM:
		return -EAGAIN;
	case NGHTTP2_CANCEL:
		return -ECANCELED;
	case NGHTTP2_ENHANCE_YOUR_CALM:
		return -EMSGSIZE;
	default:
		return -EPROTO;
	}
}

static int on_stream_close(nghttp2_session *h2, int32_t id, uint32_t code, void *arg)
{
	struct link *l = arg;
	struct link_stream *s = stream_of(h2, id);

	if (s)
		link_stream_tell(s);
	if (s && !l->freed)
		link_stream_over(s, close_errno(code));
	return go_on(l);
}

static int submit_settings(struct link *l)
{
	const nghttp2_settings_entry entries[] = {
		{NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
		{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, l->server ? LINK_STREAMS : 0},
		{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, LINK_WINDOW},
		{NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, LINK_HEADERS_MAX},
	};
	int r = nghttp2_submit_settings(l->h2, NGHTTP2_FLAG_NONE, entries, ARRAY_SIZE(entries));

	if (r == 0)
		r = nghttp2_session_set_local_window_size(
			l->h2, NGHTTP2_FLAG_NONE, 0, LINK_CONN_WINDOW);
	return r;
}

static int make(struct link *l, nghttp2_session_callbacks *cb, nghttp2_option *opt)
{
	nghttp2_option_set_no_auto_window_update(opt, 1);
	nghttp2_option_set_no_closed_streams(opt, 1);
	nghttp2_option_set_max_outbound_ack(opt, 64);
	nghttp2_option_set_max_settings(opt, 16);
	nghttp2_option_set_peer_max_concurrent_streams(opt, LINK_STREAMS);
	nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame_recv);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
	nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_send);
	nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
	return l->server ? nghttp2_session_server_new2(&l->h2, cb, l, opt)
			 : nghttp2_session_client_new2(&l->h2, cb, l, opt);
}

int link_session_new(struct link *l)
{
	nghttp2_session_callbacks *cb = NULL;
	nghttp2_option *opt = NULL;
	int r = nghttp2_session_callbacks_new(&cb);

	if (r == 0)
		r = nghttp2_option_new(&opt);
	if (r == 0)
		r = make(l, cb, opt);
	nghttp2_option_del(opt);
	nghttp2_session_callbacks_del(cb);
	if (r == 0)
		r = submit_settings(l);
	return r == 0 ? 0 : -ENOMEM;
}
