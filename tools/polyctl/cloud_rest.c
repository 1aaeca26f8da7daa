/* SPDX-License-Identifier: Apache-2.0 */
/* The nouns beside instances: images, volumes, networks, hosts, and who may do what. */
#include <stdlib.h>
#include <string.h>
#include "tools/polyctl/cloud.h"

#define NAME_ARG .min = 1, .max = 1, .hint = HINT_DEVICE
#define WAIT_FLAGS                                                                                 \
	{"--wait", NULL, "until it has come about", HINT_NONE, set_wait},                          \
	{                                                                                          \
		"--timeout", "SECONDS", "of --wait, 600 by default", HINT_NONE, set_timeout        \
	}
#define IDS_FLAG                                                                                   \
	{                                                                                          \
		"--ids", NULL, "only the names, one a line", HINT_NONE, flag_ids                   \
	}
#define LABEL_FLAG                                                                                 \
	{                                                                                          \
		"--label", "KEY=VALUE", "may be repeated", HINT_NONE, set_label, "labels"          \
	}

static const struct flag list_flags[] = {
	{"--name", "NAME", "only those", HINT_NONE, set_query, "name"},
	{"--label", "KEY=VALUE", "only those; may be repeated", HINT_NONE, set_query, "label"},
	{"--limit", "N", "one page of so many", HINT_NONE, set_query, "limit"},
	{"--page", "TOKEN", "the page that the one before names", HINT_NONE, set_query, "page"},
	IDS_FLAG,
	{0},
};
static const struct flag wait_flags[] = {WAIT_FLAGS, {0}};

static int no_show(struct call *c, const json_t *answer)
{
	return 0;
}

#define LIST(plural, h, cols)                                                                      \
	{                                                                                          \
		"list", "", h, "GET", "/v1/" plural, .flags = list_flags, .columns = cols          \
	}
#define GET(plural)                                                                                \
	{                                                                                          \
		"get", "NAME", "everything about one", "GET", "/v1/" plural "/{name}", NAME_ARG    \
	}
#define DELETE(plural, h)                                                                          \
	{                                                                                          \
		"delete", "NAME...", h, "DELETE", "/v1/" plural "/{name}",                         \
			.min = 1, .max = CALL_WORDS, .hint = HINT_DEVICE, .show = no_show,         \
			.each = true                                                               \
	}
#define CREATE(plural, a, h, f)                                                                    \
	{                                                                                          \
		"create", a, h, "POST", "/v1/" plural, .min = 1, .max = 1, .flags = f,             \
						       .fields = "name", .show = cloud_show_made   \
	}
#define NOUN(id, n, h, v)                                                                          \
	const struct noun noun_##id = {n, h, v, cloud_flags, .ids = n " list", .run = cloud_run}

/* ---- images ---- */

static const struct flag import_flags[] = {
	{"--oci", "PATH[:REF]", "an OCI layout on the server (admin)", HINT_FILE, set_text,
		"source.oci"},
	{"--dir", "PATH", "a folder on the server, with CHIP/kernel and so on (admin)", HINT_FILE,
		set_text, "source.dir"},
	{"--guest", "linux|bare-metal", "what runs in it, linux by default", HINT_NONE, set_text,
		"guest"},
	LABEL_FLAG,
	WAIT_FLAGS,
	{0},
};
static const struct flag upload_flags[] = {
	{"--chip", "CHIP", "x86_64, arm64 or riscv64", HINT_NONE, set_text, "chip"},
	{"--root", "FILE", "root disk, raw or qcow2", HINT_FILE, set_text, "root"},
	{"--kernel", "FILE", "kernel", HINT_FILE, set_text, "kernel"},
	{"--initramfs", "FILE", "initial RAM disk", HINT_FILE, set_text, "initramfs"},
	{"--guest", "linux|bare-metal", "what runs in it, linux by default", HINT_NONE, set_text,
		"guest"},
	{"--timeout", "SECONDS", "until it is an image, 600 by default", HINT_NONE, set_timeout},
	{0},
};
static const struct flag build_flags[] = {
	{"--chip", "CHIP", "only this one, instead of all three", HINT_NONE, set_text, "chip"},
	{"--timeout", "SECONDS", "until it is an image, 600 by default", HINT_NONE, set_timeout},
	{0},
};
static const struct verb image_verbs[] = {
	LIST("images", "the images",
		"NAME=name CHIPS=platforms.chip DIGEST=#digest AGE=@created_at"),
	GET("images"),
	{"upload", "NAME [DIR]", "make an image of files that are here", "POST", "/v1/images",
		.min = 1, .max = 2, .flags = upload_flags, .run = run_upload,
		.more = "DIR has CHIP/root, CHIP/kernel and CHIP/initramfs, as x86_64/kernel, for every\n"
			"chip that the image is for; without it the flags name one chip's."},
	{"import", "NAME", "make an image of what is on the server", "POST", "/v1/images", .min = 1,
		.max = 1, .flags = import_flags, .fields = "name", .show = cloud_show_made},
	{"build", "NAME", "make a small Debian, for three chips", "POST", "/v1/images", .min = 1,
		.max = 1, .flags = build_flags, .run = run_build,
		.more = "Uses tools/image of polyvisor's source."},
	DELETE("images", "forget an image"),
	{0},
};
NOUN(image, "image", "What instances boot, for every chip", image_verbs);

