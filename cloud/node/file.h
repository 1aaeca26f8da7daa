/* SPDX-License-Identifier: Apache-2.0 */
/* Small files of the node: JSON written whole or not at all, text of /proc and /sys, trees removed.
 * Paths are relative to an open folder, so that nobody can move what is meant. */
#ifndef CLOUD_NODE_FILE_H
#define CLOUD_NODE_FILE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Writes name.new, then renames. durable: also syncs both. 0 or a negative errno; then name is what
 * it was and nothing is left beside it. */
int file_write_json(int dir, const char *name, const json_t *j, bool durable);
/* -ENOENT, -EBADMSG (no JSON object), or another negative errno. ret is a new reference. */
int file_read_json(int dir, const char *name, json_t **ret_json);

/* The first cap - 1 bytes as text, without a newline at the end. Bytes or a negative errno. */
int file_read_text(int dir, const char *name, char *buf, size_t cap);

/* Opens the folder name, which is made if absent. The descriptor, or a negative errno. */
int file_open_folder(int dir, const char *name, unsigned mode);
/* A file or a folder with all in it. Does not follow links. Absent is fine. */
int file_remove(int dir, const char *name);

/* "/proc/self/fd/N/name": short, for socket addresses, which have room for 107 bytes. */
#define FILE_FD_PATH 108
int file_fd_path(int dir, const char *name, char ret_path[FILE_FD_PATH]);

/* At the start: removes what a process that was killed while it wrote left in dir, all that is
 * named *.new or *.new and a number. */
void file_drop_unfinished(int dir);

/* Why a file below dir was not written. Of a full disk it tells what is free and, when needed is
 * not 0, how many bytes should be. Returns buf. */
const char *file_why(int error, int dir, uint64_t needed, char buf[128]);

/* 1 to 63 of [a-z0-9-], not beginning with '-': may name a file. */
bool file_id_ok(const char *id);

/* A listening unix stream socket at name (replaced when there), or a connected one; non-blocking,
 * closed on exec. The descriptor or a negative errno. */
int file_listen(int dir, const char *name);
int file_connect(int dir, const char *name);

#endif
