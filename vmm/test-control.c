/* SPDX-License-Identifier: Apache-2.0 */
/* Control over a KVM that runs nothing: every command in every state, and nothing left behind. The
 * kernel is the smallest guest-test, named by the environment. */
#include "vmm/test_control.h"

/* Columns: none created running paused dumping. A dot is "not found" in none and a conflict
 * elsewhere, - is not offered. */
static const char *const table[VM_OPS] = {
	[VM_CREATE] = "+cccc",
	[VM_BOOT] = ".+ccc",
	[VM_PAUSE] = "..+..",
	[VM_RESUME] = "...+.",
	[VM_REBOOT] = "..++.",
	[VM_SHUTDOWN] = "..++.",
	[VM_DELETE] = ".+++.",
	[VM_POWER_BUTTON] = "..+..",
	[VM_NMI] = "..+..",
	[VM_ADD] = ".+--.",
	[VM_INFO] = ".++++",
	[VM_COUNTERS] = "..+++",
	[VM_DEVICE] = "..++.",
	[VM_COREDUMP] = "..++.",
	[VM_CRASH] = "..++.",
	[VMM_QUIT] = "+++++",
};

static void expect_cell(enum vm_op op, enum vm_state s, int result, const struct err *e)
{
	char want = table[op][s];
	const char *name = control_op_name(op), *in = control_state_name(s);

	cr_expect_eq(control_legal(op, s), want == '+', "%s while %s", name, in);
	if (want == '+') {
		cr_expect_eq(result, 0, "%s while %s: %d %s", name, in, result, e->text);
		return;
	}
	cr_expect_lt(result, 0, "%s while %s", name, in);
	cr_expect_eq(e->kind,
		want == '-'		      ? ERR_UNOFFERED
		: s == VM_NONE && want == '.' ? ERR_NOT_FOUND
					      : ERR_CONFLICT,
		"%s while %s: %s", name, in, e->text);
	cr_expect(!strncmp(e->text, name, strlen(name)), "%s while %s: %s", name, in, e->text);
}

Test(control, every_command_in_every_state)
{
	for (int op = 0; op < VM_OPS; op++) {
		for (int s = 0; s < VM_DUMPING; s++) {
			struct rig r = {0};
			struct err e;
			rig_start(&r);
			rig_reach(&r, (enum vm_state)s);
			int res = call(&r, (enum vm_op)op, &e);
			expect_cell((enum vm_op)op, (enum vm_state)s, res, &e);
			if (op == VMM_QUIT || (op == VM_CRASH && !res))
				rig_join(&r);
			else
				rig_end(&r);
			cr_expect_eq(r.end.status, op == VM_CRASH && !res ? 3 : 0);
		}
	}
}

Test(control, reboots_leave_nothing_behind)
{
	struct rig r = {0};

	rig_start(&r);
	rig_reach(&r, VM_RUNNING);
	cr_assert_eq(call(&r, VM_REBOOT, NULL), 0);
	unsigned fds = count_entries("/proc/self/fd"), threads = count_entries("/proc/self/task");
	for (unsigned i = 0; i < 100; i++)
		cr_assert_eq(call(&r, VM_REBOOT, NULL), 0);
	cr_expect_eq(count_entries("/proc/self/fd"), fds);
	cr_expect_eq(count_entries("/proc/self/task"), threads);
	rig_end(&r);
}

Test(control, a_failed_create_gives_everything_back)
{
	struct rig r = {0};
	struct err e;

	rig_start(&r);
	unsigned fds = count_entries("/proc/self/fd");
	setenv("POLYVISOR_TEST_KERNEL", "/nowhere", 1);
	cr_expect_eq(call(&r, VM_CREATE, &e), -ENOENT);
	cr_expect(strstr(e.text, "--kernel /nowhere"), "%s", e.text);
	cr_expect_eq(count_entries("/proc/self/fd"), fds);
	rig_end(&r);
}

/* The fake host allows 8. */
Test(control, more_vcpus_than_the_host_allows)
{
	struct rig r = {.vcpus = 9};
	struct err e;

	rig_start(&r);
	rig_reach(&r, VM_CREATED);
	cr_expect_eq(call(&r, VM_BOOT, &e), -EINVAL);
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
	struct rig r = {.opts = {.crash_path = path}};
	char text[64] = "";

	close(mkstemp(path));
	rig_start(&r);
	rig_reach(&r, VM_RUNNING);
	atomic_store(&exits, 1);
	rig_join(&r);
	cr_expect_eq(r.end.status, 3);
	cr_expect(r.end.crashed);
	FILE *f = fopen(path, "r");
	cr_assert(fgets(text, sizeof(text), f) && fgets(text, sizeof(text), f));
	cr_expect(strstr(text, "\"polyvisor_crash\": 1"), "%s", text);
	fclose(f);
	unlink(path);
}
