/* SPDX-License-Identifier: Apache-2.0 */
/* See runner.h. A test passes when the VMM's exit status and the guest's last verdict line agree; a
 * crashed or hung guest leaves the VMM's crash report, which goes into the result whole. */
#include "runner.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "child.h"
#include "facts.h"
#include "guest_out.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"

#define DISK_BYTES  (4 * MIB)
#define SLOW_HOST   4 /* a test's time is meant for a native host; emulated ones are slower */
#define STATUS_FAIL 35
#define STATUS_SKIP 37
#define MAX_ARGS    40

/* One run of one test. */
struct attempt {
	enum verdict verdict;
	char reason[400];
	struct guest_out out;
	struct child_result child;
};

/* A new file each time: the kernel may still be closing the last VMM's, with its lock. */
static int make_disk(void)
{
	unlink("disk");
	cleanup_fd int fd = open("disk", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	return fd < 0 || ftruncate(fd, DISK_BYTES) < 0 ? -errno : 0;
}

int runner_init(struct runner *r, const char *dir, struct err *e)
{
	char path[2 * PATH_MAX];
	const char *old = getenv("PATH");

	r->results = json_array();
	if (snprintf(r->work, sizeof(r->work), "%s/.chip-report-XXXXXX", dir) >= PATH_MAX)
		return err_set(e, ERR_USAGE, -ENAMETOOLONG, "--out: the path is too long");
	if (!mkdtemp(r->work)) {
		*r->work = '\0';
		return err_set(e, ERR_HOST, -errno, "--out %s: cannot write there: %s", dir,
			strerrordesc_np(errno));
	}
	if (chdir(r->work) < 0 || symlink(r->self, "passt") < 0)
		return err_set(e, ERR_HOST, -errno, "%s: cannot make a link: %s", r->work,
			strerrordesc_np(errno));
	snprintf(path, sizeof(path), "%s:%s", r->work, old ? old : "/usr/bin:/bin");
	setenv("PATH", path, 1);
	return 0;
}

void runner_fini(struct runner *r)
{
	DIR *d = *r->work ? opendir(r->work) : NULL;
	struct dirent *f;

	while (d && (f = readdir(d)))
		unlinkat(dirfd(d), f->d_name, 0);
	if (d)
		closedir(d);
	if (*r->work)
		rmdir(r->work);
	json_decref(r->results);
}

static int left_ms(const struct runner *r)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	long long ms =
		(r->end.tv_sec - now.tv_sec) * 1000LL + (r->end.tv_nsec - now.tv_nsec) / 1000000;
	return (int)MIN(MAX(ms, 0LL), 86400000LL);
}

/* The VMM's command line, in texts of its own. */
struct args {
	char *argv[MAX_ARGS + 1];
	unsigned n;
};

__attribute__((format(printf, 2, 3))) static void arg(struct args *a, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (a->n < MAX_ARGS && vasprintf(&a->argv[a->n], fmt, ap) >= 0)
		a->n++;
	va_end(ap);
}

static void args_fini(struct args *a)
{
	for (unsigned i = 0; i < a->n; i++)
		free(a->argv[i]);
}

static void device_args(struct args *a, const struct test_case *t)
{
	const char *transport = *t->transport ? t->transport : "pci";

	if (t->needs & NEED_BLK) {
		arg(a, "--disk");
		arg(a, "path=disk,transport=%s", transport);
	}
	if (t->needs & NEED_NET) {
		arg(a, "--net");
		arg(a, "backend=passt,transport=%s", transport);
	}
	arg(a, "--rng");
	if (t->needs & NEED_RNG)
		arg(a, "transport=%s", transport);
	else
		arg(a, "off");
	if (t->needs & NEED_CONSOLE) {
		arg(a, "--console");
		arg(a, "null,transport=%s", transport);
	}
	if (t->needs & NEED_VSOCK) {
		unlink("vsock"); /* of a VMM that was killed */
		arg(a, "--vsock");
		arg(a, "cid=3,socket=vsock,transport=%s", transport);
	}
}

static void test_args(struct args *a, const struct runner *r, const struct test_case *t)
{
	arg(a, "%s", r->vmm);
	arg(a, "--kernel");
	arg(a, "%s/%s", r->tests, t->image);
	arg(a, "--cpus");
	arg(a, "boot=%u", t->cpus);
	arg(a, "--memory");
	arg(a, "size=64M");
	arg(a, "--serial");
	arg(a, "file=serial");
	arg(a, "--crash-report");
	arg(a, "crash");
	arg(a, "--device");
	arg(a, "test-exit");
	device_args(a, t);
	if (*t->transport || t->needs & NEED_NET) {
		arg(a, "--cmdline");
		arg(a, "%s%s%s", *t->transport ? "transport=" : "", t->transport,
			t->needs & NEED_NET ? " net.rx=required" : "");
	}
}

