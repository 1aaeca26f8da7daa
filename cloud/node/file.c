/* SPDX-License-Identifier: Apache-2.0 */
#include "cloud/node/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/un.h>
#include <unistd.h>
#include "vmm/base/cleanup.h"

/* ---- JSON ---- */

static int write_all(int fd, const char *p, size_t n)
{
	while (n) {
		ssize_t r = write(fd, p, n);

		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return r < 0 ? -errno : -EIO;
		p += r;
		n -= (size_t)r;
	}
	return 0;
}

static int write_file(int dir, const char *name, const json_t *j, bool durable)
{
	cleanup_fd int fd =
		openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	cleanup_free char *text = json_dumps(j, JSON_INDENT(1));
	int r;

	if (fd < 0)
		return -errno;
	if (!text)
		return -ENOMEM;
	r = write_all(fd, text, strlen(text));
	if (r == 0 && durable && fsync(fd) < 0)
		r = -errno;
	return r;
}

int file_write_json(int dir, const char *name, const json_t *j, bool durable)
{
	char temp[80];
	int r;

	if (snprintf(temp, sizeof(temp), "%s.new", name) >= (int)sizeof(temp))
		return -ENAMETOOLONG;
	r = write_file(dir, temp, j, durable);
	if (r == 0 && renameat(dir, temp, dir, name) < 0)
		r = -errno;
	if (r == 0 && durable && fsync(dir) < 0)
		r = -errno;
	if (r < 0)
		unlinkat(dir, temp, 0);
	return r;
}

int file_read_json(int dir, const char *name, json_t **ret_json)
{
	cleanup_fd int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	json_t *j;

	if (fd < 0)
		return -errno;
	j = json_loadfd(fd, JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_object(j)) {
		json_decref(j);
		return -EBADMSG;
	}
	*ret_json = j;
	return 0;
}

int file_read_text(int dir, const char *name, char *buf, size_t cap)
{
	cleanup_fd int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	size_t have = 0;

	if (fd < 0)
		return -errno;
	while (have + 1 < cap) {
		ssize_t n = read(fd, buf + have, cap - 1 - have);

		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		have += (size_t)n;
	}
	while (have && buf[have - 1] == '\n')
		have--;
	buf[have] = '\0';
	return (int)have;
}

/* ---- folders ---- */

int file_open_folder(int dir, const char *name, unsigned mode)
{
	int fd;

	if (mkdirat(dir, name, mode) < 0 && errno != EEXIST)
		return -errno;
	fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 ? -errno : fd;
}

static int remove_inside(int dir)
{
	int r = 0, copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *e;

	if (!d) {
		r = -errno;
		if (copy >= 0)
			close(copy);
		return r;
	}
	while (r == 0 && (e = readdir(d)))
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
			r = file_remove(dir, e->d_name);
	closedir(d);
	return r;
}

int file_remove(int dir, const char *name)
{
	if (unlinkat(dir, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return -errno;
	cleanup_fd int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return -errno;
	int r = remove_inside(fd);
	if (r == 0 && unlinkat(dir, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		r = -errno;
	return r;
}

void file_drop_unfinished(int dir)
{
	int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *e;

	while (d && (e = readdir(d))) {
		const char *dot = strrchr(e->d_name, '.');

		if (dot && !strncmp(dot, ".new", 4) && !dot[4 + strspn(dot + 4, "0123456789")])
			unlinkat(dir, e->d_name, 0);
	}
	if (d)
		closedir(d);
	else if (copy >= 0)
		close(copy);
}

/* ---- names and sockets ---- */

const char *file_why(int error, int dir, uint64_t needed, char buf[128])
{
	struct statvfs v;
	uint64_t room;

	snprintf(buf, 128, "%s", strerrordesc_np(-error));
	if ((error != -ENOSPC && error != -EDQUOT) || fstatvfs(dir, &v) < 0)
		return buf;
	room = (uint64_t)v.f_bavail * v.f_frsize;
	if (needed)
		snprintf(buf, 128, "the disk of the host is full: %.1f MiB needed, %.1f MiB free",
			(double)needed / (1 << 20), (double)room / (1 << 20));
	else
		snprintf(buf, 128, "the disk of the host is full: %.1f MiB free",
			(double)room / (1 << 20));
	return buf;
}

bool file_id_ok(const char *id)
{
	size_t n = strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789-");

	return n && n < 64 && !id[n] && id[0] != '-';
}

int file_fd_path(int dir, const char *name, char ret_path[FILE_FD_PATH])
{
	int n = snprintf(ret_path, FILE_FD_PATH, "/proc/self/fd/%d/%s", dir, name);

	return n >= FILE_FD_PATH ? -ENAMETOOLONG : 0;
}

static int address(int dir, const char *name, struct sockaddr_un *ret)
{
	*ret = (struct sockaddr_un){.sun_family = AF_UNIX};
	return file_fd_path(dir, name, ret->sun_path);
}

int file_listen(int dir, const char *name)
{
	struct sockaddr_un a;
	int r = address(dir, name, &a);
	cleanup_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (r < 0 || fd < 0)
		return r < 0 ? r : -errno;
	unlinkat(dir, name, 0);
	/* The file gets the socket's own mode, from its first moment. */
	if (fchmod(fd, 0600) < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 ||
		listen(fd, 64) < 0)
		return -errno;
	return steal_fd(&fd);
}

int file_connect(int dir, const char *name)
{
	struct sockaddr_un a;
	int r = address(dir, name, &a);
	cleanup_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (r < 0 || fd < 0)
		return r < 0 ? r : -errno;
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return -errno;
	return steal_fd(&fd);
}
