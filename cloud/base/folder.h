/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLOUD_BASE_FOLDER_H
#define CLOUD_BASE_FOLDER_H

/* Makes a folder and those above it (0700); one that is there is fine. 0 or a negative errno. */
int folder_make(const char *path);

#endif
