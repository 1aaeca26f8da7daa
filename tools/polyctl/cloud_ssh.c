/* SPDX-License-Identifier: Apache-2.0 */
/* polyctl ssh: the host's ssh, through `polyctl tunnel`. The host key is remembered by the
 * instance's id, in a file of our own: an instance made anew under an old name is no intruder, and
 * ~/.ssh/known_hosts is left alone. Before that it waits until something that speaks SSH answers.
 */
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "tools/polyctl/cloud.h"
#include "vmm/base/cleanup.h"

#define WAIT_S	  300 /* an instance on an emulated host boots for minutes */
#define BANNER_MS 5000
#define RETRY_MS  500

static time_t now_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec;
}

/* Whether what answers on port 22 says "SSH-" (RFC 4253 §4.2). */
static bool speaks_ssh(struct call *c, const char *id)
{
	char *words[] = {(char *)id};
	char banner[4];
	cleanup_free char *path = NULL;
	cleanup_fd int fd = -1;
	unsigned used;
	size_t n = 0;
	struct err e = {0};

	if (cloud_path(c, "/v1/instances/{name}/tunnel?port=22", words, 1, &used, &path, &e) < 0 ||
		cloud_upgrade(c->end, path, &fd, &e) < 0)
		return false;
	while (n < sizeof(banner)) {
		struct pollfd p = {fd, POLLIN, 0};
		ssize_t got =
			poll(&p, 1, BANNER_MS) == 1 ? read(fd, banner + n, sizeof(banner) - n) : 0;
		if (got <= 0)
			return false;
		n += (size_t)got;
	}
	return !memcmp(banner, "SSH-", 4);
}

/* 0: it may answer yet; negative: it will not as it is. */
static int look(struct call *c, const char *name, char id[64], char text[200], struct err *e)
{
	json_t *doc;
	char state[32], why[120];
	int r = cloud_get(c, "/v1/instances/{name}", name, &doc, e);

	if (r < 0)
		return r;
	cloud_cell(doc, "id", id, 64);
	cloud_cell(doc, "observed.state", state, sizeof(state));
	cloud_cell(doc, "observed.reason", why, sizeof(why));
	snprintf(text, 200, "%.60s is %.20s%s%.100s", name, state, *why ? ": " : "", why);
	if (!strcmp(state, "running"))
		snprintf(text, 200, "%.60s is running, waiting for its sshd", name);
	bool wanted = true;
	json_t *desired = json_object_get(json_object_get(doc, "desired"), "state");
	if (json_is_string(desired))
		wanted = !strcmp(json_string_value(desired), "running");
	json_decref(doc);
	if (!wanted || !strcmp(state, "failed") || !strcmp(state, "deleting"))
		return err_set(e, ERR_HOST, -EHOSTDOWN, "%s", text);
	return 0;
}

static int wait_for_sshd(struct call *c, const char *name, char id[64], struct err *e)
{
	time_t began = now_seconds(), limit = c->timeout ? c->timeout : WAIT_S;
	char text[200];
	int r;

	while ((r = look(c, name, id, text, e)) == 0 && !speaks_ssh(c, id)) {
		time_t waited = now_seconds() - began;

		if (waited >= limit) {
			r = err_set(e, ERR_HOST, -ETIMEDOUT, "%s, after %lld s", text,
				(long long)waited);
			break;
		}
		cloud_progress(c, (unsigned)waited, text);
		nanosleep(&(struct timespec){.tv_nsec = RETRY_MS * 1000000L}, NULL);
	}
	cloud_progress(c, 0, NULL);
	return r;
}

/* ---- the command ---- */

/* A word for the shell that ssh runs the command in; '%' is ssh's own. */
static void put_quoted(FILE *f, const char *word)
{
	fputs(" '", f);
	for (; *word; word++) {
		if (*word == '\'')
			fputs("'\\''", f);
		else if (*word == '%')
			fputs("%%", f);
		else
			putc(*word, f);
	}
	putc('\'', f);
}

static int proxy_command(const struct call *c, const char *id, char **ret_text)
{
	char self[PATH_MAX];
	size_t len;
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	FILE *f = open_memstream(ret_text, &len);

	if (!f || n < 0)
		return -ENOMEM;
	self[n] = '\0';
	fputs("ProxyCommand=", f); /* ssh itself puts exec before it */
	put_quoted(f, self);
	fputs(" tunnel", f);
	if (c->end->name) {
		fputs(" --context", f);
		put_quoted(f, c->end->name);
	} else {
		fputs(" --socket", f);
		put_quoted(f, c->end->socket);
	}
	if (c->project) {
		fputs(" --project", f);
		put_quoted(f, c->project);
	}
	put_quoted(f, id);
	fputs(" 22", f);
	return fclose(f) ? -ENOMEM : 0;
}

static int exec_ssh(struct call *c, const char *user, const char *id, struct err *e)
{
	char known[PATH_MAX], hosts[PATH_MAX + 32], alias[80];
	char *proxy = NULL;
	const char *argv[CALL_WORDS + 24];
	unsigned n = 0;
	int r = cloud_config_path("known_hosts", known, sizeof(known), e);

	if (r == 0)
		r = proxy_command(c, id, &proxy);
	if (r < 0)
		return r;
	snprintf(hosts, sizeof(hosts), "UserKnownHostsFile=\"%s\"", known);
	snprintf(alias, sizeof(alias), "HostKeyAlias=%s", id);
	const char *const fixed[] = {"ssh", "-o", proxy, "-o", hosts, "-o", alias, "-o",
		"StrictHostKeyChecking=accept-new", "-o", "GlobalKnownHostsFile=none", "-o",
		"LogLevel=ERROR", "-l", user};
	memcpy(argv, fixed, sizeof(fixed));
	n = sizeof(fixed) / sizeof(*fixed);
	if (c->file) {
		argv[n++] = "-i";
		argv[n++] = c->file;
	}
	argv[n++] = "--";
	argv[n++] = id;
	for (unsigned i = 1; i < c->nwords; i++)
		argv[n++] = c->word[i];
	argv[n] = NULL;
	fflush(c->err);
	execvp("ssh", (char *const *)argv);
	free(proxy);
	return err_set(
		e, ERR_HOST, -errno, "ssh: %s; install openssh-client", strerrordesc_np(errno));
}

int run_ssh(struct call *c, struct err *e)
{
	char *at = strrchr(c->word[0], '@'), id[64];
	const char *user = "root", *name = c->word[0];

	if (at && at > c->word[0]) {
		*at = '\0';
		user = c->word[0];
		name = at + 1;
	}
	int r = cloud_begin(c, e);
	if (r == 0)
		r = wait_for_sshd(c, name, id, e);
	if (r == 0)
		r = exec_ssh(c, user, id, e);
	cloud_done(c);
	return r;
}
