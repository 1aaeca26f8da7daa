/* SPDX-License-Identifier: Apache-2.0 */
/* See alarm.h. */
#include "alarm.h"

static void on_interrupt(void *arg)
{
	struct alarm *a = arg;
	uint64_t now = clock_ticks();

	if (a->line) {
		uint32_t isr = vdev_isr(a->dev);

		if (!isr)
			return; /* a level that was seen once more before it fell */
		a->isr |= isr;
	}
	a->at = now;
	WRITE_ONCE(a->count, a->count + 1);
}

int alarm_by_message(struct alarm *a, struct drv *drv)
{
	struct msi_msg m;

	*a = (struct alarm){.dev = &drv->dev};
	if (!drv->dev.pci || !msi_available() || !msix_size(drv->dev.fn) ||
		msi_attach(drv->dev.fn->bdf, on_interrupt, a, &m))
		return -1;
	return vdev_use_msix(&drv->dev, drv->q.index, &m);
}

int alarm_by_line(struct alarm *a, struct drv *drv)
{
	*a = (struct alarm){.dev = &drv->dev, .line = true};
	if (drv->dev.pci && msix_size(drv->dev.fn))
		msix_enable(drv->dev.fn, false);
	return irq_attach(&drv->dev.irq, on_interrupt, a);
}
