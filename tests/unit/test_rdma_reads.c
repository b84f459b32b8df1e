/* SPDX-License-Identifier: Apache-2.0 */

/* The destination's end of reads by RDMA, over fake verbs; the test is the source. */

#include "rdma_reads.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "fake_verbs.h"
#include "fault.h"
#include "rdma_way.h"
#include "urgent_peer.h"
#include "verbs.h"

#include "wherry/limits.h"
#include "wherry/worker.h"

#define CHUNK_PAGES UINT64_C(16)
#define CHUNK_BYTES (CHUNK_PAGES * WH_PAGE_SIZE)
#define CHUNKS      5u /* the last one is half of one */
#define PAGES       (CHUNKS * CHUNK_PAGES - CHUNK_PAGES / 2)
#define BYTES       (PAGES * WH_PAGE_SIZE)
#define PEERS_ID    7u /* what the source calls the region */

struct fixture {
	struct wh_ram ram;
	struct wh_region_ids ids;
	struct wh_missing missing;
	int files[2];
	struct urgent_peer urgent;
	struct wh_rdma_reads *reads;
	struct wh_verbs *target; /* borrowed: of @reads */

	/* The source. */
	struct wh_verbs *source;
	struct wh_verbs_key key;
	uint8_t *memory;

	uint32_t told; /* that it is over */
	char why[256];
};

static const uint8_t token[WH_TOKEN_BYTES];

static void on_carries(void *context, enum wh_transport_kind kind, const char *why)
{
	struct fixture *f = context;

	assert_int_equal(kind, WH_TRANSPORT_TCP);
	f->told++;
	(void)snprintf(f->why, sizeof(f->why), "%s", why);
}

static void make_reads(struct fixture *f)
{
	const struct wh_rdma_way way = { .address = "192.0.2.1",
		                         .local = "",
		                         .token = token,
		                         .options = { .pairs = 1, .chunk_bytes = CHUNK_BYTES },
		                         .carries = on_carries,
		                         .context = f };
	const struct wh_rdma_reads_config cfg = {
		.ram = &f->ram, .ids = &f->ids, .missing = &f->missing, .granule = 1
	};

	f->reads = wh_rdma_reads_new(&way, &cfg);
	assert_non_null(f->reads);
	f->target = fake_verbs_newest(true);
}

static void make_memory(struct fixture *f)
{
	f->files[0] = memfd_create("ram", MFD_CLOEXEC);
	f->files[1] = memfd_create("missing", MFD_CLOEXEC);
	assert_int_equal(ftruncate(f->files[0], (off_t)BYTES), 0);
	assert_int_equal(ftruncate(f->files[1], (off_t)wh_missing_file_bytes(BYTES)), 0);
	assert_int_equal(wh_ram_add(&f->ram, "ram", BYTES, f->files[0], NULL), 0);
	f->ids.local[PEERS_ID] = 1;
	f->ids.peer[0] = PEERS_ID;
	assert_int_equal(wh_missing_open(&f->missing, f->files[1], PAGES, NULL), 0);
	wh_missing_add(&f->missing, 0, PAGES);
	f->memory = aligned_alloc(WH_PAGE_SIZE, BYTES);
	assert_non_null(f->memory);
	for (uint32_t i = 0; i < PAGES; i++)
		memset(f->memory + (size_t)i * WH_PAGE_SIZE, (int)i + 1, WH_PAGE_SIZE);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	fake_verbs_set_seed(0);
	fake_verbs_refuse_open(0);
	make_memory(f);
	urgent_peer_open(&f->urgent);
	make_reads(f);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	f->reads = wh_rdma_reads_free(f->reads);
	if (f->source) {
		wh_verbs_cut(f->source);
		wh_verbs_expel(f->source, &f->key);
		f->source = wh_verbs_close(f->source);
	}
	urgent_peer_close(&f->urgent);
	wh_missing_close(&f->missing);
	(void)close(f->files[0]);
	(void)close(f->files[1]);
	free(f->memory);
	free(f);
	return 0;
}

static void look(struct fixture *f)
{
	assert_int_equal(f->reads->ops->look(f->reads, &f->urgent.own), 0);
}

static int say(struct fixture *f, struct wh_record record, const void *payload)
{
	return f->reads->ops->record(f->reads, &record, payload);
}

