/* SPDX-License-Identifier: Apache-2.0 */
/* Stands in for Criterion's header where Criterion cannot run: under ThreadSanitizer, whose runtime
 * does not survive Criterion's sandbox, and on riscv64, for which Debian has no Criterion. The same
 * test sources compile with either; only what they use is here. plain.c runs the tests. */
#ifndef PLAIN_CRITERION_H
#define PLAIN_CRITERION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#pragma GCC diagnostic ignored "-Wformat-zero-length" /* a test need not say why it compares */

struct plain_test {
	const char *suite;
	const char *name; /* NULL: the suite's own settings */
	void (*run)(void);
	void (*init)(void);
	void (*fini)(void);
	double timeout; /* seconds; 0 = the runner's */
	int signal;	/* the test must end by it; 0 = none */
	int exit_code;	/* the test must exit with it */
	bool disabled;
	const char *description;
};

/* The linker gathers the pointers, so that no constructor has to. */
#define PLAIN_REGISTER(ident, ...)                                                                 \
	static const struct plain_test ident = {__VA_ARGS__};                                      \
	static const struct plain_test *const ident##_at                                           \
		__attribute__((used, section("plain_tests"))) = &ident

#define TestSuite(suite_, ...) PLAIN_REGISTER(plain_suite_##suite_, .suite = #suite_, ##__VA_ARGS__)

