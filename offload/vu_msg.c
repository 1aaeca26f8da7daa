/* SPDX-License-Identifier: Apache-2.0 */
/* The rules of vhost-user as a table, one row a request: what a message may look like before anyone
 * looks into it. A request without a row is one that we do not speak. From QEMU's
 * docs/interop/vhost-user.rst, "Front-end message types" and "Back-end message types". */
#include "offload/vu_msg.h"

#include <errno.h>
#include <unistd.h>
#include "vmm/base/num.h"

#define CONFIG_HEAD (sizeof(struct vu_config) - VU_CONFIG_MAX)
#define TABLE_HEAD  (sizeof(struct vu_mem_table) - VU_REGIONS * sizeof(struct vu_region))

/* "The size and ordering of the fds matches the number and ordering of memory regions." */
static bool table_shape(const struct vu_msg *m)
{
	return m->p.mem.n <= VU_REGIONS && m->nfds == m->p.mem.n &&
	       m->size == TABLE_HEAD + m->p.mem.n * sizeof(struct vu_region);
}

/* Bit 8 says that no fd comes with it. */
static bool vring_fd_shape(const struct vu_msg *m)
{
	return !(m->p.u64 & ~(uint64_t)(VU_VRING_INDEX | VU_VRING_NO_FD)) &&
	       m->nfds == !(m->p.u64 & VU_VRING_NO_FD);
}

static bool config_shape(const struct vu_msg *m)
{
	const struct vu_config *c = &m->p.config;

	return c->size <= VU_CONFIG_MAX && c->offset <= VU_CONFIG_MAX - c->size &&
	       m->size == CONFIG_HEAD + c->size;
}

#define U64	   .min = 8, .max = 8
#define OF(type)   .min = sizeof(struct type), .max = sizeof(struct type)
#define FDS(a, b)  .fds_min = a, .fds_max = b
#define ANSWERS(n) .replies = true, .reply_min = n, .reply_max = n
#define NEEDS(bit) .needs = VU_PF(bit)
/* 20 bytes by the specification; who sends a C structure pads it to 24 */
#define INFLIGHT .min = 20, .max = sizeof(struct vu_inflight)

static const struct vu_rule rules[VU_REQUESTS] = {
	[VU_GET_FEATURES] = {"GET_FEATURES", ANSWERS(8)},
	[VU_SET_FEATURES] = {"SET_FEATURES", U64},
	[VU_SET_OWNER] = {"SET_OWNER"},
	[VU_RESET_OWNER] = {"RESET_OWNER"},
	[VU_SET_MEM_TABLE] = {"SET_MEM_TABLE", .min = TABLE_HEAD,
		.max = sizeof(struct vu_mem_table), FDS(0, VU_REGIONS), .shape = table_shape},
	[VU_SET_LOG_BASE] = {"SET_LOG_BASE", OF(vu_log), FDS(1, 1), .replies = true, .reply_max = 8,
		NEEDS(LOG_SHMFD)},
	[VU_SET_LOG_FD] = {"SET_LOG_FD", FDS(1, 1), NEEDS(LOG_SHMFD)},
	[VU_SET_VRING_NUM] = {"SET_VRING_NUM", OF(vu_vring_state)},
	[VU_SET_VRING_ADDR] = {"SET_VRING_ADDR", OF(vu_vring_addr)},
	[VU_SET_VRING_BASE] = {"SET_VRING_BASE", OF(vu_vring_state)},
	[VU_GET_VRING_BASE] = {"GET_VRING_BASE", OF(vu_vring_state),
		ANSWERS(sizeof(struct vu_vring_state))},
	[VU_SET_VRING_KICK] = {"SET_VRING_KICK", U64, FDS(0, 1), .shape = vring_fd_shape},
	[VU_SET_VRING_CALL] = {"SET_VRING_CALL", U64, FDS(0, 1), .shape = vring_fd_shape},
	[VU_SET_VRING_ERR] = {"SET_VRING_ERR", U64, FDS(0, 1), .shape = vring_fd_shape},
	[VU_GET_PROTOCOL_FEATURES] = {"GET_PROTOCOL_FEATURES", ANSWERS(8)},
	[VU_SET_PROTOCOL_FEATURES] = {"SET_PROTOCOL_FEATURES", U64},
	[VU_GET_QUEUE_NUM] = {"GET_QUEUE_NUM", ANSWERS(8), NEEDS(MQ)},
	[VU_SET_VRING_ENABLE] = {"SET_VRING_ENABLE", OF(vu_vring_state)},
	[VU_SEND_RARP] = {"SEND_RARP", U64, NEEDS(RARP)},
	[VU_NET_SET_MTU] = {"NET_SET_MTU", U64, NEEDS(MTU)},
	[VU_SET_BACKEND_REQ_FD] = {"SET_BACKEND_REQ_FD", FDS(1, 1), NEEDS(BACKEND_REQ)},
	[VU_GET_CONFIG] = {"GET_CONFIG", .min = CONFIG_HEAD, .max = sizeof(struct vu_config),
		.replies = true, .reply_max = sizeof(struct vu_config), .shape = config_shape,
		NEEDS(CONFIG)},
	[VU_SET_CONFIG] = {"SET_CONFIG", .min = CONFIG_HEAD, .max = sizeof(struct vu_config),
		.shape = config_shape, NEEDS(CONFIG)},
	[VU_GET_INFLIGHT_FD] = {"GET_INFLIGHT_FD", INFLIGHT, .replies = true, .reply_min = 20,
		.reply_max = sizeof(struct vu_inflight), .reply_fds = 1, NEEDS(INFLIGHT_SHMFD)},
	[VU_SET_INFLIGHT_FD] = {"SET_INFLIGHT_FD", INFLIGHT, FDS(1, 1), NEEDS(INFLIGHT_SHMFD)},
	[VU_RESET_DEVICE] = {"RESET_DEVICE", NEEDS(RESET_DEVICE)},
	[VU_GET_MAX_MEM_SLOTS] = {"GET_MAX_MEM_SLOTS", ANSWERS(8), NEEDS(CONFIGURE_MEM_SLOTS)},
	[VU_ADD_MEM_REG] = {"ADD_MEM_REG", OF(vu_mem_reg), FDS(1, 1), NEEDS(CONFIGURE_MEM_SLOTS)},
	/* "SHOULD" come without one; the back-end closes it */
	[VU_REM_MEM_REG] = {"REM_MEM_REG", OF(vu_mem_reg), FDS(0, 1), NEEDS(CONFIGURE_MEM_SLOTS)},
	[VU_SET_STATUS] = {"SET_STATUS", U64, NEEDS(STATUS)},
	[VU_GET_STATUS] = {"GET_STATUS", ANSWERS(8), NEEDS(STATUS)},
	[VU_SET_DEVICE_STATE_FD] = {"SET_DEVICE_STATE_FD", U64, FDS(1, 1), ANSWERS(8),
		.reply_fds = 1, NEEDS(DEVICE_STATE)},
	[VU_CHECK_DEVICE_STATE] = {"CHECK_DEVICE_STATE", ANSWERS(8), NEEDS(DEVICE_STATE)},
};

