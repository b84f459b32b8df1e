/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A coordinator under libFuzzer: whatever a member of the cluster sends, line by line, over a real
 * connection, with a real store. The API that clients use is the same: wherryd passes it on.
 *
 * Beyond not crashing: the coordinator goes on to answer, and its settings are still valid ones.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "coordinator.h"
#include "json.h"

#include "wherry/assert.h"
#include "wherry/limits.h"
#include "wherry/log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char state[] = "/dev/shm/wherry-fuzz-XXXXXX";
static struct wh_coordinator *coordinator;
static struct wh_node other = { .name = "b", .address = "192.0.2.2" };
static struct wh_config config = {
	.node = "a", .coordinator = "a", .nodes = &other, .node_count = 1
};
static struct wh_daemon daemon_a = { .config = &config };

/* What wherryd does with them is not tried here. */
void wh_daemon_use_settings(struct wh_daemon *d, const struct wh_settings *settings)
{
	d->settings = *settings;
}

static void remove_state(void)
{
	char command[sizeof(state) + 16];

	coordinator = wh_coordinator_close(coordinator);
	(void)snprintf(command, sizeof(command), "rm -rf %s", state);
	(void)!system(command); /* the path is ours */
}

static void open_once(void)
{
	struct wh_error err;

	if (coordinator)
		return;
	wh_log_setup(&(struct wh_log_config){ .level = WH_LOG_ERROR });
	wh_assert(mkdtemp(state));
	(void)atexit(remove_state);
	config.state = state;
	wh_assert(sd_event_new(&daemon_a.loop) >= 0);
	if (wh_coordinator_open(&coordinator, &daemon_a, &err) < 0) {
		(void)fprintf(stderr, "%s\n", err.text);
		abort();
	}
}

/* Let the loop come to rest. Timers that are not due count as rest. */
static void settle(void)
{
	while (sd_event_run(daemon_a.loop, 0) > 0)
		;
}

static void send_all(int fd, const void *data, size_t size)
{
	const char *at = data;

	while (size > 0) {
		ssize_t n = send(fd, at, size, MSG_NOSIGNAL | MSG_DONTWAIT);

		settle();
		if (n < 0)
			return; /* it has hung up on us, as it may */
		at += n;
		size -= (size_t)n;
	}
}

/* A member that behaves is still answered. */
static void expect_answer(void)
{
	static const char ask[] = "{\"call\":1,\"request\":{\"command\":\"settings\"}}\n";
	char answer[8192];
	int fds[2];
	ssize_t n;

	wh_assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
	wh_coordinator_adopt_fd(coordinator, fds[1], "b");
	send_all(fds[0], ask, sizeof(ask) - 1);
	n = recv(fds[0], answer, sizeof(answer) - 1, MSG_DONTWAIT);
	wh_assert(n > 0);
	answer[n] = '\0';
	wh_assert(strstr(answer, "\"ok\":true") && strstr(answer, "bandwidthPerMigration"));
	(void)close(fds[0]);
	settle();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int fds[2];

	open_once();
	wh_assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
	wh_coordinator_adopt_fd(coordinator, fds[1], "b");
	send_all(fds[0], data, size);
	send_all(fds[0], "\n", 1);
	(void)close(fds[0]);
	settle();
	expect_answer();
	return 0;
}
