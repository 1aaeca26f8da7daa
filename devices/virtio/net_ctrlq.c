/* SPDX-License-Identifier: Apache-2.0 */
/* The control queue. A command is answered when every pair's worker has looked at `active`: "the
 * device MUST NOT queue packets on receive queues greater than virtqueue_pairs once it has placed
 * the command in a used buffer" (virtio 1.2 §5.1.6.5.5.1). Until then no other one is taken. */
#include <errno.h>
#include "devices/virtio/net_ctrl.h"
#include "devices/virtio/net_priv.h"
#include "vmm/base/list.h"

/* §5.1.2 */
bool net_is_ctrl(const struct virtio_net *n, unsigned i)
{
	return net_has(n, VIRTIO_NET_F_CTRL_VQ) &&
	       i == (net_has(n, VIRTIO_NET_F_MQ) ? 2 * n->npairs : 2);
}

static void answer(struct virtio_net *n, int result)
{
	struct net_ctrlq *c = &n->ctrl;

	struct queue_stats *s = queue_run_stats(n->run, c->i);

	count_add(&s->requests, 1);
	count_add(&s->others, 1);
	count_add(&s->errors, result < 0);
	virtq_push(c->q, &c->chain, net_ctrl_ack(&c->chain, result));
	queue_run_flush(n->run, c->i);
}

/* Each pair's worker is asked to look. One that starts just now either has its loop stored before
 * we load it, or loads `active` after we stored it (net_attach). */
static void ask_workers(struct virtio_net *n)
{
	for (unsigned i = 0; i < n->npairs; i++) {
		struct net_pair *p = &n->pair[i];
		struct ev_loop *loop = atomic_load(&p->loop);

		if (!loop)
			continue;
		n->ctrl.waiting++;
		ev_post(loop, &p->look);
	}
}

/* The pair's worker. */
static void handle_look(struct ev_msg *m)
{
	struct net_pair *p = container_of(m, struct net_pair, look);

	p->look_result = net_pair_update(p);
	if (p->q[NET_RX] && !p->q[NET_RX]->broken)
		net_rx_process(p);
	ev_post(p->net->ctrl.loop, &p->looked);
}

/* The control queue's. */
static void handle_looked(struct ev_msg *m)
{
	struct net_pair *p = container_of(m, struct net_pair, looked);
	struct virtio_net *n = p->net;
	struct net_ctrlq *c = &n->ctrl;

	if (p->look_result < 0)
		c->result = p->look_result;
	if (--c->waiting)
		return;
	answer(n, c->result);
	queue_run_again(n->run, c->i);
	queue_run_idle(n->run, c->i);
}

/* Begins the command; its answer follows, unless it is malformed. */
static void begin(struct virtio_net *n)
{
	unsigned max = net_has(n, VIRTIO_NET_F_MQ) ? n->npairs : 0;
	int pairs = net_ctrl_pairs(&n->ctrl.chain, max);

	n->ctrl.result = 0;
	if (pairs > 0) {
		atomic_store(&n->active, pairs);
		ask_workers(n);
	}
	if (!n->ctrl.waiting)
		answer(n, pairs);
}

void net_ctrlq_process(struct virtio_net *n)
{
	struct net_ctrlq *c = &n->ctrl;
	int r = 0;

	virtq_disable_kick(c->q);
	for (unsigned budget = NET_BUDGET; budget && !c->waiting; budget--) {
		r = virtq_pop(c->q, &c->chain);
		if (r > 0)
			begin(n);
		else if (r < 0 || !queue_run_rest(n->run, c->i))
			break;
	}
	if (r < 0)
		queue_run_broken(n->run, c->i);
	else if (r > 0 && !c->waiting)
		queue_run_again(n->run, c->i);
}

void net_ctrlq_attach(struct virtio_net *n, unsigned i, struct virtq *q, struct ev_loop *loop)
{
	n->ctrl.i = i;
	n->ctrl.q = q;
	n->ctrl.loop = loop;
}

void net_ctrlq_init(struct virtio_net *n)
{
	for (unsigned i = 0; i < n->npairs; i++) {
		n->pair[i].look.handle = handle_look;
		n->pair[i].looked.handle = handle_looked;
	}
}
