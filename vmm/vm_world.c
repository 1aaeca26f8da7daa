/* SPDX-License-Identifier: Apache-2.0 */
/* Stopping the world and what is done in it. Parking the vCPUs and pausing the devices only begin
 * here; their ends arrive as messages on the control loop. */
#include <stdlib.h>
#include <string.h>
#include "devices/platform/platform.h"
#include "devices/virtio/devs.h"
#include "vmm/base/cleanup.h"
#include "vmm/vm_internal.h"

/* The bit is set without a message, which would tell control what it knows, and wait in its loop
 * when the machine may be gone already. */
void vm_stop_begin(struct vm *vm)
{
	atomic_fetch_or(&vm->requests.bits, REQ_STOP);
	for (unsigned i = 0; i < vm->nvcpus; i++)
		if (vm->vcpus[i].started && !vm->vcpus[i].parked)
			vcpu_kick(&vm->vcpus[i]);
}

bool vm_parked(const struct vm *vm)
{
	for (unsigned i = 0; i < vm->nvcpus; i++)
		if (vm->vcpus[i].started && !vm->vcpus[i].parked)
			return false;
	return true;
}

bool vm_resume(struct vm *vm, uint32_t served)
{
	if (atomic_fetch_and(&vm->requests.bits, ~served) & ~served)
		return false;
	for (unsigned i = 0; i < vm->nvcpus; i++)
		if (vm->vcpus[i].started)
			vcpu_resume(&vm->vcpus[i]);
	return true;
}

void vm_remap(struct vm *vm)
{
	pci_root_remap(vm->pci);
}

/* ---- devices ---- */

void vm_quiet_begin(struct vm *vm)
{
	list_for_each (it, &vm->devices) {
		struct device *d = container_of(it, struct device, link);
		if (d->ops->pause)
			d->ops->pause(d);
	}
}

const char *vm_busy(const struct vm *vm)
{
	list_for_each (it, &vm->devices) {
		const struct device *d = container_of(it, struct device, link);
		if (d->ops->paused && !d->ops->paused(d))
			return d->id;
	}
	return NULL;
}

bool vm_quiet(const struct vm *vm)
{
	return !vm_busy(vm);
}

void vm_quiet_end(struct vm *vm)
{
	list_for_each (it, &vm->devices) {
		struct device *d = container_of(it, struct device, link);
		if (d->ops->resume)
			d->ops->resume(d);
	}
	for (unsigned i = 0; i < vm->nvcpus; i++)
		arch_vcpu_stood_still(vm->vcpus[i].arch);
}

/* ---- what can be done to a machine ---- */

int vm_power_button(struct vm *vm, struct err *e)
{
	if (vm->power)
		acpi_power_button(vm->power);
	else if (vm->power_key)
		virtio_input_power_key(vm->power_key);
	else
		return err_set(
			e, ERR_UNOFFERED, -EOPNOTSUPP, "vm.power-button: this machine has none");
	return 0;
}

int vm_nmi(struct vm *vm, struct err *e)
{
	for (unsigned i = 0; i < vm->nvcpus; i++) {
		int r = arch_vcpu_nmi(vm->vcpus[i].arch);
		if (r == -EOPNOTSUPP)
			return err_set(e, ERR_UNOFFERED, r,
				"vm.nmi: this host's KVM has no such interrupt on %s", arch_name());
		if (r < 0)
			return err_set(
				e, ERR_HOST, r, "vm.nmi: vCPU %u: %s", i, strerrordesc_np(-r));
	}
	return 0;
}

static struct device *find(struct vm *vm, const char *id)
{
	list_for_each (it, &vm->devices) {
		struct device *d = container_of(it, struct device, link);
		if (!strcmp(d->id, id))
			return d;
	}
	return NULL;
}

int vm_device_check(struct vm *vm, const char *id, struct err *e)
{
	char all[200] = "";
	size_t n = 0;

	if (find(vm, id))
		return 0;
	list_for_each (it, &vm->devices) {
		const struct device *d = container_of(it, struct device, link);
		if (n < sizeof(all))
			n += (size_t)snprintf(
				all + n, sizeof(all) - n, "%s%s", n ? ", " : "", d->id);
	}
	return err_set(
		e, ERR_NOT_FOUND, -ENOENT, "vm.devices: no device \"%s\"; there are: %s", id, all);
}

int vm_device_dump(struct vm *vm, const char *id, char **ret_text, struct err *e)
{
	struct device *d = find(vm, id);
	cleanup_free char *text = NULL;
	struct visitor *v = NULL;
	size_t len;
	int r = d ? 0 : vm_device_check(vm, id, e);

	if (r < 0)
		return r;
	FILE *f = open_memstream(&text, &len);
	if (!f)
		return -ENOMEM;
	r = visitor_new_dump(f, &v);
	if (!r && d->ops->visit)
		r = d->ops->visit(d, v);
	visitor_free(v);
	if (fclose(f) || r < 0)
		return err_set(e, ERR_HOST, r < 0 ? r : -ENOMEM, "vm.devices %s: %s", id,
			strerrordesc_np(r < 0 ? -r : ENOMEM));
	*ret_text = steal_ptr(&text);
	return 0;
}
