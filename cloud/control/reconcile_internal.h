/* SPDX-License-Identifier: Apache-2.0 */
/* The reconciler's parts among themselves:
 *
 *   reconcile.c          items, their queue and time, watching objects
 *   reconcile_host.c     a host comes, goes, reports
 *   reconcile_act.c      calls to nodes and their ends
 *   reconcile_doc.c      reading and writing documents
 *   instance_step.c      the next step of one instance (…_place, _assign, _adopt beside it)
 *   volume_step.c        the next step of one volume
 *   move.c drain.c fence.c   what operators start
 */
#ifndef CLOUD_CONTROL_RECONCILE_INTERNAL_H
#define CLOUD_CONTROL_RECONCILE_INTERNAL_H

#include "cloud/control/reconcile.h"
#include "cloud/control/schedule_fleet.h"
#include "cloud/image/image.h"
#include "vmm/base/list.h"

#define ID_LEN 32

/* What is known of one instance or volume beyond its document; lost with the process, and nothing
 * but work is lost with it. */
struct item {
	char id[ID_LEN];
	enum kind kind;
	struct list all;   /* reconciler.items */
	struct list queue; /* reconciler.queue, when it is to be looked at */
	struct ev_timer retry;
	struct reconciler *r;
	bool waiting;	   /* retry is armed */
	unsigned failures; /* in a row */
	uint64_t ticket;   /* of the call that is out, 0 none: answers with another one are late */
	bool ticket_push;  /* it is only a file on its way */
	bool unplaced;	   /* looks for a host */
	bool seen;	   /* its node told of it, or was told, on this connection */
	uint64_t acked;	   /* hash of the assignment that the node took on this connection */
	unsigned volumes;  /* how many of its volumes the node took on this connection */
	char host[ID_LEN]; /* that it is charged to; "" none */
	uint32_t cpus, memory_mib;
};

struct host_link {
	char id[ID_LEN];
	struct list link;
	bool up;       /* connected, and its state has been read */
	bool reported; /* since this process started */
};

struct reconciler {
	struct control *c;
	struct fleet *fleet;
	struct obj_watch watch;
	void *index; /* items by id (tsearch) */
	struct list items, queue, hosts, acts;
	struct ev_timer turn, grace;
	bool wake_unplaced; /* something may fit now */
	bool look_drains;   /* a draining host may be empty */
	bool own;	    /* the change that is being told is the reconciler's */
	bool settling;	    /* after a restore, until every host has reported */
	char restored_at[ID_LEN];
	uint64_t tickets;
	struct reconcile_stats stats;
};

/* ---- documents ---- */
const char *doc_str(const json_t *doc, const char *key); /* NULL when it is none */
int64_t doc_num(const json_t *doc, const char *key);	 /* 0 when it is none */
const char *doc_state(
	const json_t *doc, const char *of); /* of: "desired", "observed"; never NULL */
bool doc_set_str(json_t *doc, const char *key, const char *value); /* NULL sets null */
/* Replaces o's document; doc is taken. event and text may be NULL. Returns the object or NULL after
 * logging (the store failed; the item tries again). */
struct obj *doc_put(struct reconciler *r, struct obj *o, json_t *doc, const char *actor,
	const char *event, const char *text);
/* For what is only observed: it will be again if a power cut takes it. */
struct obj *doc_put_lazy(struct reconciler *r, struct obj *o, json_t *doc, const char *actor,
	const char *event, const char *text);
/* Sets observed.state and reason unless they are the same. event: tell it as an event. */
void observe(
	struct reconciler *r, struct obj *o, const char *state, const char *reason, bool event);
const char *host_name(struct reconciler *r, const char *host_id);
bool host_is_fenced(struct reconciler *r, const char *host_id); /* or no longer known */

