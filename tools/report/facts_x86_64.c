/* SPDX-License-Identifier: Apache-2.0 */
/* x86_64: a guest's features are the bits of KVM_GET_SUPPORTED_CPUID (Intel SDM volume 2A, CPUID;
 * AMD APM volume 3, appendix E), and the feature MSRs. Names are those of Linux's /proc/cpuinfo; a
 * set bit without a name is shown as leaf.subleaf.register:bit, never dropped. */
#include "facts.h"

#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"

#define CPUID_MAX 256
#define MSR_MAX	  2048

const char *const chip_name = "x86_64";
const struct kvm_device_name chip_kvm_devices[] = {{KVM_DEV_TYPE_VFIO, "VFIO"}, {}};

enum reg { EAX, EBX, ECX, EDX };
static const char reg_names[][4] = {"eax", "ebx", "ecx", "edx"};

/* Bit 0 first, "-" for a bit that is reserved or no feature of its own. */
struct bits {
	uint32_t leaf, sub;
	enum reg reg;
	const char *names;
};
static const struct bits table[] = {
	{1, 0, EDX,
		"fpu vme de pse tsc msr pae mce cx8 apic - sep mtrr pge mca cmov pat pse36 pn "
		"clflush - dts acpi mmx fxsr sse sse2 ss ht tm ia64 pbe"},
	{1, 0, ECX,
		"pni pclmulqdq dtes64 monitor ds_cpl vmx smx est tm2 ssse3 cid sdbg fma cx16 "
		"xtpr pdcm - pcid dca sse4_1 sse4_2 x2apic movbe popcnt tsc_deadline_timer aes "
		"xsave osxsave avx f16c rdrand hypervisor"},
	{6, 0, EAX,
		"dtherm ida arat - pln - pts hwp hwp_notify hwp_act_window hwp_epp hwp_pkg_req"},
	{7, 0, EBX,
		"fsgsbase tsc_adjust sgx bmi1 hle avx2 fdp_excptn_only smep bmi2 erms invpcid "
		"rtm cqm zero_fcs_fds mpx rdt_a avx512f avx512dq rdseed adx smap avx512ifma - "
		"clflushopt clwb intel_pt avx512pf avx512er avx512cd sha_ni avx512bw avx512vl"},
	{7, 0, ECX,
		"prefetchwt1 avx512vbmi umip pku ospke waitpkg avx512_vbmi2 shstk gfni vaes "
		"vpclmulqdq avx512_vnni avx512_bitalg tme avx512_vpopcntdq - la57 - - - - - "
		"rdpid - bus_lock_detect cldemote - movdiri movdir64b enqcmd sgx_lc pks"},
	{7, 0, EDX,
		"- - avx512_4vnniw avx512_4fmaps fsrm uintr - - avx512_vp2intersect srbds_ctrl "
		"md_clear rtm_always_abort - tsx_force_abort serialize hybrid_cpu tsxldtrk - "
		"pconfig arch_lbr ibt - amx_bf16 avx512_fp16 amx_tile amx_int8 spec_ctrl stibp "
		"flush_l1d arch_capabilities core_capabilities ssbd"},
	{7, 1, EAX,
		"sha512 sm3 sm4 rao_int avx_vnni avx512_bf16 lass cmpccxadd arch_perfmon_ext - "
		"fzrm fsrs fsrc - - - - fred lkgs wrmsrns nmi_src amx_fp16 hreset avx_ifma - - "
		"lam msrlist"},
	{7, 1, EDX,
		"- - - - avx_vnni_int8 avx_ne_convert - - amx_complex - avx_vnni_int16 - - - "
		"prefetchi - - - - avx10"},
	{7, 2, EDX, "intel_psfd ipred_ctrl rrsba_ctrl ddpd_u bhi_ctrl mcdt_no"},
	{0xd, 1, EAX, "xsaveopt xsavec xgetbv1 xsaves xfd"},
	{0x40000001, 0, EAX,
		"kvm_clocksource kvm_nop_io_delay kvm_mmu_op kvm_clocksource2 kvm_async_pf "
		"kvm_steal_time kvm_pv_eoi kvm_pv_unhalt - kvm_pv_tlb_flush kvm_async_pf_vmexit "
		"kvm_pv_send_ipi kvm_poll_control kvm_pv_sched_yield kvm_async_pf_int "
		"kvm_msi_ext_dest_id kvm_hc_map_gpa_range kvm_migration_control - - - - - - "
		"kvm_clocksource_stable"},
	{0x80000001, 0, ECX,
		"lahf_lm cmp_legacy svm extapic cr8_legacy abm sse4a misalignsse 3dnowprefetch osvw "
		"ibs xop skinit wdt - lwp fma4 tce - nodeid_msr - tbm topoext perfctr_core "
		"perfctr_nb - bpext ptsc perfctr_llc mwaitx"},
	{0x80000001, 0, EDX, /* bits that repeat leaf 1's are left out */
		"- - - - - - - - - - - syscall - - - - - - - mp nx - mmxext - - fxsr_opt pdpe1gb "
		"rdtscp - lm 3dnowext 3dnow"},
	{0x80000007, 0, EDX, "ts fid vid ttp tm_amd stc 100mhzsteps hwpstate constant_tsc cpb"},
	{0x80000008, 0, EBX,
		"clzero irperf xsaveerptr invlpgb rdpru - mba - mcommit wbnoinvd - - ibpb wbinvd_int "
		"ibrs stibp_amd ibrs_always_on stibp_always_on ibrs_preferred ibrs_same_mode "
		"no_efer_lmsle - - amd_ppin amd_ssbd virt_ssbd amd_ssb_no cppc amd_psfd btc_no "
		"ibpb_ret"},
	{0x8000000a, 0, EDX,
		"npt lbrv svm_lock nrip_save tsc_scale vmcb_clean flushbyasid decodeassists - - "
		"pausefilter - pfthreshold avic - v_vmsave_vmload vgif gmet x2avic sss_check "
		"v_spec_ctrl - - - svm_host_mce - vnmi"},
	{0x8000001f, 0, EAX, "sme sev vm_page_flush sev_es sev_snp vmpl"},
	{0x80000021, 0, EAX,
		"no_nested_data_bp fsgs_non_serializing lfence_rdtsc smm_page_cfg_lock - - null_sel "
		"upper_addr_ignore autoibrs no_smm_ctl - - - prefetch_ctl_msr - - - - - - - - - - - "
		"- - sbpb ibpb_brtype srso_no srso_user_kernel_no"},
};

