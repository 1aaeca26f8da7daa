/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#include "tools/crash/crash.h"
#include "vmm/version.h"

static const char usage[] =
	"Usage: polyvisor-crash [--all] FILE\n"
	"Renders a crash report of polyvisor for a person; FILE - reads standard input.\n"
	"  --all      also model-specific and unnamed registers, and fields that are zero\n"
	"  --version, --help\n"
	"Exit status: 0, 1 when FILE is no crash report, 2 for a usage error.\n";

static int usage_error(FILE *err, const char *what, const char *arg)
{
	fprintf(err, "polyvisor-crash: %s%s; polyvisor-crash --help says more\n", what, arg);
	return 2;
}

static int render(const char *path, bool all, FILE *out, FILE *err)
{
	struct err e = {0};
	json_t *report;

	if (crash_load(path, &report, &e) < 0) {
		fprintf(err, "polyvisor-crash: %s\n", e.text);
		return 1;
	}
	crash_render(report, all, out);
	json_decref(report);
	if (fflush(out) || ferror(out)) {
		fprintf(err, "polyvisor-crash: cannot write the output\n");
		return 1;
	}
	return 0;
}

int crash_main(int argc, char **argv, FILE *out, FILE *err)
{
	const char *path = NULL;
	bool all = false;

	for (int i = 1; i < argc; i++) {
		const char *a = argv[i];

		if (strcmp(a, "--help") == 0) {
			fputs(usage, out);
			return 0;
		}
		if (strcmp(a, "--version") == 0) {
			fprintf(out, "polyvisor-crash %s (%s)\n", POLYVISOR_VERSION,
				POLYVISOR_COMMIT);
			return 0;
		}
		if (strcmp(a, "--all") == 0)
			all = true;
		else if (a[0] == '-' && a[1])
			return usage_error(err, "no such flag: ", a);
		else if (path)
			return usage_error(err, "one FILE only, not also ", a);
		else
			path = a;
	}
	return path ? render(path, all, out, err) : usage_error(err, "FILE is missing", "");
}
