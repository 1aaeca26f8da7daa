/* SPDX-License-Identifier: Apache-2.0 */
/* The device tree of a riscv64 machine. Bindings: riscv/cpus.yaml, riscv/extensions.yaml,
 * interrupt-controller/{riscv,imsics,riscv,aplic,sifive,plic-1.0.0}.yaml. */
#include "arch/arch.h"

#include <string.h>
#include "arch/common/fdt.h"
#include "arch/riscv64/facts.h"
#include "vmm/base/num.h"

#define IRQ_RISING     1
#define IRQ_LEVEL_HIGH 4
#define IRQ_S_EXT      9 /* supervisor external interrupt (Privileged spec, scause) */

/* Each hart's local controller has a phandle, from PHANDLE_INTC. */
enum { PHANDLE_CHIP = FDT_PHANDLE_ARCH, PHANDLE_IMSIC, PHANDLE_INTC };

static void spec_aplic(uint32_t pin, bool level, uint32_t ret_cells[FDT_IRQ_CELLS])
{
	ret_cells[0] = pin;
	ret_cells[1] = level ? IRQ_LEVEL_HIGH : IRQ_RISING;
}

static void spec_plic(uint32_t pin, bool level, uint32_t ret_cells[FDT_IRQ_CELLS])
{
	ret_cells[0] = pin;
}

static void put_isa(struct fdt_out *o, const struct arch_facts *f)
{
	char text[1024], *p = text;
	const char *name;

	isa_string(f, text, sizeof(text));
	fdt_put_str(o, "riscv,isa", text);
	fdt_put_str(o, "riscv,isa-base", "rv64i");
	for (unsigned n = 0; (name = isa_name(n)); n++)
		if (isa_has(f, n) && strlen(name) + 1 < (size_t)(text + sizeof(text) - p))
			p = stpcpy(p, name) + 1;
	fdt_put_bytes(o, "riscv,isa-extensions", text, (uint32_t)(p - text));
}

static const char *mmu_type(uint32_t satp_mode)
{
	switch (satp_mode) { /* Privileged spec, satp.MODE */
	case 10:
		return "riscv,sv57";
	case 9:
		return "riscv,sv48";
	default:
		return "riscv,sv39";
	}
}

static void cpu(struct fdt_out *o, const struct arch_facts *f, unsigned i)
{
	fdt_open_node(o, "cpu@%x", i);
	fdt_put_str(o, "device_type", "cpu");
	fdt_put_str(o, "compatible", "riscv");
	fdt_put_cells(o, "reg", i);
	put_isa(o, f);
	fdt_put_str(o, "mmu-type", mmu_type(f->satp_mode));
	if (f->cbom_block)
		fdt_put_cells(o, "riscv,cbom-block-size", f->cbom_block);
	if (f->cboz_block)
		fdt_put_cells(o, "riscv,cboz-block-size", f->cboz_block);
	fdt_open_node(o, "interrupt-controller");
	fdt_put_str(o, "compatible", "riscv,cpu-intc");
	fdt_put_cells(o, "#interrupt-cells", 1);
	fdt_put_cells(o, "#address-cells", 0);
	fdt_put_empty(o, "interrupt-controller");
	fdt_put_cells(o, "phandle", PHANDLE_INTC + i);
	fdt_close_node(o);
	fdt_close_node(o);
}

static void cpus(struct fdt_out *o, const struct machine *machine)
{
	fdt_open_node(o, "cpus");
	fdt_put_cells(o, "#address-cells", 1);
	fdt_put_cells(o, "#size-cells", 0);
	fdt_put_cells(o, "timebase-frequency", machine->facts->timebase);
	for (unsigned i = 0; i < machine->vcpus; i++)
		cpu(o, machine->facts, i);
	fdt_close_node(o);
}

