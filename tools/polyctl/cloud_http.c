/* SPDX-License-Identifier: Apache-2.0 */
/* One request to polycloud by libcurl: HTTP on a unix socket, or over TLS to a server whose
 * certificate is either pinned by its fingerprint (polycloud signs its own) or signed by a public
 * authority. An upgraded connection becomes a plain descriptor; where TLS is between, a thread
 * carries the bytes. */
#include <fcntl.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "tools/polyctl/cloud.h"
#include "vmm/base/cleanup.h"

#define REPLY_MAX  (64u << 20) /* bytes of a collected body */
#define HEAD_MAX   8192	       /* of an upgrade's answer */
#define CONNECT_S  15L
#define CARRY_SIZE 16384

struct transfer {
	const struct cloud_end *end;
	const struct cloud_req *q;
	CURL *curl;
	struct client_reply reply;
	time_t began;
	bool enough, too_long, other_certificate;
};

static time_t now_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec;
}

/* ---- the server's certificate ---- */

/* Instead of a chain of authorities: the one certificate whose digest we were given. */
static int is_pinned(X509_STORE_CTX *x, void *arg)
{
	struct transfer *t = arg;
	unsigned char digest[EVP_MAX_MD_SIZE];
	char hex[2 * EVP_MAX_MD_SIZE + 1] = "";
	unsigned n = 0;
	X509 *certificate = X509_STORE_CTX_get0_cert(x);

	if (!certificate || !X509_digest(certificate, EVP_sha256(), digest, &n))
		return 0;
	for (unsigned i = 0; i < n; i++)
		snprintf(hex + 2 * i, 3, "%02x", digest[i]);
	t->other_certificate = strcmp(hex, t->end->fingerprint) != 0;
	return !t->other_certificate;
}

static CURLcode pin(CURL *curl, void *ssl_ctx, void *arg)
{
	SSL_CTX_set_cert_verify_callback(ssl_ctx, is_pinned, arg);
	return CURLE_OK;
}

/* ---- curl's callbacks ---- */

static size_t on_body(char *p, size_t one, size_t n, void *arg)
{
	struct transfer *t = arg;
	long status = 0;
	char *body;

	curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
	if (t->q && t->q->take && status == 200) {
		t->enough = t->q->take(t->q->arg, p, n) != 0;
		return t->enough ? 0 : n;
	}
	t->too_long = n > REPLY_MAX - t->reply.len;
	body = t->too_long ? NULL : realloc(t->reply.body, t->reply.len + n + 1);
	if (!body)
		return 0;
	memcpy(body + t->reply.len, p, n);
	t->reply.body = body;
	t->reply.len += n;
	body[t->reply.len] = '\0';
	return n;
}

static int on_progress(
	void *arg, curl_off_t down_total, curl_off_t down, curl_off_t up_total, curl_off_t up)
{
	struct transfer *t = arg;

	if (t->q && t->q->tick)
		t->q->tick(t->q->arg, (unsigned)(now_seconds() - t->began), (uint64_t)up,
			(uint64_t)up_total);
	return 0;
}

/* ---- a handle ---- */

