/* SPDX-License-Identifier: Apache-2.0 */
/* The part of a device's life that is the same for all. */
#include "devices/device.h"

#include <stdarg.h>
#include <stdio.h>
#include "devices/count.h"

void device_init(struct device *d, const struct device_ops *ops, struct dev_host *h, const char *id)
{
	d->ops = ops;
	d->host = h;
	snprintf(d->id, sizeof(d->id), "%s", id);
	pthread_mutex_init(&d->lock, NULL);
	list_init(&d->link);
}

void device_fini(struct device *d)
{
	list_del(&d->link);
	pthread_mutex_destroy(&d->lock);
}

void achieved_add(
	struct dev_achieved *ret, unsigned max, unsigned *n, const char *what, const char *fmt, ...)
{
	va_list ap;

	if (*n == max)
		return;
	ret[*n].what = what;
	va_start(ap, fmt);
	vsnprintf(ret[*n].text, sizeof(ret[*n].text), fmt, ap);
	va_end(ap);
	++*n;
}