static int lend(struct fixture *f, uint32_t chunk)
{
	const struct wh_record record = { .type = WH_RECORD_READ_KEY,
		                          .region = PEERS_ID,
		                          .length = WH_KEY_BYTES,
		                          .offset = (uint64_t)chunk * CHUNK_BYTES };
	const struct wh_read_key key = { .addr = (uintptr_t)(f->memory + record.offset),
		                         .key = f->key.remote };
	uint8_t payload[WH_KEY_BYTES];

	wh_read_key_encode(payload, &key);
	return say(f, record, payload);
}

static int grant(struct fixture *f, uint32_t bytes)
{
	uint8_t payload[WH_SPAN_BYTES];

	wh_span_encode(payload, bytes);
	return say(f, (struct wh_record){ .type = WH_RECORD_READ_GRANT, .length = WH_SPAN_BYTES },
	           payload);
}

static int ask(struct fixture *f, uint64_t page, uint32_t count)
{
	return f->reads->ops->ask(f->reads, (struct wh_run){ .first = page, .count = count });
}

/* Connect as the source does. */
static void connect_source(struct fixture *f)
{
	struct wh_verbs_config cfg = { .address = "192.0.2.1",
		                       .local = "",
		                       .pairs = 1,
		                       .depth = 1,
		                       .marks = 1,
		                       .token = token };
	const uint8_t *payload;

	look(f);
	(void)urgent_peer_expect(&f->urgent, WH_RECORD_READ_OFFER, &payload);
	cfg.port = wh_read_offer_decode(payload).port;
	assert_int_equal(wh_read_offer_decode(payload).bytes, WH_RDMA_READS_BYTES);
	assert_int_equal(1u << wh_read_offer_decode(payload).chunk_order, CHUNK_BYTES);
	assert_int_equal(wh_verbs_open(&f->source, &cfg, NULL), 0);
	assert_int_equal(wh_verbs_advance(f->source, NULL), 1);
	assert_int_equal(
		wh_verbs_enroll(f->source, f->memory, BYTES, WH_VERBS_REMOTE_READ, &f->key), 0);
	look(f);
}

/* Up to where two chunks are lent, and all that can be is granted. */
static void come_up(struct fixture *f)
{
	connect_source(f);
	assert_int_equal(lend(f, 1), 0);
	assert_int_equal(lend(f, 4), 0);
	assert_int_equal(grant(f, WH_RDMA_READS_BYTES), 0);
}

static void a_page_of_a_lent_chunk_is_read(void **state)
{
	struct fixture *f = *state;
	struct wh_rdma_read read;
	const uint8_t *payload;
	struct wh_record have;

	come_up(f);
	assert_int_equal(ask(f, CHUNK_PAGES + 3, 2), 0);
	assert_false(f->reads->ops->take(f->reads, &read));
	fake_verbs_run(f->target);
	look(f);
	assert_true(f->reads->ops->take(f->reads, &read));
	assert_int_equal(read.run.first, CHUNK_PAGES + 3);
	assert_int_equal(read.run.count, 2);
	assert_memory_equal(read.contents, f->memory + (CHUNK_PAGES + 3) * WH_PAGE_SIZE,
	                    2 * (size_t)WH_PAGE_SIZE);
	assert_false(f->reads->ops->take(f->reads, &read));
	urgent_peer_expect_nothing(&f->urgent); /* it is not placed yet */

	assert_int_equal(f->reads->ops->end(f->reads, &f->urgent.own, &read), 0);
	have = urgent_peer_expect(&f->urgent, WH_RECORD_HAVE, &payload);
	assert_int_equal(have.region, PEERS_ID);
	assert_int_equal(have.offset, (CHUNK_PAGES + 3) * WH_PAGE_SIZE);
	assert_int_equal(wh_span_decode(payload), 2 * WH_PAGE_SIZE);
	assert_int_equal(f->told, 0);
}

static void what_is_not_lent_is_not_read(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(ask(f, 0, 1), WH_RDMA_READS_NO); /* nobody has connected */
	come_up(f);
	assert_int_equal(ask(f, 0, 1), WH_RDMA_READS_NO);
	assert_int_equal(ask(f, 2 * CHUNK_PAGES - 1, 1), 0);
	assert_int_equal(ask(f, 2 * CHUNK_PAGES - 1, 2),
	                 WH_RDMA_READS_NO); /* the next one is not */
	assert_int_equal(ask(f, PAGES - 1, 1), 0);
}

