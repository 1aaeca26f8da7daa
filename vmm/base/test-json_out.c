/* SPDX-License-Identifier: Apache-2.0 */
/* The text is compared as a whole, and read back with a library that had no part in writing it.
 * Errors and the log, which are too small for tests of their own, are looked at here as well. */
#include "vmm/base/json_out.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "vmm/base/err.h"
#include "vmm/base/log.h"

static char *written(void (*write_it)(struct json_out *j))
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);
	struct json_out j;

	json_out_init(&j, f);
	write_it(&j);
	cr_assert_eq(j.depth, 0);
	fclose(f);
	return text;
}

static void small(struct json_out *j)
{
	json_obj(j, NULL);
	json_u64(j, "n", 7);
	json_arr(j, "list");
	json_i64(j, NULL, -1);
	json_bool(j, NULL, true);
	json_arr_end(j);
	json_arr(j, "none");
	json_arr_end(j);
	json_obj_end(j);
}

Test(json_out, layout)
{
	char *text = written(small);

	cr_assert_str_eq(text,
		"{\n\t\"n\": 7,\n\t\"list\": [\n\t\t-1,\n\t\ttrue\n\t],\n\t\"none\": []\n}\n");
	free(text);
}

static const char nasty[] =
	"a\"b\\c\n\t\x01 \xc3\xa9 \xff \xc0\x80 \xed\xa0\x80 \xf0\x9f\x98\x80 \xe2\x82";

static void values(struct json_out *j)
{
	static const uint8_t bytes[] = {0, 0x0f, 0xff};

	json_obj(j, NULL);
	json_str(j, "nasty", nasty);
	json_str(j, "null", NULL);
	json_hex(j, "hex", UINT64_MAX);
	json_i64(j, "low", INT64_MIN);
	json_bytes(j, "bytes", bytes, sizeof(bytes));
	json_obj(j, "empty");
	json_obj_end(j);
	json_obj_end(j);
}

Test(json_out, a_reader_gets_back_what_was_meant)
{
	char *text = written(values);
	json_error_t error;
	json_t *o = json_loads(text, 0, &error);

	cr_assert(o, "%s: %s", error.text, text);
	/* RFC 3629: overlong forms, surrogates and cut-off sequences are no UTF-8 */
	cr_assert_str_eq(json_string_value(json_object_get(o, "nasty")),
		"a\"b\\c\n\t\x01 \xc3\xa9 \xef\xbf\xbd \xef\xbf\xbd\xef\xbf\xbd "
		"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd \xf0\x9f\x98\x80 \xef\xbf\xbd\xef\xbf\xbd");
	cr_assert(json_is_null(json_object_get(o, "null")));
	cr_assert_str_eq(json_string_value(json_object_get(o, "hex")), "0xffffffffffffffff");
	cr_assert_eq(json_integer_value(json_object_get(o, "low")), INT64_MIN);
	cr_assert_str_eq(json_string_value(json_object_get(o, "bytes")), "000fff");
	json_decref(o);
	free(text);
}

Test(err, the_first_one_is_kept_on_one_line)
{
	struct err e = {0};

	cr_assert_eq(err_set(&e, ERR_USAGE, -EINVAL, "--disk path: %s", "a\nb"), -EINVAL);
	cr_assert_eq(err_set(&e, ERR_HOST, -EIO, "later"), -EIO);
	cr_assert_eq(err_set(NULL, ERR_HOST, -EIO, "nobody asks"), -EIO);
	cr_assert_str_eq(e.text, "--disk path: a?b");
	cr_assert_eq(err_exit_status(&e), 2);
	e.kind = ERR_HOST;
	cr_assert_eq(err_exit_status(&e), 1);
}

static size_t log_text(int fd, char *buf, size_t cap)
{
	ssize_t n = read(fd, buf, cap - 1);

	buf[n > 0 ? n : 0] = '\0';
	return n > 0 ? (size_t)n : 0;
}

Test(log, one_line_one_write)
{
	int p[2];
	char buf[4096], big[2000];
	struct log log = {.level = LOG_INFO};

	cr_assert_eq(pipe2(p, O_NONBLOCK), 0);
	log.fd = p[1];
	log_line(&log, LOG_DEBUG, "_disk0", "not wanted");
	log_line(NULL, LOG_ERROR, "_disk0", "no log");
	cr_assert_eq(log_text(p[0], buf, sizeof(buf)), 0);
	log_line(&log, LOG_WARN, "_disk0", "x\ny %d", 5);
	log_text(p[0], buf, sizeof(buf));
	cr_assert(strstr(buf, "Z WARN _disk0: x?y 5\n"), "%s", buf);
	memset(big, 'a', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	log_line(&log, LOG_ERROR, NULL, "%s", big);
	cr_assert_lt(log_text(p[0], buf, sizeof(buf)), 600);
	cr_assert_eq(buf[strlen(buf) - 1], '\n');
}

Test(log, limited_lines_are_counted)
{
	int p[2];
	char buf[8192];
	struct log log = {.level = LOG_INFO};
	struct log_limit limit = {0};
	unsigned lines = 0;

	cr_assert_eq(pipe2(p, O_NONBLOCK), 0);
	log.fd = p[1];
	for (int i = 0; i < 1000; i++)
		log_limited(&log, &limit, LOG_WARN, "_net0", "bad packet");
	log_text(p[0], buf, sizeof(buf));
	for (char *c = buf; *c; c++)
		lines += *c == '\n';
	cr_assert(lines >= 5 && lines <= 12, "%u lines", lines); /* a second may have turned */
	sleep(1);
	log_limited(&log, &limit, LOG_WARN, "_net0", "bad packet");
	log_text(p[0], buf, sizeof(buf));
	cr_assert(strstr(buf, "were dropped"), "%s", buf);
}
