/* SPDX-License-Identifier: Apache-2.0 */
/* Runs the guest-tests of the manifest, each in a VM of its own, and keeps what came of it. */
#ifndef REPORT_RUNNER_H
#define REPORT_RUNNER_H

#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <time.h>
#include "manifest.h"
#include "series.h"

struct runner {
	char vmm[PATH_MAX], tests[PATH_MAX]; /* polyvisor; the folder of guest-tests */
	char self[PATH_MAX];		     /* this program, for the network peer */
	char work[PATH_MAX]; /* scratch folder: made by runner_init, removed by fini */
	unsigned repeat;     /* runs of a test that measures something */
	struct timespec end; /* CLOCK_MONOTONIC: later tests are skipped */
	const char *cannot;  /* why no test can run at all; NULL when they can */
	struct series_set series;
	json_t *results;   /* [{"name", "result", "reason", "seconds", "runs", …}…] */
	unsigned count[4]; /* by enum verdict */
};

/* vmm, tests, self, repeat, end and cannot are set by the caller, paths being absolute; the scratch
 * folder goes below dir and becomes the current one, so that no path in an option needs quoting.
 * Returns 0 or a negative errno with e filled. */
int runner_init(struct runner *r, const char *dir, struct err *e);
void runner_fini(struct runner *r);

/* Prints a line for each test to stdout. False: told to end by a signal. */
bool runner_run(struct runner *r, const struct manifest *m);

/* The verdict on /dev/kvm, as `polyvisor --probe-kvm` gives it ({"verdict", "why"}), and the VMM's
 * version into *ret_version (a string). New references. */
json_t *runner_probe(struct runner *r, json_t **ret_version);

#endif
