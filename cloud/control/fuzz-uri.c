/* SPDX-License-Identifier: Apache-2.0 */
/* The first thing of a request that is looked at: its target, and the frames of a WebSocket. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "cloud/control/uri.h"
#include "cloud/control/ws.h"

static void on_message(void *arg, const void *p, size_t n)
{
	*(size_t *)arg += n;
}

static int on_send(void *arg, const void *p, size_t n)
{
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct ws_ops ops = {on_message, on_send};
	char *text = strndup((const char *)data, size);
	size_t got = 0;
	struct uri u;
	struct ws *w;

	if (text && uri_parse(&u, text) == 0)
		for (unsigned i = 0; i < u.nsegment; i++)
			if (!strcmp(u.segment[i], "..") || !*u.segment[i])
				abort();
	uri_fini(&u);
	free(text);
	if (ws_new(&ops, &got, &w) == 0) {
		ws_feed(w, data, size);
		if (got > size)
			abort();
		ws_free(w);
	}
	return 0;
}
