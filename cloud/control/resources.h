/* SPDX-License-Identifier: Apache-2.0 */
/* The resources of the API: their field tables, and handlers over objects. Most kinds differ only
 * in their tables and in what making one fills in, so list, get, patch and delete are the same code
 * for all; the kind is the plural word in the row's path.
 *
 *   resources.c         the rows           resources_fields.c  the tables
 *   resources_list.c    lists, views       resources_put.c     making, changing, deleting
 *   handlers_KIND.c     what only that kind does */
#ifndef CLOUD_CONTROL_RESOURCES_H
#define CLOUD_CONTROL_RESOURCES_H

#include "cloud/control/control.h"

extern const struct route resources_routes[];
extern const unsigned resources_nroutes;

/* What a first start makes: project and network "default", the flavors, a key of each public key in
 * ~/.ssh; and at every start: operations left running have failed. */
int resources_init(struct control *c, struct err *e);

/* ---- tables ---- */

extern const struct field instance_fields[], instance_patch[], volume_fields[], network_fields[],
	port_fields[], key_fields[], flavor_fields[], pool_fields[], project_fields[],
	token_fields[], host_fields[], operation_fields[], stop_fields[], confirm_fields[],
	forward_fields[], backup_fields[], event_fields[];

/* ---- steps that handlers share (each that answers says so) ---- */

enum kind route_kind(const struct route *r);
/* A new document: id, name (NULL: its id), the caller's project, labels of the body. */
json_t *res_draft(struct call *c, enum kind k, const char *name);
/* What is shown of an object: no hashes, and what is computed. New reference. */
json_t *res_view(struct call *c, const struct obj *o);
void res_answer(struct call *c, unsigned status, const struct obj *o);
/* Answers for an obj_put() or obj_delete() that failed with r. */
void res_failed(struct call *c, int r);
/* Puts a document (taken) that a request makes or changes. NULL after answering. */
struct obj *res_put(struct call *c, enum kind k, json_t *doc, const char *event, const char *text);
/* Puts and answers 201. */
void res_make(struct call *c, enum kind k, json_t *doc);
/* Deletes and answers 204. */
void res_drop(struct call *c, struct obj *o);
/* The object that {id} names, of a row's kind and the caller's project; NULL after answering. */
struct obj *res_named(struct call *c);
/* doc with what the body changes (labels one by one, null takes one away). New reference. */
json_t *res_merge(const json_t *doc, const json_t *body);
const char *body_text(const struct call *c, const char *key); /* NULL when absent or null */
int64_t doc_int(const json_t *doc, const char *key);
const char *doc_text(const json_t *doc, const char *key); /* "" when absent or null */
struct change call_change(const struct call *c, const char *event, const char *text);

/* ---- instances ---- */

/* A whole document of what a body asks for, with every default, checked against what there is. It
 * is not stored and has no port yet. 0, or a negative errno with e and the field at fault. */
int instance_draft(
	struct call *c, const json_t *body, json_t **ret_doc, char ret_field[64], struct err *e);
/* "running", …; "" when there is none. */
const char *instance_desired(const struct obj *o);
const char *instance_observed(const struct obj *o);
/* Is host_port taken by another instance (any project)? self may be NULL. */
bool forward_taken(struct objects *os, const struct obj *self, int64_t host_port);

/* ---- networks ---- */

/* "10.64.0.0/16" to its numbers; prefix 16..28, host bits 0. -EINVAL. */
int cidr_parse(const char *text, uint32_t *ret_address, unsigned *ret_prefix);
void ip_text(uint32_t address, char ret_text[16]);
/* Adds mac and ip to doc, free ones of the network (or the ip asked for). -EADDRNOTAVAIL: full;
 * -EEXIST: that ip is taken; -ERANGE: it is outside. */
int port_allocate(struct objects *os, const struct obj *network, const char *ip, json_t *doc);
/* A port's document for an instance's; its id is put into the instance's document. */
int port_draft(struct objects *os, const struct obj *network, json_t *instance, json_t **ret_port);

/* ---- projects ---- */

/* A project (its document is taken) and its network "default", inside the caller's transaction. */
int project_make(struct objects *os, const char *name, json_t *project, const struct change *c,
	struct obj **ret_obj);

/* ---- tokens ---- */

/* Deletes the expired ones: whoever makes tokens calls it, so they do not pile up. */
void tokens_trim(struct objects *os);

/* ---- keys ---- */

/* One line of a public key file (sshd(8), AUTHORIZED_KEYS FILE FORMAT, without options): type,
 * base64, comment. ret_fingerprint is "SHA256:…" as ssh-keygen -l shows it. -EINVAL and e. */
int ssh_key_check(const char *line, char ret_fingerprint[64], struct err *e);
/* Makes keys of project "default" of the files *.pub in HOME/.ssh, without the .pub. */
int keys_from_home(struct objects *os, const char *home);

/* ---- handlers ---- */

void resource_list(struct call *c);
void resource_get(struct call *c);
void resource_patch(struct call *c);
void resource_drop(struct call *c); /* for what nothing can depend on */

void instance_post(struct call *c);
void instance_patch_handler(struct call *c);
void instance_delete(struct call *c);
void instance_action(struct call *c);
void instance_events(struct call *c);
void forward_post(struct call *c);
void forward_delete(struct call *c);
void volume_post(struct call *c);
void volume_delete(struct call *c);
void network_post(struct call *c);
void network_patch(struct call *c);
void network_delete(struct call *c);
void port_post(struct call *c);
void port_delete(struct call *c);
void key_post(struct call *c);
void flavor_post(struct call *c);
void pool_post(struct call *c);
void project_post(struct call *c);
void project_delete(struct call *c);
void token_post(struct call *c);
void host_action(struct call *c);
void host_delete(struct call *c);
void backup_post(struct call *c);

#endif
