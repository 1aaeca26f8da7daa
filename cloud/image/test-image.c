/* SPDX-License-Identifier: Apache-2.0 */
/* Images from a folder to a node: what goes in comes out of the packed files on the other side of a
 * link; names resolve; what nothing needs goes away; seeds are ISO 9660. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "cloud/image/internal.h"

struct world {
	char dir[64];
	struct ev_loop *loop;
	struct store *store;
	struct objects *objects;
	struct images *images;
};

static void world_up(struct world *w)
{
	struct err e = {0};
	char path[128];

	strcpy(w->dir, "/tmp/test-image-XXXXXX");
	cr_assert(mkdtemp(w->dir));
	snprintf(path, sizeof(path), "%s/db", w->dir);
	cr_assert_eq(ev_loop_new(&w->loop), 0);
	cr_assert_eq(store_open(path, &w->store, &e), 0, "%s", e.text);
	cr_assert_eq(objects_new(w->store, &w->objects, &e), 0, "%s", e.text);
	cr_assert_eq(
		images_new(w->loop, NULL, w->objects, w->dir, &w->images, &e), 0, "%s", e.text);
}

static void world_down(struct world *w)
{
	images_free(w->images);
	objects_free(w->objects);
	store_close(w->store);
	ev_loop_free(w->loop);
	remove_tree(w->dir);
}

static void put(const struct world *w, const char *name, const void *p, size_t n)
{
	char path[256], *slash = path;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", w->dir, name);
	while ((slash = strchr(slash + 1, '/'))) {
		*slash = 0;
		mkdir(path, 0755);
		*slash = '/';
	}
	f = fopen(path, "w");
	cr_assert(f);
	cr_assert_eq(fwrite(p, 1, n, f), n);
	fclose(f);
}

static void settle(struct world *w)
{
	for (unsigned i = 0; w->images->njobs && i < 2000; i++)
		ev_run_once(w->loop, 10);
	cr_assert_eq(w->images->njobs, 0);
}

/* Imports DIR/in under a name; returns the operation's error or NULL. */
static const char *import(struct world *w, const char *name)
{
	char path[128], op[32];
	struct job_spec s = {
		.kind = JOB_DIR, .project = "default", .name = name, .path = path, .actor = "test"};
	struct err e = {0};

	snprintf(path, sizeof(path), "%s/in", w->dir);
	cr_assert_eq(job_start(w->images, &s, op, &e), 0, "%s", e.text);
	settle(w);
	return json_string_value(
		json_object_get(obj_get(w->objects, KIND_OPERATION, op)->doc, "error"));
}

static unsigned count(const struct world *w, const char *folder)
{
	char command[256];
	unsigned n = 0;
	FILE *f;

	snprintf(command, sizeof(command), "ls %s/%s | wc -l", w->dir, folder);
	f = popen(command, "r");
	cr_assert_eq(fscanf(f, "%u", &n), 1);
	pclose(f);
	return n;
}

/* A disk with a hole, and bytes that differ. */
#define DISK (3 * MIB + 4096)
static void put_disk(struct world *w, const char *chip)
{
	char name[64], *p = calloc(1, DISK);

	for (unsigned i = 0; i < 100000; i++)
		p[i] = p[2 * MIB + i] = i * 7 >> 3;
	snprintf(name, sizeof(name), "in/%s/root", chip);
	put(w, name, p, DISK);
	snprintf(name, sizeof(name), "in/%s/kernel", chip);
	put(w, name, chip, strlen(chip));
	free(p);
}

Test(image, from_a_folder_to_names)
{
	struct world w;
	struct image_platform p, again;
	struct err e = {0};
	unsigned chips = 0, blobs;
	const char *why;

	world_up(&w);
	put_disk(&w, "x86_64");
	put_disk(&w, "riscv64");
	why = import(&w, "small");
	cr_assert(!why, "%s", why);
	cr_assert_eq(image_chips(w.images, "default", "small:latest", &chips, &e), 0, "%s", e.text);
	cr_assert_eq(chips, 5);
	cr_assert_eq(
		image_resolve(w.images, "default", "small", "riscv64", &p, &e), 0, "%s", e.text);
	cr_assert_eq(p.part[IMAGE_ROOT].size, DISK);
	cr_assert_eq(p.part[IMAGE_KERNEL].size, 7);
	cr_assert_str_eq(p.part[IMAGE_INITRAMFS].digest, "");
	cr_assert(digest_ok(p.index) && digest_ok(p.platform) && !p.bare_metal);
	cr_assert_eq(image_pinned(w.images, p.platform, &again, &e), 0);
	cr_assert_str_eq(again.part[IMAGE_ROOT].digest, p.part[IMAGE_ROOT].digest);
	cr_assert_eq(image_resolve(w.images, "default", "small", "arm64", &p, &e), -ENOENT);
	cr_assert_str_eq(e.text, "image 'small' is not made for arm64; it has: x86_64, riscv64");
	cr_assert_eq(image_resolve(w.images, "other", "small", "x86_64", &p, NULL), -ENOENT);
	/* The same once more is the same: not a blob is added. */
	blobs = count(&w, "images/blobs/sha256");
	cr_assert(!import(&w, "small"));
	cr_assert_eq(count(&w, "images/blobs/sha256"), blobs);
	world_down(&w);
}

