/* SPDX-License-Identifier: Apache-2.0 */
/* The next step of a volume. It is made on a host with the instance that gets it; here it only
 * ends. */
#include "cloud/control/reconcile_internal.h"

#include <string.h>

static void delete_row(struct reconciler *r, struct obj *o)
{
	struct change c = {.event = "deleted", .actor = "scheduler"};
	int rc = obj_delete(r->c->objects, o, &c);
	if (rc)
		log_line(r->c->log, LOG_ERROR, "reconcile", "a volume is not deleted: %s",
			strerror(-rc));
}

static void deleted(struct reconciler *r, struct item *it, const char *host_id, unsigned status,
	json_t *body, const char *error, uint64_t tag)
{
	(void)tag;
	struct obj *o = it ? obj_get(r->c->objects, KIND_VOLUME, it->id) : NULL;
	if (!o)
		return;
	if (status == 200 || status == 204 || status == 404) {
		delete_row(r, o);
		return;
	}
	char why[256];
	act_why(r, host_id, status, body, error, why, sizeof(why));
	log_line(r->c->log, LOG_WARN, o->id, "is not deleted yet: %s", why);
	item_failed(it);
}

void volume_step(struct reconciler *r, struct item *it, struct obj *o)
{
	const char *state = doc_str(o->doc, "state"), *host = doc_str(o->doc, "host_id");
	if (it->ticket || !state || strcmp(state, "deleting") || doc_str(o->doc, "attached_to"))
		return;
	if (!host || host_is_fenced(r, host)) {
		delete_row(r, o);
		return;
	}
	if (!host_up(r, host))
		return;
	char path[96];
	snprintf(path, sizeof(path), "/v1/volumes/%s", o->id);
	act_call(it, host, "DELETE", path, NULL, deleted, 0);
}
