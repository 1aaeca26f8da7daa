/* SPDX-License-Identifier: Apache-2.0 */
/* Lives of a machine under control, over a KVM that runs nothing: what happens while something
 * else is not finished, the events of a whole life, and that nothing grows. */
#include <fcntl.h>
#include <malloc.h>
#include "vmm/control_internal.h"
#include "vmm/test_control.h"
#include "vmm/vm_internal.h"

/* ---- what the fake machine does ---- */

static atomic_bool hold_vcpus;	/* in the guest, deaf to kicks */
static atomic_bool held_vcpu;	/* one is */
static atomic_bool hold_ioctls; /* the core dump's job, in its first */
static atomic_ulong fail_ioctl; /* 0 = none */
static atomic_bool hold_device; /* pausing does not end */

int kvm_fake_on_run(struct kvm_vcpu *v)
{
	(void)v;
	while (atomic_load(&hold_vcpus)) {
		atomic_store(&held_vcpu, true);
		usleep(1000);
	}
	usleep(1000);
	return -EINTR;
}

int kvm_fake_on_ioctl(unsigned long req, void *arg)
{
	(void)arg;
	while (atomic_load(&hold_ioctls))
		usleep(1000);
	return req == atomic_load(&fail_ioctl) ? -ENOMEM : 1;
}

static bool slow_paused(const struct device *d)
{
	(void)d;
	return !atomic_load(&hold_device);
}

static void nothing(struct ev_msg *m)
{
	free(m);
}

static void wake(struct rig *r)
{
	struct ev_msg *m = calloc(1, sizeof(*m));

	m->handle = nothing;
	ev_post(control_loop(r->control), m);
}

/* Gives the running machine a device that takes its time to pause. Control is idle. */
static void make_slow(struct rig *r, struct device_ops *ops)
{
	struct device *d = container_of(r->control->vm->devices.prev, struct device, link);

	*ops = *d->ops;
	ops->paused = slow_paused;
	d->ops = ops;
	atomic_store(&hold_device, true);
}

static void let_pause(struct rig *r)
{
	atomic_store(&hold_device, false);
	wake(r);
}

/* ---- while something is not finished ---- */

static int state_of(struct rig *r)
{
	struct call c;
	int s;

	call_init(&c, r, VM_INFO);
	call_begin(&c, r);
	cr_assert_eq(call_wait(&c), 0, "%s", c.cmd.err.text);
	s = c.cmd.info->state;
	call_fini(&c);
	return s;
}

Test(life, questions_do_not_wait_for_vcpus)
{
	struct rig r = {0};
	struct call pause;

	rig_start(&r);
	rig_reach(&r, VM_RUNNING);
	atomic_store(&hold_vcpus, true);
	while (!atomic_load(&held_vcpu))
		usleep(100);
	call_init(&pause, &r, VM_PAUSE);
	call_begin(&pause, &r);
	cr_expect_eq(state_of(&r), VM_RUNNING);
	cr_expect_eq(call(&r, VM_COUNTERS, NULL), 0);
	cr_expect(!call_answered(&pause));
	atomic_store(&hold_vcpus, false);
	cr_expect_eq(call_wait(&pause), 0);
	cr_expect_eq(state_of(&r), VM_PAUSED);
	rig_end(&r);
}

Test(life, questions_do_not_wait_for_devices)
{
	static const enum vm_op ops[] = {VM_PAUSE, VM_SHUTDOWN, VM_REBOOT, VM_DELETE, VM_DEVICE};

	for (unsigned i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
		struct rig r = {0};
		struct device_ops slow;
		struct call c;
		rig_start(&r);
		rig_reach(&r, VM_RUNNING);
		make_slow(&r, &slow);
		call_init(&c, &r, ops[i]);
		call_begin(&c, &r);
		cr_expect_eq(state_of(&r), VM_RUNNING);
		usleep(2000);
		cr_expect_eq(state_of(&r), VM_RUNNING);
		cr_expect(!call_answered(&c), "%s", control_op_name(ops[i]));
		let_pause(&r);
		cr_expect_eq(call_wait(&c), 0);
		call_fini(&c);
		rig_end(&r);
	}
}

/* A disk on a file system that is away: whoever looks is told, and the guest is not held for good.
 */
