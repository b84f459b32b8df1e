/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What the next wherryd makes of domains that the one before it has left in the journal: while the
 * source's QEMU lives the guest is there, and once it is gone the target is told to let it run.
 *
 * libvirt is a fake; journal, processes and the connection to the other node are real.
 */

#include "job_domain.h"

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
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "fake_libvirt.h"
#include "files.h"

#include "wherry/clock.h"

static char dir[] = "/tmp/wherry-domain.XXXXXX";

struct fixture {
	struct wh_config config;
	struct wh_libvirt_config libvirt;
	struct wh_node b;
	struct wh_daemon daemon;
	struct wh_job *job;
	bool defined; /* libvirt had known the domain before */
	pid_t vmm;    /* 0 once it is gone */
	int listener;
	int peer; /* the connection, as node b has it; -1 for none */
};

static void end_vmm(struct fixture *f)
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

static int set_up(void **state)
{
	static struct fixture f;
	struct wh_error err;

	f = (struct fixture){ .config = { .node = "a", .state = dir }, .peer = -1 };
	f.b = (struct wh_node){ .name = "b", .address = "127.0.0.1" };
	f.libvirt.pids = dir; /* none is there */
	f.config.libvirt = &f.libvirt;
	f.config.nodes = &f.b;
	f.config.node_count = 1;
	f.listener = listen_as_b(&f.config);
	f.daemon = (struct wh_daemon){ .config = &f.config, .socket_dir = dir };
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
static void end_jobs(struct fixture *f)
{
	while (f->daemon.jobs) {
		struct wh_job *job = f->daemon.jobs;

		f->daemon.jobs = job->next;
		wh_job_free(job);
	}
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	struct wh_error err;

	end_jobs(f);
	assert_int_equal(wh_journal_remove(dir, "vm-1", &err), 0);
	end_vmm(f);
	(void)close(f->listener);
	(void)close(f->peer);
	fake_libvirt_free(f->daemon.libvirt);
	f->daemon.turn = sd_event_source_disable_unref(f->daemon.turn);
	f->daemon.loop = sd_event_unref(f->daemon.loop);
	return 0;
}

/* Start on a record of engine offload, of a guest that ran. */
static struct wh_job *recover(struct fixture *f, enum wh_worker_role role, enum wh_phase phase)
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

	memcpy(record.directory, dir, sizeof(dir));
	assert_int_equal(wh_process_identify(&record.vmm, f->vmm ? f->vmm : getpid()), 0);
	record.vmm.start += f->vmm ? 0 : 1; /* another process than ours, which is gone */
	assert_int_equal(wh_journal_write(dir, &record, &err), 0);
	assert_int_equal(wh_recover(&f->daemon, &err), 0);
	f->job = f->daemon.jobs;
	assert_non_null(f->job);
	return f->job;
}

static void run_until(struct fixture *f, bool (*is_so)(const struct fixture *f))
{
	while (!is_so(f))
		assert_true(sd_event_run(f->daemon.loop, UINT64_MAX) > 0);
}

static bool is_over(const struct fixture *f)
{
	return wh_job_is_over(f->job->state);
}

static bool is_asked(const struct fixture *f)
{
	return fake_libvirt_due(f->daemon.libvirt) > 0;
}

static bool has_moved(const struct fixture *f)
{
	return f->job->domain->moved;
}

/* The next call to libvirt, now or later, is this. */
static void expect_call(struct fixture *f, const char *text)
{
	run_until(f, is_asked);
	assert_string_equal(fake_libvirt_oldest(f->daemon.libvirt), text);
}

static void answer(struct fixture *f, const char *text)
{
	fake_libvirt_answer(f->daemon.libvirt, text, NULL);
}

static void answer_job(struct fixture *f, bool active)
{
	fake_libvirt_answer_job(f->daemon.libvirt, &(struct wh_libvirt_job){ .active = active },
	                        NULL);
}

/* Return: the phase in the journal, or WH_PHASES if there is no record. */
static enum wh_phase phase_on_disk(void)
{
	struct wh_record record;
	struct wh_error err;
	enum wh_phase phase;

	if (wh_journal_read(dir, "vm-1", &record, &err) < 0)
		return WH_PHASES;
	phase = record.phase;
	wh_record_done(&record);
	return phase;
}

static bool is_forgotten(const struct fixture *f)
{
	(void)f;
	return phase_on_disk() == WH_PHASES;
}

