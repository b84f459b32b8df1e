/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The histogram has two bins: below the limit, and the others. Setting it begins at zero, and a read is
 * counted when it ends: so those that were under way already are in it.
 */

#include "reads.h"

#include <errno.h>
#include <string.h>

#include "units.h"

void wh_reads_watch(struct wh_qmp *qmp, const json_t *disks, uint64_t limit_ns,
                    wh_qmp_reply_fn reply, void *ctx)
{
	for (size_t i = 0; i < json_array_size(disks); i++)
		wh_qmp_call(qmp, "block-latency-histogram-set",
		            json_pack("{s:O, s:[I]}", "id", json_array_get(disks, i),
		                      "boundaries-read", (json_int_t)limit_ns),
		            reply, ctx);
}

static const json_t *find_histogram(const json_t *blockstats, const char *disk)
{
	for (size_t i = 0; i < json_array_size(blockstats); i++) {
		const json_t *device = json_array_get(blockstats, i);

		if (!strcmp(wh_json_text(device, "qdev"), disk))
			return json_object_get(json_object_get(device, "stats"),
			                       "rd_latency_histogram");
	}
	return NULL;
}

int wh_reads_check(const json_t *blockstats, const json_t *disks, uint64_t limit_ns,
                   struct wh_error *err)
{
	for (size_t i = 0; i < json_array_size(disks); i++) {
		const char *disk = json_string_value(json_array_get(disks, i));
		const json_t *histogram = find_histogram(blockstats, disk);
		const json_t *boundaries = json_object_get(histogram, "boundaries");
		const json_t *bins = json_object_get(histogram, "bins");

		if (json_array_size(boundaries) != 1 || json_array_size(bins) != 2 ||
		    json_integer_value(json_array_get(boundaries, 0)) != (json_int_t)limit_ns ||
		    !json_is_integer(json_array_get(bins, 1)))
			return wh_fail(err, -EPROTO,
			               "QEMU no longer counts how long disk '%s' reads, which has "
			               "cache.direct=on: its memory might be copied too soon",
			               disk);
		if (json_integer_value(json_array_get(bins, 1)) != 0)
			return wh_fail(err, -ETIME,
			               "disk '%s', which has cache.direct=on, took %s or longer to "
			               "read: memory might be copied too soon; a larger directIoMs "
			               "waits for it",
			               disk, wh_units_time(limit_ns).s);
	}
	return 0;
}
