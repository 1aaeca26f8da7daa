/* SPDX-License-Identifier: Apache-2.0 */
#include "cloud/control/cert.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "vmm/base/cleanup.h"

#define YEARS 20

static char *read_text(const char *path)
{
	cleanup_file FILE *f = fopen(path, "re");
	char *text = NULL;
	size_t cap = 0;

	if (!f || getdelim(&text, &cap, 0, f) < 0) {
		free(text);
		return NULL;
	}
	return text;
}

/* Complete or not there. */
static int write_text(const char *path, const char *text)
{
	char part[PATH_MAX];
	cleanup_fd int fd = -1;

	snprintf(part, sizeof(part), "%s.part", path);
	fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) != (ssize_t)strlen(text) || fsync(fd) < 0)
		return -EIO;
	return rename(part, path) < 0 ? -errno : 0;
}

static void add_name(gnutls_x509_crt_t crt, const char *name)
{
	unsigned char ip[16];
	bool v4 = inet_pton(AF_INET, name, ip) == 1, v6 = !v4 && inet_pton(AF_INET6, name, ip) == 1;

	if (v4 || v6)
		gnutls_x509_crt_set_subject_alt_name(
			crt, GNUTLS_SAN_IPADDRESS, ip, v4 ? 4 : 16, GNUTLS_FSAN_APPEND);
	else
		gnutls_x509_crt_set_subject_alt_name(
			crt, GNUTLS_SAN_DNSNAME, name, (unsigned)strlen(name), GNUTLS_FSAN_APPEND);
}

static int fill(gnutls_x509_crt_t crt, gnutls_x509_privkey_t key, const char *address)
{
	char host[HOST_NAME_MAX + 1] = "localhost";
	unsigned char serial[16];
	int r;

	gethostname(host, sizeof(host) - 1);
	gnutls_rnd(GNUTLS_RND_NONCE, serial, sizeof(serial));
	serial[0] &= 0x7f;
	gnutls_x509_crt_set_version(crt, 3);
	gnutls_x509_crt_set_serial(crt, serial, sizeof(serial));
	gnutls_x509_crt_set_activation_time(crt, time(NULL) - 3600);
	gnutls_x509_crt_set_expiration_time(crt, time(NULL) + YEARS * 365l * 86400);
	gnutls_x509_crt_set_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, "polycloud", 9);
	add_name(crt, "localhost");
	add_name(crt, "127.0.0.1");
	add_name(crt, "::1");
	add_name(crt, host);
	if (address && *address)
		add_name(crt, address);
	gnutls_x509_crt_set_key_usage(crt, GNUTLS_KEY_DIGITAL_SIGNATURE);
	gnutls_x509_crt_set_key_purpose_oid(crt, GNUTLS_KP_TLS_WWW_SERVER, 0);
	r = gnutls_x509_crt_set_key(crt, key);
	return r < 0 ? r : gnutls_x509_crt_sign2(crt, crt, key, GNUTLS_DIG_SHA256, 0);
}

static char *pem_text(gnutls_datum_t *d)
{
	char *text = strndup((char *)d->data, d->size);

	gnutls_free(d->data);
	return text;
}

static int make(const char *address, struct cert *c)
{
	gnutls_x509_privkey_t key = NULL;
	gnutls_x509_crt_t crt = NULL;
	gnutls_datum_t pem;
	int r = gnutls_x509_privkey_init(&key);

	if (r == 0)
		r = gnutls_x509_crt_init(&crt);
	if (r == 0)
		r = gnutls_x509_privkey_generate(
			key, GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0);
	if (r == 0)
		r = fill(crt, key, address);
	if (r == 0 && (r = gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &pem)) == 0)
		c->pem = pem_text(&pem);
	if (r == 0 && (r = gnutls_x509_privkey_export2(key, GNUTLS_X509_FMT_PEM, &pem)) == 0)
		c->key = pem_text(&pem);
	if (crt)
		gnutls_x509_crt_deinit(crt);
	if (key)
		gnutls_x509_privkey_deinit(key);
	return r == 0 && c->pem && c->key ? 0 : -EIO;
}

static int take_fingerprint(struct cert *c)
{
	gnutls_datum_t pem = {(unsigned char *)c->pem, (unsigned)strlen(c->pem)};
	unsigned char digest[32];
	size_t n = sizeof(digest);
	gnutls_x509_crt_t crt;
	int r = gnutls_x509_crt_init(&crt);

	if (r < 0)
		return -ENOMEM;
	r = gnutls_x509_crt_import(crt, &pem, GNUTLS_X509_FMT_PEM);
	if (r == 0)
		r = gnutls_x509_crt_get_fingerprint(crt, GNUTLS_DIG_SHA256, digest, &n);
	gnutls_x509_crt_deinit(crt);
	for (unsigned i = 0; r == 0 && i < 32; i++)
		sprintf(c->fingerprint + 2 * i, "%02x", digest[i]);
	return r < 0 ? -EINVAL : 0;
}

static int load_or_make(const char *folder, const char *address, struct cert *c)
{
	char cert[PATH_MAX], key[PATH_MAX];
	int r;

	snprintf(cert, sizeof(cert), "%s/cert.pem", folder);
	snprintf(key, sizeof(key), "%s/key.pem", folder);
	c->pem = read_text(cert);
	c->key = read_text(key);
	if (c->pem && c->key)
		return 0;
	cert_fini(c);
	r = make(address, c);
	/* The key first: a certificate without one would be made anew. */
	if (r == 0)
		r = write_text(key, c->key);
	return r < 0 ? r : write_text(cert, c->pem);
}

int cert_open(const char *data, const char *address, struct cert *ret_cert, struct err *e)
{
	struct cert c = {0};
	char folder[PATH_MAX - 16];
	int r;

	snprintf(folder, sizeof(folder), "%s/tls", data);
	r = mkdir(folder, 0700) < 0 && errno != EEXIST ? -errno : 0;
	if (r == 0)
		r = load_or_make(folder, address, &c);
	if (r == 0)
		r = take_fingerprint(&c);
	if (r < 0) {
		cert_fini(&c);
		return err_set(e, ERR_HOST, r, "the certificate in %s: %s", folder, strerror(-r));
	}
	*ret_cert = c;
	return 0;
}

void cert_fini(struct cert *c)
{
	free(c->pem);
	free(c->key);
	*c = (struct cert){0};
}
