/* SPDX-License-Identifier: Apache-2.0 */
/* Runs the tests of a program that was compiled against criterion/criterion.h of this folder: each
 * in a process of its own, one after the other, and at the end a line of counts like Criterion's.
 * A fatal assertion ends the process of its test, after the suite's clean-up where that is
 * possible.
 */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define TIMEOUT_S   120
#define STATUS_FAIL 100
#define STATUS_SKIP 101

extern const struct plain_test *const __start_plain_tests[] __attribute__((weak));
extern const struct plain_test *const __stop_plain_tests[] __attribute__((weak));

/* Of the process that runs one test. Asserts may come from the test's own threads. */
static _Atomic unsigned asserts, failures;
static const struct plain_test *current;

void plain_counted(void)
{
	asserts++;
}

void plain_failed(const char *file, int line, bool fatal, const char *what, const char *format, ...)
{
	va_list args;

	failures++;
	fprintf(stderr, "%s:%d: Assertion Failed: %s", file, line, what);
	if (*format) {
		fputs(": ", stderr);
		va_start(args, format);
		vfprintf(stderr, format, args);
		va_end(args);
	}
	fputc('\n', stderr);
	if (fatal)
		_exit(STATUS_FAIL);
}

void plain_skipped(const char *format, ...)
{
	va_list args;

	fprintf(stderr, "[SKIP] %s::%s: ", current->suite, current->name);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	_exit(STATUS_SKIP);
}

static const struct plain_test *suite_of(const struct plain_test *test)
{
	for (const struct plain_test *const *t = __start_plain_tests; t < __stop_plain_tests; t++)
		if (!(*t)->name && !strcmp((*t)->suite, test->suite))
			return *t;
	return NULL;
}

/* Criterion lets what a test names itself win over what its suite names. */
static void run_here(const struct plain_test *test, const struct plain_test *suite)
{
	void (*init)(void) = test->init ? test->init : suite ? suite->init : NULL;
	void (*fini)(void) = test->fini ? test->fini : suite ? suite->fini : NULL;
	double timeout = test->timeout ? test->timeout : suite ? suite->timeout : 0;

	current = test;
	/* An alarm that the test does not catch ends it; sanitizers make everything slower. */
	alarm(timeout ? (unsigned)timeout * 6 : TIMEOUT_S);
	if (init)
		init();
	test->run();
	if (fini)
		fini();
	exit(failures ? STATUS_FAIL : test->exit_code);
}

static int passed(const struct plain_test *test)
{
	fprintf(stderr, "[PASS] %s::%s\n", test->suite, test->name);
	return 1;
}

/* Returns 1 passed, 0 skipped, -1 failed, -2 crashed. */
static int run(const struct plain_test *test)
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0)
		run_here(test, suite_of(test));
	if (pid < 0 || waitpid(pid, &status, 0) != pid) {
		perror("plain: fork");
		exit(1);
	}
	if (WIFSIGNALED(status)) {
		if (test->signal && WTERMSIG(status) == test->signal)
			return passed(test);
		fprintf(stderr, "[CRASH] %s::%s: %s\n", test->suite, test->name,
			strsignal(WTERMSIG(status)));
		return -2;
	}
	if (WEXITSTATUS(status) == STATUS_SKIP)
		return 0;
	if (!test->signal && WEXITSTATUS(status) == test->exit_code)
		return passed(test);
	fprintf(stderr, "[FAIL] %s::%s: exit status %d\n", test->suite, test->name,
		WEXITSTATUS(status));
	return -1;
}

int main(void)
{
	unsigned tested = 0, passing = 0, failing = 0, crashing = 0, skipped = 0;

	for (const struct plain_test *const *t = __start_plain_tests; t < __stop_plain_tests; t++) {
		int outcome;

		if (!(*t)->name || (*t)->disabled)
			continue;
		outcome = run(*t);
		skipped += outcome == 0;
		tested += outcome != 0;
		passing += outcome == 1;
		failing += outcome == -1;
		crashing += outcome == -2;
	}
	fprintf(stderr, "[====] Synthesis: Tested: %u | Passing: %u | Failing: %u | Crashing: %u\n",
		tested, passing, failing, crashing);
	return failing || crashing || !(tested + skipped) ? 1 : 0;
}
