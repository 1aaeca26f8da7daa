/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLOUD_NODE_BLOB_PRIV_H
#define CLOUD_NODE_BLOB_PRIV_H

#include "cloud/node/blob.h"
#include "vmm/base/list.h"

struct blobs {
	struct ev_loop *loop;
	struct log *log;
	int dir;
	struct ev_thread *unpacker, *copier;
	struct list puts, clones; /* under way */
	unsigned nputs, nclones;  /* the second counts all there ever were */
	void (*changed)(void *arg);
	void *arg;
};

/* The copying thread reads it and sets error; the loop looks at that when it is back. */
struct blob_clone {
	struct ev_msg m;
	struct list node;
	struct blobs *b;
	int from, dir;
	char name[64], temp[80];
	uint64_t size;
	uid_t uid;
	gid_t gid;
	_Atomic bool cancelled;
	int error;
	blob_clone_fn *done;
	void *arg;
};

#endif
