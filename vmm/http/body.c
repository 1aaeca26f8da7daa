/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/http/body.h"

#include <errno.h>
#include <stdbool.h>

/* The parser recurses, and makes of three bytes a hundred: depth and number of values are bounded
 * before it runs. */
static int check_size(const char *p, size_t len, struct err *e)
{
	unsigned values = 0;
	bool text = false;
	int depth = 0;

	for (size_t i = 0; i < len; i++) {
		if (text) {
			if (p[i] == '\\')
				i++;
			else
				text = p[i] != '"';
			continue;
		}
		text = p[i] == '"';
		depth += (p[i] == '{' || p[i] == '[') - (p[i] == '}' || p[i] == ']');
		values += p[i] == '{' || p[i] == '[' || p[i] == ',';
		if (depth > HTTP_JSON_DEPTH)
			return err_set(e, ERR_USAGE, -EINVAL,
				"the body, at byte %zu: nested deeper than the %d levels that are allowed",
				i, HTTP_JSON_DEPTH);
		if (values > HTTP_JSON_VALUES)
			return err_set(e, ERR_USAGE, -EINVAL,
				"the body, at byte %zu: more than the %d values that are allowed",
				i, HTTP_JSON_VALUES);
	}
	return 0;
}

int http_body_json(const char *body, size_t len, json_t **ret_object, struct err *e)
{
	json_error_t why;
	json_t *o;

	if (len == 0)
		return err_set(e, ERR_USAGE, -EINVAL, "the body: is missing; give a JSON object");
	if (check_size(body, len, e) < 0)
		return -EINVAL;
	o = json_loadb(body, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &why);
	if (!o)
		return err_set(e, ERR_USAGE, -EINVAL, "the body, line %d, column %d: not JSON: %s",
			why.line, why.column, why.text);
	if (!json_is_object(o)) {
		json_decref(o);
		return err_set(e, ERR_USAGE, -EINVAL,
			"the body: is of the wrong JSON type; give an object");
	}
	*ret_object = o;
	return 0;
}
