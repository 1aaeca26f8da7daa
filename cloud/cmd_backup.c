/* SPDX-License-Identifier: Apache-2.0 */
/* The state of a control plane is one database: objects, events, the audit log. Instances are on
 * their hosts and disks of images in DATA/images; a control plane that is restored finds the former
 * again when their hosts connect. */
#include <limits.h>
#include <stdio.h>
#include <unistd.h>
#include "cloud/control/daemon.h"
#include "cloud/program.h"
#include "cloud/store/store.h"

const char backup_help[] =
	"Usage: polycloud backup [--data DIR] FILE\n\n"
	"Writes a consistent copy of the state to a new file. A running control plane is asked with\n"
	"polyctl backup FILE instead, which does not stop it.\n\n"
	"  --data DIR  default: /var/lib/polycloud, or ~/.local/share/polycloud\n";
const char restore_help[] =
	"Usage: polycloud restore [--data DIR] FILE\n\n"
	"Puts a copy made by polycloud backup or polyctl backup in the place of the state. The\n"
	"control plane must be stopped. Instances that run are adopted when their hosts connect.\n\n"
	"  --data DIR  default: /var/lib/polycloud, or ~/.local/share/polycloud\n";

static int parse(
	int argc, char **argv, const char **data, const char **file, char *place, struct err *e)
{
	const struct flag flags[] = {{"--data", data}, {NULL}};
	int r = flags_parse(argc, argv, flags, file, 1, "FILE", e);

	if (!*data)
		*data = default_data(place, PATH_MAX);
	return r;
}

int cmd_backup(int argc, char **argv)
{
	const char *data = NULL, *file = NULL;
	char place[PATH_MAX], path[PATH_MAX];
	struct store *s = NULL;
	struct err e = {0};
	int r = parse(argc, argv, &data, &file, place, &e), lock = -1;

	if (r == 0)
		r = folder_open(data, "--data", &lock, &e);
	if (r == 0) {
		database_path(data, path, sizeof(path));
		r = store_open(path, &s, &e);
	}
	if (r == 0)
		r = store_backup(s, file, &e);
	store_close(s);
	if (lock >= 0)
		close(lock);
	if (r < 0)
		return failed(&e, r);
	printf("the state of %s is in %s\n", data, file);
	return 0;
}

int cmd_restore(int argc, char **argv)
{
	const char *data = NULL, *file = NULL;
	char place[PATH_MAX], path[PATH_MAX];
	struct err e = {0};
	int r = parse(argc, argv, &data, &file, place, &e), lock = -1;

	if (r == 0)
		r = folder_open(data, "--data", &lock, &e);
	if (r == 0) {
		database_path(data, path, sizeof(path));
		r = store_restore(file, path, &e);
	}
	if (lock >= 0)
		close(lock);
	if (r < 0)
		return failed(&e, r);
	printf("%s is the state of %s now; start it with: polycloud up --data %s\n", file, data,
		data);
	return 0;
}
