/* SPDX-License-Identifier: Apache-2.0 */
/* The API between two fakes: a server that keeps the answer, and a control that answers at once and
 * keeps the command. Linked instead of http.c, stream.c and control.c. */
#ifndef VMM_API_TEST_FAKE_H
#define VMM_API_TEST_FAKE_H

#include <jansson.h>
#include "vmm/control.h"
#include "vmm/http/http.h"

struct fake {
	/* The last answer. */
	unsigned status, answers;
	char header[64], type[64];
	char *body; /* NUL-terminated, "" when none */
	size_t len;
	/* What control was asked, and answers. */
	unsigned commands;
	enum vm_op op;
	struct vm_config config; /* of create or add; zeroed when the last command had none */
	char path[256], id[32];
	struct err err; /* kind ERR_NONE: success */
	/* With the next request. */
	int fds[HTTP_FDS];
	unsigned nfds;
};
extern struct fake fake;

void fake_init(void);
void fake_fini(void);

/* Sends a request and returns the status. len of the body, or -1: strlen. body NULL: none. */
unsigned ask_bytes(const char *method, const char *target, const char *body, long len);
unsigned ask(const char *method, const char *target, const char *body);
/* The text of an error answer, which must be an array of one one-line string. */
const char *said(void);
/* The answer as JSON, borrowed until the next question. */
json_t *answer(void);

#endif