Test(life, a_busy_device_does_not_stop_the_guest_for_good)
{
	static const enum vm_op ops[] = {VM_PAUSE, VM_DEVICE, VM_COREDUMP};
	struct rig r = {.opts = {.patience_ms = 30}};
	struct device_ops slow;

	rig_start(&r);
	rig_reach(&r, VM_RUNNING);
	make_slow(&r, &slow);
	for (unsigned i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
		struct err e = {0};
		cr_expect_eq(call(&r, ops[i], &e), -ETIMEDOUT, "%s", control_op_name(ops[i]));
		cr_expect(strstr(e.text, "still busy"), "%s", e.text);
		cr_expect_eq(state_of(&r), VM_RUNNING);
	}
	let_pause(&r);
	cr_expect_eq(call(&r, VM_PAUSE, NULL), 0);
	cr_expect_eq(call(&r, VM_RESUME, NULL), 0);
	rig_end(&r);
}

Test(life, quit_overtakes_a_pause)
{
	struct rig r = {0};
	struct device_ops slow;
	struct call pause;

	rig_start(&r);
	rig_reach(&r, VM_RUNNING);
	make_slow(&r, &slow);
	call_init(&pause, &r, VM_PAUSE);
	call_begin(&pause, &r);
	cr_expect_eq(call(&r, VMM_QUIT, NULL), 0);
	cr_expect_eq(call_wait(&pause), -ESHUTDOWN);
	rig_join(&r);
	cr_expect_eq(r.end.status, 0);
}

/* The row of dumping, which needs a job that is held. */
Test(life, every_command_while_dumping)
{
	for (int from = VM_RUNNING; from <= VM_PAUSED; from++) {
		struct rig r = {0};
		struct call dump;
		rig_start(&r);
		rig_reach(&r, (enum vm_state)from);
		atomic_store(&hold_ioctls, true);
		call_init(&dump, &r, VM_COREDUMP);
		call_begin(&dump, &r);
		while (state_of(&r) != VM_DUMPING)
			usleep(1000);
		for (int op = 0; op < VMM_QUIT; op++) {
			struct err e;
			int res = call(&r, (enum vm_op)op, &e);
			bool legal = op == VM_INFO || op == VM_COUNTERS;
			cr_expect_eq(control_legal((enum vm_op)op, VM_DUMPING), legal);
			cr_expect_eq(
				res == 0, legal, "%s: %s", control_op_name((enum vm_op)op), e.text);
			if (!legal)
				cr_expect_eq(e.kind, ERR_CONFLICT, "%s", e.text);
		}
		cr_expect(!call_answered(&dump));
		atomic_store(&hold_ioctls, false);
		cr_expect_eq(call_wait(&dump), 0, "%s", dump.cmd.err.text);
		cr_expect_eq(state_of(&r), from);
		cr_expect_eq(access(r.core, F_OK), 0);
		call_fini(&dump);
		rig_end(&r);
	}
}

Test(life, quit_cancels_a_core_dump)
{
	struct rig r = {0};
	struct call dump, quit;

	rig_start(&r);
	rig_reach(&r, VM_RUNNING);
	atomic_store(&hold_ioctls, true);
	call_init(&dump, &r, VM_COREDUMP);
	call_begin(&dump, &r);
	while (state_of(&r) != VM_DUMPING)
		usleep(1000);
	call_init(&quit, &r, VMM_QUIT);
	call_begin(&quit, &r);
	usleep(2000);
	atomic_store(&hold_ioctls, false);
	cr_expect_eq(call_wait(&quit), 0);
	cr_expect_eq(call_wait(&dump), -ECANCELED);
	cr_expect_neq(access(r.core, F_OK), 0);
	call_fini(&dump);
	rig_join(&r);
	cr_expect_eq(r.end.status, 0);
}

/* ---- devices before boot ---- */

static int add_disk(struct rig *r, const char *more, char ret_id[32], struct err *e)
{
	struct call c;

	call_init(&c, r, VM_ADD);
	vm_config_fini(c.cmd.config);
	free(c.cmd.config);
	c.cmd.config = rig_disk(r, more);
	call_begin(&c, r);
	call_wait(&c);
	strcpy(ret_id, c.cmd.id);
	*e = c.cmd.err;
	call_fini(&c);
	return c.cmd.result;
}

static unsigned disks_of(struct rig *r)
{
	struct call c;

	call_init(&c, r, VM_INFO);
	call_begin(&c, r);
	cr_assert_eq(call_wait(&c), 0);
	unsigned n = c.cmd.info->config->ndisks;
	call_fini(&c);
	return n;
}

