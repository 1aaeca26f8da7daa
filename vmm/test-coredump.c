/* SPDX-License-Identifier: Apache-2.0 */
/* The job that dumps a machine: where the core goes, how it ends, and that nothing stays behind.
 * The machine stands on a KVM that grants everything. */
#include "vmm/coredump.h"

#include <criterion/criterion.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include "vmm/base/num.h"
#include "vmm/kvm/kvm_fake.h"
#include "vmm/vm_internal.h"

#define VCPUS 3

static struct vm_config config;
static struct host_res res;
static struct ev_loop *loop;
static struct vm *vm;
static char dir[64], path[80];
static bool done;
static atomic_bool hold; /* the job, in its first ioctl */

int kvm_fake_on_ioctl(unsigned long req, void *arg)
{
	(void)req;
	(void)arg;
	while (atomic_load(&hold))
		usleep(1000);
	return 1;
}

static void on_request(struct ev_msg *m)
{
	(void)m;
}

static void setup(void)
{
	struct err e = {0};

	vm_config_init(&config);
	config.serial.mode = CHR_NULL;
	config.memory.size = 64 * MIB;
	config.cpus.boot = VCPUS;
	config.payload.kernel = strdup(getenv("POLYVISOR_TEST_KERNEL"));
	cr_assert_eq(vm_config_resolve(&config, &e), 0, "%s", e.text);
	cr_assert_eq(host_res_open(&res, &config, NULL, &e), 0, "%s", e.text);
	cr_assert_eq(ev_loop_new(&loop), 0);
	cr_assert_eq(vm_new(&config, &res, loop, on_request, NULL, &vm, &e), 0, "%s", e.text);
	strcpy(dir, "/tmp/test-coredump.XXXXXX");
	cr_assert(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/core", dir);
	done = false;
}

static void teardown(void)
{
	vm_free(vm);
	ev_loop_free(loop);
	host_res_close(&res);
	vm_config_fini(&config);
	unlink(path);
	cr_assert_eq(rmdir(dir), 0, "something was left in %s", dir);
}

TestSuite(coredump, .init = setup, .fini = teardown);

static void on_done(struct ev_msg *m)
{
	cr_assert_eq(coredump_arg(m), &done);
	done = true;
}

static int begin(const char *to, struct coredump **ret, struct err *e)
{
	*e = (struct err){0};
	return coredump_begin(vm, to, loop, on_done, &done, ret, e);
}

/* Runs the loop until the job has told its end. */
static int finish(struct coredump *d, struct err *e)
{
	while (!done)
		cr_assert_eq(ev_run_once(loop, -1), 0);
	done = false;
	return coredump_end(d, e);
}

static void expect_core(int fd)
{
	Elf64_Ehdr e;
	Elf64_Phdr p;
	uint8_t notes[16384];
	unsigned threads = 0;

	cr_assert_eq(pread(fd, &e, sizeof(e), 0), (ssize_t)sizeof(e));
	cr_assert_eq(e.e_machine, arch_core_machine());
	cr_assert_eq(e.e_phnum, 1 + vm->mem.n);
	cr_assert_eq(pread(fd, &p, sizeof(p), (off_t)e.e_phoff), (ssize_t)sizeof(p));
	cr_assert_leq(p.p_filesz, sizeof(notes));
	cr_assert_eq(pread(fd, notes, p.p_filesz, (off_t)p.p_offset), (ssize_t)p.p_filesz);
	for (size_t at = 0; at < p.p_filesz;) {
		Elf64_Nhdr h;
		memcpy(&h, notes + at, sizeof(h));
		at += sizeof(h) + align_up(h.n_namesz, 4) + align_up(h.n_descsz, 4);
		cr_assert_leq(at, p.p_filesz);
		threads += h.n_type == NT_PRSTATUS;
	}
	cr_assert_eq(threads, VCPUS);
}

Test(coredump, path)
{
	struct coredump *d;
	struct stat st;
	struct err e;
	int fd;

	cr_assert_eq(begin(path, &d, &e), 0, "%s", e.text);
	cr_assert_eq(finish(d, &e), 0, "%s", e.text);
	fd = open(path, O_RDONLY);
	cr_assert_eq(fstat(fd, &st), 0);
	cr_assert_eq(st.st_mode & 07777, 0600);
	expect_core(fd);
	close(fd);
}

Test(coredump, fd)
{
	struct coredump *d;
	struct err e;
	char to[24];
	int fd = open(path, O_RDWR | O_CREAT, 0600);

	cr_assert_eq(write(fd, "old", 3), 3);
	snprintf(to, sizeof(to), "fd=%d", fd);
	for (unsigned i = 0; i < 2; i++) {
		cr_assert_eq(begin(to, &d, &e), 0, "%s", e.text);
		cr_assert_eq(finish(d, &e), 0, "%s", e.text);
		expect_core(fd);
	}
	close(fd);
}

static void refused(const char *to, int code, enum err_kind kind, const char *text)
{
	struct coredump *d = NULL;
	struct err e;

	cr_assert_eq(begin(to, &d, &e), code, "%s", to);
	cr_assert_eq(e.kind, kind);
	cr_assert(strstr(e.text, text) && strstr(e.text, to), "%s", e.text);
	cr_assert_eq(d, NULL);
}

Test(coredump, bad_paths)
{
	char link[80], fd[24];
	int p[2], file;

	close(open(path, O_WRONLY | O_CREAT, 0600));
	refused(path, -EEXIST, ERR_CONFLICT, "exists already");
	snprintf(link, sizeof(link), "%s/link", dir);
	cr_assert_eq(symlink("/nowhere", link), 0);
	refused(link, -EEXIST, ERR_CONFLICT, "exists already");
	unlink(link);
	refused("/no/such/folder/core", -ENOENT, ERR_USAGE, "cannot be made");
	refused("fd=", -EBADF, ERR_USAGE, "not the number");
	refused("fd=1x", -EBADF, ERR_USAGE, "not the number");
	refused("fd=99999", -EBADF, ERR_USAGE, "not the number");
	refused("fd=18446744073709551615", -EBADF, ERR_USAGE, "not the number");
	cr_assert_eq(pipe(p), 0);
	snprintf(fd, sizeof(fd), "fd=%d", p[1]);
	refused(fd, -EINVAL, ERR_USAGE, "regular file");
	close(p[0]);
	close(p[1]);
	file = open(path, O_WRONLY | O_CLOEXEC); /* as a disk that is in use */
	cr_assert_eq(write(file, "disk", 4), 4);
	snprintf(fd, sizeof(fd), "fd=%d", file);
	refused(fd, -EBADF, ERR_USAGE, "started with");
	cr_assert_eq(lseek(file, 0, SEEK_END), 4);
	close(file);
	file = open(path, O_RDONLY);
	snprintf(fd, sizeof(fd), "fd=%d", file);
	refused(fd, -EINVAL, ERR_USAGE, "open for writing");
	close(file);
	file = open(path, O_WRONLY | O_APPEND);
	snprintf(fd, sizeof(fd), "fd=%d", file);
	refused(fd, -EINVAL, ERR_USAGE, "not for appending");
	close(file);
}

/* The limit's signal must not end the process either. */
Test(coredump, file_too_large)
{
	const struct rlimit small = {1 * MIB, RLIM_INFINITY};
	struct rlimit old;
	struct coredump *d;
	struct err e;

	getrlimit(RLIMIT_FSIZE, &old);
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
	cr_assert_eq(begin(path, &d, &e), 0, "%s", e.text);
	cr_assert_eq(finish(d, &e), -EFBIG);
	setrlimit(RLIMIT_FSIZE, &old);
	cr_assert(strstr(e.text, path) && strstr(e.text, "removed"), "%s", e.text);
	cr_assert_eq(e.kind, ERR_HOST);
	cr_assert_eq(access(path, F_OK), -1);
}

Test(coredump, cancel)
{
	struct coredump *d;
	struct err e;
	int r;

	atomic_store(&hold, true);
	cr_assert_eq(begin(path, &d, &e), 0);
	coredump_cancel(d);
	atomic_store(&hold, false);
	r = finish(d, &e);
	cr_assert_eq(r, -ECANCELED, "%d", r);
	cr_assert(strstr(e.text, "cancelled"), "%s", e.text);
	cr_assert_eq(access(path, F_OK), -1);
}

/* Control gives up before the job has told its end, which then does not come. */
Test(coredump, end_without_done)
{
	struct coredump *d;
	struct err e;
	int r;

	cr_assert_eq(begin(path, &d, &e), 0);
	r = coredump_end(d, &e);
	cr_assert(r == 0 || r == -ECANCELED, "%d", r);
	cr_assert_eq(access(path, F_OK), r == 0 ? 0 : -1);
	cr_assert_eq(ev_run_once(loop, 0), 0);
	cr_assert(!done);
}
