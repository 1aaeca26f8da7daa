/* SPDX-License-Identifier: Apache-2.0 */
/* One call of a process's REST API (docs/api.md, docs/offload.md): HTTP/1.1 on its unix socket,
 * a connection each, on the loop. */
#ifndef CLOUD_NODE_VMM_CALL_H
#define CLOUD_NODE_VMM_CALL_H

#include <stddef.h>
#include "vmm/base/ev.h"

struct vmm_call;

/* status 0: there was no answer, and body says why; else body is the answer's, len bytes and a NUL.
 * Called exactly once, never from inside vmm_call(), not after vmm_call_free(). The call is dead
 * when it returns. */
typedef void vmm_call_fn(void *arg, unsigned status, const char *body, size_t len);

/* The socket is at name in the folder dir. body NULL: none. timeout_ms from now to the last byte.
 * NULL: out of memory, and done is not called. */
struct vmm_call *vmm_call(struct ev_loop *loop, int dir, const char *name, const char *method,
	const char *path, const char *body, unsigned timeout_ms, vmm_call_fn *done, void *arg);
/* Gives it up. NULL is fine. */
void vmm_call_free(struct vmm_call *c);

#endif
