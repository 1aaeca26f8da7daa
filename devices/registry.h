/* SPDX-License-Identifier: Apache-2.0 */
/* From the plan's model names to platform devices: one table, one line a device. */
#ifndef DEVICES_REGISTRY_H
#define DEVICES_REGISTRY_H

#include "devices/device.h"
#include "devices/platform/platform.h"

struct registry_arg {
	const char *model, *id;
	struct platform_at at;
	bool level;	 /* of the interrupt */
	struct chr *chr; /* consoles */
};

/* -ENODEV for an unknown model. */
int registry_new(struct dev_host *h, const struct registry_arg *a, struct device **ret_device);

#endif
