/* SPDX-License-Identifier: Apache-2.0 */
/* A character back-end: where a console's bytes go. All modes of --serial and --console: null, tty
 * (stdin/stdout), pty, file=, socket=. Bytes to a slow or absent reader never block the guest: a
 * bounded buffer, then drops. */
#ifndef DEVICES_BACKEND_CHR_H
#define DEVICES_BACKEND_CHR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "vmm/base/err.h"
#include "vmm/base/ev.h"

enum chr_mode { CHR_OFF, CHR_NULL, CHR_TTY, CHR_PTY, CHR_FILE, CHR_SOCKET };

struct chr;

/* Opens the back-end; path for FILE and SOCKET (a listening unix socket, unlinked by chr_free).
 * TTY puts the terminal in raw mode; chr_free and chr_tty_restore() put it back. On TTY Ctrl-A x
 * calls leave(arg) on the bound loop; Ctrl-A Ctrl-A sends one. */
int chr_open(enum chr_mode mode, const char *path, const char *flag, struct chr **ret_chr,
	struct err *e);
void chr_free(struct chr *c);
void chr_on_leave(struct chr *c, void (*leave)(void *arg), void *arg);
/* Puts the terminal back as it was found; async-signal-safe, for a dying process. NULL is fine. */
void chr_tty_restore(const struct chr *c);
/* The size of the terminal in characters. -ENOTTY when it is none. */
int chr_size(const struct chr *c, uint16_t *ret_cols, uint16_t *ret_rows);
/* The slave's path of a PTY, else NULL. Lives as long as c. */
const char *chr_pty_path(const struct chr *c);

/* Binds input to loop (which then owns reads): input(arg, bytes, n) returns how many it took; when
 * it takes fewer, chr keeps the rest and waits for chr_input_ready(). */
int chr_bind(struct chr *c, struct ev_loop *loop,
	size_t (*input)(void *arg, const uint8_t *p, size_t n), void *arg);
void chr_unbind(struct chr *c);
void chr_input_ready(struct chr *c); /* any thread, while bound */

/* Any thread, never blocks. Returns how many of the bytes are lost, because the reader is too slow
 * or absent and the buffer is full. */
size_t chr_write(struct chr *c, const uint8_t *p, size_t n);

#endif
