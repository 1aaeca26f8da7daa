/* SPDX-License-Identifier: Apache-2.0 */
/* The host side of virtio-vsock as unix sockets, by the convention that Firecracker and
 * cloud-hypervisor share: a host program connects to PATH, sends "CONNECT PORT\n" and reads "OK
 * HOSTPORT\n" once the guest has accepted, or the end of the stream when it was refused; a guest
 * that connects to CID 2, port P, reaches whoever listens on PATH_P. A host program may come before
 * the guest's driver is up: it waits for it.
 *
 * The listening socket belongs to the host's resources and survives a reboot; the connections do
 * not. */
#ifndef DEVICES_BACKEND_VSOCK_UNIX_H
#define DEVICES_BACKEND_VSOCK_UNIX_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "vmm/base/err.h"

struct vsock_unix {
	char path[108]; /* "" when only a listening fd was given: then guests cannot connect out */
	int listen_fd;	/* non-blocking */
	bool bound;	/* we made path, as this file: */
	dev_t dev;
	ino_t ino;
};

/* Binds and listens on path (at most 96 bytes, room for "_PORT"). A socket left behind at path by a
 * dead process is replaced; anything else there is an error. fd >= 0 is a listening unix stream
 * socket to use instead (taken, on error too); path, which may then be NULL, only names where
 * guests connect out. flag and id (may be NULL) name the device in messages. */
int vsock_unix_open(const char *path, int fd, const char *flag, const char *id,
	struct vsock_unix **ret_u, struct err *e);
void vsock_unix_free(struct vsock_unix *u); /* unlinks what open bound; NULL is fine */

/* Both return a non-blocking stream socket that the caller owns. Any thread; never block. */
int vsock_unix_accept(const struct vsock_unix *u); /* -EAGAIN: nobody waits */
/* To PATH_port. -ECONNREFUSED or -ENOENT: nobody listens; -EAGAIN: too many wait there already. */
int vsock_unix_connect(const struct vsock_unix *u, uint32_t port);

#endif
