/* SPDX-License-Identifier: Apache-2.0 */
/* See control.h. Everything happens in step(), which runs after each round of the loop, outside any
 * handler: handlers only note what arrived. So the machine may be destroyed and rebuilt here
 * without pulling the ground from under a caller. A step looks at the machine's request word and at
 * the head of the command queue; when either needs a stopped world it asks the vCPUs to park, and
 * the devices to pause, and returns; it is run again when their messages arrive. What only asks
 * does not wait behind what needs a stopped world. */
#include "vmm/control.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include "vmm/base/cleanup.h"
#include "vmm/control_internal.h"
#include "vmm/supervisor.h"

/* ---- answers ---- */

static void reply(struct ev_msg *m)
{
	struct vm_cmd *cmd = container_of(m, struct vm_cmd, msg);

	cmd->done(cmd);
}

static void no_longer_begun(struct control *c)
{
	c->begun = NULL;
	c->impatient = false;
	ev_timer_cancel(&c->patience);
}

static void answer(struct control *c, struct vm_cmd *cmd, int result)
{
	const struct op_row *row = &op_rows[cmd->op];

	if (!result && row->after)
		events_post(&c->events, "vm", row->after);
	if (c->begun == cmd)
		no_longer_begun(c);
	list_del(&cmd->link);
	cmd->result = result;
	cmd->msg.handle = reply;
	ev_post(cmd->reply_to ? cmd->reply_to : c->loop, &cmd->msg);
}

static void execute(struct control *c, struct vm_cmd *cmd)
{
	int r = control_execute(c, cmd);

	if (r == IN_PROGRESS) {
		no_longer_begun(c);
		list_del(&cmd->link);
		c->dump_cmd = cmd;
	} else {
		answer(c, cmd, r);
	}
}

static struct vm_cmd *head(struct control *c)
{
	return list_empty(&c->queue) ? NULL : container_of(c->queue.next, struct vm_cmd, link);
}

/* Answers a command that cannot be: illegal now, or about a device that is not there. */
static bool refused(struct control *c, struct vm_cmd *cmd)
{
	int r = 0;

	if (!control_legal(cmd->op, c->state))
		r = control_refuse(cmd->op, c->state, &cmd->err);
	else if (cmd->op == VM_DEVICE)
		r = vm_device_check(c->vm, cmd->id, &cmd->err);
	if (r < 0)
		answer(c, cmd, r);
	return r < 0;
}

/* The head of the queue waits for the world; questions behind it need not. */
static void answer_questions(struct control *c)
{
	list_for_each_safe (it, &c->queue) {
		struct vm_cmd *cmd = container_of(it, struct vm_cmd, link);
		if (op_rows[cmd->op].question && !refused(c, cmd))
			execute(c, cmd);
	}
}

/* ---- the world ---- */

void control_on_request(struct ev_msg *m)
{
	(void)m; /* the word itself is read in step() */
}

static bool parked(struct control *c)
{
	if (!c->stopping) {
		c->stopping = true;
		vm_stop_begin(c->vm);
	}
	return vm_parked(c->vm);
}

static bool quiet(struct control *c)
{
	if (!parked(c))
		return false;
	if (!c->quieting) {
		c->quieting = true;
		vm_quiet_begin(c->vm);
	}
	return vm_quiet(c->vm);
}

/* True when the world stands as still as needed, or there is none that moves. Otherwise stopping it
 * has been begun. */
static bool stands(struct control *c, enum world need)
{
	if (c->state != VM_RUNNING || need == WORLD_ANY)
		return true;
	return need == WORLD_PARKED ? parked(c) : quiet(c);
}

bool control_let_go(struct control *c)
{
	if (c->state != VM_RUNNING || !vm_parked(c->vm))
		return false;
	if (c->quieting)
		vm_quiet_end(c->vm);
	c->stopping = c->quieting = false;
	return !vm_resume(c->vm, REQ_STOP);
}

/* ---- what the machine asks for ---- */

static uint32_t wanted(const struct control *c)
{
	return c->state == VM_RUNNING ? atomic_load(&vm_requests(c->vm)->bits) & ~REQ_STOP : 0;
}

