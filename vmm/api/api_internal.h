/* SPDX-License-Identifier: Apache-2.0 */
/* What api.c (life), serve.c (requests and answers) and listen.c (the socket) share. Everything but
 * api.c's own functions runs on the API's thread. */
#ifndef VMM_API_API_INTERNAL_H
#define VMM_API_API_INTERNAL_H

#include <sys/stat.h>
#include "vmm/api/api.h"
#include "vmm/api/http.h"
#include "vmm/api/monitor.h"
#include "vmm/api/routes.h"
#include "vmm/api/stream.h"
#include "vmm/base/list.h"

/* The listening socket. */
struct api_socket {
	int fd;	    /* -1 = none, or the HTTP server's by now */
	char *path; /* of the file that we made; NULL = somebody gave us fd */
	dev_t dev;
	ino_t ino;
};
/* where is the flag's value: "path=FILE", "FILE" or "fd=N" (taken). */
int api_socket_open(const char *where, struct api_socket *ret_socket, struct err *e);
/* Closes, and removes the file if it is still ours. */
void api_socket_close(struct api_socket *s);

struct api {
	struct log *log;
	struct log_limit warned;
	struct ev_thread *thread;
	struct control *control; /* NULL until started */
	struct api_socket socket;
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
