/* SPDX-License-Identifier: Apache-2.0 */
/* Both ends over a socketpair: calls, streams, back-pressure, and the end in all its ways. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "cloud/link/test_rig.h"

static struct rig g;

static void make(void)
{
	rig_start(&g);
}

static void unmake(void)
{
	rig_stop(&g);
}

TestSuite(link, .init = make, .fini = unmake, .timeout = 60);

static bool answered(void *arg)
{
	return ((struct answer *)arg)->times > 0;
}

static struct answer call(const char *method, const char *path, json_t *body)
{
	struct answer a = {0};

	link_call(g.client, method, path, body, "req-1", answer_fn, &a);
	cr_assert_eq(a.times, 0);
	cr_assert(rig_until(&g, answered, &a));
	json_decref(body);
	return a;
}

Test(link, a_call_carries_json_both_ways)
{
	struct answer a = call("PUT", "/echo?tail=5", json_pack("{s:i,s:[s]}", "n", 7, "l", "é"));

	cr_assert_eq(a.status, 200);
	cr_assert_eq(json_integer_value(json_object_get(a.body, "n")), 7);
	cr_assert_str_eq(g.query, "tail=5");
	cr_assert_str_eq(g.request_id, "req-1");
	json_decref(a.body);
}

Test(link, a_call_without_bodies)
{
	struct answer a = call("GET", "/echo", NULL);

	cr_assert_eq(a.status, 200);
	cr_assert_null(a.body);
	cr_assert_str_eq(a.error, "");
}

Test(link, a_problem_names_what_is_wrong)
{
	struct answer a = call("GET", "/nothing", NULL);

	cr_assert_eq(a.status, 404);
	cr_assert_str_eq(json_string_value(json_object_get(a.body, "detail")), "no /nothing here");
	json_decref(a.body);
}

Test(link, a_large_answer_comes_whole_and_one_too_large_is_none)
{
	struct answer a = call("GET", "/big?3000000", NULL);

	cr_assert_eq(a.status, 200);
	cr_assert_eq(json_string_length(json_object_get(a.body, "text")), 3000000);
	json_decref(a.body);
	a = call("GET", "/big?5000000", NULL);
	cr_assert_eq(a.status, 0);
	cr_assert_str_eq(a.error, "the answer is too large");
	a = call("GET", "/echo", NULL);
	cr_assert_eq(a.status, 200);
	cr_assert_eq(g.client->bodies, 0);
}

Test(link, many_calls_at_once_are_all_answered_and_one_too_many_is_refused)
{
	struct answer *a = calloc(LINK_STREAMS + 1, sizeof(*a));

	for (unsigned i = 0; i <= LINK_STREAMS; i++)
		link_call(g.client, "GET", "/echo", NULL, NULL, answer_fn, &a[i]);
	for (unsigned i = 0; i <= LINK_STREAMS; i++) {
		cr_assert(rig_until(&g, answered, &a[i]));
		cr_assert_eq(a[i].times, 1);
		cr_assert_eq(a[i].status, i < LINK_STREAMS ? 200 : 0);
	}
	cr_assert_str_eq(a[LINK_STREAMS].error, "too many calls are under way to this node");
	free(a);
}

/* ---- streams ---- */

static struct got t;

static bool t_closed(void *arg)
{
	return t.closed > 0;
}

static bool t_bytes(void *arg)
{
	return t.bytes >= *(size_t *)arg;
}

static bool t_answered(void *arg)
{
	return t.status > 0;
}

static void open_stream(const char *method, const char *path)
{
	t = (struct got){0};
	cr_assert_eq(link_open(g.client, method, path, NULL, &got_ops, &t, &t.s), 0);
}

Test(link, a_stream_echoes_and_ends_half_by_half)
{
	size_t five = 5;

	open_stream("POST", "/pipe");
	cr_assert_gt(link_stream_write(t.s, "hello", 5), 0);
	cr_assert(rig_until(&g, t_bytes, &five));
	cr_assert_eq(t.status, 200);
	cr_assert_eq(memcmp(t.first, "hello", 5), 0);
	link_stream_end(t.s);
	cr_assert_eq(link_stream_write(t.s, "x", 1), -EPIPE);
	cr_assert(rig_until(&g, t_closed, NULL));
	cr_assert_eq(t.eof, 1);
	cr_assert_eq(t.error, 0);
	cr_assert_eq(g.pipe_closed, 1);
	cr_assert_eq(g.client->nstreams + g.server->nstreams, 0);
}