Test(life, devices_are_added_before_boot_or_nothing_changes)
{
	struct rig r = {0};
	struct err e;
	char id[32];

	rig_start(&r);
	rig_reach(&r, VM_CREATED);
	cr_expect_eq(add_disk(&r, ",readonly=on", id, &e), 0, "%s", e.text);
	cr_expect_str_eq(id, "_disk0");
	cr_expect_eq(add_disk(&r, ",readonly=on,id=data", id, &e), 0, "%s", e.text);
	cr_expect_str_eq(id, "data");
	unsigned fds = count_entries("/proc/self/fd");

	cr_expect_eq(add_disk(&r, ",readonly=on,id=data", id, &e), -EEXIST);
	cr_expect_eq(e.kind, ERR_CONFLICT);
	cr_expect(strstr(e.text, "data"), "%s", e.text);
	cr_expect_lt(add_disk(&r, "x", id, &e), 0); /* no such file */
	cr_expect_lt(add_disk(&r, "", id, &e), 0);  /* it is locked */
	cr_expect_eq(disks_of(&r), 2);
	cr_expect_eq(count_entries("/proc/self/fd"), fds);

	cr_expect_eq(call(&r, VM_BOOT, &e), 0, "%s", e.text);
	cr_expect_eq(add_disk(&r, ",readonly=on", id, &e), -EOPNOTSUPP);
	cr_expect_eq(e.kind, ERR_UNOFFERED);
	cr_expect_eq(call(&r, VM_DELETE, NULL), 0);
	rig_end(&r);
}

Test(life, a_device_is_dumped_or_said_not_to_be_there)
{
	struct rig r = {0};
	struct call c;

	rig_start(&r);
	rig_reach(&r, VM_RUNNING);
	call_init(&c, &r, VM_DEVICE);
	call_begin(&c, &r);
	cr_assert_eq(call_wait(&c), 0, "%s", c.cmd.err.text);
	cr_expect(c.cmd.dump && c.cmd.dump[0] == '{', "%s", c.cmd.dump);
	cr_expect_gt(c.cmd.pause_ns, 0);
	call_fini(&c);
	call_init(&c, &r, VM_DEVICE);
	strcpy(c.cmd.id, "toaster");
	call_begin(&c, &r);
	cr_expect_eq(call_wait(&c), -ENOENT);
	cr_expect_eq(c.cmd.err.kind, ERR_NOT_FOUND);
	cr_expect(strstr(c.cmd.err.text, "toaster") && strstr(c.cmd.err.text, "_rng"), "%s",
		c.cmd.err.text);
	call_fini(&c);
	rig_end(&r);
}

Test(life, a_failed_boot_leaves_it_created)
{
	struct rig r = {.vcpus = 9}; /* the fake host allows 8 */
	struct err e;

	rig_start(&r);
	rig_reach(&r, VM_CREATED);
	unsigned fds = count_entries("/proc/self/fd"), threads = count_entries("/proc/self/task");
	cr_expect_eq(call(&r, VM_BOOT, &e), -EINVAL);
	cr_expect_eq(state_of(&r), VM_CREATED);
	cr_expect_eq(count_entries("/proc/self/fd"), fds);
	cr_expect_eq(count_entries("/proc/self/task"), threads);
	rig_end(&r);
}

static void set_stacks(size_t bytes)
{
	pthread_attr_t attr;

	pthread_getattr_default_np(&attr);
	pthread_attr_setstacksize(&attr, bytes);
	cr_assert_eq(pthread_setattr_default_np(&attr), 0);
	pthread_attr_destroy(&attr);
}

/* No thread can have a stack as large as an address space. */
Test(life, a_boot_without_threads_leaves_it_created)
{
	struct rig r = {0};
	struct err e;

	rig_start(&r);
	rig_reach(&r, VM_CREATED);
	set_stacks((size_t)1 << 46);
	cr_expect_eq(call(&r, VM_BOOT, &e), -EAGAIN);
	cr_expect(strstr(e.text, "vCPU 0"), "%s", e.text);
	cr_expect_eq(state_of(&r), VM_CREATED);
	set_stacks((size_t)1 << 20);
	cr_expect_eq(call(&r, VM_BOOT, &e), 0, "%s", e.text);
	rig_end(&r);
}

