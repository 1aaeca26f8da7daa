/* SPDX-License-Identifier: Apache-2.0 */
/* Cold moves: an instance stops, its host confirms that it has nothing of it any more, and it is
 * placed on another. What lies on the host's disks does not travel, so an instance with data there
 * is told to be in the way rather than moved without it. */
#include <stdlib.h>
#include <string.h>

#include "cloud/control/hosts_do.h"
#include "cloud/control/operation.h"
#include "cloud/control/reconcile_internal.h"

static bool has_root(struct reconciler *r, const json_t *doc)
{
	const char *digest = doc_str(doc, "platform_digest");
	struct image_platform p;
	if (json_is_object(json_object_get(json_object_get(doc, "assignment"), "root")))
		return true;
	/* When it cannot be told, it may have one. */
	return digest &&
	       (image_pinned(r->c->images, digest, &p, NULL) || p.part[IMAGE_ROOT].digest[0]);
}

static bool fits_elsewhere(struct reconciler *r, struct obj *o, char *ret_why, size_t cap)
{
	struct sched_want *w = malloc(sizeof(*w));
	struct err e = {0};
	unsigned n;
	bool fits = false;
	snprintf(ret_why, cap, "no memory");
	if (w && want_read(r->c, o->project, o->doc, w, &e)) {
		snprintf(ret_why, cap, "%s", e.text);
	} else if (w) {
		w->req.avoid = doc_str(o->doc, "host_id");
		const struct host_facts *facts = fleet_facts(r->fleet, &n);
		fits = schedule(facts, n, &w->req) >= 0;
		if (!fits) {
			snprintf(ret_why, cap, "no other host takes it: ");
			schedule_why_not(facts, n, &w->req, ret_why + strlen(ret_why),
				cap - strlen(ret_why));
		}
	}
	free(w);
	return fits;
}

bool move_blocked(struct reconciler *r, struct obj *o, char *ret_why, size_t cap)
{
	const char *host = doc_str(o->doc, "host_id");
	if (!host)
		snprintf(ret_why, cap, "it is on no host");
	else if (!host_up(r, host))
		snprintf(ret_why, cap, "host %s is offline", host_name(r, host));
	else if (json_array_size(json_object_get(o->doc, "disks")))
		snprintf(ret_why, cap, "its volumes are on host %s", host_name(r, host));
	else if (has_root(r, o->doc))
		snprintf(ret_why, cap, "its root disk is on host %s", host_name(r, host));
	else if (doc_str(o->doc, "pin"))
		snprintf(ret_why, cap, "it asks for host %s", doc_str(o->doc, "pin"));
	else
		return !fits_elsewhere(r, o, ret_why, cap);
	return true;
}

bool move_begin(struct reconciler *r, struct obj *o, const char *op)
{
	char text[160];
	json_t *doc = json_deep_copy(o->doc);
	const char *host = doc_str(doc, "host_id");
	snprintf(text, sizeof(text), "off host %s", host_name(r, host));
	json_object_set_new(doc, "moving", json_pack("{s:s?, s:s?}", "from", host, "op", op));
	return doc_put(r, o, doc, "scheduler", "moving", text) != NULL;
}

void instance_move(struct call *c, struct obj *o)
{
	struct reconciler *r = c->control->reconciler;
	char why[400];
	if (json_is_object(json_object_get(o->doc, "moving"))) {
		call_problem(c, 409, NULL, "instance %s is being moved already", o->name);
		return;
	}
	if (move_blocked(r, o, why, sizeof(why))) {
		call_problem(c, 409, NULL, "instance %s cannot move: %s", o->name, why);
		return;
	}
	struct obj *op;
	char target[96];
	snprintf(target, sizeof(target), "instance %s", o->name);
	if (operation_new(c->control->objects, o->project, "move", target, c->actor, c->request_id,
		    &op) ||
		!move_begin(r, o, op->id)) {
		call_problem(c, 500, NULL, "the move of instance %s is not stored", o->name);
		return;
	}
	call_reply_obj(c, 202, op);
}
