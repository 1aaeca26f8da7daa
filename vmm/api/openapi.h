/* SPDX-License-Identifier: Apache-2.0 */
/* GET /openapi.json: the API's description (OpenAPI 3.1), written from the tables that route and
 * parse, so that it cannot say anything else than they do. */
#ifndef VMM_API_OPENAPI_H
#define VMM_API_OPENAPI_H

#include <jansson.h>

/* A new reference, or NULL when out of memory. */
json_t *openapi_json(void);

#endif
