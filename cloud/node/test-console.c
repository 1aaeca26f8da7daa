/* SPDX-License-Identifier: Apache-2.0 */
/* What the guest says reaches the log and every reader, what readers type reaches the guest, and
 * neither a slow reader nor a guest that does not listen holds anybody else up. Of the node there
 * is only what a console asks of it; the VMM is a socket of the test. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "cloud/node/file.h"
#include "cloud/node/node_priv.h"
#include "cloud/node/test_rig.h"

struct fake {
	struct rig rig;
	struct node node;
	struct instance in;
	int vm, listener, fd; /* the VMM's folder, its socket, and the node's connection */
};

/* ---- the node, as far as a console sees it ---- */

void instance_dirty(struct instance *in)
{
}

unsigned request_number(const struct link_req *r, const char *key, unsigned otherwise)
{
	return r->query ? (unsigned)atoi(strchr(r->query, '=') + 1) : otherwise;
}

static void on_request(struct rig *g, struct link_req *r)
{
	struct fake *f = g->arg;

	if (strcmp(r->path, "/log") == 0)
		console_log(&f->in, r);
	else
		console_open(&f->in, r);
}

static void vmm_start(struct fake *f)
{
	f->listener = file_listen(f->vm, "console");
	cr_assert(f->listener >= 0);
	f->in.console.retry_ns = 0;
	console_connect(&f->in);
	f->fd = accept(f->listener, NULL, NULL);
	cr_assert(f->fd >= 0);
}

static void vmm_stop(struct fake *f)
{
	close(f->fd);
	close(f->listener);
}

static void start(struct fake *f)
{
	memset(f, 0, sizeof(*f));
	rig_start(&f->rig, on_request, f);
	f->node.loop = f->rig.loop;
	f->in.node = &f->node;
	f->in.dir = f->in.run = f->rig.dir;
	f->vm = file_open_folder(f->rig.dir, "vm", 0700);
	cr_assert(f->vm >= 0);
	console_init(&f->in);
	vmm_start(f);
}

static void stop(struct fake *f)
{
	vmm_stop(f);
	rig_unlink(&f->rig);
	console_fini(&f->in);
	close(f->vm);
	rig_stop(&f->rig);
}

static void guest_says(struct fake *f, const char *text)
{
	cr_assert_eq(send(f->fd, text, strlen(text), 0), (ssize_t)strlen(text));
	rig_rounds(&f->rig, 20);
}

Test(console, every_reader_gets_what_was_and_what_comes)
{
	struct fake f;
	static struct got one, two;
	char buf[64] = "";

	start(&f);
	guest_says(&f, "login: ");
	rig_open(&f.rig, &one, "POST", "/console");
	rig_rounds(&f.rig, 20);
	guest_says(&f, "root\n");
	rig_open(&f.rig, &two, "POST", "/console");
	rig_rounds(&f.rig, 20);
	guest_says(&f, "# ");
	cr_expect_str_eq(one.bytes, "login: root\n# ");
	cr_expect_str_eq(two.bytes, "login: root\n# ");
	cr_assert(rig_send(&two, "ls\n", 3));
	rig_rounds(&f.rig, 20);
	cr_assert_eq(recv(f.fd, buf, sizeof(buf), MSG_DONTWAIT), 3);
	cr_expect_str_eq(buf, "ls\n");
	stop(&f);
}

Test(console, the_log_outlives_the_guest_and_the_node)
{
	struct fake f;
	static struct got t;

	start(&f);
	cr_assert_eq(send(f.fd, "panic: at the disco\n", 20, 0), 20);
	vmm_stop(&f);
	console_end(&f.in); /* what it said last is still taken */
	console_fini(&f.in);
	console_init(&f.in);
	rig_open(&f.rig, &t, "GET", "/log");
	link_stream_end(t.s);
	cr_assert(rig_closed(&t));
	cr_expect_str_eq(t.bytes, "panic: at the disco\n");
	rig_open(&f.rig, &t, "GET", "/log?tail=6");
	link_stream_end(t.s);
	cr_assert(rig_closed(&t));
	cr_expect_str_eq(t.bytes, "disco\n");
	vmm_start(&f);
	rig_open(&f.rig, &t, "POST", "/console");
	rig_rounds(&f.rig, 20);
	guest_says(&f, "again\n");
	cr_expect_str_eq(t.bytes, "panic: at the disco\nagain\n");
	stop(&f);
}

Test(console, the_log_is_bounded_and_a_slow_reader_is_cut_off)
{
	struct fake f;
	static struct got slow, quick;
	static char line[65];
	struct stat st;

	start(&f);
	rig_open(&f.rig, &slow, "POST", "/console");
	slow.hold = true;
	rig_open(&f.rig, &quick, "POST", "/console");
	rig_rounds(&f.rig, 20);
	memset(line, 'z', 64);
	for (unsigned i = 0; i < 3u << 20;) {
		ssize_t n = send(f.fd, line, 64, MSG_DONTWAIT);

		ev_run_once(f.rig.loop, 0);
		i += n > 0 ? (unsigned)n : 0;
	}
	rig_rounds(&f.rig, 100);
	cr_expect(slow.closed);
	cr_expect(!quick.closed);
	cr_expect_eq(quick.len, 3u << 20);
	cr_assert_eq(fstatat(f.rig.dir, "console.log", &st, 0), 0);
	cr_expect_leq(st.st_size, 1 << 20);
	cr_expect_geq(st.st_size, 512 << 10);
	stop(&f);
}

Test(console, a_guest_that_does_not_listen_holds_up_who_types_only)
{
	struct fake f;
	static struct got t;
	static char text[32 << 10];
	bool all = true;

	start(&f);
	rig_open(&f.rig, &t, "POST", "/console");
	rig_rounds(&f.rig, 20);
	for (unsigned i = 0; i < 64 && all; i++) {
		all = link_stream_write(t.s, text, sizeof(text)) >= 0;
		rig_rounds(&f.rig, 20);
	}
	cr_expect(!all, "the window is shut");
	guest_says(&f, "busy\n");
	cr_expect_str_eq(t.bytes, "busy\n");
	/* It ends: what was typed for it is no other's, and typing goes on. */
	vmm_stop(&f);
	rig_rounds(&f.rig, 50);
	vmm_start(&f);
	rig_rounds(&f.rig, 50);
	cr_expect(link_stream_write(t.s, "hello", 5) >= 0);
	stop(&f);
}
