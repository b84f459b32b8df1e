/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Verbs over a real kernel's RDMA: two ends in one process, on the two devices that "pair rdma" made.
 *
 *	test_verbs [on-demand]	as root, where rxea has 10.0.0.1, on interface va, and rxeb 10.0.0.2, on vb
 *
 * The devices are removed and made again. With "on-demand" they must be able to page memory in.
 */

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <spawn.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "random.h"
#include "rdma_pairs.h"
#include "verbs.h"

#include "wherry/limits.h"
#include "wherry/transport.h"

#define PAIRS 4u
#define READS (PAIRS - 1) /* the pair that has them here */
#define DEPTH 32u
#define MARKS 4u
#define BYTES (8ull << 20) /* four stripes, on as many pairs */
#define PIECE (64ull << 10)

/* Waits of at most a second each, after which something will not happen any more. */
#define PATIENCE 120

extern char **environ;

static bool marks_as_sends; /* of the next ends */

struct end {
	struct wh_verbs *verbs;
	uint8_t *memory;
	struct wh_verbs_key key;
};

struct fixture {
	struct end source, target; /* which writes, and where that lands; the target listens */
};

/* Begin to run a command of the shell. */
static pid_t spawn(const char *fmt, va_list args) __attribute__((format(printf, 1, 0)));
static pid_t spawn(const char *fmt, va_list args)
{
	char line[256];
	const char *argv[] = { "sh", "-c", line, NULL };
	pid_t pid;

	(void)vsnprintf(line, sizeof(line), fmt, args);
	assert_int_equal(posix_spawnp(&pid, "sh", NULL, NULL, (char **)argv, environ), 0);
	return pid;
}