/* ---- volumes and networks ---- */

static const struct flag volume_flags[] = {
	{"--size", "SIZE", "as 512M or 4G", HINT_NONE, set_mib, "size_mib"},
	{"--host", "NAME", "where it is, the first instance's host by default", HINT_NONE, set_text,
		"host"},
	LABEL_FLAG,
	{0},
};
static const struct verb volume_verbs[] = {
	CREATE("volumes", "NAME", "make a volume", volume_flags),
	LIST("volumes", "the volumes",
		"NAME=name MIB=size_mib HOST=host ATTACHED=attached_to GENERATION=generation"),
	GET("volumes"),
	DELETE("volumes", "destroy a volume and what is on it"),
	{0},
};
NOUN(volume, "volume", "Disks that outlive instances", volume_verbs);

static const struct flag network_flags[] = {
	{"--cidr", "ADDRESS/N", "its addresses", HINT_NONE, set_text, "cidr"},
	{"--dns", "ADDRESS", "the resolver that instances are told", HINT_NONE, set_text, "dns"},
	LABEL_FLAG,
	{0},
};
static const struct verb network_verbs[] = {
	CREATE("networks", "NAME", "make a network", network_flags),
	LIST("networks", "the networks", "NAME=name CIDR=cidr DNS=dns"),
	GET("networks"),
	DELETE("networks", "forget a network that nothing uses"),
	{0},
};
NOUN(network, "network", "Networks: addresses, DHCP, DNS", network_verbs);

/* ---- published ports ---- */

static int prepare_port_add(struct call *c, struct err *e)
{
	if (c->nwords != 2)
		return err_set(e, ERR_USAGE, -EINVAL, "port add: give NAME and a port as 8080:80");
	return cloud_port(c->word[1], &c->body, e);
}

/* Of an instance its published ports, else every network port. */
static int prepare_port_list(struct call *c, struct err *e)
{
	snprintf(c->path, sizeof(c->path), c->nwords ? "/v1/instances/{name}" : "/v1/ports");
	return 0;
}

static int show_ports(struct call *c, const json_t *answer)
{
	json_t *ports = json_object_get(answer, "ports");
	char text[80];
	size_t i;
	json_t *one;

	if (json_is_array(json_object_get(answer, "items")))
		return cloud_show_list(c, answer);
	json_array_foreach (ports, i, one) {
		cloud_cell(one, "", text, sizeof(text));
		fprintf(c->out, "%s\n", text);
	}
	return 0;
}

static const struct verb port_verbs[] = {
	{"add", "NAME HOST-PORT:GUEST-PORT", "publish a port of an instance on its host", "POST",
		"/v1/instances/{name}/ports", .min = 2, .max = 2, .hint = HINT_DEVICE,
		.prepare = prepare_port_add, .show = no_show},
	{"remove", "NAME HOST-PORT", "take that back", "DELETE",
		"/v1/instances/{name}/ports/{host_port}", .min = 2, .max = 2, .hint = HINT_DEVICE,
		.show = no_show},
	{"list", "[NAME]", "an instance's published ports, or every network port", "GET",
		"/v1/ports", .max = 1, .hint = HINT_DEVICE, .prepare = prepare_port_list,
		.show = show_ports, .columns = "INSTANCE=instance NETWORK=network MAC=mac IP=ip"},
	{0},
};
const struct noun noun_port = {"port", "Ports of instances, published", port_verbs, cloud_flags,
	.ids = "instance list", .run = cloud_run};

/* ---- keys ---- */

