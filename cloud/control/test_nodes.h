/* SPDX-License-Identifier: Apache-2.0 */
/* A fake client: calls that a test makes and whose answers it reads. */
#ifndef CLOUD_CONTROL_TEST_NODES_H
#define CLOUD_CONTROL_TEST_NODES_H

#include "cloud/control/nodes_internal.h"

struct fake_call {
	struct call c;
	const char *query[8], *header[8]; /* key, value, … NULL */
	int peer;			  /* upgraded: the node's end of the wire */
	unsigned status;
	char text[400];
	json_t *doc;
	int answers;
};
struct pipe_end {
	const struct pipe_ops *ops;
	void *arg;
	size_t got, took;
	char first[64];
	bool full, closing;
};
extern struct pipe_end pipe_end; /* of the newest call_upgrade() */

#endif
