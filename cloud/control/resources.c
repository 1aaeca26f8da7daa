/* SPDX-License-Identifier: Apache-2.0 */
/* The rows. */
#include "cloud/control/resources.h"
#include "vmm/base/num.h"

#define LIST(path, who, table, text)                                                               \
	{                                                                                          \
		"GET", path, resource_list, who, NULL, table, text, .list = true                   \
	}
#define GET(path, who, table, text)                                                                \
	{                                                                                          \
		"GET", path, resource_get, who, NULL, table, text                                  \
	}
#define POST(path, fn, who, in, table, text)                                                       \
	{                                                                                          \
		"POST", path, fn, who, in, table, text                                             \
	}
#define PATCH(path, fn, who, table, reply, text)                                                   \
	{                                                                                          \
		"PATCH", path, fn, who, table, reply, text, .patch = true                          \
	}
#define DELETE(path, fn, who, reply, text)                                                         \
	{                                                                                          \
		"DELETE", path, fn, who, NULL, reply, text                                         \
	}

#define P ROLE_PROJECT
#define A ROLE_ADMIN

const struct route resources_routes[] = {
	LIST("/v1/instances", P, instance_fields, "instances, filtered"),
	POST("/v1/instances", instance_post, P, instance_fields, instance_fields,
		"make an instance"),
	GET("/v1/instances/{id}", P, instance_fields, "one instance"),
	PATCH("/v1/instances/{id}", instance_patch_handler, P, instance_patch, instance_fields,
		"change an instance"),
	DELETE("/v1/instances/{id}", instance_delete, P, instance_fields, "delete an instance"),
	POST("/v1/instances/{id}/actions/{action}", instance_action, P, stop_fields,
		instance_fields, "start, stop, reboot, pause, resume or move"),
	{"GET", "/v1/instances/{id}/events", instance_events, P, NULL, event_fields,
		"what happened to it", .list = true},
	POST("/v1/instances/{id}/ports", forward_post, P, forward_fields, instance_fields,
		"publish a port"),
	DELETE("/v1/instances/{id}/ports/{host_port}", forward_delete, P, instance_fields,
		"take a published port back"),

	LIST("/v1/volumes", P, volume_fields, "volumes"),
	POST("/v1/volumes", volume_post, P, volume_fields, volume_fields, "make a volume"),
	GET("/v1/volumes/{id}", P, volume_fields, "one volume"),
	PATCH("/v1/volumes/{id}", resource_patch, P, volume_fields, volume_fields,
		"change a volume"),
	DELETE("/v1/volumes/{id}", volume_delete, P, volume_fields, "delete a volume"),

	LIST("/v1/networks", P, network_fields, "networks"),
	POST("/v1/networks", network_post, P, network_fields, network_fields, "make a network"),
	GET("/v1/networks/{id}", P, network_fields, "one network"),
	PATCH("/v1/networks/{id}", network_patch, P, network_fields, network_fields,
		"change a network"),
	DELETE("/v1/networks/{id}", network_delete, P, NULL, "delete a network"),

	LIST("/v1/ports", P, port_fields, "network ports"),
	POST("/v1/ports", port_post, P, port_fields, port_fields, "reserve a network port"),
	GET("/v1/ports/{id}", P, port_fields, "one network port"),
	PATCH("/v1/ports/{id}", resource_patch, P, port_fields, port_fields,
		"change a network port"),
	DELETE("/v1/ports/{id}", port_delete, P, NULL, "delete a network port"),

	LIST("/v1/keys", P, key_fields, "keys"),
	POST("/v1/keys", key_post, P, key_fields, key_fields, "add a public key"),
	GET("/v1/keys/{id}", P, key_fields, "one key"),
	PATCH("/v1/keys/{id}", resource_patch, P, key_fields, key_fields, "change a key"),
	DELETE("/v1/keys/{id}", resource_drop, P, NULL, "delete a key"),

	LIST("/v1/operations", P, operation_fields, "long work"),
	GET("/v1/operations/{id}", P, operation_fields, "one operation"),

	LIST("/v1/flavors", P, flavor_fields, "flavors"),
	POST("/v1/flavors", flavor_post, A, flavor_fields, flavor_fields, "make a flavor"),
	GET("/v1/flavors/{id}", P, flavor_fields, "one flavor"),
	PATCH("/v1/flavors/{id}", resource_patch, A, flavor_fields, flavor_fields,
		"change a flavor"),
	DELETE("/v1/flavors/{id}", resource_drop, A, NULL, "delete a flavor"),

	LIST("/v1/projects", P, project_fields, "projects"),
	POST("/v1/projects", project_post, A, project_fields, project_fields, "make a project"),
	GET("/v1/projects/{id}", P, project_fields, "one project"),
	PATCH("/v1/projects/{id}", resource_patch, A, project_fields, project_fields,
		"change a project"),
	DELETE("/v1/projects/{id}", project_delete, A, NULL, "delete an empty project"),

	LIST("/v1/tokens", A, token_fields, "tokens, without their secrets"),
	POST("/v1/tokens", token_post, A, token_fields, token_fields, "make a token"),
	GET("/v1/tokens/{id}", A, token_fields, "one token"),
	PATCH("/v1/tokens/{id}", resource_patch, A, token_fields, token_fields, "change a token"),
	DELETE("/v1/tokens/{id}", resource_drop, A, NULL,
		"revoke a token; what was opened with it ends"),

	LIST("/v1/pools", A, pool_fields, "pools"),
	POST("/v1/pools", pool_post, A, pool_fields, pool_fields, "make a pool"),
	GET("/v1/pools/{id}", A, pool_fields, "one pool, with its baseline"),
	PATCH("/v1/pools/{id}", resource_patch, A, pool_fields, pool_fields, "change a pool"),
	DELETE("/v1/pools/{id}", resource_drop, A, NULL, "delete a pool"),

	LIST("/v1/hosts", A, host_fields, "hosts"),
	GET("/v1/hosts/{id}", A, host_fields, "one host"),
	PATCH("/v1/hosts/{id}", resource_patch, A, host_fields, host_fields, "label a host"),
	DELETE("/v1/hosts/{id}", host_delete, A, NULL, "forget a host that is away"),
	POST("/v1/hosts/{id}/actions/{action}", host_action, A, confirm_fields, host_fields,
		"cordon, uncordon, drain or fence"),

	POST("/v1/backup", backup_post, A, backup_fields, backup_fields,
		"copy the database into a new file"),
};
const unsigned resources_nroutes = ARRAY_SIZE(resources_routes);
