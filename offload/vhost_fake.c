/* SPDX-License-Identifier: Apache-2.0 */
#include "offload/vhost_fake.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/vhost.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "devices/backend/netdev.h"
#include "offload/vhost_sys.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"

struct vhost_fake vhost_fake;
static struct vhost_fake *const f = &vhost_fake;

void vhost_fake_reset(void)
{
	*f = (struct vhost_fake){
		.queues = 1, .iova_last = UINT64_MAX, .error = -EIO, .config_call = -1};
	pthread_mutex_init(&f->lock, NULL);
	for (unsigned i = 0; i < FAKE_RINGS; i++)
		f->kick[i] = f->call[i] = f->err[i] = f->tap[i] = f->fd[i] = f->tap_end[i] = -1;
}

static bool same(const char *words, bool last)
{
	LOCK_SCOPE(&f->lock);
	bool yes = !strcmp(f->said, words);

	if (!yes && last)
		fprintf(stderr, "said: %s\nnot:  %s\n", f->said, words);
	if (yes || last)
		*f->said = 0;
	return yes;
}

bool vhost_fake_said(const char *words)
{
	for (unsigned i = 0; i < 5000; i++) {
		if (same(words, false))
			return true;
		usleep(1000);
	}
	return same(words, true);
}

void vhost_fake_forget(void)
{
	LOCK_SCOPE(&f->lock);
	*f->said = 0;
}

/* Notes one call; 0, or the error that it is to fail with. */
static int __attribute__((format(printf, 1, 2))) note(const char *fmt, ...)
{
	size_t n = strlen(f->said);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(f->said + n, sizeof(f->said) - n, fmt, ap);
	va_end(ap);
	return f->fail_at && --f->fail_at == 0 ? f->error : 0;
}

int vhost_sys_open(const char *path)
{
	int fd;

	if (f->open_error)
		return f->open_error;
	fd = eventfd(0, EFD_CLOEXEC);
	f->fd[f->opened++ % FAKE_RINGS] = fd;
	return fd;
}

/* The ring that a descriptor means by index. */
static unsigned ring(int fd, unsigned index)
{
	for (unsigned i = 0; i < FAKE_RINGS; i++)
		if (f->fd[i] == fd)
			index += 2 * i;
	return index % FAKE_RINGS;
}

static int on_state(int fd, unsigned long req, struct vhost_vring_state *s)
{
	unsigned i = ring(fd, s->index);

	switch (req) {
	case VHOST_SET_VRING_NUM:
		f->num[i] = s->num;
		return note("NUM:%u=%u ", i, s->num);
	case VHOST_SET_VRING_BASE:
		f->base[i] = s->num;
		return note("BASE:%u=%x ", i, s->num);
	case VHOST_VDPA_SET_VRING_ENABLE:
		return note("ENABLE:%u=%u ", i, s->num);
	default:
		s->num = f->base[i] + f->moved;
		return note("GET_BASE:%u ", i);
	}
}

static int on_file(int fd, unsigned long req, const struct vhost_vring_file *s)
{
	unsigned i = ring(fd, s->index);

	switch (req) {
	case VHOST_SET_VRING_KICK:
		f->kick[i] = s->fd;
		return note("KICK:%u ", i);
	case VHOST_SET_VRING_CALL:
		f->call[i] = s->fd;
		return note("CALL:%u ", i);
	case VHOST_SET_VRING_ERR:
		f->err[i] = s->fd;
		return note("ERR:%u ", i);
	default:
		f->tap[i] = s->fd;
		return note("BACKEND:%u=%s ", i, s->fd < 0 ? "off" : "tap");
	}
}

static int on_config(unsigned long req, struct vhost_vdpa_config *c)
{
	uint32_t len = MIN(c->len, (uint32_t)sizeof(f->config) - c->off);

	if (req == VHOST_VDPA_GET_CONFIG) {
		memcpy(c->buf, f->config + c->off, len);
		return note("GET_CONFIG ");
	}
	memcpy(f->config + c->off, c->buf, len);
	return note("SET_CONFIG:%u+%u ", c->off, c->len);
}

static int on_u64(unsigned long req, uint64_t *v)
{
	switch (req) {
	case VHOST_GET_FEATURES:
		*v = f->features;
		return note("GET_FEATURES ");
	case VHOST_SET_FEATURES:
		f->driver_features = *v;
		return note("SET_FEATURES ");
	case VHOST_GET_BACKEND_FEATURES:
		*v = f->backend_features;
		return note("GET_BACKEND_FEATURES ");
	default:
		return note("SET_BACKEND_FEATURES:%llx ", (unsigned long long)*v);
	}
}

static int on_status(unsigned long req, uint8_t *status)
{
	if (req == VHOST_VDPA_GET_STATUS) {
		*status = f->status & (f->refuse_features ? ~8 : 0xff);
		return note("GET_STATUS ");
	}
	f->status = *status;
	return note("STATUS=%u ", *status);
}