static void guest_reset(struct control *c)
{
	if (c->opts.exit_on_reboot) {
		control_finish(c, 0);
		return;
	}
	log_limited(c->opts.log, &c->reboots, LOG_INFO, "vmm", "the guest reboots");
	events_post(&c->events, "vm", "rebooting");
	if (control_reboot(c, &c->end.err) < 0)
		control_finish(c, err_exit_status(&c->end.err));
	else
		events_post(&c->events, "vm", "rebooted");
}

static void guest_poweroff(struct control *c)
{
	control_shut_down(c);
	if (!c->opts.no_shutdown)
		control_finish(c, 0);
}

/* Serves one request, the worst first; the guest's own end comes before what anybody asked of it.
 * False: the world has to stand still first. */
static bool serve(struct control *c, uint32_t bits)
{
	bool ends = bits & (REQ_POWEROFF | REQ_RESET) && !(bits & (REQ_CRASH | REQ_EXIT));
	struct vm_requests *rq = vm_requests(c->vm);

	/* Freeing waits for the queues; meanwhile nobody is answered, so they stop first. */
	if (!stands(c, ends ? WORLD_QUIET : WORLD_PARKED))
		return false;
	if (bits & REQ_CRASH)
		control_crash(c, NULL);
	else if (bits & REQ_EXIT)
		control_finish(c, atomic_load(&rq->exit_value) & 0xff);
	else if (bits & REQ_POWEROFF)
		guest_poweroff(c);
	else if (bits & REQ_RESET)
		guest_reset(c);
	else if (bits & REQ_REMAP) {
		vm_remap(c->vm);
		atomic_fetch_and(&rq->bits, ~REQ_REMAP);
	}
	return true;
}

/* ---- the loop ---- */

/* The first look at a command that is legal. */
static void begin(struct control *c, struct vm_cmd *cmd)
{
	const struct op_row *row = &op_rows[cmd->op];

	if (c->begun == cmd)
		return;
	c->begun = cmd;
	c->stop_ns = ev_now_ns();
	if (row->before)
		events_post(&c->events, "vm", row->before);
	if (row->gives_up)
		ev_timer_arm(c->loop, &c->patience,
			c->stop_ns + c->opts.patience_ms * UINT64_C(1000000));
}

static void on_impatience(struct ev_timer *t)
{
	container_of(t, struct control, patience)->impatient = true;
}

/* The command has waited long enough: a look at a guest must not stop it for good. What still stops
 * goes on as soon as it has stopped. */
static void give_up(struct control *c, struct vm_cmd *cmd)
{
	const char *busy = vm_parked(c->vm) ? vm_busy(c->vm) : "a vCPU";

	control_let_go(c);
	if (cmd->op == VM_PAUSE)
		events_post(&c->events, "vm", "resumed");
	answer(c, cmd,
		err_set(&cmd->err, ERR_HOST, -ETIMEDOUT,
			"%s: %s is still busy after %u ms; the guest goes on",
			op_rows[cmd->op].name, busy ? busy : "the machine", c->opts.patience_ms));
}

/* One thing that can be done now. False: nothing can. */
static bool one(struct control *c)
{
	struct vm_cmd *cmd = head(c);

	if (c->dump_done) {
		c->dump_done = false;
		cmd = steal_ptr(&c->dump_cmd);
		answer(c, cmd, control_dump_end(c, &cmd->err));
		return true;
	}
	if (cmd && refused(c, cmd))
		return true;
	if (cmd)
		begin(c, cmd);
	if (wanted(c))
		return serve(c, wanted(c));
	if (!cmd)
		return control_let_go(c);
	if (stands(c, op_rows[cmd->op].need))
		execute(c, cmd);
	else if (c->impatient)
		give_up(c, cmd);
	else
		return false;
	return true;
}

static void step(struct control *c)
{
	while (!c->quit && one(c))
		;
	if (!c->quit)
		answer_questions(c);
}

/* Gives up a core dump that is being written: its job ends soon, and says so. */
static void stop_dump(struct control *c)
{
	struct vm_cmd *cmd = c->dump_cmd;

	if (!cmd)
		return;
	coredump_cancel(c->dump);
	while (!c->dump_done)
		ev_run_once(c->loop, 100);
	c->dump_cmd = NULL;
	answer(c, cmd, control_dump_end(c, &cmd->err));
}

static void stop_for_the_end(struct control *c)
{
	stop_dump(c);
	if (c->state != VM_RUNNING)
		return;
	vm_stop_begin(c->vm);
	while (!vm_parked(c->vm))
		ev_run_once(c->loop, 100);
}

