/* SPDX-License-Identifier: Apache-2.0 */
/* A packed stream from a peer: any bytes, in two steps, with any limit of size. */
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>
#include "cloud/base/packed.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct unpack *u;
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	if (fd >= 0 && unpack_new(fd, 1 << 20, &u) == 0) {
		static const char any[DIGEST_LEN] =
			"sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

		unpack_feed(u, "PVPACK1\n\0\0\x10\0\0\0\0\0", size % 2 ? 16 : 0);
		unpack_feed(u, data, size / 3);
		unpack_feed(u, data + size / 3, size - size / 3);
		unpack_end(u, any, NULL);
		unpack_free(u);
	}
	close(fd);
	return 0;
}
