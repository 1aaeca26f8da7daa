/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses of network ports. What is given out is in the port objects and nowhere else, so nothing
 * can disagree with them: the free ones are found by looking at all ports of the network. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include "cloud/control/resources.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"

int cidr_parse(const char *text, uint32_t *ret_address, unsigned *ret_prefix)
{
	const char *slash = strchr(text, '/');
	char host[16] = "";
	struct in_addr a;
	uint64_t prefix;

	if (!slash || (size_t)(slash - text) >= sizeof(host))
		return -EINVAL;
	memcpy(host, text, (size_t)(slash - text));
	if (inet_pton(AF_INET, host, &a) != 1 || num_parse(slash + 1, &prefix) || prefix < 16 ||
		prefix > 28 || ntohl(a.s_addr) & (0xffffffffu >> prefix))
		return -EINVAL;
	*ret_address = ntohl(a.s_addr);
	*ret_prefix = (unsigned)prefix;
	return 0;
}

void ip_text(uint32_t address, char ret_text[16])
{
	struct in_addr a = {htonl(address)};

	inet_ntop(AF_INET, &a, ret_text, 16);
}

static bool mac_taken(struct objects *os, const char *mac)
{
	for (struct obj *o = obj_next(os, KIND_PORT, NULL); o; o = obj_next(os, KIND_PORT, o))
		if (!strcmp(doc_text(o->doc, "mac"), mac))
			return true;
	return false;
}

/* 52:54:00 is what guests' tools know as a virtual machine's. */
static int new_mac(struct objects *os, char ret_mac[18])
{
	uint8_t b[3];

	for (unsigned tries = 0; tries < 64; tries++) {
		if (getrandom(b, sizeof(b), 0) != sizeof(b))
			return -EIO;
		snprintf(ret_mac, 18, "52:54:00:%02x:%02x:%02x", b[0], b[1], b[2]);
		if (!mac_taken(os, ret_mac))
			return 0;
	}
	return -EADDRNOTAVAIL;
}

/* A bit for each address of the network: its own, the gateway's, the ports', the broadcast one. */
static uint8_t *used_bits(
	struct objects *os, const struct obj *network, uint32_t base, uint32_t size)
{
	uint8_t *bits = calloc(1, size / 8);
	struct in_addr a;

	if (!bits)
		return NULL;
	bits[0] |= 3;
	bits[size / 8 - 1] |= 0x80;
	for (struct obj *o = obj_next(os, KIND_PORT, NULL); o; o = obj_next(os, KIND_PORT, o)) {
		uint32_t at;

		if (strcmp(doc_text(o->doc, "network_id"), network->id) ||
			inet_pton(AF_INET, doc_text(o->doc, "ip"), &a) != 1)
			continue;
		at = ntohl(a.s_addr) - base;
		if (at < size)
			bits[at / 8] |= (uint8_t)(1 << at % 8);
	}
	return bits;
}

static int pick(const uint8_t *bits, uint32_t base, uint32_t size, const char *ip, uint32_t *ret_ip)
{
	struct in_addr a;
	uint32_t at;

	if (ip) {
		if (inet_pton(AF_INET, ip, &a) != 1 || ntohl(a.s_addr) - base >= size)
			return -ERANGE;
		*ret_ip = ntohl(a.s_addr);
		at = *ret_ip - base;
		return bits[at / 8] >> at % 8 & 1 ? -EEXIST : 0;
	}
	for (at = 2; at < size; at++) {
		if (bits[at / 8] >> at % 8 & 1)
			continue;
		*ret_ip = base + at;
		return 0;
	}
	return -EADDRNOTAVAIL;
}

int port_allocate(struct objects *os, const struct obj *network, const char *ip, json_t *doc)
{
	cleanup_free uint8_t *bits = NULL;
	char mac[18], address[16];
	uint32_t base, chosen;
	unsigned prefix;
	int r = cidr_parse(doc_text(network->doc, "cidr"), &base, &prefix);

	if (r)
		return r;
	bits = used_bits(os, network, base, 1u << (32 - prefix));
	if (!bits)
		return -ENOMEM;
	r = pick(bits, base, 1u << (32 - prefix), ip, &chosen);
	if (!r)
		r = new_mac(os, mac);
	if (r)
		return r;
	ip_text(chosen, address);
	json_object_set_new(doc, "mac", json_string(mac));
	json_object_set_new(doc, "ip", json_string(address));
	return 0;
}

int port_draft(struct objects *os, const struct obj *network, json_t *instance, json_t **ret_port)
{
	char id[32];
	json_t *port;
	int r;

	obj_new_id(KIND_PORT, id);
	port = json_pack("{s:s, s:s, s:s, s:{}, s:s, s:s, s:s}", "id", id, "name", id, "project",
		network->project, "labels", "network", network->name, "network_id", network->id,
		"instance", doc_text(instance, "id"));
	r = port_allocate(os, network, NULL, port);
	if (r) {
		json_decref(port);
		return r;
	}
	json_object_set_new(instance, "port_id", json_string(id));
	json_object_set(instance, "mac", json_object_get(port, "mac"));
	json_object_set(instance, "ip", json_object_get(port, "ip"));
	*ret_port = port;
	return 0;
}