/* ---- items ---- */
struct item *item_find(struct reconciler *r, const char *id);
struct item *item_get(struct reconciler *r, enum kind k, const char *id); /* made if absent; NULL */
void item_free(struct item *it);
void item_wake(struct item *it);   /* look at it soon, unless a call is out or it backs off */
void item_again(struct item *it);  /* and forget that it failed */
void item_failed(struct item *it); /* backs off: 250 ms, doubled up to 30 s */
void item_charge(struct item *it, const char *host_id, uint32_t cpus, uint32_t memory_mib);
void wake_unplaced(struct reconciler *r);
struct host_link *host_link(struct reconciler *r, const char *host_id, bool make);
bool host_up(struct reconciler *r, const char *host_id);
/* A host was fenced or deleted: is the waiting after a restore over? */
void reconcile_settle(struct reconciler *r);

/* ---- calls ---- */
/* item NULL when it is gone or the answer is late. status as in link_reply_fn. */
typedef void act_end_fn(struct reconciler *r, struct item *it, const char *host_id, unsigned status,
	json_t *body, const char *error, uint64_t tag);
/* Calls host_id's node for it, which is busy until end. tag is handed on. */
void act_call(struct item *it, const char *host_id, const char *method, const char *path,
	const json_t *body, act_end_fn *end, uint64_t tag);
void act_push(struct item *it, const char *host_id, const struct image_platform *p,
	act_end_fn *end); /* status 200 or 0 */
/* Without an item: tells a node to delete what it has no right to. */
void act_discard(struct reconciler *r, const char *host_id, const char *instance_id);
void acts_free(struct reconciler *r);
/* "host NAME: …" from a problem document or the link's error. */
void act_why(struct reconciler *r, const char *host_id, unsigned status, const json_t *body,
	const char *error, char *ret_text, size_t cap);

/* ---- steps ---- */
void instance_step(struct reconciler *r, struct item *it, struct obj *o);
void instance_place(struct reconciler *r, struct item *it, struct obj *o);
void instance_move_step(struct reconciler *r, struct item *it, struct obj *o);
void instance_assign(struct reconciler *r, struct item *it, struct obj *o);
void instance_end(struct reconciler *r, struct item *it, struct obj *o);
/* Takes its host away (which has nothing of it, or is fenced). */
void instance_unplace(
	struct reconciler *r, struct item *it, struct obj *o, const char *event, const char *text);
/* Notes that a fenced host must delete the instance when it comes back. False: not stored. */
bool host_discards(struct reconciler *r, const char *host_id, const char *instance_id);
void instance_fenced(struct reconciler *r, struct item *it, struct obj *o);
/* Takes what a host has: see instance_adopt.c. */
void instances_adopt(struct reconciler *r, const char *host_id, const json_t *state);
void instance_stray(struct reconciler *r, struct obj *o, const char *host_id, const json_t *report);
/* Merges a node's report into the document. */
void instance_report(struct reconciler *r, struct item *it, struct obj *o, const char *host_id,
	const json_t *observed);
void volume_step(struct reconciler *r, struct item *it, struct obj *o);

/* ---- what a document asks for ---- */
struct sched_want {
	struct sched_request req; /* borrows from the rest and from the document */
	const char *features[64];
	struct label label_rows[32];
	char blob[CHIPS][DIGEST_LEN];
};
/* doc: an instance's, made or only asked for. -ENOENT and others with e. */
int want_read(struct control *c, const char *project, const json_t *doc,
	struct sched_want *ret_want, struct err *e);
/* The assignment for the node without the seed; NULL and e. stop: whatever is desired. */
json_t *assignment_make(struct control *c, const json_t *doc, bool stop,
	const struct image_platform *p, struct err *e);
int assignment_seed(struct control *c, const json_t *doc, json_t *assignment, struct err *e);

/* What keeps an instance from moving off its host: true, and one line. */
bool move_blocked(struct reconciler *r, struct obj *o, char *ret_why, size_t cap);
/* Begins; op may be NULL. */
bool move_begin(struct reconciler *r, struct obj *o, const char *op);
/* Ends the drains that are over; drains_wake() has that done soon. */
void drains_wake(struct reconciler *r);
void drains_look(struct reconciler *r);

#endif
