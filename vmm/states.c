/* SPDX-License-Identifier: Apache-2.0 */
/* The state table: one row a command. A row says in which states the command is legal, how still
 * the world has to stand for it, and which events surround it. */
#include "vmm/control_internal.h"

#include <errno.h>
#include <string.h>

#define IN(s)	(1u << VM_##s)
#define MACHINE (IN(RUNNING) | IN(PAUSED))

const struct op_row op_rows[VM_OPS] = {
	[VM_CREATE] = {"vm.create", IN(NONE)},
	[VM_BOOT] = {"vm.boot", IN(CREATED), .before = "booting", .after = "booted"},
	[VM_PAUSE] = {"vm.pause", IN(RUNNING), WORLD_QUIET, "pausing", "paused", .gives_up = true},
	[VM_RESUME] = {"vm.resume", IN(PAUSED), .before = "resuming", .after = "resumed"},
	[VM_REBOOT] = {"vm.reboot", MACHINE, WORLD_QUIET, "rebooting", "rebooted"},
	[VM_SHUTDOWN] = {"vm.shutdown", MACHINE, WORLD_QUIET},
	[VM_DELETE] = {"vm.delete", IN(CREATED) | MACHINE, WORLD_QUIET, .after = "deleted"},
	[VM_POWER_BUTTON] = {"vm.power-button", IN(RUNNING)},
	[VM_NMI] = {"vm.nmi", IN(RUNNING), WORLD_PARKED},
	[VM_ADD] = {"vm.add", IN(CREATED)},
	[VM_INFO] = {"vm.info", IN(CREATED) | MACHINE | IN(DUMPING), .question = true},
	[VM_COUNTERS] = {"vm.counters", MACHINE | IN(DUMPING), .question = true},
	[VM_DEVICE] = {"vm.devices", MACHINE, WORLD_QUIET, .gives_up = true},
	[VM_COREDUMP] = {"vm.coredump", MACHINE, WORLD_QUIET, "coredumping", "coredumped",
		.gives_up = true},
	[VM_CRASH] = {"crash report", MACHINE, WORLD_PARKED},
	[VMM_QUIT] = {"vmm.shutdown", IN(NONE) | IN(CREATED) | MACHINE | IN(DUMPING),
		.question = true},
};

static const char *const state_names[VM_STATES] = {
	[VM_NONE] = "not created",
	[VM_CREATED] = "created",
	[VM_RUNNING] = "running",
	[VM_PAUSED] = "paused",
	[VM_DUMPING] = "dumping",
};

bool control_legal(enum vm_op op, enum vm_state s)
{
	return op_rows[op].legal & (1u << s);
}

const char *control_op_name(enum vm_op op)
{
	return op_rows[op].name;
}

const char *control_state_name(enum vm_state s)
{
	return state_names[s];
}

int control_refuse(enum vm_op op, enum vm_state s, struct err *e)
{
	if (s == VM_NONE)
		return err_set(e, ERR_NOT_FOUND, -ENOENT, "%s: the VM is not created",
			control_op_name(op));
	if (op == VM_ADD && (s == VM_RUNNING || s == VM_PAUSED))
		return err_set(e, ERR_UNOFFERED, -EOPNOTSUPP,
			"%s: hot-plug is not offered yet; add devices before vm.boot",
			control_op_name(op));
	return err_set(e, ERR_CONFLICT, -EPERM, "%s: not possible while the VM is %s",
		control_op_name(op), control_state_name(s));
}
