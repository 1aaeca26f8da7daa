/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interrupts of virtio devices for the cases: attach by message or by line, count what arrives,
 * and note the clock at the first instruction of the handler.
 */
#ifndef GUEST_ALARM_H
#define GUEST_ALARM_H

#include "driver.h"

struct alarm {
	const struct vdev *dev;
	unsigned count;
	uint64_t at; /* clock_ticks() of the last one */
	bool line;   /* acknowledge the device, or the level stays */
	uint32_t isr;
};

/* Attaches before DRIVER_OK. -1 if the machine or the device has no such way to interrupt. */
int alarm_by_message(struct alarm *, struct drv *);
int alarm_by_line(struct alarm *, struct drv *);

#endif
