/* SPDX-License-Identifier: Apache-2.0 */
/* Control on a thread of its own, over a KVM that runs nothing, and calls that wait for the answer.
 * The kernel is the smallest guest-test, named by the environment. */
#ifndef VMM_TEST_CONTROL_H
#define VMM_TEST_CONTROL_H

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "vmm/control.h"
#include "vmm/kvm/kvm_fake.h"
#include "vmm/vcpu.h"

struct rig {
	struct control *control;
	pthread_t thread;
	struct control_end end;
	struct control_opts opts;
	unsigned vcpus; /* 0: two */
	char disk[32];	/* a file for disks */
	char core[40];	/* a name for a core */
};

static void *rig_run(void *arg)
{
	struct rig *r = arg;

	control_run(r->control, &r->end);
	return NULL;
}

static inline void rig_start(struct rig *r)
{
	strcpy(r->disk, "/tmp/polyvisor-test-XXXXXX");
	int fd = mkstemp(r->disk);
	cr_assert_eq(ftruncate(fd, 1 << 20), 0);
	close(fd);
	snprintf(r->core, sizeof(r->core), "%s.core", r->disk);
	cr_assert_eq(control_signals_block(), 0);
	cr_assert_eq(vcpu_signals_init(), 0);
	cr_assert_eq(control_new(&r->opts, &r->control), 0);
	pthread_create(&r->thread, NULL, rig_run, r);
}

struct call {
	struct vm_cmd cmd;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool answered;
};

static void call_done(struct vm_cmd *cmd)
{
	struct call *c = container_of(cmd, struct call, cmd);

	pthread_mutex_lock(&c->lock);
	c->answered = true;
	pthread_cond_signal(&c->cond);
	pthread_mutex_unlock(&c->lock);
}

static inline struct vm_config *rig_config(const struct rig *r)
{
	struct vm_config *c = malloc(sizeof(*c));

	vm_config_init(c);
	c->serial.mode = CHR_NULL;
	c->memory.size = 64 * 1024 * 1024;
	c->cpus.boot = r->vcpus ? r->vcpus : 2;
	c->payload.kernel = strdup(getenv("POLYVISOR_TEST_KERNEL"));
	return c;
}

/* A configuration that holds just one disk. */
static inline struct vm_config *rig_disk(const struct rig *r, const char *more)
{
	struct vm_config *c = malloc(sizeof(*c));
	struct err e = {0};
	char text[128];

	vm_config_init(c);
	snprintf(text, sizeof(text), "path=%s%s", r->disk, more);
	cr_assert_eq(vm_config_flag(c, "--disk", text, &e), 0, "%s", e.text);
	return c;
}

/* What each op needs to succeed where it is legal. */
static inline void call_init(struct call *c, const struct rig *r, enum vm_op op)
{
	*c = (struct call){
		.cmd = {.op = op, .done = call_done},
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.cond = PTHREAD_COND_INITIALIZER,
	};
	if (op == VM_CREATE)
		c->cmd.config = rig_config(r);
	else if (op == VM_ADD)
		c->cmd.config = rig_disk(r, "");
	else if (op == VM_DEVICE)
		strcpy(c->cmd.id, "_rng");
	else if (op == VM_COREDUMP)
		c->cmd.path = strdup(r->core);
}

static inline void call_fini(struct call *c)
{
	if (c->cmd.config)
		vm_config_fini(c->cmd.config);
	free(c->cmd.config);
	free(c->cmd.path);
	free(c->cmd.dump);
	free(c->cmd.counters);
	vm_info_free(c->cmd.info);
}

static inline void call_begin(struct call *c, struct rig *r)
{
	control_submit(r->control, &c->cmd);
}

static inline int call_wait(struct call *c)
{
	pthread_mutex_lock(&c->lock);
	while (!c->answered)
		pthread_cond_wait(&c->cond, &c->lock);
	pthread_mutex_unlock(&c->lock);
	return c->cmd.result;
}

static inline bool call_answered(struct call *c)
{
	pthread_mutex_lock(&c->lock);
	bool yes = c->answered;
	pthread_mutex_unlock(&c->lock);
	return yes;
}

static inline int call(struct rig *r, enum vm_op op, struct err *ret_err)
{
	struct call c;

	call_init(&c, r, op);
	call_begin(&c, r);
	call_wait(&c);
	if (ret_err)
		*ret_err = c.cmd.err;
	call_fini(&c);
	return c.cmd.result;
}

/* Waits for control to end by itself, or by VMM_QUIT before. */
static inline void rig_join(struct rig *r)
{
	pthread_join(r->thread, NULL);
	control_free(r->control);
	unlink(r->disk);
	unlink(r->core);
}

static inline void rig_end(struct rig *r)
{
	call(r, VMM_QUIT, NULL);
	rig_join(r);
}

/* Brings a fresh control into a state; dumping has tests of its own. */
static inline void rig_reach(struct rig *r, enum vm_state s)
{
	if (s >= VM_CREATED)
		cr_assert_eq(call(r, VM_CREATE, NULL), 0);
	if (s >= VM_RUNNING)
		cr_assert_eq(call(r, VM_BOOT, NULL), 0);
	if (s >= VM_PAUSED)
		cr_assert_eq(call(r, VM_PAUSE, NULL), 0);
}

static inline unsigned count_entries(const char *dir)
{
	DIR *d = opendir(dir);
	unsigned n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

#endif
