/* SPDX-License-Identifier: Apache-2.0 */
/* What api.c (life) and serve.c (requests and answers) share. Everything but api.c's own functions
 * runs on the API's thread. */
#ifndef VMM_API_API_INTERNAL_H
#define VMM_API_API_INTERNAL_H

#include "vmm/api/api.h"
#include "vmm/api/monitor.h"
#include "vmm/api/routes.h"
#include "vmm/api/stream.h"
#include "vmm/base/list.h"
#include "vmm/http/http.h"
#include "vmm/http/listen.h"

struct api {
	struct log *log;
	struct log_limit warned;
	struct ev_thread *thread;
	struct control *control; /* NULL until started */
	struct http_socket socket;
	struct http_server *http; /* NULL: nobody can ask */
	struct stream *stream;
	struct monitor *monitor; /* NULL: nobody listens */
	struct list calls;	 /* struct call: what control has not answered yet */
	uint64_t began_ns;
};

/* For http_handler. */
void api_request(struct http_req *r, void *api);
/* Answers every call that control has not, and never will. Control has ended. */
void api_answer_rest(struct api *a);

#endif
