/* SPDX-License-Identifier: Apache-2.0 */
/* A link over a socketpair, both ends on one loop, a temporary folder, and a handler of the test's
 * own at the node's end. Every path takes a stream. */
#ifndef CLOUD_NODE_TEST_RIG_H
#define CLOUD_NODE_TEST_RIG_H

#include "cloud/link/link.h"

struct rig {
	struct ev_loop *loop;
	struct link *client, *server;
	void (*request)(struct rig *g, struct link_req *r);
	void *arg;
	char folder[64];
	int dir;
};

/* One stream of the client; what came is in bytes, with a 0 behind it. */
struct got {
	struct rig *g;
	struct link_stream *s; /* NULL: over */
	unsigned status;
	bool eof, closed, hold; /* hold: do not take what comes */
	int error;
	size_t len;
	char bytes[1 << 16]; /* the first of them */
};

void rig_start(struct rig *g, void (*request)(struct rig *g, struct link_req *r), void *arg);
/* Ends the links, as a node that stops does first. */
void rig_unlink(struct rig *g);
void rig_stop(struct rig *g); /* removes the folder too */

/* Runs the loop until *flag, at most 20 s: false. */
bool rig_wait(struct rig *g, const bool *flag);
bool rig_until(struct rig *g, bool (*done)(void *arg), void *arg);
void rig_rounds(struct rig *g, unsigned n); /* so many rounds that wait for nothing */

void rig_open(struct rig *g, struct got *t, const char *method, const char *path);
/* Sends all, as the window opens; false when the stream is over first. */
bool rig_send(struct got *t, const void *p, size_t n);
/* Waits for its status, or its end. */
unsigned rig_status(struct got *t);
bool rig_closed(struct got *t);

#endif
