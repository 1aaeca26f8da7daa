/* SPDX-License-Identifier: Apache-2.0 */
/* What polyvisor-offload serves: a device with its back-end, on a socket. One table for each type
 * is what the command line and the control socket's JSON read:
 *
 *   --device TYPE,key=value,… --socket PATH      {"type": TYPE, "key": value, …, "socket": PATH} */
#ifndef OFFLOAD_SERVED_H
#define OFFLOAD_SERVED_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include "offload/vu_device.h"
#include "vmm/base/opts.h"

#define SERVED_MAX   256 /* devices of a process */
#define SERVED_PAIRS ((VIRTIO_QUEUES - 1) / 2)

enum served_blk { SERVED_FILE, SERVED_RAM, SERVED_NULL };
enum served_net { SERVED_TAP, SERVED_PASST, SERVED_NOWHERE };

struct served_config {
	enum virtio_type type;
	char *id;     /* owned, as all text here; NULL until resolved */
	char *socket; /* path, or "fd=N" */
	int backend;  /* enum served_blk or served_net */
	bool unsealed;
	bool hurried;	     /* opened while others are served */
	uint32_t queue_size; /* 0 = the device's own default */
	uint32_t queues;     /* net: pairs; 0 = 1 */
	uint32_t poll;	     /* percent of a core */
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

/* ---- served_config.c ---- */

struct served_type {
	const char *name, *prefix; /* "virtio-blk", and of ids: "_disk" */
	enum virtio_type type;
	struct opt_table table; /* of struct served_config */
};
#define SERVED_TYPES 2
extern const struct served_type served_types[SERVED_TYPES];
const struct served_type *served_type_of(enum virtio_type type);
/* NULL, with e: what is allowed. */
const struct served_type *served_type_named(const char *name, size_t len, struct err *e);

void served_config_init(struct served_config *c, enum virtio_type type);
void served_config_fini(struct served_config *c);
/* "virtio-blk,backend=ram,size=1G": fills c. 0, or a negative errno with e. */
int served_parse(const char *text, struct served_config *c, struct err *e);
/* What the table alone does not see: keys that do not go together. */
int served_config_check(const struct served_config *c, struct err *e);
/* What can only be seen when all are known, n of them, the first `known` of which have been here:
 * a socket for each, none twice, no id twice; ids and addresses for those without. -EEXIST for what
 * is given twice. */
int served_check(struct served_config *const *c, unsigned n, unsigned known, struct err *e);
void served_help(FILE *out);

/* ---- served.c ---- */

struct served;
/* Opens the back-end, makes the device, listens. c is taken on success, and left empty. e names the
 * flag and the id. */
int served_open(struct ev_loop *loop, struct served_config *c, struct log *log,
	struct served **ret_served, struct err *e);
void served_close(struct served *s); /* NULL is fine; not in a handler */
struct vu_device *served_device(struct served *s);
const struct served_config *served_config(const struct served *s);
bool served_has_child(const struct served *s);
bool served_lost(const struct served *s); /* what the back-end stood on has vanished */
/* Of a disk: bytes, and what carries out its requests ("io_uring", NULL before the first). */
uint64_t served_size(const struct served *s);
const char *served_engine(const struct served *s);
/* Gives a disk another size, as block_resize(); the guest sees it. 0: the size that its file has
 * now. Loop thread. */
int served_resize(struct served *s, uint64_t size, struct err *e);

/* ---- served_set.c: all devices of a process ---- */

struct served_set {
	struct ev_loop *loop;
	struct log *log;
	bool confined; /* in the sandbox, where nothing can be started */
	bool serving;  /* the loop runs: what is added now must not hold it up */
	struct served *at[SERVED_MAX];
	unsigned n;
};
/* As served_open(), after served_check(). */
int served_set_add(
	struct served_set *set, struct served_config *c, struct served **ret_served, struct err *e);
struct served *served_set_find(const struct served_set *set, const char *id);
/* Pumps the loop meanwhile: not in a handler. s is still found until it has gone. */
void served_set_remove(struct served_set *set, struct served *s);
void served_set_fini(struct served_set *set);

#endif
