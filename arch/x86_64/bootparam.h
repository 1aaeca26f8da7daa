/* SPDX-License-Identifier: Apache-2.0 */
/* Offsets of what the 64-bit Linux boot protocol (Documentation/arch/x86/boot.rst, zero-page.rst)
 * and PVH (Xen public/arch-x86/hvm/start_info.h) define. Offsets rather than structs: the host's
 * own <asm/bootparam.h> exists on x86 only, and this half builds everywhere. */
#ifndef ARCH_X86_64_BOOTPARAM_H
#define ARCH_X86_64_BOOTPARAM_H

/* Zero page. */
#define BP_ACPI_RSDP	0x070 /* u64 */
#define BP_E820_ENTRIES 0x1e8 /* u8 */
#define BP_SETUP_HEADER 0x1f1
#define BP_E820_TABLE	0x2d0 /* { u64 address, u64 size, u32 type } */
#define BP_SIZE		4096

/* Setup header, at the same offsets in the file and in the zero page. */
#define HDR_SETUP_SECTS	  0x1f1 /* u8 */
#define HDR_SYSSIZE	  0x1f4 /* u32, in 16 bytes */
#define HDR_BOOT_FLAG	  0x1fe /* u16, 0xaa55 */
#define HDR_JUMP	  0x201 /* u8: the header ends at 0x202 + this */
#define HDR_MAGIC	  0x202 /* "HdrS" */
#define HDR_VERSION	  0x206 /* u16 */
#define HDR_LOADER	  0x210 /* u8 */
#define HDR_LOADFLAGS	  0x211 /* u8 */
#define HDR_RAMDISK_IMAGE 0x218 /* u32 */
#define HDR_RAMDISK_SIZE  0x21c /* u32 */
#define HDR_CMD_LINE_PTR  0x228 /* u32 */
#define HDR_INITRD_MAX	  0x22c /* u32 */
#define HDR_ALIGNMENT	  0x230 /* u32 */
#define HDR_RELOCATABLE	  0x234 /* u8 */
#define HDR_XLOADFLAGS	  0x236 /* u16 */
#define HDR_CMDLINE_SIZE  0x238 /* u32 */
#define HDR_SETUP_DATA	  0x250 /* u64 */
#define HDR_PREF_ADDRESS  0x258 /* u64 */
#define HDR_INIT_SIZE	  0x260 /* u32 */
#define HDR_MIN_LEN	  0x264 /* all of the above */

#define XLF_KERNEL_64	 0x1
#define LOADED_HIGH	 0x1
#define LOADER_UNDEFINED 0xff
#define SETUP_RNG_SEED	 9
#define KERNEL64_ENTRY	 0x200 /* past the load address */

enum e820_type { E820_RAM = 1, E820_RESERVED = 2 };

/* hvm_start_info, version 1 */
#define PVH_MAGIC	   0x336ec578
#define PVH_VERSION	   0x04 /* u32 */
#define PVH_NR_MODULES	   0x0c /* u32 */
#define PVH_MODLIST	   0x10 /* u64 */
#define PVH_CMDLINE	   0x18 /* u64 */
#define PVH_RSDP	   0x20 /* u64 */
#define PVH_MEMMAP	   0x28 /* u64 */
#define PVH_MEMMAP_ENTRIES 0x30 /* u32 */
#define PVH_INFO_SIZE	   0x38
#define PVH_MODULE_SIZE	   0x20 /* { u64 address, u64 size, u64 cmdline, u64 reserved } */
#define PVH_MEMMAP_SIZE	   0x18 /* { u64 address, u64 size, u32 type, u32 reserved } */

#endif
