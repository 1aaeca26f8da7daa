/* SPDX-License-Identifier: Apache-2.0 */
/* key=value words become JSON by the rules of the option tables that polyvisor itself uses:
 * numbers, sizes, booleans, texts, and one line that says what is allowed where a word is wrong. */
#ifndef TOOLS_POLYCTL_WORDS_H
#define TOOLS_POLYCTL_WORDS_H

#include <jansson.h>
#include "vmm/base/err.h"
#include "vmm/base/opts.h"

/* In these tables offset is not used; flag is what messages call the words: "add-disk". */
extern const struct opt_table words_disk, words_net, words_vsock, words_vhost_user, words_vdpa;
extern const struct opt_table words_cpus, words_memory, words_rng, words_machine;
extern const struct opt_table words_serial, words_console;

/* Each of n words is key=value, or several with commas between; "double quotes" hold a value with a
 * comma. A word without '=' is the table's bare key, if it has one. Only what was given is in the
 * object, a new reference; names of files are made absolute. -EINVAL with e otherwise. */
int words_to_json(const struct opt_table *t, char *const *word, unsigned n, json_t **ret_object,
	struct err *e);

/* A file's name, seen from the server, which may be in another folder: absolute. */
int words_absolute(const char *name, char *ret_path, size_t cap, struct err *e);

#endif
