/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMM_HTTP_PATH_H
#define VMM_HTTP_PATH_H

#include <stdbool.h>

/* Whether path is what pattern says: the same text, or with "{id}" as one of the pattern's segments
 * any text there, percent-decoded (RFC 3986 §2.1) into id, 1 to 31 bytes. */
bool http_path_matches(const char *pattern, const char *path, char id[32]);

#endif
