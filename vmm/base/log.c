/* SPDX-License-Identifier: Apache-2.0 */
/* A line is put together on the stack and leaves in one write(2), so that lines of several threads,
 * or of several processes on one terminal, do not mix. */
#include "vmm/base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES	 512
#define LINES_PER_SECOND 5

static size_t line_head(char *buf, size_t cap, enum log_level level, const char *id)
{
	static const char *const names[] = {"ERROR", "WARN", "INFO", "DEBUG"};
	struct timespec now;
	struct tm tm;
	int n;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	n = snprintf(buf, cap, "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ %s %s: ", tm.tm_year + 1900,
		tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, now.tv_nsec / 1000000,
		names[level], id ? id : "vmm");
	return n < (int)cap ? (size_t)n : cap - 1;
}

__attribute__((format(printf, 4, 0))) static void line_write(
	struct log *log, enum log_level level, const char *id, const char *fmt, va_list ap)
{
	char buf[LINE_MAX_BYTES];
	int saved = errno; /* logging on an error path must not change the error */
	size_t at = line_head(buf, sizeof(buf) - 1, level, id);
	int n = vsnprintf(buf + at, sizeof(buf) - 1 - at, fmt, ap);
	size_t len = n < 0 ? at : at + (size_t)n;

	if (len > sizeof(buf) - 2)
		len = sizeof(buf) - 2;
	for (size_t i = at; i < len; i++)
		if ((unsigned char)buf[i] < 0x20 || buf[i] == 0x7f)
			buf[i] = '?'; /* text may quote a guest: no forged lines, no escapes */
	buf[len++] = '\n';
	/* A log that cannot be written (full disk, closed pipe) is not a reason to stop. */
	if (write(log->fd, buf, len) < 0) {
	}
	errno = saved;
}

static int log_wanted(const struct log *log, enum log_level level)
{
	return log && log->fd >= 0 && level <= log->level;
}

void log_line(struct log *log, enum log_level level, const char *id, const char *fmt, ...)
{
	va_list ap;

	if (!log_wanted(log, level))
		return;
	va_start(ap, fmt);
	line_write(log, level, id, fmt, ap);
	va_end(ap);
}

/* Races between threads can let a line more through, or move one to the next count: harmless. */
static int limit_take(struct log_limit *limit)
{
	struct timespec now;
	uint64_t second;

	clock_gettime(CLOCK_MONOTONIC, &now);
	second = (uint64_t)now.tv_sec + 1; /* never 0, which is the unused limit */
	if (atomic_exchange(&limit->window, second) != second)
		atomic_store(&limit->used, 0);
	if (atomic_fetch_add(&limit->used, 1) < LINES_PER_SECOND)
		return 1;
	atomic_fetch_sub(&limit->used, 1); /* so that it cannot wrap */
	atomic_fetch_add(&limit->dropped, 1);
	return 0;
}

void log_limited(struct log *log, struct log_limit *limit, enum log_level level, const char *id,
	const char *fmt, ...)
{
	uint32_t dropped;
	va_list ap;

	if (!log_wanted(log, level) || !limit_take(limit))
		return;
	dropped = atomic_exchange(&limit->dropped, 0);
	if (dropped)
		log_line(log, level, id, "%u lines like the next one were dropped", dropped);
	va_start(ap, fmt);
	line_write(log, level, id, fmt, ap);
	va_end(ap);
}
