/* SPDX-License-Identifier: Apache-2.0 */
/* The numbers and layouts of vhost-user, as QEMU's docs/interop/vhost-user.rst has them. Messages
 * are in host byte order: both ends are on one host. */
#ifndef OFFLOAD_VHOST_USER_H
#define OFFLOAD_VHOST_USER_H

#include <stdint.h>

#define VU_VERSION    1
#define VU_REPLY      (1u << 2)
#define VU_NEED_REPLY (1u << 3)

#define VU_FDS	       8   /* with one message */
#define VU_REGIONS     8   /* in SET_MEM_TABLE */
#define VU_MEM_SLOTS   32  /* that we offer with CONFIGURE_MEM_SLOTS */
#define VU_CONFIG_MAX  256 /* bytes of config space */
#define VU_VRING_NO_FD 0x100
#define VU_VRING_INDEX 0xff

/* Front-end to back-end. */
enum vu_request {
	VU_GET_FEATURES = 1,
	VU_SET_FEATURES = 2,
	VU_SET_OWNER = 3,
	VU_RESET_OWNER = 4,
	VU_SET_MEM_TABLE = 5,
	VU_SET_LOG_BASE = 6,
	VU_SET_LOG_FD = 7,
	VU_SET_VRING_NUM = 8,
	VU_SET_VRING_ADDR = 9,
	VU_SET_VRING_BASE = 10,
	VU_GET_VRING_BASE = 11,
	VU_SET_VRING_KICK = 12,
	VU_SET_VRING_CALL = 13,
	VU_SET_VRING_ERR = 14,
	VU_GET_PROTOCOL_FEATURES = 15,
	VU_SET_PROTOCOL_FEATURES = 16,
	VU_GET_QUEUE_NUM = 17,
	VU_SET_VRING_ENABLE = 18,
	VU_SEND_RARP = 19,
	VU_NET_SET_MTU = 20,
	VU_SET_BACKEND_REQ_FD = 21,
	VU_IOTLB_MSG = 22,
	VU_SET_VRING_ENDIAN = 23,
	VU_GET_CONFIG = 24,
	VU_SET_CONFIG = 25,
	VU_GET_INFLIGHT_FD = 31,
	VU_SET_INFLIGHT_FD = 32,
	VU_RESET_DEVICE = 34,
	VU_GET_MAX_MEM_SLOTS = 36,
	VU_ADD_MEM_REG = 37,
	VU_REM_MEM_REG = 38,
	VU_SET_STATUS = 39,
	VU_GET_STATUS = 40,
	VU_SET_DEVICE_STATE_FD = 42,
	VU_CHECK_DEVICE_STATE = 43,
	VU_REQUESTS,
};

/* Back-end to front-end, over SET_BACKEND_REQ_FD's socket. */
enum vu_backend_request {
	VU_BACKEND_IOTLB_MSG = 1,
	VU_BACKEND_CONFIG_CHANGE = 2,
	VU_BACKEND_VRING_HOST_NOTIFIER = 3,
	VU_BACKEND_REQUESTS,
};

enum vu_protocol_bit {
	VU_PF_MQ = 0,
	VU_PF_LOG_SHMFD = 1,
	VU_PF_RARP = 2,
	VU_PF_REPLY_ACK = 3,
	VU_PF_MTU = 4,
	VU_PF_BACKEND_REQ = 5,
	VU_PF_CONFIG = 9,
	VU_PF_BACKEND_SEND_FD = 10,
	VU_PF_INFLIGHT_SHMFD = 12,
	VU_PF_RESET_DEVICE = 13,
	VU_PF_CONFIGURE_MEM_SLOTS = 15,
	VU_PF_STATUS = 16,
	VU_PF_DEVICE_STATE = 19,
	VU_PF_GET_VRING_BASE_INFLIGHT = 20,
};
#define VU_PF(bit) (UINT64_C(1) << VU_PF_##bit)

#define VU_F_PROTOCOL_FEATURES (UINT64_C(1) << 30) /* among the virtio features */
#define VU_F_LOG_ALL	       (UINT64_C(1) << 26)
#define VU_VRING_LOG	       1 /* in the flags of SET_VRING_ADDR */

struct vu_vring_state {
	uint32_t index, num;
};
struct vu_vring_addr {
	uint32_t index, flags;
	uint64_t desc, used, avail; /* the front-end's own virtual addresses */
	uint64_t log;		    /* guest-physical */
};
struct vu_region {
	uint64_t gpa, size, uva, offset; /* offset: into the fd that comes with it */
};
struct vu_mem_table {
	uint32_t n, padding;
	struct vu_region region[VU_REGIONS];
};
struct vu_mem_reg {
	uint64_t padding;
	struct vu_region region;
};
struct vu_log {
	uint64_t size, offset;
};
struct vu_config {
	uint32_t offset, size, flags;
	uint8_t bytes[VU_CONFIG_MAX];
};
struct vu_inflight {
	uint64_t mmap_size, mmap_offset;
	uint16_t num_queues, queue_size;
};

struct vu_msg {
	uint32_t request, flags, size; /* size of the payload in bytes */
	union {
		uint64_t u64;
		struct vu_vring_state state;
		struct vu_vring_addr addr;
		struct vu_mem_table mem;
		struct vu_mem_reg reg;
		struct vu_log log;
		struct vu_config config;
		struct vu_inflight inflight;
		uint8_t bytes[sizeof(struct vu_config) + 4];
	} p;
	int fds[VU_FDS]; /* received: the handler takes what it wants, setting -1; the rest is
			    closed after it. Sent: borrowed */
	unsigned nfds;
};

#endif