static void tear_down(struct control *c)
{
	bool created = c->state != VM_NONE;

	stop_for_the_end(c);
	control_give_back(c);
	if (created)
		events_post(&c->events, "vm", "deleted");
	events_post(&c->events, "vmm", "shutdown");
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
	events_post(&c->events, "vmm", "starting");
	step(c);
	while (!c->quit) {
		int r = ev_run_once(c->loop, -1);
		if (r < 0) {
			err_set(&c->end.err, ERR_HOST, r, "event loop: %s", strerrordesc_np(-r));
			control_finish(c, 1);
		}
		step(c);
	}
	tear_down(c);
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
	sigaddset(&set, SIGPIPE); /* EPIPE says it where it is of interest */
	return -pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static void on_signal(struct ev_fd *w, uint32_t events)
{
	struct control *c = container_of(w, struct control, signals);
	const char *by_signal = "asked for by SIGQUIT";
	struct signalfd_siginfo si;

	(void)events;
	if (read(w->fd, &si, sizeof(si)) != sizeof(si))
		return;
	if (si.ssi_signo == SIGQUIT && c->state == VM_RUNNING) {
		atomic_store(&vm_requests(c->vm)->crash_why, by_signal);
		vm_request(vm_requests(c->vm), REQ_CRASH);
		return;
	}
	if (si.ssi_signo == SIGQUIT && c->state == VM_PAUSED) {
		control_crash(c, by_signal);
		return;
	}
	if (c->end.signal) {
		/* The second time: something does not let go. The terminal is given back, no more.
		 */
		chr_tty_restore(c->res.serial);
		chr_tty_restore(c->res.console);
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

/* ---- offload=auto ---- */

/* "killed by signal 9" */
static void say_end(int wait_status, char text[48])
{
	if (WIFSIGNALED(wait_status))
		snprintf(text, 48, "killed by signal %d", WTERMSIG(wait_status));
	else
		snprintf(text, 48, "status %d", WEXITSTATUS(wait_status));
}

static void on_restart(struct control *c, const struct supervisor_status *st)
{
	char how[48];

	c->res.offload.pid = st->pid;
	c->res.offload.restarts = st->restarts;
	say_end(st->wait_status, how);
	if (!st->pid) {
		log_limited(c->opts.log, &c->offload_log, LOG_WARN, "offload",
			"polyvisor-offload has ended (%s) and cannot be started; it is tried again",
			how);
		return;
	}
	log_limited(c->opts.log, &c->offload_log, LOG_WARN, "offload",
		"polyvisor-offload has ended (%s) and was started again, pid %d", how, st->pid);
	events_started(&c->events, "offload", "restarted", st->pid);
}

static void on_offload_news(struct ev_fd *w, uint32_t events)
{
	struct control *c = container_of(w, struct control, offload_news);
	struct supervisor_status st;
	int r;

	(void)events;
	while ((r = supervisor_news(c->opts.supervisor, &st)) > 0)
		on_restart(c, &st);
	if (r == 0)
		return;
	log_line(c->opts.log, LOG_ERROR, "offload",
		"the supervisor is gone: nothing starts polyvisor-offload again");
	c->res.offload.pid = 0;
	ev_del(w);
}

static int watch_offload(struct control *c)
{
	if (!c->opts.supervisor)
		return 0;
	c->res.offload.supervisor = c->opts.supervisor;
	c->res.offload.api_path = c->opts.offload_api;
	c->offload_news = (struct ev_fd){
		.fd = supervisor_news_fd(c->opts.supervisor), .ready = on_offload_news};
	return ev_add(c->loop, &c->offload_news, EPOLLIN);
}

/* ---- life ---- */

int control_new(const struct control_opts *o, struct control **ret_control)
{
	struct control *c = calloc(1, sizeof(*c));
	int r = -ENOMEM;

	if (!c)
		return r;
	c->opts = *o;
	events_init(&c->events, &o->events, o->log);
	c->signals.fd = -1;
	c->patience.fire = on_impatience;
	if (!c->opts.patience_ms)
		c->opts.patience_ms = 10000;
	list_init(&c->queue);
	r = ev_loop_new(&c->loop);
	if (!r)
		r = watch_signals(c);
	if (!r)
		r = watch_offload(c);
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
	if (c->offload_news.loop)
		ev_del(&c->offload_news);
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
