/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies of POST /api/v1/devices, of any kind: bytes from 0x80 up stand for words of the grammar.
 * Nothing is opened. What is accepted must be accepted again when its configuration, as the socket
 * shows it, is sent back. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "offload/control_priv.h"
#include "vmm/base/num.h"
#include "vmm/base/opts_json.h"
#include "vmm/http/body.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const words[] = {"{", "}", "[", "]", ",", "\":", "\":\"", "\",\"", ",\"", "\"}",
	"null", "true", "false", "0", "1", "-1", "17", "4294967296", "18446744073709551616", "1.5",
	"type", "virtio-blk", "virtio-net", "socket", "/s", "fd=3", "id", "backend", "file", "ram",
	"null", "tap", "passt", "path", "fd", "size", "1G", "512", "1000", "readonly", "direct",
	"serial", "forward", "mac", "52:54:00:12:34:56", "01:00:00:00:00:00", "mtu", "1500",
	"queues", "queue_size", "100", "256", "poll", "unsealed", "\\u0000", "\\", "\xc3\xa4",
	"{\"type\":\"virtio-blk\",\"socket\":\"/s\",\"path\":\"/d\"",
	"{\"type\":\"virtio-blk\",\"socket\":\"/s\",\"backend\":\"null\",\"size\":512",
	"{\"type\":\"virtio-net\",\"socket\":\"/s\""};

static char *text_from(const uint8_t *data, size_t size, size_t *ret_len)
{
	char *text = malloc(size * 80 + 1), *p = text;

	if (!text)
		abort();
	for (size_t i = 0; i < size; i++) {
		if (data[i] < 0x80)
			*p++ = (char)data[i];
		else
			p = stpcpy(p, words[data[i] % ARRAY_SIZE(words)]);
	}
	*p = '\0';
	*ret_len = (size_t)(p - text);
	return text;
}

static void check_again(struct served_config *c, int fd)
{
	const struct served_type *t = served_type_of(c->type);
	struct served_config again;
	struct err e = {0};
	json_t *o;

	assert(c->fd == fd && c->socket);
	c->fd = -1; /* as after it was opened */
	o = opts_to_json(&t->table, c);
	json_object_set_new(o, "type", json_string(t->name));
	assert(control_device_config(o, fd, &again, &e) == 0);
	again.fd = -1;
	json_t *shown = opts_to_json(&t->table, &again);
	json_object_del(o, "type");
	assert(json_equal(o, shown));
	json_decref(shown);
	json_decref(o);
	served_config_fini(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int fd = size & 1 ? 7 : -1, r;
	struct served_config c;
	struct err e = {0};
	json_t *o;
	size_t len;
	char *text = text_from(data, size, &len);

	r = http_body_json(text, len, &o, &e);
	free(text);
	assert((r == 0) == (e.kind == ERR_NONE));
	if (r < 0)
		return 0;
	r = control_device_config(o, fd, &c, &e);
	assert((r == 0) == (e.kind == ERR_NONE));
	if (r == 0) {
		check_again(&c, fd);
		served_config_fini(&c);
	}
	json_decref(o);
	return 0;
}