/* Node b: takes the call, and reads what comes but for pings. */

static void take_call(struct fixture *f)
{
	f->peer = -1;
	while (f->peer < 0) {
		assert_true(sd_event_run(f->daemon.loop, 1000) >= 0);
		f->peer = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	}
}

static void read_line(struct fixture *f, char *buf, size_t size)
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

static void expect_line(struct fixture *f, const char *text)
{
	char line[256];

	do
		read_line(f, line, sizeof(line));
	while (!strcmp(line, "{\"type\":\"ping\"}"));
	assert_string_equal(line, text);
}

static void say(const struct fixture *f, const char *text)
{
	char line[256];
	int n = snprintf(line, sizeof(line), "%s\n", text);

	assert_int_equal(send(f->peer, line, (size_t)n, MSG_NOSIGNAL), n);
}

/* --- source ----------------------------------------------------------------------------------- */

#define TOKEN "ab000000000000000000000000000000"
#define OFF                                                                             \
	"vm {\"execute\":\"migrate-set-capabilities\",\"arguments\":{\"capabilities\":" \
	"[{\"capability\":\"x-ignore-shared\",\"state\":false}]}}"

/* Undone, and the target hears of it: only then is it forgotten. */
static void expect_undone(struct fixture *f)
{
	assert_int_equal(f->job->state, WH_JOB_FAILED);
	assert_int_equal(phase_on_disk(), WH_PHASE_BEGUN);
	take_call(f);
	expect_line(f, "{\"type\":\"hello\",\"min\":1,\"max\":3,\"node\":\"a\"}");
	say(f, "{\"type\":\"welcome\",\"version\":3,\"node\":\"b\"}");
	expect_line(f, "{\"type\":\"stay\",\"migration\":\"vm-1\",\"token\":\"" TOKEN "\"}");
	say(f, "{\"type\":\"closed\"}");
	run_until(f, is_forgotten);
}

static void a_source_whose_qemu_is_gone_has_the_target_let_it_run(void **state)
{
	struct fixture *f = *state;
	struct wh_job *job;

	end_vmm(f);
	job = recover(f, WH_ROLE_SOURCE, WH_PHASE_ASKING);
	assert_int_equal(job->state, WH_JOB_ASKING);
	assert_int_equal(phase_on_disk(), WH_PHASE_DONE);

	take_call(f);
	expect_line(f, "{\"type\":\"hello\",\"min\":1,\"max\":3,\"node\":\"a\"}");
	say(f, "{\"type\":\"welcome\",\"version\":3,\"node\":\"b\"}");
	expect_line(f, "{\"type\":\"run\",\"migration\":\"vm-1\",\"token\":\"" TOKEN "\"}");
	say(f, "{\"type\":\"running\"}");
	expect_line(f, "{\"type\":\"finished\",\"migration\":\"vm-1\",\"token\":\"" TOKEN "\"}");
	say(f, "{\"type\":\"closed\"}");
	run_until(f, is_over);
	assert_int_equal(job->state, WH_JOB_SUCCEEDED);
}

static void a_source_whose_qemu_lives_is_undone_once_libvirt_lets_go_of_it(void **state)
{
	struct fixture *f = *state;
	struct wh_job *job = recover(f, WH_ROLE_SOURCE, WH_PHASE_ASKING);

	expect_call(f, "vm job");
	answer_job(f, true);
	assert_int_equal(job->state, WH_JOB_ASKING);
	expect_call(f, "vm job");
	fake_libvirt_answer_job(f->daemon.libvirt, NULL, "libvirtd is away");
	assert_int_equal(job->state, WH_JOB_ASKING);
	expect_call(f, "vm job");
	answer_job(f, false);
	assert_int_equal(job->state, WH_JOB_CANCELLING);

	expect_call(f, OFF);
	answer(f, "{\"return\":{}}");
	expect_call(f, "vm {\"execute\":\"query-status\"}");
	answer(f, "{\"return\":{\"status\":\"paused\"}}");
	expect_call(f, "vm resume");
	answer(f, "");
	expect_undone(f);
}

