/* SPDX-License-Identifier: Apache-2.0 */

#include "units.h"

#include <inttypes.h>
#include <stdio.h>

#include "wherry/clock.h"

static struct wh_text scaled(uint64_t value, const char *per)
{
	static const char *const names[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double shown = (double)value;
	struct wh_text text;
	size_t unit = 0;

	/* 999.5 and more would be printed as 1000. */
	while (shown >= 999.5 && unit + 1 < sizeof(names) / sizeof(*names)) {
		shown /= 1024;
		unit++;
	}
	(void)snprintf(text.s, sizeof(text.s), "%.*f %s%s",
	               unit == 0 || shown >= 99.95 ? 0 : (shown >= 9.995 ? 1 : 2), shown,
	               names[unit], per);
	return text;
}

struct wh_text wh_units_bytes(uint64_t bytes)
{
	return scaled(bytes, "");
}

struct wh_text wh_units_rate(uint64_t bps)
{
	return scaled(bps, "/s");
}

struct wh_text wh_units_time(uint64_t ns)
{
	uint64_t s = ns / WH_NSEC_PER_SEC;
	struct wh_text text;

	if (s < 1)
		(void)snprintf(text.s, sizeof(text.s), "%.1f ms",
		               (double)ns / (double)WH_NSEC_PER_MSEC);
	else if (s < 60)
		(void)snprintf(text.s, sizeof(text.s), s < 10 ? "%.2f s" : "%.1f s",
		               (double)ns / (double)WH_NSEC_PER_SEC);
	else if (s < 3600)
		(void)snprintf(text.s, sizeof(text.s), "%" PRIu64 "m%02" PRIu64 "s", s / 60,
		               s % 60);
	else
		(void)snprintf(text.s, sizeof(text.s), "%" PRIu64 "h%02" PRIu64 "m", s / 3600,
		               s / 60 % 60);
	return text;
}
