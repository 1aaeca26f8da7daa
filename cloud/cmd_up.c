/* SPDX-License-Identifier: Apache-2.0 */
/* polycloud up and polycloud control: the same control plane; up has a node beside it, which it
 * knows by the two ends of a socket pair. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "cloud/control/daemon.h"
#include "cloud/node/node.h"
#include "cloud/program.h"

#define COMMON                                                                                     \
	"  --data DIR          default: /var/lib/polycloud, or ~/.local/share/polycloud\n"         \
	"  --socket PATH       of the API; default: /run/polycloud.sock, or\n"                     \
	"                      $XDG_RUNTIME_DIR/polycloud.sock\n"                                  \
	"  --listen ADDR:PORT  the API also with TLS and tokens, for other hosts and browsers\n"   \
	"  --url URL           how they reach it, where ADDR does not say it\n"                    \
	"  -v, --verbose       more log\n"

const char up_help[] =
	"Usage: polycloud up [FLAG…]\n\n"
	"The control plane and this machine as its first host, in one process. SIGTERM ends it and\n"
	"leaves the instances running; the next start finds them again.\n\n" COMMON
	"  --name NAME         of this host; default: its hostname\n"
	"  --bin DIR           of polyvisor and polyvisor-offload; default: beside this, or $PATH\n"
	"  --shared-uid        run everything as this user although it is root\n";
const char control_help[] =
	"Usage: polycloud control [FLAG…]\n\n"
	"The control plane; hosts join it by: polycloud node --token-file FILE\n\n" COMMON;

struct args {
	const char *data, *socket, *listen, *url, *name, *bin;
	int verbose, shared;
	char data_buf[PATH_MAX], socket_buf[PATH_MAX];
};

static int parse(struct args *a, int argc, char **argv, bool up, struct err *e)
{
	const struct flag flags[] = {{"--data", &a->data}, {"--socket", &a->socket},
		{"--listen", &a->listen}, {"--url", &a->url}, {"--verbose", .count = &a->verbose},
		{"-v", .count = &a->verbose}, {up ? "--name" : NULL, &a->name}, {"--bin", &a->bin},
		{"--shared-uid", .count = &a->shared}, {NULL}};
	int r = flags_parse(argc, argv, flags, NULL, 0, "", e);

	if (r == 0 && a->url && !a->listen)
		r = err_set(e, ERR_USAGE, -EINVAL, "--url: there is no --listen");
	if (!a->data)
		a->data = default_data(a->data_buf, sizeof(a->data_buf));
	if (!a->socket)
		a->socket = default_socket(a->socket_buf, sizeof(a->socket_buf));
	return r;
}

/* The node's end of the pair has gone: only when we end. */
static void on_gone(const char *why, void *arg)
{
	log_line(arg, LOG_ERROR, "up", "the node in this process has gone: %s", why);
}

static int join(struct process *p, struct daemon *d, struct node *n)
{
	const char *name = json_string_value(json_object_get(node_facts(n), "name"));
	struct link_wire *w;
	int pair[2], r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return -errno;
	w = link_wire_socket(pair[0]);
	r = w ? node_attach(n, w, on_gone, &p->log) : -ENOMEM;
	w = link_wire_socket(pair[1]);
	if (r < 0 || !w) {
		if (w)
			w->free(w);
		return r < 0 ? r : -ENOMEM;
	}
	return daemon_attach(d, w, name ? name : "localhost");
}

static void say_ready(const struct args *a, const struct daemon *d, bool up)
{
	char standard[PATH_MAX];
	bool usual = !strcmp(a->socket, default_socket(standard, sizeof(standard)));

	printf("polycloud %s is ready\n  data    %s\n  socket  %s\n", up ? "up" : "control",
		a->data, a->socket);
	if (daemon_url(d))
		printf("  https   %s\n  SHA-256 %s\n", daemon_url(d), daemon_fingerprint(d));
	if (!usual)
		printf("first     export POLYCLOUD_SOCKET=%s\n", a->socket);
	printf("then      polyctl host list\n"
	       "          polyctl image build debian\n"
	       "          polyctl instance create first --image debian && polyctl ssh first\n");
	if (!up && daemon_url(d))
		printf("hosts     polyctl token create HOST --role node --file HOST.token\n"
		       "          and there: polycloud node --token-file HOST.token\n");
	fflush(stdout);
}

static int start(struct process *p, const struct args *a, bool up, struct daemon **ret_daemon,
	struct node **ret_node, struct err *e)
{
	int r;

	r = daemon_new(p->loop,
		&(struct daemon_opts){.data = a->data,
			.socket = a->socket,
			.listen = a->listen,
			.url = a->url,
			.log = &p->log},
		ret_daemon, e);
	if (r < 0 || !up)
		return r;
	r = node_new(p->loop,
		&(struct node_opts){.data = a->data,
			.bin = a->bin,
			.name = a->name,
			.shared_uid = a->shared,
			.log = &p->log},
		ret_node, e);
	return r < 0 ? r : join(p, *ret_daemon, *ret_node);
}

static int serve(int argc, char **argv, bool up)
{
	struct args a = {0};
	struct process p = {0};
	struct daemon *d = NULL;
	struct node *n = NULL;
	struct err e = {0};
	int r = parse(&a, argc, argv, up, &e);

	if (r < 0)
		return failed(&e, r);
	r = process_init(&p, a.verbose, &e);
	if (r == 0)
		r = start(&p, &a, up, &d, &n, &e);
	if (r == 0) {
		say_ready(&a, d, up);
		r = ev_run(p.loop);
	}
	daemon_free(d);
	node_free(n);
	process_fini(&p);
	return r < 0 ? failed(&e, r) : 0;
}

int cmd_up(int argc, char **argv)
{
	return serve(argc, argv, true);
}

int cmd_control(int argc, char **argv)
{
	return serve(argc, argv, false);
}