static void a_source_that_libvirt_ends_after_all_has_moved(void **state)
{
	struct fixture *f = *state;
	struct wh_job *job = recover(f, WH_ROLE_SOURCE, WH_PHASE_ASKING);

	expect_call(f, "vm job");
	end_vmm(f);
	run_until(f, has_moved);
	assert_int_equal(job->state, WH_JOB_ASKING);
	assert_int_equal(phase_on_disk(), WH_PHASE_DONE);

	/* What libvirt says of it now is no matter. */
	answer_job(f, false);
	assert_int_equal(job->state, WH_JOB_ASKING);
	assert_int_equal(phase_on_disk(), WH_PHASE_DONE);
}

static void a_source_that_had_begun_no_more_leaves_memory_out(void **state)
{
	struct fixture *f = *state;
	struct wh_job *job = recover(f, WH_ROLE_SOURCE, WH_PHASE_BEGUN);

	assert_int_equal(job->state, WH_JOB_CANCELLING);
	expect_call(f, OFF);
	answer(f, "{\"return\":{}}");
	expect_call(f, "vm {\"execute\":\"query-status\"}");
	answer(f, "{\"return\":{\"status\":\"running\"}}");
	expect_undone(f);
}

static void undoing_waits_for_libvirt_or_the_end_of_the_guest(void **state)
{
	struct fixture *f = *state;
	struct wh_job *job;

	fake_libvirt_connection(f->daemon.libvirt, "libvirtd is away");
	job = recover(f, WH_ROLE_SOURCE, WH_PHASE_BEGUN);
	assert_int_equal(job->state, WH_JOB_CANCELLING);
	assert_non_null(strstr(job->note.text, "libvirtd is away"));
	assert_int_equal(phase_on_disk(), WH_PHASE_BEGUN);

	end_vmm(f);
	run_until(f, is_over);
	expect_undone(f);
}

static void a_source_that_ends_while_it_is_undone_has_not_moved(void **state)
{
	struct fixture *f = *state;
	struct wh_job *job = recover(f, WH_ROLE_SOURCE, WH_PHASE_ASKING);

	expect_call(f, "vm job");
	fake_libvirt_connection(f->daemon.libvirt, "libvirtd is away");
	answer_job(f, false);
	assert_int_equal(job->state, WH_JOB_CANCELLING);

	end_vmm(f);
	run_until(f, is_over);
	expect_undone(f);
}

/* --- target ----------------------------------------------------------------------------------- */

static void a_target_waits_for_the_sources_word_whatever_fails(void **state)
{
	struct fixture *f = *state;
	struct wh_job *job = recover(f, WH_ROLE_TARGET, WH_PHASE_ASKING);

	wh_target_lost(job, "the connection broke");
	wh_job_fail(job, WH_OUTCOME_CANCELLED, "somebody wants it");

	assert_int_equal(job->state, WH_JOB_HAND_OVER);
	assert_false(wh_job_can_undo(job));
	assert_int_equal(phase_on_disk(), WH_PHASE_ASKING);
	assert_int_equal(fake_libvirt_due(f->daemon.libvirt), 0);
}

static void a_target_commits_at_that_word_and_resumes_until_it_runs(void **state)
{
	struct fixture *f = *state;
	struct wh_job *job = recover(f, WH_ROLE_TARGET, WH_PHASE_ASKING);

	wh_domain_run(job, NULL);
	assert_int_equal(phase_on_disk(), WH_PHASE_DONE);
	expect_call(f, "vm resume");
	wh_domain_run(job, NULL); /* said again meanwhile */
	fake_libvirt_answer(f->daemon.libvirt, NULL, "another job has the domain");
	assert_false(wh_job_is_over(job->state));
	expect_call(f, "vm resume");
	answer(f, "");
	assert_int_equal(fake_libvirt_due(f->daemon.libvirt), 0);
	run_until(f, is_over);

	assert_int_equal(job->state, WH_JOB_SUCCEEDED);
	assert_int_equal(phase_on_disk(), WH_PHASE_DONE);
}

static void a_commit_that_cannot_be_written_is_tried_again(void **state)
{
	struct fixture *f = *state;
	struct wh_job *job = recover(f, WH_ROLE_TARGET, WH_PHASE_ASKING);
	char missing[] = "/tmp/wherry-domain.none/none";

	f->config.state = missing;
	wh_domain_run(job, NULL);
	wh_domain_run(job, NULL); /* the source asks again meanwhile */
	assert_int_equal(fake_libvirt_due(f->daemon.libvirt), 0);
	assert_false(wh_phase_is_committed(job->record.phase));
	f->config.state = dir;

	expect_call(f, "vm resume");
	assert_int_equal(phase_on_disk(), WH_PHASE_DONE);
}

