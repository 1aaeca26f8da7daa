/* SPDX-License-Identifier: Apache-2.0 */
/* A server with a handler that does what the path says, its loop turned by the test itself, and
 * clients on a real unix socket. rig_fini() fails the test when a file descriptor is left over.
 *
 *   /echo    answers "METHOD PATH?QUERY BODY" and, when there are any, " fds=N"
 *   /none    204                  /large   1 MiB of 'x'
 *   /later   keeps the request in r->held      /keep   takes the fds, then as /echo
 *   /stream  begins a stream in r->held */
#ifndef VMM_HTTP_TEST_RIG_H
#define VMM_HTTP_TEST_RIG_H

#include <criterion/criterion.h>
#include <stdio.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "vmm/http/http_internal.h"

#define RIG_HELD  64
#define RIG_LARGE (1u << 20)

struct rig {
	struct ev_loop *loop;
	struct http_server *server;
	struct sockaddr_un addr;
	socklen_t addr_len;
	int listener; /* borrowed from the server */
	struct http_req *held[RIG_HELD];
	unsigned nheld, requests, gone;
	int taken[HTTP_FDS];
	unsigned ntaken;
	char id[64]; /* Last-Event-ID of the last request */
	unsigned fds_before;
};

struct reply {
	unsigned status;
	char *body;
	size_t len; /* of the body */
	char head[1024];
	char text[RIG_LARGE + 2048];
	bool closed; /* the server has closed behind it */
};

void rig_init(struct rig *g);
void rig_fini(struct rig *g);
void rig_turn(struct rig *g, unsigned rounds); /* of the loop */
int rig_connect(struct rig *g);		       /* a non-blocking client */
void rig_echo(struct http_req *r);	       /* answers as /echo */

/* Sends everything, whatever it takes; false when the server has closed. */
bool put(struct rig *g, int fd, const char *text);
bool put_bytes(struct rig *g, int fd, const char *p, size_t n);
/* text and the fds in one sendmsg. */
void put_fds(struct rig *g, int fd, const char *text, const int *fds, unsigned n);
/* One byte-exact answer: nothing of the next one is read. Turns the loop until it is there, for 5 s
 * at most. */
void get(struct rig *g, int fd, struct reply *ret);
/* Fails the test unless such an answer comes. body may be NULL. */
void expect(struct rig *g, int fd, unsigned status, const char *body);
/* The server has closed: what is left is the end. */
bool closed(struct rig *g, int fd);

#endif
