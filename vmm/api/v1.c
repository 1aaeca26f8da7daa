/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/api/v1.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "vmm/api/routes.h"
#include "vmm/base/num.h"

/* ---- reading ---- */

static const struct vm_part *find_part(const char *key)
{
	for (const struct vm_part *p = vm_parts; p->key; p++)
		if (!strcmp(p->key, key))
			return p;
	return NULL;
}

static int read_struct(const struct vm_part *p, const json_t *o, const char *path, int fd,
	const struct opts_json *how, void *part, struct err *e)
{
	const struct opt_at at = {.path = path, .json = true};
	int r = opts_from_json(p->table, o, path, how, part, e);

	for (unsigned i = 0; !r && fd >= 0 && i < p->table->n; i++)
		if (p->table->opts[i].type == OPT_FD)
			*(int *)((char *)part + p->table->opts[i].offset) = fd;
	return r < 0 || !p->check ? r : p->check(part, &at, e);
}

static int read_list(const struct vm_part *p, const json_t *list, const struct opts_json *how,
	struct vm_config *c, struct err *e)
{
	char path[OPTS_PATH];
	size_t i;
	json_t *o;

	if (!json_is_array(list))
		return err_set(e, ERR_USAGE, -EINVAL,
			"%s: is of the wrong JSON type; give an array of objects", p->key);
	json_array_foreach ((json_t *)list, i, o) {
		void *part = vm_part_add(p, c, p->key, e);
		snprintf(path, sizeof(path), "%s[%zu]", p->key, i);
		int r = part ? read_struct(p, o, path, -1, how, part, e) : -EINVAL;
		if (r < 0)
			return r;
	}
	return 0;
}

static int read_parts(
	const json_t *o, const struct opts_json *how, struct vm_config *c, struct err *e)
{
	for (const struct vm_part *p = vm_parts; p->key; p++) {
		const json_t *v = json_object_get(o, p->key);
		int r = 0;

		if (!v || json_is_null(v))
			continue;
		if (p->max)
			r = read_list(p, v, how, c, e);
		else
			r = read_struct(p, v, p->key, -1, how, vm_part_at(p, c, 0), e);
		if (r < 0)
			return r;
	}
	return 0;
}

static int read_rest(
	const json_t *o, const struct opts_json *how, struct vm_config *c, struct err *e)
{
	json_t *rest = json_copy((json_t *)o);
	int r = rest ? 0 : -ENOMEM;

	for (const struct vm_part *p = vm_parts; !r && p->key; p++)
		json_object_del(rest, p->key);
	if (!r)
		r = opts_from_json(&vm_config_table, rest, "", how, c, e);
	json_decref(rest);
	return r;
}

int v1_config(
	const json_t *o, const struct opts_json *how, struct vm_config *ret_config, struct err *e)
{
	vm_config_init(ret_config);
	/* What v1 takes when they are left out, which is not what its command line takes. */
	ret_config->serial.mode = CHR_NULL;
	ret_config->console.mode = CHR_TTY;
	int r = read_parts(o, how, ret_config, e);
	if (!r)
		r = read_rest(o, how, ret_config, e);
	if (r < 0)
		vm_config_fini(ret_config);
	return r;
}

/* Whoever made the tap has given it addresses; libvirt repeats them in its call, and v1 takes no
 * notice of them then either. */
static json_t *without_addresses(const json_t *o, const struct opts_json *how)
{
	static const char *const keys[] = {"ip", "mask", "fds"};
	json_t *copy = json_copy((json_t *)o);

	for (unsigned i = 0; copy && i < ARRAY_SIZE(keys); i++)
		if (json_object_del(copy, keys[i]) == 0 && how->warn)
			how->warn(how->arg, keys[i]);
	return copy;
}

int v1_part(const json_t *o, const char *key, int fd, const struct opts_json *how,
	struct vm_config *ret_config, struct err *e)
{
	const struct vm_part *p = find_part(key);
	json_t *body = fd >= 0 ? without_addresses(o, how) : json_incref((json_t *)o);

	if (!body)
		return -ENOMEM;
	vm_config_init(ret_config);
	void *part = p->max ? vm_part_add(p, ret_config, key, e) : vm_part_at(p, ret_config, 0);
	int r = read_struct(p, body, key, fd, how, part, e);
	json_decref(body);
	if (r < 0)
		vm_config_fini(ret_config);
	return r;
}

