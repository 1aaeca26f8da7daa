/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/api/routes.h"

#include <stdio.h>
#include <string.h>
#include "vmm/base/num.h"
#include "vmm/http/path.h"

static const struct opt coredump_opts[] = {{.name = "destination_url",
	.type = OPT_STR,
	.offset = offsetof(struct coredump_body, destination_url),
	.min = 1,
	.required = true,
	.help = "file:///path of a file that does not exist, or fd:N"}};
const struct opt_table coredump_table = {.help = "where the core goes",
	.opts = coredump_opts,
	.n = ARRAY_SIZE(coredump_opts),
	.size = sizeof(struct coredump_body)};

#define V1	   "/api/v1/"
#define CALL(n, s) .path = V1 n, .name = n, .summary = s
/* A command without a body. */
#define PUT(n, o, s)                                                                               \
	{                                                                                          \
		.method = "PUT", CALL(n, s), .op = o                                               \
	}
#define ADD(n, p, fds, s)                                                                          \
	{                                                                                          \
		.method = "PUT", CALL(n, s), .op = VM_ADD, .body = BODY_PART, .part = p,           \
		.max_fds = fds                                                                     \
	}
#define NOT_YET(n, s)                                                                              \
	{                                                                                          \
		.method = "PUT", CALL(n, s), .kind = ROUTE_UNOFFERED                               \
	}

const struct route routes[] = {
	{.method = "GET",
		CALL("vmm.ping", "who answers here"),
		.kind = ROUTE_PING,
		.reply = REPLY_PING},
	PUT("vmm.shutdown", VMM_QUIT, "ends the process"),
	{.method = "GET",
		CALL("vm.info", "configuration, state, devices"),
		.op = VM_INFO,
		.reply = REPLY_INFO},
	{.method = "GET",
		CALL("vm.counters", "what the devices have counted since boot"),
		.op = VM_COUNTERS,
		.reply = REPLY_COUNTERS},
	{.method = "PUT",
		CALL("vm.create", "takes a configuration and opens what it names"),
		.op = VM_CREATE,
		.body = BODY_CONFIG},
	PUT("vm.delete", VM_DELETE, "gives everything back"),
	PUT("vm.boot", VM_BOOT, "builds the machine and starts it"),
	PUT("vm.pause", VM_PAUSE, "stops vCPUs and queues"),
	PUT("vm.resume", VM_RESUME, "lets them go on"),
	PUT("vm.shutdown", VM_SHUTDOWN, "ends the machine, keeps its configuration"),
	PUT("vm.reboot", VM_REBOOT, "as the guest's own reset"),
	PUT("vm.power-button", VM_POWER_BUTTON, "asks the guest to switch itself off"),
	PUT("vm.nmi", VM_NMI, "a non-maskable interrupt for every vCPU"),
	{.method = "PUT",
		CALL("vm.coredump", "writes an ELF core of the guest"),
		.op = VM_COREDUMP,
		.body = BODY_TABLE,
		.table = &coredump_table},
	ADD("vm.add-disk", "disks", 1, "a disk, before boot; its file may come as a descriptor"),
	ADD("vm.add-net", "net", ROUTE_NET_FDS,
		"an interface, before boot; its tap may come as a descriptor"),
	ADD("vm.add-vsock", "vsock", 0, "the vsock device, before boot"),
	ADD("vm.add-vdpa", "vdpa", 1, "a vDPA device, before boot"),
	{.method = "PUT",
		CALL("vm.add-vhost-user",
			"any device of a vhost-user back-end, before boot; its connection may come "
			"as a descriptor"),
		.op = VM_ADD,
		.body = BODY_PART,
		.part = "vhost_user_devices",
		.max_fds = 1,
		.ours = true},
	NOT_YET("vm.resize", "changes vCPUs and memory"),
	NOT_YET("vm.resize-disk", "changes a disk's size"),
	NOT_YET("vm.resize-zone", "changes a memory zone's size"),
	NOT_YET("vm.add-device", "passes a host device through"),
	NOT_YET("vm.remove-device", "takes a device out"),
	NOT_YET("vm.add-fs", "adds a virtio-fs share"),
	NOT_YET("vm.add-generic-vhost-user", "adds any vhost-user device"),
	NOT_YET("vm.add-pmem", "adds persistent memory"),
	NOT_YET("vm.add-user-device", "adds a vfio-user device"),
	NOT_YET("vm.snapshot", "writes a snapshot"),
	NOT_YET("vm.restore", "starts from a snapshot"),
	NOT_YET("vm.receive-migration", "takes a machine from another host"),
	NOT_YET("vm.send-migration", "gives the machine to another host"),
	{.method = "GET",
		CALL("vm.devices", "the devices"),
		.op = VM_INFO,
		.reply = REPLY_DEVICES,
		.ours = true},
	{.method = "GET",
		.path = V1 "vm.devices/{id}",
		.name = "vm.device",
		.summary = "a device's state, taken in a short pause",
		.op = VM_DEVICE,
		.reply = REPLY_DEVICE,
		.ours = true},
	{.method = "GET",
		CALL("events", "what happens, as server-sent events"),
		.kind = ROUTE_EVENTS,
		.reply = REPLY_EVENTS,
		.ours = true},
	{.method = "GET",
		.path = "/metrics",
		.name = "metrics",
		.summary = "counters for Prometheus, text format 0.0.4",
		.kind = ROUTE_METRICS,
		.reply = REPLY_METRICS,
		.ours = true},
	{.method = "GET",
		.path = "/openapi.json",
		.name = "openapi",
		.summary = "this description",
		.kind = ROUTE_OPENAPI,
		.reply = REPLY_OPENAPI,
		.ours = true},
	{0},
};

unsigned route_success(const struct route *r)
{
	return r->reply == REPLY_NONE ? 204 : 200;
}

unsigned route_find(const char *method, const char *path, const struct route **ret_route,
	char id[32], char allow[32], struct err *e)
{
	const struct route *other = NULL;

	id[0] = '\0';
	for (const struct route *r = routes; r->path; r++) {
		if (!http_path_matches(r->path, path, id))
			continue;
		if (!strcmp(r->method, method)) {
			*ret_route = r;
			return 200;
		}
		other = r;
	}
	if (other) {
		snprintf(allow, 32, "Allow: %s", other->method);
		err_set(e, ERR_USAGE, -EINVAL, "%s: %s is not offered; allowed is %s", other->name,
			method, other->method);
		return 405;
	}
	err_set(e, ERR_NOT_FOUND, -ENOENT, "%.200s: no such path; GET /openapi.json lists them",
		path);
	return 404;
}

const char *route_states(const struct route *r, char *buf, size_t cap)
{
	size_t n = 0;
	unsigned legal = 0;

	buf[0] = '\0';
	if (r->kind != ROUTE_COMMAND)
		return buf;
	for (int s = 0; s < VM_STATES; s++) {
		if (!control_legal(r->op, (enum vm_state)s))
			continue;
		n += (size_t)snprintf(buf + MIN(n, cap - 1), cap - MIN(n, cap - 1), "%s%s",
			legal ? ", " : "", control_state_name((enum vm_state)s));
		legal++;
	}
	if (legal == VM_STATES)
		buf[0] = '\0';
	return buf;
}
