/* SPDX-License-Identifier: Apache-2.0 */
#include "cloud/program.h"

const struct command commands[] = {
	{"up", "all of it in one process: control plane and this machine as its first host", cmd_up,
		up_help},
	{"control", "the control plane alone", cmd_control, control_help},
	{"node", "this machine as a host of a control plane elsewhere", cmd_node, node_help},
	{"backup", "copy the state of a control plane, running or not", cmd_backup, backup_help},
	{"restore", "put such a copy in its place", cmd_restore, restore_help},
	{NULL},
};
