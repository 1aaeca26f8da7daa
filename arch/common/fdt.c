/* SPDX-License-Identifier: Apache-2.0 */
/* See the header. */
#include "arch/common/fdt.h"

#include <libfdt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "vmm/base/num.h"

/* libfdt's names are fdt_*, too; ours that would clash are spelled differently. */

static void keep(struct fdt_out *o, int r)
{
	if (r < 0 && !o->err)
		o->err = r;
}

int fdt_out_init(struct fdt_out *o, uint32_t size)
{
	*o = (struct fdt_out){.buf = calloc(1, size), .size = (int)size};
	if (!o->buf)
		return -ENOMEM;
	keep(o, fdt_create(o->buf, o->size));
	keep(o, fdt_finish_reservemap(o->buf));
	fdt_open_node(o, "%s", "");
	return 0;
}

int fdt_out_finish(struct fdt_out *o, struct guest_mem *m, uint64_t gpa, struct err *e)
{
	int r = 0;

	fdt_close_node(o);
	keep(o, fdt_finish(o->buf));
	if (o->err)
		r = err_set(e, ERR_HOST, -ENOSPC,
			"cannot write the device tree: %s (--cmdline and --cpus decide its size)",
			fdt_strerror(o->err));
	else
		r = guest_mem_write(m, gpa, o->buf, fdt_totalsize(o->buf));
	free(o->buf);
	o->buf = NULL;
	return r;
}

void fdt_open_node(struct fdt_out *o, const char *fmt, ...)
{
	char name[64];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(name, sizeof(name), fmt, ap);
	va_end(ap);
	keep(o, fdt_begin_node(o->buf, name));
}

void fdt_close_node(struct fdt_out *o)
{
	keep(o, fdt_end_node(o->buf));
}

void fdt_put_empty(struct fdt_out *o, const char *name)
{
	keep(o, fdt_property(o->buf, name, NULL, 0));
}

void fdt_put_str(struct fdt_out *o, const char *name, const char *s)
{
	keep(o, fdt_property_string(o->buf, name, s));
}

void fdt_put_bytes(struct fdt_out *o, const char *name, const void *p, uint32_t len)
{
	keep(o, fdt_property(o->buf, name, p, (int)len));
}

void fdt_put_cells_n(struct fdt_out *o, const char *name, const uint32_t *cells, unsigned n)
{
	void *p = NULL;
	int r = fdt_property_placeholder(o->buf, name, (int)(n * 4), &p);

	keep(o, r);
	for (unsigned i = 0; !r && i < n; i++)
		fdt32_st((uint8_t *)p + i * 4, cells[i]);
}

void fdt_put_u64(struct fdt_out *o, const char *name, uint64_t v)
{
	keep(o, fdt_property_u64(o->buf, name, v));
}

void fdt_put_reg(struct fdt_out *o, const struct plan_range *r, unsigned n)
{
	void *p = NULL;
	int err = fdt_property_placeholder(o->buf, "reg", (int)(n * 16), &p);

	keep(o, err);
	for (unsigned i = 0; !err && i < n; i++) {
		fdt64_st((uint8_t *)p + i * 16, r[i].base);
		fdt64_st((uint8_t *)p + i * 16 + 8, r[i].size);
	}
}
