/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/offload_tell.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"

/* ---- sockets without a name ---- */

/* Binds in a folder of our own, which goes again at once: the inode stays for who has it open. */
static int bind_in(const char *place, int fd, int *ret_file)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	char dir[64];
	int r;

	snprintf(dir, sizeof(dir), "%s/polyvisor-XXXXXX", place);
	if (!mkdtemp(dir))
		return -errno;
	snprintf(a.sun_path, sizeof(a.sun_path), "%s/s", dir);
	r = bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 ? -errno : 0;
	if (!r) {
		*ret_file = open(a.sun_path, O_PATH | O_CLOEXEC);
		r = *ret_file < 0 ? -errno : 0;
		unlink(a.sun_path);
	}
	rmdir(dir);
	return r;
}

static int listen_nameless(int *ret_fd, int *ret_file)
{
	static const char *const places[] = {"/tmp", "/run", "/dev/shm"};
	cleanup_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int r = fd < 0 ? -errno : -ENOENT;

	for (unsigned i = 0; fd >= 0 && r < 0 && i < ARRAY_SIZE(places); i++)
		r = bind_in(places[i], fd, ret_file);
	if (!r && listen(fd, 64) < 0) {
		r = -errno;
		close(*ret_file);
		*ret_file = -1;
	}
	if (!r)
		*ret_fd = steal_fd(&fd);
	return r;
}

/* ---- what the program is told ---- */

static void say(struct telling *t, char *word)
{
	if (!word || t->nwords == TELLING_WORDS - 1) {
		free(word);
		t->r = t->r ? t->r : -ENOMEM;
		return;
	}
	t->word[t->nwords++] = word;
}

/* The number that the program will know it by. */
static unsigned give(struct telling *t, int fd)
{
	t->fd[t->nfds] = fd;
	return 3 + t->nfds++;
}

static void socket_of(struct telling *t, struct auto_dev *d)
{
	char word[16];
	int fd = -1, r = listen_nameless(&fd, &d->socket);

	if (r < 0) {
		t->r = t->r ? t->r : r;
		return;
	}
	t->listen[t->nlisten++] = fd;
	snprintf(word, sizeof(word), "fd=%u", give(t, fd));
	say(t, strdup("--socket"));
	say(t, strdup(word));
}

/* A quoted value may hold commas, but no quote (vmm/base/opts.h). */
static void quoted(FILE *f, const char *key, const char *value)
{
	if (value)
		fprintf(f, ",%s=\"%s\"", key, value);
}

static void tell_queues(FILE *f, unsigned queues, unsigned size, unsigned poll)
{
	fprintf(f, ",queue_size=%u", size);
	if (queues > 1)
		fprintf(f, ",queues=%u", queues);
	if (poll)
		fprintf(f, ",poll=%u", poll);
}

static void tell_disk(struct telling *t, struct auto_dev *d, const struct disk_config *c)
{
	cleanup_free char *word = NULL;
	size_t len;
	FILE *f = open_memstream(&word, &len);

	if (!f) {
		t->r = -ENOMEM;
		return;
	}
	t->reopen |= UINT64_C(1) << t->nfds;
	fprintf(f, "virtio-blk,fd=%u", give(t, d->fd));
	tell_queues(f, c->num_queues, c->queue_size, c->poll);
	fprintf(f, "%s%s", c->readonly ? ",readonly=on" : "", c->direct ? ",direct=on" : "");
	quoted(f, "id", c->id);
	quoted(f, "serial", c->serial ? c->serial : "");
	fclose(f);
	say(t, strdup("--device"));
	say(t, steal_ptr(&word));
	socket_of(t, d);
}

static void tell_net(struct telling *t, struct auto_dev *d, const struct net_config *c)
{
	cleanup_free char *word = NULL;
	size_t len;
	FILE *f = open_memstream(&word, &len);

	if (!f) {
		t->r = -ENOMEM;
		return;
	}
	fprintf(f, "virtio-net");
	tell_queues(f, c->num_queues / 2, c->queue_size, c->poll);
	fprintf(f, ",mac=%02x:%02x:%02x:%02x:%02x:%02x", c->mac[0], c->mac[1], c->mac[2], c->mac[3],
		c->mac[4], c->mac[5]);
	if (c->mtu)
		fprintf(f, ",mtu=%u", c->mtu);
	if (c->backend == NET_PASST)
		fprintf(f, ",backend=passt");
	if (d->fd >= 0)
		fprintf(f, ",fd=%u", give(t, d->fd));
	quoted(f, "id", c->id);
	quoted(f, "tap", d->fd < 0 ? c->tap : NULL);
	quoted(f, "forward", c->forward);
	fclose(f);
	say(t, strdup("--device"));
	say(t, steal_ptr(&word));
	socket_of(t, d);
}

/* It makes and removes the file itself, even when it outlives us for a moment. */
static void tell_api(struct telling *t, const char *path)
{
	char *word;

	if (!path || strchr(path, '"'))
		return;
	say(t, strdup("--api-socket"));
	say(t, asprintf(&word, "path=\"%s\"", path) < 0 ? NULL : word);
}

void offload_tell(struct offload_auto *a, const struct vm_config *c, struct telling *t)
{
	say(t, strdup(OFFLOAD_PROGRAM));
	tell_api(t, a->api_path);
	for (unsigned i = 0; i < c->ndisks; i++)
		if (a->disk[i].open)
			tell_disk(t, &a->disk[i], &c->disk[i]);
	for (unsigned i = 0; i < c->nnets; i++)
		if (a->net[i].open)
			tell_net(t, &a->net[i], &c->net[i]);
}

void offload_told(struct telling *t)
{
	for (unsigned i = 0; i < t->nwords; i++)
		free(t->word[i]);
	for (unsigned i = 0; i < t->nlisten; i++)
		close(t->listen[i]);
}
