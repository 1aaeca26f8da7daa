/* SPDX-License-Identifier: Apache-2.0 */
/* Ports of the host that lead to a guest's: for the tunnel, one on 127.0.0.1 for each guest port
 * that somebody asked for (22 always); and those that were published. passt listens on all. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "cloud/node/node_priv.h"
#include "vmm/base/cleanup.h"

/* Whether a port is to be had; 0 asks for any. The port or a negative errno. */
static int try_port(const char *address, unsigned port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	cleanup_fd int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(a);
	int on = 1;

	if (fd < 0 || inet_pton(AF_INET, address, &a.sin_addr) != 1)
		return -EINVAL;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 1) < 0 ||
		getsockname(fd, (struct sockaddr *)&a, &len) < 0)
		return -errno;
	return ntohs(a.sin_port);
}

unsigned port_of(struct instance *in, unsigned guest_port)
{
	char key[8];

	snprintf(key, sizeof(key), "%u", guest_port);
	return (unsigned)json_integer_value(json_object_get(in->tunnels, key));
}

unsigned port_make(struct instance *in, unsigned guest_port)
{
	int port = try_port("127.0.0.1", 0);
	char key[8];

	snprintf(key, sizeof(key), "%u", guest_port);
	if (port > 0)
		json_object_set_new(in->tunnels, key, json_integer(port));
	return port > 0 ? (unsigned)port : 0;
}

/* One that somebody else took meanwhile is replaced. */
static size_t tunnel_words(struct instance *in, char *buf, size_t cap)
{
	size_t at = 0;
	const char *key;
	json_t *v;
	void *next;

	if (!port_of(in, 22))
		port_make(in, 22);
	json_object_foreach_safe(in->tunnels, next, key, v)
	{
		unsigned guest = 0, host = (unsigned)json_integer_value(v);

		sscanf(key, "%u", &guest);
		if (try_port("127.0.0.1", host) < 0)
			host = port_make(in, guest);
		if (host && at < cap)
			at += (size_t)snprintf(
				buf + at, cap - at, " -t 127.0.0.1/%u:%u", host, guest);
	}
	instance_save(in);
	return at < cap ? at : cap;
}

static size_t dns_words(const json_t *net, char *buf, size_t cap)
{
	const json_t *dns = json_object_get(net, "dns"), *x;
	const char *gateway = json_string_value(json_object_get(net, "gateway"));
	const char *one = json_is_string(dns) ? json_string_value(dns) : gateway;
	size_t at = 0, i;

	if (json_array_size(dns)) {
		json_array_foreach (dns, i, x) {
			if (at < cap)
				at += (size_t)snprintf(
					buf + at, cap - at, " -D %s", json_string_value(x));
		}
		return at;
	}
	/* The guest asks this address, passt the host's own server. */
	return one ? (size_t)snprintf(buf, cap, " -D %s --dns-forward %s", one, one) : 0;
}

void ports_words(struct instance *in, char *buf, size_t cap, char *why, size_t why_cap)
{
	const json_t *net = json_object_get(in->spec, "net"), *f;
	const char *ip = json_string_value(json_object_get(net, "ip"));
	const char *gateway = json_string_value(json_object_get(net, "gateway"));
	size_t at, i;

	/* --no-map-gw: the host's own loopback is none of the guest's business. */
	at = (size_t)snprintf(buf, cap, "-4 --no-map-gw");
	if (ip)
		at += (size_t)snprintf(buf + at, cap - at, " -a %s -n %d", ip,
			(int)json_integer_value(json_object_get(net, "prefix"))
				? (int)json_integer_value(json_object_get(net, "prefix"))
				: 24);
	if (gateway)
		at += (size_t)snprintf(buf + at, cap - at, " -g %s", gateway);
	at += dns_words(net, buf + at, cap - at);
	at += tunnel_words(in, buf + at, cap - at);
	json_array_foreach (json_object_get(net, "forwards"), i, f) {
		const char *address = json_string_value(json_object_get(f, "address"));
		unsigned host = (unsigned)json_integer_value(json_object_get(f, "host_port"));
		int r = try_port(address ? address : "0.0.0.0", host);

		if (r == 0 || (r < 0 && r != -EINVAL)) {
			snprintf(why, why_cap, "port %u is not published: %s", host,
				strerrordesc_np(-r));
			continue;
		}
		if (at + 64 > cap)
			break;
		at += (size_t)snprintf(buf + at, cap - at, " -t %s/%u:%d",
			address ? address : "0.0.0.0", host,
			(int)json_integer_value(json_object_get(f, "guest_port")));
	}
}
