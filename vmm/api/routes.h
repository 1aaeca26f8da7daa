/* SPDX-License-Identifier: Apache-2.0 */
/* Every call of the API is one row: what it is named, what it takes, what it becomes. The server
 * finds its way by this table, and /openapi.json is written from it. Paths and bodies under /api/v1
 * are cloud-hypervisor's v1, except for rows that are `ours`, which are strict: an unknown query or
 * key is an error there, where v1 clients expect to be warned about at most. */
#ifndef VMM_API_ROUTES_H
#define VMM_API_ROUTES_H

#include <stdbool.h>
#include <stddef.h>
#include "vmm/base/opts.h"
#include "vmm/control.h"

enum route_kind {
	ROUTE_COMMAND, /* becomes `op` */
	ROUTE_PING,    /* answered by the API's own thread, as the next three */
	ROUTE_EVENTS,  /* a stream */
	ROUTE_METRICS, /* asks VM_INFO and VM_COUNTERS, which may both refuse */
	ROUTE_OPENAPI,
	ROUTE_UNOFFERED, /* v1 has it, we do not yet */
};

enum route_body {
	BODY_NONE,
	BODY_CONFIG, /* a whole vm_config */
	BODY_PART,   /* one element of the part `part` */
	BODY_TABLE,  /* what `table` says */
};

/* What comes back with 200; 204 has nothing. */
enum route_reply {
	REPLY_NONE,
	REPLY_PING,
	REPLY_INFO,
	REPLY_COUNTERS,
	REPLY_DEVICES,
	REPLY_DEVICE,
	REPLY_EVENTS,
	REPLY_METRICS,
	REPLY_OPENAPI,
};

/* More taps than are offered are let in, to be told how many are. */
#define ROUTE_NET_FDS 16

struct route {
	const char *method; /* "GET" or "PUT" */
	const char *path;   /* "/api/v1/vm.boot"; "{id}" as its end stands for one segment */
	const char *name;   /* "vm.boot": how messages call it, and OpenAPI's operationId */
	const char *summary;
	enum route_kind kind;
	enum vm_op op; /* ROUTE_COMMAND */
	enum route_body body;
	const char *part; /* BODY_PART: its key in vm_parts */
	const struct opt_table *table;
	enum route_reply reply;
	unsigned max_fds; /* that may come with it (SCM_RIGHTS) */
	bool ours;
};
extern const struct route routes[]; /* ends with a NULL path */

/* The body of vm.coredump. */
struct coredump_body {
	char *destination_url;
};
extern const struct opt_table coredump_table;

/* 200 or 204. */
unsigned route_success(const struct route *r);
/* 200 for a found row, written to ret_route, with what stands for "{id}" in id, decoded ("" when
 * there is none); 404 when there is no such path, 405 when it has another method: then e says what
 * there is, and allow (of a 405) is "Allow: PUT". */
unsigned route_find(const char *method, const char *path, const struct route **ret_route,
	char id[32], char allow[32], struct err *e);
/* In which states the row's command is legal: "created, running". buf is returned; "" = in all. */
const char *route_states(const struct route *r, char *buf, size_t cap);

#endif