static CURL *handle_new(struct transfer *t)
{
	CURL *h = curl_easy_init();

	if (!h)
		return NULL;
	t->curl = h;
	t->began = now_seconds();
	curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT, CONNECT_S);
	curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(h, CURLOPT_WRITEDATA, t);
	curl_easy_setopt(h, CURLOPT_XFERINFOFUNCTION, on_progress);
	curl_easy_setopt(h, CURLOPT_XFERINFODATA, t);
	curl_easy_setopt(h, CURLOPT_NOPROGRESS, 0L);
	curl_easy_setopt(h, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(h, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https");
	if (t->end->socket) {
		curl_easy_setopt(h, CURLOPT_UNIX_SOCKET_PATH, t->end->socket);
		curl_easy_setopt(h, CURLOPT_NOPROXY, "*");
	} else if (t->end->fingerprint) {
		curl_easy_setopt(h, CURLOPT_SSL_VERIFYHOST, 0L);
		curl_easy_setopt(h, CURLOPT_SSL_CTX_FUNCTION, pin);
		curl_easy_setopt(h, CURLOPT_SSL_CTX_DATA, t);
	}
	return h;
}

static int set_url(CURL *h, const struct cloud_end *end, const char *path)
{
	cleanup_free char *url = NULL;

	if (asprintf(&url, "%s%s", end->socket ? "http://localhost" : end->url, path) < 0) {
		url = NULL;
		return -ENOMEM;
	}
	return curl_easy_setopt(h, CURLOPT_URL, url) == CURLE_OK ? 0 : -ENOMEM;
}

static int failed(const struct transfer *t, CURLcode code, struct err *e)
{
	const char *where = cloud_end_name(t->end);
	long os = 0;

	curl_easy_getinfo(t->curl, CURLINFO_OS_ERRNO, &os);
	if (t->too_long)
		return err_set(e, ERR_HOST, -EFBIG, "%.200s: the answer is too long", where);
	if (t->other_certificate)
		return err_set(e, ERR_HOST, -EPROTO,
			"%.200s: its certificate is not the one with the fingerprint that we know; "
			"it is another server, or has a new certificate",
			where);
	if (code == CURLE_COULDNT_CONNECT && t->end->socket)
		return err_set(e, ERR_HOST, -ECONNREFUSED,
			"%.160s: %s; start it with: polycloud up, or name another with --socket or "
			"--context",
			where, os ? strerrordesc_np((int)os) : "nobody answers");
	if (code == CURLE_PEER_FAILED_VERIFICATION)
		return err_set(e, ERR_HOST, -EPROTO,
			"%.160s: no authority has signed its certificate; add the context with "
			"--token-file or --fingerprint",
			where);
	return err_set(e, ERR_HOST, -EIO, "%.200s: %s", where, curl_easy_strerror(code));
}

static struct curl_slist *headers_of(const struct cloud_end *end, const struct cloud_req *q)
{
	struct curl_slist *list = NULL;
	char line[600];

	if (end->token && !end->socket) {
		snprintf(line, sizeof(line), "Authorization: Bearer %.500s", end->token);
		list = curl_slist_append(list, line);
	}
	if (q->upload)
		list = curl_slist_append(list, "Content-Type: application/octet-stream");
	else if (q->body)
		list = curl_slist_append(list, "Content-Type: application/json");
	if (q->header)
		list = curl_slist_append(list, q->header);
	return curl_slist_append(list, "Expect:");
}

static void set_body(CURL *h, const struct cloud_req *q)
{
	if (q->upload) {
		fseek(q->upload, 0, SEEK_END);
		curl_easy_setopt(h, CURLOPT_UPLOAD, 1L);
		curl_easy_setopt(h, CURLOPT_READDATA, q->upload);
		curl_easy_setopt(h, CURLOPT_INFILESIZE_LARGE, (curl_off_t)ftello(q->upload));
		rewind(q->upload);
	} else if (q->body || strcmp(q->method, "GET")) {
		curl_easy_setopt(h, CURLOPT_POSTFIELDS, q->body ? q->body : "");
		curl_easy_setopt(h, CURLOPT_POSTFIELDSIZE, q->body ? (long)strlen(q->body) : 0L);
	}
	curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, q->method);
}

static void keep_type(struct transfer *t)
{
	char *type = NULL;
	long status = 0;

	curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(t->curl, CURLINFO_CONTENT_TYPE, &type);
	t->reply.status = (unsigned)status;
	snprintf(t->reply.type, sizeof(t->reply.type), "%.*s", (int)strcspn(type ? type : "", ";"),
		type ? type : "");
}

int cloud_request(const struct cloud_end *end, const struct cloud_req *q,
	struct client_reply *ret_reply, struct err *e)
{
	struct transfer t = {.end = end, .q = q};
	struct curl_slist *headers = headers_of(end, q);
	CURL *h = handle_new(&t);
	int r = h && headers ? set_url(h, end, q->path) : -ENOMEM;
	CURLcode code = CURLE_OUT_OF_MEMORY;

