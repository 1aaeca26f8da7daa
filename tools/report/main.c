/* SPDX-License-Identifier: Apache-2.0 */
/* chip-report: what a new CPU, its kernel and KVM can do, in ten minutes, as two files. It needs
 * nothing but itself, the VMM and the guest-tests beside it, and a Linux with /dev/kvm. */
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "child.h"
#include "compare.h"
#include "facts.h"
#include "html.h"
#include "peer.h"
#include "runner.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"

#define TIME_S	  600
#define REPEAT	  7
#define TOLERANCE 30

struct options {
	const char *out, *vmm, *tests;
	char dir[PATH_MAX]; /* out, absolute */
	bool quick;
	unsigned time_s;
};

static int help(void)
{
	printf("Usage: chip-report run [--out DIR] [--quick] [--time SECONDS]\n"
	       "       chip-report compare [--tolerance PERCENT] A.json B.json\n\n"
	       "run      describes this machine's CPU (%s), kernel and KVM, runs the guest-tests, and\n"
	       "         writes report.json and report.html. Status: 0 nothing failed, 1 a test\n"
	       "         failed or none could run, 2 usage.\n"
	       "  --out DIR          where to write, the current folder by default; made if absent\n"
	       "  --quick            measure once instead of %d times\n"
	       "  --time SECONDS     begin no test after that, %d by default\n"
	       "  --vmm FILE         the VMM, polyvisor beside this program by default\n"
	       "  --guest-tests DIR  the guest-tests, beside this program by default\n"
	       "compare  shows what differs between two reports. Status like diff's: 0 nothing, 1\n"
	       "         something, 2 trouble.\n"
	       "  --tolerance PERCENT  figures that are no further apart are equal, %d by default\n",
		chip_name, REPEAT, TIME_S, TOLERANCE);
	return 0;
}

static int usage(const char *what, const char *allowed)
{
	fprintf(stderr, "chip-report: %s: %s\n", what, allowed);
	return 2;
}

static int trouble(const struct err *e)
{
	fprintf(stderr, "chip-report: %s\n", e->text);
	return err_exit_status(e);
}

/* ---- run ---- */

/* The folder of this program, without /proc, which a bare chroot may lack. */
static void own_path(char self[PATH_MAX], char dir[PATH_MAX])
{
	const char *exe = (const char *)getauxval(AT_EXECFN);

	if (!exe || !realpath(exe, self))
		strcpy(self, "./chip-report");
	strcpy(dir, self);
	dirname(dir);
}

/* The first of the places that has the file what, as an absolute path of its folder or itself. */
static int find(char ret[PATH_MAX], const char *dir, const char *const *places, const char *what)
{
	char path[2 * PATH_MAX];

	for (; *places; places++) {
		snprintf(path, sizeof(path), "%s/%s/%s", dir, *places, what);
		if (access(path, F_OK) < 0)
			continue;
		*strrchr(path, '/') = '\0';
		return realpath(path, ret) ? 0 : -errno;
	}
	return -ENOENT;
}

static int find_parts(struct runner *r, const struct options *o, struct err *e)
{
	static const char *const beside[] = {".", NULL};
	static const char *const tests[] = {"guest-tests", "../share/polyvisor/guest-tests", NULL};
	static const char *const given[] = {"", NULL};
	char dir[PATH_MAX];

	own_path(r->self, dir);
	if (o->vmm) {
		if (!realpath(o->vmm, r->vmm))
			return err_set(e, ERR_HOST, -errno, "--vmm %s: %s", o->vmm,
				strerrordesc_np(errno));
	} else if (find(r->vmm, dir, beside, "polyvisor") < 0 ||
		   strlen(r->vmm) + sizeof("/polyvisor") > PATH_MAX) {
		return err_set(
			e, ERR_HOST, -ENOENT, "%s has no polyvisor; name it with --vmm FILE", dir);
	} else {
		strcat(r->vmm, "/polyvisor");
	}
	if (find(r->tests, o->tests ? o->tests : dir, o->tests ? given : tests, "cases.txt") < 0)
		return err_set(e, ERR_HOST, -ENOENT,
			"%s has no cases.txt of the guest-tests; name their folder with "
			"--guest-tests DIR",
			o->tests ? o->tests : dir);
	return 0;
}

