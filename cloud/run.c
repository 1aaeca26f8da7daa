/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>
#include "cloud/program.h"

static const struct flag *find(const struct flag *flags, const char *word, size_t len)
{
	for (const struct flag *f = flags; f->name; f++)
		if (strlen(f->name) == len && !memcmp(f->name, word, len))
			return f;
	return NULL;
}

/* Returns how many words it took. */
static int take(int argc, char **argv, const struct flag *flags, struct err *e)
{
	size_t len = strcspn(argv[0], "=");
	const struct flag *f = find(flags, argv[0], len);

	if (!f)
		return err_set(
			e, ERR_USAGE, -EINVAL, "%s: no such flag; --help lists them", argv[0]);
	if (!f->value) {
		(*f->count)++;
		return 1;
	}
	if (*f->value)
		return err_set(e, ERR_USAGE, -EINVAL, "%s: given twice", f->name);
	*f->value = argv[0][len] ? argv[0] + len + 1 : argc > 1 ? argv[1] : "";
	if (!**f->value)
		return err_set(e, ERR_USAGE, -EINVAL, "%s: needs a value", f->name);
	return argv[0][len] ? 1 : 2;
}

int flags_parse(int argc, char **argv, const struct flag *flags, const char **rest, unsigned nrest,
	const char *wanted, struct err *e)
{
	unsigned n = 0;
	int r;

	for (int i = 1; i < argc; i += r) {
		r = 1;
		if (argv[i][0] == '-' && argv[i][1])
			r = take(argc - i, argv + i, flags, e);
		else if (n < nrest)
			rest[n++] = argv[i];
		else
			r = err_set(e, ERR_USAGE, -EINVAL, "%s: one word too many", argv[i]);
		if (r < 0)
			return r;
	}
	return n == nrest ? 0 : err_set(e, ERR_USAGE, -EINVAL, "%s: is missing", wanted);
}

int failed(const struct err *e, int code)
{
	fprintf(stderr, "polycloud: %s\n", *e->text ? e->text : strerrordesc_np(-code));
	return err_exit_status(e);
}

const char *default_data(char *buf, size_t cap)
{
	const char *home = getenv("HOME"), *xdg = getenv("XDG_DATA_HOME");

	if (geteuid() == 0)
		snprintf(buf, cap, "/var/lib/polycloud");
	else if (xdg && *xdg == '/')
		snprintf(buf, cap, "%s/polycloud", xdg);
	else
		snprintf(buf, cap, "%s/.local/share/polycloud", home ? home : "/tmp");
	return buf;
}

const char *default_socket(char *buf, size_t cap)
{
	const char *xdg = getenv("XDG_RUNTIME_DIR");

	if (geteuid() == 0)
		snprintf(buf, cap, "/run/polycloud.sock");
	else if (xdg && *xdg == '/')
		snprintf(buf, cap, "%s/polycloud.sock", xdg);
	else
		snprintf(buf, cap, "/run/user/%u/polycloud.sock", (unsigned)geteuid());
	return buf;
}

static void on_signal(struct ev_fd *w, uint32_t events)
{
	struct signalfd_siginfo si;

	(void)events;
	if (read(w->fd, &si, sizeof(si)) == sizeof(si))
		ev_quit(w->loop);
}

static int open_signals(struct process *p)
{
	sigset_t ends, blocked;

	sigemptyset(&ends);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGINT);
	sigaddset(&ends, SIGHUP);
	blocked = ends;
	sigaddset(&blocked, SIGPIPE); /* a client or a log that nobody reads does not end us */
	pthread_sigmask(SIG_BLOCK, &blocked, NULL);
	p->signals = (struct ev_fd){
		.ready = on_signal, .fd = signalfd(-1, &ends, SFD_CLOEXEC | SFD_NONBLOCK)};
	return p->signals.fd < 0 ? -errno : ev_add(p->loop, &p->signals, EPOLLIN);
}

/* Every console, tunnel and client is a descriptor or two. */
static void raise_nofile(void)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l) == 0) {
		l.rlim_cur = l.rlim_max;
		setrlimit(RLIMIT_NOFILE, &l);
	}
}

int process_init(struct process *p, int verbose, struct err *e)
{
	int r;

	*p = (struct process){
		.log = {.fd = STDERR_FILENO, .level = verbose > 0 ? LOG_DEBUG : LOG_INFO}};
	raise_nofile();
	r = ev_loop_new(&p->loop);
	if (r == 0)
		r = open_signals(p);
	return r < 0 ? err_set(e, ERR_HOST, r, "cannot start: %s", strerrordesc_np(-r)) : 0;
}

void process_fini(struct process *p)
{
	if (p->signals.loop)
		ev_del(&p->signals);
	if (p->signals.fd > 0)
		close(p->signals.fd);
	ev_loop_free(p->loop);
}
