/* SPDX-License-Identifier: Apache-2.0 */
/* Reports of the three chips as a person sees them, and files that are no reports. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "tools/crash/crash.h"
#include "vmm/base/num.h"

struct run {
	int status;
	char *out, *err;
};

static struct run run(const char *flag, const char *path)
{
	char *argv[] = {(char *)"polyvisor-crash", (char *)path, (char *)flag, NULL};
	struct run r;
	size_t n;
	FILE *out = open_memstream(&r.out, &n), *err = open_memstream(&r.err, &n);

	r.status = crash_main(!path ? 1 : flag ? 3 : 2, argv, out, err);
	fclose(out);
	fclose(err);
	return r;
}

static void run_fini(struct run *r)
{
	free(r->out);
	free(r->err);
}

static struct run run_sample(const char *flag, const char *name)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/%s.json", getenv("CRASH_SAMPLES"), name);
	return run(flag, path);
}

static struct run run_text(const char *text)
{
	char path[] = "/tmp/test-crash-XXXXXX";
	int fd = mkstemp(path);
	struct run r;

	cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
	r = run(NULL, path);
	unlink(path);
	return r;
}

static void says(const struct run *r, const char *text)
{
	cr_assert(strstr(r->out, text), "no \"%s\" in:\n%s", text, r->out);
}

static void does_not_say(const struct run *r, const char *text)
{
	cr_assert_null(strstr(r->out, text), "\"%s\" in:\n%s", text, r->out);
}

Test(crash, x86_64)
{
	struct run r = run_sample(NULL, "x86_64");

	cr_assert_eq(r.status, 0, "%s", r.err);
	says(&r, "Crash of a x86_64 guest");
	says(&r, "Reason:      KVM could not emulate an instruction");
	says(&r, "17 (internal-error), suberror 1");
	says(&r, "vCPU 1, where it happened: pc 0xffffffff81000410, mode x86-64");
	says(&r, "rip      ffffffff81000410");
	says(&r, "cs: limit=0xffffffff selector=16");
	says(&r, "=> 0xffffffff81000410  f0 48 0f c7 0f");
	says(&r, "912 us ago  io: write 0x3f8 size 1 value 0x41");
	says(&r, "0x0000e0000000 - 0x0000efffffff      256M  pci0");
	cr_assert_lt(strstr(r.out, "vCPU 1") - r.out, strstr(r.out, "\nvCPU 0") - r.out);
	does_not_say(&r, "xsave");
	does_not_say(&r, "0xc0000082");
	run_fini(&r);
	r = run_sample("--all", "x86_64");
	says(&r, "0xc0000082 ffffffff81800080");
	run_fini(&r);
}

Test(crash, arm64)
{
	struct run r = run_sample(NULL, "arm64");

	cr_assert_eq(r.status, 0, "%s", r.err);
	says(&r, "Reason:      asked for by SIGQUIT");
	says(&r, "x30     0000000000001e1e");
	says(&r, "esr_el1 0000000096000045");
	says(&r, "=> 0xffff800010081010  b9400020");
	does_not_say(&r, "where it happened");
	does_not_say(&r, "s3_0_c1_c0_1");
	run_fini(&r);
	r = run_sample("--all", "arm64");
	says(&r, "s3_0_c1_c0_1 0000000000000033");
	run_fini(&r);
}

Test(crash, riscv64)
{
	struct run r = run_sample(NULL, "riscv64");

	cr_assert_eq(r.status, 0, "%s", r.err);
	says(&r, "9 (fail-entry), hardware reason 0x7");
	says(&r, "=> 0xffffffff80000010  00000073");
	says(&r, "   0xffffffff80000000  1141");
	says(&r, "vCPU 1\n  Registers: none recorded\n  Code: none recorded at this address\n");
	says(&r, HAVE_CAPSTONE_RISCV ? "ecall" : "no disassembler for riscv64 in this build");
	run_fini(&r);
}

#if HAVE_CAPSTONE
Test(crash, disassembles)
{
	struct run r = run_sample(NULL, "x86_64");

	says(&r, "Instruction: lock cmpxchg16b xmmword ptr [rdi]  (f0 48 0f c7 0f)");
	says(&r, "48 83 ec 10                      sub rsp, 0x10");
	says(&r, "c3                               ret");
	run_fini(&r);
	r = run_sample(NULL, "arm64");
	says(&r, "a9bf7bfd   stp x29, x30, [sp, #-0x10]!");
	says(&r, "b9400020   ldr w0, [x1]");
	run_fini(&r);
}
#endif

static void refused(const char *text, const char *why)
{
	struct run r = run_text(text);

	cr_assert_eq(r.status, 1, "%s", text);
	cr_assert(strstr(r.err, why), "%s: %s", text, r.err);
	cr_assert_eq(strchr(r.err, '\n'), r.err + strlen(r.err) - 1, "one line: %s", r.err);
	cr_assert_str_empty(r.out);
	run_fini(&r);
}

Test(crash, bad_files)
{
	struct run r = run(NULL, "/nonexistent");

	cr_assert_eq(r.status, 1);
	cr_assert_str_eq(r.err, "polyvisor-crash: /nonexistent: No such file or directory\n");
	run_fini(&r);
	r = run(NULL, "/tmp");
	cr_assert_eq(r.status, 1);
	run_fini(&r);
	refused("", "not JSON: line 1");
	refused("{\"polyvisor_crash\":1,\"chip\":", "not JSON");
	refused("[]", "no field \"polyvisor_crash\"");
	refused("{\"polyvisor_crash\":2}", "format 2");
	refused("{\"polyvisor_crash\":1,\"chip\":\"vax\"}", "x86_64, arm64 or riscv64");
	refused("{\"polyvisor_crash\":1,\"chip\":\"arm64\",\"vcpus\":7}", "\"vcpus\"");
}

/* Right at the head and wrong below: whatever is there is shown, nothing breaks. */
Test(crash, odd_reports)
{
	static const char *const body[] = {
		"[]",
		"[7]",
		"[{}]",
		"[{\"regs\":[]}]",
		"[{\"index\":0,\"regs\":{\"a\":{\"b\":{}}}}]",
		"[{\"mode\":\"z80\",\"code\":{\"gva\":\"0x0\",\"bytes\":\"00112233\",\"pc_offset\":0}}]",
		"[{\"mode\":\"arm64\",\"code\":{\"gva\":\"0x3\",\"bytes\":\"0011223\",\"pc_offset\":2}}]",
		"[{\"mode\":\"x86-64\",\"code\":{\"gva\":\"0x0\",\"bytes\":\"zz\",\"pc_offset\":0}}]",
		"[{\"mode\":\"x86-64\",\"code\":{\"gva\":\"0x0\",\"bytes\":\"f0\",\"pc_offset\":1}}]",
		"[{\"exits\":[1,{\"name\":\"a\\u001b[2Jb\"}]}]",
		"[{\"regs\":{\"x\":[{\"name\":\"\\u0007\",\"value\":\"0x1\"},{\"value\":\"0x\"}]}}]",
	};
	char text[512];

	for (unsigned i = 0; i < ARRAY_SIZE(body); i++) {
		struct run r;

		snprintf(text, sizeof(text),
			"{\"polyvisor_crash\":1,\"chip\":\"arm64\",\"vcpu\":0,\"memory_map\":[{}],"
			"\"exit\":{\"reason\":17,\"suberror\":1,\"data\":[\"0x1\",\"0xff\"]},"
			"\"vcpus\":%s}",
			body[i]);
		r = run_text(text);
		cr_assert_eq(r.status, 0, "%s", r.err);
		for (const char *s = r.out; *s; s++)
			cr_assert(*s == '\n' || (unsigned char)*s >= 0x20);
		run_fini(&r);
	}
}

Test(crash, usage)
{
	struct run r = run(NULL, NULL);

	cr_assert_eq(r.status, 2);
	run_fini(&r);
	r = run("--json", "x");
	cr_assert_eq(r.status, 2);
	cr_assert(strstr(r.err, "--json"));
	run_fini(&r);
	r = run("y", "x");
	cr_assert_eq(r.status, 2);
	run_fini(&r);
	r = run(NULL, "--help");
	cr_assert_eq(r.status, 0);
	says(&r, "Usage: polyvisor-crash");
	run_fini(&r);
}
