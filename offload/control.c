/* SPDX-License-Identifier: Apache-2.0 */
/* From a request to its answer. All are answered at once but one: to remove a device its rings must
 * stop, for which the loop turns, so that a removal waits in a list until the loop is left for it.
 */
#include "offload/control_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"
#include "vmm/base/opts_json.h"
#include "vmm/http/answer.h"
#include "vmm/http/body.h"
#include "vmm/http/metrics.h"
#include "vmm/http/path.h"

#define FLAG "--api-socket"
#define API  "/api/v1/"

struct removal {
	struct served *device;
	struct http_req *req;
	struct list link;
};

static const struct opt size_opts[] = {{.name = "size",
	.type = OPT_SIZE,
	.offset = offsetof(struct control_size, size),
	.max = 1024 * 1024 * GIB,
	.required = true,
	.help = "bytes, a multiple of 512, or a text as \"20G\"; 0: what its file has now"}};
const struct opt_table control_size_table = {.help = "the size that a disk shall have",
	.opts = size_opts,
	.n = ARRAY_SIZE(size_opts),
	.size = sizeof(struct control_size)};

/* ---- answers ---- */

/* The command line's flags are fields here. */
static void in_fields(struct err *e)
{
	static const char *const flags[] = {"--device ", "--"};

	for (unsigned i = 0; i < ARRAY_SIZE(flags); i++) {
		size_t n = strlen(flags[i]);

		if (!strncmp(e->text, flags[i], n)) {
			memmove(e->text, e->text + n, strlen(e->text + n) + 1);
			return;
		}
	}
}

static void refuse(struct http_req *r, struct err *e, int code)
{
	if (code == -EEXIST || code == -EADDRINUSE || code == -EBUSY || code == -ENOSPC)
		e->kind = ERR_CONFLICT;
	in_fields(e);
	http_answer_err(r, e, code);
}

/* o is taken; NULL: there was no memory for it. */
static void answer(struct http_req *r, unsigned status, json_t *o)
{
	cleanup_free char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;

	json_decref(o);
	if (text)
		http_reply(r, status, "application/json", text, strlen(text));
	else
		http_answer_error(r, 500, NULL, "out of memory");
}

/* ---- the calls ---- */

static void serve_ping(struct control *c, struct http_req *r, struct served *s, const json_t *o)
{
	http_answer_json(
		r, json_pack("{s:s, s:s, s:i, s:i}", "program", "polyvisor-offload", "version",
			   POLYVISOR_VERSION, "pid", (int)getpid(), "devices", (int)c->set->n));
}

static void serve_list(struct control *c, struct http_req *r, struct served *s, const json_t *o)
{
	http_answer_json(r, control_devices_json(c->set));
}

static void serve_inspect(struct control *c, struct http_req *r, struct served *s, const json_t *o)
{
	http_answer_json(r, control_device_json(s));
}

static void serve_add(struct control *c, struct http_req *r, struct served *s, const json_t *o)
{
	struct served_config config;
	struct err e = {0};
	int result = control_device_config(o, r->nfds ? r->fds[0] : -1, &config, &e);

	if (result == 0) {
		result = served_set_add(c->set, &config, &s, &e);
		served_config_fini(&config);
	}
	if (result < 0) {
		refuse(r, &e, result);
		return;
	}
	log_line(c->set->log, LOG_INFO, served_config(s)->id, "added, at %s",
		served_config(s)->socket);
	answer(r, 201, control_device_json(s));
}

static struct removal *removal_of(struct control *c, const struct served *s)
{
	list_for_each (l, &c->leaving) {
		struct removal *m = container_of(l, struct removal, link);

		if (m->device == s)
			return m;
	}
	return NULL;
}

static void serve_remove(struct control *c, struct http_req *r, struct served *s, const json_t *o)
{
	struct removal *m = calloc(1, sizeof(*m));

	if (!m) {
		http_answer_error(r, 500, NULL, "out of memory");
		return;
	}
	*m = (struct removal){.device = s, .req = r};
	list_add(&c->leaving, &m->link);
	ev_quit(c->set->loop); /* to control_sweep() */
}

static void serve_size(struct control *c, struct http_req *r, struct served *s, const json_t *o)
{
	const struct opts_json how = {.strict = true};
	struct control_size body = {0};
	struct err e = {0};
	int result = opts_from_json(&control_size_table, o, "", &how, &body, &e);

	if (result == 0)
		result = served_resize(s, body.size, &e);
	if (result < 0) {
		refuse(r, &e, result);
		return;
	}
	log_line(c->set->log, LOG_INFO, served_config(s)->id, "has %llu bytes now",
		(unsigned long long)served_size(s));
	http_answer_json(r, control_device_json(s));
}

static void serve_metrics(struct control *c, struct http_req *r, struct served *s, const json_t *o)
{
	size_t len = 0;
	char *text = control_metrics(c, &len);

	http_answer_text(r, METRICS_TYPE, text, len);
}

static void serve_openapi(struct control *c, struct http_req *r, struct served *s, const json_t *o)
{
	http_answer_json(r, control_openapi());
}