int v1_destination(const json_t *o, const struct opts_json *how, char **ret_path, struct err *e)
{
	struct coredump_body body = {0};
	uint64_t fd;
	int r = opts_from_json(&coredump_table, o, "", how, &body, e);
	const char *url = r < 0 ? "" : body.destination_url;

	if (!r && !strncmp(url, "file:///", 8))
		r = (*ret_path = strdup(url + 7)) ? 0 : -ENOMEM;
	else if (!r && !strncmp(url, "fd:", 3) && !num_parse(url + 3, &fd) && fd <= INT32_MAX)
		r = asprintf(ret_path, "fd=%u", (unsigned)fd) < 0 ? -ENOMEM : 0;
	else if (!r)
		r = err_set(e, ERR_USAGE, -EINVAL,
			"destination_url: \"%.64s\" is not allowed; give file:///PATH or fd:N",
			url);
	opts_free(&coredump_table, &body);
	return r;
}

/* ---- writing ---- */

static json_t *part_json(const struct vm_part *p, const struct vm_config *c)
{
	unsigned n = vm_part_count(p, c);
	json_t *list;

	if (!p->max)
		return n ? opts_to_json(p->table, vm_part_at(p, c, 0)) : json_null();
	list = json_array();
	for (unsigned i = 0; list && i < n; i++) {
		if (json_array_append_new(list, opts_to_json(p->table, vm_part_at(p, c, i))) == 0)
			continue;
		json_decref(list);
		return NULL;
	}
	return list;
}

/* v1 shows a PTY's path as `file`; libvirt reads it there. */
static int show_pty(json_t *config, const char *key, const struct console_config *c)
{
	if (c->mode != CHR_PTY || !c->path)
		return 0;
	return json_object_set_new(json_object_get(config, key), "file", json_string(c->path));
}

json_t *v1_config_json(const struct vm_config *c)
{
	json_t *o = opts_to_json(&vm_config_table, c);
	int failed = !o;

	for (const struct vm_part *p = vm_parts; !failed && p->key; p++)
		failed = json_object_set_new(o, p->key, part_json(p, c));
	if (!failed)
		failed = show_pty(o, "serial", &c->serial) || show_pty(o, "console", &c->console);
	if (!failed)
		return o;
	json_decref(o);
	return NULL;
}

/* ---- schemas ---- */

json_t *v1_part_schema(const struct vm_part *p)
{
	struct vm_config c;
	void *part;
	json_t *s;

	vm_config_init(&c);
	part = p->max ? vm_part_add(p, &c, p->key, NULL) : vm_part_at(p, &c, 0);
	s = opts_schema(p->table, part);
	vm_config_fini(&c);
	json_object_set_new(s, "additionalProperties", json_true()); /* a warning, no more */
	return s;
}

json_t *v1_config_schema(void)
{
	json_t *s = opts_schema(&vm_config_table, NULL);
	json_t *properties = json_object_get(s, "properties");

	for (const struct vm_part *p = vm_parts; p->key; p++) {
		json_t *ref =
			json_pack("{s:o}", "$ref", json_sprintf("#/components/schemas/%s", p->key));

		if (p->max)
			ref = json_pack("{s:s, s:i, s:o}", "type", "array", "maxItems", (int)p->max,
				"items", ref);
		json_object_set_new(properties, p->key, ref);
	}
	json_array_append_new(json_object_get(s, "required"), json_string("payload"));
	json_object_set_new(s, "additionalProperties", json_true());
	return s;
}

/* ---- words ---- */

/* "queue_size: …" after a flag is a field of its table: its JSON key, with a dot. */
static int field_words(const struct opt_table *t, const char *rest, char *buf, size_t cap)
{
	size_t n = strcspn(rest, " :=");

	for (unsigned i = 0; i < t->n; i++)
		if (strlen(t->opts[i].name) == n && !strncmp(t->opts[i].name, rest, n)) {
			snprintf(buf, cap, ".%s%s", opts_json_key(&t->opts[i]), rest + n);
			return 1;
		}
	return 0;
}

static void rewrite(struct err *e, const char *flag, const char *key, const struct opt_table *t)
{
	size_t n = strlen(flag);
	char text[sizeof(e->text)], rest[sizeof(e->text)];

	if (strncmp(e->text, flag, n) || (e->text[n] != ' ' && e->text[n] != ':'))
		return;
	if (!t || e->text[n] != ' ' || !field_words(t, e->text + n + 1, rest, sizeof(rest)))
		snprintf(rest, sizeof(rest), "%s", e->text + n);
	snprintf(text, sizeof(text), "%.64s%.255s", key, rest);
	memcpy(e->text, text, sizeof(text));
}

void v1_words(struct err *e)
{
	rewrite(e, "--kernel", "payload.kernel", NULL);
	rewrite(e, "--initramfs", "payload.initramfs", NULL);
	rewrite(e, "--cmdline", "payload.cmdline", NULL);
	for (const struct vm_part *p = vm_parts; p->key; p++)
		if (p->table->flag)
			rewrite(e, p->table->flag, p->key, p->table);
}
