/* SPDX-License-Identifier: Apache-2.0 */
/* A blob is there whole and true, or not at all, whatever happens to who sends it; a root disk is
 * the same bytes, and no more of them on the disk. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "cloud/base/packed.h"
#include "cloud/node/blob.h"
#include "cloud/node/test_rig.h"
#include "vmm/base/num.h"

#define SIZE (5u << 20)

struct blob {
	uint8_t *packed, *plain;
	uint64_t n;
	char digest[DIGEST_LEN], path[96];
};

struct node {
	struct blobs *blobs;
	int changes;
};

/* Noise at both ends of a hole. */
static struct blob blob_make(uint32_t seed)
{
	struct blob b = {.plain = calloc(1, SIZE)};
	struct pack *k;
	int fd = memfd_create("packed", MFD_CLOEXEC);

	for (uint32_t i = 0; i < SIZE; i++) {
		if (i == 1u << 20)
			i = SIZE - 5000;
		b.plain[i] = (seed = seed * 1664525u + 1013904223u) >> 24;
	}
	cr_assert_eq(pack_new(fd, SIZE, &k), 0);
	cr_assert_eq(pack_put(k, 0, b.plain, SIZE), 0);
	cr_assert_eq(pack_end(k, b.digest, &b.n), 0);
	pack_free(k);
	b.packed = malloc(b.n);
	cr_assert_eq(pread(fd, b.packed, b.n, 0), (ssize_t)b.n);
	close(fd);
	snprintf(b.path, sizeof(b.path), "/v1/blobs/%s", b.digest);
	return b;
}

static void blob_fini(struct blob *b)
{
	free(b->packed);
	free(b->plain);
}

static void on_request(struct rig *g, struct link_req *r)
{
	struct node *n = g->arg;
	const char *digest = strrchr(r->path, '/') + 1;

	if (strcmp(r->method, "PUT") == 0)
		blob_put(n->blobs, r, digest);
	else
		blob_delete(n->blobs, r, digest);
}

static void on_change(void *arg)
{
	((struct node *)arg)->changes++;
}

static void start(struct rig *g, struct node *n)
{
	*n = (struct node){0};
	rig_start(g, on_request, n);
	cr_assert_eq(blobs_new(g->loop, NULL, g->dir, "blobs", &n->blobs), 0);
	blobs_watch(n->blobs, on_change, n);
}

static void stop(struct rig *g, struct node *n)
{
	rig_unlink(g);
	blobs_free(n->blobs);
	rig_stop(g);
}

/* Files in the folder, half ones too. */
static unsigned files(struct rig *g)
{
	char command[128], out[32] = "";
	FILE *f;

	snprintf(command, sizeof(command), "ls %s/blobs | wc -l", g->folder);
	f = popen(command, "r");
	cr_assert(fgets(out, sizeof(out), f) != NULL);
	pclose(f);
	return atoi(out);
}

static void put(struct rig *g, const struct blob *b)
{
	static struct got t;

	rig_open(g, &t, "PUT", b->path);
	cr_assert(rig_send(&t, b->packed, b->n));
	link_stream_end(t.s);
	cr_assert(rig_closed(&t));
	cr_assert_eq(t.status, 200);
	cr_assert_str_eq(t.bytes, "{\"ok\":true}\n");
}

static void expect_bytes(int fd, const uint8_t *want)
{
	uint8_t *have = malloc(SIZE);

	cr_assert_eq(pread(fd, have, SIZE, 0), (ssize_t)SIZE);
	cr_expect_eq(memcmp(have, want, SIZE), 0);
	free(have);
}

Test(blob, comes_whole_and_can_be_read)
{
	struct rig g;
	struct node n;
	struct blob b = blob_make(1);
	static struct got t;
	struct stat st;
	char path[200], want[200];
	json_t *list;
	int fd;

	start(&g, &n);
	cr_expect_eq(blob_open(n.blobs, b.digest), -ENOENT);
	put(&g, &b);
	cr_expect_eq(n.changes, 1);
	fd = blob_open(n.blobs, b.digest);
	cr_assert(fd >= 0);
	expect_bytes(fd, b.plain);
	cr_assert_eq(fstat(fd, &st), 0);
	cr_expect_eq(st.st_mode & 0777, 0444);
	cr_expect_eq(st.st_size, SIZE);
	close(fd);
	list = blobs_list(n.blobs);
	cr_expect_eq(json_array_size(list), 1);
	cr_expect_str_eq(json_string_value(json_array_get(list, 0)), b.digest);
	json_decref(list);
	cr_expect_eq(blob_path(n.blobs, b.digest, path, sizeof(path)), 0);
	snprintf(want, sizeof(want), "%s/blobs/%s", g.folder, b.digest);
	cr_expect_str_eq(path, want);

	rig_open(&g, &t, "PUT", b.path);
	cr_expect_eq(rig_status(&t), 204, "it is here already");
	stop(&g, &n);
	blob_fini(&b);
}

