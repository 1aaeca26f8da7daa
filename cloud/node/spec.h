/* SPDX-License-Identifier: Apache-2.0 */
/* An assignment as it comes from the control plane: checked whole before any of it is kept. */
#ifndef CLOUD_NODE_SPEC_H
#define CLOUD_NODE_SPEC_H

#include <jansson.h>
#include "vmm/base/err.h"

#define SPEC_VOLUMES  16
#define SPEC_FORWARDS 64

/* 0, or -EINVAL with e naming the field and what is allowed. id: the one of the path. */
int spec_check(const json_t *j, const char *id, struct err *e);

#endif
