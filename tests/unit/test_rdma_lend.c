/* SPDX-License-Identifier: Apache-2.0 */

/* The source's end of reads by RDMA, over fake verbs; the test is the destination. */

#include "rdma_lend.h"

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
#include "rdma_way.h"
#include "token_bucket.h"
#include "urgent_peer.h"
#include "verbs.h"

#include "wherry/limits.h"

#define CHUNK_PAGES UINT64_C(16)
#define CHUNK_BYTES (CHUNK_PAGES * WH_PAGE_SIZE)
#define CHUNKS      6u
#define PAGES       (CHUNKS * CHUNK_PAGES)
#define BYTES       (PAGES * WH_PAGE_SIZE)
#define RING        (1u << 20)
#define START_NS    (100 * WH_NSEC_PER_SEC)

/* Looks after which the enroll thread has done what it had to do. */
#define LOOKS 64

struct fixture {
	struct wh_ram ram;
	int file;
	struct wh_pageset *pending;
	struct wh_push push;
	struct wh_clock clock;
	uint64_t now_ns;
	struct wh_bucket bucket;
	struct urgent_peer urgent;
	struct wh_rdma_lend *lend;
	struct wh_verbs *target;
	uint32_t told; /* that it is over */
	char why[256];
};

static struct fixture *the_fixture;

static const uint8_t token[WH_TOKEN_BYTES];

static uint64_t fake_now(const struct wh_clock *clock)
{
	(void)clock;
	return the_fixture->now_ns;
}

static void on_carries(void *context, enum wh_transport_kind kind, const char *why)
{
	struct fixture *f = context;

	assert_int_equal(kind, WH_TRANSPORT_TCP);
	f->told++;
	(void)snprintf(f->why, sizeof(f->why), "%s", why);
}

static void make_lend(struct fixture *f, uint32_t chunks)
{
	const struct wh_rdma_way way = { .address = "192.0.2.1",
		                         .local = "",
		                         .token = token,
		                         .options = { .pairs = 1,
		                                      .chunk_bytes = CHUNK_BYTES,
		                                      .pinned_bytes_max = chunks * CHUNK_BYTES },
		                         .bucket = &f->bucket,
		                         .carries = on_carries,
		                         .context = f };
	const struct wh_rdma_lend_config cfg = { .ram = &f->ram, .clock = &f->clock };

	f->lend = wh_rdma_lend_new(&way, &cfg);
	assert_non_null(f->lend);
}

static void open_target(struct fixture *f)
{
	const struct wh_verbs_config cfg = { .passive = true,
		                             .address = "192.0.2.1",
		                             .local = "",
		                             .pairs = 1,
		                             .depth = 1,
		                             .marks = 1,
		                             .token = token };

	assert_int_equal(wh_verbs_open(&f->target, &cfg, NULL), 0);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	the_fixture = f;
	f->clock.now_ns = fake_now;
	f->now_ns = START_NS;
	fake_verbs_set_seed(0);
	fake_verbs_refuse_open(0);
	f->file = memfd_create("ram", MFD_CLOEXEC);
	assert_int_equal(ftruncate(f->file, (off_t)BYTES), 0);
	assert_int_equal(wh_ram_add(&f->ram, "ram", BYTES, f->file, NULL), 0);
	assert_int_equal(wh_ram_map(&f->ram, NULL), 0);
	f->pending = wh_pageset_new(PAGES);
	assert_non_null(f->pending);
	wh_push_init(&f->push, f->pending, NULL);
	urgent_peer_open(&f->urgent);
	open_target(f);
	make_lend(f, CHUNKS);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	f->lend = wh_rdma_lend_free(f->lend);
	assert_null(fake_verbs_newest(false)); /* nothing is left of it */
	f->target = wh_verbs_close(f->target);
	urgent_peer_close(&f->urgent);
	wh_push_done(&f->push);
	f->pending = wh_pageset_free(f->pending);
	wh_ram_unmap(&f->ram);
	(void)close(f->file);
	free(f);
	return 0;
}

