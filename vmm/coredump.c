/* SPDX-License-Identifier: Apache-2.0 */
/* See the header. The thread only reads the machine; what it leaves behind is read by control after
 * the thread has been joined. */
#include "vmm/coredump.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "vmm/base/cleanup.h"
#include "vmm/base/list.h"
#include "vmm/base/num.h"
#include "vmm/core_find.h"
#include "vmm/vm_internal.h"

#define STACK_PAGES 4 /* Linux's kernel stacks are 16 KiB on every chip */
#define PAGE	    4096

struct coredump {
	struct vm *vm;
	char *path;
	int fd;
	bool made; /* the file at path is ours to remove */
	atomic_bool cancel;
	pthread_t thread;
	struct core_notes notes; /* the thread's, as the next three */
	struct core_maps maps;
	int result;
	struct err err;

	struct ev_loop *control;
	struct ev_msg msg;
	void (*done)(struct ev_msg *m);
	void *arg;
	bool told;    /* msg has been handled */
	bool dropped; /* ended before that: its handler frees */
};

/* ---- the thread ---- */

struct space {
	struct arch_vcpu *vcpu;
	const struct guest_mem *mem;
	struct arch_vcpu_state *state;
};

static int translate(void *arg, uint64_t gva, uint64_t *ret_gpa)
{
	struct space *s = arg;

	return arch_vcpu_translate(s->vcpu, s->mem, s->state, gva, ret_gpa);
}

/* Whatever a register points to, and the pages of a stack above it. notes hold all registers. A
 * guest may have made tables that take long to look at: cancel is heard. */
static void find_maps(
	struct coredump *d, struct space *s, const uint8_t *notes, size_t len, uint64_t stext)
{
	struct core_space space = {translate, s};

	core_find_map(s->mem, &space, stext, &d->maps);
	for (size_t i = 0; i + 8 <= len && !atomic_load(&d->cancel); i += 4)
		for (unsigned page = 0; page < STACK_PAGES; page++)
			core_find_map(
				s->mem, &space, load_le(notes + i, 8) + page * PAGE, &d->maps);
}

static int add_vcpu(
	struct coredump *d, struct vcpu *v, struct arch_vcpu_state *state, uint64_t stext)
{
	struct space s = {v->arch, &d->vm->mem, state};
	uint8_t *to = core_notes_room(&d->notes, ARCH_CORE_NOTES);
	int r;

	if (!to)
		return -ENOMEM;
	memset(state, 0, arch_vcpu_state_size());
	r = arch_vcpu_get(v->arch, state);
	if (r >= 0)
		r = arch_core_notes(state, v->index, to, ARCH_CORE_NOTES);
	if (r < 0)
		return r;
	d->notes.len += (size_t)r;
	find_maps(d, &s, to, (size_t)r, stext);
	return 0;
}

static int collect(struct coredump *d)
{
	cleanup_free struct arch_vcpu_state *state = malloc(arch_vcpu_state_size());
	unsigned n = MIN(d->vm->nvcpus, d->vm->config->cpus.boot);
	uint64_t stext;
	int r = core_find_vmcoreinfo(&d->vm->mem, &d->notes, &stext, &d->cancel);

	if (r == 0 && !state)
		r = -ENOMEM;
	for (unsigned i = 0; i < n && r == 0; i++)
		r = atomic_load(&d->cancel) ? -ECANCELED
					    : add_vcpu(d, &d->vm->vcpus[i], state, stext);
	return r;
}

/* Some file systems say only here that there was no room. */
static int close_file(struct coredump *d)
{
	return close(steal_fd(&d->fd)) < 0 && errno != EINTR ? -errno : 0;
}

static int dump(struct coredump *d)
{
	int r = collect(d), closed;

	if (r == 0)
		r = core_elf_write(
			&d->vm->mem, &d->notes, &d->maps, arch_core_machine(), d->fd, &d->cancel);
	closed = close_file(d);
	return r < 0 ? r : closed;
}

static void *thread_main(void *arg)
{
	struct coredump *d = arg;

	pthread_setname_np(pthread_self(), "coredump");
	d->result = dump(d);
	if (d->result < 0) {
		if (d->made)
			unlink(d->path);
		err_set(&d->err, ERR_HOST, d->result, "vm.coredump: %.200s: %s%s", d->path,
			d->result == -ECANCELED ? "cancelled" : strerrordesc_np(-d->result),
			d->made ? "; what was written has been removed" : "");
	}
	ev_post(d->control, &d->msg);
	return NULL;
}

