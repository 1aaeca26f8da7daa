/* SPDX-License-Identifier: Apache-2.0 */
/* What a server may send: an answer's bytes, its body read as events, in pieces of any size. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "tools/polyctl/reply.h"
#include "tools/polyctl/sse.h"
#include "vmm/base/num.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int on_event(void *arg, const char *data)
{
	return data[0] == 'q';
}

static int on_body(void *arg, const char *p, size_t n)
{
	return sse_feed(arg, p, n, on_event, NULL);
}

static const char *const heads[] = {
	"",
	"HTTP/1.1 ",
	"HTTP/1.1 200 OK\r\n",
	"HTTP/1.1 200 OK\r\n\r\n",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
};

static void run(const char *head, const char *p, size_t n, size_t step, struct sse *s)
{
	struct reply r;

	reply_init(&r, s ? on_body : NULL, s);
	int done = reply_feed(&r, head, strlen(head));
	for (size_t at = 0; at < n && !done; at += step)
		done = reply_feed(&r, p + at, n - at < step ? n - at : step);
	if (!done)
		done = reply_end(&r);
	/* A body that is there ends with a NUL, for the sake of texts. */
	if (done == 1 && r.body && r.body[r.len])
		abort();
	reply_fini(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sse s = {0}, again = {0};

	if (!size)
		return 0;
	const char *head = heads[data[0] % ARRAY_SIZE(heads)];
	size_t step = data[0] / ARRAY_SIZE(heads) + 1;
	run(head, (const char *)data + 1, size - 1, step, NULL);
	run(head, (const char *)data + 1, size - 1, step, &s);
	sse_feed(&again, (const char *)data + 1, size - 1, on_event, NULL);
	sse_fini(&s);
	sse_fini(&again);
	return 0;
}
