/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLOUD_CONTROL_LISTEN_H
#define CLOUD_CONTROL_LISTEN_H

#include <stddef.h>
#include "vmm/base/err.h"

/* Listens on "ADDRESS:PORT" ("[ADDRESS]:PORT" for IPv6; port 0: a free one). ret_host is what other
 * hosts can call the address, an own one where it is a wildcard; ret_url is "https://HOST:PORT". e
 * names --listen. */
int listen_tcp(const char *where, int *ret_fd, char ret_host[256], char *ret_url, size_t cap,
	struct err *e);

#endif
