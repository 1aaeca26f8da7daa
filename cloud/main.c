/* SPDX-License-Identifier: Apache-2.0 */
/* polycloud: one cloud, many chips. Exit status: 0 ended by a signal or done, 1 our error, 2 usage.
 */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include "cloud/program.h"
#include "vmm/version.h"

static int usage(FILE *to)
{
	fputs("Usage: polycloud COMMAND [FLAG…]\n\n", to);
	for (const struct command *c = commands; c->name; c++)
		fprintf(to, "  %-9s %s\n", c->name, c->about);
	fputs("\n  -h, --help     this\n  -V, --version  the version and the commit\n\npolycloud COMMAND --help tells more; polyctl is the client.\n",
		to);
	return to == stdout ? 0 : 2;
}

static bool asks_help(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
			return true;
	return false;
}

int main(int argc, char **argv)
{
	const char *word = argc > 1 ? argv[1] : "";

	if (!strcmp(word, "--version") || !strcmp(word, "-V")) {
		printf("polycloud %s (%s)\n", POLYVISOR_VERSION, POLYVISOR_COMMIT);
		return 0;
	}
	for (const struct command *c = commands; c->name; c++) {
		if (strcmp(c->name, word))
			continue;
		if (!asks_help(argc - 1, argv + 1))
			return c->run(argc - 1, argv + 1);
		fputs(c->help, stdout);
		return 0;
	}
	if (asks_help(argc, argv))
		return usage(stdout);
	if (*word)
		fprintf(stderr, "polycloud: %s: no such command\n", word);
	return usage(stderr);
}
