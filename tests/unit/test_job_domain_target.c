/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What the next wherryd makes of a target's domain that the one before it has left in the journal: it waits for the
 * source's word, and when it is asked, finds out.
 */

#include "job_domain.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "fake_libvirt.h"
#include "files.h"
#include "forgotten.h"
#include "left_domain.h"

#include "wherry/clock.h"

static void a_target_waits_for_the_sources_word_whatever_fails(void **state)
{
	struct left_domain *f = *state;
	struct wh_job *job = left_recover(f, WH_ROLE_TARGET, WH_PHASE_ASKING);

	wh_target_lost(job, "the connection broke");
	wh_job_fail(job, WH_OUTCOME_CANCELLED, "somebody wants it");

	assert_int_equal(job->state, WH_JOB_HAND_OVER);
	assert_false(wh_job_can_undo(job));
	assert_int_equal(left_phase(), WH_PHASE_ASKING);
	assert_int_equal(fake_libvirt_due(f->daemon.libvirt), 0);
}

/* As if there had been no other wherryd before: the source's libvirt calls Finish. */
static struct wh_job *begin_finish(struct left_domain *f)
{
	struct wh_job *job = left_recover(f, WH_ROLE_TARGET, WH_PHASE_ASKING);

	job->domain->recovered = false;
	wh_domain_target_finish(job);
	assert_int_equal(left_phase(), WH_PHASE_DONE);
	assert_false(left_is_frozen(f)); /* again */
	assert_true(job->resuming);
	return job;
}

static void finish_is_the_commit_and_resume_its_end(void **state)
{
	struct left_domain *f = *state;
	struct wh_job *job = begin_finish(f);

	wh_domain_resumed(job); /* QEMU says so */
	assert_false(job->resuming);
	left_run_until(f, left_is_over);
	assert_int_equal(job->state, WH_JOB_SUCCEEDED);
	assert_int_equal(left_phase(), WH_PHASE_DONE);
}

static void a_commit_is_taken_back_if_qemu_ends_before_it_resumes_the_guest(void **state)
{
	struct left_domain *f = *state;
	struct wh_job *job = begin_finish(f);

	wh_domain_target_finished(job, false);
	assert_false(wh_job_is_over(job->state));
	left_end_vmm(f);
	left_run_until(f, left_is_over);
	assert_int_equal(job->state, WH_JOB_FAILED);
	assert_int_equal(left_phase(), WH_PHASES);
}

static void leave(const char *name, const char *text)
{
	char path[96];
	struct wh_error err;

	(void)snprintf(path, sizeof(path), "%s/%s", left_dir, name);
	assert_int_equal(wh_file_replace(path, text, strlen(text), &err), 0);
}

static void take_away(const char *name)
{
	char path[96];

	(void)snprintf(path, sizeof(path), "%s/%s", left_dir, name);
	assert_int_equal(unlink(path), 0);
}

static void a_domain_that_libvirt_forgot_is_told_by_what_it_left(void **state)
{
	struct left_domain *f = *state;
	struct wh_error why;

	assert_false(wh_domain_is_forgotten(&f->daemon, "vm", &why));
	leave("vm.pid", "1\n"); /* its QEMU is gone, and the number is another's now */
	leave("vm.xml", "<domstatus/>");
	assert_true(wh_domain_is_forgotten(&f->daemon, "vm", &why));
	assert_non_null(strstr(why.text, "and left /tmp/"));

	assert_false(wh_domain_is_forgotten(&f->daemon, "vm-2", &why));
	fake_libvirt_connection(f->daemon.libvirt, "libvirtd is away");
	assert_false(wh_domain_is_forgotten(&f->daemon, "vm", &why));
	take_away("vm.xml");
	take_away("vm.pid");
}

static void qemu_is_killed_if_the_commit_cannot_be_written(void **state)
{
	struct left_domain *f = *state;
	struct wh_job *job = left_recover(f, WH_ROLE_TARGET, WH_PHASE_ASKING);
	char missing[] = "/tmp/wherry-domain.none/none";

	f->config.state = missing;
	wh_domain_target_finish(job);
	f->config.state = left_dir;
	left_run_until(f, left_is_over);
	assert_int_equal(job->state, WH_JOB_FAILED);
	assert_int_equal(left_phase(), WH_PHASES);
}

