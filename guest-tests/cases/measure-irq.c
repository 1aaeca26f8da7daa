/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interrupt latency: from the access that makes a device interrupt to the handler, the CPU asleep.
 * irq-line is the serial port's line; irq-msix and irq-virtio-line contain a whole request to the
 * first virtio device that can interrupt that way, an entropy source if there is one.
 */
#include "alarm.h"
#include "case.h"
#include "uart.h"
#include "wait.h"

#define ROUNDS 31

static uint64_t samples[ROUNDS];
static uint64_t uart_at;
static struct vdev devices[MAX_VDEVS];

static void on_uart(void *arg)
{
	uint64_t now = clock_ticks();

	(void)arg;
	uart_tx_irq(&machine.uart, false);
	WRITE_ONCE(uart_at, now);
}

static void measure_uart(void)
{
	if (machine.uart.kind != UART_NS16550 || irq_attach(&machine.uart.irq, on_uart, NULL))
		return;
	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t from = clock_ticks();

		uart_at = 0;
		uart_tx_irq(&machine.uart, true);
		CHECK(WAIT_SLEEP(READ_ONCE(uart_at), 10000), "no interrupt of the serial port");
		samples[i] = uart_at - from;
	}
	irq_detach(&machine.uart.irq);
	metric_median("irq-line", samples, ROUNDS);
}

/* Entropy first, then whatever is found. */
static const struct vdev *pick(unsigned n, bool message)
{
	for (unsigned pass = 0; pass < 2; pass++)
		for (unsigned i = 0; i < n; i++) {
			const struct vdev *v = &devices[i];

			if (!(pass ? drv_knows(v) : v->type == VIRTIO_RNG))
				continue;
			if (message ? v->pci && msix_size(v->fn) : v->irq.present)
				return v;
		}
	return NULL;
}

static void measure_virtio(const char *name, const struct vdev *v, bool message)
{
	static struct alarm a;
	static struct drv d;

	if (!v)
		return;
	CHECK(!drv_prepare(&d, v, 0, 8), "%s does not start", v->name);
	CHECK(!(message ? alarm_by_message(&a, &d) : alarm_by_line(&a, &d)), "%s cannot interrupt",
		v->name);
	vdev_driver_ok(&d.dev);
	for (unsigned i = 0; i < ROUNDS; i++) {
		unsigned before = a.count;
		uint64_t from;

		drv_ping_add(&d);
		from = clock_ticks();
		vq_kick(&d.q);
		CHECK(WAIT_SLEEP(READ_ONCE(a.count) != before, 10000), "%s: no interrupt", v->name);
		samples[i] = a.at - from;
		CHECK(vq_wait(&d.q, NULL, 10000) >= 0, "%s: no answer", v->name);
	}
	vdev_reset(&d.dev);
	metric_median(name, samples, ROUNDS);
}

static void on_timer(void *arg)
{
	(void)arg;
	timer_stop();
}

static void run(void)
{
	unsigned n = vdev_find(0, devices);

	timer_attach(on_timer, NULL);
	measure_uart();
	if (msi_available())
		measure_virtio("irq-msix", pick(n, true), true);
	measure_virtio("irq-virtio-line", pick(n, false), false);
}

const struct guest_case this_case = {"measure-irq", run, false};
