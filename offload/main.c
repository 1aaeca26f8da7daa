/* SPDX-License-Identifier: Apache-2.0 */
/* polyvisor-offload: virtio devices in a process of their own, each behind a vhost-user socket. One
 * loop for sockets and messages, a worker for each queue. Exit status: 0 ended by SIGTERM or
 * SIGINT, 1 our error, 2 usage. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>
#include "offload/control.h"
#include "offload/sandbox.h"
#include "offload/served.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"

struct args {
	struct served_config *device;
	unsigned n;
	const char *api_socket;
	enum sandbox_mode sandbox;
	struct log log;
	bool help, version;
};

/* ---- the command line ---- */

static int add_device(struct args *a, const char *text, struct err *e)
{
	int r;

	if (a->n == SERVED_MAX)
		return err_set(e, ERR_USAGE, -ENOSPC, "--device: allowed: at most %d", SERVED_MAX);
	r = served_parse(text, &a->device[a->n], e);
	if (r == 0)
		a->n++;
	return r;
}

static int add_socket(struct args *a, const char *text, struct err *e)
{
	struct served_config *c = a->n ? &a->device[a->n - 1] : NULL;

	if (!c)
		return err_set(e, ERR_USAGE, -EINVAL, "--socket %s: no --device before it", text);
	if (c->socket)
		return err_set(
			e, ERR_USAGE, -EINVAL, "--socket %s: the device before it has one", text);
	if (!*text)
		return err_set(e, ERR_USAGE, -EINVAL, "--socket: give a path, or fd=N");
	c->socket = strdup(text);
	return c->socket ? 0 : -ENOMEM;
}

static int set_api_socket(struct args *a, const char *text, struct err *e)
{
	if (a->api_socket)
		return err_set(e, ERR_USAGE, -EINVAL, "--api-socket: given twice");
	a->api_socket = text;
	return 0;
}

static int set_sandbox(struct args *a, const char *text, struct err *e)
{
	return sandbox_parse(text, &a->sandbox, e);
}

static const struct {
	const char *name;
	int (*take)(struct args *a, const char *text, struct err *e);
} flags[] = {{"--device", add_device}, {"--socket", add_socket}, {"--api-socket", set_api_socket},
	{"--sandbox", set_sandbox}};

/* One flag and its value, in one word or two. Returns how many words it took. */
static int take(struct args *a, int argc, char **argv, struct err *e)
{
	size_t len = strcspn(argv[0], "=");

	for (unsigned i = 0; i < ARRAY_SIZE(flags); i++) {
		const char *value = argv[0][len] ? argv[0] + len + 1 : argc > 1 ? argv[1] : NULL;
		int r;

		if (strlen(flags[i].name) != len || memcmp(argv[0], flags[i].name, len))
			continue;
		if (!value || (!argv[0][len] && !strncmp(value, "--", 2)))
			return err_set(e, ERR_USAGE, -EINVAL, "%s: needs a value", flags[i].name);
		r = flags[i].take(a, value, e);
		return r < 0 ? r : argv[0][len] ? 1 : 2;
	}
	return err_set(e, ERR_USAGE, -EINVAL,
		"%s: no such flag; polyvisor-offload --help lists them", argv[0]);
}

static bool is_switch(struct args *a, const char *word)
{
	if (strcmp(word, "-v") && strcmp(word, "--verbose"))
		return false;
	a->log.level = a->log.level == LOG_WARN ? LOG_INFO : LOG_DEBUG;
	return true;
}

/* Before the first is opened. */
static int check_all(struct args *a, struct err *e)
{
	struct served_config *all[SERVED_MAX];

	for (unsigned i = 0; i < a->n; i++)
		all[i] = &a->device[i];
	return served_check(all, a->n, 0, e);
}

static int parse(struct args *a, int argc, char **argv, struct err *e)
{
	int r;

	for (int i = 1; i < argc; i++) {
		a->help |= !strcmp(argv[i], "--help") || !strcmp(argv[i], "-h");
		a->version |= !strcmp(argv[i], "--version") || !strcmp(argv[i], "-V");
	}
	if (a->help || a->version)
		return 0;
	for (int i = 1; i < argc; i += r) {
		r = is_switch(a, argv[i]) ? 1 : take(a, argc - i, argv + i, e);
		if (r < 0)
			return r;
	}
	if (!a->n && !a->api_socket)
		return err_set(e, ERR_USAGE, -EINVAL,
			"--device: give at least one, or --api-socket; polyvisor-offload --help "
			"shows how");
	return check_all(a, e);
}

static int help(void)
{
	printf("Usage: polyvisor-offload --device TYPE[,KEY=VALUE…] --socket PATH …\n"
	       "Serves virtio devices to vhost-user front-ends, each on a socket of its own. Exit\n"
	       "status: 0 ended by SIGTERM or SIGINT, 1 our error, 2 usage.\n\n");
	served_help(stdout);
	printf("  --socket PATH|fd=N\n      where the device before it listens\n"
	       "  --api-socket path=PATH|fd=N\n      where devices are listed, added, resized and "
	       "removed while it runs; see polyctl offload\n"
	       "  --sandbox on|off|log\n      give up all that serving does not need; on by default\n"
	       "  -v, --verbose\n      more log; twice for debugging\n"
	       "  --version, --help\n");
	return 0;
}

/* ---- running ---- */

struct process {
	struct ev_loop *loop;
	struct ev_fd signals;
	struct served_set set;
	struct control *control;   /* NULL: nobody asked for it */
	int named[2 * SERVED_MAX]; /* by the devices of the command line, two each; -1 = none */
	bool ending;
};

