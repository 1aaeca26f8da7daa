/* SPDX-License-Identifier: Apache-2.0 */
/* The Image loader as arm64 uses it. */
#define CHIP	    "arm64"
#define MAGIC	    "ARM\x64"
#define OTHER_CHIP  "riscv64"
#define OTHER_MAGIC "RSC\x05"
#define RAM_BASE    0x40000000u
#include "arch/common/test_image.h"
