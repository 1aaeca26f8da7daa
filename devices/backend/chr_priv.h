/* SPDX-License-Identifier: Apache-2.0 */
/* What chr.c (bytes in and out) and chr_open.c (the modes) share. */
#ifndef DEVICES_BACKEND_CHR_PRIV_H
#define DEVICES_BACKEND_CHR_PRIV_H

#include <pthread.h>
#include <termios.h>
#include "devices/backend/chr.h"

#define CHR_OUT_MAX (64 * 1024) /* bytes that wait for a slow or absent reader */
#define CHR_IN_MAX  256

struct chr {
	enum chr_mode mode;
	int in, out; /* -1 = none; may be the same descriptor */
	bool own_in, own_out;
	int listener, slave; /* socket, pty */
	char *path;	     /* of the socket, to unlink; of the pty's slave */
	bool raw;	     /* the terminal was changed; `cooked` is how it was */
	struct termios cooked;

	/* The bound loop's. */
	struct ev_loop *loop; /* NULL = not bound */
	size_t (*input)(void *arg, const uint8_t *p, size_t n);
	void *arg;
	void (*leave)(void *arg);
	void *leave_arg;
	bool escape; /* Ctrl-A was typed */
	struct ev_fd in_watch, out_watch, listen_watch;
	uint8_t held[CHR_IN_MAX]; /* input that was not taken */
	size_t nheld;

	pthread_mutex_t lock; /* leaf: all below, `out` while bytes wait, `loop` for posting */
	uint8_t *wait;	      /* CHR_OUT_MAX bytes, made when first needed */
	size_t nwait;
	struct ev_msg drain, ready;
	bool drain_posted, ready_posted;
};

#define CHR_CTRL_A 0x01

#endif
