/* SPDX-License-Identifier: Apache-2.0 */
/* Running a program to its end, whatever it does: what it prints is kept up to a bound, its time
 * is limited, and when the call returns neither it nor anything it started is left. */
#ifndef REPORT_CHILD_H
#define REPORT_CHILD_H

#include <stdbool.h>
#include <stddef.h>

#define CHILD_TEXT 32768

struct child_result {
	bool timed_out;
	bool interrupted; /* we were told to end (SIGINT, SIGTERM, SIGHUP) */
	int status;	  /* exit status; 128 + N when signal N ended it, as a shell has it */
	double seconds;
	char text[CHILD_TEXT]; /* the last of stdout and stderr, terminated */
	size_t len;
};

/* Once in the process: signals that end it are noted, orphans of children become ours. */
void child_init(void);
/* A signal has told us to end. */
int child_stop_signal(void);

/* Starts argv[0] (a path) with empty stdin and gives it timeout_ms; then SIGQUIT, which makes the
 * VMM write a crash report of the hung guest, and 3 s later SIGKILL. Returns 0, or a negative
 * errno when it could not be started. */
int child_run(char *const argv[], unsigned timeout_ms, struct child_result *ret);

#endif
