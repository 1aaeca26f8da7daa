/* SPDX-License-Identifier: Apache-2.0 */
/* The log: lines on one fd, each `TIME LEVEL id: text`. A log is an object that is handed down, not
 * a global. Lines that a guest or peer can cause go through log_limited(), which lets a few through
 * per second and counts the rest. Any thread. */
#ifndef VMM_BASE_LOG_H
#define VMM_BASE_LOG_H

#include <stdatomic.h>
#include <stdint.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

struct log {
	int fd; /* not owned; -1 drops everything */
	enum log_level level;
};

/* A token bucket for one source of lines; zero-initialised is ready. */
struct log_limit {
	_Atomic uint64_t window; /* second in which `used` counts */
	_Atomic uint32_t used, dropped;
};

/* Writes one line with one write(2). log may be NULL. id names the device or part ("_disk0"). */
void log_line(struct log *log, enum log_level level, const char *id, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* As log_line, at most 5 lines a second per limit; the next line that passes says how many were
 * dropped. */
void log_limited(struct log *log, struct log_limit *limit, enum log_level level, const char *id,
	const char *fmt, ...) __attribute__((format(printf, 5, 6)));

#endif