/* Signals are control's; SIGXFSZ stays blocked too, so that a limit on file sizes is an EFBIG. */
static int spawn(struct coredump *d)
{
	sigset_t all, old;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&d->thread, NULL, thread_main, d);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -r;
}

/* ---- the file ---- */

static int open_path(struct coredump *d, struct err *e)
{
	d->fd = open(d->path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	d->made = d->fd >= 0;
	if (d->made)
		return 0;
	if (errno == EEXIST)
		return err_set(e, ERR_CONFLICT, -EEXIST,
			"vm.coredump: %.200s: exists already; give a path that does not", d->path);
	return err_set(e, ERR_USAGE, -errno,
		"vm.coredump: %.200s: cannot be made: %s; give a new file in a folder that can be written to",
		d->path, strerrordesc_np(errno));
}

/* Ours is a copy, so that closing it tells how the writing ended; the position stays untouched.
 * What this process has opened itself, or uses (fd_arg.c), is close-on-exec: a mistyped number must
 * not empty the guest's disk. */
static int open_fd(struct coredump *d, struct err *e)
{
	struct stat st;
	uint64_t fd;
	int flags;

	if (num_parse(d->path + 3, &fd) < 0 || fd > INT32_MAX ||
		(flags = fcntl((int)fd, F_GETFD)) < 0 || flags & FD_CLOEXEC ||
		(d->fd = fcntl((int)fd, F_DUPFD_CLOEXEC, 3)) < 0)
		return err_set(e, ERR_USAGE, -EBADF,
			"vm.coredump: %.200s: not the number of a file descriptor that polyvisor was started with",
			d->path);
	flags = fcntl(d->fd, F_GETFL);
	if (fstat(d->fd, &st) < 0 || !S_ISREG(st.st_mode) || (flags & O_ACCMODE) == O_RDONLY ||
		(flags & O_APPEND))
		return err_set(e, ERR_USAGE, -EINVAL,
			"vm.coredump: %.200s: allowed is a regular file, open for writing, not for appending",
			d->path);
	if (ftruncate(d->fd, 0) < 0) /* holes are to read as zero */
		return err_set(e, ERR_HOST, -errno, "vm.coredump: %.200s: cannot be emptied: %s",
			d->path, strerrordesc_np(errno));
	return 0;
}

/* ---- control ---- */

static void dump_free(struct coredump *d)
{
	cleanup_closep(&d->fd);
	core_notes_fini(&d->notes);
	free(d->path);
	free(d);
}

static void on_done(struct ev_msg *m)
{
	struct coredump *d = container_of(m, struct coredump, msg);

	if (d->dropped) {
		dump_free(d);
		return;
	}
	d->told = true;
	d->done(m);
}

int coredump_begin(struct vm *vm, const char *path, struct ev_loop *control,
	void (*done)(struct ev_msg *m), void *arg, struct coredump **ret_dump, struct err *e)
{
	struct coredump *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return err_set(e, ERR_HOST, -ENOMEM, "vm.coredump: no memory");
	*d = (struct coredump){.vm = vm,
		.path = strdup(path),
		.fd = -1,
		.control = control,
		.msg.handle = on_done,
		.done = done,
		.arg = arg};
	if (!d->path)
		r = err_set(e, ERR_HOST, -ENOMEM, "vm.coredump: no memory");
	else
		r = strncmp(path, "fd=", 3) ? open_path(d, e) : open_fd(d, e);
	if (r == 0 && (r = spawn(d)) < 0) {
		err_set(e, ERR_HOST, r, "vm.coredump: no thread: %s", strerrordesc_np(-r));
		if (d->made)
			unlink(path);
	}
	if (r < 0)
		dump_free(d);
	else
		*ret_dump = d;
	return r;
}

void *coredump_arg(struct ev_msg *m)
{
	return container_of(m, struct coredump, msg)->arg;
}

int coredump_end(struct coredump *d, struct err *e)
{
	int r;

	if (!d->told)
		coredump_cancel(d);
	pthread_join(d->thread, NULL);
	r = d->result;
	if (r < 0)
		err_set(e, d->err.kind, r, "%s", d->err.text);
	if (d->told)
		dump_free(d);
	else
		d->dropped = true;
	return r;
}

void coredump_cancel(struct coredump *d)
{
	atomic_store(&d->cancel, true);
}
