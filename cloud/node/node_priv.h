/* SPDX-License-Identifier: Apache-2.0 */
/* The node's insides. An instance is looked at again (node_instance_step) whenever something may
 * concern it: its assignment changed, a process ended, the VMM said something, a time came. The
 * look compares what is wanted with what runs and takes the next step; it relies on no earlier one.
 */
#ifndef CLOUD_NODE_NODE_PRIV_H
#define CLOUD_NODE_NODE_PRIV_H

#include "cloud/node/blob.h"
#include "cloud/node/cgroup.h"
#include "cloud/node/node.h"
#include "cloud/node/proc.h"
#include "cloud/node/vmm_call.h"
#include "vmm/base/list.h"

enum part { PART_VMM, PART_DISKS, PART_NET, PARTS };

enum inst_state {
	INST_PREPARING,
	INST_STARTING,
	INST_RUNNING,
	INST_PAUSED,
	INST_STOPPING,
	INST_STOPPED,
	INST_CRASHED,
	INST_FAILED,
	INST_DELETING
};

/* One process of an instance. watch.fd is its pidfd, -1 while none runs. */
struct proc {
	struct ev_fd watch;
	enum part part;
	pid_t pid;
	uint64_t start; /* ticks */
	bool child;	/* ours to reap */
	bool ending;	/* asked to end; killed at kill_ns */
	uint64_t began_ns, kill_ns, retry_ns;
	unsigned restarts, falls;     /* falls: ended again within seconds */
	uint64_t lost_ns, stalled_ns; /* the VMM lost it at; last stall (events' time) */
};

struct console {
	struct ev_fd watch; /* the VMM's serial socket, fd -1: none */
	struct list readers;
	uint64_t retry_ns;
	int log; /* console.log */
	size_t log_len;
};

struct instance {
	struct list link;
	struct node *node;
	char id[64];
	int dir, run; /* its folder; run/ in it, where the VMM's world ends */
	json_t *spec; /* as assigned, without the seed */
	unsigned slot;
	enum inst_state state;
	char reason[224], since[32];
	struct proc proc[PARTS];

	/* kept in state.json */
	unsigned reboots, restarts, ended_reboots;
	int exit;	/* the VMM's last, -1 none or unknown, 128 + signal */
	bool ended;	/* the guest is done; only a reboot or a new start begins anew */
	bool run_known; /* a VMM was started and its end not yet seen */
	char boot_id[40];
	json_t *tunnels; /* {"22": host port on 127.0.0.1} */
	unsigned boot_ms;

	/* this run */
	bool booted, paused, panicked, quit_seen, net_stale;
	bool deleting, dirty, button;
	uint64_t launch_ns, stop_ns, retry_ns, call_retry_ns, wake_ns;
	unsigned falls;
	struct vmm_call *call;
	char call_what;
	struct blob_clone *clone; /* makes root.raw */
	int clone_error;
	int events_wd;
	size_t events_pos;
	struct console console;
	struct ev_timer timer;
	json_t *told;	     /* last observed that watchers were given */
	uint64_t seq;	     /* of that change */
	struct list waiting; /* requests for its end */
};

struct node {
	struct ev_loop *loop;
	struct log *log;
	char *data, *bin, *control_url, *name;
	int dir, lock, instances_dir, volumes_dir;
	struct list instances;
	struct ev_msg turn; /* looks at the dirty ones */
	bool turn_posted;
	bool own_uid;
	unsigned uids;
	gid_t kvm_gid;
	char uids_why[120], boot_id[40], mark[64];
	struct cgroups cgroups;
	json_t *facts, *volumes;
	struct ev_fd inotify;
	struct ev_timer beat;
	uint64_t seq;
	struct list watchers;
	struct blobs *blobs;

	struct link *link;
	void (*gone)(const char *why, void *arg);
	void *gone_arg;
	struct ev_msg drop;
	struct link *dropped;
	char dropped_why[160];
};

/* ---- requests (request.c) ---- */
extern const struct link_handler request_handler; /* arg is filled in */
/* A number of the request's query (port=22); otherwise when absent or no number. */
unsigned request_number(const struct link_req *r, const char *key, unsigned otherwise);

