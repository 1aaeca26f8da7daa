/* SPDX-License-Identifier: Apache-2.0 */
/* polyctl image upload: parts for one chip or several are sent one by one and staged; then one
 * request makes the image of them, so that nobody sees half of one. polyctl image build makes the
 * parts first, by the project's own tool. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "tools/polyctl/cloud.h"
#include "vmm/base/cleanup.h"

static const char *const parts[] = {"root", "kernel", "initramfs", NULL};
static const char *const chips[] = {"x86_64", "arm64", "riscv64", NULL};

struct sending {
	struct call *c;
	const char *what;
};

static void on_tick(void *arg, unsigned seconds, uint64_t sent, uint64_t total)
{
	struct sending *s = arg;
	char text[160];

	snprintf(text, sizeof(text), "%.100s: %llu of %llu MiB", s->what,
		(unsigned long long)(sent >> 20), (unsigned long long)(total >> 20));
	cloud_progress(s->c, seconds, text);
}

static int send_part(
	struct call *c, const char *chip, const char *part, const char *file, struct err *e)
{
	struct sending s = {c, file};
	struct client_reply reply = {0};
	cleanup_free char *path = NULL;
	cleanup_file FILE *in = fopen(file, "re");
	char base[128];
	unsigned used;

	if (!in)
		return err_set(e, ERR_HOST, -errno, "%.200s: %s", file, strerrordesc_np(errno));
	snprintf(base, sizeof(base), "/v1/images/{name}/upload?chip=%.32s&part=%.16s", chip, part);
	int r = cloud_path(c, base, c->word, 1, &used, &path, e);
	struct cloud_req q = {
		.method = "PUT", .path = path, .upload = in, .tick = on_tick, .arg = &s};
	if (r == 0)
		r = cloud_request(c->end, &q, &reply, e);
	cloud_progress(c, 0, NULL);
	if (r == 0 && reply.status / 100 != 2)
		r = cloud_refused(&reply, e);
	free(reply.body);
	return r;
}

/* DIR/CHIP/PART of every chip that is there. Returns how many were sent. */
static int send_folder(struct call *c, const char *dir, struct err *e)
{
	int sent = 0, r = 0;

	for (const char *const *chip = chips; *chip; chip++) {
		for (const char *const *part = parts; r == 0 && *part; part++) {
			char file[PATH_MAX];

			snprintf(file, sizeof(file), "%s/%s/%s", dir, *chip, *part);
			if (access(file, F_OK) < 0)
				continue;
			r = send_part(c, *chip, *part, file, e);
			sent++;
		}
	}
	if (r == 0 && !sent)
		r = err_set(e, ERR_HOST, -ENOENT,
			"%.200s: there is no CHIP/kernel in it, as x86_64/kernel", dir);
	return r < 0 ? r : sent;
}

/* --chip --root --kernel --initramfs, which the flags left in the body. */
static int send_flags(struct call *c, struct err *e)
{
	const char *chip = json_string_value(json_object_get(c->body, "chip"));
	int sent = 0, r = 0;

	for (const char *const *part = parts; r == 0 && *part; part++) {
		const char *file = json_string_value(json_object_get(c->body, *part));

		if (!file)
			continue;
		if (!chip)
			return err_set(e, ERR_USAGE, -EINVAL, "--chip: needed with --%s", *part);
		r = send_part(c, chip, *part, file, e);
		sent++;
	}
	return r < 0 ? r : sent;
}

static int make(struct call *c, struct err *e)
{
	json_t *body = json_pack("{s:s,s:{s:b}}", "name", c->word[0], "source", "upload", 1);
	json_t *guest = json_object_get(c->body, "guest"), *operation = NULL;
	cleanup_free char *path = NULL;
	unsigned used;
	int r = body ? cloud_path(c, "/v1/images", NULL, 0, &used, &path, e) : -ENOMEM;

	if (r == 0 && guest)
		r = json_object_set(body, "guest", guest);
	if (r == 0)
		r = cloud_json(c, "POST", path, body, &operation, e);
	if (r == 0)
		r = cloud_wait_operation(c, operation, e);
	json_decref(operation);
	json_decref(body);
	return r;
}

int run_upload(struct call *c, struct err *e)
{
	int r = cloud_begin(c, e);

	if (r == 0)
		r = c->nwords > 1 ? send_folder(c, c->word[1], e) : send_flags(c, e);
	if (r == 0)
		r = err_set(e, ERR_USAGE, -EINVAL,
			"image upload: name a folder, or --chip and --kernel FILE");
	if (r > 0)
		r = make(c, e);
	cloud_done(c);
	return r;
}

/* ---- build ---- */

/* The project's tools/image: in a folder above this program's, or on the PATH by another name. */
static const char *find_tool(char path[PATH_MAX])
{
	ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - 32);

	for (unsigned up = 0; n > 0 && up < 5; up++) {
		path[n] = '\0';
		char *slash = strrchr(path, '/');
		if (!slash)
			break;
		strcpy(slash, "/tools/image");
		if (access(path, X_OK) == 0)
			return path;
		n = slash - path;
	}
	return "polyvisor-image";
}

/* Runs `tools/image CHIP --cloud -o -`, which says in its last line where the parts are. */
static int build_chip(const char *tool, const char *chip, char dir[PATH_MAX], struct err *e)
{
	const char *argv[] = {tool, chip, "--cloud", "-o", "-", NULL};
	int out[2], status = 0;
	pid_t pid;

	if (pipe(out) < 0)
		return -errno;
	pid = fork();
	if (pid == 0) {
		dup2(out[1], STDOUT_FILENO);
		close(out[0]);
		close(out[1]);
		execvp(tool, (char *const *)argv);
		_exit(127);
	}
	close(out[1]);
	cleanup_file FILE *f = fdopen(out[0], "r");
	dir[0] = '\0';
	while (f && fgets(dir, PATH_MAX, f))
		dir[strcspn(dir, "\n")] = '\0';
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		return err_set(e, ERR_HOST, -errno, "cannot start %.100s", tool);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		return err_set(e, ERR_HOST, -ENOENT,
			"images are built by tools/image of polyvisor's source, which is not here");
	return status || !*dir ? err_set(e, ERR_HOST, -ECANCELED, "%.100s %s failed", tool, chip)
			       : 0;
}

static int send_built(struct call *c, const char *chip, const char *dir, struct err *e)
{
	static const char *const files[] = {"disk.raw", "kernel", "initramfs"};
	int r = 0;

	for (unsigned i = 0; r == 0 && i < 3; i++) {
		char file[PATH_MAX + 16];

		snprintf(file, sizeof(file), "%s/%s", dir, files[i]);
		r = send_part(c, chip, parts[i], file, e);
	}
	return r;
}

int run_build(struct call *c, struct err *e)
{
	char path[PATH_MAX], dir[PATH_MAX];
	const char *only = json_string_value(json_object_get(c->body, "chip"));
	const char *tool = find_tool(path);
	int r = cloud_begin(c, e);
	bool any = false;

	for (const char *const *chip = chips; r == 0 && *chip; chip++) {
		if (only && strcmp(only, *chip))
			continue;
		any = true;
		r = build_chip(tool, *chip, dir, e);
		if (r == 0)
			r = send_built(c, *chip, dir, e);
	}
	if (r == 0 && !any)
		r = err_set(e, ERR_USAGE, -EINVAL,
			"--chip: \"%.32s\" is not allowed; give x86_64, arm64 or riscv64", only);
	if (r == 0)
		r = make(c, e);
	cloud_done(c);
	return r;
}
