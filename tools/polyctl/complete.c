/* SPDX-License-Identifier: Apache-2.0 */
/* Completion scripts, written from the tables: nouns, verbs, flags, keys, files; ids of devices by
 * asking the socket named so far on the line. */
#include <string.h>
#include "tools/polyctl/polyctl.h"

static void print_flags(const struct flag *f, FILE *out)
{
	for (; f && f->name; f++)
		fprintf(out, "%s ", f->name);
}

static void print_keys(const struct opt_table *t, FILE *out)
{
	for (unsigned i = 0; t && i < t->n; i++)
		fprintf(out, "%s= ", t->opts[i].name);
}

#define SEEN_MAX 128

/* Flags of any verb whose value is of that hint, as a pattern: "--kernel|--socket". */
static void print_hinted(enum hint hint, FILE *out)
{
	const char *seen[SEEN_MAX];
	unsigned n = 0;

	for (unsigned i = 0; nouns[i]; i++) {
		for (const struct verb *v = nouns[i]->verbs; v->name; v++) {
			for (unsigned both = 0; both < 2; both++) {
				const struct flag *f = both ? nouns[i]->flags : v->flags;

				for (; f && f->name; f++) {
					unsigned k = 0;
					while (k < n && strcmp(seen[k], f->name))
						k++;
					if (!f->value || f->hint != hint || k < n || n == SEEN_MAX)
						continue;
					fprintf(out, "%s%s", n ? "|" : "", f->name);
					seen[n++] = f->name;
				}
			}
		}
	}
}

/* ---- bash ---- */

static const char bash_head[] =
	"# Completion of polyctl for bash; written by: polyctl completion bash\n"
	"_polyctl_devices() {\n"
	"	local i\n"
	"	for ((i = 1; i < ${#COMP_WORDS[@]} - 1; i++)); do\n"
	"		if [ \"${COMP_WORDS[i]}\" = --socket ]; then\n"
	"			polyctl $1 --ids --socket \"${COMP_WORDS[i + 1]}\" 2>/dev/null\n"
	"			return\n"
	"		fi\n"
	"	done\n"
	"	polyctl $1 --ids 2>/dev/null\n"
	"}\n"
	"_polyctl() {\n"
	"	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} words=''\n"
	"	COMPREPLY=()\n";

static const char bash_tail[] = "	local IFS=$' \\t\\n'\n"
				"	COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
				"	case ${COMPREPLY[0]} in *=) compopt -o nospace ;; esac\n"
				"}\n"
				"complete -F _polyctl polyctl\n";

static void bash_verb(const struct noun *n, const struct verb *v, FILE *out)
{
	fprintf(out, "	'%s %s'%s)\n		words='", n->name, v->name, *v->name ? "" : "*");
	print_flags(v->flags, out);
	print_flags(n->flags, out);
	print_keys(v->keys ? v->keys : v->help_keys, out);
	fputs("--help'\n", out);
	if (v->hint == HINT_DEVICE)
		fprintf(out,
			"		case $cur in -*) ;; *) words=$(_polyctl_devices '%s') ;; esac\n",
			n->ids);
	if (v->hint == HINT_FILE)
		fputs("		case $cur in -*) ;; *) compopt -o default; return ;; esac\n", out);
	fputs("		;;\n", out);
}

static void print_nouns(FILE *out)
{
	for (unsigned i = 0; nouns[i]; i++)
		fprintf(out, "%s ", nouns[i]->name);
}

static void print_verbs(const struct noun *n, FILE *out)
{
	for (const struct verb *v = n->verbs; v->name; v++)
		fprintf(out, "%s ", v->name);
}

static void bash(FILE *out)
{
	fputs(bash_head, out);
	fputs("	case $prev in\n	", out);
	print_hinted(HINT_FILE, out);
	fputs(") compopt -o default; return ;;\n	", out);
	print_hinted(HINT_NONE, out);
	fputs(") return ;;\n	=) compopt -o default; return ;;\n	esac\n	case \"${COMP_WORDS[1]} ${COMP_WORDS[2]}\" in\n",
		out);
	for (unsigned i = 0; nouns[i]; i++)
		for (const struct verb *v = nouns[i]->verbs; v->name; v++)
			bash_verb(nouns[i], v, out);
	fputs("	'completion '*) words='bash zsh fish' ;;\n	esac\n", out);
	fputs("	if [ \"$COMP_CWORD\" = 1 ]; then\n		words='", out);
	print_nouns(out);
	fputs("completion --help --version'\n	elif [ \"$COMP_CWORD\" = 2 ]; then\n"
	      "		case $prev in\n",
		out);
	for (unsigned i = 0; nouns[i]; i++) {
		if (NOUN_IS_VERB(nouns[i]))
			continue;
		fprintf(out, "		%s) words='", nouns[i]->name);
		print_verbs(nouns[i], out);
		fputs("--help' ;;\n", out);
	}
	fputs("		esac\n	fi\n", out);
	fputs(bash_tail, out);
}

/* ---- zsh ---- */

static const char zsh_head[] =
	"#compdef polyctl\n"
	"# Completion of polyctl for zsh; written by: polyctl completion zsh\n"
	"_polyctl_devices() {\n"
	"	local i=${words[(I)--socket]}\n"
	"	if (( i && i < $#words )); then\n"
	"		polyctl ${=1} --ids --socket $words[i+1] 2>/dev/null\n"
	"	else\n"
	"		polyctl ${=1} --ids 2>/dev/null\n"
	"	fi\n"
	"}\n"
	"_polyctl() {\n";

