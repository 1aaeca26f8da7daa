/* SPDX-License-Identifier: Apache-2.0 */
/* x86_64's notes of an ELF core: Linux's NT_PRSTATUS, and QEMU's note at the offsets at which
 * `crash` reads it. */
#include "arch/arch.h"
#include "arch/x86_64/state.h"
#include "arch/common/test_core.h"

TestSuite(core, .init = core_setup, .fini = core_teardown);

static void fill(void)
{
	for (unsigned i = 0; i < X86_REGS; i++)
		state->reg[i] = 0x1000 + i;
	for (unsigned i = 0; i < X86_SEGS; i++)
		state->seg[i] = (struct x86_segment){
			.base = 0x2000 + i, .limit = 0x3000 + i, .selector = (uint16_t)(8 * i)};
	state->seg[X86_CS].type = 0xb;
	state->seg[X86_CS].s = state->seg[X86_CS].present = state->seg[X86_CS].l =
		state->seg[X86_CS].g = 1;
	state->seg[X86_SS].type = 3;
	state->seg[X86_SS].dpl = 3;
	state->seg[X86_SS].db = state->seg[X86_SS].avl = 1;
	state->gdt = (struct x86_table){0x4000, 0x7f};
	state->idt = (struct x86_table){UINT64_C(0xfffffe0000000000), 0xfff};
	state->cr0 = 0x80050033;
	state->cr2 = 0xc2;
	state->cr3 = 0xc3000;
	state->cr4 = 0xc4;
	state->nmsrs = 2;
	state->msr[0] = (struct x86_msr){0x10, 5};
	state->msr[1] = (struct x86_msr){0xc0000102, UINT64_C(0xffff888012345000)};
}

Test(core, prstatus)
{
	/* In the order of struct user_regs_struct. */
	static const uint8_t order[15] = {X86_R15, X86_R14, X86_R13, X86_R12, X86_RBP, X86_RBX,
		X86_R11, X86_R10, X86_R9, X86_R8, X86_RAX, X86_RCX, X86_RDX, X86_RSI, X86_RDI};
	const uint8_t *p;

	cr_assert_eq(arch_core_machine(), EM_X86_64);
	fill();
	write_notes(1);
	p = note(0, "CORE", NT_PRSTATUS, 336);
	cr_assert_eq(load_le(p + PR_PID, 4), 2);
	for (unsigned i = 0; i < 15; i++)
		expect_reg(p, i, 0x1000 + order[i]);
	expect_reg(p, 15, UINT64_MAX);
	expect_reg(p, 16, 0x1000 + X86_RIP);
	expect_reg(p, 17, 8 * X86_CS);
	expect_reg(p, 18, 0x1000 + X86_RFLAGS);
	expect_reg(p, 19, 0x1000 + X86_RSP);
	expect_reg(p, 20, 8 * X86_SS);
	expect_reg(p, 21, 0x2000 + X86_FS);
	expect_reg(p, 22, 0x2000 + X86_GS);
	expect_reg(p, 23, 8 * X86_DS);
	expect_reg(p, 26, 8 * X86_GS);
}

static void expect_u64(const uint8_t *p, unsigned offset, uint64_t want)
{
	cr_assert_eq(load_le(p + offset, 8), want, "offset %u", offset);
}

Test(core, qemu)
{
	const uint8_t *p;

	fill();
	write_notes(0);
	p = note(1, "QEMU", 0, 440);
	expect_u64(p, 0, UINT64_C(440) << 32 | 1);
	for (unsigned i = 0; i < 6; i++)
		expect_u64(p, 8 + 8 * i, 0x1000 + X86_RAX + i);
	for (unsigned i = 0; i < 8; i++)
		expect_u64(p, 72 + 8 * i, 0x1000 + X86_R8 + i);
	expect_u64(p, 136, 0x1000 + X86_RIP);
	cr_assert_eq(load_le(p + 152, 4), 8 * X86_CS);
	cr_assert_eq(load_le(p + 156, 4), 0x3000 + X86_CS);
	cr_assert_eq(load_le(p + 160, 4), 0xa09b00);
	expect_u64(p, 168, 0x2000 + X86_CS);
	cr_assert_eq(load_le(p + 152 + 5 * 24 + 8, 4), 0x506300); /* ss, not present */
	expect_u64(p, 152 + 8 * 24 + 16, 0x4000);		  /* gdt */
	expect_u64(p, 152 + 9 * 24 + 16, UINT64_C(0xfffffe0000000000));
	expect_u64(p, 392, 0x80050033);
	expect_u64(p, 408, 0xc2);
	expect_u64(p, 416, 0xc3000);
	expect_u64(p, 424, 0xc4);
	expect_u64(p, 432, UINT64_C(0xffff888012345000));
}
