/* SPDX-License-Identifier: Apache-2.0 */
/* See the header. */
#include "arch/common/plan_fdt.h"

#include "vmm/base/num.h"

#define RAM_MIN	   (16 * MIB)
#define WINDOW_MIN GIB /* of 64-bit PCI addresses that are always left above RAM */
#define WINDOW_MAX (512 * GIB)
#define FDT_BELOW  (512 * MIB) /* from the start of RAM: near the kernel, as old kernels want it */

static int check_cpus(const struct vm_shape *s, struct err *e)
{
	if (!s->vcpus || s->vcpus > s->max_vcpus)
		return err_set(e, ERR_USAGE, -EINVAL,
			"--cpus boot=%u: from 1 to %u (--cpus max=) are allowed", s->vcpus,
			s->max_vcpus);
	if (s->max_vcpus > PLAN_MAX_VCPUS)
		return err_set(e, ERR_USAGE, -EINVAL, "--cpus max=%u: at most %u are allowed",
			s->max_vcpus, PLAN_MAX_VCPUS);
	return 0;
}

static int check_ram(const struct vm_shape *s, uint64_t ram_base, struct err *e)
{
	uint64_t limit = s->phys_bits >= 63 ? UINT64_MAX : UINT64_C(1) << s->phys_bits, most;
	char have[24], want[24];

	num_format_size(s->ram, have);
	if (s->ram < RAM_MIN)
		return err_set(e, ERR_USAGE, -EINVAL, "--memory size=%s: at least %s are needed",
			have, num_format_size(RAM_MIN, want));
	if (s->ram % s->page_size)
		return err_set(e, ERR_USAGE, -EINVAL,
			"--memory size=%s: must be a multiple of this host's page size, %s", have,
			num_format_size(s->page_size, want));
	most = limit < ram_base + WINDOW_MIN ? 0 : limit - ram_base - WINDOW_MIN;
	if (s->ram > most)
		return err_set(e, ERR_USAGE, -EINVAL,
			"--memory size=%s: at most %s are allowed: guests of this host have %u address "
			"bits",
			have, num_format_size(align_down(most, GIB), want), s->phys_bits);
	return 0;
}

static void place_window(struct plan *p, uint64_t ram_end, unsigned phys_bits)
{
	uint64_t limit = UINT64_C(1) << MIN(phys_bits, 62u);
	uint64_t base = align_up(MAX(ram_end, 4 * GIB), GIB);

	/* Below 33 bits of addresses there is only the 32-bit window. */
	if (base < limit)
		p->pci_mmio64 = (struct plan_range){base, MIN(limit - base, WINDOW_MAX)};
}

int plan_fdt_ram(const struct vm_shape *shape, uint64_t ram_base, struct plan *ret, struct err *e)
{
	uint64_t ram_end = ram_base + shape->ram;
	int r;

	if (shape->machine_version < 1 || shape->machine_version > MACHINE_VERSION)
		return err_set(e, ERR_USAGE, -EINVAL,
			"--machine version=%u: from 1 to %d are allowed", shape->machine_version,
			MACHINE_VERSION);
	r = check_cpus(shape, e);
	if (r < 0)
		return r;
	r = check_ram(shape, ram_base, e);
	if (r < 0)
		return r;
	ret->shape = *shape;
	ret->ram[0] = (struct plan_range){ram_base, shape->ram};
	ret->nram = 1;
	ret->kernel_gpa = ram_base;
	ret->fw_size = PLAN_FDT_SIZE;
	ret->fw_gpa = align_down(MIN(ram_end, ram_base + FDT_BELOW), PLAN_FDT_SIZE) - PLAN_FDT_SIZE;
	place_window(ret, ram_end, shape->phys_bits);
	return 0;
}
