/* SPDX-License-Identifier: Apache-2.0 */
/* Each constructor takes what its device needs; a row's function picks that out of the argument. */
#include "devices/registry.h"

#include <errno.h>
#include <string.h>
#include "vmm/base/num.h"

typedef int new_fn(struct dev_host *h, const struct registry_arg *a, struct device **ret_device);

static int new_ns16550(struct dev_host *h, const struct registry_arg *a, struct device **ret_device)
{
	return ns16550_new(h, a->id, &a->at, a->level ? IRQ_LEVEL : IRQ_EDGE, a->chr, ret_device);
}

static int new_cmos(struct dev_host *h, const struct registry_arg *a, struct device **ret_device)
{
	return rtc_cmos_new(h, a->id, ret_device);
}

static int new_pl031(struct dev_host *h, const struct registry_arg *a, struct device **ret_device)
{
	return rtc_pl031_new(h, a->id, &a->at, ret_device);
}

static int new_goldfish(
	struct dev_host *h, const struct registry_arg *a, struct device **ret_device)
{
	return rtc_goldfish_new(h, a->id, &a->at, ret_device);
}

static int new_test_exit(
	struct dev_host *h, const struct registry_arg *a, struct device **ret_device)
{
	return test_exit_new(h, a->id, &a->at, ret_device);
}

static int new_acpi_power(
	struct dev_host *h, const struct registry_arg *a, struct device **ret_device)
{
	return acpi_power_new(h, a->id, &a->at, ret_device);
}

static int new_i8042(struct dev_host *h, const struct registry_arg *a, struct device **ret_device)
{
	return i8042_new(h, a->id, ret_device);
}

static const struct {
	const char *model;
	new_fn *make;
} models[] = {
	{"ns16550", new_ns16550},
	{"cmos", new_cmos},
	{"pl031", new_pl031},
	{"goldfish", new_goldfish},
	{"test-exit", new_test_exit},
	{"acpi-power", new_acpi_power},
	{"i8042", new_i8042},
};

int registry_new(struct dev_host *h, const struct registry_arg *a, struct device **ret_device)
{
	for (unsigned i = 0; i < ARRAY_SIZE(models); i++)
		if (strcmp(models[i].model, a->model) == 0)
			return models[i].make(h, a, ret_device);
	return -ENODEV;
}
