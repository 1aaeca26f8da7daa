/* SPDX-License-Identifier: Apache-2.0 */
/* argv -> noun, verb, flags, words -> one call -> its answer, or one line on stderr. Flags may
 * stand anywhere behind the noun. */
#include <stdlib.h>
#include <string.h>
#include "tools/polyctl/polyctl.h"
#include "vmm/version.h"

static int usage_error(struct err *e, const char *what, const char *word, const char *advice)
{
	return err_set(e, ERR_USAGE, -EINVAL, "%s%.80s; %s says more", what, word, advice);
}

/* ---- help ---- */

static void help_top(FILE *out)
{
	fputs("Usage: polyctl NOUN VERB [FLAG...] [WORD...]\n"
	      "Controls polyvisor, polyvisor-offload and polycloud over their REST APIs.\n\n",
		out);
	for (unsigned i = 0; nouns[i]; i++)
		fprintf(out, "  polyctl %-24s %s\n", nouns[i]->name, nouns[i]->help);
	fputs("  polyctl completion bash|zsh|fish a script that completes polyctl in that shell\n"
	      "  --help                           this; also: polyctl NOUN [VERB] --help\n"
	      "  --version                        version and commit\n\n"
	      "Exit status: 0; 1 when the server refused or cannot be reached; 2 for a usage error.\n",
		out);
}

static void help_flags(const struct flag *f, FILE *out)
{
	for (; f && f->name; f++) {
		int n = fprintf(
			out, "  %s%s%s", f->name, f->value ? " " : "", f->value ? f->value : "");
		fprintf(out, "%*s%s\n", n < 24 ? 24 - n : 1, "", f->help);
	}
}

static void help_noun(const struct noun *n, FILE *out)
{
	fprintf(out, "Usage: polyctl %s VERB [FLAG...] [WORD...]\n%s.\n\n", n->name, n->help);
	for (const struct verb *v = n->verbs; v->name; v++) {
		int w = fprintf(out, "  %s %s", v->name, v->args);
		fprintf(out, "%*s%s\n", w < 27 ? 27 - w : 1, "", v->help);
	}
	fputs("\nFlags of every verb; polyctl ", out);
	fprintf(out, "%s VERB --help shows its own:\n", n->name);
	help_flags(n->flags, out);
}

static void help_verb(const struct noun *n, const struct verb *v, FILE *out)
{
	fprintf(out, "Usage: polyctl %s%s%s%s%s [FLAG...]\n%c%s.\n", n->name, *v->name ? " " : "",
		v->name, *v->args ? " " : "", v->args, v->help[0] & ~0x20, v->help + 1);
	if (v->more)
		fprintf(out, "%s\n", v->more);
	if (v->method)
		fprintf(out, "Calls %s %s.\n", v->method, v->path);
	putc('\n', out);
	if (v->keys || v->help_keys)
		opts_help(v->keys ? v->keys : v->help_keys, out);
	help_flags(v->flags, out);
	help_flags(n->flags, out);
}

/* ---- the command line ---- */

static const struct flag *find_flag(const struct flag *f, const char *name, size_t len)
{
	for (; f && f->name; f++)
		if (strlen(f->name) == len && !strncmp(f->name, name, len))
			return f;
	return NULL;
}

/* "--flag value" and "--flag=value". Returns how many words it took. */
static int take_flag(struct call *c, char **argv, struct err *e)
{
	size_t len = strcspn(argv[0], "=");
	const struct flag *f = find_flag(c->verb->flags, argv[0], len);
	const char *value = argv[0][len] ? argv[0] + len + 1 : argv[1];

	if (!f)
		f = find_flag(c->noun->flags, argv[0], len);
	if (!f)
		return err_set(e, ERR_USAGE, -EINVAL,
			"%.64s: no such flag; polyctl %s%s%s --help lists them", argv[0],
			c->noun->name, *c->verb->name ? " " : "", c->verb->name);
	if (!f->value && argv[0][len])
		return err_set(e, ERR_USAGE, -EINVAL, "%s: takes no value", f->name);
	if (f->value && !value)
		return err_set(e, ERR_USAGE, -EINVAL, "%s: needs a value, %s", f->name, f->value);
	int r = f->set(c, f, value, e);
	return r < 0 ? r : f->value && !argv[0][len] ? 2 : 1;
}

/* "--anything", or a letter that is a flag here: other words may begin with a dash. */
static bool is_flag(const struct call *c, const char *word)
{
	return !strncmp(word, "--", 2) ||
	       (word[0] == '-' && word[1] && !word[2] && find_flag(c->verb->flags, word, 2));
}