#define Test(suite_, name_, ...)                                                                   \
	static void plain_run_##suite_##_##name_(void);                                            \
	PLAIN_REGISTER(plain_test_##suite_##_##name_, .suite = #suite_, .name = #name_,            \
		.run = plain_run_##suite_##_##name_, ##__VA_ARGS__);                               \
	static void plain_run_##suite_##_##name_(void)

/* An assertion failed: prints where and what; a fatal one ends the test. */
void plain_failed(const char *file, int line, bool fatal, const char *what, const char *format, ...)
	__attribute__((format(printf, 5, 6)));
void plain_skipped(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
void plain_counted(void);

#define PLAIN_TEXT(...) "" __VA_ARGS__
#define PLAIN_CHECK(fatal_, what_, condition_, ...)                                                \
	do {                                                                                       \
		plain_counted();                                                                   \
		if (!(condition_))                                                                 \
			plain_failed(__FILE__, __LINE__, fatal_, what_, PLAIN_TEXT(__VA_ARGS__));  \
	} while (0)
#define PLAIN_OP(fatal_, a_, op_, b_, ...)                                                         \
	PLAIN_CHECK(fatal_, #a_ " " #op_ " " #b_, (a_)op_(b_), __VA_ARGS__)
#define PLAIN_STR(fatal_, a_, op_, b_, ...)                                                        \
	PLAIN_CHECK(fatal_, #a_ " " #op_ " " #b_, strcmp(a_, b_) op_ 0, __VA_ARGS__)
#define PLAIN_ARR(fatal_, a_, op_, b_, n_, ...)                                                    \
	PLAIN_CHECK(fatal_, #a_ " " #op_ " " #b_, memcmp(a_, b_, n_) op_ 0, __VA_ARGS__)

#define cr_assert(c, ...)		PLAIN_CHECK(true, #c, (c), __VA_ARGS__)
#define cr_assert_not(c, ...)		PLAIN_CHECK(true, "not " #c, !(c), __VA_ARGS__)
#define cr_assert_null(p, ...)		PLAIN_CHECK(true, #p " is null", !(p), __VA_ARGS__)
#define cr_assert_not_null(p, ...)	PLAIN_CHECK(true, #p " is not null", (p), __VA_ARGS__)
#define cr_assert_fail(...)		PLAIN_CHECK(true, "fails", false, __VA_ARGS__)
#define cr_assert_eq(a, b, ...)		PLAIN_OP(true, a, ==, b, __VA_ARGS__)
#define cr_assert_neq(a, b, ...)	PLAIN_OP(true, a, !=, b, __VA_ARGS__)
#define cr_assert_lt(a, b, ...)		PLAIN_OP(true, a, <, b, __VA_ARGS__)
#define cr_assert_leq(a, b, ...)	PLAIN_OP(true, a, <=, b, __VA_ARGS__)
#define cr_assert_gt(a, b, ...)		PLAIN_OP(true, a, >, b, __VA_ARGS__)
#define cr_assert_geq(a, b, ...)	PLAIN_OP(true, a, >=, b, __VA_ARGS__)
#define cr_assert_str_eq(a, b, ...)	PLAIN_STR(true, a, ==, b, __VA_ARGS__)
#define cr_assert_str_neq(a, b, ...)	PLAIN_STR(true, a, !=, b, __VA_ARGS__)
#define cr_assert_str_empty(a, ...)	PLAIN_CHECK(true, #a " is empty", !*(a), __VA_ARGS__)
#define cr_assert_str_not_empty(a, ...) PLAIN_CHECK(true, #a " is not empty", *(a), __VA_ARGS__)
#define cr_assert_arr_eq(a, b, n, ...)	PLAIN_ARR(true, a, ==, b, n, __VA_ARGS__)
#define cr_assert_arr_neq(a, b, n, ...) PLAIN_ARR(true, a, !=, b, n, __VA_ARGS__)

#define cr_expect(c, ...)		PLAIN_CHECK(false, #c, (c), __VA_ARGS__)
#define cr_expect_not(c, ...)		PLAIN_CHECK(false, "not " #c, !(c), __VA_ARGS__)
#define cr_expect_null(p, ...)		PLAIN_CHECK(false, #p " is null", !(p), __VA_ARGS__)
#define cr_expect_not_null(p, ...)	PLAIN_CHECK(false, #p " is not null", (p), __VA_ARGS__)
#define cr_expect_fail(...)		PLAIN_CHECK(false, "fails", false, __VA_ARGS__)
#define cr_expect_eq(a, b, ...)		PLAIN_OP(false, a, ==, b, __VA_ARGS__)
#define cr_expect_neq(a, b, ...)	PLAIN_OP(false, a, !=, b, __VA_ARGS__)
#define cr_expect_lt(a, b, ...)		PLAIN_OP(false, a, <, b, __VA_ARGS__)
#define cr_expect_leq(a, b, ...)	PLAIN_OP(false, a, <=, b, __VA_ARGS__)
#define cr_expect_gt(a, b, ...)		PLAIN_OP(false, a, >, b, __VA_ARGS__)
#define cr_expect_geq(a, b, ...)	PLAIN_OP(false, a, >=, b, __VA_ARGS__)
#define cr_expect_str_eq(a, b, ...)	PLAIN_STR(false, a, ==, b, __VA_ARGS__)
#define cr_expect_str_neq(a, b, ...)	PLAIN_STR(false, a, !=, b, __VA_ARGS__)
#define cr_expect_str_empty(a, ...)	PLAIN_CHECK(false, #a " is empty", !*(a), __VA_ARGS__)
#define cr_expect_str_not_empty(a, ...) PLAIN_CHECK(false, #a " is not empty", *(a), __VA_ARGS__)
#define cr_expect_arr_eq(a, b, n, ...)	PLAIN_ARR(false, a, ==, b, n, __VA_ARGS__)
#define cr_expect_arr_neq(a, b, n, ...) PLAIN_ARR(false, a, !=, b, n, __VA_ARGS__)

#define cr_skip(...)		  plain_skipped(PLAIN_TEXT(__VA_ARGS__))
#define cr_skip_test(...)	  plain_skipped(PLAIN_TEXT(__VA_ARGS__))
#define cr_log_info(format, ...)  fprintf(stderr, format "\n", ##__VA_ARGS__)
#define cr_log_warn(format, ...)  fprintf(stderr, format "\n", ##__VA_ARGS__)
#define cr_log_error(format, ...) fprintf(stderr, format "\n", ##__VA_ARGS__)

#endif
