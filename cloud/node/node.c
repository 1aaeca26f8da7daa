/* SPDX-License-Identifier: Apache-2.0 */
#include "cloud/node/node.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include "cloud/node/file.h"
#include "cloud/node/node_priv.h"
#include "vmm/base/cleanup.h"

#define UIDS 1900000

/* ---- the link ---- */

static void handle_drop(struct ev_msg *m)
{
	struct node *n = container_of(m, struct node, drop);
	void (*gone)(const char *why, void *arg) = n->gone;

	link_free(n->dropped);
	n->dropped = NULL;
	if (!n->link && gone)
		gone(n->dropped_why, n->gone_arg);
}

/* Freed in its own turn: the link is still at work with it. */
static void on_gone(struct link *l, const char *why, void *arg)
{
	struct node *n = arg;

	if (l != n->link)
		return;
	n->link = NULL;
	n->dropped = l;
	snprintf(n->dropped_why, sizeof(n->dropped_why), "%s", why);
	n->drop.handle = handle_drop;
	ev_post(n->loop, &n->drop);
}

int node_attach(
	struct node *n, struct link_wire *w, void (*gone)(const char *why, void *arg), void *arg)
{
	struct link_handler h = request_handler;
	struct link *old = n->link, *l;
	int r;

	n->link = NULL; /* its end is nobody's news */
	link_free(old);
	h.gone = on_gone;
	h.arg = n;
	r = link_server_new(n->loop, w, &h, &l);
	if (r < 0)
		return r;
	n->link = l;
	n->gone = gone;
	n->gone_arg = arg;
	return 0;
}

const json_t *node_facts(struct node *n)
{
	return n->facts;
}

/* ---- making ---- */

/* Beside this program, else in $PATH. */
static char *find_bin(void)
{
	char path[PATH_MAX], *dir, *save = NULL;
	cleanup_free char *list = strdup(getenv("PATH") ? getenv("PATH") : "/usr/bin:/bin");
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 32);

	if (n > 0) {
		path[n] = '\0';
		dir = strrchr(path, '/');
		strcpy(dir, "/polyvisor");
		if (access(path, X_OK) == 0) {
			*dir = '\0';
			return strdup(path);
		}
	}
	for (dir = list ? strtok_r(list, ":", &save) : NULL; dir;
		dir = strtok_r(NULL, ":", &save)) {
		snprintf(path, sizeof(path), "%s/polyvisor", dir);
		if (access(path, X_OK) == 0)
			return strdup(dir);
	}
	return strdup("/usr/bin");
}

static int copy_opts(struct node *n, const struct node_opts *o)
{
	char host[65] = "host";

	if (!o->name)
		gethostname(host, sizeof(host) - 1);
	n->name = strdup(o->name ? o->name : host);
	n->data = strdup(o->data);
	n->bin = o->bin ? realpath(o->bin, NULL) : find_bin();
	if (o->bin && !n->bin)
		n->bin = strdup(o->bin);
	n->control_url = o->control_url ? strdup(o->control_url) : NULL;
	n->uids = o->uids ? o->uids : UIDS;
	return n->name && n->data && n->bin ? 0 : -ENOMEM;
}

