/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

/* Meter - what its BPF program and its user space share: how payload is filed by time. */

#ifndef WH_METER_H
#define WH_METER_H

#include <linux/types.h>

struct meter_setup {
	__u64 start_ns;  /* CLOCK_MONOTONIC, where the first window begins */
	__u64 window_ns; /* length of a window */
	__u32 windows;   /* how many there are; later packets are not counted */
	__u16 port;      /* destination port, or 0 for any */
	__u16 reserved;
};

_Static_assert(sizeof(struct meter_setup) == 24, "no padding");

#endif
