/* SPDX-License-Identifier: Apache-2.0 */
/* An instance's serial console and its ports, from anywhere: streams that polycloud hands on to the
 * instance's node. */
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "tools/polyctl/cloud.h"
#include "tools/polyctl/console.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"

#define PIPE_SIZE 65536

static int open_stream(struct call *c, const char *path, int *ret_fd, struct err *e)
{
	cleanup_free char *full = NULL;
	unsigned used;
	int r = cloud_begin(c, e);

	if (r == 0)
		r = cloud_path(c, path, c->word, 1, &used, &full, e);
	if (r == 0)
		r = cloud_upgrade(c->end, full, ret_fd, e);
	return r;
}

int run_cloud_console(struct call *c, struct err *e)
{
	cleanup_fd int fd = -1;
	int r = open_stream(c, "/v1/instances/{name}/console", &fd, e);

	if (r == 0)
		r = console_attach(c->word[0], fd, c->err);
	cloud_done(c);
	return r < 0 ? err_set(e, ERR_HOST, r, "cannot attach: %s", strerrordesc_np(-r)) : 0;
}

/* ---- tunnel ---- */

/* One direction. What was read is held until the other side takes it. */
struct half {
	int from, to;
	size_t at, n;
	bool eof;
	char buf[PIPE_SIZE];
};

static bool again(void)
{
	return errno == EAGAIN || errno == EINTR;
}

static void half_read(struct half *h)
{
	ssize_t n = read(h->from, h->buf, sizeof(h->buf));

	if (n < 0 && again())
		return;
	h->eof = n <= 0;
	h->at = 0;
	h->n = n > 0 ? (size_t)n : 0;
	if (h->eof)
		shutdown(h->to, SHUT_WR); /* a pipe's reader learns of it when we end */
}

static int half_write(struct half *h)
{
	ssize_t n = write(h->to, h->buf + h->at, h->n - h->at);

	if (n < 0)
		return again() ? 0 : -errno;
	h->at += (size_t)n;
	if (h->at == h->n)
		h->at = h->n = 0;
	return 0;
}

/* Until the far side ends, or nobody reads what comes from it. */
static int carry(struct half *out, struct half *in)
{
	int r = 0;

	while (r == 0 && !(in->eof && !in->n)) {
		struct half *halves[] = {out, in};
		struct pollfd p[4];

		for (unsigned i = 0; i < 2; i++) {
			struct half *h = halves[i];
			p[2 * i] = (struct pollfd){h->eof || h->n ? -1 : h->from, POLLIN, 0};
			p[2 * i + 1] = (struct pollfd){h->n ? h->to : -1, POLLOUT, 0};
		}
		if (poll(p, 4, -1) < 0)
			continue;
		for (unsigned i = 0; r == 0 && i < 2; i++) {
			if (p[2 * i].revents)
				half_read(halves[i]);
			if (r == 0 && p[2 * i + 1].revents)
				r = half_write(halves[i]);
		}
	}
	return r;
}

int run_tunnel(struct call *c, struct err *e)
{
	cleanup_free struct half *halves = calloc(2, sizeof(*halves));
	char path[80];
	uint64_t port;
	cleanup_fd int fd = -1;

	if (num_parse(c->word[1], &port) < 0 || port < 1 || port > 65535)
		return err_set(e, ERR_USAGE, -EINVAL,
			"port \"%.64s\" is not allowed; give 1 to 65535", c->word[1]);
	snprintf(path, sizeof(path), "/v1/instances/{name}/tunnel?port=%u", (unsigned)port);
	int r = halves ? open_stream(c, path, &fd, e) : -ENOMEM;
	if (r == 0) {
		signal(SIGPIPE, SIG_IGN);
		halves[0].from = STDIN_FILENO;
		halves[0].to = halves[1].from = fd;
		halves[1].to = STDOUT_FILENO;
		r = carry(&halves[0], &halves[1]);
		r = r == -EPIPE || r == -ECONNRESET ? 0 : r;
	}
	cloud_done(c);
	return r < 0 ? err_set(e, ERR_HOST, r, "tunnel: %s", strerrordesc_np(-r)) : 0;
}
