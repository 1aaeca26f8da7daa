/* SPDX-License-Identifier: Apache-2.0 */
/* Handlers of /v1/images among themselves. */
#ifndef CLOUD_IMAGE_ROUTES_H
#define CLOUD_IMAGE_ROUTES_H

#include "cloud/control/route.h"
#include "cloud/image/internal.h"

void image_upload(struct call *c);

#endif