static void reap(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void run(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void run(const char *fmt, ...)
{
	va_list args;
	pid_t pid;

	va_start(args, fmt);
	pid = spawn(fmt, args);
	va_end(args);
	reap(pid);
}

/* The same, while the test goes on. */
static pid_t begin_to_run(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static pid_t begin_to_run(const char *fmt, ...)
{
	va_list args;
	pid_t pid;

	va_start(args, fmt);
	pid = spawn(fmt, args);
	va_end(args);
	return pid;
}

/* --- two ends --------------------------------------------------------------------------------- */

static const uint8_t token[WH_TOKEN_BYTES] = "a secret of both";

static int open_end(struct wh_verbs **ret, const char *address, const char *local, uint16_t port,
                    const uint8_t *shown)
{
	const struct wh_verbs_config cfg = {
		.passive = !port,
		.address = address,
		.local = local,
		.port = port,
		.pairs = PAIRS,
		.depth = DEPTH,
		.marks = WH_RDMA_PAIRS_RECEIVES(MARKS),
		.marks_as_sends = marks_as_sends,
		.token = shown,
	};
	struct wh_error err;
	int r = wh_verbs_open(ret, &cfg, &err);

	if (r < 0)
		print_message("# %s\n", err.text);
	return r;
}

/* Return: whether @v has news, waited for at most a second. */
static bool wait_for_news(const struct wh_verbs *v)
{
	struct pollfd fd = { .fd = wh_verbs_fd(v), .events = POLLIN };
	int r = poll(&fd, 1, 1000);

	assert_true(r >= 0);
	return r > 0;
}

/* Return: what the source came to. */
static int connect_ends(struct fixture *f)
{
	int source = 0, target = 0;
	struct wh_error err;

	for (uint32_t i = 0; i < PATIENCE * 100 && (source == 0 || target == 0); i++) {
		source = wh_verbs_advance(f->source.verbs, &err);
		if (source < 0) {
			print_message("# %s\n", err.text);
			return source;
		}
		target = wh_verbs_advance(f->target.verbs, NULL);
		assert_true(target >= 0);
		(void)usleep(10000);
	}
	return source;
}

static void map_memory(struct end *end, uint32_t rights)
{
	end->memory = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(end->memory != MAP_FAILED);
	assert_int_equal(wh_verbs_enroll(end->verbs, end->memory, BYTES, rights, &end->key), 0);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	uint64_t seed = random_seed();

	assert_non_null(f);
	assert_int_equal(open_end(&f->target.verbs, "10.0.0.1", "", 0, token), 0);
	assert_int_equal(open_end(&f->source.verbs, "10.0.0.1", "10.0.0.2",
	                          wh_verbs_port(f->target.verbs), token),
	                 0);
	assert_int_equal(connect_ends(f), 1);
	map_memory(&f->source, WH_VERBS_REMOTE_READ);
	map_memory(&f->target, WH_VERBS_REMOTE_WRITE);
	for (uint64_t i = 0; i < BYTES; i += sizeof(seed)) {
		(void)random_below(&seed, 2);
		memcpy(f->source.memory + i, &seed, sizeof(seed));
	}
	*state = f;
	return 0;
}

static int setup_with_sends(void **state)
{
	int r;

	marks_as_sends = true;
	r = setup(state);
	marks_as_sends = false;
	return r;
}

static void close_end(struct end *end)
{
	if (end->verbs) {
		wh_verbs_cut(end->verbs);
		wh_verbs_expel(end->verbs, &end->key);
	}
	end->verbs = wh_verbs_close(end->verbs);
	if (end->memory)
		assert_int_equal(munmap(end->memory, BYTES), 0);
	end->memory = NULL;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	close_end(&f->source);
	close_end(&f->target);
	free(f);
	return 0;
}

static struct wh_verbs_work work_at(const struct fixture *f, uint64_t offset, uint64_t cookie)
{
	return (struct wh_verbs_work){
		.cookie = cookie,
		.local_addr = f->source.memory + offset,
		.remote_addr = (uintptr_t)(f->target.memory + offset),
		.local_key = f->source.key.local,
		.remote_key = f->target.key.remote,
		.len = PIECE,
		.signalled = true,
	};
}

static int write_at(struct fixture *f, uint32_t pair, uint64_t offset, uint64_t cookie)
{
	const struct wh_verbs_work w = work_at(f, offset, cookie);

	return wh_verbs_write(f->source.verbs, pair, &w);
}

/* Wait for one completion of @v, or for the end. Return: 1 or -errno. */
static int next(struct wh_verbs *v, struct wh_completion *c)
{
	int r = 0;

	for (uint32_t i = 0; i < PATIENCE && r == 0; i++) {
		assert_true(wh_verbs_arm(v) >= 0);
		r = wh_verbs_poll(v, c, 1);
		if (r == 0 && wait_for_news(v))
			r = wh_verbs_poll(v, c, 1);
	}
	assert_int_not_equal(r, 0);
	if (r < 0)
		print_message("# %s\n", wh_verbs_reason(v));
	return r;
}

static void assert_next(struct wh_verbs *v, enum wh_completion_kind what, uint32_t pair,
                        uint64_t cookie_or_value)
{
	struct wh_completion c;

	assert_int_equal(next(v, &c), 1);
	assert_int_equal(c.error, 0);
	assert_int_equal(c.kind, what);
	assert_int_equal(c.pair, pair);
	assert_int_equal(what == WH_COMPLETION_MARKED ? c.value : c.cookie, cookie_or_value);
}

/* --- what is true ----------------------------------------------------------------------------- */

static void a_mark_arrives_behind_what_was_written_on_its_pair(void **state)
{
	struct fixture *f = *state;

	for (uint32_t pair = 0; pair < PAIRS; pair++) {
		const uint64_t offset = UINT64_C(4) * pair * PIECE;

		for (uint32_t i = 0; i < 4; i++)
			assert_int_equal(write_at(f, pair, offset + i * PIECE, i), 0);
		assert_int_equal(wh_verbs_mark(f->source.verbs, pair, 0x80000007u + pair, 99), 0);
		assert_next(f->target.verbs, WH_COMPLETION_MARKED, pair, 0x80000007u + pair);
		assert_memory_equal(f->source.memory + offset, f->target.memory + offset,
		                    4 * PIECE);
		for (uint32_t i = 0; i < 4; i++)
			assert_next(f->source.verbs, WH_COMPLETION_WRITE, pair, i);
		assert_next(f->source.verbs, WH_COMPLETION_MARK, pair, 99);
	}
}

static void marks_go_on_as_their_receives_are_used_again(void **state)
{
	struct fixture *f = *state;

	for (uint32_t i = 1; i <= 50; i++) {
		assert_int_equal(wh_verbs_mark(f->source.verbs, 1, i, i), 0);
		assert_next(f->target.verbs, WH_COMPLETION_MARKED, 1, i);
		assert_next(f->source.verbs, WH_COMPLETION_MARK, 1, i);
	}
}

static void where_marks_are_sends_they_arrive_as_well(void **state)
{
	struct fixture *f = *state;

	assert_false(wh_verbs_caps(f->source.verbs)->write_with_imm);
	a_mark_arrives_behind_what_was_written_on_its_pair(state);
	marks_go_on_as_their_receives_are_used_again(state);
}

static void a_write_that_is_not_signalled_completes_silently(void **state)
{
	struct fixture *f = *state;
	struct wh_verbs_work w = work_at(f, 0, 1);

	w.signalled = false;
	assert_int_equal(wh_verbs_write(f->source.verbs, 0, &w), 0);
	assert_int_equal(write_at(f, 0, PIECE, WH_VERBS_COOKIES - 1), 0);
	assert_next(f->source.verbs, WH_COMPLETION_WRITE, 0, WH_VERBS_COOKIES - 1);
	assert_memory_equal(f->source.memory, f->target.memory, 2 * PIECE);
}

static void a_read_brings_what_is_in_the_peers_memory(void **state)
{
	struct fixture *f = *state;
	struct wh_verbs_work w = {
		.cookie = 5,
		.local_addr = f->target.memory + PIECE,
		.remote_addr = (uintptr_t)(f->source.memory + 3 * PIECE),
		.local_key = f->target.key.local,
		.remote_key = f->source.key.remote,
		.len = PIECE,
		.signalled = true,
	};

	assert_true(wh_verbs_caps(f->target.verbs)->reads_max >= 1);
	for (uint32_t i = 0; i < 2 * wh_verbs_caps(f->target.verbs)->reads_max && i < DEPTH; i++) {
		assert_int_equal(wh_verbs_read(f->target.verbs, READS, &w), 0);
		w.signalled = false;
	}
	w.signalled = true;
	w.cookie = 6;
	assert_int_equal(wh_verbs_read(f->target.verbs, READS, &w), 0);
	assert_next(f->target.verbs, WH_COMPLETION_READ, READS, 5);
	assert_next(f->target.verbs, WH_COMPLETION_READ, READS, 6);
	assert_memory_equal(f->source.memory + 3 * PIECE, f->target.memory + PIECE, PIECE);
}

static void memory_that_pages_in_on_demand_may_be_written_and_read(void **state)
{
	struct fixture *f = *state;

	assert_true(wh_verbs_caps(f->target.verbs)->on_demand);
	wh_verbs_expel(f->source.verbs, &f->source.key);
	wh_verbs_expel(f->target.verbs, &f->target.key);
	assert_int_equal(wh_verbs_enroll(f->source.verbs, f->source.memory, BYTES,
	                                 WH_VERBS_REMOTE_READ | WH_VERBS_ON_DEMAND, &f->source.key),
	                 0);
	assert_int_equal(wh_verbs_enroll(f->target.verbs, f->target.memory, BYTES,
	                                 WH_VERBS_REMOTE_WRITE | WH_VERBS_ON_DEMAND,
	                                 &f->target.key),
	                 0);
	a_mark_arrives_behind_what_was_written_on_its_pair(state);
	a_read_brings_what_is_in_the_peers_memory(state);
}

static void a_peer_with_another_token_is_refused_and_the_right_one_comes_through(void **state)
{
	static const uint8_t wrong[WH_TOKEN_BYTES] = "guessed";
	struct fixture f = { 0 };
	struct wh_verbs *stranger;

	(void)state;
	assert_int_equal(open_end(&f.target.verbs, "10.0.0.1", "", 0, token), 0);
	assert_int_equal(open_end(&f.source.verbs, "10.0.0.1", "10.0.0.2",
	                          wh_verbs_port(f.target.verbs), wrong),
	                 0);
	assert_int_equal(connect_ends(&f), -ECONNREFUSED);
	stranger = f.source.verbs;
	assert_int_equal(open_end(&f.source.verbs, "10.0.0.1", "10.0.0.2",
	                          wh_verbs_port(f.target.verbs), token),
	                 0);
	assert_int_equal(connect_ends(&f), 1);
	assert_null(wh_verbs_close(stranger));
	close_end(&f.source);
	close_end(&f.target);
}

static void where_no_device_is_there_is_no_end(void **state)
{
	struct wh_verbs *v = NULL;

	(void)state;
	assert_true(open_end(&v, "192.0.2.1", "", 0, token) < 0);
	assert_null(v);
}

static void nobody_listens_where_nobody_does(void **state)
{
	struct fixture f = { 0 };
	uint16_t port;

	(void)state;
	assert_int_equal(open_end(&f.target.verbs, "10.0.0.1", "", 0, token), 0);
	port = wh_verbs_port(f.target.verbs);
	f.target.verbs = wh_verbs_close(f.target.verbs);
	assert_int_equal(open_end(&f.target.verbs, "10.0.0.1", "", 0, token), 0);
	assert_int_equal(
		open_end(&f.source.verbs, "10.0.0.1", "10.0.0.2", port == 1 ? 2 : 1, token), 0);
	assert_true(connect_ends(&f) < 0);
	close_end(&f.source);
	close_end(&f.target);
}

/* Take completions of the source until RDMA is over. Return: how; *@error is what failed. */
static int run_to_the_end(struct fixture *f, int *error)
{
	struct wh_completion c;
	int r;

	*error = 0;
	while ((r = next(f->source.verbs, &c)) > 0) {
		if (c.error && (!*error || *error == -ECANCELED))
			*error = c.error;
	}
	return r;
}

static void a_key_that_was_expelled_is_good_for_nothing(void **state)
{
	struct fixture *f = *state;
	const uint32_t old = f->target.key.remote;
	int error;

	assert_int_equal(write_at(f, 0, 0, 1), 0);
	assert_next(f->source.verbs, WH_COMPLETION_WRITE, 0, 1);
	memset(f->target.memory, 0, PIECE);
	wh_verbs_expel(f->target.verbs, &f->target.key);
	f->target.key.remote = old;
	assert_int_equal(write_at(f, 0, 0, 2), 0);
	assert_int_equal(write_at(f, 0, PIECE, 3), 0);
	assert_true(run_to_the_end(f, &error) < 0);
	assert_int_equal(error, -EACCES);
	for (uint32_t i = 0; i < PIECE; i++)
		assert_int_equal(f->target.memory[i], 0);
}

static void when_the_peer_cuts_what_is_written_lands_no_more(void **state)
{
	struct fixture *f = *state;
	int error;

	wh_verbs_cut(f->target.verbs);
	if (write_at(f, 0, 0, 1) == 0)
		assert_true(run_to_the_end(f, &error) < 0);
	assert_int_equal(f->target.memory[0], 0);
}

/* Keep pair 0 busy until the source finds that RDMA is over. Return: how. */
static int write_until_the_end(struct fixture *f)
{
	struct wh_completion c[DEPTH];
	uint32_t in_flight = 0;
	int r = 0;

	for (uint64_t at = 0; r >= 0; at = (at + PIECE) % BYTES) {
		r = in_flight < DEPTH ? write_at(f, 0, at, 0) : 0;
		in_flight += r == 0 && in_flight < DEPTH;
		if (r == 0)
			r = wh_verbs_poll(f->source.verbs, c, DEPTH);
		in_flight -= r > 0 ? (uint32_t)r : 0;
		if (f->target.verbs && wh_verbs_poll(f->target.verbs, c, DEPTH) < 0) {
			print_message("# target: %s\n", wh_verbs_reason(f->target.verbs));
			close_end(&f->target);
		}
		if (in_flight == DEPTH)
			(void)wait_for_news(f->source.verbs);
	}
	print_message("# source: %s\n", wh_verbs_reason(f->source.verbs));
	return r;
}

/* The device @side, "a" or "b", with its address. */
static void make_device(const char *side, const char *gid)
{
	run("rdma link add rxe%s type rxe netdev v%s", side, side);
	run("i=0; until grep -qs %s /sys/class/infiniband/rxe%s/ports/1/gids/*; do "
	    "i=$((i + 1)); [ $i -lt 600 ] || exit 1; sleep 0.1; done",
	    gid, side);
}

static void a_device_of_the_source_that_is_removed_is_missed_at_once(void **state)
{
	struct fixture *f = *state;
	pid_t removing = begin_to_run("sleep 0.3; exec rdma link del rxeb");
	int r = write_until_the_end(f);

	assert_true(r == -ENODEV || r == -EIO || r == -ECONNRESET);
	close_end(&f->source);
	close_end(&f->target);
	reap(removing);
	make_device("b", "0a00:0002");
}

static void a_device_of_the_target_that_is_removed_is_missed_at_both_ends(void **state)
{
	struct fixture *f = *state;
	pid_t removing = begin_to_run("sleep 0.3; exec rdma link del rxea");
	int r = write_until_the_end(f);

	assert_true(r < 0);
	close_end(&f->source);
	close_end(&f->target);
	reap(removing);
	make_device("a", "0a00:0001");
}

static void a_peer_behind_a_dead_wire_is_given_up(void **state)
{
	struct fixture *f = *state;
	pid_t cutting = begin_to_run("sleep 0.3; exec ip link set va down");
	int r = write_until_the_end(f);

	assert_true(r < 0);
	reap(cutting);
	close_end(&f->source);
	close_end(&f->target);
	run("ip link set va up && ip route replace 10.0.0.2 dev va table 100");
}

/* --- pairs over it ---------------------------------------------------------------------------- */

static struct wh_rdma_pairs *pairs_over(struct wh_verbs *v)
{
	const struct wh_rdma_pairs_config cfg = {
		.verbs = v,
		.pairs = PAIRS,
		.depth = DEPTH,
		.signal_every = 8,
		.marks = MARKS,
	};
	struct wh_rdma_pairs *p = wh_rdma_pairs_new(&cfg);

	assert_non_null(p);
	return p;
}

struct rounds {
	struct fixture *f;
	struct wh_rdma_pairs *source, *target;
	uint64_t posted, back;
};

static void poll_both(struct rounds *x)
{
	uint64_t cookies[WH_POLL_BATCH];
	int n = wh_rdma_pairs_poll(x->source, cookies, WH_POLL_BATCH);

	if (n < 0)
		print_message("# %d: %s\n", n, wh_verbs_reason(x->f->source.verbs));
	assert_true(n >= 0);
	x->back += (uint64_t)n;
	assert_int_equal(wh_rdma_pairs_poll(x->target, cookies, WH_POLL_BATCH), 0);
}

/* Write all memory, or every @step-th piece. */
static void write_round(struct rounds *x, uint32_t step)
{
	for (uint64_t at = 0; at < BYTES; at += PIECE * step) {
		const struct wh_verbs_work w = work_at(x->f, at, x->posted);
		int r;

		x->f->source.memory[at + x->posted % PIECE] ^= 0xff;
		while ((r = wh_rdma_pairs_write(x->source, 0, at, &w)) == WH_TX_FULL)
			poll_both(x);
		assert_int_equal(r, 0);
		x->posted++;
	}
}

static void rounds_of_writes_end_with_equal_memory(void **state)
{
	struct fixture *f = *state;
	struct rounds x = {
		.f = f,
		.source = pairs_over(f->source.verbs),
		.target = pairs_over(f->target.verbs),
	};

	for (uint32_t round = 0; round < 2 * MARKS; round++) {
		uint32_t barrier;
		int r;

		write_round(&x, round ? 13 : 1);
		while ((r = wh_rdma_pairs_barrier(x.source, &barrier)) == WH_TX_FULL)
			poll_both(&x);
		assert_int_equal(r, 0);
		while (wh_rdma_pairs_arrived(x.target) < barrier)
			poll_both(&x);
		assert_memory_equal(f->source.memory, f->target.memory, BYTES);
	}
	while (wh_rdma_pairs_in_flight(x.source) > 0)
		poll_both(&x);
	assert_int_equal(x.back, x.posted);
	x.source = wh_rdma_pairs_free(x.source);
	x.target = wh_rdma_pairs_free(x.target);
}

int main(int argc, char **argv)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_mark_arrives_behind_what_was_written_on_its_pair),
		TEST(a_write_that_is_not_signalled_completes_silently),
		TEST(marks_go_on_as_their_receives_are_used_again),
		cmocka_unit_test_setup_teardown(where_marks_are_sends_they_arrive_as_well,
		                                setup_with_sends, teardown),
		TEST(a_read_brings_what_is_in_the_peers_memory),
		TEST(memory_that_pages_in_on_demand_may_be_written_and_read),
		cmocka_unit_test(
			a_peer_with_another_token_is_refused_and_the_right_one_comes_through),
		cmocka_unit_test(where_no_device_is_there_is_no_end),
		cmocka_unit_test(nobody_listens_where_nobody_does),
		TEST(rounds_of_writes_end_with_equal_memory),
		TEST(a_key_that_was_expelled_is_good_for_nothing),
		TEST(when_the_peer_cuts_what_is_written_lands_no_more),
		TEST(a_device_of_the_source_that_is_removed_is_missed_at_once),
		TEST(a_device_of_the_target_that_is_removed_is_missed_at_both_ends),
		TEST(a_peer_behind_a_dead_wire_is_given_up),
	};

	if (argc < 2 || strcmp(argv[1], "on-demand") != 0)
		cmocka_set_skip_filter("memory_that_pages_in_on_demand_*");
	return cmocka_run_group_tests_name("verbs", tests, NULL, NULL);
}
