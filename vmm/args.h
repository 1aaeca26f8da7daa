/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of polyvisor: flags of the machine go to its configuration, the others here. */
#ifndef VMM_ARGS_H
#define VMM_ARGS_H

#include <limits.h>
#include <stdbool.h>
#include "vmm/config.h"
#include "vmm/control.h"

struct args {
	struct vm_config *config; /* NULL when given away */
	bool machine;		  /* a flag of the machine was given: create and boot one */
	struct control_opts control;
	char crash_path[PATH_MAX];
	char api_socket[PATH_MAX + 8], event_monitor[PATH_MAX + 8]; /* "" = none */
	char offload_api[PATH_MAX + 8];				    /* beside the API's socket */
	struct log log;
	bool probe, help, version;
	bool seccomp; /* was asked for */
};

/* Fills defaults: -ENOMEM, or 0. */
int args_init(struct args *a);
void args_fini(struct args *a);
/* 0, or a negative errno with e naming flag and field. argv is written to. */
int args_parse(struct args *a, int argc, char **argv, struct err *e);
void args_help(void);

#endif
