/* SPDX-License-Identifier: Apache-2.0 */

#include "rdma_ends.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "fake_verbs.h"

static void open_end(struct rdma_end *end, bool passive, uint16_t port)
{
	static const uint8_t token[WH_TOKEN_BYTES];
	const struct wh_verbs_config cfg = {
		.passive = passive,
		.address = "192.0.2.1",
		.local = "",
		.port = port,
		.pairs = PAIRS,
		.depth = DEPTH,
		.marks = WH_RDMA_PAIRS_RECEIVES(MARKS),
		.token = token,
	};

	assert_int_equal(wh_verbs_open(&end->verbs, &cfg, NULL), 0);
	end->memory = calloc(1, BYTES);
	assert_non_null(end->memory);
}

static void start(struct rdma_end *end, uint32_t rights)
{
	const struct wh_rdma_pairs_config cfg = {
		.verbs = end->verbs,
		.pairs = PAIRS,
		.depth = DEPTH,
		.signal_every = EVERY,
		.marks = MARKS,
	};

	assert_int_equal(wh_verbs_advance(end->verbs, NULL), 1);
	assert_int_equal(wh_verbs_enroll(end->verbs, end->memory, BYTES, rights, &end->key), 0);
	end->pairs = wh_rdma_pairs_new(&cfg);
	assert_non_null(end->pairs);
}

int open_rdma_ends(void **state)
{
	struct rdma_ends *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	fake_verbs_set_seed(0);
	open_end(&f->target, true, 0);
	open_end(&f->source, false, wh_verbs_port(f->target.verbs));
	start(&f->source, 0);
	start(&f->target, WH_VERBS_REMOTE_WRITE | WH_VERBS_LOCAL_WRITE);
	*state = f;
	return 0;
}

static void stop(struct rdma_end *end)
{
	end->pairs = wh_rdma_pairs_free(end->pairs);
	wh_verbs_cut(end->verbs);
	wh_verbs_expel(end->verbs, &end->key);
	end->verbs = wh_verbs_close(end->verbs);
	free(end->memory);
}

int close_rdma_ends(void **state)
{
	struct rdma_ends *f = *state;

	stop(&f->source);
	stop(&f->target);
	free(f);
	return 0;
}

static struct wh_verbs_work work_at(struct rdma_ends *f, uint64_t offset, uint64_t cookie)
{
	return (struct wh_verbs_work){
		.cookie = cookie,
		.local_addr = f->source.memory + offset,
		.remote_addr = (uintptr_t)(f->target.memory + offset),
		.local_key = f->source.key.local,
		.remote_key = f->target.key.remote,
		.len = SMALL,
	};
}

int write_at(struct rdma_ends *f, uint64_t offset, uint64_t cookie)
{
	const struct wh_verbs_work w = work_at(f, offset, cookie);

	return wh_rdma_pairs_write(f->source.pairs, 0, offset, &w);
}

void write_some(struct rdma_ends *f, uint64_t first, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		assert_int_equal(write_at(f, (uint64_t)i * SMALL, first + i), 0);
}

int poll_source(struct rdma_ends *f)
{
	return wh_rdma_pairs_poll(f->source.pairs, f->cookies, 4 * DEPTH);
}

int poll_target(struct rdma_ends *f)
{
	return wh_rdma_pairs_poll(f->target.pairs, f->cookies, 4 * DEPTH);
}

void assert_complete(struct rdma_ends *f, uint64_t first, uint32_t count)
{
	assert_int_equal(poll_source(f), count);
	for (uint32_t i = 0; i < count; i++)
		assert_int_equal(f->cookies[i], first + i);
}

void assert_lost(struct rdma_ends *f, uint64_t first, uint32_t count)
{
	uint64_t cookie;

	for (uint32_t i = 0; i < count; i++) {
		assert_true(wh_rdma_pairs_take_lost(f->source.pairs, &cookie));
		assert_int_equal(cookie, first + i);
	}
	assert_false(wh_rdma_pairs_take_lost(f->source.pairs, &cookie));
	assert_int_equal(wh_rdma_pairs_in_flight(f->source.pairs), 0);
}
