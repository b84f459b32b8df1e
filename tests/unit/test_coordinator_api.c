/* SPDX-License-Identifier: Apache-2.0 */

/* What a coordinator is asked for over a real connection, with a real store. */

#include "coordinator.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "json.h"
#include "remove_tree.h"

struct fixture {
	char dir[sizeof("/dev/shm/wherry-api-XXXXXX")];
	struct wh_node other;
	struct wh_config config;
	struct wh_daemon daemon;
	struct wh_coordinator *coordinator;
	int peer; /* the end of node b */
	json_t *answer;
};

/* What wherryd does with them is not tried here. */
void wh_daemon_use_settings(struct wh_daemon *d, const struct wh_settings *settings)
{
	d->settings = *settings;
}

static void settle(struct fixture *f)
{
	while (sd_event_run(f->daemon.loop, 0) > 0)
		;
}

/* Ask as node b, and have its answer; orders to node b are passed over. */
static const json_t *ask(struct fixture *f, const char *request)
{
	char text[8192];
	int n = snprintf(text, sizeof(text), "{\"call\":7,\"request\":%s}\n", request);
	size_t len = 0;

	assert_int_equal(send(f->peer, text, (size_t)n, MSG_NOSIGNAL), n);
	settle(f);
	f->answer = (json_decref(f->answer), NULL);
	while (!f->answer) {
		assert_true(len + 1 < sizeof(text));
		assert_int_equal(recv(f->peer, text + len, 1, MSG_DONTWAIT), 1);
		if (text[len++] != '\n')
			continue;
		f->answer = json_loadb(text, len, 0, NULL);
		assert_non_null(f->answer);
		if (!json_object_get(f->answer, "reply"))
			f->answer = (json_decref(f->answer), NULL);
		len = 0;
	}
	return json_object_get(f->answer, "answer");
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct wh_error err;
	int fds[2];

	if (!f)
		return -1;
	memcpy(f->dir, "/dev/shm/wherry-api-XXXXXX", sizeof(f->dir));
	assert_non_null(mkdtemp(f->dir));
	f->other = (struct wh_node){ .name = "b", .address = "192.0.2.2" };
	f->config = (struct wh_config){ .node = "a",
		                        .coordinator = "a",
		                        .nodes = &f->other,
		                        .node_count = 1,
		                        .state = f->dir };
	f->daemon.config = &f->config;
	assert_true(sd_event_new(&f->daemon.loop) >= 0);
	assert_int_equal(wh_coordinator_open(&f->coordinator, &f->daemon, &err), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	wh_coordinator_adopt_fd(f->coordinator, fds[1], "b");
	f->peer = fds[0];
	(void)ask(f, "{\"command\":\"report\",\"memory_bytes\":8192,\"free_bytes\":4096,\"vms\":"
	             "[{\"namespace\":\"default\",\"name\":\"vm\",\"here\":true,"
	             "\"memory_bytes\":4096,\"libvirt\":true}],\"jobs\":[],\"libvirt\":true}");
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	f->coordinator = wh_coordinator_close(f->coordinator);
	(void)close(f->peer);
	json_decref(f->answer);
	f->daemon.loop = sd_event_unref(f->daemon.loop);
	assert_int_equal(remove_tree(f->dir), 0);
	free(f);
	return 0;
}

static void an_unknown_engine_or_transport_is_refused(void **state)
{
	static const struct {
		const char *asked; /* as JSON */
		const char *words;
	} cases[] = {
		{ "\"engine\":\"warp\"", "unknown engine 'warp': it is auto, offload or native" },
		{ "\"engine\":\"Native\"",
		  "unknown engine 'Native': it is auto, offload or native" },
		{ "\"engine\":\"qmp\"", "unknown engine 'qmp': it is auto, offload or native" },
		{ "\"engine\":7", "'engine'" },
		{ "\"transport\":\"udp\"", "unknown transport 'udp': it is auto, tcp or rdma" },
		{ "\"transport\":7", "'transport'" },
	};
	char request[128];

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		const json_t *answer;

		(void)snprintf(request, sizeof(request),
		               "{\"command\":\"migrate\",\"vm\":\"vm\",%s}", cases[i].asked);
		answer = ask(*state, request);
		assert_true(json_is_false(json_object_get(answer, "ok")));
		if (!strstr(wh_json_text(answer, "error"), cases[i].words))
			fail_msg("'%s' is not '%s'", wh_json_text(answer, "error"), cases[i].words);
	}
}

static void each_engine_and_transport_may_be_asked_for_or_none(void **state)
{
	static const char *const asked[] = {
		"",
		",\"engine\":\"\"",
		",\"engine\":\"auto\"",
		",\"engine\":\"offload\"",
		",\"engine\":\"native\"",
		",\"transport\":\"\"",
		",\"transport\":\"auto\"",
		",\"transport\":\"tcp\"",
		",\"transport\":\"rdma\"",
	};
	char request[128];

	for (size_t i = 0; i < sizeof(asked) / sizeof(*asked); i++) {
		const json_t *answer;

		(void)snprintf(request, sizeof(request),
		               "{\"command\":\"migrate\",\"vm\":\"vm\"%s}", asked[i]);
		answer = ask(*state, request);
		if (!json_is_true(json_object_get(answer, "ok")))
			fail_msg("%s: %s", asked[i], wh_json_text(answer, "error"));
		answer = ask(*state, "{\"command\":\"cancel\",\"migration\":\"vm\"}");
		assert_true(json_is_true(json_object_get(answer, "ok")));
	}
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(an_unknown_engine_or_transport_is_refused),
		TEST(each_engine_and_transport_may_be_asked_for_or_none),
	};

	return cmocka_run_group_tests_name("coordinator_api", tests, NULL, NULL);
}
