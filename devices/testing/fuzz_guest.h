/* SPDX-License-Identifier: Apache-2.0 */
/* A fuzzed driver at a real device behind a transport: fuzz-mmio and fuzz-pci differ only in that.
 */
#ifndef DEVICES_TESTING_FUZZ_GUEST_H
#define DEVICES_TESTING_FUZZ_GUEST_H

#include "devices/testing/guest_driver.h"

/* One input. The machine is made at the first and stays. Registers lie at [base, base+len). */
void fuzz_guest(const struct guest_transport *t, const uint8_t *data, size_t size);

#endif
