/* SPDX-License-Identifier: Apache-2.0 */
/* A static build carries no TLS server and no database: it is for hosts. */
#include "cloud/program.h"

const struct command commands[] = {
	{"node", "this machine as a host of a control plane elsewhere", cmd_node, node_help},
	{NULL},
};
