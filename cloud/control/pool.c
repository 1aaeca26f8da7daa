/* SPDX-License-Identifier: Apache-2.0 */
/* Membership and baseline of pools. */
#include "cloud/control/pool.h"

#include <stdlib.h>

#include "cloud/control/schedule_match.h"

static bool has_labels(const json_t *want, const struct host_facts *h)
{
	const char *key;
	json_t *value;
	json_object_foreach ((json_t *)want, key, value) {
		struct label one = {key, json_string_value(value)};
		if (!one.value || labels_missing(h->labels, (struct labels){&one, 1}, 0) == 0)
			return false;
	}
	return json_object_size(want) > 0;
}

bool pool_has(const json_t *pool, const struct host_facts *h)
{
	const json_t *hosts = json_object_get(pool, "hosts");
	size_t i;
	json_t *host;
	json_array_foreach (hosts, i, host) {
		const char *name = json_string_value(host);
		if (name && (!strcmp(name, h->name) || !strcmp(name, h->id)))
			return true;
	}
	return !json_array_size(hosts) && has_labels(json_object_get(pool, "labels"), h);
}

int pool_intersect(const struct host_facts *const *hosts, unsigned n, struct names *ret)
{
	struct names out = {NULL, 0};
	if (n) {
		const char **v = calloc(hosts[0]->features.n + 1, sizeof(*v));
		if (!v)
			return -ENOMEM;
		for (unsigned i = 0; i < hosts[0]->features.n; i++) {
			unsigned k = 1;
			while (k < n && names_have(hosts[k]->features, hosts[0]->features.v[i]))
				k++;
			if (k == n)
				v[out.n++] = hosts[0]->features.v[i];
		}
		out.v = v;
	}
	*ret = out;
	return 0;
}
