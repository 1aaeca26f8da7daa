/* SPDX-License-Identifier: Apache-2.0 */
/* What cloud-hypervisor's v1 has and we do not, with the defaults of its API description: documents
 * that say no more than these are taken. For config_parts.c. */
#ifndef VMM_CONFIG_UNOFFERED_H
#define VMM_CONFIG_UNOFFERED_H

#include "vmm/base/opts.h"

#define NO_IOMMU                                                                                   \
	{"iommu", "false"},                                                                        \
	{                                                                                          \
		"pci_segment", "0"                                                                 \
	}
#define NO_RATE_LIMIT                                                                              \
	{                                                                                          \
		"rate_limiter_config", "null"                                                      \
	}

static const struct opt_unoffered cpus_not[] = {
	{"topology", "null"},
	{"kvm_hyperv", "false"},
	{"max_phys_bits", "46"},
	{"nested", "true"},
	{"features", "{\"amx\": false}"},
	{"core_scheduling", "\"Vm\""},
};
static const struct opt_unoffered memory_not[] = {
	{"hotplug_method", "\"Acpi\""},
	{"hotplug_size", "null"},
	{"hotplugged_size", "null"},
	{"reserve", "false"},
	{"zones", "null"},
};
static const struct opt_unoffered disk_not[] = {
	NO_IOMMU,
	NO_RATE_LIMIT,
	{"rate_limit_group", "null"},
	{"queue_affinity", "null"},
	{"backing_files", "false"},
	{"sparse", "true"},
	{"image_type", "\"Raw\""},
	{"lock_granularity", "\"ByteRange\""},
	{"disable_io_uring", "false"},
	{"disable_aio", "false"},
};
static const struct opt_unoffered net_not[] = {
	NO_IOMMU,
	NO_RATE_LIMIT,
	{"vhost_mode", "\"Client\""},
	{"ip", "\"192.168.249.1\""},
	{"mask", "\"255.255.255.0\""},
	{"host_mac", "null"},
	{"fds", "null"},
	{"offload_tso", "true"},
	{"offload_ufo", "true"},
	{"offload_csum", "true"},
};
static const struct opt_unoffered rng_not[] = {NO_IOMMU, {"id", "null"}};
static const struct opt_unoffered serial_not[] = {{"iommu", "false"}};
static const struct opt_unoffered console_not[] = {NO_IOMMU, {"id", "null"}};
static const struct opt_unoffered vdpa_not[] = {NO_IOMMU};
static const struct opt_unoffered vsock_not[] = {NO_IOMMU};
static const struct opt_unoffered payload_not[] = {
	{"firmware", "null"},
	{"igvm", "null"},
	{"host_data", "null"},
};
static const struct opt_unoffered platform_not[] = {
	{"num_pci_segments", "1"},
	{"iommu_segments", "null"},
	{"iommu_address_width_bits", "64"},
	{"serial_number", "null"},
	{"uuid", "null"},
	{"oem_strings", "null"},
	{"system_serial_number", "null"},
	{"system_uuid", "null"},
	{"system_manufacturer", "null"},
	{"system_product_name", "null"},
	{"system_version", "null"},
	{"system_family", "null"},
	{"system_sku_number", "null"},
	{"chassis_asset_tag", "null"},
	{"tdx", "false"},
	{"sev_snp", "false"},
	{"iommufd", "false"},
	{"vfio_p2p_dma", "true"},
};
static const struct opt_unoffered debug_console_not[] = {
	{"mode", "\"Off\""},
	{"file", "null"},
	{"iobase", "233"},
};
static const struct opt_unoffered config_not[] = {
	{"rate_limit_groups", "null"},
	{"balloon", "null"},
	{"fs", "null"},
	{"generic_vhost_user", "null"},
	{"pmem", "null"},
	{"devices", "null"},
	{"user_devices", "null"},
	{"numa", "null"},
	{"iommu", "false"},
	{"watchdog", "false"},
	{"rtc", "null"},
	{"pvpanic", "false"},
	{"pci_segments", "null"},
	{"tpm", "null"},
	{"landlock_enable", "false"},
	{"landlock_rules", "null"},
	{"sgx_epc", "null"},
	{"gdb", "false"},
};

#endif
