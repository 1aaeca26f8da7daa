/* SPDX-License-Identifier: Apache-2.0 */
/* The host side of virtio-vsock as unix sockets, by the convention that Firecracker and
 * cloud-hypervisor share: a host program connects to PATH, sends "CONNECT PORT\n" and reads "OK
 * HOSTPORT\n" once the guest has accepted; a guest that connects to CID 2, port P, reaches whoever
 * listens on PATH_P. The listening socket belongs to the host's resources and survives a reboot;
 * the connections do not. */
#ifndef DEVICES_BACKEND_VSOCK_UNIX_H
#define DEVICES_BACKEND_VSOCK_UNIX_H

#include "vmm/base/err.h"

struct vsock_unix {
	char path[108]; /* "" when only a listening fd was given: then guests cannot connect out */
	int listen_fd;	/* non-blocking */
};

/* Binds and listens on path, which must not exist; fd >= 0 is a listening socket instead (taken).
 * flag and id name the device in messages. */
int vsock_unix_open(const char *path, int fd, const char *flag, const char *id,
	struct vsock_unix **ret_u, struct err *e);
void vsock_unix_free(struct vsock_unix *u); /* unlinks path; NULL is fine */

#endif