static void on_gone(void *ctx, uint32_t events)
{
	struct wh_job *job = ctx;

	(void)events;
	job->domain->vmm_gone = true;
}

static void fail_late(void *ctx)
{
	(void)ctx;
	fail_msg("it was never watched");
}

static bool is_gone(const struct fixture *f)
{
	return f->job->domain->vmm_gone;
}

static void a_qemu_that_cannot_be_watched_is_not_gone(void **state)
{
	struct fixture *f = *state;
	struct wh_job *job = recover(f, WH_ROLE_TARGET, WH_PHASE_ASKING);
	struct wh_timer other = { .fired = fail_late };
	struct rlimit before;
	struct rlimit none;

	/* All timers share a descriptor, and a wherryd always has one. */
	wh_timer_start(&other, f->daemon.loop, 600 * WH_NSEC_PER_SEC);
	wh_watch_stop(&job->domain->vmm_watch);
	assert_int_equal(close(job->domain->vmm_pidfd), 0);
	job->domain->vmm_pidfd = -1;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = (struct rlimit){ 0, before.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	wh_domain_watch_vmm(job, on_gone);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_false(job->domain->vmm_gone);

	end_vmm(f);
	run_until(f, is_gone);
	wh_watch_stop(&job->domain->vmm_watch);
	wh_timer_stop(&other);
}

static void a_target_whose_qemu_ends_before_it_is_undone(void **state)
{
	struct fixture *f = *state;
	struct wh_job *job = recover(f, WH_ROLE_TARGET, WH_PHASE_ASKING);

	end_vmm(f);
	run_until(f, is_over);

	assert_int_equal(job->state, WH_JOB_FAILED);
	assert_int_equal(phase_on_disk(), WH_PHASES);
}

static void a_target_whose_guest_stays_removes_what_came(void **state)
{
	struct fixture *f = *state;
	struct wh_job *job = recover(f, WH_ROLE_TARGET, WH_PHASE_ASKING);

	wh_domain_stay(job, NULL);
	expect_call(f, "vm destroy");
	assert_int_equal(job->state, WH_JOB_HAND_OVER);
	answer(f, "");
	expect_call(f, "vm undefine");
	answer(f, "");
	run_until(f, is_over);

	assert_int_equal(job->state, WH_JOB_FAILED);
	assert_int_equal(phase_on_disk(), WH_PHASES);
}

static void a_qemu_that_ends_first_leaves_its_domain_to_be_removed(void **state)
{
	struct fixture *f = *state;
	struct wh_job *job = recover(f, WH_ROLE_TARGET, WH_PHASE_ASKING);

	wh_domain_stay(job, NULL);
	expect_call(f, "vm destroy");
	end_vmm(f);
	run_until(f, is_gone);
	wh_job_fail(job, WH_OUTCOME_FAILED, "its monitor is lost, too");
	assert_false(wh_job_is_over(job->state));
	answer(f, "");
	expect_call(f, "vm undefine");
	answer(f, "");
	run_until(f, is_over);

	assert_int_equal(phase_on_disk(), WH_PHASES);
}

static void what_came_is_removed_once_libvirt_can(void **state)
{
	struct fixture *f = *state;
	struct wh_job *job = recover(f, WH_ROLE_TARGET, WH_PHASE_ASKING);

	wh_domain_stay(job, NULL);
	wh_domain_stay(job, NULL); /* said again meanwhile */
	expect_call(f, "vm destroy");
	fake_libvirt_answer(f->daemon.libvirt, NULL, "libvirtd is away");
	assert_int_equal(fake_libvirt_due(f->daemon.libvirt), 0);
	expect_call(f, "vm destroy");
	end_vmm(f);
	answer(f, "");
	expect_call(f, "vm undefine");
	fake_libvirt_connection(f->daemon.libvirt, "libvirtd is away");
	fake_libvirt_answer(f->daemon.libvirt, NULL, "libvirtd is away");
	expect_call(f, "vm undefine");
	fake_libvirt_connection(f->daemon.libvirt, "");
	answer(f, "");
	run_until(f, is_over);

	assert_int_equal(phase_on_disk(), WH_PHASES);
}

static void what_libvirt_had_known_before_stays_defined(void **state)
{
	struct fixture *f = *state;
	struct wh_job *job;

	f->defined = true;
	job = recover(f, WH_ROLE_TARGET, WH_PHASE_ASKING);
	wh_domain_stay(job, NULL);
	expect_call(f, "vm destroy");
	answer(f, "");
	run_until(f, is_over);

	assert_int_equal(fake_libvirt_due(f->daemon.libvirt), 0);
	assert_int_equal(phase_on_disk(), WH_PHASES);
}

static void a_target_in_post_copy_is_resumed_by_libvirt(void **state)
{
	struct fixture *f = *state;
	struct wh_job *job = recover(f, WH_ROLE_TARGET, WH_PHASE_POSTCOPY);

	assert_int_equal(job->state, WH_JOB_POSTCOPY_PAUSED);
	expect_call(f, "vm resume");
	fake_libvirt_answer(f->daemon.libvirt, NULL, "libvirtd is away");
	expect_call(f, "vm resume");
	answer(f, "");

	assert_false(job->resuming);
	assert_int_equal(job->state, WH_JOB_POSTCOPY_PAUSED); /* until the source resumes */
	assert_int_equal(phase_on_disk(), WH_PHASE_POSTCOPY);
}

static void a_target_that_had_committed_resumes_at_once(void **state)
{
	struct fixture *f = *state;
	struct wh_job *job = recover(f, WH_ROLE_TARGET, WH_PHASE_DONE);

	expect_call(f, "vm resume");
	answer(f, "");
	run_until(f, is_over);
	assert_int_equal(job->state, WH_JOB_SUCCEEDED);
}

static void a_wherryd_that_stops_leaves_the_next_one_the_monitor(void **state)
{
	struct fixture *f = *state;
	char path[sizeof(dir) + 32];
	struct wh_error err;

	(void)snprintf(path, sizeof(path), "%s/wherry-monitor-vm-1", dir);
	assert_int_equal(wh_file_replace(path, "", 0, &err), 0);
	(void)recover(f, WH_ROLE_TARGET, WH_PHASE_ASKING);
	end_jobs(f);
	assert_int_equal(access(path, F_OK), 0);

	end_vmm(f);
	(void)recover(f, WH_ROLE_TARGET, WH_PHASE_ASKING);
	assert_int_equal(access(path, F_OK), -1);
}

static void a_target_that_had_begun_is_undone(void **state)
{
	struct wh_job *job = recover(*state, WH_ROLE_TARGET, WH_PHASE_BEGUN);

	assert_int_equal(job->state, WH_JOB_FAILED);
	assert_int_equal(phase_on_disk(), WH_PHASES);
}

static int make_dir(void **state)
{
	(void)state;
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	char path[sizeof(dir) + 16];

	(void)state;
	(void)snprintf(path, sizeof(path), "%s/migrations", dir);
	return rmdir(path) + rmdir(dir);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_source_whose_qemu_is_gone_has_the_target_let_it_run),
		TEST(a_source_whose_qemu_lives_is_undone_once_libvirt_lets_go_of_it),
		TEST(a_source_that_libvirt_ends_after_all_has_moved),
		TEST(a_source_that_had_begun_no_more_leaves_memory_out),
		TEST(undoing_waits_for_libvirt_or_the_end_of_the_guest),
		TEST(a_source_that_ends_while_it_is_undone_has_not_moved),
		TEST(a_target_waits_for_the_sources_word_whatever_fails),
		TEST(a_target_commits_at_that_word_and_resumes_until_it_runs),
		TEST(a_commit_that_cannot_be_written_is_tried_again),
		TEST(a_qemu_that_cannot_be_watched_is_not_gone),
		TEST(a_target_whose_qemu_ends_before_it_is_undone),
		TEST(a_target_whose_guest_stays_removes_what_came),
		TEST(a_qemu_that_ends_first_leaves_its_domain_to_be_removed),
		TEST(what_came_is_removed_once_libvirt_can),
		TEST(what_libvirt_had_known_before_stays_defined),
		TEST(a_target_in_post_copy_is_resumed_by_libvirt),
		TEST(a_target_that_had_committed_resumes_at_once),
		TEST(a_wherryd_that_stops_leaves_the_next_one_the_monitor),
		TEST(a_target_that_had_begun_is_undone),
	};

	return cmocka_run_group_tests_name("job_domain", tests, make_dir, remove_dir);
}