static void zsh_verb(const struct noun *n, const struct verb *v, FILE *out)
{
	fprintf(out, "	'%s %s'%s)\n		compadd -- ", n->name, v->name,
		*v->name ? "" : "*");
	print_flags(v->flags, out);
	print_flags(n->flags, out);
	fputs("--help\n", out);
	if (v->keys || v->help_keys) {
		fputs("		if compset -P '*='; then _files; return; fi\n"
		      "		compadd -S '' -- ",
			out);
		print_keys(v->keys ? v->keys : v->help_keys, out);
		putc('\n', out);
	}
	if (v->hint == HINT_DEVICE)
		fprintf(out, "		compadd -- ${(f)\"$(_polyctl_devices '%s')\"}\n", n->ids);
	if (v->hint == HINT_FILE)
		fputs("		[[ $PREFIX == -* ]] || _files\n", out);
	fputs("		;;\n", out);
}

static void zsh(FILE *out)
{
	fputs(zsh_head, out);
	fputs("	case $words[CURRENT-1] in\n	", out);
	print_hinted(HINT_FILE, out);
	fputs(") _files; return ;;\n	", out);
	print_hinted(HINT_NONE, out);
	fputs(") return ;;\n	esac\n	if (( CURRENT == 2 )); then\n		compadd -- ", out);
	print_nouns(out);
	fputs("completion --help --version\n		return\n	fi\n"
	      "	if (( CURRENT == 3 )); then\n		case $words[2] in\n",
		out);
	for (unsigned i = 0; nouns[i]; i++) {
		if (NOUN_IS_VERB(nouns[i]))
			continue;
		fprintf(out, "		%s) compadd -- ", nouns[i]->name);
		print_verbs(nouns[i], out);
		fputs("--help; return ;;\n", out);
	}
	fputs("		completion) compadd -- bash zsh fish; return ;;\n		esac\n"
	      "	fi\n	case \"$words[2] $words[3]\" in\n",
		out);
	for (unsigned i = 0; nouns[i]; i++)
		for (const struct verb *v = nouns[i]->verbs; v->name; v++)
			zsh_verb(nouns[i], v, out);
	fputs("	esac\n}\n_polyctl \"$@\"\n", out);
}

/* ---- fish ---- */

/* In single quotes. */
static void fish_help(const char *help, FILE *out)
{
	fputs(" -d '", out);
	for (; *help; help++)
		fprintf(out, *help == '\'' ? "\\%c" : "%c", *help);
	fputs("'\n", out);
}

static void fish_flags(const struct flag *f, const char *when, FILE *out)
{
	for (; f && f->name; f++) {
		bool letter = f->name[1] != '-';

		fprintf(out, "complete -c polyctl -n '%s' -%c %s", when, letter ? 's' : 'l',
			f->name + 2 - letter);
		if (f->value)
			fputs(f->hint == HINT_FILE ? " -rF" : " -x", out);
		fish_help(f->help, out);
	}
}

static void fish_verb(const struct noun *n, const struct verb *v, FILE *out)
{
	char when[160];

	if (*v->name) {
		fprintf(out, "complete -c polyctl -n '__polyctl_at %s' -a %s", n->name, v->name);
		fish_help(v->help, out);
	}
	snprintf(when, sizeof(when), "__polyctl_%s %s%s%s", *v->name ? "at" : "in", n->name,
		*v->name ? " " : "", v->name);
	fish_flags(v->flags, when, out);
	fish_flags(n->flags, when, out);
	if (v->keys || v->help_keys) {
		fprintf(out, "complete -c polyctl -n '%s' -a '", when);
		print_keys(v->keys ? v->keys : v->help_keys, out);
		fputs("'\n", out);
	}
	if (v->hint == HINT_DEVICE)
		fprintf(out, "complete -c polyctl -n '%s' -a '(__polyctl_devices %s)'\n", when,
			n->ids);
	if (v->hint == HINT_FILE)
		fprintf(out, "complete -c polyctl -n '%s' -F\n", when);
}

static void fish(FILE *out)
{
	fputs("# Completion of polyctl for fish; written by: polyctl completion fish\n"
	      "function __polyctl_at\n"
	      "	set -l words (commandline -poc)\n"
	      "	test (count $words) -gt (count $argv); or return 1\n"
	      "	set -l last (math (count $argv) + 1)\n"
	      "	test \"$words[2..$last]\" = \"$argv\"; or return 1\n"
	      "	test (count $argv) -gt 1; or test (count $words) -eq $last\n"
	      "end\n"
	      "function __polyctl_in\n"
	      "	set -l words (commandline -poc)\n"
	      "	test (count $words) -gt 1; and test \"$words[2]\" = \"$argv\"\n"
	      "end\n"
	      "function __polyctl_devices\n"
	      "	set -l words (commandline -poc)\n"
	      "	set -l at (contains -i -- --socket $words)\n"
	      "	and polyctl $argv --ids --socket $words[(math $at + 1)] 2>/dev/null\n"
	      "	or polyctl $argv --ids 2>/dev/null\n"
	      "end\n"
	      "complete -c polyctl -f\n"
	      "complete -c polyctl -n 'test (count (commandline -poc)) -eq 1' -a '",
		out);
	print_nouns(out);
	fputs("completion'\n"
	      "complete -c polyctl -n '__polyctl_at completion' -a 'bash zsh fish'\n",
		out);
	for (unsigned i = 0; nouns[i]; i++)
		for (const struct verb *v = nouns[i]->verbs; v->name; v++)
			fish_verb(nouns[i], v, out);
}

bool complete_print(const char *shell, FILE *out)
{
	if (!strcmp(shell, "bash"))
		bash(out);
	else if (!strcmp(shell, "zsh"))
		zsh(out);
	else if (!strcmp(shell, "fish"))
		fish(out);
	else
		return false;
	return true;
}
