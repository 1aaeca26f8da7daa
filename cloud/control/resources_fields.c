/* SPDX-License-Identifier: Apache-2.0 */
/* What each resource holds: one table per kind is what a body may say, what answers show, and the
 * OpenAPI document. */
#include "cloud/control/resources.h"

/* What every object has in answers. */
#define COMMON                                                                                     \
	{"id", F_STR, F_OUTPUT, .help = "a letter of the kind and a number that grows with time"}, \
		{"created_at", F_STR, F_OUTPUT, .help = "RFC 3339, UTC"},                          \
		{"updated_at", F_STR, F_OUTPUT, .help = "RFC 3339, UTC"},                          \
		{"revision", F_INT, F_OUTPUT, .help = "of the last change; the ETag"},             \
	{                                                                                          \
		"labels", F_LABELS, .help = "keys and values of your own; lists filter by them"    \
	}
#define IN_PROJECT                                                                                 \
	{                                                                                          \
		"project", F_STR, F_OUTPUT, .help = "the project that it is in"                    \
	}
#define NAMED                                                                                      \
	{                                                                                          \
		"name", F_NAME, F_REQUIRED | F_FIXED,                                              \
			.help = "unique among its kind in the project"                             \
	}
#define END                                                                                        \
	{                                                                                          \
		NULL                                                                               \
	}

/* ---- instances ---- */

static const char *const chips[] = {"any", "x86_64", "arm64", "riscv64", "amd64", "aarch64", NULL};
static const char *const restarts[] = {"never", "on-failure", "always", NULL};
static const char *const spreads[] = {"spread", "pack", NULL};
static const char *const made_states[] = {"running", "stopped", NULL};

static const struct field disk_fields[] = {
	{"volume", F_STR, F_REQUIRED, 1, 64, .help = "name or id of a volume"},
	{"readonly", F_BOOL, .help = "the guest cannot write it"},
	END,
};
const struct field forward_fields[] = {
	{"host_port", F_INT, F_REQUIRED, 1024, 65535, .help = "TCP port on the host"},
	{"guest_port", F_INT, F_REQUIRED, 1, 65535, .help = "TCP port in the guest"},
	{"address", F_STR, 0, 7, 15, .help = "IPv4 address of the host; default 0.0.0.0, all"},
	END,
};

#define INSTANCE_ANSWERS                                                                           \
	{"desired", F_ANY, F_OUTPUT, .help = "{state, reboots}: what was asked for"},              \
		{"observed", F_ANY, F_OUTPUT, .help = "{state, reason, since, …}: what is"},       \
		{"host", F_STR, F_OUTPUT | F_NULL, .help = "name of the host it is on"},           \
		{"host_id", F_STR, F_OUTPUT | F_NULL, .help = "id of that host"},                  \
		{"image_digest", F_STR, F_OUTPUT | F_NULL, .help = "image index that is pinned"},  \
		{"platform_digest", F_STR, F_OUTPUT | F_NULL, .help = "its manifest on the chip"}, \
		{"network_id", F_STR, F_OUTPUT | F_NULL, .help = "id of the network"},             \
		{"port_id", F_STR, F_OUTPUT | F_NULL, .help = "id of the network port"},           \
		{"mac", F_STR, F_OUTPUT | F_NULL, .help = "of its network port"},                  \
		{"ip", F_STR, F_OUTPUT | F_NULL, .help = "of its network port"},                   \
		{"request_id", F_STR, F_OUTPUT, .help = "of the last request that changed it"},    \
	{                                                                                          \
		"generation", F_INT, F_OUTPUT, .help = "grows with each assignment to a host"      \
	}

