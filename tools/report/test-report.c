/* SPDX-License-Identifier: Apache-2.0 */
/* What needs no KVM: reading guests and the manifest, medians, comparing, escaping, the network
 * peer, and the runner with a script in the VMM's place. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "child.h"
#include "compare.h"
#include "facts.h"
#include "html.h"
#include "peer.h"
#include "runner.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"

static struct guest_out parse(const char *text)
{
	struct guest_out o;

	guest_out_parse(text, strlen(text), &o);
	return o;
}

Test(guest_out, verdicts)
{
	struct guest_out o = parse("hello\r\ncase timer: PASS\r\n");
	cr_assert_eq(o.verdict, VERDICT_PASS);
	cr_assert_str_eq(o.name, "timer");
	cr_assert_str_eq(o.reason, "");
	o = parse("case smp: SKIP one CPU");
	cr_assert_eq(o.verdict, VERDICT_SKIP);
	cr_assert_str_eq(o.reason, "one CPU");
	o = parse("case a: PASS\ncase a: FAIL late: 3 of 4\n");
	cr_assert_eq(o.verdict, VERDICT_FAIL, "the last one counts");
	cr_assert_str_eq(o.reason, "late: 3 of 4");
	cr_assert_eq(parse("").verdict, VERDICT_NONE);
	cr_assert_eq(parse("case x PASS\ncase x: PASSED\n case x: PASS\nuppercase x: PASS").verdict,
		VERDICT_NONE);
}

Test(guest_out, metrics)
{
	struct guest_out o = parse("metric exit 1234 ns\nmetric bad -3 ns\nmetric bad 1\n"
				   "metric  2 ns\nmetric bad 99999999999999999999999 ns\n"
				   "metric big 18446744073709551615 cycles\r\n");
	cr_assert_eq(o.nmetrics, 2);
	cr_assert_str_eq(o.metric[0].name, "exit");
	cr_assert_eq(o.metric[0].value, 1234);
	cr_assert_str_eq(o.metric[0].unit, "ns");
	cr_assert_eq(o.metric[1].value, UINT64_MAX);
	cr_assert_str_eq(o.metric[1].unit, "cycles");
}

Test(guest_out, any_bytes)
{
	char text[4096];
	struct guest_out o;
	unsigned seed = 1;

	for (unsigned round = 0; round < 200; round++) {
		for (size_t i = 0; i < sizeof(text); i++)
			text[i] = "\n :\r\0\033mc7"[(seed = seed * 1103515245 + 12345) >> 16 & 7];
		memcpy(text, "case \033[2J: FAIL \x01\xff", 18);
		guest_out_parse(text, sizeof(text), &o);
		for (const char *c = o.reason; *c; c++)
			cr_assert(*c >= ' ' && *c <= '~');
		cr_assert(o.nmetrics <= GUEST_METRICS);
	}
	char *many = calloc(1, 100 * 16 + 1);
	for (unsigned i = 0; i < 100; i++)
		strcat(many, "metric a 1 ns\n");
	guest_out_parse(many, strlen(many), &o);
	cr_assert_eq(o.nmetrics, GUEST_METRICS);
	free(many);
}

Test(manifest, lines)
{
	char text[] = "# comment\n\nserial\nvirtio-blk needs=blk,net transport=mmio timeout=30\n"
		      "tiny\texpect=0 cpus=4\r\n";
	struct manifest m;
	struct err e = {};

	cr_assert_eq(manifest_parse(text, &m, &e), 0, "%s", e.text);
	cr_assert_eq(m.n, 3);
	cr_assert_str_eq(m.test[0].name, "serial");
	cr_assert_eq(m.test[0].expect, 33);
	cr_assert_eq(m.test[0].cpus, 1);
	cr_assert_str_eq(m.test[1].name, "virtio-blk/mmio");
	cr_assert_eq(m.test[1].needs, NEED_BLK | NEED_NET);
	cr_assert_eq(m.test[1].timeout_s, 30);
	cr_assert_eq(m.test[2].expect, 0);
	cr_assert_eq(m.test[2].cpus, 4);
}

Test(manifest, refuses)
{
	const char *bad[] = {"x needs=gpu", "x cpus=many", "x colour=red", "../x",
		"x transport=ccw", "x expect=999", "x verbose"};
	struct manifest m;

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct err e = {};
		char text[64];
		snprintf(text, sizeof(text), "# one\n%s\n", bad[i]);
		cr_assert_eq(manifest_parse(text, &m, &e), -EINVAL, "%s", bad[i]);
		cr_assert(strstr(e.text, "line 2"), "%s", e.text);
	}
}

Test(series, median_of_runs)
{
	uint64_t odd[] = {5, 1, 100}, even[] = {4, 1, 3, 100};

	cr_assert_eq(median(odd, 3), 5);
	cr_assert_eq(median(even, 4), 3.5);
}

/* ---- compare ---- */

