/* SPDX-License-Identifier: Apache-2.0 */
/* The battery clock: CMOS on x86-64, PL031 or goldfish elsewhere. */
#ifndef GUEST_RTC_H
#define GUEST_RTC_H

#include "machine.h"

/* Seconds since 1970. Fails the case if the clock shows no date. */
uint64_t rtc_seconds(void);

#endif