/* The last line that is not empty. */
static const char *last_line(char *text)
{
	char *end = text + strlen(text), *nl;

	while (end > text && (end[-1] == '\n' || end[-1] == '\r' || end[-1] == ' '))
		*--end = '\0';
	nl = strrchr(text, '\n');
	return nl ? nl + 1 : text;
}

/* Why the VMM ended as it did: after a crash its last line only says where the report is. */
static const char *vmm_says(char *text)
{
	const char *last = last_line(text);
	char *crashed = strstr(text, "polyvisor: the guest crashed: ");

	if (!crashed)
		return last;
	crashed[strcspn(crashed, "\r\n")] = '\0';
	return crashed;
}

__attribute__((format(printf, 2, 3))) static void fail(struct attempt *a, const char *fmt, ...)
{
	va_list ap;

	a->verdict = VERDICT_FAIL;
	va_start(ap, fmt);
	vsnprintf(a->reason, sizeof(a->reason), fmt, ap);
	va_end(ap);
}

/* Compares what the guest said with how the VMM ended. */
static void judge(struct attempt *a, const struct test_case *t)
{
	const struct guest_out *o = &a->out;
	bool named = o->verdict == VERDICT_NONE || !strcmp(o->name, t->image);
	int status = a->child.status;

	if (a->child.timed_out)
		fail(a, "no end after %.0f s", a->child.seconds);
	else if (!named)
		fail(a, "the guest says it is \"%s\"", o->name);
	else if (status == STATUS_SKIP && o->verdict == VERDICT_SKIP) {
		a->verdict = VERDICT_SKIP;
		strcpy(a->reason, o->reason);
	} else if (o->verdict == VERDICT_FAIL && status == STATUS_FAIL)
		fail(a, "%s", *o->reason ? o->reason : "the guest gives no reason");
	else if (status == t->expect && (o->verdict == VERDICT_PASS || !strcmp(t->image, "tiny")))
		a->verdict = VERDICT_PASS;
	else if (status == 1 || status == 2 || status == 3 || status == 127)
		fail(a, "%s", vmm_says(a->child.text));
	else
		fail(a, "exit status %d instead of %d, and the guest says %s", status, t->expect,
			verdict_name(o->verdict));
}

/* The guest prints nothing: what is measured is the VMM, from its start to its end. */
static void measure_start(struct attempt *a)
{
	struct guest_metric *m = &a->out.metric[a->out.nmetrics++];

	strcpy(m->name, "start-to-power-off");
	strcpy(m->unit, "us");
	m->value = (uint64_t)(a->child.seconds * 1e6);
}

static void try_once(const struct runner *r, const struct test_case *t, struct attempt *a)
{
	struct args args = {};
	unsigned ms = MIN(t->timeout_s * 1000 * SLOW_HOST, (unsigned)MAX(left_ms(r), 1000));

	*a = (struct attempt){};
	unlink("serial");
	unlink("crash");
	int err = t->needs & NEED_BLK ? make_disk() : 0;
	if (err < 0)
		return fail(a, "cannot make a disk file: %s", strerrordesc_np(-err));
	test_args(&args, r, t);
	err = child_run(args.argv, ms, &a->child);
	args_fini(&args);
	if (err < 0)
		return fail(a, "cannot start %s: %s", r->vmm, strerrordesc_np(-err));
	cleanup_free char *text = read_text("serial");
	guest_out_parse(text ? text : "", text ? strlen(text) : 0, &a->out);
	judge(a, t);
	if (a->verdict == VERDICT_PASS && !strcmp(t->image, "tiny"))
		measure_start(a);
}

/* The VMM's crash report, raw, and as polyvisor-crash shows it where that is beside the VMM. */
static void add_crash(const struct runner *r, struct attempt *a, json_t *result)
{
	json_t *crash = json_load_file("crash", 0, NULL);
	char viewer[PATH_MAX + 8];
	char *argv[] = {viewer, (char *)"crash", NULL};

	if (!crash)
		return;
	json_object_set_new(result, "crash", crash);
	snprintf(viewer, sizeof(viewer), "%s-crash", r->vmm);
	if (!access(viewer, X_OK) && !child_run(argv, 10000, &a->child) && !a->child.status)
		json_object_set_new(result, "crash_text", json_string(a->child.text));
}

