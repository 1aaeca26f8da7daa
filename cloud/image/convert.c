/* SPDX-License-Identifier: Apache-2.0 */
/* qcow2 to raw, by qemu-img. The header (QEMU's docs/interop/qcow2.txt) is looked at first: an
 * image that names other files (a backing file, an external data file) would make qemu-img read
 * them for whoever uploaded it, and is refused. */
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include "cloud/image/internal.h"
#include "vmm/base/cleanup.h"

#define QCOW2_MAGIC    0x514649fbu
#define EXTERNAL_DATA  (1u << 2) /* incompatible feature bit */
#define KNOWN_FEATURES 0x1bull	 /* dirty, corrupt, compression type, extended L2 entries */

extern char **environ;

static uint64_t be(const uint8_t *p, unsigned bytes)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < bytes; i++)
		v = v << 8 | p[i];
	return v;
}

/* 1: a qcow2 that may be converted; 0: not a qcow2. */
static int look_at(const char *path, uint64_t max, struct err *e)
{
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	uint8_t h[104] = {0};
	uint32_t version;

	if (fd < 0)
		return err_set(e, ERR_HOST, -errno, "%s: %s", path, strerror(errno));
	if (pread(fd, h, sizeof(h), 0) < 72 || be(h, 4) != QCOW2_MAGIC)
		return 0;
	version = be(h + 4, 4);
	if (version != 2 && version != 3)
		return err_set(e, ERR_USAGE, -EINVAL,
			"qcow2: version %u is not allowed; allowed: 2, 3", version);
	if (be(h + 8, 8) || be(h + 16, 4))
		return err_set(e, ERR_USAGE, -EINVAL, "qcow2: a backing file is not allowed");
	if (version == 3 && be(h + 72, 8) & (EXTERNAL_DATA | ~KNOWN_FEATURES))
		return err_set(
			e, ERR_USAGE, -EINVAL, "qcow2: an external data file is not allowed");
	if (be(h + 32, 4))
		return err_set(e, ERR_USAGE, -EINVAL, "qcow2: encryption is not allowed");
	if (!be(h + 24, 8) || be(h + 24, 8) > max)
		return err_set(e, ERR_USAGE, -EFBIG,
			"qcow2: a disk of %llu bytes is not allowed; allowed: 1 to %llu",
			(unsigned long long)be(h + 24, 8), (unsigned long long)max);
	return 1;
}

/* Waits for a child; ends it when the work is to stop. */
static int wait_for(pid_t pid, const struct work *w)
{
	int status;

	for (;;) {
		pid_t got = waitpid(pid, &status, WNOHANG);

		if (got == pid)
			return WIFEXITED(status) && !WEXITSTATUS(status) ? 0 : -EIO;
		if (got < 0 && errno != EINTR)
			return -errno;
		if (atomic_load(w->stop))
			kill(pid, SIGKILL);
		usleep(20000);
	}
}

int convert_qcow2(const char *path, uint64_t max, const struct work *w, bool *ret_converted,
	char ret_raw[PATH_MAX], struct err *e)
{
	char *argv[] = {
		"qemu-img", "convert", "-f", "qcow2", "-O", "raw", (char *)path, ret_raw, NULL};
	posix_spawn_file_actions_t actions;
	pid_t pid;
	int r = look_at(path, max, e);

	if (r <= 0) {
		*ret_converted = false;
		return r;
	}
	if (snprintf(ret_raw, PATH_MAX, "%s.raw", path) >= PATH_MAX)
		return -ENAMETOOLONG;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
	posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
	r = -posix_spawnp(&pid, "qemu-img", &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	if (r == -ENOENT)
		return err_set(e, ERR_UNOFFERED, r,
			"qcow2 needs qemu-img; install it with: tools/setup cloud");
	if (!r)
		r = wait_for(pid, w);
	if (r < 0) {
		unlink(ret_raw);
		return err_set(e, ERR_USAGE, r,
			"qcow2: qemu-img cannot convert it: it is damaged or the disk is full");
	}
	*ret_converted = true;
	return 0;
}