unsigned long chip_vm_type(int kvm_fd)
{
	(void)kvm_fd;
	return 0;
}

void chip_cpu_facts(json_t *cpu)
{
	set_file(cpu, "microcode", "/sys/devices/system/cpu/cpu0/microcode/version");
}

static uint32_t reg_of(const struct kvm_cpuid_entry2 *e, enum reg r)
{
	return r == EAX ? e->eax : r == EBX ? e->ebx : r == ECX ? e->ecx : e->edx;
}

static const struct kvm_cpuid_entry2 *find(const struct kvm_cpuid2 *c, uint32_t leaf, uint32_t sub)
{
	for (unsigned i = 0; i < c->nent; i++)
		if (c->entries[i].function == leaf && c->entries[i].index == sub)
			return &c->entries[i];
	return NULL;
}

static void add_bits(json_t *list, const struct bits *b, uint32_t value)
{
	const char *at = b->names;

	for (unsigned i = 0; i < 32; i++) {
		size_t n = strcspn(at, " ");
		if (value >> i & 1 && n && *at != '-')
			json_array_append_new(list, json_stringn(at, n));
		else if (value >> i & 1 && (b->leaf != 0x80000001 || b->reg != EDX))
			json_array_append_new(list,
				json_sprintf("%x.%x.%s:%u", b->leaf, b->sub, reg_names[b->reg], i));
		at += n + (at[n] == ' ');
	}
}

static void add_cpuid(json_t *guest, const struct kvm_cpuid2 *c)
{
	json_t *list = json_array(), *leaves = json_object();
	const struct kvm_cpuid_entry2 *e = find(c, 0, 0);
	char name[32];

	if (e) {
		uint32_t vendor[3] = {e->ebx, e->edx, e->ecx};
		memcpy(name, vendor, sizeof(vendor));
		name[sizeof(vendor)] = '\0';
		set_text(guest, "vendor", name);
	}
	if ((e = find(c, 0x80000008, 0)))
		set_int(guest, "physical_address_bits", e->eax & 0xff);
	for (unsigned i = 0; i < ARRAY_SIZE(table); i++)
		if ((e = find(c, table[i].leaf, table[i].sub)))
			add_bits(list, &table[i], reg_of(e, table[i].reg));
	sort_texts(list);
	json_object_set_new(guest, "features", list);
	for (unsigned i = 0; i < c->nent; i++) {
		e = &c->entries[i];
		if (!(e->eax | e->ebx | e->ecx | e->edx))
			continue;
		snprintf(name, sizeof(name), "cpuid %08x.%02x", e->function, e->index);
		json_object_set_new(leaves, name,
			json_sprintf("eax=%08x ebx=%08x ecx=%08x edx=%08x", e->eax, e->ebx, e->ecx,
				e->edx));
	}
	json_object_set_new(guest, "registers", leaves);
}

static void read_cpuid(json_t *guest, int kvm_fd)
{
	cleanup_free struct kvm_cpuid2 *c =
		calloc(1, sizeof(*c) + CPUID_MAX * sizeof(c->entries[0]));

	if (!c)
		return;
	c->nent = CPUID_MAX;
	if (ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, c) == 0)
		add_cpuid(guest, c);
}

/* MSRs that say what KVM can do (VMX capabilities, IA32_ARCH_CAPABILITIES), by index. */
static void add_feature_msrs(json_t *guest, int kvm_fd)
{
	cleanup_free struct kvm_msr_list *l =
		calloc(1, sizeof(*l) + MSR_MAX * sizeof(l->indices[0]));
	json_t *values = json_object();
	union {
		struct kvm_msrs head;
		char room[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
	} one;
	char name[16];

	json_object_set_new(guest, "feature_msrs", values);
	if (!l)
		return;
	l->nmsrs = MSR_MAX;
	if (ioctl(kvm_fd, KVM_GET_MSR_FEATURE_INDEX_LIST, l) < 0)
		return;
	for (unsigned i = 0; i < l->nmsrs; i++) {
		memset(&one, 0, sizeof(one));
		one.head.nmsrs = 1;
		one.head.entries[0].index = l->indices[i];
		if (ioctl(kvm_fd, KVM_GET_MSRS, &one) != 1)
			continue;
		snprintf(name, sizeof(name), "0x%x", l->indices[i]);
		set_hex(values, name, one.head.entries[0].data);
	}
}

json_t *chip_kvm_facts(int kvm_fd, int vm_fd)
{
	json_t *guest = json_object();
	struct kvm_msr_list none = {.nmsrs = 0};

	(void)vm_fd;
	read_cpuid(guest, kvm_fd);
	add_feature_msrs(guest, kvm_fd);
	ioctl(kvm_fd, KVM_GET_MSR_INDEX_LIST, &none); /* fails with E2BIG and the count */
	set_int(guest, "msr_count", (long long)none.nmsrs);
	return guest;
}