static void put_parents(struct fdt_out *o, const struct machine *machine)
{
	uint32_t cells[2 * PLAN_MAX_VCPUS];

	for (unsigned i = 0; i < machine->vcpus; i++) {
		cells[2 * i] = PHANDLE_INTC + i;
		cells[2 * i + 1] = IRQ_S_EXT;
	}
	fdt_put_cells_n(o, "interrupts-extended", cells, 2 * machine->vcpus);
}

static unsigned hart_bits(unsigned harts)
{
	return harts > 1 ? 32 - (unsigned)__builtin_clz(harts - 1) : 0;
}

static void aia(struct fdt_out *o, const struct plan *p, const struct machine *machine)
{
	fdt_open_node(o, "interrupt-controller@%llx", (unsigned long long)p->irqchip[1].base);
	fdt_put_strs(o, "compatible", "qemu,imsics\0riscv,imsics");
	fdt_put_reg(o, &p->irqchip[1], 1);
	fdt_put_empty(o, "interrupt-controller");
	fdt_put_cells(o, "#interrupt-cells", 0);
	fdt_put_cells(o, "#address-cells", 0);
	fdt_put_empty(o, "msi-controller");
	fdt_put_cells(o, "#msi-cells", 0);
	put_parents(o, machine);
	fdt_put_cells(o, "riscv,num-ids", machine->facts->imsic_ids);
	fdt_put_cells(o, "riscv,hart-index-bits", hart_bits(p->shape.max_vcpus));
	fdt_put_cells(o, "phandle", PHANDLE_IMSIC);
	fdt_close_node(o);

	fdt_open_node(o, "interrupt-controller@%llx", (unsigned long long)p->irqchip[0].base);
	fdt_put_strs(o, "compatible", "qemu,aplic\0riscv,aplic");
	fdt_put_reg(o, &p->irqchip[0], 1);
	fdt_put_empty(o, "interrupt-controller");
	fdt_put_cells(o, "#interrupt-cells", 2);
	fdt_put_cells(o, "#address-cells", 0);
	fdt_put_cells(o, "msi-parent", PHANDLE_IMSIC);
	fdt_put_cells(o, "riscv,num-sources", p->npins - 1);
	fdt_put_cells(o, "phandle", PHANDLE_CHIP);
	fdt_close_node(o);
}

static void plic(struct fdt_out *o, const struct plan *p, const struct machine *machine)
{
	fdt_open_node(o, "interrupt-controller@%llx", (unsigned long long)p->irqchip[0].base);
	fdt_put_strs(o, "compatible", "sifive,plic-1.0.0\0riscv,plic0");
	fdt_put_reg(o, &p->irqchip[0], 1);
	fdt_put_empty(o, "interrupt-controller");
	fdt_put_cells(o, "#interrupt-cells", 1);
	fdt_put_cells(o, "#address-cells", 0);
	put_parents(o, machine);
	fdt_put_cells(o, "riscv,ndev", p->npins - 1);
	fdt_put_cells(o, "phandle", PHANDLE_CHIP);
	fdt_close_node(o);
}

int arch_describe(struct guest_mem *m, const struct plan *p, const struct machine *machine,
	struct boot *boot, struct err *e)
{
	bool user = p->shape.user_irqchip;
	struct fdt_out o;
	int r = fdt_out_init(&o, (uint32_t)p->fw_size);

	if (r < 0)
		return r;
	o.irq_phandle = PHANDLE_CHIP;
	o.irq_cells = user ? 1 : 2;
	o.irq_spec = user ? spec_plic : spec_aplic;
	fdt_root_props(&o, "polyvisor,riscv64");
	fdt_chosen(&o, machine, boot);
	fdt_memory(&o, p);
	cpus(&o, machine);
	(user ? plic : aia)(&o, p, machine);
	fdt_devices(&o, p, machine, !user, false, PHANDLE_IMSIC);
	r = fdt_out_finish(&o, m, p->fw_gpa, e);
	if (r == 0)
		boot->arg = p->fw_gpa;
	return r;
}
