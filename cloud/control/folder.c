/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include "cloud/control/daemon.h"
#include "vmm/base/cleanup.h"

static int make_all(const char *path)
{
	char part[PATH_MAX];

	if (strlen(path) >= sizeof(part))
		return -ENAMETOOLONG;
	for (const char *at = path; *at; at += strcspn(at, "/")) {
		at += strspn(at, "/");
		snprintf(part, sizeof(part), "%.*s", (int)(at - path + (ptrdiff_t)strcspn(at, "/")),
			path);
		if (*part && mkdir(part, 0700) < 0 && errno != EEXIST)
			return -errno;
	}
	return 0;
}

int folder_open(const char *path, const char *what, int *ret_fd, struct err *e)
{
	char file[PATH_MAX + 16];
	cleanup_fd int fd = -1;
	int r = make_all(path);

	snprintf(file, sizeof(file), "%s/control.lock", path);
	if (r == 0) {
		fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
		r = fd < 0 ? -errno : 0;
	}
	if (r < 0)
		return err_set(e, ERR_HOST, r, "%s %s: %s", what, path, strerrordesc_np(-r));
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return err_set(e, ERR_CONFLICT, -EBUSY,
			"%s %s: another polycloud has this folder open", what, path);
	*ret_fd = steal_fd(&fd);
	return 0;
}
