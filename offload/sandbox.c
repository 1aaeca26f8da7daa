/* SPDX-License-Identifier: Apache-2.0 */
/* The lists name system calls by text: one that this chip or this libseccomp does not know is
 * skipped. Each was put there for a reason that the list says. */
#include "offload/sandbox.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/if_tun.h>
#include <sched.h>
#include <seccomp.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "vmm/base/num.h"

/* ---- the lists ---- */

static const char *const allowed[] = {
	/* the loop, timers, wake-ups */
	"epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait", "epoll_pwait2", "eventfd2",
	"timerfd_create", "timerfd_settime", "timerfd_gettime", "signalfd4", "poll", "ppoll",
	/* connections that came to a listening socket */
	"accept", "accept4", "recvmsg", "sendmsg", "recvfrom", "sendto", "recvmmsg", "sendmmsg",
	"shutdown", "getsockopt", "setsockopt", "getsockname", "getpeername",
	/* descriptors */
	"read", "write", "readv", "writev", "pread64", "pwrite64", "preadv", "pwritev", "preadv2",
	"pwritev2", "lseek", "close", "close_range", "dup", "dup2", "dup3", "fcntl", "fstat",
	"newfstatat", "stat", "lstat", "statx", "fstatfs", "pipe2", "unlink",
	"unlinkat", /* our own sockets */
	/* disks */
	"fallocate", "fdatasync", "fsync", "sync_file_range", "ftruncate", "fadvise64",
	"io_uring_setup", "io_uring_enter", "io_uring_register",
	/* memory; mmap and mprotect have rules of their own */
	"munmap", "mremap", "madvise", "brk", "memfd_create", "mlock", "munlock", "membarrier",
	/* threads; clone has a rule of its own */
	"futex", "futex_waitv", "set_robust_list", "rseq", "sched_yield", "sched_getaffinity",
	"sched_setaffinity", "sched_getparam", "sched_getscheduler", "set_tid_address", "getcpu",
	/* time and accounts */
	"clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday",
	"getrusage", "times", "getrandom", "getpid", "gettid", "getuid", "geteuid", "getgid",
	"getegid", "uname", "sysinfo", "prlimit64", "getrlimit", "getppid",
	/* signals, the end */
	"rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigtimedwait", "rt_sigsuspend",
	"sigaltstack", "restart_syscall", "exit", "exit_group"};

/* To add devices by path: the checks before an open, too. */
static const char *const opening[] = {"open", "openat", "readlink", "readlinkat", "access",
	"faccessat", "faccessat2", "getdents64", "bind", "listen", "connect", "umask", "fchmod",
	"fchmodat", "chmod"};

/* To end passt. */
static const char *const parenting[] = {"kill", "wait4", "waitid", "pidfd_send_signal"};

/* A program that never meant to do this is not ours any more. */
static const char *const deadly[] = {"execve", "execveat", "fork", "vfork", "ptrace",
	"process_vm_readv", "process_vm_writev", "pidfd_getfd", "mount", "umount2", "move_mount",
	"open_tree", "fsopen", "fsmount", "pivot_root", "chroot", "setns", "unshare",
	"open_by_handle_at", "init_module", "finit_module", "delete_module", "kexec_load",
	"kexec_file_load", "bpf", "perf_event_open", "userfaultfd", "keyctl", "add_key",
	"request_key", "reboot", "swapon", "swapoff", "iopl", "ioperm", "setuid", "setgid",
	"setresuid", "setresgid", "setreuid", "setregid", "setgroups", "capset"};

static const unsigned long ioctls[] = {BLKGETSIZE64, BLKSSZGET, BLKDISCARD, BLKZEROOUT, FIONBIO,
	TUNSETIFF, TUNGETIFF, TUNSETOFFLOAD, TUNSETVNETHDRSZ, TUNGETVNETHDRSZ, TUNSETQUEUE,
	TUNSETSNDBUF, TUNGETFEATURES};

/* ---- the filter ---- */

