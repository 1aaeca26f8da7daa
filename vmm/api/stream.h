/* SPDX-License-Identifier: Apache-2.0 */
/* GET /api/v1/events: what happened, as server-sent events (WHATWG HTML §9.2):
 *
 *   id: 7
 *   event: vm.booted
 *   data: {"timestamp":{"secs":0,"nanos":29228206},"source":"vm","event":"booted",…}
 *
 * A client sees what happens from now on; one that comes back with Last-Event-ID first gets what it
 * missed, as far as the last STREAM_KEPT events go (a gap shows in the ids). API thread. */
#ifndef VMM_API_STREAM_H
#define VMM_API_STREAM_H

#include "vmm/control.h"
#include "vmm/http/http.h"

#define STREAM_KEPT    256		     /* events */
#define STREAM_CLIENTS 64		     /* one more is answered 503 */
#define STREAM_BEAT_NS UINT64_C(15000000000) /* how often an idle stream gets a comment line */

struct stream;

/* loop is the HTTP server's. */
int stream_new(struct ev_loop *loop, struct stream **ret_stream);
/* After the HTTP server, which takes leave of every client. NULL is fine. */
void stream_free(struct stream *s);

/* Answers r, with the stream or with an error. */
void stream_open(struct stream *s, struct http_req *r);
/* For http_handler.stream_gone. */
void stream_gone(struct stream *s, struct http_req *r);
void stream_publish(struct stream *s, const struct vm_event *e);

#endif
