/* SPDX-License-Identifier: Apache-2.0 */
/* What each command does, once it is legal and the world stands as still as it needs. Here the
 * machine may be destroyed and rebuilt: nothing below is on the stack. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include "vmm/base/cleanup.h"
#include "vmm/control_internal.h"

/* ---- endings ---- */

void control_finish(struct control *c, int status)
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

void control_crash(struct control *c, const char *why)
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
	control_finish(c, 3);
}

/* ---- the machine ---- */

static void config_free(struct vm_config *c)
{
	if (c)
		vm_config_fini(c);
	free(c);
}

static void destroy(struct control *c)
{
	vm_free(c->vm);
	c->vm = NULL;
	c->stopping = c->quieting = false;
	if (c->state != VM_NONE)
		c->state = VM_CREATED;
}

void control_shut_down(struct control *c)
{
	if (!c->vm)
		return;
	destroy(c);
	events_post(&c->events, "vm", "shutdown");
}

void control_give_back(struct control *c)
{
	control_shut_down(c);
	host_res_close(&c->res);
	config_free(steal_ptr(&c->config));
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
	if (!c->config)
		return err_set(&cmd->err, ERR_USAGE, -EINVAL, "vm.create: no configuration");
	int r = vm_config_resolve(c->config, &cmd->err);
	if (!r)
		r = host_res_open(&c->res, c->config, c->opts.log, &cmd->err);
	if (r < 0) {
		control_give_back(c);
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
	int r = vm_new(c->config, &c->res, c->loop, control_on_request, &c->events, &c->vm, e);

	if (!r)
		r = vm_start(c->vm, e);
	if (r < 0) {
		destroy(c);
		return r;
	}
	c->state = VM_RUNNING;
	return 0;
}

/* Rebuilds from the resolved configuration: KVM's irqchips cannot be initialised twice. */
int control_reboot(struct control *c, struct err *e)
{
	destroy(c);
	int r = boot(c, e);
	if (r < 0)
		events_post(&c->events, "vm", "shutdown");
	return r;
}

/* ---- devices before boot ---- */

static int copy(const struct vm_config *from, struct vm_config **ret_config)
{
	cleanup_free struct vm_config *c = calloc(1, sizeof(*c));
	int r = c ? vm_config_copy(from, c) : -ENOMEM;

	if (!r)
		*ret_config = steal_ptr(&c);
	return r;
}

/* Works on a copy: when the host's part fails, nothing has changed. */
static int add(struct control *c, struct vm_cmd *cmd)
{
	struct vm_config *more = steal_ptr(&cmd->config), *next = NULL;
	int r = more ? 0 : err_set(&cmd->err, ERR_USAGE, -EINVAL, "vm.add: no configuration");

	if (!r)
		r = copy(c->config, &next);
	if (!r)
		r = vm_config_add(next, more, cmd->id, &cmd->err);
	if (!r)
		r = host_res_add(&c->res, next, &cmd->err);
	if (!r) {
		config_free(c->config);
		c->config = steal_ptr(&next);
	}
	config_free(next);
	config_free(more);
	return r;
}

/* ---- in a stopped world ---- */

static void on_dumped(struct ev_msg *m)
{
	struct control *c = coredump_arg(m);

	c->dump_done = true;
}

static int dump_begin(struct control *c, struct vm_cmd *cmd)
{
	if (!cmd->path || !*cmd->path)
		return err_set(&cmd->err, ERR_USAGE, -EINVAL,
			"vm.coredump: give a file that does not exist, or fd=N");
	c->dump_done = false;
	int r = coredump_begin(c->vm, cmd->path, c->loop, on_dumped, c, &c->dump, &cmd->err);
	if (r < 0)
		return r;
	c->dump_from = c->state;
	c->state = VM_DUMPING;
	return IN_PROGRESS;
}

int control_dump_end(struct control *c, struct err *e)
{
	c->state = c->dump_from;
	return coredump_end(steal_ptr(&c->dump), e);
}

static int resume(struct control *c)
{
	c->state = VM_RUNNING;
	control_let_go(c);
	return 0;
}

static int dump_device(struct control *c, struct vm_cmd *cmd)
{
	bool was_running = c->state == VM_RUNNING;
	int r = vm_device_dump(c->vm, cmd->id, &cmd->dump, &cmd->err);

	control_let_go(c);
	cmd->pause_ns = was_running ? ev_now_ns() - c->stop_ns : 0;
	return r;
}

static int ask(struct control *c, struct vm_cmd *cmd)
{
	if (cmd->op == VM_COUNTERS)
		return vm_counters(c->vm, &cmd->counters);
	int r = vm_info(c->config, c->vm, &c->res, &cmd->info);
	if (!r)
		cmd->info->state = c->state;
	return r;
}

int control_execute(struct control *c, struct vm_cmd *cmd)
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
		return control_reboot(c, &cmd->err);
	case VM_SHUTDOWN:
		control_shut_down(c);
		return 0;
	case VM_DELETE:
		control_give_back(c);
		return 0;
	case VM_POWER_BUTTON:
		return vm_power_button(c->vm, &cmd->err);
	case VM_NMI:
		return vm_nmi(c->vm, &cmd->err);
	case VM_ADD:
		return add(c, cmd);
	case VM_INFO:
	case VM_COUNTERS:
		return ask(c, cmd);
	case VM_DEVICE:
		return dump_device(c, cmd);
	case VM_COREDUMP:
		return dump_begin(c, cmd);
	case VM_CRASH:
		control_crash(c, cmd->why);
		return 0;
	case VMM_QUIT:
		c->quit = true;
		return 0;
	case VM_OPS:
		break;
	}
	return -EINVAL;
}