/* What is asked of a machine whose vCPUs have parked by themselves, before control looked. */
Test(life, a_machine_that_ends_in_the_round_in_which_its_windows_move)
{
	static const enum vm_op ends[] = {VM_REBOOT, VM_SHUTDOWN, VM_DELETE};

	for (unsigned i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		struct rig r = {0};
		struct call button, end;
		rig_start(&r);
		rig_reach(&r, VM_RUNNING);
		atomic_store(&held_vcpu, false);
		atomic_store(&hold_vcpus, true);
		while (!atomic_load(&held_vcpu))
			usleep(100);
		vm_request(vm_requests(r.control->vm), REQ_REMAP);
		call_init(&button, &r, VM_POWER_BUTTON);
		call_init(&end, &r, ends[i]);
		call_begin(&button, &r);
		call_begin(&end, &r);
		atomic_store(&hold_vcpus, false);
		cr_expect_eq(call_wait(&button), 0);
		cr_expect_eq(call_wait(&end), 0);
		rig_end(&r);
	}
}

Test(life, a_failed_reboot_leaves_it_created)
{
	struct rig r = {0};
	struct err e;

	rig_start(&r);
	rig_reach(&r, VM_CREATED);
	unsigned fds = count_entries("/proc/self/fd"), threads = count_entries("/proc/self/task");
	cr_assert_eq(call(&r, VM_BOOT, NULL), 0);
	atomic_store(&fail_ioctl, KVM_SET_USER_MEMORY_REGION);
	cr_expect_eq(call(&r, VM_REBOOT, &e), -ENOMEM);
	cr_expect(strstr(e.text, "--memory"), "%s", e.text);
	cr_expect_eq(state_of(&r), VM_CREATED);
	cr_expect_eq(count_entries("/proc/self/fd"), fds);
	cr_expect_eq(count_entries("/proc/self/task"), threads);
	atomic_store(&fail_ioctl, 0);
	cr_expect_eq(call(&r, VM_BOOT, &e), 0, "%s", e.text);
	rig_end(&r);
}

/* ---- events ---- */

struct listener {
	struct ev_thread *thread;
	pthread_mutex_t lock;
	char text[4096];
};

static void on_event(struct ev_msg *m)
{
	struct vm_event *e = container_of(m, struct vm_event, msg);
	struct listener *l = e->arg;
	size_t n = strlen(l->text);

	snprintf(l->text + n, sizeof(l->text) - n, "%s %s%s%s\n", e->source, e->event,
		*e->id ? " " : "", e->id);
	free(e);
}

static void listen_to(struct rig *r, struct listener *l)
{
	memset(l, 0, sizeof(*l));
	cr_assert_eq(ev_thread_new("listener", &l->thread), 0);
	r->opts.events = (struct vm_events){.loop = ev_thread_loop(l->thread), on_event, .arg = l};
}