static int load_manifest(const struct runner *r, struct manifest *m, struct err *e)
{
	char path[PATH_MAX + 16];

	snprintf(path, sizeof(path), "%s/cases.txt", r->tests);
	cleanup_free char *text = read_text(path);
	if (!text)
		return err_set(e, ERR_HOST, -errno, "%s: cannot be read", path);
	return manifest_parse(text, m, e);
}

/* No test can pass where KVM runs nothing: they are then skipped with one reason, at once. */
static void judge_kvm(struct runner *r, const json_t *kvm)
{
	const char *verdict = json_string_value(json_object_get(kvm, "verdict"));
	const char *why = json_string_value(json_object_get(kvm, "why"));
	static const char *const no[] = {"none", "denied", "broken"};

	for (unsigned i = 0; verdict && i < ARRAY_SIZE(no); i++)
		if (!strcmp(verdict, no[i]))
			r->cannot = why && *why ? why : "/dev/kvm cannot run guests";
	printf("KVM: %s%s%s\n", verdict ? verdict : "unknown", why && *why ? ": " : "",
		why ? why : "");
}

static json_t *gather(struct runner *r)
{
	json_t *report = json_object(), *kvm, *version, *probe;
	time_t now = time(NULL);
	char date[32];
	struct tm tm;

	gmtime_r(&now, &tm);
	strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%SZ", &tm);
	set_int(report, "chip_report", 1);
	set_text(report, "chip", chip_name);
	set_text(report, "made", date);
	probe = runner_probe(r, &version);
	json_object_set_new(report, "vmm", version);
	json_object_set_new(report, "cpu", cpu_facts());
	json_object_set_new(report, "host", host_facts());
	json_object_set_new(report, "kvm", kvm = kvm_facts());
	json_object_set(kvm, "verdict", json_object_get(probe, "verdict"));
	json_object_set(kvm, "why", json_object_get(probe, "why"));
	json_decref(probe);
	judge_kvm(r, kvm);
	return report;
}

static void finish(struct runner *r, json_t *report, const struct options *o)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	json_object_set_new(report, "quick", json_boolean(o->quick));
	set_int(report, "seconds", now.tv_sec - (r->end.tv_sec - o->time_s));
	json_object_set(report, "tests", r->results);
	json_object_set_new(report, "counts",
		json_pack("{s:i, s:i, s:i}", "pass", r->count[VERDICT_PASS], "fail",
			r->count[VERDICT_FAIL], "skip", r->count[VERDICT_SKIP]));
	json_object_set_new(report, "metrics", series_json(&r->series));
}

/* A file of the scratch folder, which is below dir; it gets its place only when it is whole. */
static int write_file(const char *dir, const char *name, json_t *report,
	int (*write)(const json_t *, FILE *), struct err *e)
{
	char path[PATH_MAX + 16];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	FILE *f = fopen(name, "we");
	int err = !f ? -errno : write(report, f);
	if (f && fclose(f) && !err)
		err = -errno;
	if (!err && rename(name, path) < 0)
		err = -errno;
	if (err)
		return err_set(e, ERR_HOST, err, "%s: %s", path, strerrordesc_np(-err));
	printf("%s\n", path);
	return 0;
}

static int write_json(const json_t *report, FILE *f)
{
	return json_dumpf(report, f, JSON_INDENT(1)) || fputc('\n', f) == EOF ? -EIO : 0;
}

static int run_all(struct runner *r, const struct options *o, struct err *e)
{
	cleanup_free struct manifest *m = malloc(sizeof(*m));
	int err = load_manifest(r, m, e);

	if (err < 0)
		return err;
	json_t *report = gather(r);
	bool whole = runner_run(r, m);
	if (whole) {
		finish(r, report, o);
		err = write_file(o->dir, "report.json", report, write_json, e);
		if (!err)
			err = write_file(o->dir, "report.html", report, html_write, e);
	}
	json_decref(report);
	if (!whole)
		return err_set(e, ERR_HOST, -EINTR, "ended by a signal; no report is written");
	return err;
}

