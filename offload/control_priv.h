/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the control socket share: control.c is its life and its requests,
 * control_json.c what devices look like, control_metrics.c the same for Prometheus,
 * control_openapi.c describes it all. */
#ifndef OFFLOAD_CONTROL_PRIV_H
#define OFFLOAD_CONTROL_PRIV_H

#include <jansson.h>
#include "devices/virtio/stats.h"
#include "offload/control.h"
#include "vmm/base/list.h"
#include "vmm/http/http.h"
#include "vmm/http/listen.h"

struct control {
	struct served_set *set;
	struct http_socket socket;
	struct http_server *http; /* NULL until started */
	struct list leaving;	  /* struct removal */
	uint64_t began_ns;
};

enum control_body { CONTROL_NO_BODY, CONTROL_DEVICE, CONTROL_SIZE };
enum control_reply {
	CONTROL_NO_REPLY, /* 204 */
	CONTROL_PING,
	CONTROL_DEVICES,
	CONTROL_ADDED, /* 201 */
	CONTROL_INSPECTED,
	CONTROL_METRICS,
	CONTROL_OPENAPI,
};

struct control_route {
	const char *method, *path; /* of which one segment may be "{id}" */
	const char *name, *summary;
	enum control_body body;
	enum control_reply reply;
	unsigned max_fds;
	/* Answers r, now or later. s: the device of the path; o: the body. */
	void (*serve)(struct control *c, struct http_req *r, struct served *s, const json_t *o);
};
extern const struct control_route control_routes[]; /* ended by one without a path */

/* The body of PUT …/size. */
struct control_size {
	uint64_t size;
};
extern const struct opt_table control_size_table;

/* Devices as JSON, new references; NULL when out of memory. */
json_t *control_device_json(struct served *s);
json_t *control_devices_json(const struct served_set *set);
/* The reverse: the body of POST, and the descriptor that came with it or -1. */
int control_device_config(const json_t *o, int fd, struct served_config *ret_config, struct err *e);
/* "waiting", "connected", "running" or "broken". */
const char *control_health(struct served *s);
/* Of all that serve the device. */
uint64_t control_cpu_ns(struct virtio_dev *d);
const struct queue_stats *control_stats(struct virtio_dev *d, unsigned i); /* or NULL */

/* Malloc'ed, *ret_len bytes and a NUL; NULL when out of memory. */
char *control_metrics(const struct control *c, size_t *ret_len);
json_t *control_openapi(void);

#endif
