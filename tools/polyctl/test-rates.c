/* SPDX-License-Identifier: Apache-2.0 */
/* What polyctl offload top makes of two looks at a device. */
#include <criterion/criterion.h>
#include <string.h>
#include "tools/polyctl/rates.h"

#define DEVICE(queues, cpu)                                                                        \
	"{\"id\":\"d\",\"type\":\"virtio-blk\",\"health\":\"running\",\"cpu_ns\":" cpu             \
	",\"front_end\":{\"connected_seconds\":3.5},\"queues\":[" queues "]}"
#define QUEUE(requests, kicks, buckets)                                                            \
	"{\"index\":0,\"running\":true,\"requests\":" requests ",\"read_bytes\":4096,"             \
	"\"written_bytes\":512,\"kicks\":" kicks ",\"interrupts\":1,\"poll_ns\":20000000,"         \
	"\"in_flight\":2,\"cpu_ns\":5,\"latency\":{\"buckets\":[" buckets "]}}"

static json_t *rates(const char *now, const char *before, double seconds)
{
	json_t *n = json_loads(now, 0, NULL), *b = before ? json_loads(before, 0, NULL) : NULL;
	json_t *r;

	cr_assert(n && (b || !before), "the test's own JSON");
	r = rates_of(n, b, seconds);
	cr_assert_not_null(r);
	json_decref(n);
	json_decref(b);
	return r;
}

static double value(const json_t *o, const char *key)
{
	const json_t *v = json_object_get(o, key);

	cr_assert(json_is_number(v), "%s is no number", key);
	return json_number_value(v);
}

static bool nothing(const json_t *o, const char *key)
{
	return json_is_null(json_object_get(o, key));
}

Test(rates, between_two_looks)
{
	json_t *r = rates(DEVICE(QUEUE("300", "30", "[1023,100],[4095,150]"), "4000000"),
		DEVICE(QUEUE("100", "10", "[1023,50]"), "2000000"), 2);

	cr_expect_eq(value(r, "requests"), 200);
	cr_expect_eq(value(r, "requests_per_s"), 100);
	cr_expect_eq(value(r, "read_bytes"), 0);
	cr_expect_eq(value(r, "kicks_per_io"), 0.1);
	cr_expect_eq(value(r, "interrupts_per_io"), 0);
	cr_expect_eq(value(r, "cpu_ns_per_io"), 10000);
	cr_expect_eq(value(r, "cpu_percent"), 0.1);
	cr_expect_eq(value(r, "in_flight"), 2, "of now");
	cr_expect_eq(value(r, "p50_ns"), 4095, "50 of 1 us and 150 of 4 us have come");
	cr_expect_eq(value(r, "connected_seconds"), 3.5);
	cr_expect_str_eq(json_string_value(json_object_get(r, "health")), "running");
	json_decref(r);
}

Test(rates, without_an_earlier_look_it_is_all)
{
	json_t *r = rates(DEVICE(QUEUE("4", "2", "[10,3],[20,1]"), "8"), NULL, 5);

	cr_expect_eq(value(r, "requests"), 4);
	cr_expect(nothing(r, "requests_per_s") && nothing(r, "cpu_percent"));
	cr_expect_eq(value(r, "kicks_per_io"), 0.5);
	cr_expect_eq(value(r, "cpu_ns_per_io"), 2);
	cr_expect_eq(value(r, "p50_ns"), 10);
	cr_expect_eq(value(r, "p99_ns"), 20);
	cr_expect_eq(value(r, "p999_ns"), 20);
	json_decref(r);
}

Test(rates, an_idle_device_has_no_figures)
{
	json_t *r = rates(
		DEVICE(QUEUE("4", "2", "[10,4]"), "8"), DEVICE(QUEUE("4", "2", "[10,4]"), "8"), 1);

	cr_expect_eq(value(r, "requests_per_s"), 0);
	cr_expect(nothing(r, "p50_ns") && nothing(r, "kicks_per_io"));
	cr_expect(nothing(r, "cpu_ns_per_io"));
	json_decref(r);
}

/* A process of the same name has taken the place of another. */
Test(rates, a_count_that_began_anew)
{
	json_t *r = rates(DEVICE(QUEUE("5", "1", "[10,5]"), "100"),
		DEVICE(QUEUE("1000", "1", "[10,1000]"), "90000"), 1);

	cr_expect_eq(value(r, "requests"), 5);
	cr_expect_eq(value(r, "cpu_ns_per_io"), 20);
	cr_expect_eq(value(r, "p50_ns"), 10);
	json_decref(r);
}

Test(rates, queues_are_rows_and_their_sum)
{
	json_t *r = rates(
		DEVICE(QUEUE("10", "1", "[10,10]") "," QUEUE("30", "3", "[5,20],[30,10]"), "40"),
		NULL, 0);
	const json_t *q = json_object_get(r, "queues");

	cr_expect_eq(json_array_size(q), 2u);
	cr_expect_eq(value(json_array_get(q, 1), "requests"), 30);
	cr_expect_eq(value(json_array_get(q, 1), "p50_ns"), 5);
	cr_expect_eq(value(r, "requests"), 40);
	cr_expect_eq(value(r, "written_bytes"), 1024);
	cr_expect_eq(value(r, "p50_ns"), 5, "20 of 40");
	cr_expect_eq(value(r, "p99_ns"), 30);
	json_decref(r);
}

/* Another server's answer. */
Test(rates, nonsense)
{
	static const char *const texts[] = {"{}", "[]", "{\"queues\":7}", "{\"queues\":[1,[]]}",
		"{\"queues\":[{\"requests\":\"x\",\"latency\":{\"buckets\":[1,[],[1],[-5,-5]]}}]}"};

	for (unsigned i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		json_decref(rates(texts[i], texts[i], 1));
}
