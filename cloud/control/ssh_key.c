/* SPDX-License-Identifier: Apache-2.0 */
/* Public keys: the text is base64 of an SSH wire form (RFC 4253 §6.6) that begins with the type's
 * name, so a key that was cut or mixed up is seen here and not in a guest that nobody can enter. */
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include "cloud/control/resources.h"
#include "vmm/base/num.h"

#define BLOB_MAX 4096

static const struct {
	const char *name;
	size_t min, max; /* bytes of the wire form */
} types[] = {
	{"ssh-ed25519", 51, 51},
	{"sk-ssh-ed25519@openssh.com", 64, 1024},
	{"ecdsa-sha2-nistp256", 104, 104},
	{"ecdsa-sha2-nistp384", 136, 136},
	{"ecdsa-sha2-nistp521", 172, 172},
	{"sk-ecdsa-sha2-nistp256@openssh.com", 100, 1024},
	{"ssh-rsa", 2048 / 8 + 16, BLOB_MAX},
};

/* RFC 4648 §4, padded, nothing else in it. */
static int base64_decode(const char *s, size_t len, uint8_t *out, size_t *ret_len)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	unsigned pad = len >= 2 ? (s[len - 1] == '=') + (s[len - 2] == '=') : 0;
	uint32_t bits = 0;
	size_t n = 0;

	if (!len || len % 4 || len / 4 * 3 > BLOB_MAX)
		return -EINVAL;
	for (size_t i = 0; i < len; i++) {
		const char *d = s[i] && i < len - pad ? strchr(digits, s[i]) : NULL;

		if (!d && i < len - pad)
			return -EINVAL;
		bits = bits << 6 | (d ? (uint32_t)(d - digits) : 0);
		for (unsigned b = 0; i % 4 == 3 && b < 3; b++)
			out[n++] = (uint8_t)(bits >> (16 - 8 * b));
	}
	*ret_len = n - pad;
	return 0;
}

static void fingerprint(const uint8_t *blob, size_t len, char ret_text[64])
{
	uint8_t sum[32];
	gnutls_datum_t d = {sum, sizeof(sum)}, text = {NULL, 0};

	ret_text[0] = '\0';
	if (gnutls_hash_fast(GNUTLS_DIG_SHA256, blob, len, sum) || gnutls_base64_encode2(&d, &text))
		return;
	snprintf(ret_text, 64, "SHA256:%.43s", (const char *)text.data); /* without the padding */
	gnutls_free(text.data);
}

static int find_type(const char *name, size_t len)
{
	for (unsigned i = 0; i < ARRAY_SIZE(types); i++)
		if (strlen(types[i].name) == len && !memcmp(types[i].name, name, len))
			return (int)i;
	return -EINVAL;
}

int ssh_key_check(const char *line, char ret_fingerprint[64], struct err *e)
{
	size_t name = strcspn(line, " \t\r\n"), end = strcspn(line, "\r\n");
	const char *text = line + name + strspn(line + name, " \t");
	size_t len = strcspn(text, " \t\r\n"), n;
	int type = find_type(line, name);
	uint8_t blob[BLOB_MAX];

	if (type < 0)
		return err_set(e, ERR_USAGE, -EINVAL,
			"public_key: allowed: one line of OpenSSH's, such as \"ssh-ed25519 AAAA… "
			"comment\" (ssh-ed25519, ecdsa-sha2-nistp256/384/521, ssh-rsa, and their "
			"sk- forms)");
	if (line[end + strspn(line + end, "\r\n")])
		return err_set(e, ERR_USAGE, -EINVAL, "public_key: allowed: one line");
	if (base64_decode(text, len, blob, &n) || n < 4 + name ||
		load_le(blob, 4) != __builtin_bswap32((uint32_t)name) ||
		memcmp(blob + 4, line, name) || n < types[type].min || n > types[type].max)
		return err_set(e, ERR_USAGE, -EINVAL,
			"public_key: its %s part is damaged, or too short a key", types[type].name);
	for (const char *p = text + len; p < line + end; p++)
		if ((unsigned char)*p < 0x20 && *p != '\t')
			return err_set(e, ERR_USAGE, -EINVAL,
				"public_key: a control character in its comment");
	fingerprint(blob, n, ret_fingerprint);
	return 0;
}