/* An earlier wherryd may have told libvirt to let it run, as its last deed. */
static void a_target_that_is_asked_finds_out(void **state)
{
	struct left_domain *f = *state;
	struct wh_job *job = left_recover(f, WH_ROLE_TARGET, WH_PHASE_ASKING);

	wh_target_ask(job, NULL);
	assert_int_equal(left_phase(), WH_PHASE_DONE);
	left_expect_call(f, "vm resume");
	wh_target_ask(job, NULL); /* asked again meanwhile */
	fake_libvirt_answer(f->daemon.libvirt, NULL, "another job has the domain");
	assert_false(wh_job_is_over(job->state));
	left_expect_call(f, "vm resume");
	left_answer(f, "");
	assert_int_equal(fake_libvirt_due(f->daemon.libvirt), 0);
	left_run_until(f, left_is_over);

	assert_int_equal(job->state, WH_JOB_SUCCEEDED);
	assert_int_equal(left_phase(), WH_PHASE_DONE);
}

static void a_target_whose_libvirt_ends_it_then_takes_that_back(void **state)
{
	struct left_domain *f = *state;
	struct wh_job *job = left_recover(f, WH_ROLE_TARGET, WH_PHASE_ASKING);

	wh_target_ask(job, NULL);
	assert_int_equal(left_phase(), WH_PHASE_DONE);
	left_expect_call(f, "vm resume");
	left_end_vmm(f);
	fake_libvirt_answer(f->daemon.libvirt, NULL, "it has ended");
	left_run_until(f, left_is_over);

	assert_int_equal(job->state, WH_JOB_FAILED);
	assert_int_equal(left_phase(), WH_PHASES);
}

static bool is_undoing(const struct left_domain *f)
{
	return f->job->state == WH_JOB_CANCELLING;
}

static void a_source_that_waits_for_the_end_of_an_undo_hears_of_it(void **state)
{
	wh_cleanup(wh_peer_closep) struct wh_peer *peer = NULL;
	struct left_domain *f = *state;
	struct wh_job *job = left_recover(f, WH_ROLE_TARGET, WH_PHASE_ASKING);

	wh_target_ask(job, NULL);
	left_expect_call(f, "vm resume");
	left_end_vmm(f);
	left_run_until(f, is_undoing); /* which waits for that answer */
	peer = left_call(f);
	wh_domain_stay(job, peer);
	assert_int_equal(job->state, WH_JOB_CANCELLING);
	fake_libvirt_answer(f->daemon.libvirt, NULL, "it has ended");
	assert_int_equal(job->state, WH_JOB_FAILED);
	left_expect_line(f, "{\"type\":\"closed\"}");
}

static void a_commit_that_cannot_be_written_is_tried_when_asked_again(void **state)
{
	struct left_domain *f = *state;
	struct wh_job *job = left_recover(f, WH_ROLE_TARGET, WH_PHASE_ASKING);
	char missing[] = "/tmp/wherry-domain.none/none";

	f->config.state = missing;
	wh_target_ask(job, NULL);
	assert_int_equal(fake_libvirt_due(f->daemon.libvirt), 0);
	assert_false(wh_phase_is_committed(job->record.phase));
	f->config.state = left_dir;

	wh_target_ask(job, NULL);
	left_expect_call(f, "vm resume");
	assert_int_equal(left_phase(), WH_PHASE_DONE);
}

static void a_guest_that_stood_still_is_here_once_libvirt_has_done_its_part(void **state)
{
	struct left_domain *f = *state;
	struct wh_job *job = left_recover(f, WH_ROLE_TARGET, WH_PHASE_ASKING);

	job->record.running = false;
	wh_target_ask(job, NULL);
	left_expect_call(f, "vm job");
	left_answer_job(f, true);
	assert_false(wh_job_is_over(job->state));
	left_expect_call(f, "vm job");
	left_answer_job(f, false);
	left_run_until(f, left_is_over);
	assert_int_equal(job->state, WH_JOB_SUCCEEDED);
}

