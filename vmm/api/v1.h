/* SPDX-License-Identifier: Apache-2.0 */
/* cloud-hypervisor's v1 in JSON: bodies become configurations, what control tells becomes bodies.
 * Nothing here knows HTTP. Errors are ERR_USAGE and name the JSON path ("disks[1].queue_size"). */
#ifndef VMM_API_V1_H
#define VMM_API_V1_H

#include <jansson.h>
#include "vmm/base/opts_json.h"
#include "vmm/control.h"

/* A whole VmConfig into ret_config, with v1's defaults; nothing is left behind on error. */
int v1_config(
	const json_t *o, const struct opts_json *how, struct vm_config *ret_config, struct err *e);
/* One part ("disks", "net", "vsock") into an otherwise empty configuration. fd, when not negative,
 * is the descriptor that came with it. */
int v1_part(const json_t *o, const char *key, int fd, const struct opts_json *how,
	struct vm_config *ret_config, struct err *e);
/* The "file=N" of destination_url: a path, or "fd=N". */
int v1_destination(const json_t *o, const struct opts_json *how, char **ret_path, struct err *e);

/* A configuration as v1 shows it. A new reference, as all below; NULL when out of memory. */
json_t *v1_config_json(const struct vm_config *c);
/* Their schemas: of VmConfig, of a part's one struct. */
json_t *v1_config_schema(void);
json_t *v1_part_schema(const struct vm_part *p);

/* e in the words of JSON where it was made for the command line: "--disk x" becomes "disks x". */
void v1_words(struct err *e);

/* vm.info, vm.counters, vm.devices (info.c). */
json_t *v1_info_json(const struct vm_info *i);
json_t *v1_counters_json(const struct vm_counters *c);
json_t *v1_devices_json(const struct vm_info *i);
const char *v1_state_name(int state);

#endif