Test(blob, is_deleted)
{
	struct rig g;
	struct node n;
	struct blob b = blob_make(2);
	static struct got t;

	start(&g, &n);
	put(&g, &b);
	rig_open(&g, &t, "DELETE", b.path);
	cr_expect_eq(rig_status(&t), 204);
	cr_expect_eq(files(&g), 0);
	cr_expect_eq(n.changes, 2);
	rig_open(&g, &t, "DELETE", b.path);
	cr_expect_eq(rig_status(&t), 404);
	rig_open(&g, &t, "DELETE", "/v1/blobs/..");
	cr_expect_eq(rig_status(&t), 404);
	stop(&g, &n);
	blob_fini(&b);
}

/* Sends n bytes of it, ends, and gives back what was answered. */
static const char *refused(struct rig *g, const char *path, const uint8_t *p, uint64_t n)
{
	static struct got t;

	rig_open(g, &t, "PUT", path);
	rig_send(&t, p, n);
	if (t.s)
		link_stream_end(t.s);
	cr_assert(rig_closed(&t));
	cr_expect_eq(t.status, 200);
	return t.bytes;
}

Test(blob, that_is_not_what_it_says_leaves_nothing)
{
	struct rig g;
	struct node n;
	struct blob b = blob_make(3), other = blob_make(4);

	start(&g, &n);
	cr_expect(strstr(refused(&g, other.path, b.packed, b.n), "\"status\":422") != NULL);
	cr_expect(strstr(refused(&g, b.path, b.packed, b.n - 1), "\"status\":422") != NULL);
	cr_expect(strstr(refused(&g, b.path, b.packed, 0), "\"status\":422") != NULL);
	b.packed[20] ^= 0xff; /* the first piece's place */
	cr_expect(strstr(refused(&g, b.path, b.packed, b.n), "\"status\":422") != NULL);
	cr_expect_eq(files(&g), 0);
	cr_expect_eq(n.changes, 0);
	b.packed[20] ^= 0xff;
	put(&g, &b); /* and then it comes after all */
	stop(&g, &n);
	blob_fini(&b);
	blob_fini(&other);
}

Test(blob, no_digest_is_no_name)
{
	struct rig g;
	struct node n;
	static struct got t;

	start(&g, &n);
	rig_open(&g, &t, "PUT", "/v1/blobs/sha256:short");
	cr_expect_eq(rig_status(&t), 400);
	cr_expect_eq(files(&g), 0);
	stop(&g, &n);
}

static bool no_files(void *arg)
{
	return files(arg) == 0;
}

Test(blob, of_a_sender_that_goes_away_leaves_nothing)
{
	struct rig g;
	struct node n;
	struct blob b = blob_make(5);
	static struct got t, second;

	start(&g, &n);
	rig_open(&g, &t, "PUT", b.path);
	cr_assert(rig_send(&t, b.packed, b.n / 2));
	cr_expect_eq(rig_status(&t), 200);
	rig_open(&g, &second, "PUT", b.path);
	cr_expect_eq(rig_status(&second), 409, "one at a time");
	link_stream_reset(t.s);
	cr_assert(rig_until(&g, no_files, &g));
	put(&g, &b);

	rig_open(&g, &t, "PUT", b.path);
	cr_expect_eq(rig_status(&t), 204);
	stop(&g, &n);
	blob_fini(&b);
}

Test(blob, that_comes_while_the_node_stops_leaves_nothing)
{
	struct rig g;
	struct node n;
	struct blob b = blob_make(6);
	static struct got t;

	start(&g, &n);
	rig_open(&g, &t, "PUT", b.path);
	cr_assert(rig_send(&t, b.packed, b.n / 2));
	cr_expect_eq(rig_status(&t), 200);
	rig_unlink(&g);
	blobs_free(n.blobs);
	cr_expect_eq(files(&g), 0);
	rig_stop(&g);
	blob_fini(&b);
}