static void what_is_not_granted_is_not_read(void **state)
{
	struct fixture *f = *state;
	struct wh_rdma_read read;

	connect_source(f);
	assert_int_equal(lend(f, 1), 0);
	assert_int_equal(ask(f, CHUNK_PAGES, 1), WH_RDMA_READS_NO);
	assert_int_equal(grant(f, 2 * WH_PAGE_SIZE), 0);
	assert_int_equal(ask(f, CHUNK_PAGES, 3), WH_RDMA_READS_NO);
	assert_int_equal(ask(f, CHUNK_PAGES, 2), 0);
	assert_int_equal(ask(f, CHUNK_PAGES + 5, 1), WH_RDMA_READS_NO);
	fake_verbs_run(f->target);
	look(f);
	assert_true(f->reads->ops->take(f->reads, &read));
	assert_int_equal(f->reads->ops->end(f->reads, &f->urgent.own, &read), 0);
	assert_int_equal(ask(f, CHUNK_PAGES + 5, 1), WH_RDMA_READS_NO);
	assert_int_equal(grant(f, WH_PAGE_SIZE), 0);
	assert_int_equal(ask(f, CHUNK_PAGES + 5, 1), 0);
}

static void there_are_as_many_reads_as_slots(void **state)
{
	struct fixture *f = *state;
	struct wh_rdma_read read;
	uint32_t count = 0;

	come_up(f);
	while (ask(f, CHUNK_PAGES + count, 1) == 0)
		count++;
	assert_int_equal(count, CHUNK_PAGES); /* what the chunk has, and the device may hold */
	assert_int_equal(ask(f, 4 * CHUNK_PAGES, 1), WH_RDMA_READS_NO);
	fake_verbs_run(f->target);
	look(f);
	assert_true(f->reads->ops->take(f->reads, &read));
	assert_int_equal(ask(f, 4 * CHUNK_PAGES, 1), WH_RDMA_READS_NO); /* it is not placed yet */
	assert_int_equal(f->reads->ops->end(f->reads, &f->urgent.own, &read), 0);
	assert_int_equal(ask(f, 4 * CHUNK_PAGES, 1), 0);
}

static void reads_are_taken_as_they_complete(void **state)
{
	const struct wh_completion second = { .kind = WH_COMPLETION_READ, .cookie = 1 };
	struct fixture *f = *state;
	struct wh_rdma_read read;

	come_up(f);
	assert_int_equal(ask(f, CHUNK_PAGES, 1), 0);
	assert_int_equal(ask(f, CHUNK_PAGES + 1, 1), 0);
	fake_verbs_deliver(f->target, &second);
	look(f);
	assert_true(f->reads->ops->take(f->reads, &read));
	assert_int_equal(read.run.first, CHUNK_PAGES + 1);
	assert_false(f->reads->ops->take(f->reads, &read));
}

/* All that was asked for comes back as failed, and the source hears that it is over. */
static void assert_over(struct fixture *f, uint32_t failed)
{
	struct wh_rdma_read read;

	for (uint32_t i = 0; i < failed; i++) {
		assert_true(f->reads->ops->take(f->reads, &read));
		assert_null(read.contents);
		assert_int_equal(f->reads->ops->end(f->reads, &f->urgent.own, &read), 0);
	}
	assert_false(f->reads->ops->take(f->reads, &read));
	(void)urgent_peer_expect(&f->urgent, WH_RECORD_READ_OVER, NULL);
	urgent_peer_expect_nothing(&f->urgent);
	assert_int_equal(f->told, 1);
	assert_int_equal(f->reads->fd, -1);
	assert_null(fake_verbs_newest(true));
	assert_int_equal(ask(f, CHUNK_PAGES + 9, 1), WH_RDMA_READS_NO);
}

