/* SPDX-License-Identifier: Apache-2.0 */
/* From a request to its answer. What control has to say goes as a struct call, which holds the
 * command and remembers the request; a client waits for its answer before it may ask again, so
 * there is at most one call for each. */
#include <stdlib.h>
#include <string.h>
#include "vmm/api/api_internal.h"
#include "vmm/api/metrics.h"
#include "vmm/api/openapi.h"
#include "vmm/api/v1.h"
#include "vmm/base/cleanup.h"
#include "vmm/http/answer.h"
#include "vmm/http/body.h"
#include "vmm/version.h"

struct call {
	struct vm_cmd cmd;
	struct api *api;
	const struct route *route;
	struct http_req *req;
	struct vm_info *info; /* metrics: of the first of two questions */
	struct list link;
};

/* ---- answers ---- */

static void reply_err(struct http_req *r, struct err *e, int code)
{
	if (e->kind == ERR_NONE)
		err_set(e, ERR_HOST, code, "%s", strerrordesc_np(-code));
	v1_words(e);
	http_answer_err(r, e, code);
}

static void reply_ping(struct http_req *r)
{
	http_answer_json(r, json_pack("{s:s, s:s, s:i, s:[s]}", "build_version",
				    "v" POLYVISOR_VERSION "-" POLYVISOR_COMMIT, "version",
				    POLYVISOR_VERSION, "pid", (int)getpid(), "features", "kvm"));
}

static void reply_device(struct http_req *r, const struct vm_cmd *cmd)
{
	json_t *state = json_loads(cmd->dump ? cmd->dump : "", 0, NULL);

	http_answer_json(r, json_pack("{s:s, s:I, s:o}", "id", cmd->id, "pause_us",
				    (json_int_t)(cmd->pause_ns / 1000), "state", state));
}

static void reply_metrics(struct call *c)
{
	struct api *a = c->api;
	const struct metrics m = {
		.info = c->info,
		.counters = c->cmd.counters,
		.uptime_ns = ev_now_ns() - a->began_ns,
		.clients = http_clients(a->http),
	};
	size_t len = 0;
	char *text = metrics_text(&m, &len);

	http_answer_text(c->req, METRICS_TYPE, text, len);
}

/* ---- commands ---- */

static void call_free(struct call *c)
{
	struct vm_cmd *cmd = &c->cmd;

	list_del(&c->link);
	if (cmd->config)
		vm_config_fini(cmd->config);
	free(cmd->config);
	free(cmd->path);
	free(cmd->dump);
	free(cmd->counters);
	vm_info_free(cmd->info);
	vm_info_free(c->info);
	free(c);
}

static void submit(struct call *c, enum vm_op op)
{
	c->cmd.op = op;
	c->cmd.result = 0;
	c->cmd.err = (struct err){0};
	control_submit(c->api->control, &c->cmd);
}

/* Several calls are one command ("vm.add: …"): the client is told the name of its own. */
static void name_call(const struct route *route, struct err *e)
{
	const char *op = control_op_name(route->op);
	size_t n = strlen(op);
	char text[sizeof(e->text)];

	if (route->kind != ROUTE_COMMAND || strncmp(e->text, op, n) || e->text[n] != ':')
		return;
	snprintf(text, sizeof(text), "%.32s%.280s", route->name, e->text + n);
	memcpy(e->text, text, sizeof(text));
}

static void reply_command(struct call *c)
{
	struct vm_cmd *cmd = &c->cmd;

	if (cmd->result < 0) {
		name_call(c->route, &cmd->err);
		reply_err(c->req, &cmd->err, cmd->result);
		return;
	}
	switch (c->route->reply) {
	case REPLY_INFO:
		http_answer_json(c->req, v1_info_json(cmd->info));
		break;
	case REPLY_COUNTERS:
		http_answer_json(c->req, v1_counters_json(cmd->counters));
		break;
	case REPLY_DEVICES:
		http_answer_json(c->req, v1_devices_json(cmd->info));
		break;
	case REPLY_DEVICE:
		reply_device(c->req, cmd);
		break;
	default:
		http_reply(c->req, 204, NULL, NULL, 0);
	}
}

static void on_done(struct vm_cmd *cmd)
{
	struct call *c = container_of(cmd, struct call, cmd);

	if (c->route->kind != ROUTE_METRICS) {
		reply_command(c);
	} else if (cmd->op == VM_INFO) {
		c->info = steal_ptr(&cmd->info); /* NULL when there is no machine */
		submit(c, VM_COUNTERS);
		return;
	} else {
		reply_metrics(c);
	}
	call_free(c);
}

