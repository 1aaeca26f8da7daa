/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-net (§5.1): sends ARP requests and takes the reply, if a peer gives one. The peer's
 * address is net.peer=A.B.C.D (10.0.2.2, a user-mode network's gateway, if not given);
 * net.rx=required makes a missing reply a failure.
 */
#include "case.h"
#include "driver.h"

#define HEADER 12u

static struct {
	uint8_t header[HEADER];
	uint8_t to[6], from[6];
	uint8_t type[2];
	uint8_t arp[28];
	uint8_t pad[18];
} __attribute__((packed)) frame;
static uint8_t received[2048];
static uint8_t asked[4]; /* whose address is asked for */

static void parse_address(const char *s, uint8_t *ret)
{
	for (unsigned i = 0; i < 4; i++, s++)
		ret[i] = (uint8_t)parse_number(&s);
}

static void make_request(const uint8_t *mac)
{
	static const uint8_t fixed[8] = {0, 1, 8, 0, 6, 4, 0, 1}; /* RFC 826, a request */
	const char *peer = word_value(machine.cmdline, "net.peer", 0);
	const char *own = word_value(machine.cmdline, "net.ip", 0);

	memset(&frame, 0, sizeof(frame));
	memset(frame.to, 0xff, 6);
	memcpy(frame.from, mac, 6);
	frame.type[0] = 8;
	frame.type[1] = 6;
	memcpy(frame.arp, fixed, 8);
	memcpy(frame.arp + 8, mac, 6);
	parse_address(own ? own : "10.0.2.15", frame.arp + 14);
	parse_address(peer ? peer : "10.0.2.2", asked);
	memcpy(frame.arp + 24, asked, sizeof(asked));
}

static bool is_reply(uint32_t length)
{
	const uint8_t *f = received + HEADER;

	return length >= HEADER + 42 && f[12] == 8 && f[13] == 6 && f[21] == 2 &&
	       !memcmp(f + 28, asked, sizeof(asked));
}

/* Waits for a reply among whatever else arrives. */
static bool take_reply(struct vq *rx, const struct vq_buf *in)
{
	uint64_t end = deadline_ms(300);
	uint32_t length;

	while (!deadline_passed(end)) {
		if (!vq_take(rx, NULL, &length)) {
			cpu_relax();
			continue;
		}
		CHECK(length >= HEADER && length <= sizeof(received), "received %u bytes", length);
		if (is_reply(length))
			return true;
		vq_add(rx, in, 1);
		vq_kick(rx);
	}
	return false;
}

static void test(const struct vdev *dev, uint64_t kind)
{
	struct vq_buf in = {received, sizeof(received), true};
	struct vq_buf out = {&frame, sizeof(frame), false};
	const char *need = word_value(machine.cmdline, "net.rx", 0);
	uint8_t mac[6] = {2, 0, 0, 0, 0, 1};
	bool replied = false;
	struct drv d;
	struct vq rx;

	CHECK(!drv_prepare(&d, dev, kind | NET_F_MAC | NET_F_STATUS, 8), "%s does not start",
		dev->name);
	CHECK(!vq_open(&rx, &d.dev, 0, 8), "%s has no receive queue", dev->name);
	for (unsigned i = 0; i < 6 && d.dev.features & NET_F_MAC; i++)
		mac[i] = (uint8_t)vdev_config(&d.dev, i, 1);
	CHECK(!(mac[0] & 1), "%s has a multicast address", dev->name);
	vdev_driver_ok(&d.dev);
	vq_add(&rx, &in, 1);
	vq_kick(&rx);
	for (unsigned i = 0; i < 3 && !replied; i++) {
		make_request(mac); /* anew: passt makes its reply in the frame that was sent */
		CHECK(vq_do(&d.q, &out, 1) == 0, "%s did not send", dev->name);
		replied = take_reply(&rx, &in);
	}
	note("%s: MAC %02x:%02x:%02x:%02x:%02x:%02x, %s\n", dev->name, mac[0], mac[1], mac[2],
		mac[3], mac[4], mac[5], replied ? "the peer replied" : "no peer replied");
	CHECK(replied || !need || !word_is(need, "required"), "no ARP reply");
}

static void run(void)
{
	static struct vdev v[MAX_VDEVS];
	unsigned n = vdev_find(VIRTIO_NET, v);

	if (!n)
		case_skip("no virtio-net device");
	for (unsigned i = 0; i < n; i++) {
		test(&v[i], 0);
		if (vdev_offered(&v[i]) & F_PACKED)
			test(&v[i], F_PACKED);
	}
}

const struct guest_case this_case = {"virtio-net", run, .no_irqs = true};
