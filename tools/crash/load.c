/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a report, distrustfully: it may be cut short, or not be one. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "tools/crash/crash.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"

#define FORMAT	   1
#define REPORT_MAX (64 * MIB) /* a report of 255 vCPUs is a tenth of it */

static int read_all(FILE *f, const char *path, char **ret_text, size_t *ret_len, struct err *e)
{
	cleanup_free char *text = NULL;
	size_t cap = 0, len = 0, n;

	do {
		if (len == cap) {
			char *grown = realloc(text, cap = cap ? cap * 2 : 64 * KIB);

			if (!grown)
				return err_set(e, ERR_HOST, -ENOMEM, "%s: out of memory", path);
			text = grown;
		}
		n = fread(text + len, 1, cap - len, f);
		len += n;
		if (len > REPORT_MAX)
			return err_set(e, ERR_USAGE, -EFBIG,
				"%s: not a crash report: more than 64 MiB", path);
	} while (n);
	if (ferror(f))
		return err_set(e, ERR_HOST, -EIO, "%s: %s", path, strerror(errno));
	*ret_text = steal_ptr(&text);
	*ret_len = len;
	return 0;
}

static int check_head(const json_t *r, const char *path, struct err *e)
{
	const char *chip = json_string_value(json_object_get(r, "chip"));
	uint64_t format;

	if (!crash_number(r, "polyvisor_crash", &format))
		return err_set(e, ERR_USAGE, -EINVAL,
			"%s: not a crash report: no field \"polyvisor_crash\"", path);
	if (format != FORMAT)
		return err_set(e, ERR_USAGE, -EINVAL,
			"%s: format %llu is newer than this program, which reads %d", path,
			(unsigned long long)format, FORMAT);
	if (!chip || (strcmp(chip, "x86_64") && strcmp(chip, "arm64") && strcmp(chip, "riscv64")))
		return err_set(e, ERR_USAGE, -EINVAL,
			"%s: field \"chip\" must be x86_64, arm64 or riscv64", path);
	if (!json_is_array(json_object_get(r, "vcpus")))
		return err_set(e, ERR_USAGE, -EINVAL, "%s: field \"vcpus\" must be an array", path);
	return 0;
}

int crash_load(const char *path, json_t **ret_report, struct err *e)
{
	bool is_stdin = strcmp(path, "-") == 0;
	cleanup_file FILE *opened = is_stdin ? NULL : fopen(path, "re");
	cleanup_free char *text = NULL;
	json_error_t at;
	json_t *report;
	size_t len = 0;
	int r;

	if (!opened && !is_stdin)
		return err_set(e, ERR_USAGE, -errno, "%s: %s", path, strerror(errno));
	r = read_all(is_stdin ? stdin : opened, path, &text, &len, e);
	if (r < 0)
		return r;
	report = json_loadb(text, len, 0, &at);
	if (!report)
		return err_set(
			e, ERR_USAGE, -EINVAL, "%s: not JSON: line %d: %s", path, at.line, at.text);
	r = check_head(report, path, e);
	if (r < 0) {
		json_decref(report);
		return r;
	}
	*ret_report = report;
	return 0;
}

const char *crash_text(
	const json_t *obj, const char *key, const char *otherwise, char *buf, size_t cap)
{
	const char *s = json_string_value(json_object_get(obj, key));
	size_t n = 0;

	if (!s)
		return otherwise;
	for (; *s && n + 1 < cap; s++)
		buf[n++] =
			iscntrl((unsigned char)*s) ? '?' : *s; /* nothing that moves a terminal */
	buf[n] = '\0';
	return buf;
}

bool crash_value(const json_t *value, uint64_t *ret)
{
	const char *s = json_string_value(value);
	json_int_t n = json_integer_value(value);

	if (s) /* without 0x it is the hexadecimal text of bytes */
		return strncmp(s, "0x", 2) == 0 && num_parse(s, ret) == 0;
	if (!json_is_integer(value) || n < 0)
		return false;
	*ret = n;
	return true;
}

bool crash_number(const json_t *obj, const char *key, uint64_t *ret)
{
	return crash_value(json_object_get(obj, key), ret);
}

size_t crash_bytes(const json_t *obj, const char *key, uint8_t *ret, size_t cap)
{
	const char *s = json_string_value(json_object_get(obj, key));
	size_t n = 0;
	unsigned byte;

	for (; s && n < cap && isxdigit((unsigned char)s[0]) && isxdigit((unsigned char)s[1]);
		s += 2) {
		sscanf(s, "%2x", &byte);
		ret[n++] = byte;
	}
	return n;
}
