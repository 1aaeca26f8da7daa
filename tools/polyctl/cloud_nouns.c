/* SPDX-License-Identifier: Apache-2.0 */
/* The nouns of a polyctl that reaches a cloud, too. */
#include "tools/polyctl/cloud.h"

const struct noun *const nouns[] = {&noun_instance, &noun_ssh, &noun_console, &noun_tunnel,
	&noun_diagnose, &noun_schedule, &noun_image, &noun_port, &noun_volume, &noun_network,
	&noun_key, &noun_host, &noun_pool, &noun_flavor, &noun_project, &noun_token,
	&noun_operation, &noun_cloud_events, &noun_context, &noun_backup, &noun_cloud_version,
	&noun_vm, &noun_offload, NULL};