static void look(struct fixture *f)
{
	for (int i = 0; i < LOOKS; i++)
		assert_int_equal(f->lend->ops->look(f->lend, &f->urgent.own, &f->push), 0);
}

static int say(struct fixture *f, struct wh_record record, const void *payload)
{
	return f->lend->ops->record(f->lend, &record, payload);
}

static int offer(struct fixture *f, const struct wh_read_offer *offer)
{
	uint8_t payload[WH_OFFER_BYTES];

	wh_read_offer_encode(payload, offer);
	return say(f, (struct wh_record){ .type = WH_RECORD_READ_OFFER, .length = WH_OFFER_BYTES },
	           payload);
}

static struct wh_read_offer good_offer(const struct fixture *f)
{
	return (struct wh_read_offer){ .port = wh_verbs_port(f->target),
		                       .chunk_order = (uint16_t)__builtin_ctz(CHUNK_BYTES),
		                       .bytes = RING };
}

static void come_up(struct fixture *f)
{
	const struct wh_read_offer good = good_offer(f);

	assert_int_equal(offer(f, &good), 0);
	look(f);
}

static int give_back(struct fixture *f, uint64_t offset)
{
	return say(f, (struct wh_record){ .type = WH_RECORD_READ_DONE, .offset = offset }, NULL);
}

/* What was said: which chunks are lent, as bits, and how many bytes were granted. */
static uint32_t heard(struct fixture *f, uint32_t *granted)
{
	const uint8_t *payload;
	struct wh_record record;
	uint32_t chunks = 0;

	*granted = 0;
	while (urgent_peer_hear(&f->urgent, &record, &payload)) {
		if (record.type == WH_RECORD_READ_GRANT) {
			*granted += wh_span_decode(payload);
			continue;
		}
		assert_int_equal(record.type, WH_RECORD_READ_KEY);
		assert_int_equal(record.offset % CHUNK_BYTES, 0);
		assert_int_equal(wh_read_key_decode(payload).addr,
		                 (uintptr_t)f->ram.regions[0].addr + record.offset);
		chunks |= 1u << record.offset / CHUNK_BYTES;
	}
	return chunks;
}

static void chunks_with_something_pending_are_lent(void **state)
{
	struct fixture *f = *state;
	uint32_t granted;

	wh_pageset_add(f->pending, CHUNK_PAGES + 7, 1);
	wh_pageset_add(f->pending, 4 * CHUNK_PAGES - 1, 2);
	look(f);
	urgent_peer_expect_nothing(&f->urgent); /* nobody has offered anything */
	come_up(f);
	assert_int_equal(heard(f, &granted), 1u << 1 | 1u << 3 | 1u << 4);
	assert_int_equal(granted, RING);
	assert_int_equal(fake_verbs_keys(fake_verbs_newest(false)), 3);
	assert_int_equal(f->told, 0);
}

static void no_more_is_pinned_than_the_options_say(void **state)
{
	struct fixture *f = *state;
	uint32_t granted;

	f->lend = wh_rdma_lend_free(f->lend);
	make_lend(f, 2);
	wh_pageset_add(f->pending, 0, PAGES);
	come_up(f);
	assert_int_equal(heard(f, &granted), 1u << 0 | 1u << 1);
	f->lend->ops->want(f->lend, 5 * CHUNK_PAGES); /* there is no room */
	look(f);
	assert_int_equal(heard(f, &granted), 0);

	assert_int_equal(give_back(f, 0), 0);
	look(f);
	assert_int_equal(heard(f, &granted), 1u << 2);
	assert_int_equal(fake_verbs_keys(fake_verbs_newest(false)), 2);
}

static void what_is_waited_for_is_lent_before_what_is_only_pending(void **state)
{
	struct fixture *f = *state;
	uint32_t granted;

	come_up(f);
	assert_int_equal(heard(f, &granted), 0);
	wh_pageset_add(f->pending, 0, PAGES);
	f->lend->ops->want(f->lend, 5 * CHUNK_PAGES + 3);
	f->lend->ops->want(f->lend, 5 * CHUNK_PAGES + 4);
	for (int i = 0; i < 4; i++) /* few: one has been enrolled by then */
		assert_int_equal(f->lend->ops->look(f->lend, &f->urgent.own, &f->push), 0);
	assert_int_equal(heard(f, &granted), 1u << 5);
}

