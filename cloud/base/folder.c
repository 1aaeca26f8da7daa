/* SPDX-License-Identifier: Apache-2.0 */
#include "cloud/base/folder.h"
#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

int folder_make(const char *path)
{
	char part[PATH_MAX];

	if (strlen(path) >= sizeof(part))
		return -ENAMETOOLONG;
	for (const char *at = path; *at; at += strcspn(at, "/")) {
		at += strspn(at, "/");
		snprintf(part, sizeof(part), "%.*s", (int)(at - path + (ptrdiff_t)strcspn(at, "/")),
			path);
		if (*part && mkdir(part, 0700) < 0 && errno != EEXIST)
			return -errno;
	}
	return 0;
}
