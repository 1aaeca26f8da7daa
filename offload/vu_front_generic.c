/* SPDX-License-Identifier: Apache-2.0 */
/* The front half of devices of which the VMM knows little more than the number of their type: how
 * many queues they usually have, how long their config space is, and whether there is a part in
 * them that only a VMM can play. Without a row a type has one queue, and no config space. */
#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "offload/vu_proxy.h"
#include "vmm/base/num.h"

#define BIT(b) (UINT64_C(1) << (b))
/* virtio 1.2 §2.2: bits 0 to 23 are a device type's own, as are those from 50 on, which only
 * network devices have. Of the others those that rings understand; never 33 (the IOMMU is ours), 37
 * to 40 (the transport's), nor what legacy drivers have at 24 to 27 and vhost-user at 26 and 30. */
#define TYPES_OWN (BIT(24) - 1)
#define RINGS                                                                                      \
	(VIRTIO_BIT_INDIRECT_DESC | VIRTIO_BIT_EVENT_IDX | VIRTIO_BIT_VERSION_1 |                  \
		VIRTIO_BIT_RING_PACKED | VIRTIO_BIT_IN_ORDER)
#define TIMEOUT_MS 3000

static const struct type {
	uint8_t number, queues;
	uint16_t config_len;
	const char *name;
	const char *why_not;
	uint64_t not ; /* features of the type that are not for it */
} types[] = {
	/* §5.1.3: without those of a control queue, which vhost-user back-ends do not serve */
	{1, 2, 12, "net",
		.not = BIT(2) | BIT(17) | BIT(18) | BIT(19) | BIT(20) | BIT(21) | BIT(22) |
		       BIT(23)},
	{2, 1, 60, "blk"},
	/* §5.3.3: without VIRTIO_CONSOLE_F_MULTIPORT, whose queues are numbered past them */
	{3, 2, 12, "console", .not = BIT(1)},
	{4, 1, 0, "rng"},
	{5, .name = "balloon", .why_not = "it takes memory back, which is the VMM's to do"},
	{8, 3, 36, "scsi"},
	{16, .name = "gpu", .why_not = "it needs a display, which the VMM has not"},
	{18, .name = "input",
		.why_not = "its driver reads an answer right after it wrote the question"},
	{19, 3, 8, "vsock"},
	{20, .name = "crypto", .why_not = "its control queue is the VMM's, which does not know it"},
	{23, .name = "iommu", .why_not = "it is the VMM's own part"},
	{24, .name = "mem", .why_not = "it plugs memory, which is the VMM's to do"},
	{25, 4, 12, "sound"},
	{26, 2, 40, "fs"},
	{27, .name = "pmem", .why_not = "its memory is the VMM's to map"},
	{34, 1, 0, "i2c"},
	{36, 3, 4, "can"},
	{41, 2, 8, "gpio"},
};

static const struct type *row(unsigned number)
{
	for (unsigned i = 0; i < ARRAY_SIZE(types); i++)
		if (types[i].number == number)
			return &types[i];
	return NULL;
}

int vu_type_of(const char *name)
{
	char *end;
	unsigned long n = strtoul(name, &end, 10);

	if (*name >= '0' && *name <= '9')
		return !*end && n >= 1 && n <= 63 ? (int)n : -EINVAL;
	for (unsigned i = 0; i < ARRAY_SIZE(types); i++)
		if (!strcmp(types[i].name, name))
			return types[i].number;
	return -EINVAL;
}

int vu_peer_opts_generic(struct vu_peer_opts *ret, unsigned type, const char **ret_why)
{
	static const struct type unknown = {.queues = 1};
	const struct type *t = row(type);

	if (type == VIRTIO_TYPE_BLOCK) {
		vu_peer_opts_blk(ret);
		return 0;
	}
	if (t && t->why_not) {
		*ret_why = t->why_not;
		return -EINVAL;
	}
	t = t ? t : &unknown;
	*ret = (struct vu_peer_opts){
		.fd = -1,
		.type = (enum virtio_type)type,
		.queues = t->queues,
		.fixed_queues = t->queues > 1 && type != VIRTIO_TYPE_NET,
		.config_len = t->config_len,
		.must = VIRTIO_BIT_VERSION_1,
		.may = RINGS | (TYPES_OWN & ~t->not ),
		.timeout_ms = TIMEOUT_MS,
	};
	return 0;
}

/* ---- names of features ---- */

struct bit_name {
	uint8_t type, bit; /* type 0: of all */
	const char *name;
};
#define NET(f)                                                                                     \
	{                                                                                          \
		1, VIRTIO_NET_F_##f, "VIRTIO_NET_F_" #f                                            \
	}
#define BLK(f)                                                                                     \
	{                                                                                          \
		2, VIRTIO_BLK_F_##f, "VIRTIO_BLK_F_" #f                                            \
	}
#define F(b, f)                                                                                    \
	{                                                                                          \
		0, b, "VIRTIO_F_" #f                                                               \
	}

static const struct bit_name names[] = {
	{0, VIRTIO_RING_F_INDIRECT_DESC, "VIRTIO_F_INDIRECT_DESC"},
	{0, VIRTIO_RING_F_EVENT_IDX, "VIRTIO_F_EVENT_IDX"},
	F(VIRTIO_F_VERSION_1, VERSION_1),
	F(VIRTIO_F_RING_PACKED, RING_PACKED),
	F(35, IN_ORDER),
	NET(CSUM),
	NET(GUEST_CSUM),
	NET(MTU),
	NET(GUEST_TSO4),
	NET(GUEST_TSO6),
	NET(GUEST_ECN),
	NET(GUEST_UFO),
	NET(HOST_TSO4),
	NET(HOST_TSO6),
	NET(HOST_ECN),
	NET(HOST_UFO),
	NET(MRG_RXBUF),
	BLK(SIZE_MAX),
	BLK(SEG_MAX),
	BLK(GEOMETRY),
	BLK(RO),
	BLK(BLK_SIZE),
	BLK(FLUSH),
	BLK(TOPOLOGY),
	BLK(CONFIG_WCE),
	BLK(MQ),
	BLK(DISCARD),
	BLK(WRITE_ZEROES),
};

const char *vu_feature_name(unsigned type, unsigned bit, char buf[24])
{
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
		if (names[i].bit == bit && (!names[i].type || names[i].type == type))
			return names[i].name;
	snprintf(buf, 24, "feature bit %u", bit);
	return buf;
}
