/* SPDX-License-Identifier: Apache-2.0 */
/* See control.h. Everything happens in step(), which runs after each round of the loop, outside any
 * handler: handlers only note what arrived. So the machine may be destroyed and rebuilt here
 * without pulling the ground from under a caller. A step looks at the machine's request word and at
 * the head of the command queue; when either needs a stopped world it asks the vCPUs to park and
 * returns, and is run again when their messages arrive. */
#include "vmm/control.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"
#include "vmm/vm.h"

struct control {
	struct control_opts opts;
	struct ev_loop *loop;
	struct ev_fd signals;
	struct list queue; /* struct vm_cmd */
	enum vm_state state;
	struct vm_config *config; /* resolved */
	struct host_res res;
	struct vm *vm; /* NULL in VM_NONE, and when shut down */
	bool stopping; /* vCPUs were asked to park for the present requests */
	bool quit;
	struct control_end end;
};

/* ---- which command is legal when ---- */

static const char *const state_names[VM_STATES] = {
	"not created", "created", "running", "paused", "dumping"};
static const char *const op_names[VM_OPS] = {
	[VM_CREATE] = "vm.create",
	[VM_BOOT] = "vm.boot",
	[VM_PAUSE] = "vm.pause",
	[VM_RESUME] = "vm.resume",
	[VM_REBOOT] = "vm.reboot",
	[VM_SHUTDOWN] = "vm.shutdown",
	[VM_DELETE] = "vm.delete",
	[VM_POWER_BUTTON] = "vm.power-button",
	[VM_NMI] = "vm.nmi",
	[VM_ADD] = "vm.add",
	[VM_INFO] = "vm.info",
	[VM_COUNTERS] = "vm.counters",
	[VM_DEVICE] = "vm.devices",
	[VM_COREDUMP] = "vm.coredump",
	[VM_CRASH] = "crash report",
	[VMM_QUIT] = "vmm.shutdown",
};

#define IN(s) (1u << VM_##s)
static const uint8_t legal[VM_OPS] = {
	[VM_CREATE] = IN(NONE),
	[VM_BOOT] = IN(CREATED),
	[VM_PAUSE] = IN(RUNNING),
	[VM_RESUME] = IN(PAUSED),
	[VM_REBOOT] = IN(RUNNING) | IN(PAUSED),
	[VM_SHUTDOWN] = IN(RUNNING) | IN(PAUSED),
	[VM_DELETE] = IN(CREATED) | IN(RUNNING) | IN(PAUSED),
	[VM_CRASH] = IN(RUNNING) | IN(PAUSED),
	[VMM_QUIT] = IN(NONE) | IN(CREATED) | IN(RUNNING) | IN(PAUSED),
};

/* ---- the machine ---- */

static void on_request(struct ev_msg *m)
{
	(void)m; /* the word itself is read in step() */
}

static int build(struct control *c, struct err *e)
{
	return vm_new(c->config, &c->res, c->loop, on_request, &c->vm, e);
}

static void destroy(struct control *c)
{
	vm_free(c->vm);
	c->vm = NULL;
	c->stopping = false;
}

static void give_back(struct control *c)
{
	destroy(c);
	host_res_close(&c->res);
	if (c->config)
		vm_config_fini(c->config);
	free(steal_ptr(&c->config));
	c->state = VM_NONE;
}

static void on_leave(void *arg)
{
	struct control *c = arg;

	c->quit = true;
}

static int create(struct control *c, struct vm_cmd *cmd)
{
	c->config = steal_ptr(&cmd->config);
	int r = vm_config_resolve(c->config, &cmd->err);
	if (!r)
		r = host_res_open(&c->res, c->config, c->opts.log, &cmd->err);
	if (!r)
		r = build(c, &cmd->err);
	if (r < 0) {
		give_back(c);
		return r;
	}
	if (c->res.serial)
		chr_on_leave(c->res.serial, on_leave, c);
	if (c->res.console)
		chr_on_leave(c->res.console, on_leave, c);
	c->state = VM_CREATED;
	return 0;
}

static int boot(struct control *c, struct err *e)
{
	int r = c->vm ? 0 : build(c, e);

	if (!r)
		r = vm_start(c->vm, e);
	if (!r)
		c->state = VM_RUNNING;
	return r;
}

/* Rebuilds from the resolved configuration: KVM's irqchips cannot be initialised twice. */
static int reboot(struct control *c, struct err *e)
{
	destroy(c);
	c->state = VM_CREATED;
	return boot(c, e);
}

/* ---- endings ---- */

