/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket of polyvisor-offload (--api-socket): REST over HTTP on a unix socket, on the
 * loop that serves the devices' own sockets. What it is asked concerns no worker, so that rings run
 * on meanwhile. */
#ifndef OFFLOAD_CONTROL_H
#define OFFLOAD_CONTROL_H

#include "offload/served.h"

struct control;

/* where: the flag's value, "path=FILE" or "fd=N". Takes the place, before anything else is opened;
 * nobody is answered yet. set is borrowed until control_close(). */
int control_open(
	const char *where, struct served_set *set, struct control **ret_control, struct err *e);
/* Answers from now on. */
int control_start(struct control *c);
/* Removes the devices that were asked to be removed, and answers. Whenever ev_run() has returned,
 * which such a request makes it do; not in a handler. NULL is fine. */
void control_sweep(struct control *c);
/* Last answers, then the socket's file goes. NULL is fine. */
void control_close(struct control *c);

#endif
