/* SPDX-License-Identifier: Apache-2.0 */

/* Pages that a guest waits for, read by what the test says, or fetched from it. */

#include "fault.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "fake_fill.h"
#include "urgent.h"

#include "wherry/limits.h"
#include "wherry/worker.h"

#define PAGES     256u
#define READS_MAX 4u

/* Reads that end as the test wants. */
struct fake_reads {
	struct wh_rdma_reads base;
	bool refuses;
	struct wh_rdma_read reads[READS_MAX];
	uint32_t asked, over, taken, ended; /* of them, from the front */
	const struct wh_missing *missing;
};

struct fixture {
	struct wh_ram ram;
	struct wh_region_ids ids;
	struct wh_stats stats;
	struct fake_fill fake;
	struct wh_missing missing;
	int file, missing_file;
	int sockets[2];
	struct wh_urgent source; /* hears what is fetched */
	struct fake_reads reads;
	struct wh_fault *fault;
	_Alignas(WH_PAGE_SIZE) uint8_t contents[64 * WH_PAGE_SIZE];
};

static struct fake_reads *fake_of(struct wh_rdma_reads *reads)
{
	return (struct fake_reads *)reads;
}

static int fake_look(struct wh_rdma_reads *reads, struct wh_urgent *urgent)
{
	(void)reads;
	(void)urgent;
	return 0;
}

static bool fake_arm(struct wh_rdma_reads *reads)
{
	(void)reads;
	return true;
}

static int fake_ask(struct wh_rdma_reads *reads, struct wh_run run)
{
	struct fake_reads *fake = fake_of(reads);

	if (fake->refuses)
		return WH_RDMA_READS_NO;
	assert_true(fake->asked < READS_MAX);
	fake->reads[fake->asked] = (struct wh_rdma_read){ .run = run, .slot = fake->asked };
	fake->asked++;
	return 0;
}

static bool fake_take(struct wh_rdma_reads *reads, struct wh_rdma_read *ret)
{
	struct fake_reads *fake = fake_of(reads);

	if (fake->taken == fake->over)
		return false;
	*ret = fake->reads[fake->taken++];
	return true;
}

/* By now the pages are placed, or they would be lost when the source hears that they are here. */
static int fake_end(struct wh_rdma_reads *reads, struct wh_urgent *urgent,
                    const struct wh_rdma_read *read)
{
	struct fake_reads *fake = fake_of(reads);

	(void)urgent;
	for (uint32_t i = 0; read->contents && i < read->run.count; i++)
		assert_false(wh_missing_has(fake->missing, read->run.first + i));
	fake->ended++;
	return 0;
}

static void fake_stop(struct wh_rdma_reads *reads, struct wh_urgent *urgent)
{
	(void)reads;
	(void)urgent;
}

static const struct wh_rdma_reads_ops fake_ops = {
	.look = fake_look,
	.arm = fake_arm,
	.ask = fake_ask,
	.take = fake_take,
	.end = fake_end,
	.stop = fake_stop,
};

static void make_fault(struct fixture *f)
{
	const struct wh_fault_config cfg = {
		.missing = &f->missing,
		.ram = &f->ram,
		.ids = &f->ids,
		.clock = &wh_clock_monotonic,
		.stats = &f->stats,
		.reads = &f->reads.base,
		.urgent = f->sockets[0],
	};

	f->reads = (struct fake_reads){ .base = { .ops = &fake_ops, .fd = -1 },
		                        .missing = &f->missing };
	f->fault = wh_fault_new(&cfg);
	assert_non_null(f->fault);
}

static int setup(void **state)
{
	const uint64_t bytes = (uint64_t)PAGES * WH_PAGE_SIZE;
	struct fixture *f = aligned_alloc(WH_PAGE_SIZE, sizeof(*f));

	assert_non_null(f);
	memset(f, 0, sizeof(*f));
	f->file = memfd_create("ram", MFD_CLOEXEC);
	f->missing_file = memfd_create("missing", MFD_CLOEXEC);
	assert_int_equal(ftruncate(f->file, (off_t)bytes), 0);
	assert_int_equal(ftruncate(f->missing_file, (off_t)wh_missing_file_bytes(bytes)), 0);
	assert_int_equal(wh_ram_add(&f->ram, "ram", bytes, f->file, NULL), 0);
	f->ids.local[0] = 1;
	assert_int_equal(wh_missing_open(&f->missing, f->missing_file, PAGES, NULL), 0);
	wh_missing_add(&f->missing, 0, PAGES);
	fake_fill_init(&f->fake, &f->ram);
	f->missing.fill = &f->fake.fill;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, f->sockets), 0);
	assert_int_equal(wh_urgent_init(&f->source, f->sockets[1]), 0);
	make_fault(f);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	f->fault = wh_fault_free(f->fault);
	wh_urgent_done(&f->source);
	(void)close(f->sockets[0]);
	(void)close(f->sockets[1]);
	wh_missing_close(&f->missing);
	fake_fill_done(&f->fake);
	(void)close(f->file);
	(void)close(f->missing_file);
	free(f);
	return 0;
}

static void step(struct fixture *f)
{
	assert_int_equal(wh_fault_step(f->fault, 0), 0);
}