const struct field instance_fields[] = {
	NAMED,
	{"image", F_STR, F_REQUIRED, 1, 192, .help = "NAME or NAME:TAG"},
	{"chip", F_ENUM, .values = chips, .help = "default any: the scheduler chooses"},
	{"flavor", F_STR, 0, 1, 63, .help = "cpus and memory by name; default small"},
	{"cpus", F_INT, 0, 1, 128, .help = "virtual CPUs; default: the flavor's"},
	{"memory_mib", F_INT, 0, 16, 1048576, .help = "default: the flavor's"},
	{"root_gib", F_INT, 0, 1, 1024, .help = "size of the root disk; default: the flavor's"},
	{"features", F_STRS, 0, 0, 64, .help = "CPU features that the host must have"},
	{"network", F_STR, F_NULL, 1, 63, .help = "default \"default\"; null: none"},
	{"port", F_STR, 0, 1, 63, .help = "a network port that was reserved"},
	{"disks", F_OBJECTS, 0, 0, 16, .of = disk_fields, .help = "volumes, in this order"},
	{"keys", F_STRS, 0, 0, 64, .help = "names of keys; default: all of the project"},
	{"user_data", F_STR, F_NULL, 0, 65536, .help = "cloud-init user-data"},
	{"cmdline", F_STR, F_NULL, 0, 1024, .help = "added to the kernel's command line"},
	{"restart", F_ENUM, .values = restarts, .help = "default on-failure"},
	{"protected", F_BOOL, .help = "deleting it is refused"},
	{"host", F_STR, F_ADMIN, 1, 63, .help = "the host it must be on"},
	{"host_labels", F_LABELS, .help = "labels that the host must have"},
	{"pool", F_STR, F_NULL, 1, 63, .help = "the pool of hosts it stays in"},
	{"spread", F_ENUM, .values = spreads, .help = "default spread: over the hosts"},
	{"ports", F_OBJECTS, 0, 0, 32, .of = forward_fields, .help = "published ports"},
	{"state", F_ENUM, .values = made_states, .help = "default running"},
	IN_PROJECT,
	COMMON,
	INSTANCE_ANSWERS,
	END,
};

const struct field instance_patch[] = {
	{"name", F_NAME, .help = "unique among the project's instances"},
	{"labels", F_LABELS, .help = "null takes a label away"},
	{"protected", F_BOOL, .help = "deleting it is refused"},
	{"restart", F_ENUM, .values = restarts, .help = "never, on-failure or always"},
	{"state", F_ENUM, .values = made_states, .help = "as the actions start and stop"},
	END,
};
const struct field stop_fields[] = {
	{"force", F_BOOL, .help = "stop: do not wait for the guest"},
	{"host", F_STR, F_ADMIN, 1, 63, .help = "move: the host to go to"},
	END,
};

/* ---- what instances use ---- */

const struct field volume_fields[] = {
	NAMED,
	{"size_gib", F_INT, F_FIXED, 1, 65536, .help = "this or size_mib"},
	{"size_mib", F_INT, F_FIXED, 1, 67108864, .help = "this or size_gib"},
	{"host", F_STR, F_ADMIN | F_FIXED, 1, 63, .help = "the host it is kept on"},
	IN_PROJECT,
	COMMON,
	{"state", F_STR, F_OUTPUT, .help = "available, attached or deleting"},
	{"attached_to", F_STR, F_OUTPUT | F_NULL, .help = "id of the instance that has it"},
	{"host_id", F_STR, F_OUTPUT | F_NULL, .help = "id of the host that has its bytes"},
	{"pin", F_STR, F_OUTPUT | F_NULL, .help = "the host that was asked for"},
	{"generation", F_INT, F_OUTPUT, .help = "grows with each takeover by another host"},
	END,
};

const struct field network_fields[] = {
	NAMED,
	{"cidr", F_STR, F_FIXED, 9, 18, .help = "10.64.0.0/16 (the default) to /28"},
	{"dns", F_STR, F_NULL, 7, 15, .help = "server that guests are told; null: the gateway"},
	IN_PROJECT,
	COMMON,
	{"gateway", F_STR, F_OUTPUT, .help = "the first address"},
	{"prefix", F_INT, F_OUTPUT, .help = "bits of the network's part"},
	END,
};

const struct field port_fields[] = {
	{"name", F_NAME, F_FIXED, .help = "default: its id"},
	{"network", F_STR, F_REQUIRED | F_FIXED, 1, 63, .help = "name or id of a network"},
	{"ip", F_STR, F_FIXED, 7, 15, .help = "default: the lowest free one"},
	IN_PROJECT,
	COMMON,
	{"network_id", F_STR, F_OUTPUT, .help = "id of the network"},
	{"mac", F_STR, F_OUTPUT, .help = "stays for the port's life"},
	{"instance", F_STR, F_OUTPUT | F_NULL, .help = "id of the instance that has it"},
	END,
};

const struct field key_fields[] = {
	NAMED,
	{"public_key", F_STR, F_REQUIRED | F_FIXED, 16, 8192, .help = "a line of OpenSSH's"},
	IN_PROJECT,
	COMMON,
	{"fingerprint", F_STR, F_OUTPUT, .help = "as ssh-keygen -l shows it"},
	END,
};

/* ---- outside projects ---- */

const struct field flavor_fields[] = {
	NAMED,
	{"cpus", F_INT, F_REQUIRED, 1, 128, .help = "virtual CPUs"},
	{"memory_mib", F_INT, F_REQUIRED, 16, 1048576, .help = "memory in MiB"},
	{"root_gib", F_INT, F_NULL, 1, 1024, .help = "root disk; default: as large as the image"},
	COMMON,
	END,
};

