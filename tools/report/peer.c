/* SPDX-License-Identifier: Apache-2.0 */
/* See peer.h. */
#include "peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"

/* RFC 826 over Ethernet: destination 6, source 6, type 2, then the 28 bytes of ARP. */
#define ARP	   14
#define ARP_OP	   (ARP + 6)
#define ARP_SENDER (ARP + 8)  /* MAC 6, IP 4 */
#define ARP_TARGET (ARP + 18) /* MAC 6, IP 4 */
#define ARP_END	   (ARP + 28)

bool peer_answer(uint8_t *frame, size_t len)
{
	static const uint8_t request[] = {8, 6, 0, 1, 8, 0, 6, 4, 0, 1};
	static const uint8_t address[] = {2, 0, 0, 0, 2, 2, 10, 0, 2, 2}; /* MAC, IP */

	if (len < ARP_END || memcmp(frame + ARP - 2, request, sizeof(request)) ||
		memcmp(frame + ARP_TARGET + 6, address + 6, 4))
		return false;
	memcpy(frame, frame + 6, 6);
	memcpy(frame + 6, address, 6);
	frame[ARP_OP + 1] = 2;
	memcpy(frame + ARP_TARGET, frame + ARP_SENDER, 10);
	memcpy(frame + ARP_SENDER, address, 10);
	return true;
}

static bool read_all(int fd, void *p, size_t len)
{
	for (ssize_t n; len; p = (char *)p + n, len -= (size_t)n) {
		n = read(fd, p, len);
		if (n <= 0)
			return false;
	}
	return true;
}

static bool write_all(int fd, const void *p, size_t len)
{
	for (ssize_t n; len; p = (const char *)p + n, len -= (size_t)n) {
		n = write(fd, p, len);
		if (n <= 0)
			return false;
	}
	return true;
}

static int find_fd(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (!strncmp(argv[i], "--fd=", 5))
			return atoi(argv[i] + 5);
		if (i + 1 < argc && (!strcmp(argv[i], "--fd") || !strcmp(argv[i], "-F")))
			return atoi(argv[i + 1]);
	}
	return -1;
}

int peer_main(int argc, char **argv)
{
	cleanup_free uint8_t *frame = malloc(4 + PEER_FRAME);
	int fd = find_fd(argc, argv);
	uint32_t head;

	if (fd < 0 || !frame) {
		fputs("chip-report: the network peer needs --fd N\n", stderr);
		return 1;
	}
	while (read_all(fd, &head, sizeof(head))) {
		size_t len = ntohl(head);
		if (len > PEER_FRAME || !read_all(fd, frame + 4, len))
			return 1;
		if (!peer_answer(frame + 4, len))
			continue;
		memcpy(frame, &head, sizeof(head));
		if (!write_all(fd, frame, 4 + len))
			return 1;
	}
	return 0;
}