static int take_words(struct call *c, char **argv, struct err *e)
{
	bool flags = true;

	while (*argv) {
		int n = 1;

		if (c->verb->rest && c->nwords > 1)
			flags = false;
		if (flags && !strcmp(*argv, "--"))
			flags = false;
		else if (flags && is_flag(c, *argv))
			n = take_flag(c, argv, e);
		else if (c->nwords == CALL_WORDS)
			return err_set(e, ERR_USAGE, -EINVAL, "too many words");
		else
			c->word[c->nwords++] = *argv;
		if (n < 0)
			return n;
		argv += n;
	}
	const struct verb *v = c->verb;
	if (c->nwords >= v->min && c->nwords <= v->max)
		return 0;
	return err_set(e, ERR_USAGE, -EINVAL, "%s%s%s: %s %s; polyctl %s%s%s --help says more",
		c->noun->name, *v->name ? " " : "", v->name, c->nwords < v->min ? "needs" : "takes",
		*v->args ? v->args : "no words", c->noun->name, *v->name ? " " : "", v->name);
}

static bool asks_help(char **argv)
{
	for (; *argv && strcmp(*argv, "--"); argv++)
		if (!strcmp(*argv, "--help") || !strcmp(*argv, "-h"))
			return true;
	return false;
}

/* ---- from the words to the call ---- */

static int run_call(struct call *c, char **argv, struct err *e)
{
	int r = take_words(c, argv, e);

	if (r == 0 && !c->socket && c->noun->env)
		c->socket = c->sockets[0] = getenv(c->noun->env);
	if (r == 0 && c->noun->env && (!c->socket || !*c->socket))
		r = err_set(e, ERR_USAGE, -EINVAL,
			"--socket: needed; name the socket of %s's --api-socket, or set %s",
			c->noun->server, c->noun->env);
	c->nsockets += !c->nsockets;
	if (r == 0)
		r = call_verb(c, e);
	json_decref(c->body);
	if (r == 0 && (fflush(c->out) || ferror(c->out)))
		r = err_set(e, ERR_HOST, -EIO, "cannot write the output");
	return r;
}

/* The first that is no flag of every verb, nor its value; or the end. */
static char **first_word(const struct noun *n, char **argv)
{
	while (*argv && !strncmp(*argv, "--", 2)) {
		const struct flag *f = find_flag(n->flags, *argv, strlen(*argv));
		argv += f && f->value && argv[1] ? 2 : 1;
	}
	return argv;
}

static int run_noun(const struct noun *n, char **argv, FILE *out, FILE *err, struct err *e)
{
	struct call c = {.noun = n, .out = out, .err = err};
	char advice[40];
	char **at = first_word(n, argv);

	snprintf(advice, sizeof(advice), "polyctl %s --help", n->name);
	if (NOUN_IS_VERB(n)) {
		c.verb = n->verbs;
		if (!asks_help(argv))
			return run_call(&c, argv, e);
		help_verb(n, c.verb, out);
		return 0;
	}
	for (c.verb = n->verbs; *at && c.verb->name; c.verb++)
		if (!strcmp(c.verb->name, *at))
			break;
	if (!*at && asks_help(argv)) {
		help_noun(n, out);
		return 0;
	}
	if (!*at)
		return usage_error(e, "a verb is missing after ", n->name, advice);
	if (!c.verb->name)
		return usage_error(e, "no such verb: ", *at, advice);
	if (asks_help(argv)) {
		help_verb(n, c.verb, out);
		return 0;
	}
	memmove(argv + 1, argv, (size_t)(at - argv) * sizeof(*argv));
	return run_call(&c, argv + 1, e);
}

static int dispatch(char **argv, FILE *out, FILE *err, struct err *e)
{
	const char *top = "polyctl --help";

	if (!*argv)
		return usage_error(e, "a noun is missing", "", top);
	if (!strcmp(*argv, "--help") || !strcmp(*argv, "-h")) {
		help_top(out);
		return 0;
	}
	if (!strcmp(*argv, "--version") || !strcmp(*argv, "-V")) {
		fprintf(out, "polyctl %s (%s)\n", POLYVISOR_VERSION, POLYVISOR_COMMIT);
		return 0;
	}
	if (!strcmp(*argv, "completion")) {
		if (argv[1] && !argv[2] && complete_print(argv[1], out))
			return 0;
		return usage_error(e, "completion: name one of bash, zsh, fish", "", top);
	}
	for (unsigned i = 0; nouns[i]; i++)
		if (!strcmp(*argv, nouns[i]->name))
			return run_noun(nouns[i], argv + 1, out, err, e);
	return usage_error(e, "no such noun: ", *argv, top);
}

int polyctl_main(int argc, char **argv, FILE *out, FILE *err)
{
	struct err e = {0};
	int r = argc > 0 ? dispatch(argv + 1, out, err, &e) : -EINVAL;

	if (r >= 0)
		return 0;
	fflush(out);
	fprintf(err, "polyctl: %s\n", e.kind == ERR_NONE ? strerrordesc_np(-r) : e.text);
	return err_exit_status(&e);
}
