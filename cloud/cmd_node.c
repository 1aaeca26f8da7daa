/* SPDX-License-Identifier: Apache-2.0 */
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "cloud/base/folder.h"
#include "cloud/node/dial.h"
#include "cloud/node/node.h"
#include "cloud/program.h"

const char node_help[] =
	"Usage: polycloud node --token-file FILE [FLAG…]\n\n"
	"Makes this machine a host: dials the control plane, and runs what it is told to. What runs\n"
	"goes on when this program ends, and is found again when it starts.\n\n"
	"  --token-file FILE   as polyctl token create NAME --role node --file FILE writes it\n"
	"  --control URL       https://HOST:PORT or unix:PATH; default: what the file says\n"
	"  --name NAME         of the host; default: its hostname\n"
	"  --data DIR          default: /var/lib/polycloud, or ~/.local/share/polycloud\n"
	"  --bin DIR           of polyvisor and polyvisor-offload; default: beside this, or $PATH\n"
	"  --shared-uid        run everything as this user although it is root\n"
	"  -v, --verbose       more log\n";

struct host {
	struct node *node;
	struct dial *dial;
	struct log *log;
};

static void on_gone(const char *why, void *arg)
{
	struct host *h = arg;

	dial_again(h->dial, why);
}

static void on_ready(struct link_wire *w, void *arg)
{
	struct host *h = arg;
	int r = node_attach(h->node, w, on_gone, h);

	if (r < 0)
		dial_again(h->dial, strerrordesc_np(-r));
}

static const char *fact(const struct host *h, const char *key)
{
	const char *value = json_string_value(json_object_get(node_facts(h->node), key));

	return value ? value : "";
}

static int start(struct process *p, struct host *h, const struct node_opts *n, struct dial_opts *d,
	struct err *e)
{
	int r = node_new(p->loop, n, &h->node, e);

	if (r < 0)
		return r;
	d->name = fact(h, "name");
	d->chip = fact(h, "chip");
	d->version = POLYVISOR_VERSION;
	d->log = &p->log;
	d->ready = on_ready;
	d->arg = h;
	return dial_new(p->loop, d, &h->dial, e);
}

int cmd_node(int argc, char **argv)
{
	const char *data = NULL, *token = NULL, *url = NULL, *name = NULL, *bin = NULL;
	int verbose = 0, shared = 0;
	const struct flag flags[] = {{"--data", &data}, {"--token-file", &token},
		{"--control", &url}, {"--name", &name}, {"--bin", &bin},
		{"--shared-uid", .count = &shared}, {"--verbose", .count = &verbose},
		{"-v", .count = &verbose}, {NULL}};
	char place[PATH_MAX], folder[PATH_MAX + 8];
	struct process p = {0};
	struct host h = {0};
	struct err e = {0};
	int r = flags_parse(argc, argv, flags, NULL, 0, "", &e);

	if (r == 0 && !token)
		r = err_set(&e, ERR_USAGE, -EINVAL,
			"--token-file: is missing; make one with: polyctl token create NAME --role "
			"node --file FILE");
	if (r < 0)
		return failed(&e, r);
	data = data ? data : default_data(place, sizeof(place));
	mkdir(data, 0755); /* when it cannot be, what is made in it says so */
	snprintf(folder, sizeof(folder), "%s/node", data);
	r = folder_make(data);
	if (r < 0)
		r = err_set(&e, ERR_HOST, r, "--data %s: %s", data, strerrordesc_np(-r));
	if (r == 0)
		r = process_init(&p, verbose, &e);
	if (r == 0)
		r = start(&p, &h,
			&(struct node_opts){.data = data,
				.bin = bin,
				.control_url = url,
				.name = name,
				.shared_uid = shared,
				.log = &p.log},
			&(struct dial_opts){.token_file = token, .url = url, .data = folder}, &e);
	if (r == 0) {
		printf("polycloud node: host %s (%s), data in %s\n", fact(&h, "name"),
			fact(&h, "chip"), folder);
		fflush(stdout);
		r = ev_run(p.loop);
	}
	dial_free(h.dial);
	node_free(h.node);
	process_fini(&p);
	return r < 0 ? failed(&e, r) : 0;
}
