/* SPDX-License-Identifier: Apache-2.0 */

/* Units - amounts, rates and times as people read them. */

#ifndef WH_UNITS_H
#define WH_UNITS_H

#include <stdint.h>

/* Room for any of the texts below, with the final NUL. */
#define WH_UNITS_TEXT_MAX 32

struct wh_text {
	char s[WH_UNITS_TEXT_MAX];
};

/* "0 B", "512 KiB", "1.50 GiB": three digits at least, powers of 1024. */
struct wh_text wh_units_bytes(uint64_t bytes);

/* The same per second: "64.0 MiB/s". */
struct wh_text wh_units_rate(uint64_t bps);

/* "0.4 ms", "85.1 ms", "1.25 s", "42.0 s", "3m07s", "1h02m". */
struct wh_text wh_units_time(uint64_t ns);

#endif