static int prepare_key(struct call *c, struct err *e)
{
	struct flag f = {"FILE", .key = "public_key"};
	int r = set_file_text(c, &f, c->word[1], e);
	const char *key = json_string_value(json_object_get(c->body, "public_key"));

	return r == 0 && key ? json_object_set_new(c->body, "public_key",
				       json_stringn(key, strcspn(key, "\r\n")))
			     : r;
}

static const struct verb key_verbs[] = {
	{"create", "NAME FILE", "let whoever has this key log in to new instances", "POST",
		"/v1/keys", .min = 2, .max = 2, .hint = HINT_FILE, .prepare = prepare_key,
		.fields = "name", .show = cloud_show_made},
	LIST("keys", "the keys", "NAME=name KEY=public_key"),
	GET("keys"),
	DELETE("keys", "forget a key"),
	{0},
};
NOUN(key, "key", "SSH keys that instances are given", key_verbs);

/* ---- hosts ---- */

static const struct flag fence_flags[] = {
	{"--confirm", NULL, "the host is really off: its instances may start elsewhere", HINT_NONE,
		set_confirm},
	WAIT_FLAGS,
	{0},
};
static int prepare_fence(struct call *c, struct err *e)
{
	return c->confirm
		       ? 0
		       : err_set(e, ERR_USAGE, -EINVAL,
				 "host fence: its instances will start elsewhere; make sure that "
				 "the host is off, and say --confirm");
}
#define HOST_ACTION(n, h)                                                                          \
	{                                                                                          \
		n, "NAME...", h, "POST", "/v1/hosts/{name}/actions/" n,                            \
			.min = 1, .max = CALL_WORDS, .hint = HINT_DEVICE, .flags = wait_flags,     \
			.show = no_show, .each = true                                              \
	}
static const struct flag host_label_flags[] = {LABEL_FLAG, {0}};
static const struct verb host_verbs[] = {
	LIST("hosts", "the hosts",
		"NAME=name STATE=state CHIP=chip KVM=kvm CORES=cores MIB=memory_mib LOAD=load "
		"CPUS=allocated.cpus USED=allocated.memory_mib VERSION=version CPU=cpu_model"),
	GET("hosts"),
	HOST_ACTION("cordon", "start nothing more on it"),
	HOST_ACTION("uncordon", "take that back"),
	HOST_ACTION("drain", "move its instances to other hosts"),
	{"fence", "NAME", "declare it dead: its instances may start elsewhere", "POST",
		"/v1/hosts/{name}/actions/fence", NAME_ARG, .flags = fence_flags,
		.prepare = prepare_fence, .show = no_show},
	{"update", "NAME", "label it, for instances that ask for labels", "PATCH",
		"/v1/hosts/{name}", NAME_ARG, .flags = host_label_flags, .show = no_show},
	DELETE("hosts", "forget a host"),
	{0},
};
NOUN(host, "host", "The machines that instances run on", host_verbs);

static const struct flag pool_flags[] = {
	{"--host", "NAME", "may be repeated", HINT_NONE, set_list, "hosts"},
	LABEL_FLAG,
	{0},
};
static const struct verb pool_verbs[] = {
	CREATE("pools", "NAME", "make a pool of hosts", pool_flags),
	LIST("pools", "the pools", "NAME=name HOSTS=hosts FEATURES=baseline"),
	GET("pools"),
	DELETE("pools", "forget a pool"),
	{0},
};
NOUN(pool, "pool", "Hosts that are alike, and the CPU features they share", pool_verbs);

/* ---- flavors, projects, tokens, operations ---- */

static const struct flag flavor_flags[] = {
	{"--cpus", "N", "vCPUs", HINT_NONE, set_number, "cpus"},
	{"--memory", "SIZE", "as 512M", HINT_NONE, set_mib, "memory_mib"},
	{"--root-size", "SIZE", "as 4G", HINT_NONE, set_gib, "root_gib"},
	{0},
};
static const struct verb flavor_verbs[] = {
	CREATE("flavors", "NAME", "make a flavor (admin)", flavor_flags),
	LIST("flavors", "the flavors", "NAME=name CPUS=cpus MIB=memory_mib ROOT-GIB=root_gib"),
	GET("flavors"),
	DELETE("flavors", "forget a flavor (admin)"),
	{0},
};
NOUN(flavor, "flavor", "Sizes of instances by name", flavor_verbs);

