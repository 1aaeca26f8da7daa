/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 by OpenSSL. A failure inside it (which has no other cause than memory) is kept and makes
 * the text empty, so that no digest equals it. */
#include "cloud/base/digest.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include "vmm/base/cleanup.h"

struct digest {
	EVP_MD_CTX *ctx;
	bool broken;
};

static void digest_freep(struct digest **d)
{
	digest_free(*d);
}

bool digest_ok(const char *text)
{
	if (!text || strncmp(text, "sha256:", 7))
		return false;
	return strspn(text + 7, "0123456789abcdef") == 64 && strlen(text) == 71;
}

struct digest *digest_new(void)
{
	struct digest *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->ctx = EVP_MD_CTX_new();
	if (!d->ctx || EVP_DigestInit_ex(d->ctx, EVP_sha256(), NULL) != 1) {
		digest_free(d);
		return NULL;
	}
	return d;
}

void digest_add(struct digest *d, const void *p, size_t n)
{
	if (n && EVP_DigestUpdate(d->ctx, p, n) != 1)
		d->broken = true;
}

void digest_end(struct digest *d, char ret_digest[DIGEST_LEN])
{
	uint8_t sum[EVP_MAX_MD_SIZE];
	unsigned n = 0;

	ret_digest[0] = 0;
	if (d->broken || EVP_DigestFinal_ex(d->ctx, sum, &n) != 1 || n != 32)
		return;
	memcpy(ret_digest, "sha256:", 8);
	for (unsigned i = 0; i < n; i++)
		snprintf(ret_digest + 7 + 2 * i, 3, "%02x", sum[i]);
}

void digest_free(struct digest *d)
{
	if (!d)
		return;
	EVP_MD_CTX_free(d->ctx);
	free(d);
}

int digest_file(int fd, char ret_digest[DIGEST_LEN], uint64_t *ret_size)
{
	CLEANUP(digest_freep) struct digest *d = digest_new();
	cleanup_free uint8_t *buf = malloc(1 << 17);
	uint64_t size = 0;
	ssize_t n;

	if (!d || !buf)
		return -ENOMEM;
	while ((n = read(fd, buf, 1 << 17)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		digest_add(d, buf, n);
		size += n;
	}
	digest_end(d, ret_digest);
	if (ret_size)
		*ret_size = size;
	return ret_digest[0] ? 0 : -ENOMEM;
}

int digest_bytes(const void *p, size_t n, char ret_digest[DIGEST_LEN])
{
	CLEANUP(digest_freep) struct digest *d = digest_new();

	if (!d)
		return -ENOMEM;
	digest_add(d, p, n);
	digest_end(d, ret_digest);
	return ret_digest[0] ? 0 : -ENOMEM;
}
