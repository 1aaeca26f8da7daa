/* SPDX-License-Identifier: Apache-2.0 */
/* What polyvisor-offload serves: a device with its back-end, on a socket. The command line is a
 * list of them: `--device TYPE,key=value,… --socket PATH`, again and again. */
#ifndef OFFLOAD_SERVED_H
#define OFFLOAD_SERVED_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include "offload/vu_device.h"

#define SERVED_MAX 256

enum served_blk { SERVED_FILE, SERVED_RAM, SERVED_NULL };
enum served_net { SERVED_TAP, SERVED_PASST };

struct served_config {
	enum virtio_type type;
	char *id; /* owned, as all text here; NULL until resolved */
	char *socket;
	int backend; /* enum served_blk or served_net */
	bool unsealed;
	uint32_t queue_size; /* 0 = the device's own default */
	/* virtio-blk */
	char *path, *serial;
	int fd; /* -1; of a tap, too */
	uint64_t size;
	bool readonly, direct;
	/* virtio-net */
	char *tap, *forward;
	uint8_t mac[6];
	bool mac_given;
	uint32_t mtu;
};

/* "virtio-blk,backend=ram,size=1G": fills c. 0, or a negative errno with e. */
int served_parse(const char *text, struct served_config *c, struct err *e);
void served_config_fini(struct served_config *c);
/* What can only be seen when all are known, n of them: a socket for each, none twice, no id twice;
 * ids and addresses for those without. */
int served_check(struct served_config *c, unsigned n, struct err *e);
void served_help(FILE *out);

struct served;
/* Opens the back-end, makes the device, listens. e names the flag and the id. */
int served_open(struct ev_loop *loop, const struct served_config *c, struct log *log,
	struct served **ret_served, struct err *e);
void served_close(struct served *s); /* NULL is fine; not in a handler */
struct vu_device *served_device(struct served *s);

#endif
