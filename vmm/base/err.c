/* SPDX-License-Identifier: Apache-2.0 */
/* The first error wins: a caller further up only adds that it failed too, which nobody needs to
 * read. Control characters (a path may hold a newline) are replaced, so that it stays one line. */
#include "vmm/base/err.h"

#include <stdarg.h>
#include <stdio.h>

int err_set(struct err *e, enum err_kind kind, int code, const char *fmt, ...)
{
	va_list ap;

	if (!e || e->kind != ERR_NONE)
		return code;
	e->kind = kind;
	va_start(ap, fmt);
	vsnprintf(e->text, sizeof(e->text), fmt, ap);
	va_end(ap);
	for (char *p = e->text; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?';
	return code;
}

int err_exit_status(const struct err *e)
{
	return e && e->kind == ERR_USAGE ? 2 : 1;
}
