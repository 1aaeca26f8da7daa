/* SPDX-License-Identifier: Apache-2.0 */
/* The life of the API's thread. A request takes five hops, none backwards: http.c reads it, serve.c
 * finds its row in routes.c and reads its body into a vm_cmd, control executes that, posts it back,
 * and serve.c writes the answer. Events take the way that replies take. */
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include "vmm/api/api_internal.h"
#include "vmm/base/cleanup.h"

/* A function that somebody else has run on the API's thread, and waits for. */
struct errand {
	struct ev_msg msg;
	int (*run)(struct api *a);
	struct api *api;
	int result;
	sem_t done;
};

static void run_errand(struct ev_msg *m)
{
	struct errand *x = container_of(m, struct errand, msg);

	x->result = x->run(x->api);
	sem_post(&x->done);
}

static int on_thread(struct api *a, int (*run)(struct api *a))
{
	struct errand x = {.msg.handle = run_errand, .run = run, .api = a};

	sem_init(&x.done, 0, 0);
	ev_post(ev_thread_loop(a->thread), &x.msg);
	while (sem_wait(&x.done) < 0)
		;
	sem_destroy(&x.done);
	return x.result;
}

int api_new(const struct api_opts *o, struct api **ret_api, struct err *e)
{
	struct api *a = calloc(1, sizeof(*a));
	int r = 0;

	if (!a)
		return -ENOMEM;
	a->log = o->log;
	a->socket.fd = -1;
	a->began_ns = ev_now_ns();
	list_init(&a->calls);
	if (o->socket)
		r = http_socket_open("--api-socket", o->socket, &a->socket, e);
	if (!r && o->monitor)
		r = monitor_new(o->monitor, &a->monitor, e);
	if (!r && (r = ev_thread_new("api", &a->thread)) < 0)
		err_set(e, ERR_HOST, r, "the API's thread: %s", strerrordesc_np(-r));
	if (r < 0) {
		api_free(a);
		return r;
	}
	*ret_api = a;
	return 0;
}

/* ---- events ---- */

static void on_event(struct ev_msg *m)
{
	struct vm_event *ev = container_of(m, struct vm_event, msg);
	struct api *a = ev->arg;

	if (a->monitor)
		monitor_publish(a->monitor, ev);
	if (a->stream)
		stream_publish(a->stream, ev);
	free(ev);
}

struct vm_events api_events(struct api *a)
{
	return (struct vm_events){.loop = ev_thread_loop(a->thread), .handle = on_event, .arg = a};
}

/* ---- the server ---- */

static void on_stream_gone(struct http_req *r, void *arg)
{
	stream_gone(((struct api *)arg)->stream, r);
}

static int begin(struct api *a)
{
	const struct http_handler handler = {
		.request = api_request, .stream_gone = on_stream_gone, .arg = a};
	struct ev_loop *loop = ev_thread_loop(a->thread);
	int r = stream_new(loop, &a->stream);

	if (!r) /* which takes the socket, whatever comes of it */
		r = http_server_new(loop, steal_fd(&a->socket.fd), &handler, a->log, &a->http);
	return r;
}

int api_start(struct api *a, struct control *c)
{
	a->control = c;
	return a->socket.fd >= 0 ? on_thread(a, begin) : 0;
}

/* What control has posted has been handled by now. */
static int finish(struct api *a)
{
	api_answer_rest(a);
	http_server_free(steal_ptr(&a->http));
	stream_free(steal_ptr(&a->stream));
	return 0;
}

void api_free(struct api *a)
{
	if (!a)
		return;
	if (a->thread && (a->http || a->stream))
		on_thread(a, finish);
	ev_thread_free(a->thread);
	monitor_free(a->monitor);
	http_socket_close(&a->socket);
	free(a);
}
