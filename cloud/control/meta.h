/* SPDX-License-Identifier: Apache-2.0 */
/* What the server itself answers: everything that is about the API and not about a resource. */
#ifndef CLOUD_CONTROL_META_H
#define CLOUD_CONTROL_META_H

#include "cloud/control/route.h"
#include "cloud/control/router.h"

extern const struct route meta_routes[]; /* version, openapi.json, metrics, web files */
extern const unsigned meta_nroutes;
extern const struct route audit_routes[];
extern const unsigned audit_nroutes;
extern const struct route event_routes[]; /* GET /v1/events */
extern const unsigned event_nroutes;

/* The OpenAPI 3.1 document of all rows. New reference; NULL: no memory. */
json_t *openapi(const struct router *r);
void metrics_write(struct call *c); /* answers */

/* A file of cloud/web, in the program. */
struct web_file {
	const char *path, *type; /* "app.js" */
	const char *etag;	 /* with its quotes */
	const unsigned char *data;
	size_t len;
};
extern const struct web_file web_files[]; /* ends with path NULL */

#endif
