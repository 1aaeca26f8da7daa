/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON face of an option table, the only part of base that knows jansson. */
#ifndef VMM_BASE_OPTS_JSON_H
#define VMM_BASE_OPTS_JSON_H

#include <jansson.h>
#include "vmm/base/opts.h"

/* Reads object `o` into *s (defaults filled in by the caller). Unknown keys are -EINVAL when
 * strict, otherwise reported through warn (may be NULL) and skipped. */
int opts_from_json(const struct opt_table *t, const json_t *o, bool strict,
	void (*warn)(void *arg, const char *key), void *arg, void *s, struct err *e);
/* Every field, defaults included. A new reference, or NULL when out of memory. */
json_t *opts_to_json(const struct opt_table *t, const void *s);
/* JSON Schema of the table. A new reference. */
json_t *opts_schema(const struct opt_table *t);

#endif