	if (r == 0) {
		curl_easy_setopt(h, CURLOPT_HTTPHEADER, headers);
		set_body(h, q);
		code = curl_easy_perform(h);
		keep_type(&t);
		if (code != CURLE_OK && !t.enough)
			r = failed(&t, code, e);
	} else {
		err_set(e, ERR_HOST, r, "out of memory");
	}
	curl_slist_free_all(headers);
	curl_easy_cleanup(h);
	if (r < 0)
		free(t.reply.body);
	else
		*ret_reply = t.reply;
	return r;
}

int cloud_refused(const struct client_reply *reply, struct err *e)
{
	json_t *j = reply->len ? json_loadb(reply->body, reply->len, 0, NULL) : NULL;
	const char *title = json_string_value(json_object_get(j, "title"));
	const char *detail = json_string_value(json_object_get(j, "detail"));
	enum err_kind kind = reply->status == 404 ? ERR_NOT_FOUND : ERR_HOST;

	if (detail || title)
		err_set(e, kind, -EREMOTEIO, "%s", detail ? detail : title);
	else
		err_set(e, kind, -EREMOTEIO, "the server answered %u", reply->status);
	json_decref(j);
	return -EREMOTEIO;
}

/* ---- an upgraded connection ---- */

struct wire {
	CURL *curl;
	int near; /* our end of the pair that the caller reads from */
	curl_socket_t far;
};

static void wait_for(int fd, short events)
{
	struct pollfd p = {fd, events, 0};

	poll(&p, 1, -1);
}

static int send_all(CURL *h, curl_socket_t fd, const char *p, size_t n)
{
	while (n) {
		size_t sent = 0;
		CURLcode code = curl_easy_send(h, p, n, &sent);

		if (code == CURLE_AGAIN)
			wait_for(fd, POLLOUT);
		else if (code != CURLE_OK)
			return -EIO;
		p += sent;
		n -= sent;
	}
	return 0;
}

/* As much as there is: > 0, 0 at the end. */
static ssize_t receive(CURL *h, curl_socket_t fd, char *p, size_t n)
{
	size_t got = 0;
	CURLcode code;

	while ((code = curl_easy_recv(h, p, n, &got)) == CURLE_AGAIN)
		wait_for(fd, POLLIN);
	return code == CURLE_OK ? (ssize_t)got : -EIO;
}

static int write_all(int fd, const char *p, size_t n)
{
	while (n) {
		ssize_t w = send(fd, p, n, MSG_NOSIGNAL);

		if (w < 0 && errno != EINTR)
			return -errno;
		p += w > 0 ? w : 0;
		n -= w > 0 ? (size_t)w : 0;
	}
	return 0;
}

/* Everything that TLS has for us now; 0 when there is no more, 1 at the end. */
static int carry_in(struct wire *w)
{
	char buf[CARRY_SIZE];

	for (;;) {
		size_t got = 0;
		CURLcode code = curl_easy_recv(w->curl, buf, sizeof(buf), &got);

		if (code == CURLE_AGAIN)
			return 0;
		if (code != CURLE_OK || !got || write_all(w->near, buf, got) < 0)
			return 1;
	}
}

static void *carry(void *arg)
{
	struct wire *w = arg;
	char buf[CARRY_SIZE];
	bool typed_all = false;
	struct pollfd p[] = {{w->far, POLLIN, 0}, {w->near, POLLIN, 0}};

	while (!carry_in(w)) {
		p[1].fd = typed_all ? -1 : w->near;
		if (poll(p, 2, -1) < 0)
			continue;
		ssize_t n = p[1].revents ? recv(w->near, buf, sizeof(buf), 0) : -1;
		typed_all |= n == 0;
		if (n > 0 && send_all(w->curl, w->far, buf, (size_t)n) < 0)
			break;
	}
	close(w->near);
	curl_easy_cleanup(w->curl);
	free(w);
	return NULL;
}

