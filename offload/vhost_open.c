/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/vhost.h>
#include <string.h>
#include <unistd.h>
#include "offload/vhost_sys.h"

int vhost_call(struct vhost *v, unsigned long req, const char *name, void *arg)
{
	int r = vhost_sys_ioctl(v->fd, req, arg);

	if (r < 0)
		v->failed = name;
	return r;
}

int vhost_failed(const struct vhost *v, int code, const char *path, const char *flag,
	const char *id, struct err *e)
{
	return err_set(e, ERR_HOST, code, "%s %s: %s: %s: %s", flag, id, path, v->failed,
		strerrordesc_np(-code));
}

static int refuse(int code, const char *path, const char *module, const char *flag, const char *id,
	struct err *e)
{
	switch (-code) {
	case ENOENT:
	case ENODEV:
	case ENXIO:
		return err_set(e, ERR_HOST, code,
			"%s %s: %s: %s; allowed: a host with the kernel module %s (modprobe %s)",
			flag, id, path, strerrordesc_np(-code), module, module);
	case EACCES:
	case EPERM:
		return err_set(e, ERR_HOST, code,
			"%s %s: %s: no permission; allowed: a user who may read and write it", flag,
			id, path);
	case EBUSY:
		return err_set(e, ERR_HOST, code,
			"%s %s: %s is used by another process; allowed: a free one", flag, id,
			path);
	default:
		return err_set(
			e, ERR_HOST, code, "%s %s: %s: %s", flag, id, path, strerrordesc_np(-code));
	}
}

int vhost_own(struct vhost *ret, int fd, const char *path, const char *module, const char *flag,
	const char *id, struct err *e)
{
	struct vhost v = {.fd = fd};
	int r = VHOST_CALL(&v, VHOST_SET_OWNER, NULL);

	if (r == -ENOTTY || r == -EINVAL)
		return err_set(e, ERR_HOST, r,
			"%s %s: %s is no vhost device; allowed: one of the module %s", flag, id,
			path, module);
	if (r < 0)
		return vhost_failed(&v, r, path, flag, id, e);
	*ret = v;
	return 0;
}

int vhost_open(struct vhost *ret, const char *path, const char *module, const char *flag,
	const char *id, struct err *e)
{
	int fd = vhost_sys_open(path), r;

	if (fd < 0)
		return refuse(fd, path, module, flag, id, e);
	r = vhost_own(ret, fd, path, module, flag, id, e);
	if (r < 0)
		close(fd);
	return r;
}
