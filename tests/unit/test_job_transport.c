/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Who tries RDMA, and who is told why not. What a host has is made up here: the functions that would look
 * take the place of the real ones.
 */

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "fabric.h"
#include "job.h"
#include "memlock.h"

/* What the host has. */
static struct {
	bool old_peer;
	const char *device; /* why there is none, or NULL */
	bool port_down;
	bool odp;
	const char *memlock; /* why too little may be pinned, or NULL */
	uint64_t asked_bytes;
	bool no_leaves;
	bool bucket; /* it was made */
} host;

bool wh_peer_knows_rdma(const struct wh_peer *peer)
{
	(void)peer;
	return !host.old_peer;
}

int wh_peer_local_address(const struct wh_peer *peer, union wh_worker_address *ret)
{
	(void)peer;
	*ret = (union wh_worker_address){ .v4 = { .sin_family = AF_INET } };
	return 0;
}

int wh_network_of(char interface[IFNAMSIZ], const union wh_worker_address *local,
                  struct wh_error *err)
{
	(void)local;
	(void)err;
	(void)snprintf(interface, IFNAMSIZ, "byaddr0");
	return 0;
}

int wh_fabric_find(struct wh_fabric *ret, const char *sys, const char *interface,
                   struct wh_error *err)
{
	assert_string_equal(sys, "/sys");
	if (host.device)
		return wh_fail(err, -ENODEV, "%s of %s", host.device, interface);
	*ret = (struct wh_fabric){ .device = "fake0", .port = 1 };
	return 0;
}

int wh_fabric_is_up(const struct wh_fabric *fabric, struct wh_error *err)
{
	return host.port_down ? wh_fail(err, -ENETDOWN, "port of %s is down", fabric->device) : 0;
}

int wh_fabric_ask(struct wh_fabric *fabric, struct wh_error *err)
{
	(void)err;
	fabric->odp = host.odp;
	return 0;
}

int wh_memlock_allow(uint64_t bytes, struct wh_error *err)
{
	host.asked_bytes = bytes;
	return host.memlock ? wh_fail(err, -EPERM, "%s", host.memlock) : 0;
}

int wh_job_open_leaf(struct wh_job *job, struct wh_error *err)
{
	(void)job;
	return host.no_leaves ? wh_fail(err, -EROFS, "there are no leaves here")
	                      : open("/dev/null", O_RDONLY | O_CLOEXEC);
}

int wh_rate_bpf_share(struct wh_rate_bpf *rate, int *ret, struct wh_error *err)
{
	(void)rate;
	(void)err;
	*ret = 42;
	host.bucket = true;
	return 0;
}

struct fixture {
	struct wh_config config;
	struct wh_daemon daemon;
	struct wh_job job;
	struct wh_node_message msg;
	struct wh_error err;
};

static int set_up(void **state)
{
	static struct fixture f;

	memset(&host, 0, sizeof(host));
	f = (struct fixture){
		.config = { .transport = WH_TRANSPORT_AUTO,
		            .rdma = { .pairs = 4,
		                      .chunk_bytes = 32 << 20,
		                      .pinned_bytes_max = 1 << 30 },
		            .plaintext_rdma = true },
		.daemon = { .config = &f.config },
		.job = { .daemon = &f.daemon, .interface = "mig0", .record = { .peer = "b" } },
		.msg = { .type = WH_NODE_PREPARE },
	};
	*state = &f;
	return 0;
}

/* Offer RDMA, and be refused with these @words in the note. */
static void assert_not_offered(struct fixture *f, const char *words)
{
	f->config.transport = WH_TRANSPORT_AUTO;
	assert_int_equal(wh_job_offer_rdma(&f->job, &f->msg, &f->err), 0);
	assert_int_equal(f->msg.rdma_pairs, 0);
	assert_false(f->job.tries_rdma);
	if (!strstr(f->job.no_rdma.text, words))
		fail_msg("'%s' says nothing of %s", f->job.no_rdma.text, words);

	f->config.transport = WH_TRANSPORT_RDMA;
	assert_int_equal(wh_job_offer_rdma(&f->job, &f->msg, &f->err), -EOPNOTSUPP);
	assert_non_null(strstr(f->err.text, "transport: rdma cannot be: "));
	assert_non_null(strstr(f->err.text, words));
}

static void tcp_is_not_explained(void **state)
{
	struct fixture *f = *state;

	f->config.transport = WH_TRANSPORT_TCP;
	assert_int_equal(wh_job_offer_rdma(&f->job, &f->msg, &f->err), 0);

	assert_int_equal(f->msg.rdma_pairs, 0);
	assert_string_equal(f->job.no_rdma.text, "");
}

