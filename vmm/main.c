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
#include <sys/wait.h>
#include <unistd.h>
#include "arch/arch.h"
#include "vmm/base/json_out.h"
#include "vmm/control.h"
#include "vmm/probe.h"
#include "vmm/vcpu.h"
#include "vmm/version.h"

struct args {
	struct vm_config *config;
	struct control_opts control;
	char crash_path[PATH_MAX];
	struct log log;
	bool probe;
};

static int version(void)
{
	printf("polyvisor %s (%s, %s)\n", POLYVISOR_VERSION, arch_name(), POLYVISOR_COMMIT);
	return 0;
}

static int help(void)
{
	printf("Usage: polyvisor --kernel FILE [OPTION…]\n"
	       "Boots one virtual machine on this host's chip (%s). Exit status: 0 the guest powered\n"
	       "off, 1 our error, 2 usage, 3 the guest crashed. On a terminal, Ctrl-A x leaves.\n\n",
		arch_name());
	vm_config_help(stdout);
	printf("  --on-reboot restart|exit\n      what a guest's reboot does, restart by default\n"
	       "  --crash-report FILE|off\n      where a crash report goes, "
	       "/tmp/polyvisor-crash-PID.json by default\n"
	       "  --log-file FILE\n      log lines go there instead of stderr\n"
	       "  -v, --verbose\n      more log; twice for debugging\n"
	       "  --probe-kvm\n      say whether /dev/kvm can run guests, by running instructions\n"
	       "  --version, --help\n");
	return 0;
}

static int usage(const struct err *e)
{
	fprintf(stderr, "polyvisor: %s\n", e->text[0] ? e->text : "out of memory");
	return err_exit_status(e);
}

static int on_reboot(struct args *a, const char *text, struct err *e)
{
	if (strcmp(text, "restart") && strcmp(text, "exit"))
		return err_set(e, ERR_USAGE, -EINVAL,
			"--on-reboot: \"%s\" is not allowed; allowed: restart, exit", text);
	a->control.exit_on_reboot = !strcmp(text, "exit");
	return 0;
}

static int crash_report(struct args *a, const char *text, struct err *e)
{
	if (strlen(text) >= sizeof(a->crash_path) || !*text)
		return err_set(e, ERR_USAGE, -EINVAL, "--crash-report: give a file, or off");
	strcpy(a->crash_path, text);
	a->control.crash_path = strcmp(text, "off") ? a->crash_path : NULL;
	return 0;
}

static int log_file(struct args *a, const char *text, struct err *e)
{
	FILE *f = fopen(text, "ae"); /* stays open for the process's life */

	if (!f)
		return err_set(
			e, ERR_HOST, -errno, "--log-file %s: %s", text, strerrordesc_np(errno));
	a->log.fd = fileno(f);
	return 0;
}

/* One flag with its value. */
static int flag(struct args *a, const char *name, const char *text, struct err *e)
{
	if (!strcmp(name, "--on-reboot"))
		return on_reboot(a, text, e);
	if (!strcmp(name, "--crash-report"))
		return crash_report(a, text, e);
	if (!strcmp(name, "--log-file"))
		return log_file(a, text, e);
	int r = vm_config_flag(a->config, name, text, e);
	if (r == -ENOENT && e->kind == ERR_NONE)
		return err_set(e, ERR_USAGE, -EINVAL,
			"%s: no such flag; polyvisor --help lists them", name);
	return r;
}

/* "--flag value" and "--flag=value"; a flag may be followed by several values, as in
 * cloud-hypervisor (--disk path=a path=b). */
static int parse(struct args *a, int argc, char **argv, struct err *e)
{
	for (int i = 1; i < argc; i++) {
		char *name = argv[i], *eq = strchr(name, '=');
		int r = 0;

		if (!strcmp(name, "-v") || !strcmp(name, "--verbose")) {
			a->log.level = a->log.level == LOG_WARN ? LOG_INFO : LOG_DEBUG;
			continue;
		}
		if (!strcmp(name, "--probe-kvm")) {
			a->probe = true;
			continue;
		}
		if (strncmp(name, "--", 2))
			return err_set(e, ERR_USAGE, -EINVAL,
				"%s: not a flag; polyvisor --help lists them", name);
		if (eq) {
			*eq = '\0';
			r = flag(a, name, eq + 1, e);
		} else if (i + 1 == argc || !strncmp(argv[i + 1], "--", 2)) {
			/* Unknown flags are named as such, not as lacking a value. */
			r = flag(a, name, "", e);
			if (r == 0 || !strstr(e->text, "no such flag")) {
				e->kind = ERR_NONE;
				return err_set(e, ERR_USAGE, -EINVAL,
					"%s: needs a value; polyvisor --help shows it", name);
			}
		}
		while (!eq && r >= 0 && i + 1 < argc && strncmp(argv[i + 1], "--", 2) &&
			strcmp(argv[i + 1], "-v"))
			r = flag(a, name, argv[++i], e);
		if (r < 0)
			return r;
	}
	return 0;
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

static int run(struct args *a)
{
	struct start s = {.cmd = {.op = VM_CREATE, .config = a->config, .done = on_done}};
	struct control_end end = {0};
	int r = control_signals_block();

	a->config = NULL;
	if (!r)
		r = vcpu_signals_init();
	if (!r)
		r = control_new(&a->control, &s.control);
	if (r < 0) {
		fprintf(stderr, "polyvisor: cannot start: %s\n", strerrordesc_np(-r));
		return 1;
	}
	control_submit(s.control, &s.cmd);
	control_run(s.control, &end);
	control_free(s.control);
	if (s.failed && !end.signal) /* a signal refuses the commands it overtakes */
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
	struct args a = {.log = {.fd = STDERR_FILENO, .level = LOG_WARN}};
	struct err e = {0};

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
			return help();
		if (!strcmp(argv[i], "--version") || !strcmp(argv[i], "-V"))
			return version();
	}
	a.config = malloc(sizeof(*a.config));
	if (!a.config)
		return usage(&e);
	vm_config_init(a.config);
	a.control.log = &a.log;
	a.control.crash_path = a.crash_path;
	snprintf(a.crash_path, sizeof(a.crash_path), "/tmp/polyvisor-crash-%d.json", (int)getpid());

	int r = parse(&a, argc, argv, &e);
	int status = r < 0 ? usage(&e) : a.probe ? probe() : run(&a);
	if (a.config)
		vm_config_fini(a.config);
	free(a.config);
	return status;
}
