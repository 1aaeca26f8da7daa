/* SPDX-License-Identifier: Apache-2.0 */
/* Targets, which row they are for, and WebSocket frames. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include "cloud/control/router.h"
#include "cloud/control/ws.h"

Test(uri, segments_and_queries_are_decoded)
{
	struct uri u;

	cr_assert_eq(uri_parse(&u, "/v1/images/a%2Fb%20c?label=k%3dv&x+y=1&last"), 0);
	cr_assert_eq(u.nsegment, 3);
	cr_assert_str_eq(u.segment[2], "a/b c");
	cr_assert_str_eq(uri_query(&u, "label"), "k=v");
	cr_assert_str_eq(uri_query(&u, "x y"), "1");
	cr_assert_str_eq(uri_query(&u, "last"), "");
	cr_assert_null(uri_query(&u, "v"));
	uri_fini(&u);
}

Test(uri, what_is_malformed_is_refused)
{
	static const char *const bad[] = {"v1", "", "/a/../b", "/a/%2e%2e/b", "/./a", "/a//b",
		"/%00", "/%f", "/%zz", "/%ff", "/a?b=%ff", "/1/2/3/4/5/6/7/8/9/10/11/12/13"};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct uri u;

		cr_expect_eq(uri_parse(&u, bad[i]), -EINVAL, "%s", bad[i]);
		uri_fini(&u);
	}
}

static void handle(struct call *c)
{
	(void)c;
}

static const struct route rows[] = {
	{"GET", "/v1/things/{id}", handle},
	{"DELETE", "/v1/things/{id}", handle},
	{"GET", "/v1/things/special", handle},
	{"POST", "/v1/things/{id}/actions/{action}", handle},
	{"GET", "/web/{file…}", handle},
};

static const struct route *find(const char *method, const char *path, char *allow)
{
	struct router r = {0};
	const struct route *row;
	struct uri u;

	cr_assert_eq(router_add(&r, rows, 5), 0);
	cr_assert_eq(uri_parse(&u, path), 0);
	row = router_find(&r, method, &u, allow);
	uri_fini(&u);
	router_fini(&r);
	return row;
}

Test(router, a_literal_goes_before_a_parameter)
{
	char allow[128];

	cr_expect_eq(find("GET", "/v1/things/special", allow), &rows[2]);
	cr_expect_eq(find("GET", "/v1/things/other", allow), &rows[0]);
	cr_expect_eq(find("HEAD", "/v1/things/other", allow), &rows[0]);
	cr_expect_eq(find("POST", "/v1/things/x/actions/stop", allow), &rows[3]);
	cr_expect_eq(find("GET", "/web/vendor/x/y.js", allow), &rows[4]);
}

Test(router, another_method_is_told_from_another_path)
{
	char allow[128];

	cr_expect_null(find("PUT", "/v1/things/x", allow));
	cr_expect_str_eq(allow, "GET, DELETE");
	cr_expect_null(find("GET", "/v1/thing/x", allow));
	cr_expect_str_eq(allow, "");
	cr_expect_null(find("GET", "/v1/things", allow));
	cr_expect_null(find("GET", "/v1/things/x/y", allow));
}

struct seen {
	char text[64], out[64];
	size_t len, out_len;
};

static void on_message(void *arg, const void *p, size_t n)
{
	struct seen *s = arg;

	memcpy(s->text + s->len, p, n);
	s->len += n;
}

static int on_send(void *arg, const void *p, size_t n)
{
	struct seen *s = arg;

	memcpy(s->out + s->out_len, p, n);
	s->out_len += n;
	return 0;
}

static const struct ws_ops ops = {on_message, on_send};

/* RFC 6455 §1.3's example. */
Test(ws, the_key_is_answered)
{
	char text[32];

	cr_assert(ws_accept("dGhlIHNhbXBsZSBub25jZQ==", text));
	cr_expect_str_eq(text, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
	cr_expect_not(ws_accept("short", text));
}

/* RFC 6455 §5.7: "Hello" masked, cut in the middle; a ping is answered with its own bytes. */
Test(ws, frames_both_ways)
{
	static const char hello[] = "\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
	static const char ping[] = "\x89\x82\x01\x02\x03\x04\x60\x60";
	struct seen s = {.len = 0};
	struct ws *w;

	cr_assert_eq(ws_new(&ops, &s, &w), 0);
	cr_expect_eq(ws_feed(w, hello, 4), 0);
	cr_expect_eq(s.len, 0);
	cr_expect_eq(ws_feed(w, hello + 4, 7), 0);
	cr_expect(s.len == 5 && !memcmp(s.text, "Hello", 5));
	cr_expect_eq(ws_feed(w, ping, 8), 0);
	cr_expect(s.out_len == 4 && !memcmp(s.out,
					    "\x8a\x02"
					    "ab",
					    4));
	s.out_len = 0;
	cr_expect_eq(ws_write(w, "xyz", 3), 0);
	cr_expect(s.out_len == 5 && !memcmp(s.out, "\x82\x03xyz", 5));
	ws_free(w);
}

Test(ws, an_unmasked_frame_ends_it)
{
	struct seen s = {.len = 0};
	struct ws *w;

	cr_assert_eq(ws_new(&ops, &s, &w), 0);
	cr_expect_eq(ws_feed(w, "\x81\x05Hello", 7), -EPIPE);
	cr_expect_eq(s.len, 0);
	cr_expect((unsigned char)s.out[0] == 0x88, "no close frame");
	ws_free(w);
}
