/* SPDX-License-Identifier: Apache-2.0 */
/* The control plane, whole: its parts in the order of control.h, over a data folder that it holds
 * for itself. */
#ifndef CLOUD_CONTROL_DAEMON_H
#define CLOUD_CONTROL_DAEMON_H

#include "cloud/link/link.h"
#include "vmm/base/err.h"
#include "vmm/base/ev.h"
#include "vmm/base/log.h"

struct daemon_opts {
	const char *data;   /* folder, exists */
	const char *socket; /* path of the API's unix socket */
	const char *listen; /* "ADDRESS:PORT" or "[ADDRESS]:PORT" for TLS; NULL: none */
	const char *url;    /* what others dial; NULL: made of listen */
	struct log *log;    /* borrowed, as all of these */
};

struct daemon;
int daemon_new(struct ev_loop *loop, const struct daemon_opts *o, struct daemon **ret_daemon,
	struct err *e);
void daemon_free(struct daemon *d); /* NULL is fine */
/* The node in this process; takes w. */
int daemon_attach(struct daemon *d, struct link_wire *w, const char *name);
const char *daemon_url(const struct daemon *d); /* NULL without listen */
const char *daemon_fingerprint(const struct daemon *d);

/* Makes a folder (0700) and those above it, and takes its lock: one daemon each. ret_fd holds the
 * lock until closed. what names it in errors ("--data"). */
int folder_open(const char *path, const char *what, int *ret_fd, struct err *e);
/* DATA/state.db */
void database_path(const char *data, char *ret_path, size_t cap);

#endif
