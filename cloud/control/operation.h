/* SPDX-License-Identifier: Apache-2.0 */
/* Long work, as an object that a client asks again for: {kind, target, state: running | done |
 * failed, progress: 0..100, error}. Whoever does the work keeps the id, not the object. Finished
 * ones are kept up to OPERATIONS_KEEP; those that a stop of the daemon left running fail at the
 * next start. Control thread. */
#ifndef CLOUD_CONTROL_OPERATION_H
#define CLOUD_CONTROL_OPERATION_H

#include "cloud/control/objects.h"

#define OPERATIONS_KEEP 1000

/* kind: "image-import", "drain", "move", "backup"; target: what it is about, for people ("host
 * a1"). ret_obj is valid until the loop's next turn: copy its id. */
int operation_new(struct objects *os, const char *project, const char *kind, const char *target,
	const char *actor, const char *request_id, struct obj **ret_obj);
/* percent 0..100; steps of less than five are not written. An unknown id is ignored. */
void operation_progress(struct objects *os, const char *id, unsigned percent);
/* error: why it failed, in one line; NULL: it is done. result (taken; may be NULL) is shown as
 * "result". */
void operation_finish(struct objects *os, const char *id, const char *error, json_t *result);
/* At start: those left running have failed. */
int operations_init(struct objects *os);

#endif
