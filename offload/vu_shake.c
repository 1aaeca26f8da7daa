/* SPDX-License-Identifier: Apache-2.0 */
/* The handshake: features, then protocol features, then whatever the agreed ones let us ask, all at
 * once. At its end the offer is judged: against what the device needs, and, for a successor,
 * against what the driver was promised. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "offload/vu_peer_priv.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"

#define SPEAKS                                                                                     \
	(VU_PF(MQ) | VU_PF(LOG_SHMFD) | VU_PF(RARP) | VU_PF(REPLY_ACK) | VU_PF(MTU) |              \
		VU_PF(BACKEND_REQ) | VU_PF(CONFIG) | VU_PF(INFLIGHT_SHMFD) | VU_PF(RESET_DEVICE) | \
		VU_PF(CONFIGURE_MEM_SLOTS))

#define CONFIG_HEAD (sizeof(struct vu_config) - VU_CONFIG_MAX)

static void ask(struct vu_peer *p, uint32_t request, vu_done *done)
{
	struct vu_msg m = {.request = request};

	if (request == VU_GET_CONFIG)
		vu_config_request(p, &m);
	if (done)
		p->shaking++;
	vu_steps_say(&p->steps, &m, done, p);
}

static void tell(struct vu_peer *p, uint32_t request, uint64_t value)
{
	struct vu_msg m = {.request = request, .size = 8, .p.u64 = value};

	vu_steps_say(&p->steps, &m, NULL, p);
}

/* One answer has been taken in. */
static void answered(struct vu_peer *p)
{
	if (--p->shaking == 0)
		vu_peer_shaken(p);
}

static void got_queues(void *arg, int result, const struct vu_msg *reply)
{
	struct vu_peer *p = arg;

	if (result < 0)
		return;
	p->offer.queues = reply->p.u64;
	answered(p);
}

static void got_slots(void *arg, int result, const struct vu_msg *reply)
{
	struct vu_peer *p = arg;

	if (result < 0)
		return;
	p->offer.slots = reply->p.u64;
	answered(p);
}

static void got_config(void *arg, int result, const struct vu_msg *reply)
{
	struct vu_peer *p = arg;

	if (result < 0)
		return;
	if (vu_config_reply(p, reply, p->offer.config) < 0) {
		vu_steps_fail(&p->steps, "it gives no config space of %u bytes", p->o.config_len);
		return;
	}
	answered(p);
}

static bool fetches_config(const struct vu_peer *p)
{
	return p->o.config_len && !p->o.own_config;
}

static void got_protocol(void *arg, int result, const struct vu_msg *reply)
{
	struct vu_peer *p = arg;
	uint64_t agreed;

	if (result < 0)
		return;
	agreed = p->offer.protocol = reply->p.u64 & SPEAKS;
	tell(p, VU_SET_PROTOCOL_FEATURES, agreed);
	p->steps.agreed = agreed;
	if (agreed & VU_PF(MQ))
		ask(p, VU_GET_QUEUE_NUM, got_queues);
	if (agreed & VU_PF(CONFIGURE_MEM_SLOTS))
		ask(p, VU_GET_MAX_MEM_SLOTS, got_slots);
	if (agreed & VU_PF(CONFIG) && fetches_config(p))
		ask(p, VU_GET_CONFIG, got_config);
	answered(p);
}

static void got_features(void *arg, int result, const struct vu_msg *reply)
{
	struct vu_peer *p = arg;

	if (result < 0)
		return;
	p->offer.features = reply->p.u64;
	if (p->offer.features & VU_F_PROTOCOL_FEATURES)
		ask(p, VU_GET_PROTOCOL_FEATURES, got_protocol);
	answered(p);
}

void vu_shake_begin(struct vu_peer *p)
{
	p->offer = (struct vu_offer){0};
	p->shaking = 0;
	p->state = PEER_SHAKING;
	ask(p, VU_SET_OWNER, NULL);
	ask(p, VU_GET_FEATURES, got_features);
}

/* ---- judging ---- */

static int lacks(
	const struct vu_peer *p, char *why, size_t cap, uint64_t missing, const char *reason)
{
	char buf[24];

	snprintf(why, cap, "it lacks %s%s",
		vu_feature_name(p->o.type, __builtin_ctzll(missing), buf), reason);
	return -EINVAL;
}

static int lacks_protocol(char *why, size_t cap, const char *name, const char *reason)
{
	snprintf(why, cap, "it lacks VHOST_USER_PROTOCOL_F_%s, %s", name, reason);
	return -EINVAL;
}

/* Without MQ there is one queue, or one pair (of a network device), or what every device of the
 * type has. With it the number is of queues, or, of a network device, of pairs. */
static int check_queues(const struct vu_peer *p, char *why, size_t cap)
{
	bool pairs = p->o.type == VIRTIO_TYPE_NET, mq = p->offer.protocol & VU_PF(MQ);
	uint64_t have = mq ? p->offer.queues : 1;

	if (!mq && p->o.fixed_queues)
		return 0;
	unsigned want = pairs ? p->o.queues / 2 : p->o.queues;

	if (have >= want)
		return 0;
	snprintf(why, cap, "it has %llu %s%s, %u are wanted", (unsigned long long)have,
		pairs ? "queue pairs" : "queues", mq ? "" : " (no VHOST_USER_PROTOCOL_F_MQ)", want);
	return -EINVAL;
}

int vu_shake_judge(struct vu_peer *p, char *why, size_t cap)
{
	uint64_t has = p->offer.features, needs;

	{
		LOCK_SCOPE(&p->lock);
		needs = p->needs;
	}
	int r = check_queues(p, why, cap);

	if (r < 0)
		return r;
	if (p->o.must & ~has)
		return lacks(p, why, cap, p->o.must & ~has, "");
	if (fetches_config(p) && !(p->offer.protocol & VU_PF(CONFIG)))
		return lacks_protocol(why, cap, "CONFIG", "in which the device describes itself");
	if (needs & ~has)
		return lacks(
			p, why, cap, needs & ~has, ", which its predecessor gave to the driver");
	if (needs && vu_peer_has_area(p) && !(p->offer.protocol & VU_PF(INFLIGHT_SHMFD)))
		return lacks_protocol(why, cap, "INFLIGHT_SHMFD",
			"by which its predecessor kept what it had not completed");
	return 0;
}

/* ---- config space ---- */

void vu_config_request(const struct vu_peer *p, struct vu_msg *ret)
{
	*ret = (struct vu_msg){.request = VU_GET_CONFIG, .size = CONFIG_HEAD + p->o.config_len};
	ret->p.config.size = p->o.config_len;
}

int vu_config_reply(const struct vu_peer *p, const struct vu_msg *reply, uint8_t *ret_config)
{
	if (reply->size != CONFIG_HEAD + p->o.config_len ||
		reply->p.config.size != p->o.config_len || reply->p.config.offset)
		return -EPROTO;
	memcpy(ret_config, reply->p.config.bytes, p->o.config_len);
	vu_front_config(&p->o, ret_config);
	return 0;
}
