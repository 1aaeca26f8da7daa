/* SPDX-License-Identifier: Apache-2.0 */
/* The resources' rows over a real database, without HTTP: ask() routes and checks as the server
 * does, calls the handler and keeps what it answered. Images are one, "tiny", for x86_64 and arm64;
 * what hosts do is only noted. */
#ifndef CLOUD_CONTROL_TEST_CALLS_H
#define CLOUD_CONTROL_TEST_CALLS_H

#include "cloud/control/resources.h"

struct rig {
	struct control control;
	enum role role;
	const char *project;
	uint64_t if_match; /* of the next call; STORE_ANY: none */
	json_t *answer;	   /* of the last */
	char field[64], text[512];
	const char *did; /* "cordon host-1": what was asked of others */
	char did_text[96];
};
extern struct rig rig;

void rig_init(void);
void rig_fini(void);
void rig_restart(void); /* closes and opens the database */
/* The status; path may have a query. body NULL or JSON text with ' for ". */
unsigned ask(const char *method, const char *path, const char *body);
/* Text of the last answer at a key, "" when there is none; "a.b" goes into objects. */
const char *got(const char *path);
struct obj *host_make(const char *name);

#endif