Test(blob, half_ones_of_an_earlier_life_are_removed)
{
	struct rig g;
	struct node n;
	struct blob b = blob_make(7);
	char path[300];

	start(&g, &n);
	put(&g, &b);
	blobs_free(n.blobs);
	snprintf(path, sizeof(path), "%s/blobs/%s.new", g.folder, b.digest);
	close(open(path, O_CREAT | O_WRONLY, 0600));
	cr_assert_eq(blobs_new(g.loop, NULL, g.dir, "blobs", &n.blobs), 0);
	cr_expect_eq(files(&g), 1);
	cr_expect(blob_here(n.blobs, b.digest));
	stop(&g, &n);
	blob_fini(&b);
}

/* ---- root disks ---- */

struct cloned {
	bool over;
	int error;
};

static void on_clone(void *arg, int error)
{
	struct cloned *c = arg;

	cr_expect(!c->over, "told once");
	*c = (struct cloned){true, error};
}

Test(blob, becomes_a_root_disk)
{
	struct rig g;
	struct node n;
	struct blob b = blob_make(8);
	struct cloned c = {0};
	struct stat st;
	int fd;

	start(&g, &n);
	put(&g, &b);
	cr_assert(blob_clone(n.blobs, b.digest, g.dir, "root.raw", 64 << 20, getuid(), getgid(),
			  on_clone, &c) != NULL);
	cr_expect(!c.over);
	cr_assert(rig_wait(&g, &c.over));
	cr_expect_eq(c.error, 0);
	fd = openat(g.dir, "root.raw", O_RDWR);
	cr_assert(fd >= 0);
	expect_bytes(fd, b.plain);
	cr_assert_eq(fstat(fd, &st), 0);
	cr_expect_eq(st.st_size, 64 << 20);
	cr_expect_eq(st.st_mode & 0777, 0600);
	cr_expect_lt(st.st_blocks * 512, 3 << 20, "the hole stayed one");
	/* It is the instance's own. */
	cr_assert_eq(pwrite(fd, "x", 1, 0), 1);
	close(fd);
	fd = blob_open(n.blobs, b.digest);
	expect_bytes(fd, b.plain);
	close(fd);
	stop(&g, &n);
	blob_fini(&b);
}

Test(blob, a_root_disk_is_never_smaller_than_its_image)
{
	struct rig g;
	struct node n;
	struct blob b = blob_make(9);
	struct cloned c = {0};
	struct stat st;

	start(&g, &n);
	put(&g, &b);
	blob_clone(n.blobs, b.digest, g.dir, "root.raw", 0, (uid_t)-1, 0, on_clone, &c);
	cr_assert(rig_wait(&g, &c.over));
	cr_assert_eq(fstatat(g.dir, "root.raw", &st, 0), 0);
	cr_expect_eq(st.st_size, SIZE);
	stop(&g, &n);
	blob_fini(&b);
}

Test(blob, a_root_disk_of_nothing_is_none)
{
	struct rig g;
	struct node n;
	struct blob b = blob_make(10);
	struct cloned c = {0};

	start(&g, &n);
	blob_clone(n.blobs, b.digest, g.dir, "root.raw", 0, (uid_t)-1, 0, on_clone, &c);
	cr_assert(rig_wait(&g, &c.over));
	cr_expect_eq(c.error, -ENOENT);
	cr_expect_eq(faccessat(g.dir, "root.raw", F_OK, 0), -1);
	stop(&g, &n);
	blob_fini(&b);
}

Test(blob, a_cancelled_root_disk_does_not_appear)
{
	struct rig g;
	struct node n;
	struct blob b = blob_make(11);
	struct cloned c = {0}, again = {0};
	struct stat st;

	start(&g, &n);
	put(&g, &b);
	blob_clone_cancel(blob_clone(
		n.blobs, b.digest, g.dir, "root.raw", 64 << 20, (uid_t)-1, 0, on_clone, &c));
	blob_clone(n.blobs, b.digest, g.dir, "root.raw", 0, (uid_t)-1, 0, on_clone, &again);
	cr_assert(rig_wait(&g, &again.over));
	cr_expect(!c.over);
	cr_assert_eq(fstatat(g.dir, "root.raw", &st, 0), 0);
	cr_expect_eq(st.st_size, SIZE, "the second one's");
	/* One that is under way when the node stops. */
	blob_clone(n.blobs, b.digest, g.dir, "other.raw", 0, (uid_t)-1, 0, on_clone, &c);
	stop(&g, &n);
	cr_expect(!c.over);
	blob_fini(&b);
}
