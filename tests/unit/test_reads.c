/* SPDX-License-Identifier: Apache-2.0 */

/* What QEMU's histograms say of reads that take too long. */

#include "reads.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define LIMIT_NS 1000000

#define DISK(id, boundaries, bins)                                                   \
	"{\"device\": \"\", \"qdev\": \"" id "\", \"stats\": {\"rd_operations\": 5," \
	" \"rd_latency_histogram\": {\"boundaries\": [" boundaries "], \"bins\": [" bins "]}}}"
#define UNCOUNTED(id) "{\"device\": \"\", \"qdev\": \"" id "\", \"stats\": {\"rd_operations\": 5}}"

static int check(const char *blockstats, struct wh_error *err)
{
	wh_cleanup(wh_json_unrefp) json_t *stats = json_loads(blockstats, 0, NULL);
	wh_cleanup(wh_json_unrefp) json_t *disks = json_pack("[s, s]", "/d0/virtio-backend", "d1");

	assert_non_null(stats);
	return wh_reads_check(stats, disks, LIMIT_NS, err);
}

static void reads_below_the_limit_are_well(void **state)
{
	(void)state;
	assert_int_equal(check("[" DISK("d1", "1000000", "7, 0") "," UNCOUNTED("other") "," DISK(
				       "/d0/virtio-backend", "1000000", "0, 0") "]",
	                       NULL),
	                 0);
}

static void one_read_that_takes_as_long_is_one_too_many(void **state)
{
	struct wh_error err = { 0 };

	(void)state;
	assert_int_equal(check("[" DISK("/d0/virtio-backend", "1000000",
	                                "7, 0") "," DISK("d1", "1000000", "900, 1") "]",
	                       &err),
	                 -ETIME);
	assert_non_null(strstr(err.text, "'d1'"));
	assert_non_null(strstr(err.text, "directIoMs"));
}

static void what_is_not_known_is_not_well(void **state)
{
	static const char *const table[] = {
		"[]",
		"{}",
		"[" DISK("/d0/virtio-backend", "1000000", "7, 0") "]",
		"[" DISK("/d0/virtio-backend", "1000000", "7, 0") "," UNCOUNTED("d1") "]",
		/* Somebody has set others: then the count began again. */
		"[" DISK("/d0/virtio-backend", "1000000", "7, 0") "," DISK("d1", "1000001",
		                                                           "7, 0") "]",
		"[" DISK("/d0/virtio-backend", "1000000", "7, 0") "," DISK("d1", "1000000, 2000000",
		                                                           "7, 0, 0") "]",
		"[" DISK("/d0/virtio-backend", "1000000", "7, 0") "," DISK("d1", "1000000",
		                                                           "7, \"0\"") "]",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
		struct wh_error err = { 0 };

		assert_int_equal(check(table[i], &err), -EPROTO);
		assert_non_null(strstr(err.text, "no longer counts"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_below_the_limit_are_well),
		cmocka_unit_test(one_read_that_takes_as_long_is_one_too_many),
		cmocka_unit_test(what_is_not_known_is_not_well),
	};

	return cmocka_run_group_tests_name("reads", tests, NULL, NULL);
}