static void reads_that_are_flushed_have_failed(void **state)
{
	struct fixture *f = *state;
	struct wh_rdma_read read;

	come_up(f);
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(ask(f, CHUNK_PAGES + 2 * (uint64_t)i, 1), 0);
	(void)fake_verbs_step(f->target, 0);
	fake_verbs_fail(f->target, 0, -ETIMEDOUT);
	fake_verbs_run(f->target);
	look(f);
	assert_true(f->reads->ops->take(f->reads, &read)); /* the first one was complete */
	assert_non_null(read.contents);
	assert_int_equal(f->reads->ops->end(f->reads, &f->urgent.own, &read), 0);
	(void)urgent_peer_expect(&f->urgent, WH_RECORD_READ_OVER, NULL);
	(void)urgent_peer_expect(&f->urgent, WH_RECORD_HAVE, NULL);
	assert_true(f->reads->ops->take(f->reads, &read));
	assert_null(read.contents);
	assert_true(f->reads->ops->take(f->reads, &read));
	assert_null(read.contents);
	assert_int_equal(f->told, 1);
}

static void a_key_that_is_refused_ends_it(void **state)
{
	struct fixture *f = *state;

	come_up(f);
	wh_verbs_expel(f->source, &f->key);
	assert_int_equal(ask(f, CHUNK_PAGES, 1), 0);
	fake_verbs_run(f->target);
	look(f);
	assert_over(f, 1);
}

static void a_device_that_is_removed_ends_it(void **state)
{
	struct fixture *f = *state;

	come_up(f);
	assert_int_equal(ask(f, CHUNK_PAGES, 1), 0);
	assert_int_equal(ask(f, CHUNK_PAGES + 1, 1), 0);
	fake_verbs_remove(f->target, -ENODEV);
	look(f);
	assert_over(f, 2);
	assert_non_null(strstr(f->why, "the test removed the device"));
}

static void what_breaks_while_it_is_asked_is_not_read(void **state)
{
	struct fixture *f = *state;

	come_up(f);
	assert_int_equal(ask(f, CHUNK_PAGES, 1), 0);
	fake_verbs_remove(f->target, -ENODEV);
	assert_int_equal(ask(f, CHUNK_PAGES + 1, 1), WH_RDMA_READS_NO);
	look(f);
	assert_over(f, 1);
}

static void the_source_may_end_it(void **state)
{
	struct fixture *f = *state;
	struct wh_rdma_read read;

	come_up(f);
	assert_int_equal(ask(f, CHUNK_PAGES, 1), 0);
	assert_int_equal(say(f, (struct wh_record){ .type = WH_RECORD_READ_OVER }, NULL), 0);
	look(f);
	urgent_peer_expect_nothing(&f->urgent); /* it knows */
	assert_int_equal(f->told, 1);
	assert_true(f->reads->ops->take(f->reads, &read));
	assert_null(read.contents);
	assert_int_equal(lend(f, 2), 0); /* was on its way */
	assert_int_equal(ask(f, 2 * CHUNK_PAGES, 1), WH_RDMA_READS_NO);
}

static void a_chunk_is_given_back_when_nothing_in_it_is_missing(void **state)
{
	struct fixture *f = *state;
	struct wh_rdma_read read;
	struct wh_record done;

	come_up(f);
	assert_int_equal(ask(f, CHUNK_PAGES, 1), 0);
	for (uint32_t i = 0; i < CHUNK_PAGES; i++)
		f->missing.bits[(CHUNK_PAGES + i) / 64] &= ~(UINT64_C(1) << (CHUNK_PAGES + i) % 64);
	look(f);
	urgent_peer_expect_nothing(&f->urgent); /* something of it is being read */
	fake_verbs_run(f->target);
	look(f);
	assert_true(f->reads->ops->take(f->reads, &read));
	assert_int_equal(f->reads->ops->end(f->reads, &f->urgent.own, &read), 0);
	(void)urgent_peer_expect(&f->urgent, WH_RECORD_HAVE, NULL);
	look(f);
	done = urgent_peer_expect(&f->urgent, WH_RECORD_READ_DONE, NULL);
	assert_int_equal(done.region, PEERS_ID);
	assert_int_equal(done.offset, CHUNK_BYTES);
	look(f);
	urgent_peer_expect_nothing(&f->urgent);
	assert_int_equal(ask(f, CHUNK_PAGES, 1), WH_RDMA_READS_NO);
	assert_int_equal(lend(f, 1), 0); /* it may come again */
}

