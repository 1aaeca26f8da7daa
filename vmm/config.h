/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration of one instance: what the user asked for, then what it was resolved to. The
 * same struct serves both: config_resolve() fills every default that the guest can see (ids, slots,
 * MACs, pins), so that a reboot, and later a restore, builds the very same machine. Each part is
 * described by an option table, from which the command line and JSON are read. */
#ifndef VMM_CONFIG_H
#define VMM_CONFIG_H

#include <stdbool.h>
#include <sched.h>
#include <stdint.h>
#include "devices/backend/chr.h"
#include "vmm/base/err.h"
#include "vmm/base/opts.h"

#define CONFIG_DISKS	   16
#define CONFIG_NETS	   8
#define CONFIG_VHOST_USERS 8
#define CONFIG_VDPAS	   8

struct cpus_config {
	uint32_t boot, max; /* max 0 = boot */
	char *model;	    /* "host" or "baseline:FILE" */
	char *affinity;	    /* "[0@[0,2-3],1@[4]]": vCPU@[host CPUs]; NULL = anywhere */
};

struct memory_config {
	uint64_t size;
	bool shared, hugepages, thp, mergeable, prefault;
	uint64_t hugepage_size;
	int numa_node; /* -1 = any */
	char *file;    /* private mapping of a file */
};

enum transport { TRANSPORT_PCI, TRANSPORT_MMIO };

struct payload_config {
	char *kernel, *initramfs, *cmdline;
};

/* auto: a polyvisor-offload of the instance's own serves the device (offload_auto.h). */
enum offload { OFFLOAD_OFF, OFFLOAD_AUTO };

struct disk_config {
	char *path, *id, *serial;
	int fd; /* -1 = open path, or connect to vhost_socket */
	bool vhost_user;
	char *vhost_socket;
	bool readonly, direct;
	int offload;
	uint32_t num_queues, queue_size, poll;
	int transport;
	int slot; /* PCI slot, -1 = resolve */
};

enum net_backend { NET_TAP, NET_PASST };

struct net_config {
	char *tap, *id, *forward;
	int fd; /* a tap's, or a vhost-user connection's, -1 = none */
	bool vhost_user, vhost;
	char *vhost_socket;
	int backend;
	int offload;
	bool mac_given;
	uint8_t mac[6];
	uint32_t mtu;
	uint32_t num_queues; /* two for each pair; the control queue is not counted */
	uint32_t queue_size, poll;
	int transport;
	int slot;
};

/* --device vhost-user: any virtio device, served elsewhere. */
struct vhost_user_config {
	int type; /* see vhost_user_type_name() */
	char *socket, *id;
	int fd;		     /* connected, -1 = connect to socket */
	uint32_t num_queues; /* 0 = as many as there are */
	uint32_t queue_size;
	int transport;
	int slot;
};
const char *vhost_user_type_name(const struct vhost_user_config *v); /* "fs" */

struct vdpa_config {
	char *path, *id;
	int fd;		     /* -1 = open path */
	uint32_t num_queues; /* at least */
	int transport;
	int slot;
};

struct rng_config {
	char *src; /* "off", or a file to read */
	int transport;
	int slot;
};

/* --serial and --console. */
struct console_config {
	int mode; /* enum chr_mode */
	bool mode_given;
	char *path;	     /* resolved: of the file or socket; in vm_info a PTY's */
	char *socket, *file; /* as given */
	int transport;	     /* --console */
	int slot;
};

struct vsock_config {
	uint64_t cid; /* 0 = no device */
	char *socket, *id;
	int fd; /* a listening socket's, -1 = listen on socket */
	int transport;
	int slot;
};

struct machine_config {
	uint32_t version;
	bool packed;
};

struct vm_config {
	struct cpus_config cpus;
	struct memory_config memory;
	struct payload_config payload;
	struct disk_config disk[CONFIG_DISKS];
	unsigned ndisks;
	struct net_config net[CONFIG_NETS];
	unsigned nnets;
	struct vhost_user_config vhost_user[CONFIG_VHOST_USERS];
	unsigned nvhost_users;
	struct vdpa_config vdpa[CONFIG_VDPAS];
	unsigned nvdpas;
	struct rng_config rng;
	struct console_config serial, console;
	struct vsock_config vsock;
	struct machine_config machine;
	bool test_exit;
};

/* Defaults; zero everything else. */
void vm_config_init(struct vm_config *c);
void vm_config_fini(struct vm_config *c);
/* Deep copy. Returns 0 or -ENOMEM, and then there is nothing to free. */
int vm_config_copy(const struct vm_config *from, struct vm_config *ret_to);

/* Applies one flag ("--disk", "path=…"). -ENOENT: no such flag; -EINVAL with e otherwise. */
int vm_config_flag(struct vm_config *c, const char *flag, const char *text, struct err *e);
/* Fills what was left open and checks what concerns several parts: ids twice, slots twice, two
 * parts on the terminal, no kernel. What it has filled stays when it is called again. */
int vm_config_resolve(struct vm_config *c, struct err *e);
/* Moves the one device that `more` holds (exactly one) into the resolved c and resolves it.
 * Its id goes to ret_id. On error c is as it was; an id or a vsock that is there already is -EEXIST
 * and ERR_CONFLICT. `more` is vm_config_fini()'s afterwards either way. */
int vm_config_add(struct vm_config *c, struct vm_config *more, char ret_id[32], struct err *e);
/* Some device is to be served by a polyvisor-offload of the instance's own. */
bool vm_config_offload_auto(const struct vm_config *c);
/* Some device is served by another process, which has to map the guest's memory. */
bool vm_config_offloads(const struct vm_config *c);
/* The host CPUs that a vCPU is bound to: 1, or 0 when none are named for it. */
int vm_config_affinity(const struct cpus_config *c, unsigned vcpu, cpu_set_t *ret_cpus);
/* One paragraph a flag, in the order of the manual. */
void vm_config_help(FILE *out);

/* A part: one option table and where its structs are. Flags, JSON, schema, copy and free are all
 * made from these. */
struct vm_part {
	const char *key;	       /* in JSON: "disks" */
	const struct opt_table *table; /* flag NULL: not one flag on the command line */
	size_t offset;		       /* of the struct, or of the first of a list, in vm_config */
	size_t count;		       /* lists: offset of the unsigned that counts them */
	unsigned max;		       /* lists: how many there may be; 0 = not a list */
	void (*init)(void *part);      /* fills defaults */
	bool (*present)(const void *part); /* NULL = always */
	/* What the table cannot say, after it has been read at `at`. NULL = nothing. */
	int (*check)(const void *part, const struct opt_at *at, struct err *e);
};
extern const struct vm_part vm_parts[]; /* ends with a NULL key */
/* JSON keys beside the parts. */
extern const struct opt_table vm_config_table;

/* The first part, or a list's element i. */
void *vm_part_at(const struct vm_part *p, const struct vm_config *c, unsigned i);
/* How many there are: of a list, or 1 or 0. */
unsigned vm_part_count(const struct vm_part *p, const struct vm_config *c);
/* A list's next element with its defaults, or NULL when it is full: e says so, naming `path`. */
void *vm_part_add(const struct vm_part *p, struct vm_config *c, const char *path, struct err *e);

#endif