/* Over TLS: a pair of sockets and a thread between. */
static int carried(CURL *h, curl_socket_t far, int *ret_fd)
{
	struct wire *w = malloc(sizeof(*w));
	int pair[2];
	pthread_t thread;

	if (!w || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
		free(w);
		return -errno;
	}
	*w = (struct wire){.curl = h, .near = pair[1], .far = far};
	int r = pthread_create(&thread, NULL, carry, w);
	if (r) {
		close(pair[0]);
		close(pair[1]);
		free(w);
		return -r;
	}
	pthread_detach(thread);
	*ret_fd = pair[0];
	return 0;
}

/* The answer's head, byte by byte: what follows is the stream's. */
static int read_head(CURL *h, curl_socket_t fd, char head[HEAD_MAX])
{
	size_t n = 0;

	while (n < HEAD_MAX - 1) {
		if (receive(h, fd, head + n, 1) != 1)
			return -EPROTO;
		head[++n] = '\0';
		if (n >= 4 && !memcmp(head + n - 4, "\r\n\r\n", 4))
			return 0;
	}
	return -EPROTO;
}

/* The body of a refusal, as long as its header says. */
static int refused(CURL *h, curl_socket_t fd, const char *head, struct err *e)
{
	char body[HEAD_MAX];
	const char *length = strcasestr(head, "\r\nContent-Length:");
	size_t want = length ? strtoul(length + 17, NULL, 10) : 0, n = 0;
	struct client_reply reply = {.body = body};

	while (n < want && n < sizeof(body) - 1) {
		ssize_t got = receive(h, fd, body + n, sizeof(body) - 1 - n);
		if (got <= 0)
			break;
		n += (size_t)got;
	}
	body[n] = '\0';
	reply.len = n;
	sscanf(head, "HTTP/1.1 %u", &reply.status);
	return cloud_refused(&reply, e);
}

static int ask_upgrade(
	const struct cloud_end *end, CURL *h, curl_socket_t fd, const char *path, struct err *e)
{
	cleanup_free char *request = NULL;
	bool token = end->token && !end->socket;
	const char *host = end->socket ? "localhost" : strstr(end->url, "//") + 2;
	char head[HEAD_MAX];
	int n = asprintf(&request,
		"GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\n"
		"Upgrade: polycloud-stream\r\n%s%s%s\r\n",
		path, host, token ? "Authorization: Bearer " : "", token ? end->token : "",
		token ? "\r\n" : "");

	if (n < 0) {
		request = NULL;
		return -ENOMEM;
	}
	int r = send_all(h, fd, request, (size_t)n);
	if (r == 0)
		r = read_head(h, fd, head);
	if (r < 0)
		return err_set(e, ERR_HOST, r, "%.200s: the connection ended before an answer",
			cloud_end_name(end));
	return strncmp(head, "HTTP/1.1 101 ", 13) ? refused(h, fd, head, e) : 0;
}

int cloud_upgrade(const struct cloud_end *end, const char *path, int *ret_fd, struct err *e)
{
	struct transfer t = {.end = end};
	CURL *h = handle_new(&t);
	curl_socket_t fd = CURL_SOCKET_BAD;
	int r = h ? set_url(h, end, path) : -ENOMEM;

	if (r == 0) {
		curl_easy_setopt(h, CURLOPT_CONNECT_ONLY, 1L);
		CURLcode code = curl_easy_perform(h);
		if (code != CURLE_OK)
			r = failed(&t, code, e);
	}
	if (r == 0)
		curl_easy_getinfo(h, CURLINFO_ACTIVESOCKET, &fd);
	if (r == 0)
		r = ask_upgrade(end, h, fd, path, e);
	if (r == 0 && !end->socket)
		r = carried(h, fd, ret_fd);
	else if (r == 0)
		r = (*ret_fd = fcntl(fd, F_DUPFD_CLOEXEC, 3)) < 0 ? -errno : 0;
	if (r < 0 || end->socket)
		curl_easy_cleanup(h);
	return r < 0 ? err_set(e, ERR_HOST, r, "%.200s: %s", cloud_end_name(end),
			       strerrordesc_np(-r))
		     : 0;
}
