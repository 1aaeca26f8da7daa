/* SPDX-License-Identifier: Apache-2.0 */
/* polyctl vm: one instance, by the REST socket of its polyvisor. */
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "tools/polyctl/polyctl.h"
#include "tools/polyctl/words.h"
#include "vmm/base/num.h"

#define API "/api/v1/"

/* ---- flags ---- */

int flag_socket(struct call *c, const struct flag *f, const char *value, struct err *e)
{
	if (c->nsockets == CALL_SOCKETS)
		return err_set(
			e, ERR_USAGE, -EINVAL, "%s: at most %d are taken", f->name, CALL_SOCKETS);
	c->socket = c->sockets[c->nsockets++] = value;
	return 0;
}

int flag_json(struct call *c, const struct flag *f, const char *value, struct err *e)
{
	c->json = true;
	return 0;
}

int flag_ids(struct call *c, const struct flag *f, const char *value, struct err *e)
{
	c->ids = true;
	return 0;
}

static int set_virtio(struct call *c, const struct flag *f, const char *value, struct err *e)
{
	c->virtio = true;
	return 0;
}

static int set_until(struct call *c, const struct flag *f, const char *value, struct err *e)
{
	c->until = value;
	return 0;
}

int flag_seconds(struct call *c, const struct flag *f, const char *value, struct err *e)
{
	uint64_t n;

	if (num_parse(value, &n) < 0 || n < 1 || n > 86400)
		return err_set(e, ERR_USAGE, -EINVAL,
			"%s: \"%.64s\" is not allowed; give 1 to 86400 seconds", f->name, value);
	c->wait = (unsigned)n;
	return 0;
}

/* An open descriptor of ours, from whoever started us. */
int flag_fd(struct call *c, const struct flag *f, const char *value, struct err *e)
{
	uint64_t n;

	if (num_parse(value, &n) < 0 || n > INT_MAX || fcntl((int)n, F_GETFD) < 0)
		return err_set(e, ERR_USAGE, -EINVAL,
			"%s: \"%.64s\" is not an open file descriptor; give the number of one",
			f->name, value);
	if (c->nfds == CLIENT_FDS)
		return err_set(e, ERR_USAGE, -EINVAL, "%s: at most %d are passed with one call",
			f->name, CLIENT_FDS);
	c->fds[c->nfds++] = (int)n;
	return 0;
}

static const struct flag vm_flags[] = {
	{"--socket", "PATH", "polyvisor's --api-socket; $POLYVISOR_SOCKET by default", HINT_FILE,
		flag_socket},
	{"--json", NULL, "the server's own answer, not a table", HINT_NONE, flag_json},
	{0},
};
static const struct flag ping_flags[] = {
	{"--wait", "SECONDS", "for a polyvisor that is still starting", HINT_NONE, flag_seconds},
	{0},
};
static const struct flag disk_flags[] = {
	{"--fd", "N", "an open image of this process is passed on, instead of path", HINT_NONE,
		flag_fd},
	{0},
};
static const struct flag net_flags[] = {
	{"--tap-fd", "N", "an open tap of this process is passed on; may be repeated", HINT_NONE,
		flag_fd},
	{0},
};
static const struct flag devices_flags[] = {
	{"--ids", NULL, "only the ids, one a line", HINT_NONE, flag_ids},
	{0},
};
static const struct flag events_flags[] = {
	{"--until", "SOURCE.EVENT", "end after this one, vm.booted for one", HINT_NONE, set_until},
	{0},
};
static const struct flag console_flags[] = {
	{"--virtio", NULL, "the virtio console instead of the serial port", HINT_NONE, set_virtio},
	{0},
};

/* ---- words ---- */

/* Returns when somebody answers, or the time is over; what is wrong then the call itself says. */
static int prepare_ping(struct call *c, struct err *e)
{
	static const struct timespec pause = {.tv_nsec = 10000000};
	const struct client_req q = {.method = c->verb->method, .path = c->verb->path};
	time_t end = time(NULL) + c->wait;

	while (c->wait && time(NULL) <= end) {
		struct client_reply reply = {0};
		int r = client_call(c->socket, &q, &reply, NULL);

		free(reply.body);
		if (r == 0)
			break;
		nanosleep(&pause, NULL);
	}
	return 0;
}

/* The server may be in another folder, and creates the file, which we may want to look at. */
static int prepare_coredump(struct call *c, struct err *e)
{
	int r = words_absolute(c->word[0], c->watch, sizeof(c->watch), e);

	if (r < 0)
		return r;
	c->body = json_pack("{s:s+}", "destination_url", "file://", c->watch);
	return c->body ? 0
		       : err_set(e, ERR_USAGE, -EINVAL, "%s: the name is not UTF-8", c->word[0]);
}

/* RFC 3986 §2.3: what needs no escape in a path's segment. */
static bool is_unreserved(unsigned char ch)
{
	return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9') ||
	       (ch && strchr("-._~", ch));
}

