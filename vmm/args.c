/* SPDX-License-Identifier: Apache-2.0 */
/* "--flag value" and "--flag=value"; a flag may be followed by several values, as in
 * cloud-hypervisor (--disk path=a path=b). One row a flag; what has no row is the machine's. */
#include "vmm/args.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "arch/arch.h"
#include "vmm/base/num.h"

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

/* "path=FILE", "fd=N", or a bare path as cloud-hypervisor takes it. */
static int where(char out[PATH_MAX + 8], const char *flag, const char *text, struct err *e)
{
	bool bare = strncmp(text, "path=", 5) && strncmp(text, "fd=", 3);

	if (*out)
		return err_set(e, ERR_USAGE, -EINVAL, "%s: given twice", flag);
	if (!*text || strlen(text) >= PATH_MAX)
		return err_set(e, ERR_USAGE, -EINVAL, "%s: give path=FILE or fd=N", flag);
	snprintf(out, PATH_MAX + 8, "%s%s", bare ? "path=" : "", text);
	return 0;
}

static int api_socket(struct args *a, const char *text, struct err *e)
{
	return where(a->api_socket, "--api-socket", text, e);
}

static int event_monitor(struct args *a, const char *text, struct err *e)
{
	return where(a->event_monitor, "--event-monitor", text, e);
}

static int seccomp(struct args *a, const char *text, struct err *e)
{
	if (strcmp(text, "true") && strcmp(text, "false") && strcmp(text, "log"))
		return err_set(e, ERR_USAGE, -EINVAL,
			"--seccomp: \"%s\" is not allowed; allowed: true, false, log", text);
	a->seccomp = strcmp(text, "false");
	return 0;
}

static const struct {
	const char *flag;
	int (*take)(struct args *a, const char *text, struct err *e);
	const char *help;
} values[] = {
	{"--api-socket", api_socket,
		"path=FILE|fd=N\n      serve the REST API on a unix socket; without --kernel, wait "
		"for it"},
	{"--event-monitor", event_monitor,
		"path=FILE|fd=N\n      write what happens to a file, FIFO or socket, as JSON"},
	{"--on-reboot", on_reboot,
		"restart|exit\n      what a guest's reboot does, restart by default"},
	{"--crash-report", crash_report,
		"FILE|off\n      where a crash report goes, "
		"/tmp/polyvisor-crash-PID.json by default"},
	{"--log-file", log_file, "FILE\n      log lines go there instead of stderr"},
	{"--seccomp", seccomp,
		"true|false|log\n      taken for compatibility; there is no filter yet"},
};

static void louder(struct args *a)
{
	a->log.level = a->log.level == LOG_WARN ? LOG_INFO : LOG_DEBUG;
}

/* Flags without a value. */
static bool is_switch(struct args *a, const char *name)
{
	if (!strcmp(name, "--verbose")) {
		louder(a);
	} else if (!strcmp(name, "--no-shutdown")) {
		a->control.no_shutdown = true;
	} else if (!strcmp(name, "--probe-kvm")) {
		a->probe = true;
	} else if (name[0] == '-' && name[1] == 'v' && !name[1 + strspn(name + 1, "v")]) {
		for (const char *p = name + 1; *p; p++)
			louder(a);
	} else {
		return false;
	}
	return true;
}

/* One flag with its value. */
static int flag(struct args *a, const char *name, const char *text, struct err *e)
{
	for (unsigned i = 0; i < ARRAY_SIZE(values); i++)
		if (!strcmp(name, values[i].flag))
			return values[i].take(a, text, e);
	int r = vm_config_flag(a->config, name, text, e);
	if (r == -ENOENT && e->kind == ERR_NONE)
		return err_set(e, ERR_USAGE, -EINVAL,
			"%s: no such flag; polyvisor --help lists them", name);
	a->machine = true;
	return r;
}

static bool is_value(const char *word)
{
	return strncmp(word, "--", 2) && strncmp(word, "-v", 2);
}

/* One flag and the values behind it. Returns how many words it took. */
static int take(struct args *a, int argc, char **argv, struct err *e)
{
	char *name = argv[0], *eq = strchr(name, '=');
	int r, n = 1;

	if (strncmp(name, "--", 2))
		return err_set(
			e, ERR_USAGE, -EINVAL, "%s: not a flag; polyvisor --help lists them", name);
	if (eq) {
		*eq = '\0';
		r = flag(a, name, eq + 1, e);
		return r < 0 ? r : 1;
	}
	if (argc == 1 || !strncmp(argv[1], "--", 2)) {
		/* Unknown flags are named as such, not as lacking a value. */
		r = flag(a, name, "", e);
		if (r < 0 && strstr(e->text, "no such flag"))
			return r;
		e->kind = ERR_NONE;
		return err_set(e, ERR_USAGE, -EINVAL,
			"%s: needs a value; polyvisor --help shows it", name);
	}
	for (r = 0; r >= 0 && n < argc && is_value(argv[n]); n++)
		r = flag(a, name, argv[n], e);
	return r < 0 ? r : n;
}

int args_parse(struct args *a, int argc, char **argv, struct err *e)
{
	for (int i = 1; i < argc; i++) {
		a->help |= !strcmp(argv[i], "--help") || !strcmp(argv[i], "-h");
		a->version |= !strcmp(argv[i], "--version") || !strcmp(argv[i], "-V");
	}
	if (a->help || a->version)
		return 0;
	for (int i = 1, n; i < argc; i += n) {
		n = is_switch(a, argv[i]) ? 1 : take(a, argc - i, argv + i, e);
		if (n < 0)
			return n;
	}
	if (a->control.no_shutdown && !*a->api_socket)
		return err_set(e, ERR_USAGE, -EINVAL,
			"--no-shutdown: goes with --api-socket; nobody else could boot the machine "
			"again");
	return 0;
}

void args_help(void)
{
	printf("Usage: polyvisor --kernel FILE [OPTION…]\n"
	       "       polyvisor --api-socket path=FILE [OPTION…]\n"
	       "Runs one virtual machine on this host's chip (%s). Exit status: 0 the guest powered\n"
	       "off, 1 our error, 2 usage, 3 the guest crashed. On a terminal, Ctrl-A x leaves.\n\n",
		arch_name());
	vm_config_help(stdout);
	for (unsigned i = 0; i < ARRAY_SIZE(values); i++)
		printf("  %s %s\n", values[i].flag, values[i].help);
	printf("  --no-shutdown\n      a guest that switches itself off can be booted again, over "
	       "the API\n"
	       "  -v, --verbose\n      more log; twice for debugging\n"
	       "  --probe-kvm\n      say whether /dev/kvm can run guests, by running instructions\n"
	       "  --version, --help\n");
}

int args_init(struct args *a)
{
	*a = (struct args){.log = {.fd = STDERR_FILENO, .level = LOG_WARN}};
	a->config = malloc(sizeof(*a->config));
	if (!a->config)
		return -ENOMEM;
	vm_config_init(a->config);
	a->control.log = &a->log;
	a->control.crash_path = a->crash_path;
	snprintf(a->crash_path, sizeof(a->crash_path), "/tmp/polyvisor-crash-%d.json",
		(int)getpid());
	return 0;
}

void args_fini(struct args *a)
{
	if (a->config)
		vm_config_fini(a->config);
	free(a->config);
}