const struct field pool_fields[] = {
	NAMED,
	{"hosts", F_STRS, 0, 0, 4096, .help = "names of hosts; or labels"},
	COMMON,
	{"baseline", F_ANY, F_OUTPUT, .help = "CPU features that all its hosts have, per chip"},
	END,
};

const struct field project_fields[] = {NAMED, COMMON, END};

static const char *const roles[] = {"admin", "project", "node", NULL};
const struct field token_fields[] = {
	NAMED,
	{"role", F_ENUM, F_REQUIRED | F_FIXED, .values = roles, .help = "what it may do"},
	{"project", F_STR, F_FIXED, 1, 63, .help = "of a project token; default \"default\""},
	{"host", F_STR, F_FIXED, 1, 63, .help = "of a node token: the one name it may join as"},
	{"expires", F_INT, F_FIXED, 1, 315360000, .help = "seconds from now; default never"},
	{"once", F_BOOL, F_FIXED, .help = "good for one exchange at POST /v1/session"},
	COMMON,
	{"expires_at", F_STR, F_OUTPUT | F_NULL, .help = "RFC 3339, UTC"},
	{"token", F_STR, F_OUTPUT, .help = "the secret: shown only in the answer that makes it"},
	{"url", F_STR, F_OUTPUT | F_NULL, .help = "where it is good, in the same answer"},
	{"fingerprint", F_STR, F_OUTPUT | F_NULL, .help = "SHA-256 of the certificate there"},
	END,
};

const struct field host_fields[] = {
	COMMON,
	{"name", F_STR, F_OUTPUT, .help = "the name it joined as"},
	{"state", F_STR, F_OUTPUT, .help = "online, offline, cordoned, draining or fenced"},
	{"chip", F_STR, F_OUTPUT, .help = "x86_64, arm64 or riscv64"},
	{"cpu_model", F_STR, F_OUTPUT, .help = "as the host calls it"},
	{"features", F_STRS, F_OUTPUT, .help = "CPU features"},
	{"cores", F_INT, F_OUTPUT, .help = "CPUs of the host"},
	{"memory_mib", F_INT, F_OUTPUT, .help = "memory of the host"},
	{"kvm", F_STR, F_OUTPUT, .help = "what its KVM runs"},
	{"version", F_STR, F_OUTPUT, .help = "of its node agent"},
	{"load", F_ANY, F_OUTPUT,
		.help = "runnable threads, the mean of a minute, while it is online"},
	{"memory_free_mib", F_INT, F_OUTPUT, .help = "while it is online"},
	{"allocated", F_ANY, F_OUTPUT, .help = "{cpus, memory_mib} given to instances"},
	END,
};
const struct field confirm_fields[] = {
	{"confirm", F_BOOL, .help = "fence: the host runs nothing any more"},
	END,
};

const struct field operation_fields[] = {
	{"name", F_STR, F_OUTPUT, .help = "its id"},
	IN_PROJECT,
	COMMON,
	{"kind", F_STR, F_OUTPUT, .help = "what is done"},
	{"target", F_STR, F_OUTPUT, .help = "to what"},
	{"state", F_STR, F_OUTPUT, .help = "running, done or failed"},
	{"progress", F_INT, F_OUTPUT, 0, 100, .help = "per cent"},
	{"error", F_STR, F_OUTPUT | F_NULL, .help = "why it failed"},
	{"result", F_ANY, F_OUTPUT, .help = "what it made or found"},
	END,
};

const struct field backup_fields[] = {
	{"path", F_STR, F_REQUIRED, 1, 4096, .help = "a new file on the server, absolute"},
	END,
};

const struct field event_fields[] = {
	{"seq", F_INT, F_OUTPUT, .help = "grows by one with each event"},
	{"time", F_STR, F_OUTPUT, .help = "RFC 3339, UTC"},
	{"kind", F_STR, F_OUTPUT, .help = "of the object"},
	{"id", F_STR, F_OUTPUT, .help = "of the object"},
	{"name", F_STR, F_OUTPUT, .help = "of the object"},
	{"event", F_STR, F_OUTPUT, .help = "what happened"},
	{"text", F_STR, F_OUTPUT, .help = "one line about it"},
	{"actor", F_STR, F_OUTPUT, .help = "who did it"},
	{"request_id", F_STR, F_OUTPUT, .help = "of the request that did it"},
	END,
};
