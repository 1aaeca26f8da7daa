/* SPDX-License-Identifier: Apache-2.0 */
/* A wire with TLS, the client's side. The control plane's certificate is its own work, so who dials
 * knows it by its fingerprint; only without one the system's authorities decide. One thread. */
#ifndef CLOUD_LINK_TLS_H
#define CLOUD_LINK_TLS_H

#include "cloud/link/link.h"

/* Over a connected, non-blocking socket, which it takes, also on failure. fingerprint: SHA-256 of
 * the certificate's DER in hex (colons and case do not matter), or NULL: then the certificate must
 * be valid for host. */
int link_wire_tls(int fd, const char *host, const char *fingerprint, struct link_wire **ret_wire,
	struct err *e);
/* Before any other use of the wire: 1 done, and the peer is who it should be; 0 to be called again
 * when the fd has ret_events; negative with e in one line. */
int link_tls_handshake(struct link_wire *w, uint32_t *ret_events, struct err *e);

#endif
