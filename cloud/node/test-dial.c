/* SPDX-License-Identifier: Apache-2.0 */
/* Dialling against servers that answer what a test says: over a unix socket, and over TLS. */
#include <criterion/criterion.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "cloud/node/dial_internal.h"

static struct ev_loop *loop;
static struct dial *d;
static char dir[64], path[96], token_file[96], url[96];
static struct link_wire *wire;
static int readies;

static void ready(struct link_wire *w, void *arg)
{
	wire = w;
	readies++;
}

static void token(const char *text)
{
	FILE *f = fopen(token_file, "w");

	fputs(text, f);
	fclose(f);
}

static void make(void)
{
	signal(SIGPIPE, SIG_IGN); /* of the server's threads */
	strcpy(dir, "/tmp/test-dial.XXXXXX");
	cr_assert_not_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/sock", dir);
	snprintf(token_file, sizeof(token_file), "%s/token", dir);
	snprintf(url, sizeof(url), "unix:%s/sock", dir);
	token("{\"url\":\"https://127.0.0.1:1\",\"token\":\"pv_secret\"}");
	cr_assert_eq(ev_loop_new(&loop), 0);
	d = NULL;
	wire = NULL;
	readies = 0;
}

static void unmake(void)
{
	char cmd[160];

	dial_free(d);
	if (wire)
		wire->free(wire);
	ev_loop_free(loop);
	snprintf(cmd, sizeof(cmd), "rm -r %s", dir);
	if (system(cmd))
		abort();
}

TestSuite(dial, .init = make, .fini = unmake, .timeout = 60);

static struct dial_opts options(void)
{
	return (struct dial_opts){.token_file = token_file,
		.url = url,
		.data = dir,
		.name = "node-1",
		.chip = "arm64",
		.version = "0.1.0",
		.ready = ready};
}

static int listen_unix(void)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(un.sun_path, path);
	cr_assert_eq(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	cr_assert_eq(listen(fd, 5), 0);
	return fd;
}

/* Runs the loop until fd can be read. */
static void until_readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	while (poll(&p, 1, 0) == 0)
		ev_run_once(loop, 20);
}

/* Accepts, reads a whole request into ret, answers. */
static int serve(int listener, const char *answer, char ret[2048])
{
	size_t n = 0;
	ssize_t r;
	int fd;

	until_readable(listener);
	fd = accept(listener, NULL, NULL);
	ret[0] = '\0';
	while (!strstr(ret, "\r\n\r\n")) {
		until_readable(fd);
		r = read(fd, ret + n, 2047 - n);
		cr_assert_gt(r, 0);
		n += (size_t)r;
		ret[n] = '\0';
	}
	cr_assert_eq(write(fd, answer, strlen(answer)), (ssize_t)strlen(answer));
	return fd;
}

static void until_why(const char *word)
{
	while (!strstr(dial_why(d), word))
		ev_run_once(loop, 100);
}

static const char ok[] = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
			 "Upgrade: polycloud-node/1\r\n\r\nfirst bytes";

Test(dial, is_upgraded_and_keeps_what_followed)
{
	static const char first[] =
		"POST /v1/nodes/connect?name=node-1&chip=arm64&version=0.1.0 HTTP/1.1\r\n";
	struct dial_opts o = options();
	char request[2048], buf[32] = "";
	struct err e = {0};
	int listener = listen_unix(), fd;

	cr_assert_eq(dial_new(loop, &o, &d, &e), 0, "%s", e.text);
	fd = serve(listener, ok, request);
	while (!readies)
		ev_run_once(loop, 100);
	cr_assert_eq(strncmp(request, first, sizeof(first) - 1), 0);
	cr_assert_not_null(strstr(request, "\r\nAuthorization: Bearer pv_secret\r\n"));
	cr_assert_not_null(strstr(request, "\r\nUpgrade: polycloud-node/1\r\n"));
	cr_assert_not_null(strstr(request, "\r\nX-Polycloud-Identity: "));
	cr_assert(wire->pending(wire));
	cr_assert_eq(wire->read(wire, buf, sizeof(buf)), 11);
	cr_assert_str_eq(buf, "first bytes");
	cr_assert_eq(wire->read(wire, buf, sizeof(buf)), -EAGAIN);
	cr_assert_eq(wire->write(wire, "back", 4), 4);
	cr_assert_eq(read(fd, buf, sizeof(buf)), 4);
	close(fd);

	/* It ends: the next one is made. */
	wire->free(wire);
	wire = NULL;
	dial_again(d, "test");
	cr_assert_not_null(strstr(dial_why(d), "is over: test"));
	close(serve(listener, ok, request));
	while (readies < 2)
		ev_run_once(loop, 100);
	cr_assert_str_eq(dial_why(d), "");
	close(listener);
}