Test(link, megabytes_go_round_through_bounded_queues)
{
	static char piece[100 << 10];
	size_t sent = 0, total = 8 << 20;

	open_stream("POST", "/pipe");
	while (t.bytes < total) {
		while (sent < total && link_stream_write(t.s, piece, sizeof(piece)) >= 0)
			sent += sizeof(piece);
		cr_assert_leq(t.s->out.len, LINK_WINDOW);
		ev_run_once(g.loop, 100);
	}
	cr_assert_gt(t.writable, 10);
}

Test(link, what_is_not_taken_stops_its_stream_and_no_other)
{
	static char piece[64 << 10];
	struct answer a;

	open_stream("POST", "/sink");
	for (int i = 0; i < 500; i++) {
		link_stream_write(t.s, piece, sizeof(piece));
		ev_run_once(g.loop, 0);
	}
	cr_assert_eq(g.sink_bytes, LINK_WINDOW);
	cr_assert_eq(link_stream_write(t.s, piece, sizeof(piece)), -EAGAIN);
	cr_assert_eq(link_stream_write(t.s, piece, LINK_WINDOW + 1), -EMSGSIZE);
	a = call("GET", "/big?1000000", NULL);
	cr_assert_eq(a.status, 200);
	json_decref(a.body);
	link_stream_took(g.sink, LINK_WINDOW);
	rig_rounds(&g, 50);
	cr_assert_eq(g.sink_bytes, 2 * LINK_WINDOW);
}

Test(link, bytes_that_come_before_the_request_is_accepted_wait)
{
	size_t four = 4;

	open_stream("POST", "/hold");
	link_stream_write(t.s, "earl", 4);
	link_stream_end(t.s);
	rig_rounds(&g, 20);
	cr_assert_not_null(g.late);
	g.sink = link_accept(g.late, &got_ops, &t); /* one struct for both ends */
	g.late = NULL;
	cr_assert(rig_until(&g, t_bytes, &four));
	rig_rounds(&g, 5);
	cr_assert_eq(memcmp(t.first, "earl", 4), 0);
	cr_assert_eq(t.eof, 1);
}

Test(link, a_body_is_streamed_and_answered_at_its_end)
{
	static char piece[200 << 10];

	open_stream("PUT", "/put");
	for (int i = 0; i < 5; i++) {
		while (link_stream_write(t.s, piece, sizeof(piece)) < 0)
			ev_run_once(g.loop, 100);
	}
	link_stream_end(t.s);
	cr_assert(rig_until(&g, t_closed, NULL));
	cr_assert_eq(t.status, 201);
	cr_assert_eq(t.error, 0);
	cr_assert_str_eq(t.first, "{\"size\":1024000}");
	cr_assert_eq(g.sink_closed, 1);
}

Test(link, a_refused_stream_gets_its_answer_and_an_end)
{
	static char piece[100 << 10];

	open_stream("POST", "/no");
	link_stream_write(t.s, piece, sizeof(piece));
	cr_assert(rig_until(&g, t_closed, NULL));
	cr_assert_eq(t.status, 404);
	cr_assert_not_null(strstr(t.first, "no /no here"));
	cr_assert_eq(t.error, 0);
}

Test(link, either_side_resets)
{
	open_stream("POST", "/sink");
	cr_assert(rig_until(&g, t_answered, NULL));
	link_stream_reset(t.s);
	cr_assert_eq(t.closed, 0);
	cr_assert(rig_until(&g, t_closed, NULL));
	rig_rounds(&g, 20);
	cr_assert_eq(g.sink_closed, 1);
	cr_assert_eq(g.sink_error, -ECANCELED);

	open_stream("POST", "/sink");
	cr_assert(rig_until(&g, t_answered, NULL));
	link_stream_reset(g.sink);
	cr_assert(rig_until(&g, t_closed, NULL));
	cr_assert_eq(t.error, -ECANCELED);
}

Test(link, a_stream_reset_before_it_was_sent_is_closed_once)
{
	open_stream("POST", "/sink");
	link_stream_reset(t.s);
	cr_assert(rig_until(&g, t_closed, NULL));
	rig_rounds(&g, 20);
	cr_assert_eq(t.closed, 1);
	cr_assert_eq(g.client->nstreams, 0);
}

