/* SPDX-License-Identifier: Apache-2.0 */
/* polyctl NOUN VERB. A noun is a table of verbs; a verb is one row: what it takes, what it calls,
 * how the answer is shown. Command line, help, completion and calls are all read from the rows. */
#ifndef TOOLS_POLYCTL_POLYCTL_H
#define TOOLS_POLYCTL_POLYCTL_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include "tools/polyctl/client.h"
#include "vmm/base/err.h"
#include "vmm/base/opts.h"

#define CALL_WORDS   64
#define CALL_SOCKETS 32 /* of top */

/* What completion offers for a word or a flag's value. */
enum hint { HINT_NONE, HINT_FILE, HINT_DEVICE, HINT_SHELL };

struct call;

struct flag {
	const char *name;  /* "--until", or a letter: "-f" */
	const char *value; /* "EVENT", or NULL for a switch */
	const char *help;
	enum hint hint;
	int (*set)(struct call *c, const struct flag *f, const char *value, struct err *e);
	const char *key; /* of the body or query, for setters that serve many flags */
};

struct verb {
	const char *name, *args, *help;	   /* "coredump", "FILE", one clause */
	const char *method, *path;	   /* of the API */
	unsigned min, max;		   /* words */
	enum hint hint;			   /* for them */
	const struct opt_table *keys;	   /* the words are key=value of this table: the body */
	const struct opt_table *help_keys; /* likewise, but prepare() reads them */
	const struct flag *flags;	   /* ended by one without a name */
	/* Fills body or path from the words; NULL: nothing to do. */
	int (*prepare)(struct call *c, struct err *e);
	/* Shows a 200's body to a person; NULL: nothing, or as it is when it is no JSON. */
	int (*show)(struct call *c, const json_t *answer);
	/* Instead of all that, for what is not one call and one answer. */
	int (*run)(struct call *c, struct err *e);
	const char *more; /* a paragraph for --help, or NULL */

	/* Of the cloud's nouns (cloud.h). */
	const char *fields;  /* what words become that the path does not take: "name public_key" */
	const char *columns; /* of a list's table: "NAME=name STATE=observed.state" */
	const char *until;   /* the states that --wait waits for: "stopped failed" */
	bool each;	     /* once for every word */
	bool rest;	     /* behind the second word there are no flags of ours */
};

struct noun {
	const char *name, *help;
	const struct verb *verbs; /* ended by one without a name */
	const struct flag *flags; /* of every verb */
	const char *server, *env; /* whose --api-socket --socket names, and its default */
	const char *ids;	  /* noun and verb that print ids with --ids, for completion */
	/* Runs those verbs that have no run of their own; NULL: call_verb() does. */
	int (*run)(struct call *c, struct err *e);
};
/* A noun that is a verb itself has one, without a name. */
#define NOUN_IS_VERB(n) (!*(n)->verbs[0].name)

/* One run of polyctl. Words and flag values point into argv. */
struct call {
	const struct noun *noun;
	const struct verb *verb;
	char *word[CALL_WORDS];
	unsigned nwords;
	FILE *out, *err;

	const char *socket; /* the last that was named */
	const char *sockets[CALL_SOCKETS];
	unsigned nsockets;
	bool json, ids, virtio, once, total;
	const char *until;
	unsigned wait; /* seconds; of top: between two looks */
	int fds[CLIENT_FDS];
	unsigned nfds;

	json_t *body;	  /* owned, or NULL */
	char path[256];	  /* instead of the verb's, when not "" */
	char watch[4096]; /* a file that grows during the call, for progress; "" = none */
	unsigned told;	  /* seconds at the last progress line */

	/* Of the cloud's nouns. */
	const char *context, *project, *file;
	char query[1024]; /* "&state=running" */
	bool waits, follow, confirm;
	unsigned timeout; /* seconds of --wait */
	struct cloud_end *end;
};

int polyctl_main(int argc, char **argv, FILE *out, FILE *err);

/* Runs c's verb with its words, from call to output. */
int call_verb(struct call *c, struct err *e);
/* One call as the verb's row and the prepared c say; the answer's text, when it has one, is the
 * caller's to free. A refusal is an error whose text is the server's. */
int call_server(struct call *c, const char *method, const char *path, char **ret_text,
	struct client_reply *ret_reply, struct err *e);
/* The same for a GET of JSON: a new reference. */
int call_get(struct call *c, const char *path, json_t **ret_answer, struct err *e);
/* Makes a refusal's text the error's. */
int call_refused(const struct client_reply *reply, struct err *e);

extern const struct noun noun_vm, noun_offload;
extern const struct noun *const nouns[]; /* ended by NULL; nouns.c or cloud_nouns.c */

/* create.c */
extern const struct flag create_flags[];
int create_prepare(struct call *c, struct err *e);

/* show.c: answers for people */
int show_ping(struct call *c, const json_t *answer);
int show_info(struct call *c, const json_t *answer);
int show_counters(struct call *c, const json_t *answer);
int show_devices(struct call *c, const json_t *answer);
int show_device(struct call *c, const json_t *answer);
int show_added(struct call *c, const json_t *answer);

/* vm.c: flags that other nouns have, too */
int flag_socket(struct call *c, const struct flag *f, const char *value, struct err *e);
int flag_json(struct call *c, const struct flag *f, const char *value, struct err *e);
int flag_ids(struct call *c, const struct flag *f, const char *value, struct err *e);
int flag_seconds(struct call *c, const struct flag *f, const char *value, struct err *e);
int flag_fd(struct call *c, const struct flag *f, const char *value, struct err *e);
/* Makes c->path of the verb's, the word in the place of "ID", percent-encoded. */
int path_with_id(struct call *c, const char *id, struct err *e);

/* top.c */
int run_top(struct call *c, struct err *e);

/* events.c, console.c: whole verbs */
int run_events(struct call *c, struct err *e);
int run_console(struct call *c, struct err *e);

/* complete.c: a script for the shell; false when it is not one of bash, zsh, fish. */
bool complete_print(const char *shell, FILE *out);

#endif