void api_answer_rest(struct api *a)
{
	list_for_each_safe (it, &a->calls) {
		struct call *c = container_of(it, struct call, link);

		http_answer_error(c->req, 500, NULL, "the process is ending");
		call_free(c);
	}
}

/* ---- bodies ---- */

struct warned {
	struct api *api;
	const char *name;
};

static void warn(void *arg, const char *path)
{
	const struct warned *w = arg;

	log_limited(w->api->log, &w->api->warned, LOG_WARN, "api",
		"%s: %s has no effect here, and is ignored", w->name, path);
}

static int read_config(struct call *c, const json_t *o, const struct opts_json *how, struct err *e)
{
	const struct route *route = c->route;
	struct http_req *r = c->req;
	struct vm_config *config;
	int result;

	/* Descriptors stay the request's: control has its own copies by the time of the answer. */
	if (r->nfds > 1)
		return err_set(e, ERR_USAGE, -EINVAL,
			"%s: %u file descriptors came; one is offered (a tap with one pair of queues)",
			route->name, r->nfds);
	config = malloc(sizeof(*config));
	if (!config)
		return -ENOMEM;
	result = route->body == BODY_CONFIG
			 ? v1_config(o, how, config, e)
			 : v1_part(o, route->part, r->nfds ? r->fds[0] : -1, how, config, e);
	if (result < 0)
		free(config);
	else
		c->cmd.config = config;
	return result;
}

static int read_body(struct call *c, struct err *e)
{
	const struct route *route = c->route;
	struct warned w = {c->api, route->name};
	const struct opts_json how = {.strict = route->ours, .warn = warn, .arg = &w};
	json_t *o;
	int r;

	if (route->body == BODY_NONE)
		return 0;
	r = http_body_json(c->req->body, c->req->len, &o, e);
	if (r < 0)
		return r;
	r = route->body == BODY_TABLE ? v1_destination(o, &how, &c->cmd.path, e)
				      : read_config(c, o, &how, e);
	json_decref(o);
	return r;
}

/* ---- requests ---- */

static int check_request(const struct route *route, const struct http_req *r, struct err *e)
{
	if (r->nfds > route->max_fds)
		return err_set(e, ERR_USAGE, -EINVAL,
			route->max_fds ? "%s: this call takes at most one file descriptor"
				       : "%s: this call takes no file descriptors",
			route->name);
	if (route->ours && *r->query)
		return err_set(e, ERR_USAGE, -EINVAL, "%s: this call takes no query, \"%.64s\"",
			route->name, r->query);
	if (route->body == BODY_NONE && route->kind != ROUTE_UNOFFERED && r->len)
		return err_set(e, ERR_USAGE, -EINVAL, "%s: this call takes no body", route->name);
	return 0;
}

static void begin_call(struct api *a, const struct route *route, struct http_req *r, const char *id)
{
	struct call *c = calloc(1, sizeof(*c));
	struct err e = {0};
	int result;

	if (!c) {
		http_answer_error(r, 500, NULL, "out of memory");
		return;
	}
	c->api = a;
	c->route = route;
	c->req = r;
	c->cmd.done = on_done;
	c->cmd.reply_to = ev_thread_loop(a->thread);
	snprintf(c->cmd.id, sizeof(c->cmd.id), "%s", id);
	list_init(&c->link);
	result = read_body(c, &e);
	if (result < 0) {
		reply_err(r, &e, result);
		call_free(c);
		return;
	}
	list_add(&a->calls, &c->link);
	submit(c, route->kind == ROUTE_METRICS ? VM_INFO : route->op);
}

static void serve(struct api *a, const struct route *route, struct http_req *r, const char *id)
{
	char text[128];

	switch (route->kind) {
	case ROUTE_COMMAND:
	case ROUTE_METRICS:
		begin_call(a, route, r, id);
		break;
	case ROUTE_PING:
		reply_ping(r);
		break;
	case ROUTE_EVENTS:
		stream_open(a->stream, r);
		break;
	case ROUTE_OPENAPI:
		http_answer_json(r, openapi_json());
		break;
	case ROUTE_UNOFFERED:
		snprintf(text, sizeof(text), "%s: not offered yet", route->name);
		http_answer_error(r, 501, NULL, text);
		break;
	}
}

void api_request(struct http_req *r, void *arg)
{
	const struct route *route;
	char id[32], allow[32];
	struct err e = {0};
	unsigned status = route_find(r->method, r->path, &route, id, allow, &e);

	if (status != 200) {
		http_answer_error(r, status, status == 405 ? allow : NULL, e.text);
		return;
	}
	int result = check_request(route, r, &e);
	if (result < 0)
		reply_err(r, &e, result);
	else
		serve(arg, route, r, id);
}
