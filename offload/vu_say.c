/* SPDX-License-Identifier: Apache-2.0 */
/* What a proxy has to say, as messages; among it the guest's memory. */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include "offload/vu_peer_priv.h"

int vu_peer_say(struct vu_peer *p, const struct vu_msg *m, vu_done *done, void *arg)
{
	return p->state == PEER_READY ? vu_steps_say(&p->steps, m, done, arg) : -ENOTCONN;
}

int vu_peer_say_u64(struct vu_peer *p, uint32_t request, uint64_t value)
{
	struct vu_msg m = {.request = request, .size = 8, .p.u64 = value};

	return vu_peer_say(p, &m, NULL, p);
}

int vu_peer_say_state(
	struct vu_peer *p, uint32_t request, unsigned index, uint32_t num, vu_done *done, void *arg)
{
	struct vu_msg m = {.request = request, .size = sizeof(m.p.state), .p.state = {index, num}};

	return vu_peer_say(p, &m, done, arg);
}

int vu_peer_say_fd(struct vu_peer *p, uint32_t request, unsigned index, int fd)
{
	struct vu_msg m = {.request = request, .size = 8, .fds = {fd}, .nfds = fd >= 0};

	m.p.u64 = index | (fd >= 0 ? 0 : VU_VRING_NO_FD);
	return vu_peer_say(p, &m, NULL, p);
}

/* ---- memory ---- */

static void region_of(const struct mem_region *g, struct vu_region *ret)
{
	*ret = (struct vu_region){
		.gpa = g->gpa, .size = g->size, .uva = (uintptr_t)g->host, .offset = g->fd_offset};
}

/* Slots take regions one by one, which later lets memory grow under running rings. */
static int say_region(struct vu_peer *p, uint32_t request, const struct vu_region *r, int fd)
{
	struct vu_msg m = {.request = request,
		.size = sizeof(m.p.reg),
		.p.reg.region = *r,
		.fds = {fd},
		.nfds = fd >= 0};

	return vu_steps_say(&p->steps, &m, NULL, p);
}

static int say_table(struct vu_peer *p, const struct guest_mem *mem)
{
	struct vu_msg m = {.request = VU_SET_MEM_TABLE, .p.mem.n = mem->n, .nfds = mem->n};

	m.size = offsetof(struct vu_mem_table, region) + mem->n * sizeof(struct vu_region);
	for (unsigned i = 0; i < mem->n; i++) {
		region_of(&mem->region[i], &m.p.mem.region[i]);
		m.fds[i] = mem->region[i].fd;
	}
	return vu_steps_say(&p->steps, &m, NULL, p);
}

static bool by_slots(const struct vu_peer *p)
{
	return p->offer.protocol & VU_PF(CONFIGURE_MEM_SLOTS);
}

void vu_peer_take_back(struct vu_peer *p)
{
	for (unsigned i = 0; i < p->ngiven && by_slots(p) && p->state == PEER_READY; i++)
		say_region(p, VU_REM_MEM_REG, &p->given[i], -1);
	p->ngiven = 0;
}

int vu_peer_share(struct vu_peer *p, const struct guest_mem *mem)
{
	struct vu_region want[GUEST_MEM_REGIONS];
	bool slots = by_slots(p) && p->offer.slots >= mem->n;
	int r = 0;

	for (unsigned i = 0; i < mem->n; i++)
		region_of(&mem->region[i], &want[i]);
	if (p->ngiven == mem->n && !memcmp(want, p->given, mem->n * sizeof(*want)))
		return 0;
	vu_peer_take_back(p);
	if (!slots && mem->n > VU_REGIONS) {
		vu_steps_fail(
			&p->steps, "it takes fewer memory regions than the %u there are", mem->n);
		return -ENOSPC;
	}
	if (!slots)
		r = say_table(p, mem);
	for (unsigned i = 0; slots && i < mem->n && !r; i++)
		r = say_region(p, VU_ADD_MEM_REG, &want[i], mem->region[i].fd);
	memcpy(p->given, want, mem->n * sizeof(*want));
	p->ngiven = mem->n;
	return r;
}