Test(image, what_is_wrong_leaves_nothing)
{
	/* version 3, a backing file's name of 8 bytes at 104 */
	static const char qcow2[200] = "QFI\xfb\0\0\0\3\0\0\0\0\0\0\0\x68\0\0\0\x8";
	char vax[96];
	struct world w;
	const char *why;

	world_up(&w);
	snprintf(vax, sizeof(vax), "%s/in/vax", w.dir);
	put(&w, "in/vax/kernel", "x", 1);
	why = import(&w, "bad");
	cr_assert_str_eq(why, "unknown chip 'vax'; allowed: x86_64, arm64, riscv64");
	remove_tree(vax);
	put(&w, "in/arm64/root", "disk", 4);
	why = import(&w, "bad");
	cr_assert_str_eq(why, "arm64: an image needs a kernel");
	put(&w, "in/arm64/kernel", "k", 1);
	put(&w, "in/arm64/root", qcow2, sizeof(qcow2));
	why = import(&w, "bad");
	cr_assert_str_eq(why, "qcow2: a backing file is not allowed");
	cr_assert(!obj_find(w.objects, KIND_IMAGE, "default", "bad"));
	cr_assert_eq(count(&w, "images/blobs/sha256"), 0);
	cr_assert_eq(count(&w, "unpacked"), 0);
	world_down(&w);
}

Test(image, deleted_when_nothing_needs_it)
{
	struct world w;
	struct job_spec s = {.kind = JOB_UNTAG, .project = "default", .name = "small"};
	struct image_platform p;
	json_t *doc;
	struct obj *o;

	world_up(&w);
	put_disk(&w, "x86_64");
	cr_assert(!import(&w, "small"));
	cr_assert_eq(image_resolve(w.images, "default", "small", "x86_64", &p, NULL), 0);
	doc = json_pack("{s:s, s:s, s:s, s:s}", "id", "i-1", "name", "a", "project", "default",
		"platform_digest", p.platform);
	cr_assert_eq(obj_put(w.objects, KIND_INSTANCE, doc, NULL, &o), 0);
	job_start(w.images, &s, NULL, NULL);
	settle(&w);
	cr_assert_eq(count(&w, "images/blobs/sha256"), 0);
	cr_assert_eq(
		image_pinned(w.images, p.platform, &p, NULL), 0, "an instance is pinned to it");
	cr_assert_eq(obj_delete(w.objects, o, NULL), 0);
	images_collect(w.images);
	settle(&w);
	cr_assert_eq(count(&w, "unpacked"), 0);
	world_down(&w);
}

/* ---- a node that takes blobs ---- */

struct node {
	struct link *link;
	unsigned puts;
	bool refuse, has;
	int fd;
	struct unpack *unpack;
	char digest[DIGEST_LEN];
	uint64_t size; /* of the last */
	struct digest *all;
	uint64_t roots;
};

static void node_data(struct link_stream *s, const void *p, size_t n, void *arg)
{
	struct node *d = arg;

	unpack_feed(d->unpack, p, n);
	link_stream_took(s, n);
}

static void node_eof(struct link_stream *s, void *arg)
{
	struct node *d = arg;
	int r = unpack_end(d->unpack, d->digest, &d->size);
	const char *text = r ? "{\"error\":\"wrong\"}\n" : "{\"ok\":true}\n";

	d->roots += d->size == DISK;
	link_stream_write(s, text, strlen(text));
	link_stream_end(s);
}

static void node_closed(struct link_stream *s, int error, void *arg)
{
	struct node *d = arg;

	(void)s;
	(void)error;
	unpack_free(d->unpack);
	close(d->fd);
}

static const struct link_stream_ops node_ops = {
	.data = node_data, .eof = node_eof, .closed = node_closed};

static bool node_stream_ok(const char *method, const char *path, void *arg)
{
	(void)arg;
	return !strcmp(method, "PUT") && !strncmp(path, "/v1/blobs/", 10);
}

static void node_request(struct link_req *r, void *arg)
{
	struct node *d = arg;

	d->puts++;
	if (d->has)
		link_reply(r, 204, NULL);
	else if (d->refuse)
		link_problem(r, 507, "the disk is full");
	else {
		snprintf(d->digest, sizeof(d->digest), "%s", r->path + 10);
		d->fd = memfd_create("blob", MFD_CLOEXEC);
		cr_assert_eq(unpack_new(d->fd, DISK, &d->unpack), 0);
		link_accept(r, &node_ops, d);
	}
}

static void node_gone(struct link *l, const char *why, void *arg)
{
	(void)l;
	(void)why;
	(void)arg;
}

struct pushed {
	unsigned done;
	int error;
	char why[320];
	uint64_t sent, of;
};