static void keys_that_cannot_be_are_a_breach_of_the_protocol(void **state)
{
	static const struct {
		uint16_t region;
		uint64_t offset, addr;
	} wrong[] = {
		{ PEERS_ID + 1, 0, 0 },
		{ WH_REGIONS_MAX, 0, 0 },
		{ UINT16_MAX, 0, 0 },
		{ PEERS_ID, WH_PAGE_SIZE, 0 },         /* not a chunk's */
		{ PEERS_ID, CHUNKS * CHUNK_BYTES, 0 }, /* behind the end */
		{ PEERS_ID, UINT64_C(1) << 63, 0 },
		{ PEERS_ID, CHUNK_BYTES, 0 },    /* lent already */
		{ PEERS_ID, 0, UINT64_MAX - 1 }, /* no such memory */
	};
	struct fixture *f = *state;

	come_up(f);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		const struct wh_record record = { .type = WH_RECORD_READ_KEY,
			                          .region = wrong[i].region,
			                          .length = WH_KEY_BYTES,
			                          .offset = wrong[i].offset };
		const struct wh_read_key key = { .addr = wrong[i].addr };
		uint8_t payload[WH_KEY_BYTES];

		wh_read_key_encode(payload, &key);
		assert_int_equal(say(f, record, payload), -EPROTO);
	}
}

static void grants_that_cannot_be_are_a_breach_of_the_protocol(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(grant(f, WH_PAGE_SIZE), -EPROTO); /* nothing was offered */
	connect_source(f);
	assert_int_equal(grant(f, 0), -EPROTO);
	assert_int_equal(grant(f, WH_RDMA_READS_BYTES + 1), -EPROTO);
	assert_int_equal(grant(f, UINT32_MAX), -EPROTO);
	assert_int_equal(grant(f, WH_RDMA_READS_BYTES), 0);
	assert_int_equal(lend(f, 1), 0);
	assert_int_equal(ask(f, CHUNK_PAGES, 1), 0);
	assert_int_equal(grant(f, WH_PAGE_SIZE), -EPROTO); /* it is not placed yet */
	assert_int_equal(say(f, (struct wh_record){ .type = WH_RECORD_HAVE }, NULL), -EPROTO);
}

static void without_a_device_nothing_is_offered_and_that_is_said(void **state)
{
	struct fixture *f = *state;

	f->reads = wh_rdma_reads_free(f->reads);
	fake_verbs_refuse_open(-ENODEV);
	make_reads(f);
	fake_verbs_refuse_open(0);
	look(f);
	urgent_peer_expect_nothing(&f->urgent);
	assert_int_equal(f->told, 1);
	assert_non_null(strstr(f->why, "no device"));
	assert_int_equal(ask(f, 0, 1), WH_RDMA_READS_NO);
}

static void the_source_hears_that_it_is_over_in_good_order(void **state)
{
	struct fixture *f = *state;

	come_up(f);
	f->reads->ops->stop(f->reads, &f->urgent.own);
	(void)urgent_peer_expect(&f->urgent, WH_RECORD_READ_OVER, NULL);
	assert_int_equal(f->told, 0);
	assert_null(fake_verbs_newest(true));
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_page_of_a_lent_chunk_is_read),
		TEST(what_is_not_lent_is_not_read),
		TEST(what_is_not_granted_is_not_read),
		TEST(there_are_as_many_reads_as_slots),
		TEST(reads_are_taken_as_they_complete),
		TEST(reads_that_are_flushed_have_failed),
		TEST(a_key_that_is_refused_ends_it),
		TEST(a_device_that_is_removed_ends_it),
		TEST(what_breaks_while_it_is_asked_is_not_read),
		TEST(the_source_may_end_it),
		TEST(a_chunk_is_given_back_when_nothing_in_it_is_missing),
		TEST(keys_that_cannot_be_are_a_breach_of_the_protocol),
		TEST(grants_that_cannot_be_are_a_breach_of_the_protocol),
		TEST(without_a_device_nothing_is_offered_and_that_is_said),
		TEST(the_source_hears_that_it_is_over_in_good_order),
	};

	return cmocka_run_group_tests_name("rdma_reads", tests, NULL, NULL);
}