static const struct {
	const char *answer, *why;
} refusals[] = {
	{"HTTP/1.1 401 Unauthorized\r\nContent-Type: application/problem+json\r\n"
	 "Content-Length: 30\r\n\r\n{\"detail\":\"no such token here\"}",
		"does not accept the token in"},
	{"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 36\r\n\r\n"
	 "{\"title\":\"Upgrade Required\",\"a\": 1}\n",
		"refuses this node: Upgrade Required"},
	{"HTTP/1.1 409 Conflict\r\nTransfer-Encoding: chunked\r\n\r\n"
	 "1c\r\n{\"detail\":\"another node\\nnam\r\n3\r\ne\"}\r\n0\r\n\r\n",
		"refuses this node: another node name"},
	{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "answered 200: hi"},
	{"SSH-2.0-OpenSSH_9.2\r\n", "does not answer as a control plane does"},
};

Test(dial, says_in_one_line_why_it_was_refused_and_tries_again)
{
	struct dial_opts o = options();
	char request[2048];
	int listener = listen_unix();

	cr_assert_eq(dial_new(loop, &o, &d, NULL), 0);
	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		int fd = serve(listener, refusals[i].answer, request);

		until_why(refusals[i].why);
		cr_assert_null(strchr(dial_why(d), '\n'));
		close(fd);
	}
	close(serve(listener, "", request));
	until_why("closed the connection without an answer");
	cr_assert_eq(readies, 0);
	close(listener);
}

Test(dial, a_name_keeps_its_identity)
{
	char a[65], b[65], file[96];
	struct err e = {0};
	struct stat st;

	cr_assert_eq(dial_identity(dir, a, &e), 0);
	cr_assert_eq(dial_identity(dir, b, &e), 0);
	cr_assert_str_eq(a, b);
	snprintf(file, sizeof(file), "%s/identity", dir);
	cr_assert_eq(stat(file, &st), 0);
	cr_assert_eq(st.st_mode & 0777, 0600);
	cr_assert_eq(truncate(file, 10), 0);
	cr_assert_eq(dial_identity(dir, b, &e), -EINVAL);
	cr_assert_not_null(strstr(e.text, "damaged"));
}

Test(dial, urls)
{
	static const struct {
		const char *url, *host, *port;
	} good[] = {{"https://10.0.2.2:7443", "10.0.2.2", "7443"},
		{"https://cloud.example/", "cloud.example", "7443"},
		{"https://[fe80::1]:99/", "fe80::1", "99"}, {"https://[::1]", "::1", "7443"}};
	static const char *const bad[] = {"http://a:1", "https://", "https://a:", "https://a:b",
		"https://a:123456", "https://a/path", "https://[::1", "https://[::1]x",
		"https://a b", "unix:", "ftp://x", "", "https://a\r\nX:1"};
	struct dial_target t = {0};
	struct err e = {0};

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		cr_assert_eq(dial_url_parse(good[i].url, &t, &e), 0, "%s", good[i].url);
		cr_assert_str_eq(t.host, good[i].host);
		cr_assert_str_eq(t.port, good[i].port);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_assert_eq(dial_url_parse(bad[i], &t, &e), -EINVAL, "%s", bad[i]);
}

Test(dial, what_is_wrong_with_the_options_is_said_at_once)
{
	struct dial_opts o = options();
	struct err e = {0};

	o.name = "Node_1";
	cr_assert_eq(dial_new(loop, &o, &d, &e), -EINVAL);
	cr_assert_not_null(strstr(e.text, "--name: Node_1"));
	o = options();
	o.token_file = "/nowhere";
	e = (struct err){0};
	cr_assert_eq(dial_new(loop, &o, &d, &e), -ENOENT);
	token("{\"token\":5}");
	o = options();
	e = (struct err){0};
	cr_assert_eq(dial_new(loop, &o, &d, &e), -EINVAL);
	cr_assert_not_null(strstr(e.text, "\"token\""));
	token("{\"token\":\"pv_x\\r\\nX: 1\"}");
	e = (struct err){0};
	cr_assert_eq(dial_new(loop, &o, &d, &e), -EINVAL);
}

/* ---- TLS ---- */