static void a_frozen_target_is_thawed(void **state)
{
	struct left_domain *f = *state;

	left_freeze(f);
	(void)left_recover(f, WH_ROLE_TARGET, WH_PHASE_ASKING);
	assert_false(left_is_frozen(f));
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

static bool is_gone(const struct left_domain *f)
{
	return f->job->domain->vmm_gone;
}

static void a_qemu_that_cannot_be_watched_is_not_gone(void **state)
{
	struct left_domain *f = *state;
	struct wh_job *job = left_recover(f, WH_ROLE_TARGET, WH_PHASE_ASKING);
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

	left_end_vmm(f);
	left_run_until(f, is_gone);
	wh_watch_stop(&job->domain->vmm_watch);
	wh_timer_stop(&other);
}

static void a_target_whose_qemu_ends_before_it_is_undone(void **state)
{
	struct left_domain *f = *state;
	struct wh_job *job = left_recover(f, WH_ROLE_TARGET, WH_PHASE_ASKING);

	left_end_vmm(f);
	left_run_until(f, left_is_over);

	assert_int_equal(job->state, WH_JOB_FAILED);
	assert_int_equal(left_phase(), WH_PHASES);
}

static void a_target_whose_guest_stays_removes_what_came(void **state)
{
	struct left_domain *f = *state;
	struct wh_job *job = left_recover(f, WH_ROLE_TARGET, WH_PHASE_ASKING);

	wh_domain_stay(job, NULL);
	left_expect_call(f, "vm destroy");
	assert_int_equal(job->state, WH_JOB_HAND_OVER);
	left_answer(f, "");
	left_expect_call(f, "vm undefine");
	left_answer(f, "");
	left_run_until(f, left_is_over);

	assert_int_equal(job->state, WH_JOB_FAILED);
	assert_int_equal(left_phase(), WH_PHASES);
}

static void a_qemu_that_ends_first_leaves_its_domain_to_be_removed(void **state)
{
	struct left_domain *f = *state;
	struct wh_job *job = left_recover(f, WH_ROLE_TARGET, WH_PHASE_ASKING);

	wh_domain_stay(job, NULL);
	left_expect_call(f, "vm destroy");
	left_end_vmm(f);
	left_run_until(f, is_gone);
	wh_job_fail(job, WH_OUTCOME_FAILED, "its monitor is lost, too");
	assert_false(wh_job_is_over(job->state));
	left_answer(f, "");
	left_expect_call(f, "vm undefine");
	left_answer(f, "");
	left_run_until(f, left_is_over);

	assert_int_equal(left_phase(), WH_PHASES);
}

static void what_came_is_removed_once_libvirt_can(void **state)
{
	struct left_domain *f = *state;
	struct wh_job *job = left_recover(f, WH_ROLE_TARGET, WH_PHASE_ASKING);

	wh_domain_stay(job, NULL);
	wh_domain_stay(job, NULL); /* said again meanwhile */
	left_expect_call(f, "vm destroy");
	fake_libvirt_answer(f->daemon.libvirt, NULL, "libvirtd is away");
	assert_int_equal(fake_libvirt_due(f->daemon.libvirt), 0);
	left_expect_call(f, "vm destroy");
	left_end_vmm(f);
	left_answer(f, "");
	left_expect_call(f, "vm undefine");
	fake_libvirt_connection(f->daemon.libvirt, "libvirtd is away");
	fake_libvirt_answer(f->daemon.libvirt, NULL, "libvirtd is away");
	left_expect_call(f, "vm undefine");
	fake_libvirt_connection(f->daemon.libvirt, "");
	left_answer(f, "");
	left_run_until(f, left_is_over);

	assert_int_equal(left_phase(), WH_PHASES);
}

static void what_libvirt_had_known_before_stays_defined(void **state)
{
	struct left_domain *f = *state;
	struct wh_job *job;

	f->defined = true;
	job = left_recover(f, WH_ROLE_TARGET, WH_PHASE_ASKING);
	wh_domain_stay(job, NULL);
	left_expect_call(f, "vm destroy");
	left_answer(f, "");
	left_run_until(f, left_is_over);

	assert_int_equal(fake_libvirt_due(f->daemon.libvirt), 0);
	assert_int_equal(left_phase(), WH_PHASES);
}

static void a_target_in_post_copy_is_resumed_by_libvirt(void **state)
{
	struct left_domain *f = *state;
	struct wh_job *job = left_recover(f, WH_ROLE_TARGET, WH_PHASE_POSTCOPY);

	assert_int_equal(job->state, WH_JOB_HAND_OVER);
	left_expect_call(f, "vm resume");
	fake_libvirt_answer(f->daemon.libvirt, NULL, "libvirtd is away");
	left_expect_call(f, "vm resume");
	left_answer(f, "");

	assert_false(job->resuming);
	assert_int_equal(job->state, WH_JOB_POSTCOPY_PAUSED); /* until the source resumes */
	assert_int_equal(left_phase(), WH_PHASE_POSTCOPY);
}

static void a_target_that_had_committed_resumes_at_once(void **state)
{
	struct left_domain *f = *state;
	struct wh_job *job = left_recover(f, WH_ROLE_TARGET, WH_PHASE_DONE);

	left_expect_call(f, "vm resume");
	left_answer(f, "");
	left_run_until(f, left_is_over);
	assert_int_equal(job->state, WH_JOB_SUCCEEDED);
}

/* libvirt has not read that it was to let it run: it knows no such domain. */
static void a_commit_of_a_guest_that_never_ran_is_taken_back(void **state)
{
	struct left_domain *f = *state;
	struct wh_job *job;

	left_end_vmm(f);
	fake_libvirt_connection(f->daemon.libvirt, "libvirtd is away");
	job = left_recover(f, WH_ROLE_TARGET, WH_PHASE_POSTCOPY);
	assert_int_equal(job->state, WH_JOB_HAND_OVER);
	assert_int_equal(left_phase(), WH_PHASE_POSTCOPY);
	fake_libvirt_connection(f->daemon.libvirt, "");
	left_run_until(f, left_is_over);

	assert_int_equal(job->state, WH_JOB_FAILED);
	assert_int_equal(left_phase(), WH_PHASES);
}

/* A source that asks meanwhile must not hear that it has come. */
static void a_source_that_asks_early_is_answered_when_it_is_known(void **state)
{
	static const struct wh_domain ending = { .name = "vm" };
	wh_cleanup(wh_peer_closep) struct wh_peer *peer = NULL;
	struct left_domain *f = *state;
	struct wh_job *job;

	left_end_vmm(f);
	fake_libvirt_connection(f->daemon.libvirt, "libvirtd is away");
	job = left_recover(f, WH_ROLE_TARGET, WH_PHASE_POSTCOPY);
	peer = left_call(f);
	wh_target_ask(job, peer);
	fake_libvirt_know(f->daemon.libvirt,
	                  &ending); /* not defined, and it has not forgotten it yet */
	fake_libvirt_connection(f->daemon.libvirt, "");
	left_run_until(f, left_is_over);
	left_expect_line(f, "{\"type\":\"failed\",\"reason\":\"libvirt has ended the domain here "
	                    "before the guest ran\"}");
}

static void a_guest_that_libvirt_had_let_run_was_here(void **state)
{
	static struct wh_domain domain = { .name = "vm", .active = true, .persistent = true };
	struct left_domain *f = *state;
	struct wh_job *job;

	left_end_vmm(f);
	fake_libvirt_know(f->daemon.libvirt, &domain);
	job = left_recover(f, WH_ROLE_TARGET, WH_PHASE_DONE);
	assert_false(wh_job_is_over(job->state));
	domain.active = false; /* as it becomes */
	left_run_until(f, left_is_over);

	assert_int_equal(job->state, WH_JOB_SUCCEEDED);
	assert_int_equal(left_phase(), WH_PHASE_DONE);
}

/* libvirt refuses to resume it. */
static void a_guest_that_runs_needs_not_be_resumed(void **state)
{
	static const struct wh_domain domain = { .name = "vm", .active = true, .running = true };
	struct left_domain *f = *state;
	struct wh_job *job = left_recover(f, WH_ROLE_TARGET, WH_PHASE_DONE);

	left_expect_call(f, "vm resume");
	fake_libvirt_know(f->daemon.libvirt, &domain);
	fake_libvirt_answer(f->daemon.libvirt, NULL, "domain is already running");
	left_run_until(f, left_is_over);
	assert_int_equal(job->state, WH_JOB_SUCCEEDED);
}

static void a_wherryd_that_stops_leaves_the_next_one_the_monitor(void **state)
{
	struct left_domain *f = *state;
	char path[96];
	struct wh_error err;

	(void)snprintf(path, sizeof(path), "%s/wherry-monitor-vm-1", left_dir);
	assert_int_equal(wh_file_replace(path, "", 0, &err), 0);
	(void)left_recover(f, WH_ROLE_TARGET, WH_PHASE_ASKING);
	left_end_jobs(f);
	assert_int_equal(access(path, F_OK), 0);

	left_end_vmm(f);
	(void)left_recover(f, WH_ROLE_TARGET, WH_PHASE_ASKING);
	assert_int_equal(access(path, F_OK), -1);
}

/* What the guest's memory was to be in. */
static int add_ram(struct wh_job *job, char *path)
{
	struct wh_ram *ram = &job->record.ram;
	struct stat st;
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(wh_ram_add(ram, "pc.ram", path, 4096), 0);
	ram->files[0].dev = st.st_dev;
	ram->files[0].ino = st.st_ino;
	return close(fd);
}

static void ram_that_libvirt_has_forgotten_is_removed(void **state)
{
	char path[] = "/dev/shm/wherry-test-XXXXXX";
	struct left_domain *f = *state;
	struct wh_job *job = left_recover(f, WH_ROLE_TARGET, WH_PHASE_ASKING);

	assert_int_equal(add_ram(job, path), 0);
	left_end_vmm(f);
	left_run_until(f, left_is_over);
	assert_int_equal(unlink(path), -1);
}

static void ram_is_not_taken_from_a_qemu_that_is_there(void **state)
{
	char path[] = "/dev/shm/wherry-test-XXXXXX";
	struct left_domain *f = *state;
	struct wh_job *job = left_recover(f, WH_ROLE_TARGET, WH_PHASE_ASKING);

	assert_int_equal(add_ram(job, path), 0);
	wh_domain_stay(job, NULL);
	left_answer(f, "");
	left_answer(f, "");
	left_run_until(f, left_is_over);
	assert_int_equal(unlink(path), 0);
}

static void a_target_that_had_begun_is_undone(void **state)
{
	struct wh_job *job = left_recover(*state, WH_ROLE_TARGET, WH_PHASE_BEGUN);

	assert_int_equal(job->state, WH_JOB_FAILED);
	assert_int_equal(left_phase(), WH_PHASES);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, left_begin, left_end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_target_waits_for_the_sources_word_whatever_fails),
		TEST(finish_is_the_commit_and_resume_its_end),
		TEST(a_commit_is_taken_back_if_qemu_ends_before_it_resumes_the_guest),
		TEST(a_domain_that_libvirt_forgot_is_told_by_what_it_left),
		TEST(qemu_is_killed_if_the_commit_cannot_be_written),
		TEST(a_target_that_is_asked_finds_out),
		TEST(a_target_whose_libvirt_ends_it_then_takes_that_back),
		TEST(a_source_that_waits_for_the_end_of_an_undo_hears_of_it),
		TEST(a_commit_that_cannot_be_written_is_tried_when_asked_again),
		TEST(a_guest_that_stood_still_is_here_once_libvirt_has_done_its_part),
		TEST(a_frozen_target_is_thawed),
		TEST(a_qemu_that_cannot_be_watched_is_not_gone),
		TEST(a_target_whose_qemu_ends_before_it_is_undone),
		TEST(a_target_whose_guest_stays_removes_what_came),
		TEST(a_qemu_that_ends_first_leaves_its_domain_to_be_removed),
		TEST(what_came_is_removed_once_libvirt_can),
		TEST(what_libvirt_had_known_before_stays_defined),
		TEST(a_target_in_post_copy_is_resumed_by_libvirt),
		TEST(a_target_that_had_committed_resumes_at_once),
		TEST(a_commit_of_a_guest_that_never_ran_is_taken_back),
		TEST(a_source_that_asks_early_is_answered_when_it_is_known),
		TEST(a_guest_that_libvirt_had_let_run_was_here),
		TEST(a_guest_that_runs_needs_not_be_resumed),
		TEST(a_wherryd_that_stops_leaves_the_next_one_the_monitor),
		TEST(ram_that_libvirt_has_forgotten_is_removed),
		TEST(ram_is_not_taken_from_a_qemu_that_is_there),
		TEST(a_target_that_had_begun_is_undone),
	};

	return cmocka_run_group_tests_name("job_domain_target", tests, left_make_dir,
	                                   left_remove_dir);
}