int path_with_id(struct call *c, const char *id, struct err *e)
{
	const char *path = c->verb->path, *place = strstr(path, "ID");
	size_t at = (size_t)snprintf(c->path, sizeof(c->path), "%.*s", (int)(place - path), path);

	for (const char *p = id; *p; p++) {
		if (at + 4 + strlen(place) > sizeof(c->path))
			return err_set(
				e, ERR_USAGE, -EINVAL, "%s: the id is too long", c->verb->name);
		at += (size_t)snprintf(c->path + at, sizeof(c->path) - at,
			is_unreserved((unsigned char)*p) ? "%c" : "%%%02X", (unsigned char)*p);
	}
	snprintf(c->path + at, sizeof(c->path) - at, "%s", place + strlen("ID"));
	return 0;
}

static int prepare_device(struct call *c, struct err *e)
{
	return path_with_id(c, c->word[0], e);
}

/* ---- the table ---- */

static const struct verb vm_verbs[] = {
	{"ping", "", "whether polyvisor answers, and which", "GET", API "vmm.ping",
		.flags = ping_flags, .prepare = prepare_ping, .show = show_ping},
	{"create", "[FILE]", "describe the machine, from JSON or from flags", "PUT",
		API "vm.create", .max = 1, .hint = HINT_FILE, .flags = create_flags,
		.prepare = create_prepare,
		.more = "FILE is JSON as the API takes it, - is standard input. Without FILE the\n"
			"flags are polyvisor's own; what they name is looked for from here."},
	{"boot", "", "build the machine and start it", "PUT", API "vm.boot"},
	{"info", "", "state, devices, and what was asked for against what was achieved", "GET",
		API "vm.info", .show = show_info},
	{"counters", "", "counts of every device since boot", "GET", API "vm.counters",
		.show = show_counters},
	{"pause", "", "stop the machine where it is", "PUT", API "vm.pause"},
	{"resume", "", "let it go on", "PUT", API "vm.resume"},
	{"reboot", "", "reset the machine", "PUT", API "vm.reboot"},
	{"shutdown", "", "end the machine, keep its description", "PUT", API "vm.shutdown"},
	{"delete", "", "forget the machine", "PUT", API "vm.delete"},
	{"power-button", "", "ask the guest to switch itself off", "PUT", API "vm.power-button"},
	{"nmi", "", "send every vCPU a non-maskable interrupt", "PUT", API "vm.nmi"},
	{"coredump", "FILE", "write an ELF core of the guest, for gdb and crash", "PUT",
		API "vm.coredump", .min = 1, .max = 1, .hint = HINT_FILE,
		.prepare = prepare_coredump,
		.more = "FILE must not exist. The guest stands still meanwhile."},
	{"add-disk", "KEY=VALUE...", "add a virtio disk, before boot", "PUT", API "vm.add-disk",
		.max = CALL_WORDS, .keys = &words_disk, .flags = disk_flags, .show = show_added},
	{"add-net", "KEY=VALUE...", "add a virtio network interface, before boot", "PUT",
		API "vm.add-net", .max = CALL_WORDS, .keys = &words_net, .flags = net_flags,
		.show = show_added},
	{"add-vsock", "KEY=VALUE...", "add a virtio socket device, before boot", "PUT",
		API "vm.add-vsock", .min = 1, .max = CALL_WORDS, .keys = &words_vsock,
		.show = show_added},
	{"add-vhost-user", "KEY=VALUE...", "add any device of a vhost-user back-end, before boot",
		"PUT", API "vm.add-vhost-user", .min = 1, .max = CALL_WORDS,
		.keys = &words_vhost_user, .flags = disk_flags, .show = show_added},
	{"add-vdpa", "KEY=VALUE...", "add a vDPA device, before boot", "PUT", API "vm.add-vdpa",
		.min = 1, .max = CALL_WORDS, .keys = &words_vdpa, .show = show_added},
	{"devices", "", "list the devices", "GET", API "vm.devices", .flags = devices_flags,
		.show = show_devices},
	{"device", "ID", "a device's state, for which the guest pauses shortly", "GET",
		API "vm.devices/ID", .min = 1, .max = 1, .hint = HINT_DEVICE,
		.prepare = prepare_device, .show = show_device},
	{"events", "", "follow what happens, until polyvisor ends", "GET", API "events",
		.flags = events_flags, .run = run_events},
	{"metrics", "", "counts for Prometheus", "GET", "/metrics"},
	{"openapi", "", "the API's own description", "GET", "/openapi.json"},
	{"console", "", "attach to the serial console; Ctrl-A x leaves", "GET", API "vm.info",
		.flags = console_flags, .run = run_console,
		.more = "The console is a PTY's or a socket's (--serial pty, --serial socket=PATH).\n"
			"On a terminal Ctrl-A x leaves and Ctrl-A Ctrl-A sends one Ctrl-A."},
	{"quit", "", "end polyvisor, and the machine with it", "PUT", API "vmm.shutdown"},
	{0},
};

const struct noun noun_vm = {"vm", "One instance, by its polyvisor's socket", vm_verbs, vm_flags,
	.server = "polyvisor", .env = "POLYVISOR_SOCKET", .ids = "vm devices"};
