/* SPDX-License-Identifier: Apache-2.0 */
/* Digests as OCI writes them (image-spec 1.1, descriptor.md "Digests"): "sha256:" and 64 lower-case
 * hexadecimal digits. */
#ifndef CLOUD_BASE_DIGEST_H
#define CLOUD_BASE_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DIGEST_LEN 72 /* the text's 71 bytes and a 0 */

/* Exactly such a text: what is then safe as a file's name and in a path. */
bool digest_ok(const char *text);

/* SHA-256 of what is added. NULL: no memory. */
struct digest;
struct digest *digest_new(void);
void digest_add(struct digest *d, const void *p, size_t n);
void digest_end(struct digest *d, char ret_digest[DIGEST_LEN]); /* once; nothing is added after */
void digest_free(struct digest *d);				/* NULL is fine */

/* Of a file from where it stands to its end. 0 or a negative errno. ret_size may be NULL. */
int digest_file(int fd, char ret_digest[DIGEST_LEN], uint64_t *ret_size);
/* Of n bytes. 0 or -ENOMEM. */
int digest_bytes(const void *p, size_t n, char ret_digest[DIGEST_LEN]);

#endif
