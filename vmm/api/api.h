/* SPDX-License-Identifier: Apache-2.0 */
/* The API of one instance: a thread with a loop of its own that turns HTTP requests into vm_cmds
 * and their replies into JSON, and writes events. It holds no pointer to the machine. */
#ifndef VMM_API_API_H
#define VMM_API_API_H

#include "vmm/base/err.h"
#include "vmm/control.h"

struct api;

struct api_opts {
	const char *socket; /* "path=FILE" or "fd=N" (listening) as the flag's value, NULL = none */
	const char *monitor; /* the event monitor's "path=FILE" or "fd=N", NULL = none */
	struct log *log;
};

/* Opens both; a stale socket file that nobody serves is replaced, a live one is an error. Before
 * control exists, so that `events` can be given to it. e names flag and field. */
int api_new(const struct api_opts *o, struct api **ret_api, struct err *e);
/* For control_opts.events. */
struct vm_events api_events(struct api *a);
/* Starts answering. control must outlive the api. */
int api_start(struct api *a, struct control *c);
/* After control_run: sends the last replies and events, ends the thread, removes the socket file.
 * NULL is fine. */
void api_free(struct api *a);

#endif