static void pushed_progress(void *arg, uint64_t sent, uint64_t of)
{
	struct pushed *p = arg;

	cr_assert(sent >= p->sent && sent <= of);
	p->sent = sent;
	p->of = of;
}

static void pushed_done(void *arg, int error, const char *why)
{
	struct pushed *p = arg;

	p->done++;
	p->error = error;
	snprintf(p->why, sizeof(p->why), "%s", why);
}

static const struct image_push_ops push_test_ops = {pushed_progress, pushed_done};

static struct link *connect_node(struct world *w, struct node *d)
{
	const struct link_handler h = {node_stream_ok, node_request, node_gone, d};
	const struct link_events ev = {node_gone, d};
	struct link *l;
	int fds[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
	cr_assert_eq(link_server_new(w->loop, link_wire_socket(fds[0]), &h, &d->link), 0);
	cr_assert_eq(link_client_new(w->loop, link_wire_socket(fds[1]), &ev, &l), 0);
	return l;
}

Test(image, pushed_to_a_node_once)
{
	struct world w;
	struct node d = {0};
	struct pushed a = {0}, b = {0};
	struct image_platform p;
	struct link *l;

	world_up(&w);
	put_disk(&w, "x86_64");
	cr_assert(!import(&w, "small"));
	cr_assert_eq(image_resolve(w.images, "default", "small", "x86_64", &p, NULL), 0);
	l = connect_node(&w, &d);
	image_push(w.images, l, &p, "r-1", &push_test_ops, &a);
	image_push(w.images, l, &p, "r-2", &push_test_ops, &b);
	cr_assert_eq(a.done + b.done, 0, "never from inside");
	for (unsigned i = 0; !(a.done && b.done) && i < 1000; i++)
		ev_run_once(w.loop, 10);
	cr_assert_eq(a.error, 0, "%s", a.why);
	cr_assert_eq(b.error, 0, "%s", b.why);
	cr_assert_eq(a.sent, a.of);
	cr_assert_eq(d.puts, 2, "a root and a kernel, not %u", d.puts);
	cr_assert_eq(d.roots, 1);
	d.has = true;
	a = (struct pushed){0};
	image_push(w.images, l, &p, NULL, &push_test_ops, &a);
	for (unsigned i = 0; !a.done && i < 1000; i++)
		ev_run_once(w.loop, 10);
	cr_assert_eq(a.error, 0, "%s", a.why);
	d.has = false;
	d.refuse = true;
	a = (struct pushed){0};
	image_push(w.images, l, &p, NULL, &push_test_ops, &a);
	for (unsigned i = 0; !a.done && i < 1000; i++)
		ev_run_once(w.loop, 10);
	cr_assert_eq(a.error, -EREMOTEIO);
	cr_assert(strstr(a.why, "the disk is full"), "%s", a.why);
	/* The link goes away in the middle. */
	d.refuse = false;
	a = (struct pushed){0};
	image_push(w.images, l, &p, NULL, &push_test_ops, &a);
	link_free(l);
	for (unsigned i = 0; !a.done && i < 1000; i++)
		ev_run_once(w.loop, 10);
	cr_assert(a.error < 0);
	link_free(d.link);
	cr_assert_eq(a.done, 1);
	world_down(&w);
}

Test(image, seed_is_a_disk)
{
	json_t *instance = json_pack(
		"{s:s, s:s, s:s}", "id", "i-1", "name", "web-1", "mac", "52:54:00:00:00:01");
	json_t *keys = json_pack("[s]", "ssh-ed25519 AAAA \"me\"");
	struct err e = {0};
	size_t n = 0;
	void *p = NULL;

	cr_assert_eq(seed_make(instance, keys, &p, &n, &e), 0, "%s", e.text);
	cr_assert_eq(n % 2048, 0);
	cr_assert(n > 32768 + 2048 && !memcmp((char *)p + 32769, "CD001", 5)); /* ECMA-119 §8.4 */
	cr_assert_eq(strncasecmp((char *)p + 32808, "cidata", 6), 0);
	cr_assert(memmem(p, n, "local-hostname: web-1\n", 22));
	cr_assert(memmem(p, n, "  - \"ssh-ed25519 AAAA \\\"me\\\"\"\n", 31));
	cr_assert(memmem(p, n, "#cloud-config\n", 14));
	free(p);
	json_decref(instance);
	json_decref(keys);
}

Test(image, names)
{
	static const char *const bad[] = {
		"", "A", "a/b", "..", "a:", ":a", "-a", "a-", "a:../x", "a:b:c"};
	char name[IMAGE_REF_MAX], ref[IMAGE_REF_MAX];

	cr_assert_eq(image_name("debian:latest", name, NULL), 0);
	cr_assert_str_eq(name, "debian");
	cr_assert_eq(image_name("debian:13.1", name, NULL), 0);
	cr_assert_str_eq(name, "debian:13.1");
	image_ref("acme", name, ref);
	cr_assert_str_eq(ref, "acme/debian:13.1");
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		cr_assert_eq(image_name(bad[i], name, NULL), -EINVAL, "%s", bad[i]);
}
