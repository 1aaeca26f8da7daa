/* SPDX-License-Identifier: Apache-2.0 */
/* polyvisor: argv becomes commands, commands go to control, control runs until the end. Exit
 * status: 0 the guest powered off, 1 our error, 2 usage, 3 the guest crashed. */
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include "arch/arch.h"
#include "vmm/api/api.h"
#include "vmm/args.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/json_out.h"
#include "vmm/control.h"
#include "vmm/probe.h"
#include "vmm/supervisor.h"
#include "vmm/vcpu.h"
#include "vmm/version.h"

/* libvirt asks a program of this name which cloud-hypervisor's API it has. */
static int version(const char *self)
{
	if (!strcmp(basename((char *)self), "cloud-hypervisor"))
		printf("cloud-hypervisor v53.0.0\n");
	else
		printf("polyvisor %s (%s, %s)\n", POLYVISOR_VERSION, arch_name(), POLYVISOR_COMMIT);
	return 0;
}

static int help(void)
{
	args_help();
	return 0;
}

static int usage(const struct err *e)
{
	fprintf(stderr, "polyvisor: %s\n", e->text[0] ? e->text : "out of memory");
	return err_exit_status(e);
}

static int probe(void)
{
	struct err e = {0};
	struct json_out j;
	enum kvm_verdict v = kvm_probe(&e);

	json_out_init(&j, stdout);
	json_obj(&j, NULL);
	json_str(&j, "chip", arch_name());
	json_str(&j, "verdict", kvm_verdict_name(v));
	json_str(&j, "why", e.text);
	json_obj_end(&j);
	putchar('\n');
	return v == KVM_LINUX || v == KVM_BARE_METAL ? 0 : 1;
}

/* The report is JSON for programs; on a terminal a person gets it rendered at once. */
static void render_crash(const struct control_end *end, const char *path)
{
	char dir[PATH_MAX], prog[PATH_MAX + 20];
	char *const argv[] = {(char *)"polyvisor-crash", (char *)path, NULL};
	ssize_t n = readlink("/proc/self/exe", dir, sizeof(dir) - 1);
	pid_t pid;

	fprintf(stderr, "polyvisor: the guest crashed: %s\n", end->why ? end->why : "unknown");
	if (!end->crashed)
		return;
	fprintf(stderr, "polyvisor: crash report: %s\n", path);
	if (!isatty(STDERR_FILENO) || n <= 0)
		return;
	dir[n] = '\0';
	snprintf(prog, sizeof(prog), "%s/polyvisor-crash", dirname(dir));
	if (posix_spawn(&pid, prog, NULL, NULL, argv, environ) &&
		posix_spawnp(&pid, "polyvisor-crash", NULL, NULL, argv, environ))
		return;
	waitpid(pid, NULL, 0);
}

/* ---- the commands of a command line: create, then boot; the first failure ends the process ----
 */

struct start {
	struct control *control;
	struct vm_cmd cmd;
	struct err err;
	bool failed;
};

static void on_done(struct vm_cmd *cmd)
{
	struct start *s = container_of(cmd, struct start, cmd);

	if (cmd->op == VMM_QUIT)
		return;
	if (cmd->result < 0) {
		s->err = cmd->err;
		s->failed = true;
		cmd->op = VMM_QUIT;
	} else if (cmd->op == VM_CREATE) {
		cmd->op = VM_BOOT;
	} else {
		return;
	}
	cmd->err = (struct err){0};
	control_submit(s->control, cmd);
}

/* Dies of the signal that ended us, as a shell expects, after everything is given back. */
static void die_of(int sig)
{
	sigset_t set;

	signal(sig, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, sig);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	raise(sig);
}

/* A client is a descriptor. */
static void raise_nofile(void)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l) == 0) {
		l.rlim_cur = l.rlim_max;
		setrlimit(RLIMIT_NOFILE, &l);
	}
}

/* The API before control, which gets its events; NULL when none was asked for. */
static int make_api(struct args *a, struct api **ret_api, struct err *e)
{
	const struct api_opts o = {
		.socket = *a->api_socket ? a->api_socket : NULL,
		.monitor = *a->event_monitor ? a->event_monitor : NULL,
		.log = &a->log,
	};

	if (!o.socket && !o.monitor)
		return 0;
	raise_nofile();
	int r = api_new(&o, ret_api, e);
	if (!r)
		a->control.events = api_events(*ret_api);
	return r;
}

/* Control exists; a machine is made when the command line describes one, or there is nobody else
 * who could. */
static int control_main(struct args *a, struct start *s, struct api *api, struct control_end *end)
{
	int r = api ? api_start(api, s->control) : 0;

	if (r < 0)
		return r;
	if (a->machine || !*a->api_socket) {
		s->cmd.config = steal_ptr(&a->config);
		control_submit(s->control, &s->cmd);
	}
	control_run(s->control, end);
	return 0;
}

/* Whoever asks for offload=auto, now or later over the API, needs somebody who may start programs.
 */
static int make_supervisor(struct args *a)
{
	if (!*a->api_socket && !vm_config_offload_auto(a->config))
		return 0;
	if (!strncmp(a->api_socket, "path=", 5)) {
		snprintf(a->offload_api, sizeof(a->offload_api), "%s.offload", a->api_socket + 5);
		a->control.offload_api = a->offload_api;
	}
	return supervisor_new(a->log.fd, &a->control.supervisor);
}

static int start(struct args *a, struct start *s, struct api **api, struct control_end *end)
{
	int r = make_supervisor(a); /* while there is one thread */

	if (!r)
		r = control_signals_block();

	if (!r)
		r = vcpu_signals_init();
	if (!r)
		r = make_api(a, api, &s->err);
	if (!r)
		r = control_new(&a->control, &s->control);
	if (!r)
		r = control_main(a, s, *api, end);
	return r;
}

static int run(struct args *a)
{
	struct start s = {.cmd = {.op = VM_CREATE, .done = on_done}};
	struct control_end end = {0};
	struct api *api = NULL;

	if (a->seccomp)
		log_line(&a->log, LOG_INFO, "vmm", "--seccomp: no filter is installed yet");
	int r = start(a, &s, &api, &end);
	api_free(api);
	control_free(s.control);
	supervisor_free(a->control.supervisor);
	if (s.err.kind == ERR_NONE && r < 0) {
		fprintf(stderr, "polyvisor: cannot start: %s\n", strerrordesc_np(-r));
		return 1;
	}
	/* A signal refuses the commands that it overtakes. */
	if (r < 0 || (s.failed && !end.signal))
		return usage(&s.err);
	if (end.err.kind != ERR_NONE)
		return usage(&end.err);
	if (end.status == 3 && end.why)
		render_crash(&end, a->crash_path);
	if (end.signal)
		die_of(end.signal);
	return end.status;
}

int main(int argc, char **argv)
{
	struct args a;
	struct err e = {0};
	int status, r = args_init(&a);

	if (!r)
		r = args_parse(&a, argc, argv, &e);
	if (r < 0)
		status = usage(&e);
	else if (a.help)
		status = help();
	else if (a.version)
		status = version(argv[0]);
	else
		status = a.probe ? probe() : run(&a);
	args_fini(&a);
	return status;
}
