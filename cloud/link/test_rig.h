/* SPDX-License-Identifier: Apache-2.0 */
/* Both ends of a link over a socketpair, on one loop, and a handler that does what the path says:
 *   /echo  answers with the body        /late      is kept in `late`, answered by the test
 *   /big   a reply of `size` bytes      /problem   a problem document
 *   /pipe  a stream that echoes         /sink      a stream that takes nothing by itself
 *   /put   a body that is counted, then answered 201 with its size
 *   /no    a stream's path, refused with 404 */
#ifndef CLOUD_LINK_TEST_RIG_H
#define CLOUD_LINK_TEST_RIG_H

#include "cloud/link/internal.h"

struct rig {
	struct ev_loop *loop;
	struct link *client, *server;
	int client_gone, server_gone;
	char client_why[160], server_why[160];
	struct link_req *late;
	struct link_req *put;
	size_t put_bytes;
	struct link_stream *sink;
	size_t sink_bytes, pipe_held;
	int sink_eof, sink_closed, sink_error, pipe_closed;
	unsigned requests;
	char query[64], request_id[64];
};

/* One answer of a call. */
struct answer {
	int times;
	unsigned status;
	json_t *body;
	char error[160];
	void (*then)(void *arg);
	void *arg;
};
void answer_fn(void *arg, unsigned status, json_t *body, const char *error);

/* One stream of the client. */
struct got {
	struct link_stream *s;
	unsigned status;
	int eof, closed, error, writable;
	size_t bytes;
	bool hold; /* do not take what comes */
	char first[256];
};
extern const struct link_stream_ops got_ops;

void rig_loop(struct rig *g);  /* the loop alone */
void rig_start(struct rig *g); /* and both ends */
void rig_server(struct rig *g, int fd);
void rig_client(struct rig *g, int fd);
void rig_stop(struct rig *g);
/* Runs the loop until done(arg), at most 20 s: false. */
bool rig_until(struct rig *g, bool (*done)(void *arg), void *arg);
void rig_rounds(struct rig *g, unsigned n); /* so many rounds that wait for nothing */

#endif
