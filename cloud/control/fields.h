/* SPDX-License-Identifier: Apache-2.0 */
/* What else uses the rules of the field tables (route.h). */
#ifndef CLOUD_CONTROL_FIELDS_H
#define CLOUD_CONTROL_FIELDS_H

#include <stdbool.h>
#include <stddef.h>

struct field;

/* [a-z0-9]([a-z0-9-]{0,61}[a-z0-9])? */
#define NAME_PATTERN "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
bool name_is_right(const char *s);
/* "1 to 128", "true or false": what a field takes, as far as buf holds it. */
const char *fields_allowed(const struct field *f, char *buf, size_t cap);

#endif
