/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include "offload/served.h"

/* The configurations of all, in order, and room for one more. */
static unsigned configs(const struct served_set *set, struct served_config *ret[SERVED_MAX + 1])
{
	for (unsigned i = 0; i < set->n; i++)
		ret[i] = (struct served_config *)served_config(
			set->at[i]); /* checked already: not changed */
	return set->n;
}

int served_set_add(
	struct served_set *set, struct served_config *c, struct served **ret_served, struct err *e)
{
	struct served_config *all[SERVED_MAX + 1];
	unsigned n = configs(set, all);
	struct served *s;
	int r;

	if (n == SERVED_MAX)
		return err_set(e, ERR_HOST, -ENOSPC, "--device: allowed: at most %d", SERVED_MAX);
	if (set->confined && c->type == VIRTIO_TYPE_NET && c->backend == SERVED_PASST)
		return err_set(e, ERR_UNOFFERED, -EPERM,
			"--device backend: passt cannot be started inside the sandbox; allowed: on the "
			"command line, or with --sandbox off");
	all[n] = c;
	c->hurried = set->serving;
	r = served_check(all, n + 1, n, e);
	if (r == 0)
		r = served_open(set->loop, c, set->log, &s, e);
	if (r < 0)
		return r;
	set->at[set->n++] = s;
	if (ret_served)
		*ret_served = s;
	return 0;
}

struct served *served_set_find(const struct served_set *set, const char *id)
{
	for (unsigned i = 0; i < set->n; i++)
		if (!strcmp(served_config(set->at[i])->id, id))
			return set->at[i];
	return NULL;
}

/* The place is given up last: while the loop turns, requests may look for s or add others. */
void served_set_remove(struct served_set *set, struct served *s)
{
	unsigned i = 0;

	while (i < set->n && set->at[i] != s)
		i++;
	if (i == set->n)
		return;
	served_close(s); /* none before it goes meanwhile */
	memmove(&set->at[i], &set->at[i + 1], (--set->n - i) * sizeof(set->at[0]));
}

void served_set_fini(struct served_set *set)
{
	while (set->n)
		served_set_remove(set, set->at[set->n - 1]);
}