static X509 *certificate(EVP_PKEY *key, char ret_hex[65])
{
	X509 *x = X509_new();
	unsigned char md[32];
	unsigned len;

	X509_set_version(x, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
	X509_gmtime_adj(X509_getm_notBefore(x), -60);
	X509_gmtime_adj(X509_getm_notAfter(x), 3600);
	X509_set_pubkey(x, key);
	X509_sign(x, key, EVP_sha256());
	X509_digest(x, EVP_sha256(), md, &len);
	for (int i = 0; i < 32; i++)
		snprintf(ret_hex + 2 * i, 3, "%02X", md[i]);
	return x;
}

struct tls_server {
	int listener;
	SSL_CTX *ctx;
	bool handshaken;
	char request[2048];
};

/* One connection; an answer as `ok`, then the bytes that come are sent back once. */
static void *tls_serve(void *arg)
{
	struct tls_server *t = arg;
	int fd = accept(t->listener, NULL, NULL), n;
	SSL *ssl = SSL_new(t->ctx);
	char buf[64];

	SSL_set_fd(ssl, fd);
	t->handshaken = SSL_accept(ssl) == 1;
	n = t->handshaken ? SSL_read(ssl, t->request, sizeof(t->request) - 1) : 0;
	if (n > 0) {
		SSL_write(ssl, ok, sizeof(ok) - 1);
		n = SSL_read(ssl, buf, sizeof(buf));
		SSL_write(ssl, buf, n);
	}
	SSL_free(ssl);
	close(fd);
	return NULL;
}

static void tls_start(struct tls_server *t, pthread_t *thread, char ret_hex[65], char *ret_url)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(in);
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *x = certificate(key, ret_hex);

	*t = (struct tls_server){.ctx = SSL_CTX_new(TLS_server_method())};
	SSL_CTX_use_certificate(t->ctx, x);
	SSL_CTX_use_PrivateKey(t->ctx, key);
	X509_free(x);
	EVP_PKEY_free(key);
	t->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert_eq(bind(t->listener, (struct sockaddr *)&in, len), 0);
	cr_assert_eq(listen(t->listener, 5), 0);
	getsockname(t->listener, (struct sockaddr *)&in, &len);
	sprintf(ret_url, "https://localhost:%d", ntohs(in.sin_port));
	pthread_create(thread, NULL, tls_serve, t);
}

static void tls_stop(struct tls_server *t, pthread_t thread)
{
	pthread_join(thread, NULL);
	close(t->listener);
	SSL_CTX_free(t->ctx);
}

static void tls_token(const char *at, const char *hex)
{
	char text[512];

	if (hex)
		snprintf(text, sizeof(text),
			"{\"url\":\"%s\",\"token\":\"t\",\"fingerprint\":\"%s\"}", at, hex);
	else
		snprintf(text, sizeof(text), "{\"url\":\"%s\",\"token\":\"t\"}", at);
	token(text);
}

Test(dial, tls_with_the_right_fingerprint)
{
	struct dial_opts o = options();
	struct tls_server t;
	pthread_t thread;
	char hex[65], at[64], buf[64] = "";
	ssize_t n;

	tls_start(&t, &thread, hex, at);
	tls_token(at, hex);
	o.url = NULL;
	cr_assert_eq(dial_new(loop, &o, &d, NULL), 0);
	while (!readies)
		ev_run_once(loop, 100);
	cr_assert_eq(wire->read(wire, buf, sizeof(buf)), 11);
	cr_assert_eq(wire->write(wire, "over tls", 8), 8);
	while ((n = wire->read(wire, buf, sizeof(buf))) == -EAGAIN)
		poll(&(struct pollfd){.fd = wire->fd, .events = POLLIN}, 1, 100);
	cr_assert_eq(n, 8);
	cr_assert_eq(memcmp(buf, "over tls", 8), 0);
	tls_stop(&t, thread);
	cr_assert_not_null(strstr(t.request, "Bearer t\r\n"));
}

static void wrong(const char *pin, const char *why)
{
	struct dial_opts o = options();
	struct tls_server t;
	pthread_t thread;
	char hex[65], at[64];

	tls_start(&t, &thread, hex, at);
	tls_token(at, pin);
	o.url = NULL;
	cr_assert_eq(dial_new(loop, &o, &d, NULL), 0);
	until_why(why);
	tls_stop(&t, thread);
	cr_assert_str_eq(t.request, ""); /* the token was not shown */
}

Test(dial, another_fingerprint_is_another_control_plane)
{
	wrong("sha256:0000000000000000000000000000000000000000000000000000000000000000",
		"its certificate has the fingerprint");
}

Test(dial, without_a_fingerprint_the_systems_authorities_decide)
{
	wrong(NULL, "its certificate is not trusted");
}

Test(dial, a_fingerprint_that_is_none)
{
	struct dial_opts o = options();
	struct tls_server t;
	pthread_t thread;
	char hex[65], at[64];

	tls_start(&t, &thread, hex, at);
	tls_token(at, "abc");
	o.url = NULL;
	cr_assert_eq(dial_new(loop, &o, &d, NULL), 0);
	until_why("is not a SHA-256 in hex");
	tls_stop(&t, thread);
}