static int on_tap(int fd, unsigned long req, void *arg)
{
	struct ifreq *r = arg;
	unsigned i = 0;

	while (i < FAKE_RINGS && f->tap[i] != fd)
		i++;
	switch (req) {
	case TUNSETOFFLOAD:
		f->tun = (uintptr_t)arg;
		return note("OFFLOAD:%x ", f->tun);
	case TUNGETIFF:
		strcpy(r->ifr_name, "fake0");
		return 0;
	default:
		return note(r->ifr_flags & IFF_ATTACH_QUEUE ? "ATTACH " : "DETACH ");
	}
}

static int on_memory(const struct vhost_memory *m)
{
	f->memory = 0;
	for (unsigned i = 0; i < m->nregions; i++)
		f->memory += m->regions[i].memory_size;
	return note("MEM_TABLE:%u ", m->nregions);
}

static int on_vdpa(unsigned long req, void *arg)
{
	switch (req) {
	case VHOST_VDPA_GET_DEVICE_ID:
		*(uint32_t *)arg = f->type;
		return f->type ? note("DEVICE_ID ") : -ENOTTY;
	case VHOST_VDPA_GET_IOVA_RANGE:
		*(struct vhost_vdpa_iova_range *)arg =
			(struct vhost_vdpa_iova_range){f->iova_first, f->iova_last};
		return note("IOVA_RANGE ");
	case VHOST_VDPA_GET_VQS_COUNT:
		*(uint32_t *)arg = f->queues;
		return note("VQS_COUNT ");
	case VHOST_VDPA_GET_VRING_NUM:
		*(uint16_t *)arg = 256;
		return note("VRING_NUM ");
	case VHOST_VDPA_GET_CONFIG_SIZE:
		*(uint32_t *)arg = f->config_len;
		return note("CONFIG_SIZE ");
	case VHOST_VDPA_SET_CONFIG_CALL:
		f->config_call = *(int *)arg;
		return note("CONFIG_CALL ");
	case VHOST_VDPA_SUSPEND:
		return note("SUSPEND ");
	default:
		return -ENOTTY;
	}
}

int vhost_sys_ioctl(int fd, unsigned long req, void *arg)
{
	const struct vhost_vring_addr *a = arg;
	unsigned i;

	LOCK_SCOPE(&f->lock);
	switch (req) {
	case VHOST_SET_OWNER:
		return note("OWNER ");
	case VHOST_GET_FEATURES:
	case VHOST_SET_FEATURES:
	case VHOST_GET_BACKEND_FEATURES:
	case VHOST_SET_BACKEND_FEATURES:
		return on_u64(req, arg);
	case VHOST_SET_MEM_TABLE:
		return on_memory(arg);
	case VHOST_SET_VRING_ADDR:
		i = ring(fd, a->index);
		f->desc[i] = a->desc_user_addr;
		return note("ADDR:%u ", i);
	case VHOST_SET_VRING_NUM:
	case VHOST_SET_VRING_BASE:
	case VHOST_GET_VRING_BASE:
	case VHOST_VDPA_SET_VRING_ENABLE:
		return on_state(fd, req, arg);
	case VHOST_SET_VRING_KICK:
	case VHOST_SET_VRING_CALL:
	case VHOST_SET_VRING_ERR:
	case VHOST_NET_SET_BACKEND:
		return on_file(fd, req, arg);
	case VHOST_VDPA_GET_CONFIG:
	case VHOST_VDPA_SET_CONFIG:
		return on_config(req, arg);
	case VHOST_VDPA_GET_STATUS:
	case VHOST_VDPA_SET_STATUS:
		return on_status(req, arg);
	case TUNSETOFFLOAD:
	case TUNGETIFF:
	case TUNSETQUEUE:
		return on_tap(fd, req, arg);
	default:
		return on_vdpa(req, arg);
	}
}

int vhost_sys_write(int fd, const void *msg, size_t len)
{
	const struct vhost_msg_v2 *m = msg;
	int r;

	LOCK_SCOPE(&f->lock);
	switch (m->iotlb.type) {
	case VHOST_IOTLB_BATCH_BEGIN:
		return note("BEGIN ");
	case VHOST_IOTLB_BATCH_END:
		return note("END ");
	case VHOST_IOTLB_UPDATE:
		r = note("MAP:%llx+%llx ", (unsigned long long)m->iotlb.iova,
			(unsigned long long)m->iotlb.size);
		f->memory += r ? 0 : m->iotlb.size;
		return r;
	default:
		f->memory -= m->iotlb.size;
		return note("UNMAP:%llx ", (unsigned long long)m->iotlb.iova);
	}
}

int netdev_tap_fds(
	const char *name, unsigned n, const char *flag, const char *id, int *ret_fds, struct err *e)
{
	if (name && !strcmp(name, "busy"))
		return err_set(e, ERR_HOST, -EBUSY, "%s %s: tap=%s is used", flag, id, name);
	for (unsigned i = 0; i < n; i++) {
		int p[2];

		if (pipe2(p, O_CLOEXEC) < 0)
			return -errno;
		ret_fds[i] = p[1];
		f->tap_end[i] = p[0];
	}
	return 0;
}

int netdev_tap_check(int fd, const char *flag, const char *id, struct err *e)
{
	return fd >= 0 ? 0 : err_set(e, ERR_HOST, -EBADF, "%s %s: fd=%d", flag, id, fd);
}
