/* SPDX-License-Identifier: Apache-2.0 */

#include "left_domain.h"

#include "fake_libvirt.h"

#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

char left_dir[] = "/tmp/wherry-domain.XXXXXX";

void left_end_vmm(struct left_domain *f)
{
	if (f->vmm == 0)
		return;
	(void)kill(f->vmm, SIGKILL);
	(void)waitpid(f->vmm, NULL, 0);
	f->vmm = 0;
}

/* A process that does nothing until it is killed. */
static pid_t start_vmm(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		for (;;)
			(void)pause();
	}
	assert_true(pid > 0);
	return pid;
}

static int listen_as_b(struct wh_config *config)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	socklen_t len = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
	config->port = ntohs(address.sin_port);
	return fd;
}

int left_begin(void **state)
{
	static struct left_domain f;
	struct wh_error err;

	f = (struct left_domain){ .config = { .node = "a", .state = left_dir }, .peer = -1 };
	f.b = (struct wh_node){ .name = "b", .address = "127.0.0.1" };
	f.libvirt.pids = left_dir;   /* none is there */
	f.libvirt.socket = left_dir; /* nobody listens */
	f.config.libvirt = &f.libvirt;
	f.config.nodes = &f.b;
	f.config.node_count = 1;
	f.listener = listen_as_b(&f.config);
	f.daemon = (struct wh_daemon){ .config = &f.config, .socket_dir = left_dir };
	f.daemon.cgroup_parent_fd = -1;
	f.daemon.settings = wh_settings_defaults();
	f.daemon.libvirt = fake_libvirt_new();
	assert_true(sd_event_new(&f.daemon.loop) >= 0);
	f.daemon.domains.loop = f.daemon.loop;
	f.daemon.domains.libvirt = f.daemon.libvirt;
	assert_int_equal(wh_recover(&f.daemon, &err), 0); /* makes the journal's directory */
	f.vmm = start_vmm();
	*state = &f;
	return 0;
}

/* As wherryd does when it stops. */
void left_end_jobs(struct left_domain *f)
{
	while (f->daemon.jobs) {
		struct wh_job *job = f->daemon.jobs;

		f->daemon.jobs = job->next;
		wh_job_free(job);
	}
}

int left_end(void **state)
{
	struct left_domain *f = *state;
	struct wh_error err;

	left_end_jobs(f);
	assert_int_equal(wh_journal_remove(left_dir, "vm-1", &err), 0);
	left_end_vmm(f);
	(void)close(f->listener);
	(void)close(f->peer);
	fake_libvirt_free(f->daemon.libvirt);
	f->daemon.turn = sd_event_source_disable_unref(f->daemon.turn);
	f->daemon.loop = sd_event_unref(f->daemon.loop);
	return 0;
}

/* Start on a record of engine offload, of a guest that ran. */
struct wh_job *left_recover(struct left_domain *f, enum wh_worker_role role, enum wh_phase phase)
{
	struct wh_record record = {
		.id = "vm-1",
		.vm = "vm",
		.peer = "b",
		.role = role,
		.phase = phase,
		.engine = WH_ENGINE_OFFLOAD,
		.running = true,
		.token = { 0xab },
		.vmm_uffd = -1,
		.defined = f->defined,
	};
	struct wh_error err;

	memcpy(record.directory, left_dir, sizeof(left_dir));
	assert_int_equal(wh_process_identify(&record.vmm, f->vmm ? f->vmm : getpid()), 0);
	record.vmm.start += f->vmm ? 0 : 1; /* another process than ours, which is gone */
	assert_int_equal(wh_journal_write(left_dir, &record, &err), 0);
	assert_int_equal(wh_recover(&f->daemon, &err), 0);
	f->job = f->daemon.jobs;
	assert_non_null(f->job);
	return f->job;
}

void left_run_until(struct left_domain *f, bool (*is_so)(const struct left_domain *f))
{
	while (!is_so(f))
		assert_true(sd_event_run(f->daemon.loop, UINT64_MAX) > 0);
}

bool left_is_over(const struct left_domain *f)
{
	return wh_job_is_over(f->job->state);
}

