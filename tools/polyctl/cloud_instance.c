/* SPDX-License-Identifier: Apache-2.0 */
/* polyctl instance, and what is done with one instance. */
#include <string.h>
#include "tools/polyctl/cloud.h"

#define V1 "/v1/instances"
#define WAIT_FLAGS                                                                                 \
	{"--wait", NULL, "until it has come about", HINT_NONE, set_wait},                          \
	{                                                                                          \
		"--timeout", "SECONDS", "of --wait, 600 by default", HINT_NONE, set_timeout        \
	}

/* What `instance create` and `schedule` say of an instance. */
#define INSTANCE_FLAGS                                                                             \
	{"--image", "NAME[:TAG]", "what it boots", HINT_NONE, set_text, "image"},                  \
		{"--chip", "CHIP", "x86_64, arm64, riscv64, or any, which is the default",         \
			HINT_NONE, set_text, "chip"},                                              \
		{"--flavor", "NAME", "CPUs and memory, small by default", HINT_NONE, set_text,     \
			"flavor"},                                                                 \
		{"--cpus", "N", "instead of the flavor's", HINT_NONE, set_number, "cpus"},         \
		{"--memory", "SIZE", "instead of the flavor's, as 512M", HINT_NONE, set_mib,       \
			"memory_mib"},                                                             \
		{"--root-size", "SIZE", "of its root disk, as 4G", HINT_NONE, set_gib,             \
			"root_gib"},                                                               \
		{"--feature", "NAME", "a CPU feature that it needs, sve for one; may be repeated", \
			HINT_NONE, set_list, "features"},                                          \
		{"--network", "NAME", "default by default; none", HINT_NONE, set_text_or_null,     \
			"network"},                                                                \
		{"--host", "NAME", "this one only (admin)", HINT_NONE, set_text, "host"},          \
		{"--host-label", "KEY=VALUE", "that the host must have; may be repeated",          \
			HINT_NONE, set_label, "host_labels"},                                      \
		{"--pool", "NAME", "a host of this pool only", HINT_NONE, set_text, "pool"},       \
		{"--spread", "pack|spread", "which hosts are preferred", HINT_NONE, set_text,      \
			"spread"},                                                                 \
	{                                                                                          \
		"--label", "KEY=VALUE", "may be repeated", HINT_NONE, set_label, "labels"          \
	}

static const struct flag create_flags_[] = {
	INSTANCE_FLAGS,
	{"--volume", "NAME", "one more disk; may be repeated", HINT_NONE, set_disk, "disks"},
	{"--port", "8080:80", "publish a port of the guest; may be repeated", HINT_NONE, set_port,
		"ports"},
	{"--key", "NAME", "whose key may log in, all by default; may be repeated", HINT_NONE,
		set_list, "keys"},
	{"--user-data", "FILE", "for cloud-init's NoCloud", HINT_FILE, set_file_text, "user_data"},
	{"--cmdline", "TEXT", "more for the kernel's command line", HINT_NONE, set_text, "cmdline"},
	{"--restart", "WHEN", "never, on-failure (default) or always", HINT_NONE, set_text,
		"restart"},
	{"--protect", NULL, "it cannot be deleted until that is taken back", HINT_NONE, set_true,
		"protected"},
	{"--state", "STATE", "stopped: it is made and not started", HINT_NONE, set_text, "state"},
	WAIT_FLAGS,
	{0},
};
static const struct flag schedule_flags[] = {INSTANCE_FLAGS, {0}};
static const struct flag wait_flags[] = {WAIT_FLAGS, {0}};
static const struct flag stop_flags[] = {
	{"--force", NULL, "do not ask the guest", HINT_NONE, set_true, "force"},
	WAIT_FLAGS,
	{0},
};
static const struct flag list_flags[] = {
	{"--state", "STATE", "only those", HINT_NONE, set_query, "state"},
	{"--chip", "CHIP", "only those", HINT_NONE, set_query, "chip"},
	{"--host", "NAME", "only those", HINT_NONE, set_query, "host"},
	{"--name", "NAME", "only those", HINT_NONE, set_query, "name"},
	{"--label", "KEY=VALUE", "only those; may be repeated", HINT_NONE, set_query, "label"},
	{"--limit", "N", "one page of so many", HINT_NONE, set_query, "limit"},
	{"--page", "TOKEN", "the page that the one before names", HINT_NONE, set_query, "page"},
	{"--ids", NULL, "only the names, one a line", HINT_NONE, flag_ids},
	{0},
};
static int set_protected(struct call *c, const struct flag *f, const char *value, struct err *e)
{
	return cloud_set(c, "protected", f->key ? json_true() : json_false(), e);
}
static const struct flag update_flags[] = {
	{"--protect", NULL, "it cannot be deleted", HINT_NONE, set_protected, "on"},
	{"--unprotect", NULL, "it can be", HINT_NONE, set_protected},
	{"--restart", "WHEN", "never, on-failure or always", HINT_NONE, set_text, "restart"},
	{"--label", "KEY=VALUE", "set; may be repeated", HINT_NONE, set_label, "labels"},
	{0},
};
static const struct flag log_flags[] = {
	{"--tail", "BYTES", "only the end", HINT_NONE, set_query, "tail"},
	{0},
};
static const struct flag events_flags[] = {
	{"-f", NULL, "go on with what happens", HINT_NONE, set_follow},
	{"--follow", NULL, "the same", HINT_NONE, set_follow},
	{"--until", "KIND.EVENT", "end after this one, instance.running for one", HINT_NONE,
		set_until},
	{0},
};
static const struct flag move_flags[] = {
	{"--host", "NAME", "where to; the scheduler's choice by default", HINT_NONE, set_text,
		"host"},
	WAIT_FLAGS,
	{0},
};
static const struct flag ssh_flags[] = {
	{"--wait", "SECONDS", "for its sshd, 300 by default", HINT_NONE, set_timeout},
	{"--identity", "FILE", "the private key, instead of ssh's usual ones", HINT_FILE, set_file},
	{0},
};

