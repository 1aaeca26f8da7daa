/* SPDX-License-Identifier: Apache-2.0 */
/* How the processes of an instance are started. Everything they need is opened here and handed to
 * them as descriptors: kernel, disks, their listening sockets, the event log. So a process may open
 * nothing of the node's, and the VMM can connect at once: who is to serve the socket may take its
 * time. What the VMM still names by path (disks' sockets, to come back to; its console) is below
 * run/, where it is started. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "cloud/node/file.h"
#include "cloud/node/node_priv.h"
#include "vmm/base/cleanup.h"

#define WORDS	128
#define LOG_MAX (1 << 20) /* bytes of a process's log; then it begins anew */

struct line {
	struct spawn s;
	char *word[WORDS];
	unsigned n;
	bool bad;
};

static void line_free(struct line *l)
{
	for (unsigned i = 0; i < l->n; i++)
		free(l->word[i]);
	for (unsigned i = 0; i < l->s.nfds; i++)
		close(l->s.fds[i]);
	if (l->s.log >= 0)
		close(l->s.log);
}

static void add(struct line *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void add(struct line *l, const char *fmt, ...)
{
	va_list ap;
	int r;

	if (l->n >= WORDS - 1) {
		l->bad = true;
		return;
	}
	va_start(ap, fmt);
	r = vasprintf(&l->word[l->n], fmt, ap);
	va_end(ap);
	if (r < 0)
		l->bad = true;
	else
		l->word[++l->n] = NULL;
}

/* The number that fd, which is taken, has in the process. */
static int give(struct line *l, int fd)
{
	if (l->s.nfds >= PROC_FDS) {
		close(fd);
		l->bad = true;
		return -1;
	}
	l->s.fds[l->s.nfds] = fd;
	return 3 + (int)l->s.nfds++;
}

static int host_error(struct err *e, int r, const char *what)
{
	return err_set(e, ERR_HOST, r, "%s: %s", what, strerrordesc_np(-r));
}

/* ---- the common part ---- */

static const char *const programs[PARTS] = {"polyvisor", "polyvisor-offload", "polyvisor-offload"};

static uid_t part_uid(const struct instance *in, enum part p)
{
	return in->node->uids + 4 * in->slot + p;
}

static int open_log(struct instance *in, enum part p)
{
	char name[16];
	int fd;

	snprintf(name, sizeof(name), "%s.log", part_name(p));
	fd = openat(in->dir, name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	dprintf(fd, "polycloud: %s of instance %s (%s), request %s\n", part_name(p),
		spec_text(in, "name"), in->id, spec_text(in, "request_id"));
	return fd;
}

/* What they write is appended, so that they go on at the new end. */
void logs_bound(struct instance *in)
{
	struct stat st;
	char name[16];

	for (enum part p = 0; p < PARTS; p++) {
		snprintf(name, sizeof(name), "%s.log", part_name(p));
		if (fstatat(in->dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_size <= LOG_MAX)
			continue;
		cleanup_fd int fd = openat(in->dir, name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
		if (fd < 0 || ftruncate(fd, 0) < 0)
			log_line(in->node->log, LOG_WARN, in->id, "%s cannot be cut", name);
	}
}

static int spawn(struct instance *in, enum part p, struct line *l, struct err *e)
{
	struct node *n = in->node;
	char program[512], mark[200];
	uint64_t start;
	pid_t pid;
	int r, pidfd;
	char name[16];

	if (l->bad)
		return err_set(e, ERR_HOST, -E2BIG, "too many disks");
	snprintf(program, sizeof(program), "%s/%s", n->bin, programs[p]);
	snprintf(mark, sizeof(mark), PROC_MARK "%s:%s:%s", n->mark, in->id, part_name(p));
	l->s.program = program;
	l->s.argv = l->word;
	l->s.mark = mark;
	l->s.cwd = p == PART_VMM ? in->run : in->dir;
	l->s.files = 4096;
	l->s.own_uid = n->own_uid;
	l->s.uid = part_uid(in, p);
	l->s.extra = p == PART_VMM ? n->kvm_gid : (gid_t)-1;
	l->s.log = open_log(in, p);
	if (l->s.log < 0)
		return host_error(e, l->s.log, "its log");
	l->s.cgroup = cgroup_make(&n->cgroups, in->id,
		(uint64_t)spec_int(in, "memory_mib", 0) << 20, (unsigned)spec_int(in, "cpus", 1));
	if (l->s.cgroup < -1)
		return host_error(e, l->s.cgroup + 1, "its control group");
	r = proc_spawn(&l->s, &pid);
	if (l->s.cgroup >= 0)
		close(l->s.cgroup);
	if (r < 0)
		return err_set(
			e, ERR_HOST, r, "%s cannot be started: %s", program, strerrordesc_np(-r));
	r = proc_start_time(pid, &start);
	pidfd = r < 0 ? r : proc_open(pid, start);
	if (pidfd < 0) /* it has ended already; as its parent we may still wait for it */
		pidfd = (int)syscall(SYS_pidfd_open, pid, 0), start = 0;
	if (pidfd < 0)
		return host_error(e, -errno, "pidfd_open");
	snprintf(name, sizeof(name), "%s.pid", part_name(p));
	proc_write_pid(in->dir, name, pid, start);
	return part_watch(in, p, pid, start, pidfd, true);
}

/* argv[0] says whose it is. */
static void add_name(struct instance *in, struct line *l, enum part p)
{
	add(l, "%s/node/instances/%s/%s", in->node->data, in->id, programs[p]);
}

/* A socket that the VMM may connect to, and nobody else. */
static int vmm_socket(struct instance *in, const char *name)
{
	int fd = file_listen(in->run, name);

	if (fd >= 0 && in->node->own_uid &&
		fchownat(in->run, name, part_uid(in, PART_VMM), (gid_t)-1, AT_SYMLINK_NOFOLLOW) <
			0) {
		close(fd);
		return -errno;
	}
	return fd;
}

/* ---- disks: root, volumes, seed ---- */

static bool has_seed(const struct instance *in)
{
	return faccessat(in->dir, "seed.img", F_OK, 0) == 0;
}

static bool has_root(const struct instance *in)
{
	return json_is_object(json_object_get(in->spec, "root"));
}

unsigned disk_count(const struct instance *in)
{
	return has_root(in) + (unsigned)json_array_size(json_object_get(in->spec, "volumes")) +
	       has_seed(in);
}

static int add_disk(struct instance *in, struct line *l, unsigned i, int image, const char *serial,
	bool readonly, struct err *e)
{
	char name[16];
	int socket;

	if (image < 0)
		return image;
	image = give(l, image);
	snprintf(name, sizeof(name), "disk%u", i);
	socket = vmm_socket(in, name);
	if (socket < 0)
		return host_error(e, socket, "a disk's socket");
	add(l, "--device");
	add(l, "virtio-blk,fd=%d,id=disk%u,serial=%.20s%s", image, i, serial,
		readonly ? ",readonly=on" : "");
	add(l, "--socket");
	add(l, "fd=%d", give(l, socket));
	return 0;
}

static int open_own(struct instance *in, const char *name, int how, struct err *e)
{
	int fd = openat(in->dir, name, how | O_CLOEXEC | O_NOFOLLOW);

	return fd < 0 ? host_error(e, -errno, name) : fd;
}

static int add_disks(struct instance *in, struct line *l, struct err *e)
{
	const json_t *v, *volumes = json_object_get(in->spec, "volumes");
	unsigned at = 0;
	int r = 0;
	size_t i;

	if (has_root(in))
		r = add_disk(in, l, at++, open_own(in, "root.raw", O_RDWR, e), "root", false, e);
	json_array_foreach (volumes, i, v) {
		if (r == 0)
			r = add_disk(in, l, at++, volume_open(in, v, e),
				json_string_value(json_object_get(v, "id")),
				json_is_true(json_object_get(v, "readonly")), e);
	}
	if (r == 0 && has_seed(in))
		r = add_disk(in, l, at++, open_own(in, "seed.img", O_RDONLY, e), "seed", true, e);
	return r;
}

static int begin_offload(struct instance *in, struct line *l, enum part p, struct err *e)
{
	char name[24];
	int api;

	snprintf(name, sizeof(name), "%s.api", part_name(p));
	api = file_listen(in->dir, name);
	if (api < 0)
		return host_error(e, api, "an offload process's socket");
	add_name(in, l, p);
	add(l, "--api-socket");
	add(l, "fd=%d", give(l, api));
	add(l, "-v");
	return 0;
}

/* ---- network ---- */

static int add_net(struct instance *in, struct line *l, struct err *e)
{
	const json_t *net = json_object_get(in->spec, "net");
	char words[4096], why[200] = "";
	int socket = vmm_socket(in, "net");

	if (socket < 0)
		return host_error(e, socket, "the network's socket");
	ports_words(in, words, sizeof(words), why, sizeof(why));
	if (why[0])
		log_line(in->node->log, LOG_WARN, in->id, "%s", why);
	add(l, "--device");
	add(l, "virtio-net,backend=passt,id=net0,mac=%s,forward=\"%s\"",
		json_string_value(json_object_get(net, "mac")), words);
	add(l, "--socket");
	add(l, "fd=%d", give(l, socket));
	return 0;
}

/* ---- the VMM ---- */

static int blob(struct instance *in, const char *key, struct err *e)
{
	int fd = blob_open(in->node->blobs, spec_text(in, key));

	return fd < 0 ? err_set(e, ERR_NOT_FOUND, fd, "%s %s is not on this host", key,
				spec_text(in, key))
		      : fd;
}

static int add_kernel(struct instance *in, struct line *l, struct err *e)
{
	int fd = blob(in, "kernel", e);

	if (fd < 0)
		return fd;
	add(l, "--kernel");
	add(l, "fd=%d", give(l, fd));
	if (*spec_text(in, "initramfs")) {
		fd = blob(in, "initramfs", e);
		if (fd < 0)
			return fd;
		add(l, "--initramfs");
		add(l, "fd=%d", give(l, fd));
	}
	if (*spec_text(in, "cmdline")) {
		add(l, "--cmdline");
		add(l, "%s", spec_text(in, "cmdline"));
	}
	return 0;
}

static int add_vmm(struct instance *in, struct line *l, struct err *e)
{
	const char *mac =
		json_string_value(json_object_get(json_object_get(in->spec, "net"), "mac"));
	int r, events, api;

	add_name(in, l, PART_VMM);
	r = add_kernel(in, l, e);
	if (r < 0)
		return r;
	add(l, "--cpus");
	add(l, "boot=%d", (int)spec_int(in, "cpus", 1));
	add(l, "--memory");
	add(l, "size=%lldM", (long long)spec_int(in, "memory_mib", 128));
	for (unsigned i = 0; i < disk_count(in); i++) {
		add(l, "--disk");
		add(l, "vhost_user=on,vhost_socket=disk%u,id=disk%u", i, i);
	}
	if (part_needed(in, PART_NET)) {
		add(l, "--net");
		add(l, "vhost_user=on,vhost_socket=net,id=net0,mac=%s", mac);
	}
	events = openat(in->dir, "events",
		O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	api = events < 0 ? -1 : file_listen(in->dir, "api");
	if (events >= 0)
		events = give(l, events);
	if (api < 0)
		return host_error(e, events < 0 ? -errno : api, "the VMM's sockets");
	add(l, "--serial");
	add(l, "socket=vm/console");
	add(l, "--api-socket");
	add(l, "fd=%d", give(l, api));
	add(l, "--event-monitor");
	add(l, "fd=%d", events);
	add(l, "--crash-report");
	add(l, "vm/crash.json");
	add(l, "-v");
	return 0;
}

int launch_part(struct instance *in, enum part p, struct err *e)
{
	struct line l = {.s.log = -1};
	int r = p == PART_VMM ? 0 : begin_offload(in, &l, p, e);

	if (r == 0)
		r = p == PART_VMM     ? add_vmm(in, &l, e)
		    : p == PART_DISKS ? add_disks(in, &l, e)
				      : add_net(in, &l, e);
	if (r == 0)
		r = spawn(in, p, &l, e);
	line_free(&l);
	return r;
}

/* What a start takes for granted, of an earlier run. */
static void clear_run(struct instance *in)
{
	file_remove(in->run, "vm/console");
	file_remove(in->run, "vm/crash.json");
	for (enum part p = 0; p < PARTS; p++) {
		in->proc[p].restarts = in->proc[p].falls = 0;
		in->proc[p].lost_ns = in->proc[p].stalled_ns = in->proc[p].retry_ns = 0;
	}
	in->booted = in->paused = in->panicked = in->quit_seen = in->button = false;
	in->net_stale = false;
	in->boot_ms = 0;
	in->exit = -1;
	in->reboots = (unsigned)spec_int(in, "reboots", 0);
}

int launch_all(struct instance *in, struct err *e)
{
	int r = 0;

	clear_run(in);
	in->launch_ns = ev_now_ns();
	in->run_known = true;
	snprintf(in->boot_id, sizeof(in->boot_id), "%s", in->node->boot_id);
	instance_save(in);
	for (enum part p = PART_DISKS; p < PARTS && r == 0; p++)
		if (part_needed(in, p))
			r = launch_part(in, p, e);
	if (r == 0)
		r = launch_part(in, PART_VMM, e);
	if (r == 0)
		events_begin(in);
	return r;
}
