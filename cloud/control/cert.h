/* SPDX-License-Identifier: Apache-2.0 */
/* The certificate that the control plane shows on TCP. It is made at the first start, signed by
 * itself: who connects knows its SHA-256 from the token file, which is stronger than a name that
 * somebody else vouches for. */
#ifndef CLOUD_CONTROL_CERT_H
#define CLOUD_CONTROL_CERT_H

#include "vmm/base/err.h"

struct cert {
	char *pem, *key;      /* both PEM */
	char fingerprint[65]; /* SHA-256 of its DER */
};

/* Reads DATA/tls/{cert,key}.pem, or makes them (0600) for the names localhost, this host and
 * `address` (may be NULL). Somebody's own certificate in their place is as good. */
int cert_open(const char *data, const char *address, struct cert *ret_cert, struct err *e);
void cert_fini(struct cert *c);

#endif