static const struct vu_rule backend_rules[VU_BACKEND_REQUESTS] = {
	[VU_BACKEND_CONFIG_CHANGE] = {"CONFIG_CHANGE", NEEDS(CONFIG)},
};

static const struct vu_rule *row(const struct vu_rule *table, uint32_t n, uint32_t request)
{
	return request < n && table[request].name ? &table[request] : NULL;
}

const struct vu_rule *vu_rule(uint32_t request)
{
	return row(rules, VU_REQUESTS, request);
}

const struct vu_rule *vu_backend_rule(uint32_t request)
{
	return row(backend_rules, VU_BACKEND_REQUESTS, request);
}

static const char *request_fault(const struct vu_rule *r, const struct vu_msg *m, uint64_t agreed)
{
	if (m->flags & VU_REPLY)
		return "a reply where a request belongs";
	if (r->needs & ~agreed)
		return "its protocol feature was not agreed";
	if (m->size < r->min || m->size > r->max)
		return "wrong size";
	if (m->nfds < r->fds_min || m->nfds > r->fds_max)
		return "wrong number of file descriptors";
	return r->shape && !r->shape(m) ? "its fields contradict each other" : NULL;
}

static const char *reply_fault(const struct vu_rule *r, const struct vu_msg *m)
{
	unsigned min = r->replies ? r->reply_min : 8, max = r->replies ? r->reply_max : 8;

	if (!(m->flags & VU_REPLY))
		return "a request where a reply belongs";
	if (m->size < min || m->size > max)
		return "wrong size of the reply";
	return m->nfds > r->reply_fds ? "wrong number of file descriptors with the reply" : NULL;
}

int vu_check(const struct vu_rule *r, const struct vu_msg *m, bool reply, uint64_t agreed,
	const char **ret_why)
{
	const char *why = reply ? reply_fault(r, m) : request_fault(r, m, agreed);

	if (!why)
		return 0;
	*ret_why = why;
	return -EPROTO;
}

void vu_msg_close_fds(struct vu_msg *m)
{
	for (unsigned i = 0; i < m->nfds; i++)
		if (m->fds[i] >= 0)
			close(m->fds[i]);
	m->nfds = 0;
}
