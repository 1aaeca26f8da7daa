/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/api/test_fake.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include "vmm/api/api_internal.h"
#include "vmm/base/num.h"

struct fake fake;
static struct api api;
static json_t *parsed;

/* ---- the server ---- */

void http_reply_header(struct http_req *r, unsigned status, const char *header, const char *type,
	const char *body, size_t len)
{
	(void)r;
	fake.answers++;
	fake.status = status;
	snprintf(fake.header, sizeof(fake.header), "%s", header ? header : "");
	snprintf(fake.type, sizeof(fake.type), "%s", type ? type : "");
	free(fake.body);
	fake.body = calloc(1, len + 1);
	if (len)
		memcpy(fake.body, body, len);
	fake.len = len;
}

void http_reply(struct http_req *r, unsigned status, const char *type, const char *body, size_t len)
{
	http_reply_header(r, status, NULL, type, body, len);
}

unsigned http_clients(const struct http_server *s)
{
	(void)s;
	return 3;
}

void stream_open(struct stream *s, struct http_req *r)
{
	(void)s;
	http_reply(r, 200, "text/event-stream", NULL, 0);
}

/* ---- control ---- */

static struct vm_info *some_info(void)
{
	struct vm_info *i = calloc(1, sizeof(*i));

	i->state = VM_DUMPING;
	i->memory_actual = 512 * MIB;
	i->config = calloc(1, sizeof(*i->config));
	vm_config_init(i->config);
	i->config->serial.mode = CHR_PTY;
	i->config->serial.mode_given = true;
	i->config->serial.path = strdup("/dev/pts/7");
	i->ndevices = 2;
	i->device = calloc(2, sizeof(*i->device));
	i->device[0] = (struct vm_device_info){"_disk0", "virtio-blk", 17};
	i->device[1] = (struct vm_device_info){"a\"b", "ns16550", -1};
	i->nasked = 1;
	i->asked = calloc(1, sizeof(*i->asked));
	i->asked[0] = (struct vm_asked){"memory", "hugepages", "on, 2M", "none: the pool is empty"};
	i->noffloads = 2;
	i->offload = calloc(2, sizeof(*i->offload));
	i->offload[0] = (struct vm_offload){"_disk0", "auto", true, 12, 3, 4711, 2};
	i->offload[1] = (struct vm_offload){"_net0", "vhost-user", false, 5, 0};
	return i;
}

static struct vm_counters *some_counters(void)
{
	struct vm_counters *c = calloc(1, sizeof(*c) + 4 * sizeof(c->counter[0]));

	c->n = 4;
	c->counter[0] = (struct vm_counter){"_disk0", "read_bytes", 4096};
	c->counter[1] = (struct vm_counter){"_disk0", "writes", 2};
	c->counter[2] = (struct vm_counter){"a\"b", "read_bytes", 1};
	c->counter[3] = (struct vm_counter){"_disk0", "read_latency_avg", 250};
	return c;
}

void control_submit(struct control *c, struct vm_cmd *cmd)
{
	(void)c;
	fake.commands++;
	fake.op = cmd->op;
	vm_config_fini(&fake.config);
	snprintf(fake.path, sizeof(fake.path), "%s", cmd->path ? cmd->path : "");
	snprintf(fake.id, sizeof(fake.id), "%s", cmd->id);
	if (cmd->config)
		vm_config_copy(cmd->config, &fake.config);
	cmd->err = fake.err;
	cmd->result = fake.err.kind == ERR_NONE ? 0 : -EIO;
	if (cmd->result == 0 && cmd->op == VM_INFO)
		cmd->info = some_info();
	if (cmd->result == 0 && cmd->op == VM_COUNTERS)
		cmd->counters = some_counters();
	if (cmd->result == 0 && cmd->op == VM_DEVICE) {
		cmd->dump = strdup("{\"isr\": 0, \"driver\": \"0x1\"}");
		cmd->pause_ns = 123456;
	}
	cmd->done(cmd);
}

/* vm_info_free() of info.c, whose file needs a machine. */
void vm_info_free(struct vm_info *i)
{
	if (!i)
		return;
	vm_config_fini(i->config);
	free(i->config);
	free(i->device);
	free(i->asked);
	free(i->offload);
	free(i);
}

/* ---- the test's side ---- */

void fake_init(void)
{
	memset(&fake, 0, sizeof(fake));
	memset(&api, 0, sizeof(api));
	list_init(&api.calls);
	cr_assert_eq(ev_thread_new("api", &api.thread), 0);
}

void fake_fini(void)
{
	cr_assert(list_empty(&api.calls));
	ev_thread_free(api.thread);
	vm_config_fini(&fake.config);
	free(fake.body);
	fake.body = NULL;
	json_decref(parsed);
	parsed = NULL;
}

unsigned ask_bytes(const char *method, const char *target, const char *body, long len)
{
	char path[2048];
	struct http_req r = {
		.path = path, .query = "", .body = body ? body : "", .nfds = fake.nfds};
	unsigned before = fake.answers;
	char *query;

	snprintf(path, sizeof(path), "%s", target);
	query = strchr(path, '?');
	if (query) {
		*query = '\0';
		r.query = query + 1;
	}
	r.len = len < 0 ? strlen(r.body) : (size_t)len;
	snprintf(r.method, sizeof(r.method), "%s", method);
	memcpy(r.fds, fake.fds, sizeof(r.fds));
	api_request(&r, &api);
	cr_assert_eq(fake.answers, before + 1, "%s %s: %u answers", method, target,
		fake.answers - before);
	cr_assert_eq(memcmp(r.fds, fake.fds, sizeof(r.fds)), 0, "descriptors stay the request's");
	fake.nfds = 0;
	return fake.status;
}

unsigned ask(const char *method, const char *target, const char *body)
{
	return ask_bytes(method, target, body, -1);
}

json_t *answer(void)
{
	json_decref(parsed);
	parsed = json_loadb(fake.body, fake.len, JSON_REJECT_DUPLICATES, NULL);
	cr_assert(parsed, "not JSON: %.200s", fake.body);
	return parsed;
}

const char *said(void)
{
	const char *text = json_string_value(json_array_get(answer(), 0));

	cr_assert_eq(json_array_size(parsed), 1, "%s", fake.body);
	cr_assert(text && *text && !strchr(text, '\n'), "%s", fake.body);
	cr_assert_str_eq(fake.type, "application/json");
	cr_assert_lt(fake.len, 1000); /* libvirt reads an answer in one go, of 1023 bytes */
	return text;
}