static void memory_that_is_refused_is_not_lent(void **state)
{
	struct fixture *f = *state;
	uint32_t granted;

	come_up(f);
	fake_verbs_limit_enrolled(fake_verbs_newest(false), 2 * CHUNK_BYTES, -ENOMEM);
	wh_pageset_add(f->pending, 0, PAGES);
	look(f);
	assert_int_equal(heard(f, &granted), 1u << 0 | 1u << 1);
	assert_int_equal(f->told, 0);
}

static void what_was_read_is_granted_again(void **state)
{
	struct fixture *f = *state;
	uint32_t granted;

	come_up(f);
	(void)heard(f, &granted);
	assert_int_equal(f->lend->ops->have(f->lend, RING / 2), 0);
	look(f);
	(void)heard(f, &granted);
	assert_int_equal(granted, RING / 2);
	assert_int_equal(f->lend->ops->have(f->lend, RING), 0);
	assert_int_equal(f->lend->ops->have(f->lend, WH_PAGE_SIZE), -EPROTO); /* not granted */
}

static void a_limit_is_paid_by_what_was_read(void **state)
{
	struct fixture *f = *state;
	uint32_t granted;

	f->bucket.limit_bps = 8u << 20;
	f->bucket.ns_per_byte = (WH_NSEC_PER_SEC << WH_BUCKET_SHIFT) / f->bucket.limit_bps;
	f->bucket.clock_ns = f->now_ns;
	come_up(f);
	(void)heard(f, &granted);
	assert_in_range(granted, WH_PAGE_SIZE, 64u << 10); /* 8 ms of it */

	assert_int_equal(f->lend->ops->have(f->lend, granted), 0);
	assert_int_equal(f->bucket.charged_bytes, granted);
	assert_int_equal(f->bucket.urgent_bytes, granted);

	f->bucket.clock_ns = f->now_ns + WH_NSEC_PER_SEC; /* others owe a lot */
	look(f);
	assert_int_equal(heard(f, &granted), 0);
	assert_int_equal(granted, 0);
	assert_in_range(f->lend->wake_ns, f->now_ns + 1, f->now_ns + WH_NSEC_PER_SEC / 10);
	f->now_ns += WH_NSEC_PER_SEC;
	look(f);
	(void)heard(f, &granted);
	assert_in_range(granted, WH_PAGE_SIZE, 64u << 10);
}

static void assert_over(struct fixture *f)
{
	assert_null(fake_verbs_newest(false));
	look(f);
	(void)urgent_peer_expect(&f->urgent, WH_RECORD_READ_OVER, NULL);
	urgent_peer_expect_nothing(&f->urgent);
	assert_int_equal(f->lend->ops->have(f->lend, WH_PAGE_SIZE), 0); /* was on its way */
	assert_int_equal(give_back(f, 0), 0);
}

static void a_device_that_is_removed_ends_it(void **state)
{
	struct fixture *f = *state;
	uint32_t granted;

	wh_pageset_add(f->pending, 0, PAGES);
	come_up(f);
	(void)heard(f, &granted);
	fake_verbs_remove(fake_verbs_newest(false), -ENODEV);
	look(f);
	assert_int_equal(f->told, 1);
	assert_non_null(strstr(f->why, "the test removed the device"));
	assert_over(f);
}

/* Who ends it says why. */
static void a_destination_that_is_gone_ends_it_without_a_word(void **state)
{
	struct fixture *f = *state;
	uint32_t granted;

	wh_pageset_add(f->pending, 0, PAGES);
	come_up(f);
	(void)heard(f, &granted);
	wh_verbs_cut(f->target);
	look(f);
	assert_int_equal(f->told, 0);
	assert_over(f);
}

