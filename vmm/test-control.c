/* SPDX-License-Identifier: Apache-2.0 */
/* Control over a KVM that runs nothing: every command in every state, and nothing left behind. The
 * kernel is the smallest guest-test, named by the environment. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "vmm/control.h"
#include "vmm/kvm/kvm_fake.h"
#include "vmm/vcpu.h"

struct rig {
	struct control *control;
	pthread_t thread;
	struct control_end end;
	unsigned vcpus; /* 0: two */
};

static void *run(void *arg)
{
	struct rig *r = arg;

	control_run(r->control, &r->end);
	return NULL;
}

static void rig_start(struct rig *r)
{
	const struct control_opts o = {0};

	cr_assert_eq(control_signals_block(), 0);
	cr_assert_eq(vcpu_signals_init(), 0);
	cr_assert_eq(control_new(&o, &r->control), 0);
	pthread_create(&r->thread, NULL, run, r);
}

struct call {
	struct vm_cmd cmd;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool answered;
};

static void on_done(struct vm_cmd *cmd)
{
	struct call *c = container_of(cmd, struct call, cmd);

	pthread_mutex_lock(&c->lock);
	c->answered = true;
	pthread_cond_signal(&c->cond);
	pthread_mutex_unlock(&c->lock);
}

static struct vm_config *config(unsigned vcpus)
{
	struct vm_config *c = malloc(sizeof(*c));

	vm_config_init(c);
	c->serial.mode = CHR_NULL;
	c->memory.size = 64 * 1024 * 1024;
	c->cpus.boot = vcpus ? vcpus : 2;
	c->payload.kernel = strdup(getenv("POLYVISOR_TEST_KERNEL"));
	return c;
}

static int call(struct rig *r, enum vm_op op, struct err *ret_err)
{
	struct call c = {
		.cmd = {.op = op,
			.done = on_done,
			.config = op == VM_CREATE ? config(r->vcpus) : NULL},
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.cond = PTHREAD_COND_INITIALIZER,
	};

	control_submit(r->control, &c.cmd);
	pthread_mutex_lock(&c.lock);
	while (!c.answered)
		pthread_cond_wait(&c.cond, &c.lock);
	pthread_mutex_unlock(&c.lock);
	if (c.cmd.config) {
		vm_config_fini(c.cmd.config);
		free(c.cmd.config);
	}
	if (ret_err)
		*ret_err = c.cmd.err;
	return c.cmd.result;
}

static void rig_end(struct rig *r)
{
	call(r, VMM_QUIT, NULL);
	pthread_join(r->thread, NULL);
	control_free(r->control);
}

static unsigned count(const char *dir)
{
	DIR *d = opendir(dir);
	unsigned n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* Brings a fresh control into a state. */
static void reach(struct rig *r, enum vm_state s)
{
	if (s >= VM_CREATED)
		cr_assert_eq(call(r, VM_CREATE, NULL), 0);
	if (s >= VM_RUNNING)
		cr_assert_eq(call(r, VM_BOOT, NULL), 0);
	if (s >= VM_PAUSED)
		cr_assert_eq(call(r, VM_PAUSE, NULL), 0);
}

Test(control, every_command_in_every_state)
{
	/* Rows: create boot pause resume reboot shutdown delete; columns: none created running
	 * paused. */
	static const bool ok[VM_CRASH][VM_STATES] = {
		[VM_CREATE] = {1, 0, 0, 0},
		[VM_BOOT] = {0, 1, 0, 0},
		[VM_PAUSE] = {0, 0, 1, 0},
		[VM_RESUME] = {0, 0, 0, 1},
		[VM_REBOOT] = {0, 0, 1, 1},
		[VM_SHUTDOWN] = {0, 0, 1, 1},
		[VM_DELETE] = {0, 1, 1, 1},
	};

	for (int op = 0; op < VM_CRASH; op++) {
		for (int s = 0; s < VM_STATES; s++) {
			struct rig r = {0};
			struct err e;
			rig_start(&r);
			reach(&r, (enum vm_state)s);
			int res = call(&r, (enum vm_op)op, &e);
			cr_expect_eq(
				res == 0, ok[op][s], "op %d state %d: %d %s", op, s, res, e.text);
			if (res)
				cr_expect_eq(
					e.kind, ERR_CONFLICT, "op %d state %d: %s", op, s, e.text);
			rig_end(&r);
			cr_expect_eq(r.end.status, 0);
		}
	}
}

Test(control, reboots_leave_nothing_behind)
{
	struct rig r = {0};

	rig_start(&r);
	reach(&r, VM_RUNNING);
	cr_assert_eq(call(&r, VM_REBOOT, NULL), 0);
	unsigned fds = count("/proc/self/fd"), threads = count("/proc/self/task");
	for (unsigned i = 0; i < 100; i++)
		cr_assert_eq(call(&r, VM_REBOOT, NULL), 0);
	cr_expect_eq(count("/proc/self/fd"), fds);
	cr_expect_eq(count("/proc/self/task"), threads);
	rig_end(&r);
}

Test(control, a_failed_create_gives_everything_back)
{
	struct rig r = {0};
	struct err e;

	rig_start(&r);
	unsigned fds = count("/proc/self/fd");
	setenv("POLYVISOR_TEST_KERNEL", "/nowhere", 1);
	cr_expect_eq(call(&r, VM_CREATE, &e), -ENOENT);
	cr_expect(strstr(e.text, "--kernel /nowhere"), "%s", e.text);
	cr_expect_eq(count("/proc/self/fd"), fds);
	rig_end(&r);
}

/* The fake host allows 8. */
Test(control, more_vcpus_than_the_host_allows)
{
	struct rig r = {.vcpus = 9};
	struct err e;

	rig_start(&r);
	cr_expect_eq(call(&r, VM_CREATE, &e), -EINVAL);
	cr_expect_eq(e.kind, ERR_USAGE);
	cr_expect(strstr(e.text, "--cpus boot: 9") && strstr(e.text, "1..8"), "%s", e.text);
	rig_end(&r);
}

/* ---- what a guest can bring about ---- */

static _Atomic int exits;

int kvm_fake_on_run(struct kvm_vcpu *v)
{
	if (atomic_exchange(&exits, 0)) {
		v->run->exit_reason = KVM_EXIT_INTERNAL_ERROR;
		v->run->internal.suberror = 1;
		return 0;
	}
	nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	return -EINTR;
}

Test(control, a_crash_ends_with_a_report_and_status_3)
{
	char path[] = "/tmp/polyvisor-test-XXXXXX";
	const struct control_opts o = {.crash_path = path};
	struct rig r = {0};
	char text[64] = "";

	close(mkstemp(path));
	control_signals_block();
	vcpu_signals_init();
	cr_assert_eq(control_new(&o, &r.control), 0);
	pthread_create(&r.thread, NULL, run, &r);
	reach(&r, VM_RUNNING);
	atomic_store(&exits, 1);
	pthread_join(r.thread, NULL);
	cr_expect_eq(r.end.status, 3);
	cr_expect(r.end.crashed);
	FILE *f = fopen(path, "r");
	cr_assert(fgets(text, sizeof(text), f) && fgets(text, sizeof(text), f));
	cr_expect(strstr(text, "\"polyvisor_crash\": 1"), "%s", text);
	fclose(f);
	unlink(path);
	control_free(r.control);
}
