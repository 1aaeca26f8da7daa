/* SPDX-License-Identifier: Apache-2.0 */
/* An announcement: a reverse ARP request (RFC 903) from the guest's address to everybody, which
 * says nothing but teaches the switches on its way where that address is now. Whoever asks for it
 * has no part in the back-end, so the address is left for pair 0's worker, which sends it when it
 * hears of it or when its first queue starts, whichever comes first. */
#include <arpa/inet.h>
#include <net/ethernet.h>
#include <net/if_arp.h>
#include <string.h>
#include "devices/virtio/net_priv.h"
#include "vmm/base/list.h"

#define LEFT	 (UINT64_C(1) << 48) /* above the address */
#define RARP_MIN 60		     /* the shortest frame without its checksum */

struct rarp {
	struct virtio_net_hdr_v1 none;
	struct ether_header eth;
	struct arphdr arp;
	uint8_t sha[6], spa[4], tha[6], tpa[4];
	uint8_t pad[RARP_MIN - 42];
} __attribute__((packed));
_Static_assert(sizeof(struct rarp) == NET_HDR_LEN + RARP_MIN, "an Ethernet frame's least");

static void make(struct rarp *r, const uint8_t mac[6])
{
	*r = (struct rarp){
		.eth.ether_type = htons(ETHERTYPE_REVARP),
		.arp = {htons(ARPHRD_ETHER), htons(ETHERTYPE_IP), 6, 4, htons(ARPOP_RREQUEST)},
	};
	memset(r->eth.ether_dhost, 0xff, 6);
	memcpy(r->eth.ether_shost, mac, 6);
	memcpy(r->sha, mac, 6);
	memcpy(r->tha, mac, 6);
}

void net_rarp_send(struct virtio_net *n)
{
	struct net_pair *p = &n->pair[0];
	size_t skip = p->back->vnet_hdr ? 0 : NET_HDR_LEN;
	struct rarp frame;
	struct iovec iov = {(uint8_t *)&frame + skip, sizeof(frame) - skip};
	uint64_t left;

	if (!p->bound)
		return;
	left = atomic_exchange(&n->announce, 0);
	if (!left)
		return;
	make(&frame, (uint8_t *)&left);
	if (p->back->ops->send(p->back, &iov, 1) < 0)
		net_check_gone(p);
}

static void handle_announce(struct ev_msg *m)
{
	struct virtio_net *n = container_of(m, struct virtio_net, announce_msg);

	atomic_store(&n->announce_posted, false);
	net_rarp_send(n);
}

void virtio_net_announce(struct virtio_dev *d, const uint8_t mac[6])
{
	struct virtio_net *n = net_of(d);
	struct ev_loop *loop;
	uint64_t left = LEFT;

	memcpy(&left, mac ? mac : n->config.mac, 6);
	atomic_store(&n->announce, left);
	loop = atomic_load(&n->pair[0].loop);
	if (loop && !atomic_exchange(&n->announce_posted, true))
		ev_post(loop, &n->announce_msg);
}

void net_rarp_init(struct virtio_net *n)
{
	n->announce_msg.handle = handle_announce;
}