static void the_request_comes_before_the_configuration(void **state)
{
	struct fixture *f = *state;

	host.device = "no device";
	(void)strcpy(f->job.move.transport, "tcp");
	f->config.transport = WH_TRANSPORT_RDMA;
	assert_int_equal(wh_job_offer_rdma(&f->job, &f->msg, &f->err), 0);

	(void)strcpy(f->job.move.transport, "rdma");
	f->config.transport = WH_TRANSPORT_TCP;
	assert_int_equal(wh_job_offer_rdma(&f->job, &f->msg, &f->err), -EOPNOTSUPP);
}

static void without_a_device_there_is_tcp_or_an_error_if_rdma_must_be(void **state)
{
	host.device = "no device";
	assert_not_offered(*state, "no device of mig0");
}

static void without_a_network_the_interface_is_that_of_the_address(void **state)
{
	struct fixture *f = *state;

	f->job.interface[0] = '\0';
	host.device = "no device";
	assert_not_offered(f, "no device of byaddr0");
}

static void a_port_that_is_down_is_not_used(void **state)
{
	host.port_down = true;
	assert_not_offered(*state, "port of fake0 is down");
}

static void an_old_node_is_not_offered_what_it_does_not_know(void **state)
{
	host.old_peer = true;
	assert_not_offered(*state, "too old");
}

static void rdma_needs_leave_where_tls_is_on(void **state)
{
	struct fixture *f = *state;

	f->config.plaintext_rdma = false;
	assert_not_offered(f, "allowPlaintextRDMA: true");

	/* Past that: the next that is in the way is another. */
	f->job.settings.disable_tls = true;
	host.device = "no device";
	assert_not_offered(f, "no device");
}

static void memory_that_may_not_be_pinned_is_a_reason(void **state)
{
	host.memlock = "RLIMIT_MEMLOCK is too low";
	assert_not_offered(*state, "RLIMIT_MEMLOCK");
	assert_true(host.asked_bytes > 1 << 30);
}

static void nothing_is_pinned_where_the_device_does_without(void **state)
{
	struct fixture *f = *state;

	host.memlock = "RLIMIT_MEMLOCK is too low";
	host.odp = true;
	f->config.rdma.odp = true;
	assert_int_equal(wh_job_offer_rdma(&f->job, &f->msg, &f->err), 0);
	assert_true(f->job.tries_rdma);

	f->msg.rdma_pairs = 0;
	host.odp = false;
	assert_not_offered(f, "RLIMIT_MEMLOCK");
}

static void a_limit_that_rdma_would_not_see_is_a_reason(void **state)
{
	host.no_leaves = true;
	assert_not_offered(*state, "no leaves here");
	assert_false(host.bucket);
}

static void what_is_configured_is_offered(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(wh_job_offer_rdma(&f->job, &f->msg, &f->err), 0);

	assert_true(f->job.tries_rdma);
	assert_true(host.bucket);
	assert_int_equal(f->msg.rdma_pairs, 4);
	assert_int_equal(f->msg.rdma_chunk_bytes, 32 << 20);
	assert_string_equal(f->job.no_rdma.text, "");
}

static void memory_that_qemu_moves_does_not_go_by_rdma(void **state)
{
	struct fixture *f = *state;

	f->job.record.engine = WH_ENGINE_NATIVE;
	assert_int_equal(wh_job_offer_rdma(&f->job, &f->msg, &f->err), 0);

	assert_int_equal(f->msg.rdma_pairs, 0);
	assert_false(f->job.tries_rdma);
}

/* As after an offer. */
static void offered(struct fixture *f, enum wh_transport_kind wish)
{
	f->job.wish = wish;
	f->job.tries_rdma = true;
}

static void a_target_that_says_nothing_tries_too(void **state)
{
	struct fixture *f = *state;
	const struct wh_node_message ready = { .type = WH_NODE_READY, .port = 1 };

	offered(f, WH_TRANSPORT_RDMA);
	assert_int_equal(wh_job_hear_rdma(&f->job, &ready, &f->err), 0);
	assert_true(f->job.tries_rdma);
}

static void a_target_that_does_not_try_says_why(void **state)
{
	struct fixture *f = *state;
	const struct wh_node_message ready = { .no_rdma = "no device" };

	offered(f, WH_TRANSPORT_AUTO);
	assert_int_equal(wh_job_hear_rdma(&f->job, &ready, &f->err), 0);
	assert_false(f->job.tries_rdma);
	assert_string_equal(f->job.no_rdma.text, "node b: no device");

	offered(f, WH_TRANSPORT_RDMA);
	assert_int_equal(wh_job_hear_rdma(&f->job, &ready, &f->err), -EOPNOTSUPP);
	assert_string_equal(f->err.text, "transport: rdma cannot be: node b: no device");
}

