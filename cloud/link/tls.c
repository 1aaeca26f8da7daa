/* SPDX-License-Identifier: Apache-2.0 */
/* TLS by OpenSSL, of which Debian has a static library. The peer is checked at the end of the
 * handshake and before the first byte of ours, which is a token, is written. */
#include "cloud/link/tls.h"

#include <ctype.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "vmm/base/list.h"

struct tls {
	struct link_wire w;
	SSL_CTX *ctx;
	SSL *ssl;
	char pin[65]; /* lower-case hex; "" none */
};

static struct tls *tls_of(struct link_wire *w)
{
	return container_of(w, struct tls, w);
}

/* What an operation that returned n means: as link_wire.read and write return. */
static ssize_t outcome(struct tls *t, int n)
{
	switch (SSL_get_error(t->ssl, n)) {
	case SSL_ERROR_NONE:
		return n;
	case SSL_ERROR_WANT_READ:
	case SSL_ERROR_WANT_WRITE:
		return -EAGAIN;
	case SSL_ERROR_ZERO_RETURN:
		return 0;
	case SSL_ERROR_SYSCALL:
		return errno ? -errno : 0; /* 0: cut off without a word */
	default:
		return -EPROTO;
	}
}

static ssize_t tls_read(struct link_wire *w, void *buf, size_t cap)
{
	struct tls *t = tls_of(w);

	ERR_clear_error();
	errno = 0;
	return outcome(t, SSL_read(t->ssl, buf, cap > 1 << 20 ? 1 << 20 : (int)cap));
}

static ssize_t tls_write(struct link_wire *w, const void *buf, size_t len)
{
	struct tls *t = tls_of(w);
	ssize_t n;

	ERR_clear_error();
	errno = 0;
	n = outcome(t, SSL_write(t->ssl, buf, len > 1 << 20 ? 1 << 20 : (int)len));
	return n == 0 ? -EPIPE : n;
}

static bool tls_pending(struct link_wire *w)
{
	return SSL_pending(tls_of(w)->ssl) > 0;
}

static void tls_free(struct link_wire *w)
{
	struct tls *t = tls_of(w);

	SSL_free(t->ssl);
	SSL_CTX_free(t->ctx);
	close(w->fd);
	free(t);
}

/* "AB:CD…" or "sha256:abcd…" as 64 lower-case digits. */
static bool pin_from(const char *text, char ret[65])
{
	size_t n = 0;

	if (strncasecmp(text, "sha256:", 7) == 0)
		text += 7;
	for (; *text; text++) {
		if (*text == ':')
			continue;
		if (!isxdigit((unsigned char)*text) || n == 64)
			return false;
		ret[n++] = (char)tolower((unsigned char)*text);
	}
	ret[n] = '\0';
	return n == 64;
}

static int setup(struct tls *t, const char *host)
{
	t->ctx = SSL_CTX_new(TLS_client_method());
	if (!t->ctx || !SSL_CTX_set_min_proto_version(t->ctx, TLS1_2_VERSION))
		return -ENOMEM;
	if (!t->pin[0]) {
		SSL_CTX_set_default_verify_paths(t->ctx);
		SSL_CTX_set_verify(t->ctx, SSL_VERIFY_PEER, NULL);
	}
	SSL_CTX_set_mode(
		t->ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	t->ssl = SSL_new(t->ctx);
	if (!t->ssl || !SSL_set_fd(t->ssl, t->w.fd))
		return -ENOMEM;
	SSL_set_connect_state(t->ssl);
	SSL_set_tlsext_host_name(t->ssl, host); /* ignored for an address */
	if (!t->pin[0] && !X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(t->ssl), host) &&
		!SSL_set1_host(t->ssl, host))
		return -ENOMEM;
	return 0;
}

int link_wire_tls(int fd, const char *host, const char *fingerprint, struct link_wire **ret_wire,
	struct err *e)
{
	struct tls *t = calloc(1, sizeof(*t));

	if (!t) {
		close(fd);
		return err_set(e, ERR_HOST, -ENOMEM, "no memory");
	}
	t->w = (struct link_wire){tls_read, tls_write, tls_pending, tls_free, fd};
	if (fingerprint && !pin_from(fingerprint, t->pin)) {
		tls_free(&t->w);
		return err_set(e, ERR_USAGE, -EINVAL,
			"fingerprint: %.80s is not a SHA-256 in hex (64 digits)", fingerprint);
	}
	if (setup(t, host) < 0) {
		tls_free(&t->w);
		return err_set(e, ERR_HOST, -ENOMEM, "TLS cannot be set up");
	}
	*ret_wire = &t->w;
	return 0;
}

static int check_pin(struct tls *t, struct err *e)
{
	X509 *cert = SSL_get1_peer_certificate(t->ssl);
	unsigned char md[EVP_MAX_MD_SIZE];
	unsigned len = 0;
	char hex[65] = "";
	bool have = cert && X509_digest(cert, EVP_sha256(), md, &len) && len == 32;

	X509_free(cert);
	for (unsigned i = 0; have && i < len; i++)
		snprintf(hex + 2 * i, 3, "%02x", md[i]);
	if (have && strcmp(hex, t->pin) == 0)
		return 1;
	return err_set(e, ERR_HOST, -EACCES,
		"its certificate has the fingerprint %s, not the expected %s: this is another "
		"control plane, or somebody is in between",
		hex, t->pin);
}

int link_tls_handshake(struct link_wire *w, uint32_t *ret_events, struct err *e)
{
	struct tls *t = tls_of(w);
	const char *why;
	long verdict;
	int n;

	ERR_clear_error();
	errno = 0;
	n = SSL_do_handshake(t->ssl);
	if (n == 1)
		return t->pin[0] ? check_pin(t, e) : 1;
	switch (SSL_get_error(t->ssl, n)) {
	case SSL_ERROR_WANT_READ:
		*ret_events = EPOLLIN;
		return 0;
	case SSL_ERROR_WANT_WRITE:
		*ret_events = EPOLLOUT;
		return 0;
	}
	verdict = SSL_get_verify_result(t->ssl);
	why = ERR_reason_error_string(ERR_peek_error());
	if (!t->pin[0] && verdict != X509_V_OK)
		return err_set(e, ERR_HOST, -EACCES,
			"its certificate is not trusted (%s), and no fingerprint is known",
			X509_verify_cert_error_string(verdict));
	return err_set(e, ERR_HOST, -EPROTO, "no TLS: %s",
		why	? why
		: errno ? strerror(errno)
			: "the other end closed the connection");
}