static int add_list(scmp_filter_ctx c, uint32_t action, const char *const *name, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		int nr = seccomp_syscall_resolve_name(name[i]);
		int r = nr == __NR_SCMP_ERROR ? 0 : seccomp_rule_add(c, action, nr, 0);

		if (r < 0)
			return r;
	}
	return 0;
}
#define ADD_LIST(c, action, list) add_list(c, action, list, ARRAY_SIZE(list))

/* `call` is allowed when its argument `arg`, masked, is value. */
static int add_when(
	scmp_filter_ctx c, const char *call, unsigned arg, uint64_t mask, uint64_t value)
{
	struct scmp_arg_cmp cmp = SCMP_CMP64(arg, SCMP_CMP_MASKED_EQ, mask, value);
	int nr = seccomp_syscall_resolve_name(call);

	return seccomp_rule_add_array(c, SCMP_ACT_ALLOW, nr, 1, &cmp);
}

static int add_conditions(scmp_filter_ctx c, const struct sandbox_opts *o)
{
	/* Threads, not processes. What clone3 asks for is in memory, where a filter cannot look:
	 * it does not exist, and the C library takes clone. */
	int r = add_when(c, "clone", 0, CLONE_THREAD, CLONE_THREAD);

	if (r == 0)
		r = add_when(c, "mmap", 2, PROT_EXEC, 0);
	if (r == 0)
		r = add_when(c, "mprotect", 2, PROT_EXEC, 0);
	if (r == 0)
		r = add_when(c, "prctl", 0, UINT32_MAX, PR_SET_NAME);
	if (r == 0) /* abort() */
		r = add_when(c, "tgkill", 0, UINT32_MAX, (uint32_t)getpid());
	for (unsigned i = 0; i < ARRAY_SIZE(ioctls) && r == 0; i++)
		r = add_when(c, "ioctl", 1, UINT32_MAX, (uint32_t)ioctls[i]);
	if (r == 0 && o->opens)
		r = add_when(c, "socket", 0, UINT32_MAX, AF_UNIX);
	if (r == 0 && o->opens)
		r = add_when(c, "socketpair", 0, UINT32_MAX, AF_UNIX);
	return r;
}

static int fill(scmp_filter_ctx c, const struct sandbox_opts *o)
{
	uint32_t refuse = SCMP_ACT_ERRNO(EACCES);
	int r = ADD_LIST(c, SCMP_ACT_ALLOW, allowed);

	if (r == 0)
		r = add_conditions(c, o);
	if (r == 0 && o->children)
		r = ADD_LIST(c, SCMP_ACT_ALLOW, parenting);
	if (r == 0 && o->opens)
		r = ADD_LIST(c, SCMP_ACT_ALLOW, opening);
	if (o->mode == SANDBOX_LOG) /* the default action says the rest */
		return r;
	if (r == 0 && !o->opens)
		r = ADD_LIST(c, refuse, opening);
	if (r == 0 && !o->opens)
		r = seccomp_rule_add(c, refuse, SCMP_SYS(socket), 0);
	return r == 0 ? ADD_LIST(c, SCMP_ACT_KILL_PROCESS, deadly) : r;
}

static int load_filter(const struct sandbox_opts *o)
{
	uint32_t otherwise = o->mode == SANDBOX_LOG ? SCMP_ACT_LOG : SCMP_ACT_ERRNO(ENOSYS);
	scmp_filter_ctx c = seccomp_init(otherwise);
	int r;

	if (!c)
		return -ENOMEM;
	r = fill(c, o);
	if (r == 0)
		r = seccomp_load(c); /* sets no_new_privs */
	seccomp_release(c);
	return r;
}

/* ---- capabilities ---- */

static int drop_capabilities(void)
{
	struct __user_cap_header_struct h = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};

	/* The bounding set needs CAP_SETPCAP to shrink; without it, and without exec, it is moot.
	 */
	for (int cap = 0; prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == 0; cap++)
		;
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
		return -errno;
	return syscall(SYS_capset, &h, none) < 0 ? -errno : 0;
}

/* ---- Landlock ---- */

