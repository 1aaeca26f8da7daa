/* SPDX-License-Identifier: Apache-2.0 */
/* Opening a disk: everything that can be wrong with what the user named is found here, before the
 * machine is built, and said in one line. */
#include "devices/backend/block.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include "devices/backend/block_file.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"

#define SECTOR	  512
#define ALIGN_MAX 4096

static const char what_is_allowed[] = "a raw disk image or a block device of at least 512 bytes";

/* "--disk _disk0: path=FILE" for messages. */
struct subject {
	char text[200];
};

static struct subject subject_of(const struct block_opts *o)
{
	struct subject s;

	if (o->path)
		snprintf(s.text, sizeof(s.text), "%s %s: path=%s", o->flag, o->id, o->path);
	else
		snprintf(s.text, sizeof(s.text), "%s %s: fd=%d", o->flag, o->id, o->fd);
	return s;
}

static int refuse(const struct block_opts *o, struct err *e, int code, const char *why)
{
	struct subject s = subject_of(o);

	return err_set(e, ERR_HOST, code, "%s %s; allowed: %s", s.text, why, what_is_allowed);
}

static int open_failed(const struct block_opts *o, struct err *e, int err)
{
	struct subject s = subject_of(o);

	switch (err) {
	case ENOENT:
		return refuse(o, e, -err, "does not exist");
	case EISDIR:
		return refuse(o, e, -err, "is a directory");
	case EBUSY:
		return err_set(e, ERR_HOST, -err,
			"%s is in use by the host (mounted?); allowed: a device that is not, or readonly=on",
			s.text);
	case EACCES:
	case EROFS:
	case EPERM:
		return err_set(e, ERR_HOST, -err, "%s cannot be opened for %s: %s; allowed: %s",
			s.text, o->readonly ? "reading" : "writing", strerrordesc_np(err),
			o->readonly ? "a file you may read"
				    : "a file you may write, or readonly=on");
	case EINVAL:
		if (o->direct)
			return err_set(e, ERR_HOST, -err,
				"%s: its file system has no direct I/O; allowed: direct=off",
				s.text);
		break;
	}
	return err_set(e, ERR_HOST, -err, "%s cannot be opened: %s; allowed: %s", s.text,
		strerrordesc_np(err), what_is_allowed);
}

static int check_type(const struct block_opts *o, const struct stat *st, struct err *e)
{
	if (S_ISDIR(st->st_mode))
		return refuse(o, e, -EISDIR, "is a directory");
	if (!S_ISREG(st->st_mode) && !S_ISBLK(st->st_mode))
		return refuse(o, e, -EINVAL, "is neither a file nor a block device");
	return 0;
}

/* The type is looked at first: opening a FIFO would wait, and a mounted device needs O_EXCL. */
static int open_path(const struct block_opts *o, int *ret_fd, struct err *e)
{
	int flags = O_CLOEXEC | (o->readonly ? O_RDONLY : O_RDWR) | (o->direct ? O_DIRECT : 0);
	struct stat st;
	int r, fd;

	if (stat(o->path, &st) < 0)
		return open_failed(o, e, errno);
	r = check_type(o, &st, e);
	if (r < 0)
		return r;
	if (S_ISBLK(st.st_mode) && !o->readonly)
		flags |= O_EXCL;
	fd = open(o->path, flags);
	/* As with its lock: the kernel lets go of a killed process's device a little later. */
	for (int i = 0; fd < 0 && errno == EBUSY && i < (o->hurried ? 100 : 500); i++) {
		nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL);
		fd = open(o->path, flags);
	}
	if (fd < 0)
		return open_failed(o, e, errno);
	*ret_fd = fd;
	return 0;
}

/* An fd of the user's: its mode must allow what was asked for. */
static int check_fd(const struct block_opts *o, struct err *e)
{
	int flags = fcntl(o->fd, F_GETFL);
	struct subject s = subject_of(o);

	if (flags < 0)
		return err_set(
			e, ERR_HOST, -errno, "%s is not open; allowed: an open descriptor", s.text);
	if (!o->readonly && (flags & O_ACCMODE) != O_RDWR)
		return err_set(e, ERR_HOST, -EACCES,
			"%s is not open for reading and writing; allowed: one that is, or readonly=on",
			s.text);
	/* A non-blocking file makes io_uring give up where it should wait. */
	flags &= ~O_NONBLOCK;
	flags = o->direct ? flags | O_DIRECT : flags;
	return fcntl(o->fd, F_SETFL, flags) < 0 ? open_failed(o, e, errno) : 0;
}

/* Does process `pid` hold a lock through a descriptor of this file? */
static bool holds_lock(const char *pid, const struct stat *file)
{
	char path[80];
	cleanup_free char *line = NULL;
	size_t cap = 0;
	bool found = false;
	struct stat st;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%.20s/fd", pid);
	d = opendir(path);
	for (struct dirent *f; d && !found && (f = readdir(d));) {
		snprintf(path, sizeof(path), "/proc/%.20s/fd/%.20s", pid, f->d_name);
		if (stat(path, &st) < 0 || st.st_ino != file->st_ino || st.st_dev != file->st_dev)
			continue;
		snprintf(path, sizeof(path), "/proc/%.20s/fdinfo/%.20s", pid, f->d_name);
		cleanup_file FILE *info = fopen(path, "re");

		while (info && !found && getline(&line, &cap, info) > 0)
			found = !strncmp(line, "lock:", 5);
	}
	if (d)
		closedir(d);
	return found;
}