#define COLUMNS                                                                                    \
	"NAME=name STATE=observed.state CHIP=chip HOST=host IP=ip CPUS=cpus MIB=memory_mib "       \
	"IMAGE=image AGE=@created_at WHY=observed.reason"
#define ACTION(n, h, u)                                                                            \
	{                                                                                          \
		n, "NAME...", h, "POST", V1 "/{name}/actions/" n,                                  \
			.min = 1, .max = CALL_WORDS, .hint = HINT_DEVICE, .flags = wait_flags,     \
			.show = no_show, .each = true, .until = u                                  \
	}
#define ONE .min = 1, .max = 1, .hint = HINT_DEVICE

/* The scheduler wants what instance create does, and a name is part of it. */
static int prepare_schedule(struct call *c, struct err *e)
{
	return cloud_set(c, "name", json_string("new"), e);
}

static int no_show(struct call *c, const json_t *answer)
{
	return 0;
}

static const struct verb verbs[] = {
	{"create", "NAME", "make an instance and start it", "POST", V1, .min = 1, .max = 1,
		.flags = create_flags_, .fields = "name", .show = cloud_show_made,
		.until = "running"},
	{"list", "", "the instances", "GET", V1, .flags = list_flags, .columns = COLUMNS},
	{"get", "NAME", "everything about one", "GET", V1 "/{name}", ONE},
	{"update", "NAME", "change what may change", "PATCH", V1 "/{name}", ONE,
		.flags = update_flags, .show = no_show},
	ACTION("start", "start what is stopped", "running"),
	{"stop", "NAME...", "ask the guest to switch itself off, and switch it off", "POST",
		V1 "/{name}/actions/stop", .min = 1, .max = CALL_WORDS, .hint = HINT_DEVICE,
		.flags = stop_flags, .show = no_show, .each = true,
		.until = "stopped crashed failed"},
	ACTION("reboot", "reset it", "running"),
	ACTION("pause", "stop it where it is", "paused"),
	ACTION("resume", "let it go on", "running"),
	{"delete", "NAME...", "end it and forget it, with its root disk", "DELETE", V1 "/{name}",
		.min = 1, .max = CALL_WORDS, .hint = HINT_DEVICE, .flags = wait_flags,
		.show = no_show, .each = true, .until = "gone"},
	{"console", "NAME", "attach to the serial console; Ctrl-A x leaves", "GET",
		V1 "/{name}/console", ONE, .run = run_cloud_console},
	{"log", "NAME", "what the serial console has said", "GET", V1 "/{name}/log", ONE,
		.flags = log_flags},
	{"events", "NAME", "what has happened to it", "GET", V1 "/{name}/events", ONE,
		.flags = events_flags, .run = run_cloud_events},
	{"stats", "NAME", "counters of its machine and devices", "GET", V1 "/{name}/stats", ONE},
	{"move", "NAME", "stop it, and start it on another host", "POST", V1 "/{name}/actions/move",
		ONE, .flags = move_flags},
	{0},
};
const struct noun noun_instance = {"instance", "Virtual machines on hosts of every chip", verbs,
	cloud_flags, .ids = "instance list", .run = cloud_run};

/* ---- what is a word of its own ---- */

#define WORD(id, n, h, ...)                                                                        \
	static const struct verb id##_verb[] = {{"", __VA_ARGS__}, {0}};                           \
	const struct noun noun_##id = {                                                            \
		n, h, id##_verb, cloud_flags, .ids = "instance list", .run = cloud_run}

WORD(console, "console", "Attach to an instance's serial console", "NAME",
	"attach to the serial console; Ctrl-A x leaves", "GET", V1 "/{name}/console", ONE,
	.run = run_cloud_console);
WORD(ssh, "ssh", "A shell on an instance", "[USER@]NAME [COMMAND...]",
	"a shell on an instance, or a command there", "GET", V1 "/{name}/tunnel?port=22", .min = 1,
	.max = CALL_WORDS, .hint = HINT_DEVICE, .flags = ssh_flags, .run = run_ssh, .rest = true,
	.more = "Waits until the instance's sshd answers. USER is root by default.");
WORD(tunnel, "tunnel", "Standard input and output as a connection to an instance's port",
	"NAME PORT", "bytes to and from a TCP port of an instance", "GET",
	V1 "/{name}/tunnel?port=PORT", .min = 2, .max = 2, .hint = HINT_DEVICE, .run = run_tunnel);
WORD(diagnose, "diagnose", "Where on its way an instance is unhealthy", "NAME",
	"walk from the host to the guest; ! marks the first hop that is unhealthy", "GET",
	V1 "/{name}/diagnose", ONE, .show = cloud_show_diagnose);
WORD(schedule, "schedule", "Where an instance would run, and why not elsewhere", "",
	"what the scheduler says to an instance, which is not made", "POST", "/v1/schedule",
	.flags = schedule_flags, .prepare = prepare_schedule, .show = cloud_show_schedule);
WORD(cloud_events, "events", "What happens in the cloud", "", "what has happened", "GET",
	"/v1/events", .flags = events_flags, .run = run_cloud_events);