static bool is_asked(const struct left_domain *f)
{
	return fake_libvirt_due(f->daemon.libvirt) > 0;
}

/* The next call to libvirt, now or later, is this. */
void left_expect_call(struct left_domain *f, const char *text)
{
	left_run_until(f, is_asked);
	assert_string_equal(fake_libvirt_oldest(f->daemon.libvirt), text);
}

void left_answer(struct left_domain *f, const char *text)
{
	fake_libvirt_answer(f->daemon.libvirt, text, NULL);
}

void left_answer_job(struct left_domain *f, bool active)
{
	fake_libvirt_answer_job(f->daemon.libvirt, &(struct wh_libvirt_job){ .active = active },
	                        NULL);
}

/* Return: the phase in the journal, or WH_PHASES if there is no record. */
enum wh_phase left_phase(void)
{
	struct wh_record record;
	struct wh_error err;
	enum wh_phase phase;

	if (wh_journal_read(left_dir, "vm-1", &record, &err) < 0)
		return WH_PHASES;
	phase = record.phase;
	wh_record_done(&record);
	return phase;
}

/* Node b. */

void left_take_call(struct left_domain *f)
{
	f->peer = -1;
	while (f->peer < 0) {
		assert_true(sd_event_run(f->daemon.loop, 1000) >= 0);
		f->peer = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	}
}

static void on_message(void *ctx, const struct wh_node_message *msg)
{
	(void)ctx;
	(void)msg;
}

static void on_lost(void *ctx, const char *why)
{
	(void)ctx;
	(void)why;
}

/* Return: our end, to be closed by the caller. */
struct wh_peer *left_call(struct left_domain *f)
{
	const struct wh_peer_config cfg = { .loop = f->daemon.loop,
		                            .node = "a",
		                            .peer = "b",
		                            .interface = "",
		                            .handler = { .message = on_message, .lost = on_lost } };
	const struct wh_lines_config raw = { .loop = f->daemon.loop };
	struct wh_lines *lines;
	struct wh_peer *peer;
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds),
	                 0);
	f->peer = fds[1];
	assert_int_equal(wh_lines_open(&lines, fds[0], &raw), 0);
	assert_int_equal(wh_peer_adopt(&peer, lines, WH_NODE_VERSION_MAX, &cfg), 0);
	return peer;
}

static void read_line(struct left_domain *f, char *buf, size_t size)
{
	size_t len = 0;

	while (len == 0 || buf[len - 1] != '\n') {
		assert_true(len + 1 < size);
		if (recv(f->peer, buf + len, 1, 0) == 1) {
			len++;
			continue;
		}
		assert_int_equal(errno, EAGAIN);
		assert_true(sd_event_run(f->daemon.loop, 1000) >= 0);
	}
	buf[len - 1] = '\0';
}

void left_expect_line(struct left_domain *f, const char *text)
{
	char line[256];

	do
		read_line(f, line, sizeof(line));
	while (!strcmp(line, "{\"type\":\"ping\"}"));
	assert_string_equal(line, text);
}

void left_say(const struct left_domain *f, const char *text)
{
	char line[256];
	int n = snprintf(line, sizeof(line), "%s\n", text);

	assert_int_equal(send(f->peer, line, (size_t)n, MSG_NOSIGNAL), n);
}

void left_freeze(const struct left_domain *f)
{
	struct wh_process named;

	assert_int_equal(wh_process_identify(&named, f->vmm), 0);
	assert_int_equal(wh_process_freeze(&named), 0);
	assert_true(wh_process_is_frozen(&named));
}

bool left_is_frozen(const struct left_domain *f)
{
	struct wh_process named;

	assert_int_equal(wh_process_identify(&named, f->vmm), 0);
	return wh_process_is_frozen(&named);
}

int left_make_dir(void **state)
{
	(void)state;
	return mkdtemp(left_dir) ? 0 : -1;
}

int left_remove_dir(void **state)
{
	char path[sizeof(left_dir) + 16];

	(void)state;
	(void)snprintf(path, sizeof(path), "%s/migrations", left_dir);
	return rmdir(path) + rmdir(left_dir);
}