static void a_target_takes_the_sources_numbers(void **state)
{
	struct fixture *f = *state;
	struct wh_worker_start start = { 0 };
	int bucket = 0;

	f->config.rdma.odp = true;
	f->config.rdma.pinned_bytes_max = 64 << 20;
	f->msg.rdma_pairs = 7;
	f->msg.rdma_chunk_bytes = 64 << 20;
	wh_job_accept_rdma(&f->job, &f->msg);
	assert_true(f->job.tries_rdma);
	assert_string_equal(f->job.no_rdma.text, "");

	assert_int_equal(wh_job_put_rdma(&f->job, &start, &bucket, &f->err), 0);
	assert_int_equal(start.transport, WH_TRANSPORT_RDMA);
	assert_int_equal(start.rdma_pairs, 7);
	assert_int_equal(start.rdma_chunk_bytes, 64 << 20);
	assert_int_equal(start.rdma_pinned_bytes_max, 128 << 20); /* two chunks at least */
	assert_int_equal(start.rdma_odp, 1);
	assert_int_equal(start.bucket, 0);
	assert_int_equal(bucket, -1);
}

static void a_target_refuses_for_reasons_of_its_own(void **state)
{
	struct fixture *f = *state;

	f->msg.rdma_pairs = 4;
	f->msg.rdma_chunk_bytes = 32 << 20;
	f->config.transport = WH_TRANSPORT_TCP;
	wh_job_accept_rdma(&f->job, &f->msg);
	assert_false(f->job.tries_rdma);
	assert_string_equal(f->job.no_rdma.text, "its configuration says transport: tcp");

	f->config.transport = WH_TRANSPORT_AUTO;
	f->config.plaintext_rdma = false;
	wh_job_accept_rdma(&f->job, &f->msg);
	assert_false(f->job.tries_rdma);
	assert_non_null(strstr(f->job.no_rdma.text, "TLS is on"));
}

static void a_target_that_is_not_asked_has_nothing_to_say(void **state)
{
	struct fixture *f = *state;

	host.device = "no device";
	wh_job_accept_rdma(&f->job, &f->msg);

	assert_false(f->job.tries_rdma);
	assert_string_equal(f->job.no_rdma.text, "");
}

static void a_sources_mover_gets_the_bucket(void **state)
{
	struct fixture *f = *state;
	struct wh_worker_start start = { 0 };
	int bucket = -1;

	f->job.rate = (struct wh_rate_bpf *)f; /* any that is not NULL */
	offered(f, WH_TRANSPORT_AUTO);
	assert_int_equal(wh_job_put_rdma(&f->job, &start, &bucket, &f->err), 0);

	assert_int_equal(start.bucket, 1);
	assert_int_equal(bucket, 42);
}

static void post_copy_is_resumed_by_tcp(void **state)
{
	struct fixture *f = *state;
	struct wh_worker_start start = { .resume = 1 };
	int bucket = 0;

	offered(f, WH_TRANSPORT_RDMA);
	assert_int_equal(wh_job_put_rdma(&f->job, &start, &bucket, &f->err), 0);

	assert_int_equal(start.transport, WH_TRANSPORT_TCP);
	assert_int_equal(bucket, -1);
}

static void what_a_mover_says_is_kept(void **state)
{
	struct fixture *f = *state;

	wh_job_carries(&f->job, WH_TRANSPORT_RDMA, "");
	assert_int_equal(f->job.carries, WH_TRANSPORT_RDMA);

	wh_job_carries(&f->job, WH_TRANSPORT_TCP, "the device is gone");
	assert_int_equal(f->job.carries, WH_TRANSPORT_TCP);
	assert_string_equal(f->job.no_rdma.text, "the device is gone");
}

#define TEST(test) cmocka_unit_test_setup(test, set_up)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(tcp_is_not_explained),
		TEST(the_request_comes_before_the_configuration),
		TEST(without_a_device_there_is_tcp_or_an_error_if_rdma_must_be),
		TEST(without_a_network_the_interface_is_that_of_the_address),
		TEST(a_port_that_is_down_is_not_used),
		TEST(an_old_node_is_not_offered_what_it_does_not_know),
		TEST(rdma_needs_leave_where_tls_is_on),
		TEST(memory_that_may_not_be_pinned_is_a_reason),
		TEST(nothing_is_pinned_where_the_device_does_without),
		TEST(a_limit_that_rdma_would_not_see_is_a_reason),
		TEST(what_is_configured_is_offered),
		TEST(memory_that_qemu_moves_does_not_go_by_rdma),
		TEST(a_target_that_says_nothing_tries_too),
		TEST(a_target_that_does_not_try_says_why),
		TEST(a_target_takes_the_sources_numbers),
		TEST(a_target_refuses_for_reasons_of_its_own),
		TEST(a_target_that_is_not_asked_has_nothing_to_say),
		TEST(a_sources_mover_gets_the_bucket),
		TEST(post_copy_is_resumed_by_tcp),
		TEST(what_a_mover_says_is_kept),
	};

	return cmocka_run_group_tests_name("job_transport", tests, NULL, NULL);
}