static int make_folder(const char *path)
{
	int fd;

	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return -errno;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int open_folders(struct node *n, struct err *e)
{
	cleanup_fd int data = make_folder(n->data);
	struct stat st;

	n->dir = data < 0 ? data : file_open_folder(data, "node", 0700);
	if (n->dir < 0)
		return err_set(e, ERR_HOST, n->dir, "%s/node: %s; allowed: a folder we may write",
			n->data, strerrordesc_np(-n->dir));
	n->lock = openat(n->dir, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (n->lock < 0 || flock(n->lock, LOCK_EX | LOCK_NB) < 0)
		return err_set(e, ERR_CONFLICT, errno == EWOULDBLOCK ? -EBUSY : -errno,
			"%s/node: %s", n->data,
			errno == EWOULDBLOCK ? "another node runs there" : strerrordesc_np(errno));
	n->instances_dir = file_open_folder(n->dir, "instances", 0700);
	n->volumes_dir = file_open_folder(n->dir, "volumes", 0700);
	if (n->instances_dir < 0 || n->volumes_dir < 0 || fstat(n->dir, &st) < 0)
		return err_set(e, ERR_HOST, -EIO, "%s/node: cannot make its folders", n->data);
	/* Marks our processes: the folder itself, whatever path leads to it. */
	snprintf(n->mark, sizeof(n->mark), "%llx-%llx", (unsigned long long)st.st_dev,
		(unsigned long long)st.st_ino);
	return 0;
}

/* VMMs may use /dev/kvm by its group; where it has none that may (no udev made one), it gets one.
 */
static void open_kvm(struct node *n)
{
	struct stat st;

	n->kvm_gid = (gid_t)-1;
	if (!n->own_uid || stat("/dev/kvm", &st) < 0)
		return;
	n->kvm_gid = st.st_gid;
	if ((st.st_mode & 0060) == 0060 && st.st_gid != 0)
		return;
	if ((st.st_mode & 0006) == 0006)
		return;
	n->kvm_gid = n->uids;
	if (chown("/dev/kvm", st.st_uid, n->kvm_gid) < 0 || chmod("/dev/kvm", 0660) < 0) {
		n->own_uid = false;
		snprintf(n->uids_why, sizeof(n->uids_why),
			"shared: /dev/kvm cannot be given to a group");
	}
}

static void choose_uids(struct node *n, const struct node_opts *o)
{
	n->own_uid = geteuid() == 0 && !o->shared_uid;
	if (!n->own_uid)
		snprintf(n->uids_why, sizeof(n->uids_why), "shared: %s",
			o->shared_uid ? "as asked" : "the node is not root");
	open_kvm(n);
}

static int start(struct node *n, const struct node_opts *o, struct err *e)
{
	int r = copy_opts(n, o);

	if (r == 0)
		r = open_folders(n, e);
	if (r < 0)
		return r;
	file_read_text(AT_FDCWD, "/proc/sys/kernel/random/boot_id", n->boot_id, sizeof(n->boot_id));
	choose_uids(n, o);
	cgroups_open(&n->cgroups);
	n->facts = facts_make(n);
	r = n->facts ? volumes_load(n) : -ENOMEM;
	if (r == 0)
		r = blobs_new(n->loop, n->log, n->dir, "blobs", &n->blobs);
	if (r == 0)
		r = events_open(n);
	if (r == 0)
		r = instances_load(n, e);
	if (r == 0) {
		orphans_end(n);
		watch_begin(n);
	}
	return r;
}

int node_new(struct ev_loop *loop, const struct node_opts *o, struct node **ret_node, struct err *e)
{
	struct node *n = calloc(1, sizeof(*n));
	int r;

	if (!n)
		return -ENOMEM;
	n->loop = loop;
	n->log = o->log;
	n->dir = n->lock = n->instances_dir = n->volumes_dir = -1;
	n->inotify.fd = n->cgroups.dir = -1;
	list_init(&n->instances);
	list_init(&n->watchers);
	r = start(n, o, e);
	if (r < 0) {
		err_set(e, ERR_HOST, r, "the node: %s", strerrordesc_np(-r));
		node_free(n);
		return r;
	}
	*ret_node = n;
	return 0;
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

void node_free(struct node *n)
{
	struct link *l;

	if (!n)
		return;
	l = n->link;
	n->link = NULL;
	link_free(l);
	link_free(n->dropped);
	blobs_free(n->blobs);
	watch_free(n);
	list_for_each_safe (it, &n->instances) {
		instance_free(container_of(it, struct instance, link));
	}
	if (n->inotify.loop)
		ev_del(&n->inotify);
	close_fd(n->inotify.fd);
	cgroups_close(&n->cgroups);
	close_fd(n->instances_dir);
	close_fd(n->volumes_dir);
	close_fd(n->dir);
	close_fd(n->lock);
	json_decref(n->facts);
	json_decref(n->volumes);
	free(n->name);
	free(n->data);
	free(n->bin);
	free(n->control_url);
	free(n);
}