static char *compared(const char *a, const char *b, int expected)
{
	json_t *ja = json_loads(a, 0, NULL), *jb = json_loads(b, 0, NULL);
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	cr_assert(ja && jb);
	cr_assert_eq(compare_reports(ja, jb, 30, f), expected);
	fclose(f);
	json_decref(ja);
	json_decref(jb);
	return text;
}

#define REPORT(made, features, result, median)                                                     \
	"{\"made\": \"" made "\", \"cpu\": {\"features\": [" features "], \"n\": 2}, \"tests\": [" \
	"{\"name\": \"timer\", \"result\": \"" result "\", \"seconds\": " median                   \
	"}], \"metrics\": ["                                                                       \
	"{\"name\": \"exit\", \"test\": \"t\", \"unit\": \"ns\", \"median\": " median "}]}"

Test(compare, same)
{
	free(compared(REPORT("x", "\"a\"", "pass", "100"), REPORT("y", "\"a\"", "pass", "129"), 0));
}

Test(compare, differences)
{
	char *t = compared(REPORT("x", "\"a\",\"b\"", "pass", "100"),
		REPORT("x", "\"a\",\"c\"", "fail", "131"), 4);

	cr_assert(strstr(t, "cpu.features: b") && strstr(t, "cpu.features: c"), "%s", t);
	cr_assert(strstr(t, "test timer"));
	cr_assert(strstr(t, "(1.31 times)"));
	cr_assert(!strstr(t, "features: a") && !strstr(t, "cpu.n"));
	free(t);
}

Test(compare, a_fact_only_one_has)
{
	free(compared("{\"a\": 1}", "{\"a\": 1, \"b\": {\"c\": \"d\"}}", 1));
	free(compared("{\"a\": true}", "{}", 1));
}

/* ---- HTML ---- */

static char *page_of(json_t *report)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	cr_assert_eq(html_write(report, f), 0);
	fclose(f);
	return text;
}

Test(html, escapes_what_comes_from_outside)
{
	static const char evil[] = "<script>'\"&";
	json_t *r = json_pack(
		"{s:s, s:{s:{s:s}, s:[s]}, s:[{s:s, s:s, s:s, s:s}], s:[{s:s, s:s, s:s, "
		"s:f, s:i, s:i, s:i}]}",
		"chip", evil, "cpu", "fields", "model name", evil, "features", evil, "tests",
		"name", evil, "result", evil, "reason", evil, "serial", evil, "metrics", "name",
		evil, "test", evil, "unit", evil, "median", 1.0, "min", 1, "max", 1, "runs", 1);
	char *page = page_of(r);

	cr_assert_not_null(r);
	cr_assert(!strstr(page, "<script"));
	cr_assert(strstr(page, "&lt;script&gt;&#39;&quot;&amp;"));
	free(page);
	json_decref(r);
}

Test(html, an_empty_report_is_a_page)
{
	json_t *r = json_object();
	char *page = page_of(r);

	cr_assert(strstr(page, "</html>"));
	cr_assert(!strstr(page, "nan") && !strstr(page, "http"));
	free(page);
	json_decref(r);
}

Test(facts, words_are_sorted_and_single)
{
	json_t *w = words("b  a\tb c ");

	cr_assert_eq(json_array_size(w), 3);
	cr_assert_str_eq(json_string_value(json_array_get(w, 0)), "a");
	cr_assert_str_eq(json_string_value(json_array_get(w, 2)), "c");
	json_decref(w);
}

Test(facts, of_this_host)
{
	json_t *h = host_facts(), *c = cpu_facts();

	cr_assert_eq(json_integer_value(json_object_get(h, "page_size")), sysconf(_SC_PAGESIZE));
	cr_assert_gt(json_integer_value(json_object_get(c, "online")), 0);
	cr_assert_str_eq(kvm_cap_name(0), "IRQCHIP");
	json_decref(h);
	json_decref(c);
}

/* ---- the peer ---- */

static const uint8_t arp_request[42] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 8, 6,
	0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 0, 2, 15, 0, 0, 0, 0, 0, 0, 10, 0, 2, 2};

Test(peer, answers_arp_only)
{
	uint8_t f[42];

	memcpy(f, arp_request, sizeof(f));
	cr_assert(!peer_answer(f, 41), "too short");
	cr_assert(peer_answer(f, 42));
	cr_assert_arr_eq(f, arp_request + 6, 6);		 /* to the sender */
	cr_assert_eq(f[21], 2);					 /* a reply */
	cr_assert_arr_eq(f + 28, ((uint8_t[]){10, 0, 2, 2}), 4); /* from the peer */
	cr_assert_arr_eq(f + 32, arp_request + 22, 10);
	cr_assert(!peer_answer(f, 42), "a reply is not answered");
	memcpy(f, arp_request, sizeof(f));
	f[41] = 3;
	cr_assert(!peer_answer(f, 42), "another's address");
}

