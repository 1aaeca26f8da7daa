/* SPDX-License-Identifier: Apache-2.0 */
/* The option parser over any text. So that more than the first key is reached, bytes from 0x80 up
 * stand for words of the grammar. What is accepted must survive the way through JSON unchanged. */
#include <assert.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include "vmm/base/num.h"
#include "vmm/base/opts.h"
#include "vmm/base/opts_json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct thing {
	char *path, *id, *pins;
	bool readonly, mac_given;
	uint32_t queues;
	uint64_t big, bytes;
	int node, mode, fd;
	uint8_t mac[6];
};

static const char *const pinned[] = {"vcpu", NULL};
static const char *const modes[] = {"off", "tty", "file", NULL};

#define OPT(f, t, ...)                                                                             \
	{                                                                                          \
		.name = #f, .type = t, .offset = offsetof(struct thing, f), .help = "",            \
		__VA_ARGS__                                                                        \
	}

static const struct opt thing_opts[] = {
	OPT(path, OPT_STR),
	OPT(id, OPT_STR, .min = 1, .max = 31),
	OPT(readonly, OPT_BOOL),
	OPT(queues, OPT_U32, .min = 1, .max = 16),
	OPT(big, OPT_U64),
	OPT(bytes, OPT_SIZE, .min = 1, .max = 1ull << 40),
	OPT(node, OPT_INT, .min = (uint64_t)-1, .max = 7),
	OPT(mode, OPT_ENUM, .values = modes),
	OPT(fd, OPT_FD),
	OPT(mac, OPT_MAC, .set_offset = offsetof(struct thing, mac_given)),
	OPT(pins, OPT_PINS, .values = pinned),
};

static const struct opt_table table = {.flag = "--thing",
	.help = "",
	.opts = thing_opts,
	.n = ARRAY_SIZE(thing_opts),
	.size = sizeof(struct thing),
	.bare_key = "path"};

static const char *const words[] = {"path=", "id=", "readonly=", "queues=", "big=", "bytes=",
	"node=", "mode=", "fd=", "mac=", "pins=", "[", "]", "@[", "-", ",", "=", "\"", "\",", "on",
	"off", "tty", "1", "-1", "7", "0x", "16", "G", "T", "52:54:00:12:34:56", ":",
	"99999999999999999999", ","};

static char *text_from(const uint8_t *data, size_t size)
{
	char *text = calloc(size + 1, 24), *p = text;

	if (!text)
		abort();
	for (size_t i = 0; i < size; i++) {
		if (data[i] < 0x80 && data[i])
			*p++ = (char)data[i];
		else
			p = stpcpy(p, words[data[i] % ARRAY_SIZE(words)]);
	}
	return text;
}

static void check_json(const struct thing *t)
{
	struct thing back = {.fd = -1, .node = -1};
	json_t *o = opts_to_json(&table, t);
	const struct opts_json how = {.strict = true};
	int r = opts_from_json(&table, o, "thing", &how, &back, NULL);

	assert(r == 0);
	assert(back.queues == t->queues && back.big == t->big && back.bytes == t->bytes &&
		back.node == t->node && back.mode == t->mode && back.fd == t->fd &&
		!back.pins == !t->pins && back.mac_given == t->mac_given &&
		memcmp(back.mac, t->mac, 6) == 0);
	opts_free(&table, &back);
	json_decref(o);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct thing t = {.fd = -1, .node = -1, .queues = 1, .bytes = 1}, copy;
	char *text = text_from(data, size);
	struct err e = {0};
	int r = opts_parse(&table, text, &t, &e);

	assert((r == 0) == (e.kind == ERR_NONE));
	assert(r == 0 || strncmp(e.text, "--thing", 7) == 0);
	if (r == 0)
		check_json(&t);
	if (opts_copy(&table, &t, &copy) == 0)
		opts_free(&table, &copy);
	opts_free(&table, &t);
	free(text);
	return 0;
}