/* Open file description locks have no pid; the holder shows in /proc, where we may look. */
static int lock_holder(int fd)
{
	int pid = 0;
	struct stat st;
	DIR *d = opendir("/proc");

	if (!d)
		return 0;
	if (fstat(fd, &st) == 0)
		for (struct dirent *p; !pid && (p = readdir(d));)
			if (p->d_name[0] >= '1' && p->d_name[0] <= '9' &&
				holds_lock(p->d_name, &st))
				pid = atoi(p->d_name);
	closedir(d);
	return pid;
}

/* The kernel frees the io_uring of a process that was killed, and with it the lock, after the
 * process has gone, once the I/O that was in flight has ended: a lock that nobody seems to hold
 * gets ten seconds to go away, or one. Returns 0, or a negative errno with *ret_pid, 0 where we
 * cannot see who. */
static int lock_patiently(int fd, struct flock *lock, bool hurried, int *ret_pid)
{
	struct timespec pause = {.tv_nsec = 10 * 1000 * 1000};

	*ret_pid = 0;
	for (int tries = 0;; tries++) {
		if (fcntl(fd, F_OFD_SETLK, lock) == 0)
			return 0;
		if (errno != EAGAIN && errno != EACCES)
			return -errno;
		if (tries % 20 == 0)
			*ret_pid = lock_holder(fd);
		if (*ret_pid || tries == (hurried ? 100 : 1000))
			return -EBUSY;
		nanosleep(&pause, NULL);
	}
}

static int take_lock(const struct block_opts *o, int fd, struct err *e)
{
	struct flock lock = {.l_type = o->readonly ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET};
	struct subject s = subject_of(o);
	char who[40] = "another process";
	int pid, r = lock_patiently(fd, &lock, o->hurried, &pid);

	if (r == 0)
		return 0;
	if (r != -EBUSY)
		return err_set(
			e, ERR_HOST, r, "%s cannot be locked: %s", s.text, strerrordesc_np(-r));
	if (pid)
		snprintf(who, sizeof(who), "process %d", pid);
	return err_set(e, ERR_HOST, -EBUSY,
		"%s is locked by %s; allowed: one writer, or any number with readonly=on", s.text,
		who);
}

static int find_size(
	const struct block_opts *o, struct block_file *f, const struct stat *st, struct err *e)
{
	uint64_t size = st->st_size;
	struct subject s = subject_of(o);
	int sector = SECTOR;

	if (f->is_device &&
		(ioctl(f->fd, BLKGETSIZE64, &size) < 0 || ioctl(f->fd, BLKSSZGET, &sector) < 0))
		return open_failed(o, e, errno);
	if (!size)
		return refuse(o, e, -EINVAL, "is empty (0 bytes)");
	if (size < SECTOR)
		return err_set(e, ERR_HOST, -EINVAL,
			"%s has %llu bytes, less than a sector; allowed: %s", s.text,
			(unsigned long long)size, what_is_allowed);
	f->block.block_size = sector;
	f->block.size = size;
	return 0;
}

/* The alignment that direct I/O needs here: the least that a read accepts. */
static int find_align(const struct block_opts *o, struct block_file *f, struct err *e)
{
	cleanup_free uint8_t *buf = NULL;
	ssize_t r = -1;

	if (!(fcntl(f->fd, F_GETFL) & O_DIRECT))
		return 0;
	f->block.direct = true;
	if (posix_memalign((void **)&buf, ALIGN_MAX, ALIGN_MAX))
		return -ENOMEM;
	for (f->align = f->block.block_size; f->align <= ALIGN_MAX; f->align *= 2) {
		r = pread(f->fd, buf, f->align, 0);
		if (r >= 0 || errno != EINVAL)
			break;
	}
	if (r < 0)
		return open_failed(o, e, errno);
	f->block.block_size = f->align;
	return 0;
}

static int describe(const struct block_opts *o, struct block_file *f, struct err *e)
{
	struct stat st;
	int r;

	if (fstat(f->fd, &st) < 0)
		return open_failed(o, e, errno);
	f->is_device = S_ISBLK(st.st_mode);
	r = check_type(o, &st, e);
	if (r == 0)
		r = find_size(o, f, &st, e);
	if (r == 0)
		r = find_align(o, f, e);
	if (r < 0)
		return r;
	f->block.size = align_down(f->block.size, f->block.block_size);
	if (!f->block.size)
		return refuse(o, e, -EINVAL, "is smaller than the block size of direct I/O");
	f->block.readonly = o->readonly;
	f->block.can_discard = f->block.can_write_zeroes = !o->readonly;
	return 0;
}

int block_open(const struct block_opts *o, struct block **ret_block, struct err *e)
{
	cleanup_fd int fd = -1;
	cleanup_free struct block_file *f = calloc(1, sizeof(*f));
	int r;

	if (!f)
		return -ENOMEM;
	r = o->path ? open_path(o, &fd, e) : check_fd(o, e);
	if (r < 0)
		return r;
	f->fd = o->path ? fd : o->fd;
	f->block.ops = &block_uring_ops;
	r = take_lock(o, f->fd, e);
	if (r == 0)
		r = describe(o, f, e);
	if (r < 0)
		return r;
	steal_fd(&fd);
	*ret_block = &steal_ptr(&f)->block;
	return 0;
}

int block_resize(struct block *b, uint64_t size)
{
	return size % SECTOR ? -EINVAL : b->ops->resize(b, size);
}
