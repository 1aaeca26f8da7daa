/* SPDX-License-Identifier: Apache-2.0 */
/* The nouns of a polyctl without libcurl. */
#include "tools/polyctl/polyctl.h"

const struct noun *const nouns[] = {&noun_vm, &noun_offload, NULL};