static void finish(struct control *c, int status)
{
	c->end.status = status;
	c->quit = true;
}

/* A report holds the guest's registers and code: it is nobody else's to read, and a link that
 * somebody put in its place is not followed. */
static FILE *create_report(const char *path)
{
	const int flags = O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC;
	cleanup_fd int fd = open(path, flags, 0600);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "w");

	if (f)
		steal_fd(&fd);
	return f;
}

static void crash(struct control *c, const char *why)
{
	c->end.why = why ? why : atomic_load(&vm_requests(c->vm)->crash_why);
	if (c->opts.crash_path) {
		cleanup_file FILE *f = create_report(c->opts.crash_path);
		if (f) {
			vm_crash_report(c->vm, why, f);
			c->end.crashed = true;
		} else {
			log_line(c->opts.log, LOG_ERROR, "vmm", "crash report %s: %s",
				c->opts.crash_path, strerrordesc_np(errno));
		}
	}
	finish(c, 3);
}

static void guest_reset(struct control *c)
{
	if (c->opts.exit_on_reboot) {
		finish(c, 0);
		return;
	}
	log_line(c->opts.log, LOG_INFO, "vmm", "the guest reboots");
	if (reboot(c, &c->end.err) < 0)
		finish(c, err_exit_status(&c->end.err));
}

/* All vCPUs are parked. Serves what the machine asked for; the worst first. */
static void serve_requests(struct control *c)
{
	struct vm_requests *rq = vm_requests(c->vm);
	uint32_t bits = atomic_load(&rq->bits);

	if (bits & REQ_CRASH)
		crash(c, NULL);
	else if (bits & REQ_EXIT)
		finish(c, atomic_load(&rq->exit_value) & 0xff);
	else if (bits & REQ_POWEROFF)
		finish(c, 0);
	else if (bits & REQ_RESET)
		guest_reset(c);
	else if (bits & REQ_REMAP)
		vm_remap(c->vm);
}

/* ---- commands ---- */

static bool needs_stop(const struct control *c, const struct vm_cmd *cmd)
{
	return c->state == VM_RUNNING && cmd->op != VM_CREATE && cmd->op != VM_BOOT;
}

static int resume(struct control *c)
{
	c->state = VM_RUNNING;
	c->stopping = false;
	vm_resume(c->vm, REQ_STOP);
	return 0;
}

/* The world is stopped, or was never started. */
static int execute(struct control *c, struct vm_cmd *cmd)
{
	switch (cmd->op) {
	case VM_CREATE:
		return create(c, cmd);
	case VM_BOOT:
		return boot(c, &cmd->err);
	case VM_PAUSE:
		c->state = VM_PAUSED;
		return 0;
	case VM_RESUME:
		return resume(c);
	case VM_REBOOT:
		return reboot(c, &cmd->err);
	case VM_SHUTDOWN:
		destroy(c);
		c->state = VM_CREATED;
		return 0;
	case VM_DELETE:
		give_back(c);
		return 0;
	case VM_CRASH:
		crash(c, cmd->why);
		return 0;
	case VMM_QUIT:
		c->quit = true;
		return 0;
	default:
		break;
	}
	return -EINVAL;
}

static void reply(struct ev_msg *m)
{
	struct vm_cmd *cmd = container_of(m, struct vm_cmd, msg);

	cmd->done(cmd);
}

static void answer(struct control *c, struct vm_cmd *cmd, int result)
{
	list_del(&cmd->link);
	cmd->result = result;
	cmd->msg.handle = reply;
	ev_post(cmd->reply_to ? cmd->reply_to : c->loop, &cmd->msg);
}

static struct vm_cmd *head(struct control *c)
{
	return list_empty(&c->queue) ? NULL : container_of(c->queue.next, struct vm_cmd, link);
}

/* Takes illegal commands off the head of the queue. */
static void refuse_illegal(struct control *c)
{
	for (struct vm_cmd *cmd; (cmd = head(c)) && !(legal[cmd->op] & (1u << c->state));)
		answer(c, cmd,
			err_set(&cmd->err, ERR_CONFLICT, -EPERM,
				"%s: not possible while the VM is %s", op_names[cmd->op],
				state_names[c->state]));
}

/* ---- the loop ---- */

/* True when the world is stopped, or there is none to stop. Otherwise the stop has been begun. */
static bool stopped(struct control *c)
{
	if (c->state != VM_RUNNING || vm_parked(c->vm))
		return true;
	if (!c->stopping) {
		c->stopping = true;
		vm_stop_begin(c->vm);
	}
	return false;
}

