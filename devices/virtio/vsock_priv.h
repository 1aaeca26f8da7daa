/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of virtio-vsock share: vsock.c has the device and its rings, vsock_table.c the
 * table of connections, vsock_conn.c what one of them does. All of it belongs to the worker while
 * the queues run, except where said.
 *
 *   host connects ─► HELLO ─"CONNECT port"─► REQUESTED ─RESPONSE─► OPEN ─► ENDED ─► freed
 *   guest's REQUEST ───────────────────────────────────────────────▲
 *
 * ENDED: the guest is told by an RST and forgotten; what it sent before still goes to the host. */
#ifndef DEVICES_VIRTIO_VSOCK_PRIV_H
#define DEVICES_VIRTIO_VSOCK_PRIV_H

#include <linux/virtio_vsock.h>
#include <stdatomic.h>
#include "devices/virtio/virtio.h"
#include "devices/virtio/virtq.h"
#include "vmm/base/list.h"
#include "vmm/base/num.h"

#define VSOCK_HOST_CID	 2
#define VSOCK_HDR	 sizeof(struct virtio_vsock_hdr)
#define VSOCK_CONNS	 1024
#define VSOCK_BUF	 (64 * KIB) /* what a guest may send ahead of the host's reader */
#define VSOCK_PACKET	 (64 * KIB) /* data in one packet to the guest */
#define VSOCK_BUCKETS	 256
#define VSOCK_TIMEOUT_NS UINT64_C(2000000000)
#define VSOCK_LINE	 32

enum vsock_state { VSOCK_HELLO, VSOCK_REQUESTED, VSOCK_OPEN, VSOCK_ENDED };

struct vsock_conns;

struct vsock_conn {
	struct vsock_conns *of;
	struct list all, hash;
	struct list ready; /* linked while there may be a packet for the guest */
	struct list timed; /* linked while something must happen before `deadline` */
	struct ev_fd host; /* the socket; fd -1 when closed */
	enum vsock_state state;
	uint32_t guest_port, host_port;
	uint32_t pending;    /* bit per VIRTIO_VSOCK_OP_* to send */
	uint64_t deadline;   /* ns, monotonic */
	bool readable;	     /* the host socket may have data, or its end */
	bool host_gone;	     /* and nobody is at its other end */
	uint8_t guest_shut;  /* VIRTIO_VSOCK_SHUTDOWN_* that the guest has sent */
	uint8_t host_shut;   /* and those that hold for the host */
	bool credit_asked;   /* one CREDIT_REQUEST a shortage */
	uint32_t sent;	     /* payload bytes to the guest, free-running (§5.10.6.3) */
	uint32_t peer_alloc; /* the guest's buf_alloc */
	uint32_t peer_fwd;   /* the guest's fwd_cnt */
	uint32_t fwd_cnt;    /* ours: bytes that the host socket has taken */
	uint32_t told_fwd;   /* as last sent to the guest */
	uint8_t *out;	     /* ring of VSOCK_BUF bytes for the host, NULL when empty */
	uint32_t out_at, out_len;
	char line[VSOCK_LINE]; /* HELLO */
	unsigned nline;
};

struct vsock_conns {
	struct list all, ready, timed; /* ready: in turn; timed: by deadline */
	struct list bucket[VSOCK_BUCKETS];
	unsigned n, max;
	uint64_t guest_cid;
	uint32_t next_port;
	struct ev_loop *loop;		     /* NULL while the queues are stopped */
	struct ev_timer timer;		     /* for the first of timed */
	void (*wake)(struct vsock_conns *s); /* ready may have members now */
	_Atomic uint64_t connections, rx_bytes, tx_bytes, refused; /* read by any thread */
};

void vsock_conns_init(struct vsock_conns *s, uint64_t guest_cid, unsigned max,
	void (*wake)(struct vsock_conns *s));
/* Watches the sockets on loop, and time; detach leaves the connections as they are. */
void vsock_conns_attach(struct vsock_conns *s, struct ev_loop *loop);
void vsock_conns_detach(struct vsock_conns *s);
void vsock_conns_close(struct vsock_conns *s); /* all of them; the guest hears nothing */

/* A socket from the host (fd taken): waits for its CONNECT line. */
void vsock_conns_accept(struct vsock_conns *s, int fd);
/* A REQUEST of the guest, for which fd (taken) was connected. False: no room. */
bool vsock_conns_request(struct vsock_conns *s, const struct virtio_vsock_hdr *h, int fd);
struct vsock_conn *vsock_conns_find(struct vsock_conns *s, uint32_t guest_port, uint32_t host_port);
/* A stream packet of the guest for c, which may be gone afterwards. h->len bytes of payload are in
 * the chain behind the header. */
void vsock_conn_packet(
	struct vsock_conn *c, const struct virtio_vsock_hdr *h, const struct virtq_chain *chain);
/* The next packet of c, a member of ready: fills *ret_h and, from iov, at most `room` bytes of
 * payload. Returns false when there was none after all. Then, or before, c leaves ready, or goes to
 * its end when it has more; it may be gone. */
bool vsock_conn_next(struct vsock_conn *c, struct virtio_vsock_hdr *ret_h, struct iovec *iov,
	unsigned niov, size_t room);

/* Between the two files of the connections. */

struct vsock_conn *vsock_conn_new(
	struct vsock_conns *s, int fd); /* HELLO; NULL: no room, fd closed */
void vsock_conn_free(struct vsock_conn *c);
void vsock_conn_close_host(struct vsock_conn *c); /* drops what the host has not taken */
void vsock_conn_set_ports(struct vsock_conn *c, uint32_t guest_port, uint32_t host_port);
uint32_t vsock_conns_port(struct vsock_conns *s, uint32_t guest_port); /* a free host port */
bool vsock_conn_watch(struct vsock_conn *c);
void vsock_conn_rewatch(struct vsock_conn *c);	  /* `out` came or went */
void vsock_conn_start_wait(struct vsock_conn *c); /* deadline = now + VSOCK_TIMEOUT_NS */
/* Breaks the connection off, whatever its state, and counts. It may be gone. */
void vsock_conn_reset(struct vsock_conn *c);
void vsock_conn_event(struct vsock_conn *c, uint32_t events); /* of its socket; it may be gone */

#endif
