/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/base/fd_arg.h"

#include <limits.h>
#include <string.h>
#include <unistd.h>
#include "vmm/base/num.h"

/* Theirs stays open, but not in programs that we start. */
static int duplicate(int fd)
{
	int own = fcntl(fd, F_DUPFD_CLOEXEC, 3);

	if (own < 0)
		return -errno;
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	return own;
}

int fd_arg(const char *flag, const char *text, int access, struct err *e)
{
	uint64_t n;

	if (strncmp(text, "fd=", 3))
		return -ENOENT;
	if (num_parse(text + 3, &n) < 0 || n > INT_MAX)
		return err_set(e, ERR_USAGE, -EINVAL, "%s %s: not a file descriptor; allowed: fd=N",
			flag, text);
	int flags = fcntl((int)n, F_GETFL);
	if (flags < 0)
		return err_set(e, ERR_HOST, -errno,
			"%s %s: %s; allowed: a file descriptor that is open in this process", flag,
			text, strerrordesc_np(errno));
	if (flags & O_PATH || ((flags & O_ACCMODE) != access && (flags & O_ACCMODE) != O_RDWR))
		return err_set(e, ERR_HOST, -EINVAL, "%s %s: it is not open for %s", flag, text,
			access == O_RDONLY ? "reading" : "writing");
	int own = duplicate((int)n);
	if (own < 0)
		err_set(e, ERR_HOST, own, "%s %s: %s", flag, text, strerrordesc_np(-own));
	return own;
}

int fd_duplicate(const char *flag, const char *id, int fd, struct err *e)
{
	int own = duplicate(fd);

	if (own < 0)
		err_set(e, ERR_HOST, own,
			"%s %s: fd=%d: %s; allowed: a file descriptor that is open in this process",
			flag, id, fd, strerrordesc_np(-own));
	return own;
}
