/* SPDX-License-Identifier: Apache-2.0 */
/* The serial console of an instance. The VMM serves it on a unix socket, to one client at a time:
 * that is the node. What the guest writes goes into a log file of bounded size and into memory,
 * and from there to any number of readers, each at its own pace; one that is too slow misses bytes
 * and is told so. What readers type goes to the guest.
 *
 *   VMM's socket ──► log file + last 64 KiB ──► link streams
 *                ◄──────────────────────────── link streams
 *
 * Loop thread. Nothing here waits. */
#ifndef CLOUD_NODE_CONSOLE_H
#define CLOUD_NODE_CONSOLE_H

#include <stddef.h>
#include "cloud/link/link.h"
#include "vmm/base/ev.h"
#include "vmm/base/log.h"

#define CONSOLE_LOG_MAX (1u << 20)  /* then it becomes NAME.1, the former NAME.1 goes */
#define CONSOLE_REPLAY	(64u << 10) /* what a new reader gets first */

struct console;

/* The log is the file logfile (at most 60 bytes) in the folder dir; it is gone on with if it is
 * there. The socket is at name in the folder socket_dir. Descriptors are copied, id (of log lines)
 * too. 0 or a negative errno. */
int console_new(struct ev_loop *loop, struct log *log, const char *id, int dir, const char *logfile,
	int socket_dir, const char *name, struct console **ret_console);
/* Connects, as soon as the socket is there and again when it hangs up, until console_hang_up(). */
void console_dial(struct console *c);
/* The VMM has ended: takes what it still wrote and stops dialling. Readers stay. */
void console_hang_up(struct console *c);
/* Hangs up, and ends the readers' streams. NULL is fine. */
void console_free(struct console *c);

/* Answer a request whose path takes a stream. The first replays the last CONSOLE_REPLAY bytes and
 * goes on both ways; the second sends the last `tail` bytes of the log (0: all that is kept) and
 * ends. */
void console_serve(struct console *c, struct link_req *r);
void console_serve_log(struct console *c, struct link_req *r, size_t tail);

/* A line of the node's own in the log, as "\r\n[text]\r\n". */
void console_note(struct console *c, const char *text);
/* The last n bytes, or as many as are kept (at most twice CONSOLE_LOG_MAX). malloc'ed. 0 or a
 * negative errno. */
int console_tail(struct console *c, size_t n, char **ret_text, size_t *ret_len);
/* Bytes that the guest has written since console_new(). */
uint64_t console_bytes(const struct console *c);

#endif
