/* SPDX-License-Identifier: Apache-2.0 */
#include "cloud/control/test_nodes.h"

#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

struct pipe_end pipe_end;

static struct fake_call *fake_of(const struct call *c)
{
	return container_of((struct call *)c, struct fake_call, c);
}

static const char *pair(const char *const *list, const char *key)
{
	for (; *list; list += 2)
		if (strcmp(*list, key) == 0)
			return list[1];
	return NULL;
}

const char *call_query(const struct call *c, const char *key)
{
	return pair(fake_of(c)->query, key);
}

const char *call_header(const struct call *c, const char *name)
{
	return pair(fake_of(c)->header, name);
}

struct obj *call_obj(struct call *c, enum kind k, const char *id_or_name)
{
	struct obj *o = obj_find(c->control->objects, k, c->project, id_or_name);

	if (!o)
		call_problem(c, 404, NULL, "none");
	return o;
}

void call_reply(struct call *c, unsigned status, json_t *doc)
{
	fake_of(c)->status = status;
	fake_of(c)->doc = doc;
	fake_of(c)->answers++;
}

void call_reply_text(
	struct call *c, unsigned status, const char *type, const char *text, size_t len)
{
	fake_of(c)->status = status;
	fake_of(c)->answers++;
	snprintf(fake_of(c)->text, sizeof(fake_of(c)->text), "%.*s", (int)len, text);
}

void call_problem(struct call *c, unsigned status, const char *field, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(fake_of(c)->text, sizeof(fake_of(c)->text), fmt, ap);
	va_end(ap);
	fake_of(c)->status = status;
	fake_of(c)->answers++;
}

struct link_wire *call_upgrade_wire(struct call *c, const char *protocol)
{
	int fd[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fd), 0);
	fake_of(c)->peer = fd[0];
	fake_of(c)->status = 101;
	fake_of(c)->answers++;
	return link_wire_socket(fd[1]);
}

struct pipe_end *call_upgrade(struct call *c, const struct pipe_ops *ops, void *arg)
{
	fake_of(c)->status = 101;
	fake_of(c)->answers++;
	pipe_end = (struct pipe_end){.ops = ops, .arg = arg};
	return &pipe_end;
}

ssize_t pipe_write(struct pipe_end *p, const void *buf, size_t n)
{
	if (p->got + n < sizeof(p->first))
		memcpy(p->first + p->got, buf, n);
	p->got += n;
	return (256 << 10) - (ssize_t)n;
}

void pipe_took(struct pipe_end *p, size_t n)
{
	p->took += n;
}

void pipe_close(struct pipe_end *p)
{
	p->closing = true;
}