static void the_destination_may_end_it(void **state)
{
	struct fixture *f = *state;
	uint32_t granted;

	wh_pageset_add(f->pending, 0, PAGES);
	come_up(f);
	(void)heard(f, &granted);
	assert_int_equal(say(f, (struct wh_record){ .type = WH_RECORD_READ_OVER }, NULL), 0);
	assert_null(fake_verbs_newest(false));
	look(f);
	urgent_peer_expect_nothing(&f->urgent); /* it knows */
	assert_int_equal(f->told, 0);
}

static void who_cannot_be_reached_is_not_waited_for(void **state)
{
	struct fixture *f = *state;
	struct wh_read_offer wrong = good_offer(f);

	wrong.port++;
	assert_int_equal(offer(f, &wrong), 0);
	look(f);
	(void)urgent_peer_expect(&f->urgent, WH_RECORD_READ_OVER, NULL);
	assert_int_equal(f->told, 1);
}

static void chunks_of_another_size_are_not_lent(void **state)
{
	struct fixture *f = *state;
	struct wh_read_offer other = good_offer(f);

	other.chunk_order++;
	assert_int_equal(offer(f, &other), 0);
	look(f);
	(void)urgent_peer_expect(&f->urgent, WH_RECORD_READ_OVER, NULL);
	assert_non_null(strstr(f->why, "different sizes"));
}

static void records_that_cannot_be_are_a_breach_of_the_protocol(void **state)
{
	struct fixture *f = *state;
	struct wh_read_offer wrong = good_offer(f);
	uint32_t granted;

	assert_int_equal(give_back(f, 0), -EPROTO); /* nothing was offered */
	assert_int_equal(say(f, (struct wh_record){ .type = WH_RECORD_READ_OVER }, NULL), -EPROTO);
	wrong.port = 0;
	assert_int_equal(offer(f, &wrong), -EPROTO);
	wrong = good_offer(f);
	wrong.bytes = 0;
	assert_int_equal(offer(f, &wrong), -EPROTO);
	wrong.bytes = UINT32_MAX;
	assert_int_equal(offer(f, &wrong), -EPROTO);

	wh_pageset_add(f->pending, 0, 1);
	come_up(f);
	assert_int_equal(heard(f, &granted), 1u << 0);
	wrong = good_offer(f);
	assert_int_equal(offer(f, &wrong), -EPROTO);          /* the second one */
	assert_int_equal(give_back(f, CHUNK_BYTES), -EPROTO); /* not lent */
	assert_int_equal(give_back(f, WH_PAGE_SIZE), -EPROTO);
	assert_int_equal(give_back(f, BYTES), -EPROTO);
	assert_int_equal(give_back(f, UINT64_C(1) << 63), -EPROTO);
	assert_int_equal(
		say(f, (struct wh_record){ .type = WH_RECORD_READ_DONE, .region = 999 }, NULL),
		-EPROTO);
	assert_int_equal(say(f, (struct wh_record){ .type = WH_RECORD_READ_KEY }, NULL), -EPROTO);
	assert_int_equal(give_back(f, 0), 0);
	assert_int_equal(give_back(f, 0), -EPROTO); /* twice */
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(chunks_with_something_pending_are_lent),
		TEST(no_more_is_pinned_than_the_options_say),
		TEST(what_is_waited_for_is_lent_before_what_is_only_pending),
		TEST(memory_that_is_refused_is_not_lent),
		TEST(what_was_read_is_granted_again),
		TEST(a_limit_is_paid_by_what_was_read),
		TEST(a_device_that_is_removed_ends_it),
		TEST(a_destination_that_is_gone_ends_it_without_a_word),
		TEST(the_destination_may_end_it),
		TEST(who_cannot_be_reached_is_not_waited_for),
		TEST(chunks_of_another_size_are_not_lent),
		TEST(records_that_cannot_be_are_a_breach_of_the_protocol),
	};

	return cmocka_run_group_tests_name("rdma_lend", tests, NULL, NULL);
}
