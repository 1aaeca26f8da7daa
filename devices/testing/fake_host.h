/* SPDX-License-Identifier: Apache-2.0 */
/* A dev_host without KVM, for tests: 2 MiB+ of RAM at gpa 0 unless asked otherwise, buses, an
 * interrupt domain that counts, doorbells that fire on bus writes, a control loop that the test
 * pumps, and a log of events. */
#ifndef DEVICES_TESTING_FAKE_HOST_H
#define DEVICES_TESTING_FAKE_HOST_H

#include "devices/device.h"

#define FAKE_PINS 64
#define FAKE_MSIS 64

struct fake_host {
	struct dev_host host; /* first: devices get &f->host */
	struct guest_mem mem;
	struct bus mmio, pio;
	struct irq_domain irqs;
	struct log log;
	bool wire[FAKE_PINS];		   /* level now */
	_Atomic unsigned edges[FAKE_PINS]; /* rising edges seen, by call or by fd */
	_Atomic unsigned msis[FAKE_MSIS];  /* messages seen, by data value modulo FAKE_MSIS */
	unsigned events[8];		   /* by enum dev_event */
	int last_event_value;
	_Atomic unsigned notices[8]; /* by enum dev_notice */
	void *internal;
};

int fake_host_init(struct fake_host *f, uint64_t ram_bytes, bool with_msi);
void fake_host_fini(struct fake_host *f);
/* Guest accesses: doorbells first, then the bus. */
void fake_write(struct fake_host *f, uint64_t addr, unsigned size, uint64_t value);
uint64_t fake_read(struct fake_host *f, uint64_t addr, unsigned size);
/* Runs the control loop and polls irqfds until cond(arg) is true; false after about 5 s. */
bool fake_pump_until(struct fake_host *f, bool (*cond)(void *arg), void *arg);
void fake_pump(struct fake_host *f); /* what is ready now */

#endif
