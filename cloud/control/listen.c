/* SPDX-License-Identifier: Apache-2.0 */
#include "cloud/control/listen.h"
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <limits.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include "vmm/base/cleanup.h"

#define HINT "--listen %s: allowed: ADDRESS:PORT, such as 0.0.0.0:7443 or [::]:7443"

static int split(const char *where, char host[256], char port[8], struct err *e)
{
	const char *colon = strrchr(where, ':');
	size_t n = colon ? (size_t)(colon - where) : 0;

	if (n > 2 && where[0] == '[' && where[n - 1] == ']') {
		where++;
		n -= 2;
	}
	if (!colon || !n || n > 255 || !colon[1] || strlen(colon + 1) > 5 ||
		strspn(colon + 1, "0123456789") != strlen(colon + 1))
		return err_set(e, ERR_USAGE, -EINVAL, HINT, where);
	snprintf(host, 256, "%.*s", (int)n, where);
	snprintf(port, 8, "%s", colon + 1);
	return 0;
}

static bool is_any(const struct sockaddr *sa)
{
	if (sa->sa_family == AF_INET)
		return ((const struct sockaddr_in *)sa)->sin_addr.s_addr == INADDR_ANY;
	return IN6_IS_ADDR_UNSPECIFIED(&((const struct sockaddr_in6 *)sa)->sin6_addr);
}

/* The first address of ours that is not loopback; 127.0.0.1 where there is none. */
static void own_address(char host[256])
{
	struct ifaddrs *all = NULL;

	snprintf(host, 256, "127.0.0.1");
	if (getifaddrs(&all) < 0)
		return;
	for (struct ifaddrs *a = all; a; a = a->ifa_next) {
		if (!a->ifa_addr || a->ifa_addr->sa_family != AF_INET ||
			(a->ifa_flags & IFF_LOOPBACK) || !(a->ifa_flags & IFF_UP))
			continue;
		inet_ntop(AF_INET, &((struct sockaddr_in *)a->ifa_addr)->sin_addr, host, 256);
		break;
	}
	freeifaddrs(all);
}

static int bind_one(const struct addrinfo *a)
{
	cleanup_fd int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int on = 1;

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, a->ai_addr, a->ai_addrlen) < 0 || listen(fd, SOMAXCONN) < 0)
		return -errno;
	return steal_fd(&fd);
}

static unsigned port_of(int fd)
{
	struct sockaddr_in6 sa = {0};
	socklen_t len = sizeof(sa);

	/* The port is at the same place in both families. */
	getsockname(fd, (struct sockaddr *)&sa, &len);
	return ntohs(sa.sin6_port);
}

int listen_tcp(const char *where, int *ret_fd, char ret_host[256], char *ret_url, size_t cap,
	struct err *e)
{
	struct addrinfo hints = {
		.ai_flags = AI_PASSIVE | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
	struct addrinfo *a = NULL;
	char port[8];
	int r = split(where, ret_host, port, e), fd;

	if (r < 0)
		return r;
	r = getaddrinfo(ret_host, port, &hints, &a);
	if (r)
		return err_set(e, ERR_USAGE, -EINVAL, "--listen %s: %s", where, gai_strerror(r));
	fd = bind_one(a);
	if (is_any(a->ai_addr))
		own_address(ret_host);
	freeaddrinfo(a);
	if (fd < 0)
		return err_set(e, ERR_HOST, fd, "--listen %s: %s", where, strerrordesc_np(-fd));
	snprintf(ret_url, cap, strchr(ret_host, ':') ? "https://[%s]:%u" : "https://%s:%u",
		ret_host, port_of(fd));
	*ret_fd = fd;
	return 0;
}