Test(life, events_of_a_whole_life_in_order)
{
	static const enum vm_op ops[] = {VM_CREATE, VM_BOOT, VM_PAUSE, VM_RESUME, VM_REBOOT,
		VM_COREDUMP, VM_SHUTDOWN, VM_BOOT, VM_DELETE};
	struct listener l;
	struct rig r = {0};

	listen_to(&r, &l);
	rig_start(&r);
	for (unsigned i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
		cr_assert_eq(call(&r, ops[i], NULL), 0, "%s", control_op_name(ops[i]));
	rig_end(&r);
	ev_thread_free(l.thread);
	cr_expect_str_eq(l.text,
		"vmm starting\n"
		"vm booting\nvm booted\nvm pausing\nvm paused\nvm resuming\nvm resumed\n"
		"vm rebooting\nvm rebooted\nvm coredumping\nvm coredumped\nvm shutdown\n"
		"vm booting\nvm booted\nvm shutdown\nvm deleted\nvmm shutdown\n");
}

Test(life, a_guest_cannot_flood_the_listener)
{
	struct listener l;
	struct rig r = {0};
	struct events ev;
	unsigned n = 0;

	listen_to(&r, &l);
	events_init(&ev, &r.opts.events, NULL);
	for (unsigned i = 0; i < 100000; i++)
		events_notice(&ev, "", DEV_NOTICE_RESET);
	ev_thread_free(l.thread);
	for (const char *p = l.text; (p = strchr(p, '\n')); p++)
		n++;
	cr_expect_leq(n, sizeof(l.text) / strlen("virtio-device reset\n"));
	cr_expect_gt(n, 0);
}

/* ---- the guest's own end ---- */

Test(life, a_guest_that_switches_itself_off)
{
	for (int stay = 0; stay < 2; stay++) {
		struct rig r = {.opts.no_shutdown = stay};
		struct listener l;
		listen_to(&r, &l);
		rig_start(&r);
		rig_reach(&r, VM_RUNNING);
		vm_request(vm_requests(r.control->vm), REQ_POWEROFF);
		if (stay) {
			while (state_of(&r) != VM_CREATED)
				usleep(1000);
			cr_expect_eq(call(&r, VM_BOOT, NULL), 0);
			rig_end(&r);
		} else {
			rig_join(&r);
		}
		ev_thread_free(l.thread);
		cr_expect_eq(r.end.status, 0);
		cr_expect_str_eq(l.text,
			stay ? "vmm starting\nvm booting\nvm booted\nvm shutdown\nvm booting\n"
			       "vm booted\nvm shutdown\nvm deleted\nvmm shutdown\n"
			     : "vmm starting\nvm booting\nvm booted\nvm shutdown\nvm deleted\n"
			       "vmm shutdown\n");
	}
}

Test(life, a_guest_that_only_reboots_does_not_fill_the_log)
{
	struct log log = {.level = LOG_INFO};
	struct rig r = {.opts.log = &log};
	static char text[64 * 1024];
	unsigned lines = 0;
	int fd[2];

	cr_assert_eq(pipe2(fd, O_NONBLOCK), 0);
	log.fd = fd[1];
	rig_start(&r);
	rig_reach(&r, VM_RUNNING);
	for (unsigned i = 0; i < 100; i++) {
		vm_request(vm_requests(r.control->vm), REQ_RESET);
		cr_assert_eq(call(&r, VM_REBOOT, NULL), 0); /* which waits for the other */
	}
	rig_end(&r);
	cr_assert_gt(read(fd[0], text, sizeof(text) - 1), 0);
	for (const char *p = text; (p = strstr(p, "the guest reboots")); p++)
		lines++;
	cr_expect(lines > 0 && lines < 100, "%u", lines);
	close(fd[0]);
	close(fd[1]);
}

Test(life, the_name_of_a_terminal_is_logged)
{
	struct log log = {.level = LOG_INFO};
	struct rig r = {.opts.log = &log};
	char text[1024] = "";
	struct call c;
	int fd[2];

	cr_assert_eq(pipe(fd), 0);
	log.fd = fd[1];
	rig_start(&r);
	call_init(&c, &r, VM_CREATE);
	c.cmd.config->serial.mode = CHR_PTY;
	call_begin(&c, &r);
	cr_assert_eq(call_wait(&c), 0, "%s", c.cmd.err.text);
	cr_assert_gt(read(fd[0], text, sizeof(text) - 1), 0);
	cr_expect(strstr(text, "--serial is /dev/pts/"), "%s", text);
	call_fini(&c);
	rig_end(&r);
	close(fd[0]);
	close(fd[1]);
}

Test(life, a_log_whose_reader_has_left)
{
	struct log log = {.level = LOG_DEBUG};
	struct rig r = {.opts.log = &log};
	int fd[2];

	cr_assert_eq(pipe(fd), 0);
	close(fd[0]);
	log.fd = fd[1];
	rig_start(&r);
	rig_reach(&r, VM_PAUSED);
	rig_end(&r);
	close(fd[1]);
	cr_expect_eq(r.end.status, 0);
}

Test(life, a_thousand_reboots_leave_nothing_behind)
{
	struct rig r = {0};
	struct err e;
	char id[32];

	rig_start(&r);
	rig_reach(&r, VM_CREATED);
	cr_assert_eq(add_disk(&r, ",readonly=on", id, &e), 0);
	cr_assert_eq(add_disk(&r, ",readonly=on,transport=mmio", id, &e), 0);
	cr_assert_eq(call(&r, VM_BOOT, NULL), 0);
	for (unsigned i = 0; i < 10; i++)
		cr_assert_eq(call(&r, VM_REBOOT, NULL), 0);
	unsigned fds = count_entries("/proc/self/fd"), threads = count_entries("/proc/self/task");
	size_t heap = mallinfo2().uordblks;
	for (unsigned i = 0; i < 1000; i++) {
		if (i % 2)
			cr_assert_eq(call(&r, VM_REBOOT, NULL), 0);
		else
			vm_request(vm_requests(r.control->vm), REQ_RESET);
		cr_assert_eq(state_of(&r), VM_RUNNING);
	}
	cr_expect_eq(count_entries("/proc/self/fd"), fds);
	cr_expect_eq(count_entries("/proc/self/task"), threads);
	cr_expect_lt(mallinfo2().uordblks, heap + 64 * 1024);
	rig_end(&r);
}
