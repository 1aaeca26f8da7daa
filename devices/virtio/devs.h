/* SPDX-License-Identifier: Apache-2.0 */
/* The virtio devices and transports, by constructor. Back-ends are borrowed: the host's resources
 * own them, so that they survive a reboot, which frees and makes the devices anew. Ids are unique
 * in the machine ("_disk0") and live in the device. */
#ifndef DEVICES_VIRTIO_DEVS_H
#define DEVICES_VIRTIO_DEVS_H

#include "devices/virtio/virtio.h"

struct block;
struct netdev;
struct chr;
struct pci_root;
struct vsock_unix;

struct virtio_blk_opts {
	char serial[21];     /* at most 20 bytes and NUL (virtio 1.2 §5.2.6.1) */
	uint16_t queue_size; /* power of two, 2..VIRTIO_QUEUE_MAX; 0 = 256 */
	bool in_order;	 /* completes in the ring's order, unless the ring keeps what is in flight
			    (virtq_setup.inflight): whoever replaces a killed process can go on */
	uint16_t queues; /* 0 = 1; at most VIRTIO_QUEUES - 1 (VIRTIO_BLK_F_MQ, §5.2.3) */
	unsigned poll;	 /* as in struct virtio_dev */
};
int virtio_blk_new(struct dev_host *h, const char *id, struct block *b,
	const struct virtio_blk_opts *o, struct virtio_dev **ret_dev);

struct virtio_net_opts {
	uint8_t mac[6];
	uint16_t mtu;	     /* 0 = not offered */
	uint16_t queue_size; /* 0 = 256 */
	uint16_t pairs;	     /* 0 = 1; at most (VIRTIO_QUEUES - 1) / 2 (VIRTIO_NET_F_MQ, §5.1.3) */
	unsigned poll;	     /* as in struct virtio_dev */
};
/* n: one back-end for each pair. With more than one pair there is a control queue behind them. */
int virtio_net_new(struct dev_host *h, const char *id, struct netdev *const *n,
	const struct virtio_net_opts *o, struct virtio_dev **ret_dev);
/* Announces an address, the guest's own when mac is NULL, to the back-end's network: one RARP
 * broadcast, now or when the first queue starts. Any thread. */
void virtio_net_announce(struct virtio_dev *d, const uint8_t mac[6]);
/* The disk has another size now (bytes, a multiple of 512): config space says so and the driver is
 * told. What is in flight beyond a smaller end fails. Control. */
void virtio_blk_resize(struct virtio_dev *d, uint64_t size);

int virtio_rng_new(struct dev_host *h, const char *id, int source_fd, struct virtio_dev **ret_dev);
int virtio_console_new(
	struct dev_host *h, const char *id, struct chr *c, struct virtio_dev **ret_dev);

/* One key, KEY_POWER: how a person asks a guest without ACPI to switch itself off (§5.8). */
int virtio_input_new(struct dev_host *h, const char *id, struct virtio_dev **ret_dev);
void virtio_input_power_key(struct virtio_dev *d); /* control: press and release */

/* Sockets between guest and host (§5.10), over a unix socket on the host side. */
int virtio_vsock_new(struct dev_host *h, const char *id, uint64_t cid, struct vsock_unix *u,
	struct virtio_dev **ret_dev);

/* The transports take dev in all cases (freed on error too). */
/* virtio-mmio (virtio 1.2 §4.2) at base, 0x200 bytes, edge interrupt `pin`. */
int virtio_mmio_new(struct dev_host *h, struct virtio_dev *dev, uint64_t base, uint32_t pin,
	struct device **ret_device);
/* virtio-pci, modern only (§4.1), as a function of root; slot -1 = next free. */
int virtio_pci_new(struct dev_host *h, struct virtio_dev *dev, struct pci_root *root, int slot,
	struct device **ret_device);

#endif
