/* SPDX-License-Identifier: Apache-2.0 */
/* What control tells, as v1 shows it; what v1 has no place for stands under "polyvisor". */
#include "vmm/api/v1.h"

#include <stdio.h>
#include <string.h>

const char *v1_state_name(int state)
{
	static const char *const names[VM_STATES] = {
		[VM_NONE] = "NotCreated",
		[VM_CREATED] = "Created",
		[VM_RUNNING] = "Running",
		[VM_PAUSED] = "Paused",
		[VM_DUMPING] = "Paused", /* which it is while its core is written */
	};

	return names[state];
}

static json_t *pci_bdf(const struct vm_device_info *d)
{
	return d->slot < 0 ? json_null() : json_sprintf("0000:00:%02x.0", (unsigned)d->slot);
}

static json_t *device_tree(const struct vm_info *i)
{
	json_t *tree = json_object();

	for (unsigned k = 0; tree && k < i->ndevices; k++)
		json_object_set_new(tree, i->device[k].id,
			json_pack("{s:s, s:[], s:[], s:o}", "id", i->device[k].id, "resources",
				"children", "pci_bdf", pci_bdf(&i->device[k])));
	return tree;
}

static json_t *asked(const struct vm_info *i)
{
	json_t *list = json_array();

	for (unsigned k = 0; list && k < i->nasked; k++) {
		const struct vm_asked *a = &i->asked[k];

		json_array_append_new(
			list, json_pack("{s:s, s:s, s:s, s:s}", "id", a->id, "what", a->what,
				      "asked", a->asked, "achieved", a->achieved));
	}
	return list;
}

static json_t *offload(const struct vm_info *i)
{
	json_t *list = json_array();

	for (unsigned k = 0; list && k < i->noffloads; k++) {
		const struct vm_offload *o = &i->offload[k];
		json_t *one = json_pack("{s:s, s:s, s:b, s:I, s:I}", "id", o->id, "kind", o->kind,
			"connected", o->connected, "seconds", (json_int_t)o->seconds, "reconnects",
			(json_int_t)o->reconnects);

		if (one && !strcmp(o->kind, "auto")) {
			json_object_set_new(one, "pid", json_integer(o->pid));
			json_object_set_new(one, "restarts", json_integer((json_int_t)o->restarts));
		}
		json_array_append_new(list, one);
	}
	return list;
}

json_t *v1_info_json(const struct vm_info *i)
{
	return json_pack("{s:o, s:s, s:I, s:o, s:{s:o, s:o}}", "config", v1_config_json(i->config),
		"state", v1_state_name(i->state), "memory_actual_size",
		(json_int_t)i->memory_actual, "device_tree", device_tree(i), "polyvisor", "asked",
		asked(i), "offload", offload(i));
}

json_t *v1_devices_json(const struct vm_info *i)
{
	json_t *list = json_array();

	for (unsigned k = 0; list && k < i->ndevices; k++) {
		const struct vm_device_info *d = &i->device[k];

		json_array_append_new(list, json_pack("{s:s, s:s, s:o}", "id", d->id, "type",
						    d->type, "pci_bdf", pci_bdf(d)));
	}
	return list;
}

json_t *v1_counters_json(const struct vm_counters *c)
{
	json_t *all = json_object();

	for (unsigned i = 0; all && i < c->n; i++) {
		const struct vm_counter *k = &c->counter[i];
		json_t *one = json_object_get(all, k->id);

		if (!one) {
			json_object_set_new(all, k->id, json_object());
			one = json_object_get(all, k->id);
		}
		/* JSON's integers are signed here; no counter gets that far. */
		json_object_set_new(one, k->name, json_integer((json_int_t)(k->value & INT64_MAX)));
	}
	return all;
}
