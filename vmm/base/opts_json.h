/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON face of an option table, the only part of base that knows jansson. */
#ifndef VMM_BASE_OPTS_JSON_H
#define VMM_BASE_OPTS_JSON_H

#include <jansson.h>
#include "vmm/base/opts.h"

#define OPTS_PATH 128

/* How a document is read. */
struct opts_json {
	bool strict; /* an unknown key is an error, otherwise it is told to warn and skipped */
	void (*warn)(void *arg, const char *path); /* "disks[0].colour"; NULL: nobody asks */
	void *arg;
};

/* Reads object `o`, which stands at `path` ("disks[1]", "" = the document), into *s (defaults
 * filled in by the caller). Unoffered keys are taken with their default only. Every message names
 * the path of the field and what is allowed there: -EINVAL and ERR_USAGE. */
int opts_from_json(const struct opt_table *t, const json_t *o, const char *path,
	const struct opts_json *how, void *s, struct err *e);
/* "disks[1].id" from "disks[1]" and "id", or "id" alone; cut to what buf holds. Returns buf. */
const char *opts_json_path(char buf[OPTS_PATH], const char *path, const char *key);
/* Every field, defaults included, and the defaults of unoffered keys. A new reference, or NULL
 * when out of memory. */
json_t *opts_to_json(const struct opt_table *t, const void *s);
/* JSON Schema of the table; s, a struct with the defaults, may be NULL. A new reference, or NULL
 * when out of memory. */
json_t *opts_schema(const struct opt_table *t, const void *s);

#endif