const struct control_route control_routes[] = {
	{"GET", API "ping", "ping", "who answers here", .reply = CONTROL_PING, .serve = serve_ping},
	{"GET", API "devices", "devices", "the devices, all of each", .reply = CONTROL_DEVICES,
		.serve = serve_list},
	{"POST", API "devices", "devices.add", "opens a back-end and serves a device with it",
		.body = CONTROL_DEVICE, .reply = CONTROL_ADDED, .max_fds = 1, .serve = serve_add},
	{"GET", API "devices/{id}", "device", "one device", .reply = CONTROL_INSPECTED,
		.serve = serve_inspect},
	{"DELETE", API "devices/{id}", "device.remove",
		"lets its front-end go, and gives everything of the device back",
		.serve = serve_remove},
	{"PUT", API "devices/{id}/size", "device.resize", "gives a disk another size",
		.body = CONTROL_SIZE, .reply = CONTROL_INSPECTED, .serve = serve_size},
	{"GET", "/metrics", "metrics", "counters for Prometheus, text format 0.0.4",
		.reply = CONTROL_METRICS, .serve = serve_metrics},
	{"GET", "/openapi.json", "openapi", "this description", .reply = CONTROL_OPENAPI,
		.serve = serve_openapi},
	{0},
};

/* ---- requests ---- */

static const struct control_route *find_route(const struct http_req *r, char id[32], char allow[64])
{
	size_t n = 0;

	allow[0] = id[0] = '\0';
	for (const struct control_route *t = control_routes; t->path; t++) {
		if (!http_path_matches(t->path, r->path, id))
			continue;
		if (!strcmp(t->method, r->method))
			return t;
		n += (size_t)snprintf(allow + n, 64 - n, "%s%s", n ? ", " : "Allow: ", t->method);
	}
	return NULL;
}

static void no_route(struct http_req *r, const char *allow)
{
	char text[256];

	if (*allow)
		snprintf(text, sizeof(text), "%.100s: %s is not offered; allowed: %s", r->path,
			r->method, allow + strlen("Allow: "));
	else
		snprintf(text, sizeof(text), "%.150s: no such path; GET /openapi.json lists them",
			r->path);
	http_answer_error(r, *allow ? 405 : 404, *allow ? allow : NULL, text);
}

static int check_request(const struct control_route *t, const struct http_req *r, struct err *e)
{
	if (r->nfds > t->max_fds)
		return err_set(e, ERR_USAGE, -EINVAL, "%s: allowed: %u file descriptors, not %u",
			t->name, t->max_fds, r->nfds);
	if (*r->query)
		return err_set(e, ERR_USAGE, -EINVAL, "%s: this call takes no query", t->name);
	if (!t->body && r->len)
		return err_set(e, ERR_USAGE, -EINVAL, "%s: this call takes no body", t->name);
	return 0;
}

static int find_device(struct control *c, const char *id, struct served **ret, struct err *e)
{
	*ret = served_set_find(c->set, id);
	if (!*ret)
		return err_set(e, ERR_NOT_FOUND, -ENOENT, "%s: no device has this id", id);
	if (removal_of(c, *ret))
		return err_set(e, ERR_CONFLICT, -EBUSY, "%s: is being removed", id);
	return 0;
}

static void on_request(struct http_req *r, void *arg)
{
	struct control *c = arg;
	char id[32], allow[64];
	const struct control_route *t = find_route(r, id, allow);
	struct served *s = NULL;
	struct err e = {0};
	json_t *o = NULL;
	int result;

	if (!t) {
		no_route(r, allow);
		return;
	}
	result = check_request(t, r, &e);
	if (result == 0 && *id)
		result = find_device(c, id, &s, &e);
	if (result == 0 && t->body)
		result = http_body_json(r->body, r->len, &o, &e);
	if (result < 0)
		refuse(r, &e, result);
	else
		t->serve(c, r, s, o);
	json_decref(o);
}

static void on_stream_gone(struct http_req *r, void *arg)
{
}

/* ---- life ---- */

int control_open(
	const char *where, struct served_set *set, struct control **ret_control, struct err *e)
{
	struct control *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return -ENOMEM;
	c->set = set;
	c->socket.fd = -1;
	c->began_ns = ev_now_ns();
	list_init(&c->leaving);
	r = http_socket_open(FLAG, where, &c->socket, e);
	if (r < 0) {
		control_close(c);
		return r;
	}
	*ret_control = c;
	return 0;
}

int control_start(struct control *c)
{
	const struct http_handler h = {
		.request = on_request, .stream_gone = on_stream_gone, .arg = c};

	c->set->serving = true;
	return http_server_new(c->set->loop, steal_fd(&c->socket.fd), &h, c->set->log, &c->http);
}

void control_sweep(struct control *c)
{
	while (c && !list_empty(&c->leaving)) {
		struct removal *m = container_of(c->leaving.next, struct removal, link);
		char id[32];

		snprintf(id, sizeof(id), "%s", served_config(m->device)->id);
		served_set_remove(c->set, m->device);
		log_line(c->set->log, LOG_INFO, id, "removed");
		http_reply(m->req, 204, NULL, NULL, 0);
		list_del(&m->link);
		free(m);
	}
}

void control_close(struct control *c)
{
	if (!c)
		return;
	http_server_free(c->http);
	while (!list_empty(&c->leaving)) {
		struct removal *m = container_of(c->leaving.next, struct removal, link);

		list_del(&m->link);
		free(m);
	}
	http_socket_close(&c->socket);
	free(c);
}