Test(peer, over_a_socket, .timeout = 10)
{
	uint8_t frame[4 + 42] = {0, 0, 0, 42};
	char number[16];
	int s[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
	memcpy(frame + 4, arp_request, 42);
	cr_assert_eq(write(s[0], frame, sizeof(frame)), sizeof(frame));
	shutdown(s[0], SHUT_WR);
	snprintf(number, sizeof(number), "%d", s[1]);
	cr_assert_eq(peer_main(4, (char *[]){"passt", "-f", "--fd", number, NULL}), 0);
	cr_assert_eq(read(s[0], frame, sizeof(frame)), sizeof(frame));
	cr_assert_eq(frame[3], 42);
	cr_assert_eq(frame[4 + 21], 2);
	cr_assert_eq(peer_main(1, (char *[]){"passt", NULL}), 1);
}

/* ---- the runner ---- */

static struct runner runner;

static void run_cases(const char *cases)
{
	static struct manifest m;
	char dir[] = "/tmp/test-report-XXXXXX", *text = strdup(cases);
	struct err e = {};

	cr_assert(freopen("/dev/null", "w", stdout));
	child_init();
	cr_assert_eq(manifest_parse(text, &m, &e), 0, "%s", e.text);
	free(text);
	cr_assert(mkdtemp(dir));
	cr_assert(realpath(TESTDATA "/fake-vmm", runner.vmm));
	strcpy(runner.tests, "/nowhere");
	strcpy(runner.self, "/bin/true");
	runner.repeat = 3;
	clock_gettime(CLOCK_MONOTONIC, &runner.end);
	runner.end.tv_sec += 60;
	cr_assert_eq(runner_init(&runner, dir, &e), 0, "%s", e.text);
	cr_assert(runner_run(&runner, &m));
	json_incref(runner.results);
	runner_fini(&runner);
	cr_assert_eq(rmdir(dir), 0, "something is left behind");
}

static void expect(unsigned i, const char *result, const char *reason)
{
	const json_t *r = json_array_get(runner.results, i);

	cr_assert_str_eq(html_str(r, "result"), result);
	cr_assert(strstr(html_str(r, "reason"), reason), "%s", html_str(r, "reason"));
}

Test(runner, judges, .timeout = 60)
{
	run_cases(
		"good\nbad\nabsent\ncrashing\nliar\nsilent\nusage\ntiny expect=0\ngood expect=34\n");
	expect(0, "pass", "");
	cr_assert_eq(
		json_integer_value(json_object_get(json_array_get(runner.results, 0), "runs")), 3);
	expect(1, "fail", "two <b> is not three");
	expect(2, "skip", "no such device");
	expect(3, "fail", "polyvisor: the guest crashed: test");
	cr_assert(json_object_get(json_array_get(runner.results, 3), "crash"));
	expect(4, "fail", "exit status 35 instead of 33, and the guest says pass");
	expect(5, "fail", "exit status 33 instead of 33, and the guest says none");
	expect(6, "fail", "--cpus boot=4: too many");
	expect(7, "pass", "");
	expect(8, "fail", "exit status 33 instead of 34");
	cr_assert_eq(runner.count[VERDICT_PASS], 2);
	cr_assert_eq(runner.count[VERDICT_FAIL], 6);
	cr_assert_eq(runner.count[VERDICT_SKIP], 1);
	cr_assert_eq(runner.series.n, 2); /* exit, start-to-power-off */
}

Test(runner, a_hung_guest, .timeout = 60)
{
	run_cases("hanging timeout=1\n");
	expect(0, "fail", "no end after 4 s");
	cr_assert(json_object_get(json_array_get(runner.results, 0), "crash"),
		"SIGQUIT makes the VMM write one");
}

Test(runner, nothing_can_run, .timeout = 60)
{
	runner.cannot = "no /dev/kvm";
	run_cases("good\ntiny expect=0\n");
	expect(1, "skip", "no /dev/kvm");
	cr_assert_eq(runner.count[VERDICT_SKIP], 2);
}

Test(child, keeps_the_end, .timeout = 30)
{
	static struct child_result c;

	cr_assert_eq(
		child_run((char *[]){"/bin/sh", "-c",
				  "i=0; while [ $i -lt 4000 ]; do echo line$i; i=$((i+1)); done; "
				  "exit 5",
				  NULL},
			20000, &c),
		0);
	cr_assert_eq(c.status, 5);
	cr_assert(strstr(c.text, "line3999\n") && !strstr(c.text, "line1\n"));
	cr_assert_eq(child_run((char *[]){"/nowhere/x", NULL}, 1000, &c), 0);
	cr_assert_eq(c.status, 127);
	cr_assert(strstr(c.text, "cannot run /nowhere/x"));
}
