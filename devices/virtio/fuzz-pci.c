/* SPDX-License-Identifier: Apache-2.0 */
/* A guest at the registers and the ring of a device behind virtio-pci. */
#include "devices/testing/fuzz_guest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	fuzz_guest(&guest_pci_msix, data, size);
	return 0;
}
