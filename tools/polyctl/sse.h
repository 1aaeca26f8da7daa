/* SPDX-License-Identifier: Apache-2.0 */
/* Server-sent events (WHATWG HTML §9.2.6), from bytes as they come. Only the data of an event is
 * kept; its lines are joined by a newline. */
#ifndef TOOLS_POLYCTL_SSE_H
#define TOOLS_POLYCTL_SSE_H

#include <stdbool.h>
#include <stddef.h>

#define SSE_MAX (1u << 20) /* bytes of a line, and of an event's data; more is cut off */

struct sse {
	char *line, *data; /* so far, owned; NUL-terminated when not NULL */
	size_t line_len, data_len;
	bool after_cr; /* the newline of a CR LF is still to come */
	bool any;      /* the event has data, possibly empty */
	bool stopped;
};
/* Zeroed = ready. */
void sse_fini(struct sse *s);

/* Calls event(arg, data) for each event that these bytes complete. When that does not return 0 the
 * rest is left, and so does this: 1. Otherwise 0, or -ENOMEM. */
int sse_feed(struct sse *s, const char *p, size_t n, int (*event)(void *arg, const char *data),
	void *arg);

#endif
