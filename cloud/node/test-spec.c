/* SPDX-License-Identifier: Apache-2.0 */
/* Assignments: what is taken, and that each thing wrong is refused by its name. */
#include <criterion/criterion.h>
#include <string.h>
#include "cloud/node/spec.h"

#define DIGEST "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static json_t *good(void)
{
	return json_pack("{s:s, s:i, s:s, s:i, s:i, s:s, s:{s:s, s:i}, s:[{s:s, s:i}], "
			 "s:{s:s, s:s, s:i, s:[{s:i, s:i}]}}",
		"id", "i-1", "generation", 1, "state", "running", "cpus", 1, "memory_mib", 64,
		"kernel", DIGEST, "root", "digest", DIGEST, "size_mib", 8, "volumes", "id", "vol-1",
		"generation", 3, "net", "mac", "52:54:00:00:00:01", "ip", "10.0.0.5", "prefix", 16,
		"forwards", "host_port", 8080, "guest_port", 80);
}

Test(spec, good_one_is_taken)
{
	struct err e = {0};
	json_t *j = good();

	cr_assert_eq(spec_check(j, "i-1", &e), 0, "%s", e.text);
	json_object_set_new(j, "root", json_null());
	json_object_set_new(j, "net", json_null());
	json_object_set_new(j, "volumes", json_null());
	cr_assert_eq(spec_check(j, "i-1", &e), 0, "%s", e.text);
	json_decref(j);
}

/* j is taken. */
static void refused(json_t *j, const char *word)
{
	struct err e = {0};

	cr_assert_eq(spec_check(j, "i-1", &e), -EINVAL, "%s", word);
	cr_assert(strstr(e.text, word), "'%s' names no %s", e.text, word);
	json_decref(j);
}

static json_t *with(const char *key, json_t *value)
{
	json_t *j = good();

	json_object_set_new(j, key, value);
	return j;
}

static json_t *with_net(const char *key, json_t *value)
{
	json_t *j = good();

	json_object_set_new(json_object_get(j, "net"), key, value);
	return j;
}

Test(spec, wrong_ones_are_named)
{
	refused(with("id", json_string("i-2")), "id");
	refused(with("generation", json_integer(-1)), "generation");
	refused(with("state", json_string("asleep")), "state");
	refused(with("restart", json_string("sometimes")), "restart");
	refused(with("reboots", json_true()), "reboots");
	refused(with("cpus", json_integer(0)), "cpus");
	refused(with("cpus", json_integer(256)), "cpus");
	refused(with("memory_mib", json_string("64")), "memory_mib");
	refused(with("kernel", json_string("../../etc/passwd")), "kernel");
	refused(with("initramfs", json_string("sha256:x")), "initramfs");
	refused(with("root", json_pack("{s:s}", "digest", "x")), "root");
	refused(with("seed", json_integer(1)), "seed");
	refused(with("volumes", json_pack("[{s:s, s:i}]", "id", "../x", "generation", 1)),
		"volumes[0]");
	refused(with("volumes", json_object()), "volumes");
}

/* What becomes words of passt must be what it seems. */
Test(spec, networks_hold_only_addresses_and_ports)
{
	refused(with_net("mac", json_string("52:54")), "net.mac");
	refused(with_net("ip", json_string("10.0.0.5 -t all")), "net.ip");
	refused(with_net("gateway", json_string("x")), "net.gateway");
	refused(with_net("prefix", json_integer(33)), "net.prefix");
	refused(with_net("dns", json_pack("[s]", "1.1.1.1 --runas 0")), "net.dns");
	refused(with_net("forwards", json_pack("[{s:i, s:i}]", "host_port", 0, "guest_port", 1)),
		"net.forwards[0]");
	refused(with_net("forwards", json_pack("[{s:i, s:i, s:s}]", "host_port", 1, "guest_port", 1,
					     "address", "0.0.0.0/1:2")),
		"net.forwards[0].address");
}
