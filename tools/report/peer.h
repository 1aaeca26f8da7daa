/* SPDX-License-Identifier: Apache-2.0 */
/* The other end of a guest's network cable, without a network: it speaks the stream protocol that
 * the VMM uses with passt (a 32-bit big-endian length, then a frame) and answers ARP requests for
 * 10.0.2.2. The runner puts it on PATH under passt's name, so that the network tests need neither
 * privileges nor anything installed, and find the same peer on every machine. */
#ifndef REPORT_PEER_H
#define REPORT_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PEER_FRAME 65550 /* the longest frame taken */

/* The main program under that name. The connected socket is --fd N (or -F N). Ends with the
 * connection; returns an exit status. */
int peer_main(int argc, char **argv);

/* Turns an ARP request for the peer's address into the reply, in place. False: not one. */
bool peer_answer(uint8_t *frame, size_t len);

#endif
