/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>
#include "cloud/base/folder.h"
#include "cloud/control/daemon.h"
#include "vmm/base/cleanup.h"

int folder_open(const char *path, const char *what, int *ret_fd, struct err *e)
{
	char file[PATH_MAX + 16];
	cleanup_fd int fd = -1;
	int r = folder_make(path);

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