static void on_signal(struct ev_fd *w, uint32_t events)
{
	struct process *p = container_of(w, struct process, signals);
	struct signalfd_siginfo si;

	if (read(w->fd, &si, sizeof(si)) == sizeof(si)) {
		p->ending = true;
		ev_quit(w->loop);
	}
}

/* A front-end brings descriptors; many devices need many. */
static void raise_nofile(void)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l) == 0) {
		l.rlim_cur = l.rlim_max;
		setrlimit(RLIMIT_NOFILE, &l);
	}
}

static int open_signals(struct process *p)
{
	struct ev_fd *w = &p->signals;
	sigset_t set, blocked;
	int r;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	blocked = set;
	sigaddset(&blocked, SIGPIPE); /* a log that nobody reads any more does not end us */
	/* Before the first worker: they inherit it. */
	r = -pthread_sigmask(SIG_BLOCK, &blocked, NULL);
	if (r < 0)
		return r;
	*w = (struct ev_fd){
		.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK), .ready = on_signal};
	return w->fd < 0 ? -errno : ev_add(p->loop, w, EPOLLIN);
}

/* "path=…" or a path is no descriptor. */
static int fd_named(const char *text)
{
	uint64_t n;

	return text && !strncmp(text, "fd=", 3) && num_parse(text + 3, &n) == 0 && n <= INT_MAX
		       ? (int)n
		       : -1;
}

/* What was named stays, but not for passt. */
static int close_what_nobody_named(const struct args *a, struct process *p)
{
	int keep[2 * SERVED_MAX + 1];
	unsigned n = 2 * a->n;

	for (unsigned i = 0; i < a->n; i++) {
		p->named[2 * i] = a->device[i].fd;
		p->named[2 * i + 1] = fd_named(a->device[i].socket);
	}
	memcpy(keep, p->named, n * sizeof(keep[0]));
	keep[n++] = fd_named(a->api_socket);
	for (unsigned i = 0; i < n; i++)
		if (keep[i] > STDERR_FILENO)
			fcntl(keep[i], F_SETFD, FD_CLOEXEC);
	return sandbox_close_others(keep, n);
}

/* Devices have duplicates: who is removed later shall leave neither lock nor socket behind. */
static void close_named(const struct args *a, const struct process *p)
{
	for (unsigned i = 0; i < 2 * a->n; i++)
		if (p->named[i] > STDERR_FILENO && p->named[i] != fd_named(a->api_socket))
			close(p->named[i]);
}

static int open_all(struct args *a, struct served_set *set, struct err *e)
{
	int r = 0;

	for (unsigned i = 0; i < a->n && r == 0; i++)
		r = served_set_add(set, &a->device[i], NULL, e);
	return r;
}

/* Removing a device turns the loop, which no handler may do: the loop comes back for it. */
static int turn(struct process *p)
{
	int r = 0;

	while (r == 0 && !p->ending) {
		r = ev_run(p->loop);
		if (r == 0)
			control_sweep(p->control);
	}
	return r;
}

/* Workers begin with the first front-end: they inherit it. */
static int enter_sandbox(const struct args *a, struct served_set *set, struct err *e)
{
	struct sandbox_opts o = {.mode = a->sandbox, .opens = a->api_socket};

	for (unsigned i = 0; i < set->n; i++)
		o.children |= served_has_child(set->at[i]);
	set->confined = a->sandbox == SANDBOX_ON;
	return sandbox_enter(&o, e);
}

static int serve(struct args *a, struct process *p, struct err *e)
{
	int r = open_signals(p);

	if (r == 0 && a->api_socket)
		r = control_open(a->api_socket, &p->set, &p->control, e);
	if (r == 0)
		r = open_all(a, &p->set, e);
	if (r == 0)
		close_named(a, p);
	if (r == 0)
		r = enter_sandbox(a, &p->set, e);
	if (r == 0 && p->control)
		r = control_start(p->control);
	return r < 0 ? r : turn(p);
}

static int run(struct args *a, struct err *e)
{
	struct process p = {.signals.fd = -1, .set.log = &a->log};
	int r;

	raise_nofile();
	r = close_what_nobody_named(a, &p);
	if (r == 0)
		r = ev_loop_new(&p.loop);
	p.set.loop = p.loop;
	if (r == 0)
		r = serve(a, &p, e);
	control_close(p.control);
	served_set_fini(&p.set);
	ev_del(&p.signals);
	cleanup_closep(&p.signals.fd);
	ev_loop_free(p.loop);
	return r;
}

static int report(int r, const struct err *e)
{
	if (r >= 0)
		return 0;
	fprintf(stderr, "polyvisor-offload: %s\n", *e->text ? e->text : strerrordesc_np(-r));
	return err_exit_status(e);
}

int main(int argc, char **argv)
{
	struct args a = {
		.log = {.fd = STDERR_FILENO, .level = LOG_WARN}, .sandbox = sandbox_default()};
	struct err e = {0};
	int r = 0;

	a.device = calloc(SERVED_MAX, sizeof(*a.device));
	if (!a.device)
		return report(-ENOMEM, &e);
	r = parse(&a, argc, argv, &e);
	if (r == 0 && a.help)
		help();
	else if (r == 0 && a.version)
		printf("polyvisor-offload %s\n", POLYVISOR_VERSION);
	else if (r == 0)
		r = run(&a, &e);
	for (unsigned i = 0; i < SERVED_MAX; i++)
		served_config_fini(&a.device[i]);
	free(a.device);
	return report(r, &e);
}
