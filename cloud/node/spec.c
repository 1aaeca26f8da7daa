/* SPDX-License-Identifier: Apache-2.0 */
#include "cloud/node/spec.h"

#include <arpa/inet.h>
#include <string.h>
#include "cloud/base/packed.h"
#include "cloud/node/file.h"
#include "vmm/base/num.h"

#define BAD(...) err_set(e, ERR_USAGE, -EINVAL, __VA_ARGS__)

static bool is_int(const json_t *j, json_int_t min, json_int_t max)
{
	return json_is_integer(j) && json_integer_value(j) >= min && json_integer_value(j) <= max;
}

static bool is_one_of(const json_t *j, const char *const *words)
{
	const char *s = json_string_value(j);

	for (; s && *words; words++)
		if (!strcmp(s, *words))
			return true;
	return false;
}

static bool is_ipv4(const json_t *j)
{
	struct in_addr a;

	return json_is_string(j) && inet_pton(AF_INET, json_string_value(j), &a) == 1;
}

static bool absent(const json_t *j)
{
	return !j || json_is_null(j);
}

static bool is_digest(const json_t *j)
{
	return json_is_string(j) && digest_ok(json_string_value(j));
}

static int check_machine(const json_t *j, struct err *e)
{
	static const char *const states[] = {"running", "stopped", "paused", NULL};
	static const char *const policies[] = {"never", "on-failure", "always", NULL};
	const json_t *x;

	if (!is_int(json_object_get(j, "generation"), 0, INT64_MAX))
		return BAD("generation: a whole number from 0 is allowed");
	if (!is_one_of(json_object_get(j, "state"), states))
		return BAD("state: running, stopped or paused is allowed");
	if (!absent(x = json_object_get(j, "restart")) && !is_one_of(x, policies))
		return BAD("restart: never, on-failure or always is allowed");
	if (!absent(x = json_object_get(j, "reboots")) && !is_int(x, 0, INT32_MAX))
		return BAD("reboots: a whole number from 0 is allowed");
	if (!is_int(json_object_get(j, "cpus"), 1, 255))
		return BAD("cpus: 1 to 255 is allowed");
	if (!is_int(json_object_get(j, "memory_mib"), 1, 16 << 20))
		return BAD("memory_mib: 1 to 16777216 is allowed");
	if (!absent(x = json_object_get(j, "cmdline")) &&
		(!json_is_string(x) || json_string_length(x) > 2000))
		return BAD("cmdline: text of at most 2000 bytes is allowed");
	return 0;
}

static int check_files(const json_t *j, struct err *e)
{
	const json_t *root = json_object_get(j, "root"), *x, *volumes, *v;
	size_t i;

	if (!is_digest(json_object_get(j, "kernel")))
		return BAD("kernel: a digest sha256:… is allowed");
	if (!absent(x = json_object_get(j, "initramfs")) && !is_digest(x))
		return BAD("initramfs: a digest sha256:… or null is allowed");
	if (!absent(root) && (!is_digest(json_object_get(root, "digest")) ||
				     (!absent(x = json_object_get(root, "size_mib")) &&
					     !is_int(x, 0, 64 << 20))))
		return BAD("root: null or {digest, size_mib} is allowed");
	if (!absent(x = json_object_get(j, "seed")) && !json_is_string(x))
		return BAD("seed: base64 text or null is allowed");
	volumes = json_object_get(j, "volumes");
	if (!absent(volumes) &&
		(!json_is_array(volumes) || json_array_size(volumes) > SPEC_VOLUMES))
		return BAD("volumes: at most %d are allowed", SPEC_VOLUMES);
	json_array_foreach (volumes, i, v) {
		const char *id = json_string_value(json_object_get(v, "id"));

		if (!id || !file_id_ok(id) ||
			!is_int(json_object_get(v, "generation"), 0, INT64_MAX))
			return BAD("volumes[%zu]: {id, generation, readonly} is allowed", i);
	}
	return 0;
}

static bool is_dns(const json_t *dns)
{
	const json_t *x;
	size_t i;

	if (!json_is_array(dns))
		return absent(dns) || is_ipv4(dns);
	json_array_foreach (dns, i, x) {
		if (!is_ipv4(x))
			return false;
	}
	return json_array_size(dns) <= 4;
}

static int check_net(const json_t *net, struct err *e)
{
	const json_t *x, *forwards = json_object_get(net, "forwards"), *f;
	uint8_t mac[6];
	size_t i;

	if (absent(net))
		return 0;
	x = json_object_get(net, "mac");
	if (!json_is_string(x) || num_parse_mac(json_string_value(x), mac) < 0)
		return BAD("net.mac: six bytes as 52:54:00:12:34:56 are allowed");
	if (!absent(x = json_object_get(net, "ip")) && !is_ipv4(x))
		return BAD("net.ip: an IPv4 address is allowed");
	if (!absent(x = json_object_get(net, "gateway")) && !is_ipv4(x))
		return BAD("net.gateway: an IPv4 address is allowed");
	if (!absent(x = json_object_get(net, "prefix")) && !is_int(x, 1, 32))
		return BAD("net.prefix: 1 to 32 is allowed");
	if (!is_dns(json_object_get(net, "dns")))
		return BAD("net.dns: at most four IPv4 addresses are allowed");
	if (!absent(forwards) &&
		(!json_is_array(forwards) || json_array_size(forwards) > SPEC_FORWARDS))
		return BAD("net.forwards: at most %d are allowed", SPEC_FORWARDS);
	json_array_foreach (forwards, i, f) {
		if (!is_int(json_object_get(f, "host_port"), 1, 65535) ||
			!is_int(json_object_get(f, "guest_port"), 1, 65535))
			return BAD("net.forwards[%zu]: ports from 1 to 65535 are allowed", i);
		if (!absent(x = json_object_get(f, "address")) && !is_ipv4(x))
			return BAD("net.forwards[%zu].address: an IPv4 address is allowed", i);
	}
	return 0;
}

int spec_check(const json_t *j, const char *id, struct err *e)
{
	const char *own = json_string_value(json_object_get(j, "id"));
	int r;

	if (!json_is_object(j) || (own && strcmp(own, id)))
		return BAD("an assignment whose id is that of the path is allowed");
	r = check_machine(j, e);
	if (r == 0)
		r = check_files(j, e);
	return r < 0 ? r : check_net(json_object_get(j, "net"), e);
}