Test(link, an_answer_to_a_stream_that_has_gone_goes_nowhere)
{
	open_stream("POST", "/hold");
	rig_rounds(&g, 20);
	link_stream_reset(t.s);
	rig_rounds(&g, 20);
	cr_assert_not_null(g.late);
	cr_assert_null(g.late->stream);
	cr_assert_null(link_accept(g.late, &got_ops, &t));
	g.late = NULL;
	cr_assert_eq(g.server->nrequests, 0);
}

/* ---- the end ---- */

static bool both_gone(void *arg)
{
	return g.client_gone && g.server_gone;
}

static bool client_gone(void *arg)
{
	return g.client_gone;
}

Test(link, the_end_answers_every_call_and_closes_every_stream)
{
	struct answer a = {0}, b = {0};

	open_stream("POST", "/sink");
	link_call(g.client, "GET", "/late", NULL, NULL, answer_fn, &a);
	rig_rounds(&g, 20);
	link_free(g.server);
	g.server = NULL;
	cr_assert_eq(g.sink_closed, 1);
	cr_assert(rig_until(&g, client_gone, NULL));
	cr_assert_eq(g.client_gone, 1);
	cr_assert_eq(a.times, 1);
	cr_assert_eq(a.status, 0);
	cr_assert_str_eq(a.error, "the other end closed the connection");
	cr_assert_eq(t.closed, 1);
	cr_assert_eq(t.error, -ECONNRESET);
	/* The request outlives it, and later calls fail by themselves. */
	link_reply(g.late, 200, NULL);
	g.late = NULL;
	link_call(g.client, "GET", "/echo", NULL, NULL, answer_fn, &b);
	cr_assert_eq(link_open(g.client, "POST", "/pipe", NULL, &got_ops, &t, &t.s), -ENOTCONN);
	cr_assert(rig_until(&g, answered, &b));
	cr_assert_eq(b.status, 0);
}

static void free_client(void *arg)
{
	link_free(g.client);
	g.client = NULL;
}

Test(link, a_link_may_be_freed_in_an_answer)
{
	struct answer a = {.then = free_client}, b = {0};

	open_stream("POST", "/pipe");
	link_call(g.client, "GET", "/echo", NULL, NULL, answer_fn, &a);
	link_call(g.client, "GET", "/late", NULL, NULL, answer_fn, &b);
	cr_assert(rig_until(&g, answered, &a));
	cr_assert_eq(b.times, 1);
	cr_assert_eq(b.status, 0);
	cr_assert_eq(t.closed, 1);
	rig_rounds(&g, 20);
	cr_assert_eq(g.server_gone, 1);
}

static void free_server(struct link_stream *s, const void *p, size_t n, void *arg)
{
	link_free(g.server);
	g.server = NULL;
}

Test(link, a_link_may_be_freed_where_data_comes)
{
	static const struct link_stream_ops ops = {.data = free_server};

	open_stream("POST", "/hold");
	rig_rounds(&g, 20);
	link_accept(g.late, &ops, NULL);
	g.late = NULL;
	link_stream_write(t.s, "now", 3);
	cr_assert(rig_until(&g, t_closed, NULL));
	cr_assert_eq(t.error, -ECONNRESET);
}

Test(link, a_link_freed_with_everything_under_way_leaves_nothing)
{
	struct answer a = {0};

	open_stream("POST", "/pipe");
	link_stream_write(t.s, "some", 4);
	link_call(g.client, "GET", "/big?2000000", NULL, NULL, answer_fn, &a);
	rig_rounds(&g, 3);
	link_free(g.client);
	g.client = NULL;
	cr_assert_eq(a.times, 1);
	cr_assert_eq(t.closed, 1);
	rig_rounds(&g, 20);
	cr_assert_eq(g.server_gone, 1);
}

static bool heard_five_times(void *arg)
{
	static uint64_t last, times;

	times += g.client->heard_ns != last;
	last = g.client->heard_ns;
	return times >= 5;
}

Test(link, pings_keep_an_idle_link_alive)
{
	link_keepalive(g.client, 20000000, 20000000000);
	cr_assert(rig_until(&g, heard_five_times, NULL));
	cr_assert_eq(g.client_gone + g.server_gone, 0);
}

Test(link, a_peer_that_is_silent_is_dead)
{
	ev_del(&g.server->fd); /* as if its host had lost power */
	ev_timer_cancel(&g.server->ticker);
	link_keepalive(g.client, 20000000, 200000000);
	cr_assert(rig_until(&g, client_gone, NULL));
	cr_assert_not_null(strstr(g.client_why, "silent"));
	cr_assert_not(both_gone(NULL));
}
