/* SPDX-License-Identifier: Apache-2.0 */
/* The scheduler as a function: what fits, what is best, and what it says about the rest. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cloud/control/schedule.h"

static const char *const sve[] = {"asimd", "sve"}, *const plain[] = {"asimd"};
static const char *const avx[] = {"avx2", "sse2"}, *const want_sve[] = {"sve"};
static const struct label ssd[] = {{"disk", "ssd"}};

static struct host_facts host(const char *name, unsigned chip)
{
	return (struct host_facts){
		.id = name, .name = name, .chip = chip, .cores = 4, .memory_mib = 4096};
}

static struct sched_request small(void)
{
	return (struct sched_request){
		.chips = CHIP_ALL, .image_chips = CHIP_ALL, .cpus = 1, .memory_mib = 256};
}

static bool says(const struct host_facts *h, const struct sched_request *r, const char *what)
{
	char reason[SCHED_REASONS][SCHED_REASON_LEN];
	unsigned n = schedule_reasons(h, r, reason);
	for (unsigned i = 0; i < n; i++) {
		if (!strcmp(reason[i], what))
			return true;
	}
	cr_log_warn("%s is not said, but %s", what, n ? reason[0] : "nothing");
	return false;
}

Test(schedule, chips_and_their_other_names)
{
	cr_expect_eq(chip_parse("amd64"), CHIP_X86_64);
	cr_expect_eq(chip_parse("aarch64"), CHIP_ARM64);
	cr_expect_eq(chip_parse("riscv64"), CHIP_RISCV64);
	cr_expect_lt(chip_parse("sparc"), 0);
}

Test(schedule, nothing_fits_nowhere)
{
	struct sched_request r = small();
	char why[200];
	cr_expect_lt(schedule(NULL, 0, &r), 0);
	schedule_why_not(NULL, 0, &r, why, sizeof(why));
	cr_expect_str_eq(why, "no host has joined");
}

Test(schedule, spread_takes_the_emptiest_and_pack_the_fullest)
{
	struct host_facts h[] = {host("a", 0), host("b", 0), host("c", 0)};
	struct sched_request r = small();
	h[0].used_memory_mib = 1024;
	h[1].used_memory_mib = 2048;
	cr_expect_eq(schedule(h, 3, &r), 2);
	r.pack = true;
	cr_expect_eq(schedule(h, 3, &r), 1);
}

Test(schedule, ties_go_to_the_least_name_in_any_order)
{
	struct host_facts h[] = {host("c", 0), host("a", 1), host("b", 2)};
	struct sched_request r = small();
	cr_expect_eq(schedule(h, 3, &r), 1);
	struct host_facts swap = h[1];
	h[1] = h[2];
	h[2] = swap;
	cr_expect_eq(schedule(h, 3, &r), 2);
}

Test(schedule, an_image_that_is_there_tips_the_scale)
{
	static const char *const blobs[] = {"sha256:1", "sha256:2"};
	struct host_facts h[] = {host("a", 0), host("b", 0)};
	struct sched_request r = small();
	h[1].blobs = (struct names){blobs, 2};
	r.blob[0] = "sha256:2";
	cr_expect_eq(schedule(h, 2, &r), 1);
	cr_expect(says(&h[0], &r, "does not have the image yet"));
	cr_expect(says(&h[1], &r, "has the image"));
}

Test(schedule, each_filter_says_no)
{
	struct host_facts h = host("a", CHIP_ARM64);
	struct sched_request r = small();
	cr_expect_eq(schedule_host(&h, &r).no, 0);
	r.chips = 1 << CHIP_X86_64;
	cr_expect_eq(schedule_host(&h, &r).no, NO_CHIP);
	cr_expect(says(&h, &r, "chip arm64, not x86_64"));
	r = small();
	r.image_chips = 1 << CHIP_X86_64;
	cr_expect(says(&h, &r, "the image has no arm64"));
	r = small();
	r.memory_mib = 4097;
	cr_expect_eq(schedule_host(&h, &r).no, NO_MEMORY);
	cr_expect(says(&h, &r, "4096 MiB of memory free of 4096, 4097 asked for"));
	r = small();
	h.used_cpus = 4 * SCHED_OVERCOMMIT;
	cr_expect_eq(schedule_host(&h, &r).no, NO_CPUS);
	h.used_cpus = 0;
	r.pin = "b";
	cr_expect_eq(schedule_host(&h, &r).no, NO_PIN);
	r = small();
	r.avoid = "a";
	cr_expect_eq(schedule_host(&h, &r).no, NO_AVOID);
	r = small();
	r.data_host = "b";
	cr_expect_eq(schedule_host(&h, &r).no, NO_DATA);
	r = small();
	r.labels = (struct labels){ssd, 1};
	cr_expect(says(&h, &r, "has no label disk=ssd"));
	h.labels = (struct labels){ssd, 1};
	cr_expect_eq(schedule_host(&h, &r).no, 0);
	h.state = HOST_CORDONED;
	cr_expect(says(&h, &r, "cordoned"));
	h.state = HOST_ONLINE;
	h.bare_metal_only = true;
	cr_expect_eq(schedule_host(&h, &r).no, 0);
	r.linux_guest = true;
	cr_expect(says(&h, &r, "its KVM runs only bare-metal guests"));
}

Test(schedule, features_and_the_baseline_of_a_pool)
{
	struct host_facts h = host("a", CHIP_ARM64);
	struct sched_request r = small();
	r.features = (struct names){want_sve, 1};
	h.features = (struct names){plain, 1};
	cr_expect(says(&h, &r, "has no feature sve"));
	h.features = (struct names){sve, 2};
	cr_expect_eq(schedule_host(&h, &r).no, 0);
	h.pool = "old";
	h.baseline = (struct names){plain, 1};
	cr_expect_eq(schedule_host(&h, &r).no, NO_FEATURE);
	cr_expect(says(&h, &r, "has feature sve, but the baseline of its pool old has not"));
	r = small();
	r.pool = "new";
	cr_expect(says(&h, &r, "in pool old, not new"));
}

Test(schedule, why_not_names_each_host)
{
	struct host_facts h[] = {host("arm64-1", CHIP_ARM64), host("riscv64-1", CHIP_RISCV64)};
	struct sched_request r = small();
	char why[400], little[100];
	h[0].features = (struct names){plain, 1};
	h[1].features = (struct names){avx, 2};
	r.chips = 1 << CHIP_ARM64;
	r.features = (struct names){want_sve, 1};
	cr_expect_eq(schedule(h, 2, &r), -ENOSPC);
	schedule_why_not(h, 2, &r, why, sizeof(why));
	cr_expect_str_eq(why, "arm64-1: has no feature sve; "
			      "riscv64-1: chip riscv64, not arm64, has no feature sve");
	schedule_why_not(h, 2, &r, little, sizeof(little));
	cr_expect_str_eq(little, "arm64-1: has no feature sve; 1 more do not fit");
}

/* The choice is never one that does not fit, and never worse than another that fits. */
Test(schedule, the_choice_is_the_best_that_fits)
{
	struct host_facts h[40];
	char name[40][16];
	srand(5);
	for (int round = 0; round < 500; round++) {
		struct sched_request r = small();
		r.chips = (unsigned)rand() % 8;
		r.pack = rand() % 2;
		r.memory_mib = (uint32_t)(rand() % 4096);
		for (int i = 0; i < 40; i++) {
			snprintf(name[i], sizeof(name[i]), "h%d", rand() % 1000);
			h[i] = host(name[i], (unsigned)rand() % CHIPS);
			h[i].state = rand() % 4 ? HOST_ONLINE : HOST_CORDONED;
			h[i].used_memory_mib = (uint32_t)(rand() % 5000);
			h[i].used_cpus = (uint32_t)(rand() % 20);
		}
		int best = schedule(h, 40, &r);
		struct sched_verdict b = {.no = 1};
		if (best >= 0)
			b = schedule_host(&h[best], &r);
		cr_assert_eq(best >= 0, b.no == 0);
		for (int i = 0; i < 40; i++) {
			struct sched_verdict v = schedule_host(&h[i], &r);
			cr_assert(v.no || (best >= 0 && v.score <= b.score));
		}
	}
}