static int run(struct options *o)
{
	cleanup_free struct runner *r = calloc(1, sizeof(*r));
	struct err e = {};
	int err;

	if ((mkdir(o->out, 0777) < 0 && errno != EEXIST) || !realpath(o->out, o->dir)) {
		err_set(&e, ERR_HOST, -errno, "--out %s: %s", o->out, strerrordesc_np(errno));
		return trouble(&e);
	}
	child_init();
	r->repeat = o->quick ? 1 : REPEAT;
	clock_gettime(CLOCK_MONOTONIC, &r->end);
	r->end.tv_sec += o->time_s;
	err = find_parts(r, o, &e);
	if (!err)
		err = runner_init(r, o->dir, &e);
	if (!err)
		err = run_all(r, o, &e);
	runner_fini(r);
	if (child_stop_signal())
		return 128 + child_stop_signal();
	if (err)
		return trouble(&e);
	printf("%u passed, %u failed, %u skipped\n", r->count[VERDICT_PASS], r->count[VERDICT_FAIL],
		r->count[VERDICT_SKIP]);
	return r->count[VERDICT_FAIL] || !r->count[VERDICT_PASS];
}

static int run_command(int argc, char **argv)
{
	struct options o = {.out = ".", .time_s = TIME_S};
	uint64_t n;

	for (int i = 0; i < argc; i++) {
		if (!strcmp(argv[i], "--quick")) {
			o.quick = true;
			continue;
		}
		if (i + 1 == argc)
			return usage(argv[i], "unknown, or lacks its value; --help lists flags");
		if (!strcmp(argv[i], "--out"))
			o.out = argv[++i];
		else if (!strcmp(argv[i], "--vmm"))
			o.vmm = argv[++i];
		else if (!strcmp(argv[i], "--guest-tests"))
			o.tests = argv[++i];
		else if (strcmp(argv[i], "--time"))
			return usage(argv[i], "unknown; --help lists flags");
		else if (num_parse(argv[++i], &n) < 0 || n < 1 || n > 86400)
			return usage("--time", "allowed: 1 to 86400 seconds");
		else
			o.time_s = (unsigned)n;
	}
	return run(&o);
}

/* ---- compare ---- */

static json_t *load_report(const char *path)
{
	json_error_t err;
	json_t *j = json_load_file(path, JSON_REJECT_DUPLICATES, &err);

	if (j && json_is_integer(json_object_get(j, "chip_report")))
		return j;
	fprintf(stderr, "chip-report: %s: %s\n", path,
		j ? "not a report of chip-report" : err.text);
	json_decref(j);
	return NULL;
}

static int compare_files(const char *a, const char *b, unsigned tolerance)
{
	json_t *ja = load_report(a), *jb = ja ? load_report(b) : NULL;
	int n = -EINVAL;

	if (jb) {
		printf("%-44s %-28s %s\n", "", a, b);
		n = compare_reports(ja, jb, tolerance, stdout);
		printf("%d differences\n", n);
	}
	json_decref(ja);
	json_decref(jb);
	return n < 0 ? 2 : n > 0;
}

static int compare_command(int argc, char **argv)
{
	uint64_t tolerance = TOLERANCE;

	if (argc > 0 && !strcmp(argv[0], "--tolerance")) {
		if (argc < 2 || num_parse(argv[1], &tolerance) < 0 || tolerance > 100000)
			return usage("--tolerance", "allowed: 0 to 100000 percent");
		argc -= 2;
		argv += 2;
	}
	if (argc != 2)
		return usage("compare", "two reports are needed: A.json B.json");
	return compare_files(argv[0], argv[1], (unsigned)tolerance);
}

int main(int argc, char **argv)
{
	const char *name = argc ? strrchr(argv[0], '/') : NULL;

	if (!strcmp(name ? name + 1 : argc ? argv[0] : "", "passt"))
		return peer_main(argc, argv);
	if (argc < 2)
		return usage("a command is missing", "run, compare, or --help");
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))
		return help();
	if (!strcmp(argv[1], "run"))
		return run_command(argc - 2, argv + 2);
	if (!strcmp(argv[1], "compare"))
		return compare_command(argc - 2, argv + 2);
	return usage(argv[1], "no such command; allowed: run, compare, --help");
}
