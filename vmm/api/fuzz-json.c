/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies of any kind. So that more than the first key is reached, bytes from 0x80 up stand for
 * words of the grammar. What is accepted must come back unchanged when what we show of it is read
 * again.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "vmm/api/v1.h"
#include "vmm/base/num.h"
#include "vmm/http/body.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const words[] = {"{", "}", "[", "]", ",", ":", "{\"", "\":", "\":{\"", "\":\"",
	"\",\"", "\"},{\"", "\"}", "}}", "\":[{\"", "\"}]", "null", "true", "false", "0", "1", "-1",
	"4294967296", "18446744073709551616", "1.5", "cpus", "boot_vcpus", "affinity", "vcpu",
	"host_cpus", "memory", "size", "payload", "kernel", "disks", "path", "queue_size", "net",
	"tap", "mac", "52:54:00:12:34:56", "rng", "src", "serial", "console", "mode", "Pty", "File",
	"file", "socket", "vsock", "cid", "3", "platform", "iommu", "num_queues", "destination_url",
	"fd", "file:///x", "512M", "\\u0000", "\\", "{\"payload\":{\"kernel\":\"k\"},\"",
	"{\"vsock\":{\"cid\":3,\"socket\":\"/s\"},\""};

static char *text_from(const uint8_t *data, size_t size, size_t *ret_len)
{
	char *text = malloc(size * 48 + 1), *p = text;

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

static void check_again(const struct vm_config *c, const struct opts_json *how)
{
	json_t *o = v1_config_json(c), *again;
	struct vm_config back;
	struct err e = {0};
	int r = v1_config(o, how, &back, &e);

	assert(r == 0);
	again = v1_config_json(&back);
	assert(json_equal(o, again));
	json_decref(o);
	json_decref(again);
	vm_config_fini(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const parts[] = {"disks", "net", "vsock"};
	const struct opts_json how = {0};
	size_t len;
	char *text = text_from(data, size, &len), *path = NULL;
	struct vm_config c;
	struct err e = {0};
	json_t *o;
	int r = http_body_json(text, len, &o, &e);

	assert((r == 0) == (e.kind == ERR_NONE));
	if (r < 0) {
		free(text);
		return 0;
	}
	if (v1_config(o, &how, &c, &e) == 0) {
		check_again(&c, &how);
		vm_config_fini(&c);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(parts); i++) {
		e = (struct err){0};
		r = v1_part(o, parts[i], size & 1 ? 7 : -1, &how, &c, &e);
		assert((r == 0) == (e.kind == ERR_NONE));
		if (r == 0)
			vm_config_fini(&c);
	}
	if (v1_destination(o, &how, &path, NULL) == 0)
		free(path);
	json_decref(o);
	free(text);
	return 0;
}
