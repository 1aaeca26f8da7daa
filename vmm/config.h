/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration of one instance: what the user asked for, then what it was resolved to. The
 * same struct serves both: config_resolve() fills every default that the guest can see (ids, slots,
 * MACs, pins), so that a reboot, and later a restore, builds the very same machine. Each part is
 * described by an option table, from which the command line, and later JSON, are read. */
#ifndef VMM_CONFIG_H
#define VMM_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include "devices/backend/chr.h"
#include "vmm/base/err.h"
#include "vmm/base/opts.h"

#define CONFIG_DISKS 16
#define CONFIG_NETS  8

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

struct disk_config {
	char *path, *id, *serial;
	int fd; /* -1 = open path */
	bool readonly, direct;
	uint32_t queue_size;
	int transport;
	int slot; /* PCI slot, -1 = resolve */
};

enum net_backend { NET_TAP, NET_PASST };

struct net_config {
	char *tap, *id, *forward;
	int fd; /* a tap's, -1 = none */
	int backend;
	bool mac_given;
	uint8_t mac[6];
	uint32_t mtu;
	uint32_t queue_size;
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
	char *path;
	char *socket, *file; /* as given; resolved into mode and path */
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
};

struct vm_config {
	struct cpus_config cpus;
	struct memory_config memory;
	struct payload_config payload;
	struct disk_config disk[CONFIG_DISKS];
	unsigned ndisks;
	struct net_config net[CONFIG_NETS];
	unsigned nnets;
	struct rng_config rng;
	struct console_config serial, console;
	struct vsock_config vsock;
	struct machine_config machine;
	bool test_exit;
};

/* Defaults; zero everything else. */
void vm_config_init(struct vm_config *c);
void vm_config_fini(struct vm_config *c);

/* Applies one flag ("--disk", "path=…"). -ENOENT: no such flag; -EINVAL with e otherwise. */
int vm_config_flag(struct vm_config *c, const char *flag, const char *text, struct err *e);
/* Fills what was left open and checks what concerns several parts: ids twice, slots twice, two
 * parts on the terminal, no kernel. */
int vm_config_resolve(struct vm_config *c, struct err *e);
/* One paragraph a flag, in the order of the manual. */
void vm_config_help(FILE *out);

#endif
