/* SPDX-License-Identifier: Apache-2.0 */
/* See offload_auto.h. A disk is opened here, so that what is wrong with it is said as for any other
 * disk; the process gets the descriptor. */
#include "vmm/offload_auto.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "offload/vu_proxy.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/fd_arg.h"
#include "vmm/base/num.h"
#include "vmm/host.h"
#include "vmm/offload_tell.h"
#include "vmm/supervisor.h"

/* ---- opening what is served ---- */

static bool quotes(const char *s)
{
	return s && strchr(s, '"');
}

static int check_texts(
	const char *flag, const char *id, const char *a, const char *b, struct err *e)
{
	if (!quotes(id) && !quotes(a) && !quotes(b))
		return 0;
	return err_set(e, ERR_USAGE, -EINVAL,
		"%s %s: with offload=auto no text may hold a quotation mark", flag, id);
}

static int open_disk(struct auto_dev *d, const struct disk_config *c, struct err *e)
{
	struct block_opts o = {.path = c->path,
		.fd = -1,
		.readonly = c->readonly,
		.direct = c->direct,
		.flag = "--disk",
		.id = c->id};
	cleanup_fd int fd = -1, probed = -1;
	int r = check_texts("--disk", c->id, c->serial, NULL, e);

	if (r < 0)
		return r;
	if (c->fd >= 0) {
		fd = fd_duplicate("--disk", c->id, c->fd, e);
		probed = fd < 0 ? fd : fd_duplicate("--disk", c->id, c->fd, e);
		if (probed < 0)
			return probed;
		o.fd = probed;
	}
	r = block_open(&o, &d->probe, e);
	if (r < 0)
		return r;
	steal_fd(&probed);
	if (c->path)
		fd = open(c->path, O_CLOEXEC | (c->readonly ? O_RDONLY : O_RDWR));
	if (fd < 0) {
		r = err_set(e, ERR_HOST, -errno, "--disk %s: path=%s: %s", c->id, c->path,
			strerrordesc_np(errno));
		block_free(steal_ptr(&d->probe));
		return r;
	}
	d->fd = steal_fd(&fd);
	d->socket = -1;
	d->open = true;
	return 0;
}

/* The tap is held here, so that it stays in its bridge while nobody serves it. One of several
 * queues would get frames that nobody reads: such a tap the process opens by its name. */
static int open_net(struct auto_dev *d, const struct net_config *c, struct err *e)
{
	cleanup_fd int fd = -1;
	int r = check_texts("--net", c->id, c->tap, c->forward, e);

	if (r < 0)
		return r;
	if (c->fd >= 0)
		r = fd = fd_duplicate("--net", c->id, c->fd, e);
	else if (c->backend == NET_TAP && c->num_queues == 2)
		r = netdev_tap_fds(c->tap, 1, "--net", c->id, &fd, e);
	if (r < 0)
		return r;
	d->fd = steal_fd(&fd);
	d->socket = -1;
	d->open = true;
	return 0;
}

static void close_dev(struct auto_dev *d)
{
	if (!d->open)
		return;
	block_free(steal_ptr(&d->probe));
	cleanup_closep(&d->fd);
	cleanup_closep(&d->socket);
	*d = (struct auto_dev){0};
}

/* Those of c that are not open yet; *ret_new says whether there are any. */
static int open_new(struct host_res *h, const struct vm_config *c, bool *ret_new, struct err *e)
{
	struct offload_auto *a = &h->offload;
	int r = 0;

	for (unsigned i = 0; i < c->ndisks && !r; i++)
		if (c->disk[i].offload && !a->disk[i].open) {
			*ret_new = true;
			r = open_disk(&a->disk[i], &c->disk[i], e);
		}
	for (unsigned i = 0; i < c->nnets && !r; i++)
		if (c->net[i].offload && !a->net[i].open) {
			*ret_new = true;
			r = open_net(&a->net[i], &c->net[i], e);
		}
	return r;
}

/* ---- connecting ---- */

static void disconnect(struct auto_dev *d, struct vu_peer **peer)
{
	if (!d->open)
		return;
	vu_peer_close(steal_ptr(peer));
	cleanup_closep(&d->socket);
	d->socket = -1;
	block_free(steal_ptr(&d->probe));
}

static void disconnect_all(struct host_res *h)
{
	for (unsigned i = 0; i < CONFIG_DISKS; i++)
		disconnect(&h->offload.disk[i], &h->disk_peer[i]);
	for (unsigned i = 0; i < CONFIG_NETS; i++)
		disconnect(&h->offload.net[i], &h->net_peer[i]);
}

/* o is the device's front half. */
static int connect_dev(struct host_res *h, const struct auto_dev *d, struct vu_peer_opts *o,
	struct vu_peer **ret_peer, struct err *e)
{
	char path[40];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", d->socket);
	o->socket = path; /* copied */
	o->called = OFFLOAD_PROGRAM;
	o->retry_ms = 200; /* somebody always listens, and it is the supervisor that is patient */
	o->fd = -1;
	o->log = h->log;
	return vu_peer_open(o, ret_peer, e);
}