/* As linux/landlock.h has them since ABI 6; older kernels take the part that they know. */
struct ruleset {
	uint64_t fs, net, scoped;
};
#define FS_EXECUTE     (1u << 0)
#define FS_REMOVE_FILE (1u << 5)
#define NET_TCP	       3u /* bind, connect */
#define SCOPE_ABSTRACT 1u
#define SCOPE_SIGNAL   2u
#define ASK_ABI	       1u

/* What can be handled, by ABI from 1 on: bits of file system rights. */
static uint64_t fs_rights(int abi)
{
	static const unsigned char bits[] = {13, 14, 15, 15, 16};

	return (UINT64_C(1) << bits[MIN((unsigned)abi, ARRAY_SIZE(bits)) - 1]) - 1;
}

/* Handled rights without a rule are refused everywhere. */
static int confine_files(const struct sandbox_opts *o)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, ASK_ABI);
	struct ruleset s = {.fs = FS_EXECUTE};
	size_t size = abi < 4 ? 8 : abi < 6 ? 16 : 24;
	int fd, r;

	if (abi < 1)
		return 0; /* not in this kernel, or not switched on */
	if (!o->opens)	  /* the sockets are removed at the end */
		s.fs = fs_rights(abi) & ~(uint64_t)FS_REMOVE_FILE;
	s.net = NET_TCP;
	s.scoped = SCOPE_ABSTRACT | (o->children ? 0 : SCOPE_SIGNAL);
	fd = syscall(SYS_landlock_create_ruleset, &s, size, 0);
	if (fd < 0)
		return -errno;
	r = syscall(SYS_landlock_restrict_self, fd, 0) < 0 ? -errno : 0;
	close(fd);
	return r;
}

/* ---- all of it ---- */

static int refused(struct err *e, int r, const char *what)
{
	return err_set(e, ERR_HOST, r, "--sandbox on: this host refuses %s: %s; allowed: off", what,
		strerrordesc_np(-r));
}

/* An empty network of its own, where we may: io_uring makes sockets that no filter of system calls
 * sees. Descriptors that are open stay where they are. */
static void leave_network(const struct sandbox_opts *o)
{
	if (!o->opens && !o->children && o->mode == SANDBOX_ON)
		unshare(CLONE_NEWNET);
}

int sandbox_enter(const struct sandbox_opts *o, struct err *e)
{
	int r;

	if (o->mode == SANDBOX_OFF)
		return 0;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return refused(e, -errno, "no_new_privs");
	leave_network(o);
	r = drop_capabilities();
	if (r < 0)
		return refused(e, r, "to drop capabilities");
	r = o->mode == SANDBOX_ON ? confine_files(o) : 0;
	if (r < 0)
		return refused(e, r, "a Landlock domain");
	r = load_filter(o);
	return r < 0 ? refused(e, r, "a seccomp filter") : 0;
}

int sandbox_close_others(const int *keep, unsigned n)
{
	unsigned from = STDERR_FILENO + 1;

	for (;;) {
		unsigned next = UINT_MAX;

		for (unsigned i = 0; i < n; i++)
			if (keep[i] >= 0 && (unsigned)keep[i] >= from)
				next = MIN(next, (unsigned)keep[i]);
		if (next > from && close_range(from, next == UINT_MAX ? next : next - 1, 0) < 0)
			return -errno;
		if (next == UINT_MAX)
			return 0;
		from = next + 1;
	}
}

int sandbox_parse(const char *text, enum sandbox_mode *ret_mode, struct err *e)
{
	static const char *const names[] = {"off", "on", "log"};

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
		if (!strcmp(text, names[i])) {
			*ret_mode = i;
			return 0;
		}
	return err_set(e, ERR_USAGE, -EINVAL, "--sandbox %s: allowed: on, off, log", text);
}

enum sandbox_mode sandbox_default(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	return SANDBOX_OFF;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||                         \
	__has_feature(memory_sanitizer)
	return SANDBOX_OFF;
#else
	return SANDBOX_ON;
#endif
#else
	return SANDBOX_ON;
#endif
}
