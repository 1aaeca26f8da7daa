/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "cloud/control/auth.h"
#include "cloud/control/cert.h"
#include "cloud/control/control.h"
#include "cloud/control/daemon.h"
#include "cloud/control/listen.h"
#include "cloud/control/meta.h"
#include "cloud/control/nodes.h"
#include "cloud/control/reconcile.h"
#include "cloud/control/resources.h"
#include "cloud/control/server.h"
#include "cloud/control/stream.h"
#include "cloud/image/image.h"
#include "vmm/base/cleanup.h"
#include "vmm/http/listen.h"

struct daemon {
	struct control c;
	struct http_socket socket;
	struct cert cert;
	char url[300];
	int lock;
	bool tcp;
};

void database_path(const char *data, char *ret_path, size_t cap)
{
	snprintf(ret_path, cap, "%s/state.db", data);
}

static int open_state(struct daemon *d, struct err *e)
{
	struct control *c = &d->c;
	char path[4096];
	int r;

	r = folder_open(c->data, "--data", &d->lock, e);
	database_path(c->data, path, sizeof(path));
	if (r == 0)
		r = store_open(path, &c->store, e);
	if (r == 0)
		r = objects_new(c->store, &c->objects, e);
	if (r == 0)
		r = resources_init(c, e);
	if (r == 0)
		r = images_new(c->loop, c->log, c->objects, c->data, &c->images, e);
	if (r == 0)
		r = reconciler_new(c, &c->reconciler);
	return r < 0 ? r : nodes_new(c, &c->nodes);
}

static int open_server(struct daemon *d, const struct daemon_opts *o, struct err *e)
{
	const struct route_table tables[] = {{meta_routes, meta_nroutes},
		{session_routes, session_nroutes}, {event_routes, event_nroutes},
		{audit_routes, audit_nroutes}, {resources_routes, resources_nroutes},
		{image_routes, image_nroutes}, {nodes_routes, nodes_nroutes},
		{stream_routes, stream_nroutes}, {schedule_routes, schedule_nroutes},
		{diagnose_routes, diagnose_nroutes}, {NULL, 0}};
	struct server_opts s = {.unix_fd = -1, .tcp_fd = -1};
	cleanup_fd int tcp = -1;
	char host[256] = "";
	int r = 0;

	if (o->listen)
		r = listen_tcp(o->listen, &tcp, host, d->url, sizeof(d->url), e);
	if (r == 0 && o->listen)
		r = cert_open(o->data, host, &d->cert, e);
	if (r == 0)
		r = http_socket_open("--socket", o->socket, &d->socket, e);
	if (r < 0)
		return r;
	if (o->listen) {
		d->tcp = true;
		if (o->url)
			snprintf(d->url, sizeof(d->url), "%s", o->url);
		s = (struct server_opts){.cert = d->cert.pem,
			.key = d->cert.key,
			.url = d->url,
			.pinned = d->cert.fingerprint};
	}
	s.unix_fd = steal_fd(&d->socket.fd);
	s.tcp_fd = steal_fd(&tcp);
	return server_new(&d->c, tables, &s, &d->c.server, e);
}

int daemon_new(struct ev_loop *loop, const struct daemon_opts *o, struct daemon **ret_daemon,
	struct err *e)
{
	struct daemon *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return -ENOMEM;
	d->lock = d->socket.fd = -1;
	d->c = (struct control){.loop = loop, .log = o->log, .data = o->data};
	r = open_state(d, e);
	if (r == 0)
		r = open_server(d, o, e);
	if (r < 0) {
		daemon_free(d);
		return err_set(e, ERR_HOST, r, "cannot start: %s", strerrordesc_np(-r));
	}
	*ret_daemon = d;
	return 0;
}

void daemon_free(struct daemon *d)
{
	if (!d)
		return;
	/* Links first: their ends answer calls that the server still holds. */
	nodes_free(d->c.nodes);
	server_free(d->c.server);
	reconciler_free(d->c.reconciler);
	images_free(d->c.images);
	objects_free(d->c.objects);
	store_close(d->c.store);
	http_socket_close(&d->socket);
	cert_fini(&d->cert);
	if (d->lock >= 0)
		close(d->lock);
	free(d);
}

int daemon_attach(struct daemon *d, struct link_wire *w, const char *name)
{
	return nodes_attach(d->c.nodes, w, name);
}

const char *daemon_url(const struct daemon *d)
{
	return d->tcp ? d->url : NULL;
}

const char *daemon_fingerprint(const struct daemon *d)
{
	return d->tcp ? d->cert.fingerprint : NULL;
}