static int connect_all(struct host_res *h, const struct vm_config *c, struct err *e)
{
	struct vu_peer_opts o;
	int r = 0;

	for (unsigned i = 0; i < c->ndisks && !r; i++) {
		if (!h->offload.disk[i].open)
			continue;
		host_disk_front(&c->disk[i], &o);
		r = connect_dev(h, &h->offload.disk[i], &o, &h->disk_peer[i], e);
	}
	for (unsigned i = 0; i < c->nnets && !r; i++) {
		if (!h->offload.net[i].open)
			continue;
		host_net_front(&c->net[i], &o);
		r = connect_dev(h, &h->offload.net[i], &o, &h->net_peer[i], e);
	}
	return r;
}

/* What the process said before it ended is why nobody could connect. */
static int explain(struct offload_auto *a, int r, const struct err *connecting, struct err *e)
{
	const struct timespec pause = {.tv_nsec = 10 * 1000 * 1000};
	struct supervisor_status st = {0};

	for (int tries = 0; tries < 20; tries++, nanosleep(&pause, NULL))
		if (supervisor_status(a->supervisor, &st) < 0 || !st.pid)
			break;
	if (st.pid)
		return err_set(e, connecting->kind, r, "%s", connecting->text);
	if (*st.said)
		return err_set(e, ERR_HOST, r, "offload=auto: %s", st.said);
	if (WIFSIGNALED(st.wait_status))
		return err_set(e, ERR_HOST, r,
			"offload=auto: " OFFLOAD_PROGRAM " was killed by signal %d",
			WTERMSIG(st.wait_status));
	return err_set(e, ERR_HOST, r, "offload=auto: " OFFLOAD_PROGRAM " ended with status %d",
		WEXITSTATUS(st.wait_status));
}

/* ---- serving ---- */

static int start(struct host_res *h, const struct vm_config *c, struct err *e)
{
	struct telling t = {0};

	offload_tell(&h->offload, c, &t);
	const struct supervisor_program p = {.argv = (const char *const *)t.word,
		.fd = t.fd,
		.nfds = t.nfds,
		.reopen = t.reopen};
	int r = t.r;
	if (!r)
		r = supervisor_serve(h->offload.supervisor, &p, e);
	offload_told(&t);
	return r;
}

/* All devices of c that are open, anew. */
static int serve(struct host_res *h, const struct vm_config *c, struct err *e)
{
	struct offload_auto *a = &h->offload;
	struct supervisor_status st;
	struct err connecting = {0};

	disconnect_all(h);
	if (a->serving)
		supervisor_stop(a->supervisor);
	a->serving = true;
	int r = start(h, c, e);
	if (!r) {
		r = connect_all(h, c, &connecting);
		if (r < 0)
			r = explain(a, r, &connecting, e);
	}
	if (!r)
		r = supervisor_keep(a->supervisor);
	if (!r)
		r = supervisor_status(a->supervisor, &st);
	if (!r)
		a->pid = st.pid;
	return r;
}

/* Forgets what was not served before. */
static void take_back(struct host_res *h, const struct offload_auto *before, bool touched)
{
	if (touched)
		disconnect_all(h);
	for (unsigned i = 0; i < CONFIG_DISKS; i++)
		if (!before->disk[i].open)
			close_dev(&h->offload.disk[i]);
	for (unsigned i = 0; i < CONFIG_NETS; i++)
		if (!before->net[i].open)
			close_dev(&h->offload.net[i]);
}

int offload_auto_open(struct host_res *h, const struct vm_config *c, struct err *e)
{
	struct offload_auto *a = &h->offload;
	const struct offload_auto before = *a;
	struct err again = {0};
	bool more = false;

	if (!vm_config_offload_auto(c))
		return 0;
	if (!a->supervisor)
		return err_set(e, ERR_UNOFFERED, -EOPNOTSUPP,
			"offload=auto: this polyvisor was started without a supervisor");
	int r = open_new(h, c, &more, e);
	bool touched = !r && more;
	if (touched)
		r = serve(h, c, e);
	if (r >= 0)
		return 0;
	err_set(e, ERR_HOST, r, "offload=auto: %s", strerrordesc_np(-r));
	take_back(h, &before, touched);
	if (!before.serving)
		offload_auto_close(h);
	else if (touched && serve(h, c, &again) < 0)
		log_line(h->log, LOG_ERROR, "vmm", "%s", again.text);
	return r;
}

void offload_auto_close(struct host_res *h)
{
	struct offload_auto *a = &h->offload;

	if (!a->serving && !a->supervisor)
		return;
	if (a->serving)
		supervisor_stop(a->supervisor);
	if (a->serving && a->api_path)
		unlink(a->api_path); /* of one that had to be killed */
	for (unsigned i = 0; i < CONFIG_DISKS; i++)
		close_dev(&a->disk[i]);
	for (unsigned i = 0; i < CONFIG_NETS; i++)
		close_dev(&a->net[i]);
	a->serving = false;
	a->pid = 0;
	a->restarts = 0;
}
