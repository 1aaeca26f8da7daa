/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes between a client and an instance, through its node: console, tunnel, log; and what the node
 * tells about one instance at once: info, stats. Bytes are taken from one side only as fast as the
 * other takes them. */
#ifndef CLOUD_CONTROL_STREAM_H
#define CLOUD_CONTROL_STREAM_H

#include "cloud/control/control.h"

extern const struct route stream_routes[]; /* GET /v1/instances/{id}/… */
extern const unsigned stream_nroutes;

#endif