static void touch(struct fixture *f, uint64_t page)
{
	assert_false(fake_fill_touch(&f->fake, 0, page));
	step(f);
}

/* The oldest read that is not over has brought @contents; NULL: it failed. */
static void end_read(struct fixture *f, const uint8_t *contents)
{
	f->reads.reads[f->reads.over++].contents = contents;
	step(f);
}

/* What was fetched: its first page, or UINT64_MAX if nothing was. */
static uint64_t fetched(struct fixture *f)
{
	const uint8_t *payload;
	struct wh_record record;

	assert_int_equal(wh_urgent_receive(&f->source), 0);
	if (wh_urgent_next(&f->source, &record, &payload) == 0)
		return UINT64_MAX;
	assert_int_equal(record.type, WH_RECORD_FETCH);
	return record.offset / WH_PAGE_SIZE;
}

static char first_byte(const struct fixture *f, uint64_t page)
{
	char byte;

	assert_int_equal(pread(f->file, &byte, 1, (off_t)(page * WH_PAGE_SIZE)), 1);
	return byte;
}

static void a_page_that_is_read_is_placed_and_not_fetched(void **state)
{
	struct fixture *f = *state;

	memset(f->contents, 'r', sizeof(f->contents));
	touch(f, 9);
	assert_int_equal(f->reads.asked, 1);
	assert_int_equal(fetched(f), UINT64_MAX);
	assert_true(f->fake.vcpus[0].waits);
	end_read(f, f->contents);
	assert_false(f->fake.vcpus[0].waits);
	assert_int_equal(f->reads.ended, 1);
	assert_int_equal(first_byte(f, 9), 'r');
	assert_false(wh_missing_has(&f->missing, 9));
	assert_int_equal(wh_stat_get(&f->stats, WH_STAT_RDMA_READ_BYTES), WH_PAGE_SIZE);
	assert_int_equal(wh_stat_get(&f->stats, WH_STAT_FAULTS), 1);
}

static void what_cannot_be_read_is_fetched(void **state)
{
	struct fixture *f = *state;

	f->reads.refuses = true;
	touch(f, 9);
	assert_int_equal(fetched(f), 9);
	assert_int_equal(wh_stat_get(&f->stats, WH_STAT_RDMA_READ_BYTES), 0);
}

static void a_read_that_failed_is_fetched(void **state)
{
	struct fixture *f = *state;

	touch(f, 9);
	assert_int_equal(fetched(f), UINT64_MAX);
	end_read(f, NULL);
	assert_int_equal(fetched(f), 9);
	assert_int_equal(f->reads.ended, 1);
	assert_true(wh_missing_has(&f->missing, 9));
	assert_true(f->fake.vcpus[0].waits);
}

static void zero_pages_that_were_read_are_not_copied(void **state)
{
	struct fixture *f = *state;
	struct wh_run run;

	memset(f->contents, 0, sizeof(f->contents));
	touch(f, 20);
	end_read(f, f->contents);
	assert_false(f->fake.vcpus[0].waits);
	assert_int_equal(f->fake.copies, 0);
	assert_int_equal(first_byte(f, 20), 0);
	assert_true(wh_missing_find(&f->missing, 20, 1, &run));
	assert_int_equal(run.first, 21);
}

/* Three faults in a row are a walk: several pages are read, some of them zero. */
static void all_pages_of_a_read_are_placed_each_as_it_is(void **state)
{
	struct fixture *f = *state;

	memset(f->contents, 'r', sizeof(f->contents));
	touch(f, 30);
	end_read(f, f->contents);
	touch(f, 31);
	end_read(f, f->contents);
	touch(f, 33);
	assert_int_equal(f->reads.reads[2].run.count, 4);
	memset(f->contents + WH_PAGE_SIZE, 0, WH_PAGE_SIZE);
	f->fake.copies = 0;
	end_read(f, f->contents);
	assert_int_equal(f->fake.copies, 3);
	for (uint64_t page = 33; page < 37; page++)
		assert_int_equal(first_byte(f, page), page == 34 ? 0 : 'r');
	assert_int_equal(wh_missing_left(&f->missing), PAGES - 7);
}

static void a_page_that_came_by_push_meanwhile_stays_as_it_is(void **state)
{
	struct fixture *f = *state;

	touch(f, 9);
	memset(f->contents, 'p', sizeof(f->contents));
	assert_int_equal(wh_missing_put(&f->missing, 9, 1, f->contents), 0);
	memset(f->contents, 'r', sizeof(f->contents));
	end_read(f, f->contents);
	assert_int_equal(f->reads.ended, 1);
	assert_int_equal(first_byte(f, 9), 'p');
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_page_that_is_read_is_placed_and_not_fetched),
		TEST(what_cannot_be_read_is_fetched),
		TEST(a_read_that_failed_is_fetched),
		TEST(zero_pages_that_were_read_are_not_copied),
		TEST(all_pages_of_a_read_are_placed_each_as_it_is),
		TEST(a_page_that_came_by_push_meanwhile_stays_as_it_is),
	};

	return cmocka_run_group_tests_name("fault", tests, NULL, NULL);
}
