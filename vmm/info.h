/* SPDX-License-Identifier: Apache-2.0 */
/* What control tells about a machine: plain data, made on control's thread, read by whoever asked.
 * The API turns it into JSON and metrics. */
#ifndef VMM_INFO_H
#define VMM_INFO_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "vmm/config.h"

/* One thing that was asked for, and what became of it: {"memory", "hugepages", "on, 2M", "pages of
 * 4K"}. */
struct vm_asked {
	char id[32];	/* "memory", "cpus", or a device's id */
	char what[24];	/* "hugepages", "affinity vcpu0", "offload_csum" */
	char asked[64]; /* in words: "on", "0-3" */
	char achieved[96];
};

struct vm_device_info {
	char id[32];
	char type[24]; /* "virtio-blk", "ns16550" */
	int slot;      /* PCI slot on segment 0, bus 0; -1 = not a PCI function */
};

/* A device that somebody else serves. */
struct vm_offload {
	char id[32];
	const char *kind;	      /* static: "auto", "vhost-user", "vhost-net", "vdpa" */
	bool connected;		      /* or its I/O waits */
	uint64_t seconds, reconnects; /* that it has been so; of the kernel always 0 */
	pid_t pid;		      /* auto: of the process, 0 = none at the moment */
	uint64_t restarts;	      /* of that */
};

/* The devices that a resolved configuration names, in its order; at most VM_CONFIG_DEVICES. */
#define VM_CONFIG_DEVICES (CONFIG_DISKS + CONFIG_NETS + CONFIG_VHOST_USERS + CONFIG_VDPAS + 3)
unsigned vm_config_devices(const struct vm_config *c, struct vm_device_info *ret_devices);

struct vm_info {
	int state;		  /* enum vm_state */
	struct vm_config *config; /* a copy, resolved; serial.path and console.path are a PTY's */
	uint64_t memory_actual;	  /* bytes of RAM that the guest has */
	struct vm_device_info *device;
	unsigned ndevices;
	struct vm_asked *asked;
	unsigned nasked;
	struct vm_offload *offload;
	unsigned noffloads;
};
void vm_info_free(struct vm_info *i); /* NULL is fine */

/* Counts since boot. Names are lower_case, static: "read_bytes". A "…_latency_…" is in us. */
struct vm_counter {
	char id[32]; /* the device, "vcpu0", or "vm" */
	const char *name;
	uint64_t value;
};
struct vm_counters {
	unsigned n;
	struct vm_counter counter[];
};

#endif
