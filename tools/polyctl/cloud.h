/* SPDX-License-Identifier: Apache-2.0 */
/* The nouns of a cloud: instances, images, hosts and the rest, by polycloud's API. A verb's row
 * says method, path ("/v1/instances/{name}", whose braces take the first words), which fields the
 * other words become, and the columns of the answer's table. */
#ifndef TOOLS_POLYCTL_CLOUD_H
#define TOOLS_POLYCTL_CLOUD_H

#include <curl/curl.h>
#include "tools/polyctl/polyctl.h"

/* ---- cloud_context.c: where the cloud is ---- */

struct cloud_end {
	char *name;	   /* of the context, or NULL */
	char *socket;	   /* a unix socket, or NULL: then url */
	char *url;	   /* "https://host:port" */
	char *token;	   /* or NULL */
	char *fingerprint; /* SHA-256 of the server's certificate, 64 hex digits; NULL: a public CA
			    */
	char *project;	   /* the context's, or NULL */
};
/* What --socket, $POLYCLOUD_SOCKET, --context, the current context and the usual places of
 * `polycloud up` say, in this order. */
int cloud_find(const struct call *c, struct cloud_end **ret_end, struct err *e);
void cloud_end_free(struct cloud_end *end);
const char *cloud_end_name(const struct cloud_end *end); /* for messages */
/* A file in the folder of our settings, which is made. */
int cloud_config_path(const char *file, char *ret_path, size_t cap, struct err *e);

/* ---- cloud_http.c: one request ---- */

struct cloud_req {
	const char *method, *path; /* with the query */
	const char *body;	   /* JSON text, or NULL */
	FILE *upload;		   /* sent as it is, instead of body */
	const char *header;	   /* one more, or NULL */
	/* Takes a 200's body as it comes; not 0: enough. NULL: it is collected. */
	int (*take)(void *arg, const char *p, size_t n);
	/* Called now and then: seconds so far and, of an upload, bytes sent and in all. */
	void (*tick)(void *arg, unsigned seconds, uint64_t sent, uint64_t total);
	void *arg;
};
int cloud_request(const struct cloud_end *end, const struct cloud_req *q,
	struct client_reply *ret_reply, struct err *e);
/* `Upgrade: polycloud-stream`: a descriptor with the bytes both ways. */
int cloud_upgrade(const struct cloud_end *end, const char *path, int *ret_fd, struct err *e);
/* Makes a problem document (RFC 9457) the error's text. */
int cloud_refused(const struct client_reply *reply, struct err *e);

/* ---- cloud_call.c: rows to requests ---- */

int cloud_run(struct call *c, struct err *e);
/* What every verb begins with: finds the cloud. c->end is freed by cloud_done(). */
int cloud_begin(struct call *c, struct err *e);
void cloud_done(struct call *c);
/* Replaces the braces of path by percent-encoded words and adds query and project. *used counts the
 * words that went into it. */
int cloud_path(struct call *c, const char *path, char *const *words, unsigned n, unsigned *used,
	char **ret_path, struct err *e);
/* One call whose answer is JSON: a new reference, NULL when there is none. */
int cloud_json(struct call *c, const char *method, const char *path, const json_t *body,
	json_t **ret_answer, struct err *e);
/* The same for a path with words in it. */
int cloud_get(
	struct call *c, const char *path, const char *word, json_t **ret_answer, struct err *e);
/* A line on stderr for who waits longer than two seconds; NULL ends it. */
void cloud_progress(struct call *c, unsigned seconds, const char *text);

/* ---- cloud_wait.c ---- */

/* Waits until the instance is in one of the states ("gone" = 404). */
int cloud_wait_instance(struct call *c, const char *name, const char *states, struct err *e);
/* Waits for the operation's end; its error is ours. */
int cloud_wait_operation(struct call *c, const json_t *operation, struct err *e);

int run_version(struct call *c, struct err *e);

/* ---- cloud_flags.c: flags to fields ---- */

extern const struct flag cloud_flags[];					      /* of every noun */
int cloud_set(struct call *c, const char *key, json_t *value, struct err *e); /* takes value */
int set_text(struct call *c, const struct flag *f, const char *value, struct err *e);
int set_number(struct call *c, const struct flag *f, const char *value, struct err *e);
int set_true(struct call *c, const struct flag *f, const char *value, struct err *e);
int set_mib(struct call *c, const struct flag *f, const char *value, struct err *e);
int set_gib(struct call *c, const struct flag *f, const char *value, struct err *e);
int set_text_or_null(struct call *c, const struct flag *f, const char *value, struct err *e);
int set_list(struct call *c, const struct flag *f, const char *value, struct err *e);
int set_label(struct call *c, const struct flag *f, const char *value, struct err *e);
int set_port(struct call *c, const struct flag *f, const char *value, struct err *e);
int set_disk(struct call *c, const struct flag *f, const char *value, struct err *e);
int set_file_text(struct call *c, const struct flag *f, const char *value, struct err *e);
int set_query(struct call *c, const struct flag *f, const char *value, struct err *e);
int set_wait(struct call *c, const struct flag *f, const char *value, struct err *e);
int set_timeout(struct call *c, const struct flag *f, const char *value, struct err *e);
int set_file(struct call *c, const struct flag *f, const char *value, struct err *e);
int set_confirm(struct call *c, const struct flag *f, const char *value, struct err *e);
int set_follow(struct call *c, const struct flag *f, const char *value, struct err *e);
int set_until(struct call *c, const struct flag *f, const char *value, struct err *e);
/* "8080:80" or "127.0.0.1:8080:80" as an object. */
int cloud_port(const char *text, json_t **ret_port, struct err *e);

/* ---- cloud_show.c: answers for people ---- */

/* A value of a document by "observed.state", as text; lists are joined by commas; "@created_at" is
 * an age, "#digest" the beginning of one. */
void cloud_cell(const json_t *doc, const char *path, char *ret_text, size_t cap);
int cloud_show_list(struct call *c, const json_t *answer);
int cloud_show_object(struct call *c, const json_t *answer);
int cloud_show_schedule(struct call *c, const json_t *answer);
int cloud_show_diagnose(struct call *c, const json_t *answer);
int cloud_show_made(struct call *c, const json_t *answer);

/* ---- whole verbs ---- */

int run_cloud_console(struct call *c, struct err *e); /* cloud_stream.c */
int run_tunnel(struct call *c, struct err *e);
int run_ssh(struct call *c, struct err *e);	     /* cloud_ssh.c */
int run_cloud_events(struct call *c, struct err *e); /* cloud_events.c */
int run_upload(struct call *c, struct err *e);	     /* cloud_image.c */
int run_build(struct call *c, struct err *e);
int run_token_create(struct call *c, struct err *e); /* cloud_context.c */
int run_context_add(struct call *c, struct err *e);
int run_context_use(struct call *c, struct err *e);
int run_context_list(struct call *c, struct err *e);
int run_context_delete(struct call *c, struct err *e);

extern const struct noun noun_instance, noun_image, noun_console, noun_ssh, noun_tunnel,
	noun_diagnose, noun_schedule, noun_cloud_events, noun_port, noun_volume, noun_network,
	noun_key, noun_host, noun_flavor, noun_project, noun_token, noun_operation, noun_pool,
	noun_context, noun_backup, noun_cloud_version;

#endif
