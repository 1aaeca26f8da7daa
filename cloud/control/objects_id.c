/* SPDX-License-Identifier: Apache-2.0 */
/* Names of kinds, ids and times. */
#include <assert.h>
#include <stdio.h>
#include <sys/random.h>
#include <time.h>
#include "cloud/control/objects.h"

static const struct {
	const char *name, *plural;
	char letter;
	bool in_project;
} kinds[KIND_COUNT] = {
	[KIND_PROJECT] = {"project", "projects", 'p', false},
	[KIND_TOKEN] = {"token", "tokens", 't', false},
	[KIND_INSTANCE] = {"instance", "instances", 'i', true},
	[KIND_IMAGE] = {"image", "images", 'm', true},
	[KIND_VOLUME] = {"volume", "volumes", 'v', true},
	[KIND_NETWORK] = {"network", "networks", 'n', true},
	[KIND_PORT] = {"port", "ports", 'a', true},
	[KIND_KEY] = {"key", "keys", 'k', true},
	[KIND_HOST] = {"host", "hosts", 'h', false},
	[KIND_FLAVOR] = {"flavor", "flavors", 'f', false},
	[KIND_OPERATION] = {"operation", "operations", 'o', true},
	[KIND_POOL] = {"pool", "pools", 'b', false},
};

const char *kind_name(enum kind k)
{
	return kinds[k].name;
}

const char *kind_plural(enum kind k)
{
	return kinds[k].plural;
}

bool kind_in_project(enum kind k)
{
	return kinds[k].in_project;
}

/* github.com/ulid/spec: 48 bits of milliseconds, then 80 of which 20 are here the nanoseconds
 * within them and 60 are random; Crockford's base 32. */
void obj_new_id(enum kind k, char ret_id[32])
{
	static const char digits[] = "0123456789abcdefghjkmnpqrstvwxyz";
	struct timespec t;
	uint64_t random, ms;
	unsigned __int128 v;

	clock_gettime(CLOCK_REALTIME, &t);
	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		assert(!"getrandom gives 8 bytes at once (getrandom(2))");
	ms = (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
	v = (unsigned __int128)(ms & 0xffffffffffff) << 80 |
	    (unsigned __int128)(t.tv_nsec % 1000000) << 60 | (random & 0xfffffffffffffff);
	ret_id[0] = kinds[k].letter;
	ret_id[1] = '-';
	for (int i = 27; i >= 2; i--, v >>= 5)
		ret_id[i] = digits[(unsigned)v & 31];
	ret_id[28] = '\0';
}

void obj_now(char ret_text[32])
{
	struct timespec t;
	struct tm tm;
	size_t n;

	clock_gettime(CLOCK_REALTIME, &t);
	gmtime_r(&t.tv_sec, &tm);
	n = strftime(ret_text, 32, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(ret_text + n, 32 - n, ".%03uZ", (unsigned)(t.tv_nsec / 1000000) % 1000);
}
