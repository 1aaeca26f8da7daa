/* SPDX-License-Identifier: Apache-2.0 */
/* What a user is told when a back-end is not what it should be. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "offload/test_rig.h"
#include "offload/vu_proxy.h"

#define PATH "/tmp/polyvisor-vu_peer.sock"

TestSuite(vu_peer, .timeout = 60);

static void options(struct vu_peer_opts *o, const char *path)
{
	vu_peer_opts_blk(o);
	o->socket = path;
	o->queue_size = 64;
	o->flag = "--disk";
	o->id = "_disk0";
	o->timeout_ms = 300;
}

static void refused(const struct vu_peer_opts *o, const char *says)
{
	struct err e = {0};
	struct vu_peer *p;
	int r = vu_peer_open(o, &p, &e);

	cr_expect_lt(r, 0);
	cr_expect(strstr(e.text, says), "\"%s\" in \"%s\"", says, e.text);
	cr_expect(!strncmp(e.text, "--disk _disk0: ", 15), "%s", e.text);
	cr_expect(!strchr(e.text, '\n'));
	if (r == 0)
		vu_peer_close(p);
}

Test(vu_peer, nobody_there)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = PATH};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	struct vu_peer_opts o;
	char path[200];

	unlink(PATH);
	options(&o, PATH);
	refused(&o, PATH ": no such socket");
	cr_assert_eq(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	refused(&o, "nobody listens there");
	close(fd);
	refused(&o, "left its socket behind");
	unlink(PATH);
	fclose(fopen(PATH, "w"));
	refused(&o, "not a socket");
	unlink(PATH);
	memset(path, 'x', sizeof(path));
	path[199] = 0;
	o.socket = path;
	refused(&o, "longer than 107 bytes");
}

/* Somebody is there; what he says is in the socket before we ask. */
static void stranger(const void *bytes, size_t n, bool leaves, const char *says)
{
	struct vu_peer_opts o;
	int fd[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
	options(&o, NULL);
	o.fd = fd[0];
	cr_assert_eq(write(fd[1], bytes, n), n);
	if (leaves)
		shutdown(fd[1], SHUT_WR);
	refused(&o, says);
	cr_expect_eq(close(fd[0]), 0, "the descriptor is still ours");
	close(fd[1]);
}

Test(vu_peer, somebody_else)
{
	static const char http[] = "HTTP/1.1 400 Bad Request\r\n\r\n";
	static const uint32_t other_reply[] = {VU_GET_QUEUE_NUM, VU_VERSION | VU_REPLY, 8, 1, 0};
	static const uint32_t request[] = {VU_GET_FEATURES, VU_VERSION, 0};
	static const uint32_t short_reply[] = {VU_GET_FEATURES, VU_VERSION | VU_REPLY, 4, 0};
	static const uint32_t no_version_1[] = {VU_GET_FEATURES, VU_VERSION | VU_REPLY, 8, 1 << 30,
		0, VU_GET_PROTOCOL_FEATURES, VU_VERSION | VU_REPLY, 8, 0, 0};
	static const uint32_t no_protocol[] = {VU_GET_FEATURES, VU_VERSION | VU_REPLY, 8, 0, 1};

	stranger("", 0, false, "no answer to GET_FEATURES");
	stranger("", 0, true, "closed the connection at GET_FEATURES");
	stranger(http, sizeof(http), false, "not vhost-user");
	stranger(other_reply, sizeof(other_reply), false, "not asked");
	stranger(request, sizeof(request), false, "GET_FEATURES: a request");
	stranger(short_reply, sizeof(short_reply), false, "GET_FEATURES: wrong size");
	stranger(no_version_1, sizeof(no_version_1), false, "lacks VIRTIO_F_VERSION_1");
	stranger(no_protocol, sizeof(no_protocol), false, "VHOST_USER_PROTOCOL_F_CONFIG");
}

Test(vu_peer, a_back_end_that_lacks_something)
{
	struct vu_peer_opts o;
	struct backend b;

	backend_init(&b);
	options(&o, b.path);
	b.hide = VU_PF(CONFIG);
	refused(&o, "VHOST_USER_PROTOCOL_F_CONFIG");
	b.hide = 0;
	o.queues = 2;
	refused(&o, "it has 1 queues, 2 are wanted");
	b.hide = VU_PF(MQ);
	refused(&o, "VHOST_USER_PROTOCOL_F_MQ");
	o.queues = 1;
	b.hide = 0;
	o.must |= UINT64_C(1) << 50;
	refused(&o, "lacks feature bit 50");
	backend_fini(&b);
}