/* What helps to find out why: the ends of both outputs, and the crash report. */
static void add_evidence(const struct runner *r, struct attempt *a, json_t *result)
{
	cleanup_free char *serial = read_text("serial");
	size_t len = serial ? strlen(serial) : 0;
	char clean[2048] = "", *at = clean;

	/* line by line, because a control byte of the guest's must not reach a reader's terminal */
	for (char *line = serial ? serial + len - MIN(len, sizeof(clean) - 1) : NULL;
		line && *line;) {
		size_t n = strcspn(line, "\n"), room = sizeof(clean) - (size_t)(at - clean) - 1;
		copy_printable(at, room, line, n && line[n - 1] == '\r' ? n - 1 : n);
		at += strlen(at);
		*at++ = '\n';
		*at = '\0';
		line += n + (line[n] == '\n');
	}
	json_object_set_new(result, "serial", json_string(clean));
	set_text(result, "vmm_says", vmm_says(a->child.text));
	set_int(result, "status", a->child.status);
	add_crash(r, a, result);
}

/* Runs a test as often as it is worth. */
static json_t *run_test(struct runner *r, const struct test_case *t)
{
	cleanup_free struct attempt *a = malloc(sizeof(*a));
	double seconds = 0;
	unsigned runs = 0;
	json_t *result = json_object();

	do {
		try_once(r, t, a);
		runs++;
		seconds += a->child.seconds;
		if (a->verdict == VERDICT_PASS)
			series_add(&r->series, t->name, &a->out);
	} while (a->verdict == VERDICT_PASS && a->out.nmetrics && runs < r->repeat &&
		 left_ms(r) > 0 && !child_stop_signal());
	if (a->child.interrupted) {
		json_decref(result);
		return NULL;
	}
	set_text(result, "name", t->name);
	set_text(result, "result", verdict_name(a->verdict));
	set_text(result, "reason", a->reason);
	json_object_set_new(result, "seconds", json_real(seconds));
	set_int(result, "runs", runs);
	if (a->verdict == VERDICT_FAIL)
		add_evidence(r, a, result);
	r->count[a->verdict]++;
	return result;
}

static json_t *skip_test(struct runner *r, const struct test_case *t, const char *why)
{
	json_t *result = json_object();

	set_text(result, "name", t->name);
	set_text(result, "result", "skip");
	set_text(result, "reason", why);
	r->count[VERDICT_SKIP]++;
	return result;
}

static void show(unsigned i, unsigned n, const json_t *result)
{
	const char *reason = json_string_value(json_object_get(result, "reason"));
	double seconds = json_real_value(json_object_get(result, "seconds"));

	printf("[%2u/%u] %-22s %s", i + 1, n, json_string_value(json_object_get(result, "name")),
		json_string_value(json_object_get(result, "result")));
	if (reason && *reason)
		printf(": %s", reason);
	if (seconds > 0)
		printf(" (%.2f s)", seconds);
	putchar('\n');
	fflush(stdout);
}

bool runner_run(struct runner *r, const struct manifest *m)
{
	for (unsigned i = 0; i < m->n; i++) {
		const struct test_case *t = &m->test[i];
		json_t *result;

		if (r->cannot)
			result = skip_test(r, t, r->cannot);
		else if (left_ms(r) == 0)
			result = skip_test(r, t, "the time for the whole run (--time) is over");
		else
			result = run_test(r, t);
		if (!result || child_stop_signal()) {
			json_decref(result);
			return false;
		}
		json_array_append_new(r->results, result);
		show(i, m->n, result);
	}
	return true;
}

json_t *runner_probe(struct runner *r, json_t **ret_version)
{
	cleanup_free struct child_result *c = malloc(sizeof(*c));
	char *version[] = {r->vmm, (char *)"--version", NULL};
	char *probe[] = {r->vmm, (char *)"--probe-kvm", NULL};
	json_t *verdict = NULL;
	int err = child_run(version, 10000, c);

	*ret_version = json_string(err < 0 || c->status ? "cannot be run" : last_line(c->text));
	if (!child_run(probe, 60000, c)) {
		char *brace = strchr(c->text, '{');
		verdict = brace ? json_loads(brace, JSON_DISABLE_EOF_CHECK, NULL) : NULL;
	}
	return verdict ? verdict
		       : json_pack("{s:s, s:s}", "verdict", "unknown", "why", last_line(c->text));
}
