/* SPDX-License-Identifier: Apache-2.0 */
/* Text in aligned columns, for people. Cells are UTF-8; control characters, which a terminal would
 * obey, become '?'. */
#ifndef TOOLS_POLYCTL_TABLE_H
#define TOOLS_POLYCTL_TABLE_H

#include <stdio.h>

#define TABLE_COLS 16

struct table {
	unsigned cols, rows;
	unsigned right; /* bit i: column i is aligned to the right, for numbers */
	char **cell;	/* rows × cols, owned */
	int error;	/* -ENOMEM: rows are missing */
};

#define TABLE_INIT(n)                                                                              \
	{                                                                                          \
		.cols = n                                                                          \
	}

/* One cell a column, copied; NULL is an empty one. */
void table_row(struct table *t, ...);
/* Two blanks between columns, no blanks at the end of a line. Returns 0, or the -ENOMEM of a row.
 */
int table_print(const struct table *t, FILE *out);
void table_fini(struct table *t);

#endif
