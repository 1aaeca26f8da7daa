/* SPDX-License-Identifier: Apache-2.0 */
/* Each event is put into words once, kept for those who come back, and sent to those who are there.
 * A client that is too slow is cut off by the server, comes back with the id of the last event that
 * it saw, and has lost nothing. */
#include "vmm/api/stream.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "vmm/api/event.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"

struct stream {
	struct ev_loop *loop;
	struct ev_timer beat; /* armed while there are clients */
	struct http_req *client[STREAM_CLIENTS];
	unsigned nclients;
	uint64_t next_id;	 /* the first event is 1 */
	char *kept[STREAM_KEPT]; /* as sent, by id modulo STREAM_KEPT */
};

static void arm(struct stream *s)
{
	ev_timer_arm(s->loop, &s->beat, ev_now_ns() + STREAM_BEAT_NS);
}

/* Who cannot be written to leaves through stream_gone(). */
static void send_to_all(struct stream *s, const char *text)
{
	for (unsigned i = 0; i < s->nclients; i++)
		(void)http_stream_write(s->client[i], text, strlen(text));
}

static void fire_beat(struct ev_timer *t)
{
	struct stream *s = container_of(t, struct stream, beat);

	send_to_all(s, ": keep-alive\n\n");
	arm(s);
}

int stream_new(struct ev_loop *loop, struct stream **ret_stream)
{
	struct stream *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->loop = loop;
	s->beat.fire = fire_beat;
	s->next_id = 1;
	*ret_stream = s;
	return 0;
}

void stream_free(struct stream *s)
{
	if (!s)
		return;
	ev_timer_cancel(&s->beat);
	for (unsigned i = 0; i < STREAM_KEPT; i++)
		free(s->kept[i]);
	free(s);
}

/* The first event that a client has not seen, of those that are kept. An id that we have not given
 * out comes from an earlier process: all is news then. */
static uint64_t first_unseen(const struct stream *s, const char *last_event_id)
{
	uint64_t oldest = s->next_id > STREAM_KEPT ? s->next_id - STREAM_KEPT : 1, last;

	if (!last_event_id || num_parse(last_event_id, &last) < 0)
		return s->next_id;
	return last >= s->next_id || last < oldest ? oldest : last + 1;
}

static int send_missed(struct stream *s, struct http_req *r)
{
	int status = 0;

	for (uint64_t i = first_unseen(s, r->last_event_id); i < s->next_id && status == 0; i++) {
		const char *text = s->kept[i % STREAM_KEPT];

		if (text)
			status = http_stream_write(r, text, strlen(text));
	}
	return status;
}

void stream_open(struct stream *s, struct http_req *r)
{
	static const char full[] = "[\"64 clients listen to events, which is the most\"]";

	if (s->nclients == STREAM_CLIENTS) {
		http_reply(r, 503, "application/json", full, sizeof(full) - 1);
		return;
	}
	if (strcmp(r->method, "HEAD") == 0) {
		http_reply(r, 200, "text/event-stream", "", 0);
		return;
	}
	if (http_stream(r, "text/event-stream") < 0)
		return;
	s->client[s->nclients++] = r;
	if (!s->beat.loop)
		arm(s);
	send_missed(s, r);
}

void stream_gone(struct stream *s, struct http_req *r)
{
	for (unsigned i = 0; i < s->nclients; i++) {
		if (s->client[i] != r)
			continue;
		s->client[i] = s->client[--s->nclients];
		break;
	}
	if (!s->nclients)
		ev_timer_cancel(&s->beat);
}

/* Server-sent events end with a blank line; the JSON has no line breaks (WHATWG HTML §9.2.5). */
static char *to_text(const struct vm_event *e, uint64_t id)
{
	json_t *json = event_json(e);
	cleanup_free char *data = json ? json_dumps(json, JSON_COMPACT) : NULL;
	char *text = NULL;

	json_decref(json);
	if (!data || asprintf(&text, "id: %llu\nevent: %s.%s\ndata: %s\n\n", (unsigned long long)id,
			     e->source, e->event, data) < 0)
		return NULL;
	return text;
}

void stream_publish(struct stream *s, const struct vm_event *e)
{
	char **kept = &s->kept[s->next_id % STREAM_KEPT];

	free(*kept);
	*kept = to_text(e, s->next_id);
	s->next_id++;
	if (*kept)
		send_to_all(s, *kept);
}
