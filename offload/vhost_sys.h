/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's vhost devices as bare calls, and what every user of them does with their results.
 * Tests link others of the same names instead (vhost_fake.c), so that the sequences can be seen
 * without a kernel that has the modules. */
#ifndef OFFLOAD_VHOST_SYS_H
#define OFFLOAD_VHOST_SYS_H

#include <stddef.h>
#include "vmm/base/err.h"

/* vhost_sys.c, vhost_fake.c */
int vhost_sys_open(const char *path);			   /* descriptor or negative errno */
int vhost_sys_ioctl(int fd, unsigned long req, void *arg); /* 0 or more, or negative errno */
int vhost_sys_write(int fd, const void *msg, size_t len);  /* 0: all of it, or negative errno */

/* An open device. Any thread of the process that opened it, one at a time. */
struct vhost {
	int fd;
	const char *failed; /* name of the call that failed last, NULL = none */
};

/* The ioctl; remembers its name when it fails. */
int vhost_call(struct vhost *v, unsigned long req, const char *name, void *arg);
#define VHOST_CALL(v, req, arg) vhost_call(v, req, #req, arg)

/* Opens path and becomes its owner. e says what is missing: the node, the module, a permission, a
 * free device. flag and id: "--net", "_net0". */
int vhost_open(struct vhost *ret, const char *path, const char *module, const char *flag,
	const char *id, struct err *e);
/* The same for a descriptor that is open already; it stays the caller's on error. */
int vhost_own(struct vhost *ret, int fd, const char *path, const char *module, const char *flag,
	const char *id, struct err *e);
/* What failed at the last call, as err_set. */
int vhost_failed(const struct vhost *v, int code, const char *path, const char *flag,
	const char *id, struct err *e);

#endif