static const struct flag label_flags[] = {LABEL_FLAG, {0}};
static const struct verb project_verbs[] = {
	CREATE("projects", "NAME", "make a project (admin)", label_flags),
	LIST("projects", "the projects", "NAME=name AGE=@created_at"),
	GET("projects"),
	DELETE("projects", "forget a project that has nothing (admin)"),
	{0},
};
NOUN(project, "project", "Who sees which objects", project_verbs);

static const struct flag token_flags[] = {
	{"--role", "ROLE", "admin, project or node", HINT_NONE, set_text, "role"},
	{"--for", "PROJECT", "of the role project", HINT_NONE, set_text, "project"},
	{"--host", "NAME", "of the role node", HINT_NONE, set_text, "host"},
	{"--expires", "SECONDS", "from now; never by default", HINT_NONE, set_number, "expires"},
	{"--once", NULL, "for one use", HINT_NONE, set_true, "once"},
	{"--file", "FILE", "with the URL and the fingerprint, 0600, instead of printing it",
		HINT_FILE, set_file},
	{0},
};
static const struct verb token_verbs[] = {
	{"create", "NAME", "make a token, whose secret is shown once (admin)", "POST", "/v1/tokens",
		.min = 1, .max = 1, .flags = token_flags, .run = run_token_create},
	LIST("tokens", "the tokens",
		"NAME=name ROLE=role PROJECT=project HOST=host EXPIRES=expires_at"),
	GET("tokens"),
	DELETE("tokens", "revoke a token (admin)"),
	{0},
};
NOUN(token, "token", "What lets programs and nodes in over TLS", token_verbs);

static int run_wait(struct call *c, struct err *e)
{
	json_t *operation = NULL;
	int r = cloud_begin(c, e);

	if (r == 0)
		r = cloud_get(c, "/v1/operations/{id}", c->word[0], &operation, e);
	if (r == 0)
		r = cloud_wait_operation(c, operation, e);
	json_decref(operation);
	cloud_done(c);
	return r;
}
static const struct verb operation_verbs[] = {
	LIST("operations", "what takes long",
		"ID=id KIND=kind TARGET=target STATE=state PROGRESS=progress ERROR=error"),
	GET("operations"),
	{"wait", "ID", "until it is done", "GET", "/v1/operations/{id}", NAME_ARG,
		.flags = wait_flags + 1, .run = run_wait},
	{0},
};
NOUN(operation, "operation", "Long work and how far it is", operation_verbs);

/* ---- contexts ---- */

static const struct flag context_flags[] = {
	{"--token-file", "FILE", "that polyctl token create --file has written", HINT_FILE,
		set_file},
	{"--token", "SECRET", "the token itself, which others see in the list of processes",
		HINT_NONE, set_text, "token"},
	{"--fingerprint", "HEX", "SHA-256 of the server's certificate", HINT_NONE, set_text,
		"fingerprint"},
	{0},
};
static const struct flag ids_flags[] = {IDS_FLAG, {0}};
static const struct verb context_verbs[] = {
	{"add", "NAME [URL|SOCKET]", "name a cloud, and use it from now on", .min = 1, .max = 2,
		.flags = context_flags, .run = run_context_add,
		.more = "They are in ~/.config/polyctl/contexts.json, which only you may read."},
	{"use", "[NAME]", "use it from now on; without a name, none", .max = 1, .hint = HINT_DEVICE,
		.run = run_context_use},
	{"list", "", "the clouds that have names", .flags = ids_flags, .run = run_context_list},
	{"delete", "NAME", "forget one", NAME_ARG, .run = run_context_delete},
	{0},
};
NOUN(context, "context", "Clouds by name", context_verbs);

/* ---- words of their own ---- */

static const struct verb backup_verb[] = {
	{"", "PATH", "write a copy of the control plane's state to a file on the server (admin)",
		"POST", "/v1/backup", .min = 1, .max = 1, .hint = HINT_FILE, .flags = wait_flags,
		.fields = "path", .show = cloud_show_made},
	{0},
};
const struct noun noun_backup = {"backup", "A copy of the control plane's state", backup_verb,
	cloud_flags, .run = cloud_run};

static const struct flag version_flags[] = {
	{"--wait", "SECONDS", "for a polycloud that is still starting", HINT_NONE, set_timeout},
	{0},
};
static const struct verb version_verb[] = {{"", "", "which polycloud answers", "GET", "/v1/version",
						   .flags = version_flags, .run = run_version},
	{0}};
const struct noun noun_cloud_version = {
	"version", "Which polycloud answers", version_verb, cloud_flags, .run = cloud_run};
