/* SPDX-License-Identifier: Apache-2.0 */
/* The device tree of an arm64 machine. Bindings: arm/cpus.yaml, arm/psci.yaml,
 * interrupt-controller/arm,gic-v3.yaml, timer/arm,arch_timer.yaml, arm/pmu.yaml. */
#include "arch/arch.h"

#include <string.h>
#include "arch/arm64/facts.h"
#include "arch/common/fdt.h"
#include "vmm/base/num.h"

#define GIC_SPI	       0
#define GIC_PPI	       1
#define IRQ_RISING     1
#define IRQ_LEVEL_HIGH 4

enum { PHANDLE_GIC = FDT_PHANDLE_ARCH, PHANDLE_ITS };

static void irq_spec(uint32_t pin, bool level, uint32_t ret_cells[FDT_IRQ_CELLS])
{
	ret_cells[0] = GIC_SPI;
	ret_cells[1] = pin;
	ret_cells[2] = level ? IRQ_LEVEL_HIGH : IRQ_RISING;
}

static void cpus(struct fdt_out *o, const struct machine *machine)
{
	fdt_open_node(o, "cpus");
	fdt_put_cells(o, "#address-cells", 2);
	fdt_put_cells(o, "#size-cells", 0);
	for (unsigned i = 0; i < machine->vcpus; i++) {
		uint64_t mpidr = machine->facts->mpidr[i];

		fdt_open_node(o, "cpu@%llx", (unsigned long long)mpidr);
		fdt_put_str(o, "device_type", "cpu");
		fdt_put_str(o, "compatible", "arm,armv8");
		fdt_put_str(o, "enable-method", "psci");
		fdt_put_u64(o, "reg", mpidr);
		fdt_close_node(o);
	}
	fdt_close_node(o);
}

static void psci(struct fdt_out *o)
{
	fdt_open_node(o, "psci");
	fdt_put_strs(o, "compatible", "arm,psci-1.0\0arm,psci-0.2");
	fdt_put_str(o, "method", "hvc");
	fdt_close_node(o);
}

static void gic(struct fdt_out *o, const struct plan *p, const struct machine *machine)
{
	fdt_open_node(o, "interrupt-controller@%llx", (unsigned long long)p->irqchip[0].base);
	fdt_put_str(o, "compatible", "arm,gic-v3");
	fdt_put_cells(o, "#interrupt-cells", 3);
	fdt_put_empty(o, "interrupt-controller");
	fdt_put_cells(o, "#address-cells", 2);
	fdt_put_cells(o, "#size-cells", 2);
	fdt_put_empty(o, "ranges");
	fdt_put_reg(o, p->irqchip, 2);
	fdt_put_cells(o, "phandle", PHANDLE_GIC);
	if (machine->facts->its) {
		fdt_open_node(o, "msi-controller@%llx", (unsigned long long)p->irqchip[2].base);
		fdt_put_str(o, "compatible", "arm,gic-v3-its");
		fdt_put_empty(o, "msi-controller");
		fdt_put_cells(o, "#msi-cells", 1);
		fdt_put_reg(o, &p->irqchip[2], 1);
		fdt_put_cells(o, "phandle", PHANDLE_ITS);
		fdt_close_node(o);
	}
	fdt_close_node(o);
}

static void timer(struct fdt_out *o)
{
	fdt_open_node(o, "timer");
	fdt_put_str(o, "compatible", "arm,armv8-timer");
	fdt_put_cells(o, "interrupts", GIC_PPI, PPI_STIMER, IRQ_LEVEL_HIGH, GIC_PPI, PPI_PTIMER,
		IRQ_LEVEL_HIGH, GIC_PPI, PPI_VTIMER, IRQ_LEVEL_HIGH, GIC_PPI, PPI_HTIMER,
		IRQ_LEVEL_HIGH);
	fdt_put_empty(o, "always-on"); /* a sleeping vCPU keeps its timer */
	fdt_close_node(o);
}

static void pmu(struct fdt_out *o)
{
	fdt_open_node(o, "pmu");
	fdt_put_str(o, "compatible", "arm,armv8-pmuv3");
	fdt_put_cells(o, "interrupts", GIC_PPI, PPI_PMU, IRQ_LEVEL_HIGH);
	fdt_close_node(o);
}

int arch_describe(struct guest_mem *m, const struct plan *p, const struct machine *machine,
	struct boot *boot, struct err *e)
{
	struct fdt_out o;
	int r = fdt_out_init(&o, (uint32_t)p->fw_size);

	if (r < 0)
		return r;
	o.irq_phandle = PHANDLE_GIC;
	o.irq_cells = 3;
	o.irq_address_cells = 2;
	o.irq_spec = irq_spec;
	fdt_root_props(&o, "polyvisor,arm64");
	fdt_put_cells(&o, "interrupt-parent", PHANDLE_GIC); /* of timer and PMU */
	fdt_chosen(&o, machine, boot);
	fdt_memory(&o, p);
	cpus(&o, machine);
	psci(&o);
	gic(&o, p, machine);
	timer(&o);
	if (machine->facts->pmu)
		pmu(&o);
	fdt_devices(&o, p, machine, machine->facts->its, true, PHANDLE_ITS);
	r = fdt_out_finish(&o, m, p->fw_gpa, e);
	if (r == 0)
		boot->arg = p->fw_gpa;
	return r;
}
