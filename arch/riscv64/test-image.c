/* SPDX-License-Identifier: Apache-2.0 */
/* The Image loader as riscv64 uses it. */
#define CHIP	    "riscv64"
#define MAGIC	    "RSC\x05"
#define OTHER_CHIP  "arm64"
#define OTHER_MAGIC "ARM\x64"
#define RAM_BASE    0x80000000u
#include "arch/common/test_image.h"