/* ---- instances (instance.c) ---- */
struct instance *instance_find(struct node *n, const char *id);
void instance_dirty(struct instance *in); /* to be looked at */
void instance_put(struct node *n, struct link_req *r, const char *id);
void node_instance_delete(struct node *n, struct link_req *r, const char *id);
void instance_gone(struct instance *in); /* all of it has been removed: answers, frees */
int instances_load(struct node *n, struct err *e);
void instance_free(struct instance *in);
void instance_set(struct instance *in, enum inst_state s, const char *reason);
json_t *node_instance_observed(struct instance *in);
void instance_save(struct instance *in); /* state.json */
void instance_wake(struct instance *in, uint64_t at_ns);
const char *spec_text(const struct instance *in, const char *key); /* "" when absent */
json_int_t spec_int(const struct instance *in, const char *key, json_int_t otherwise);
bool spec_wants(const struct instance *in, const char *state);

/* ---- the look (step.c) ---- */
void node_instance_step(struct instance *in);
void step_vmm_ended(struct instance *in, int status);

/* ---- processes (run.c, launch.c) ---- */
bool part_runs(const struct instance *in, enum part p);
bool part_needed(const struct instance *in, enum part p);
void part_end(struct instance *in, enum part p, int sig, unsigned kill_after_ms);
int part_watch(struct instance *in, enum part p, pid_t pid, uint64_t start, int pidfd, bool child);
const char *part_name(enum part p);
void net_look(struct instance *in); /* begins anew without its passt */
void parts_adopt(struct instance *in);
void orphans_end(struct node *n);
int launch_all(struct instance *in, struct err *e);
int launch_part(struct instance *in, enum part p, struct err *e);
void logs_bound(struct instance *in);
unsigned disk_count(const struct instance *in);

/* ---- ports (ports.c) ---- */
unsigned port_of(struct instance *in, unsigned guest_port); /* 0: none yet */
unsigned port_make(struct instance *in, unsigned guest_port);
/* passt's words for all forwards; what cannot be published is told in why. */
void ports_words(struct instance *in, char *buf, size_t cap, char *why, size_t why_cap);

/* ---- what the VMM tells (events.c) ---- */
int events_open(struct node *n);
void events_begin(struct instance *in); /* reads what is there, follows */
void events_end(struct instance *in);
void events_read(struct instance *in);

/* ---- console (console.c), tunnel (tunnel.c) ---- */
void console_init(struct instance *in);
void console_connect(struct instance *in);
void console_end(struct instance *in); /* takes what is left */
void console_fini(struct instance *in);
void console_open(struct instance *in, struct link_req *r);
void console_log(struct instance *in, struct link_req *r);
void tunnel_open(struct instance *in, struct link_req *r);

/* ---- storage (storage.c; blob.h) ---- */
int volumes_load(struct node *n);
void volume_put(struct node *n, struct link_req *r, const char *id);
void node_volume_delete(struct node *n, struct link_req *r, const char *id);
json_t *volumes_list(struct node *n);
/* An open descriptor, or a negative errno and e. */
int volume_open(struct instance *in, const json_t *want, struct err *e);
int seed_write(struct instance *in, const char *base64);
/* 1: root.raw is there (or not wanted); 0: a job makes it; negative errno and e. */
int root_ready(struct instance *in, struct err *e);

/* ---- telling (watch.c, facts.c, stats.c, diagnose.c) ---- */
void watch_open(struct node *n, struct link_req *r);
void watch_changed(struct instance *in); /* compares, tells */
void watch_pump_all(struct node *n);
void watch_begin(struct node *n); /* the beat */
void watch_free(struct node *n);
json_t *facts_make(struct node *n); /* NULL: no memory */
json_t *facts_load(void);	    /* {load, memory_free_mib} */
void stats_get(struct instance *in, struct link_req *r);
void info_get(struct instance *in, struct link_req *r);
void diagnose_get(struct instance *in, struct link_req *r);

#endif