static void step(struct control *c)
{
	for (;;) {
		refuse_illegal(c);
		struct vm_cmd *cmd = head(c);
		if (cmd && needs_stop(c, cmd))
			vm_request(vm_requests(c->vm), REQ_STOP);
		bool asked = c->state == VM_RUNNING && atomic_load(&vm_requests(c->vm)->bits);
		if (c->quit || (!cmd && !asked) || !stopped(c))
			return;

		if (asked)
			serve_requests(c);
		/* The guest's own end comes before what anybody asked of it. */
		if (!c->quit && (cmd = head(c)) && (legal[cmd->op] & (1u << c->state)))
			answer(c, cmd, execute(c, cmd));
		if (!c->quit && c->state == VM_RUNNING && vm_parked(c->vm)) {
			c->stopping = false;
			if (atomic_load(&vm_requests(c->vm)->bits))
				vm_resume(c->vm, REQ_REMAP | REQ_STOP);
		}
	}
}

static void stop_for_the_end(struct control *c)
{
	if (c->state != VM_RUNNING)
		return;
	vm_request(vm_requests(c->vm), REQ_STOP);
	while (!vm_parked(c->vm)) {
		vm_stop_begin(c->vm);
		ev_run_once(c->loop, 100);
	}
}

/* Nobody is left waiting: what was submitted too late is refused, and replies posted here leave. */
static void last_replies(struct control *c)
{
	ev_run_once(c->loop, 0);
	for (struct vm_cmd *cmd; (cmd = head(c));)
		answer(c, cmd,
			err_set(&cmd->err, ERR_CONFLICT, -ESHUTDOWN, "the process is ending"));
	ev_run_once(c->loop, 0);
}

void control_run(struct control *c, struct control_end *ret_end)
{
	step(c);
	while (!c->quit) {
		int r = ev_run_once(c->loop, -1);
		if (r < 0) {
			err_set(&c->end.err, ERR_HOST, r, "event loop: %s", strerrordesc_np(-r));
			finish(c, 1);
		}
		step(c);
	}
	stop_for_the_end(c);
	give_back(c);
	last_replies(c);
	*ret_end = c->end;
}

/* ---- signals ---- */

static void termination_set(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGHUP);
	sigaddset(set, SIGQUIT);
}

int control_signals_block(void)
{
	sigset_t set;

	termination_set(&set);
	return -pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static void on_signal(struct ev_fd *w, uint32_t events)
{
	struct control *c = container_of(w, struct control, signals);
	struct signalfd_siginfo si;

	(void)events;
	if (read(w->fd, &si, sizeof(si)) != sizeof(si))
		return;
	if (si.ssi_signo == SIGQUIT && c->state == VM_RUNNING) {
		atomic_store(&vm_requests(c->vm)->crash_why, "asked for by SIGQUIT");
		vm_request(vm_requests(c->vm), REQ_CRASH);
		return;
	}
	if (c->end.signal) {
		/* The second time: something does not let go. The terminal is given back, no more.
		 */
		chr_free(c->res.serial);
		chr_free(c->res.console);
		_exit(1);
	}
	c->end.signal = (int)si.ssi_signo;
	c->quit = true;
}

static int watch_signals(struct control *c)
{
	sigset_t set;

	termination_set(&set);
	c->signals.ready = on_signal;
	c->signals.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return c->signals.fd < 0 ? -errno : ev_add(c->loop, &c->signals, EPOLLIN);
}

/* ---- life ---- */

int control_new(const struct control_opts *o, struct control **ret_control)
{
	struct control *c = calloc(1, sizeof(*c));
	int r = -ENOMEM;

	if (!c)
		return r;
	c->opts = *o;
	c->signals.fd = -1;
	list_init(&c->queue);
	r = ev_loop_new(&c->loop);
	if (!r)
		r = watch_signals(c);
	if (r < 0) {
		control_free(c);
		return r;
	}
	*ret_control = c;
	return 0;
}

void control_free(struct control *c)
{
	if (!c)
		return;
	if (c->signals.loop)
		ev_del(&c->signals);
	cleanup_closep(&c->signals.fd);
	ev_loop_free(c->loop);
	free(c);
}

struct ev_loop *control_loop(struct control *c)
{
	return c->loop;
}

static void on_submit(struct ev_msg *m)
{
	struct vm_cmd *cmd = container_of(m, struct vm_cmd, msg);

	list_add(&cmd->control->queue, &cmd->link);
}

void control_submit(struct control *c, struct vm_cmd *cmd)
{
	cmd->control = c;
	cmd->msg.handle = on_submit;
	ev_post(c->loop, &cmd->msg);
}
