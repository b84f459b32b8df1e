/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Post-copy in the control plane: whatever fails, the guest at the target is not given up.
 *
 * The jobs are real, with a journal in a temporary directory. There is no other node: calling it
 * fails, and a peer that the test needs is one whose connection was never made.
 */

#include "job.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "wherry/clock.h"
#include "wherry/log.h"

static char dir[] = "/tmp/wherry-postcopy.XXXXXX";

struct fixture {
	struct wh_config config;
	struct wh_daemon daemon;
	struct wh_job *job;
};

static int setup(void **state)
{
	static struct fixture f;
	struct wh_error err;

	f = (struct fixture){ .config = { .node = "a", .state = dir } };
	f.daemon.config = &f.config;
	f.daemon.settings = wh_settings_defaults();
	f.daemon.socket_dir = dir;
	assert_true(sd_event_new(&f.daemon.loop) >= 0);
	/* Makes the journal's directory. */
	assert_int_equal(wh_recover(&f.daemon, &err), 0);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	struct wh_error err;

	while (f->daemon.jobs) {
		struct wh_job *job = f->daemon.jobs;

		f->daemon.jobs = job->next;
		assert_int_equal(wh_journal_remove(dir, job->record.id, &err), 0);
		wh_job_free(job);
	}
	f->daemon.turn = sd_event_source_disable_unref(f->daemon.turn);
	f->daemon.loop = sd_event_unref(f->daemon.loop);
	return 0;
}

/* A job whose guest has moved in post-copy; this process plays the hypervisor that lives. */
static struct wh_job *moved(struct fixture *f, enum wh_worker_role role, enum wh_job_state state)
{
	struct wh_job *job = wh_job_new(&f->daemon, role, state);
	struct wh_error err;

	wh_job_name(job, &(struct wh_move){ .id = "vm-1", .vm = "vm", .target = "b" });
	assert_int_equal(wh_process_identify(&job->record.vmm, getpid()), 0);
	job->postcopy = job->may_postcopy = true;
	job->continued = role == WH_ROLE_SOURCE;
	assert_int_equal(wh_job_record(job, WH_PHASE_POSTCOPY, &err), 0);
	f->job = job;
	return job;
}

static enum wh_phase phase_on_disk(const struct wh_job *job)
{
	struct wh_record rec;
	enum wh_phase phase;

	assert_int_equal(wh_journal_read(dir, job->record.id, &rec, NULL), 0);
	phase = rec.phase;
	wh_record_done(&rec);
	return phase;
}

/* --- source ----------------------------------------------------------------------------------- */

static void say(struct wh_job *job, enum wh_node_type type, bool committed, bool owed)
{
	struct wh_node_message msg = { .type = type, .committed = committed, .postcopy = owed };

	wh_postcopy_message(job, &msg);
}

static void a_source_that_loses_its_mover_pauses_and_tries_at_once(void **state)
{
	struct wh_job *job = moved(*state, WH_ROLE_SOURCE, WH_JOB_POSTCOPY);

	wh_postcopy_lost(job, "the link broke");

	assert_int_equal(job->state, WH_JOB_POSTCOPY_PAUSED);
	assert_non_null(job->timer.source);
	assert_non_null(strstr(job->note.text, "trying again now (the link broke)"));
}

static void pauses_between_attempts_double_up_to_30_s(void **state)
{
	static const char *const notes[] = { "now",    "1.00 s", "2.00 s", "4.00 s",
		                             "8.00 s", "16.0 s", "30.0 s", "30.0 s" };
	struct wh_job *job = moved(*state, WH_ROLE_SOURCE, WH_JOB_POSTCOPY);

	for (size_t i = 0; i < sizeof(notes) / sizeof(*notes); i++) {
		wh_postcopy_lost(job, "why");
		if (!strstr(job->note.text, notes[i]))
			fail_msg("'%s' is not '%s'", job->note.text, notes[i]);
	}
}

static void an_attempt_that_went_well_for_long_is_followed_by_one_at_once(void **state)
{
	struct wh_job *job = moved(*state, WH_ROLE_SOURCE, WH_JOB_POSTCOPY);

	for (int i = 0; i < 4; i++)
		wh_postcopy_lost(job, "why");
	wh_postcopy_enter(job);
	job->postcopy_ns -= 60 * WH_NSEC_PER_SEC;
	wh_postcopy_lost(job, "why");
	assert_non_null(strstr(job->note.text, "trying again now"));

	/* But not one that failed right away: that would go round and round. */
	wh_postcopy_enter(job);
	wh_postcopy_lost(job, "why");
	assert_null(strstr(job->note.text, "trying again now"));
}

static void a_source_that_cannot_call_its_target_stays_paused(void **state)
{
	struct wh_job *job = moved(*state, WH_ROLE_SOURCE, WH_JOB_POSTCOPY_PAUSED);
	struct wh_error err;

	assert_int_equal(wh_postcopy_recover(job, &err), 0);

	assert_int_equal(job->state, WH_JOB_POSTCOPY_PAUSED);
	assert_non_null(strstr(job->note.text, "node b is not in the configuration"));
	assert_non_null(job->timer.source);
}

static void to_recover_ends_the_pause_before(void **state)
{
	struct fixture *f = *state;
	struct wh_job *job = moved(f, WH_ROLE_SOURCE, WH_JOB_POSTCOPY);
	struct wh_error err;

	wh_postcopy_lost(job, "why"); /* it waits no time at all, but for the loop to turn */
	assert_int_equal(wh_postcopy_recover(job, &err), 0);
	wh_postcopy_enter(job);

	/* No timer was left that would try again. This ends: nothing is due but what has changed. */
	while (sd_event_run(f->daemon.loop, 0) > 0)
		;
	assert_int_equal(job->state, WH_JOB_POSTCOPY);
}

static void nothing_that_a_target_says_takes_the_guest_back(void **state)
{
	struct wh_job *job = moved(*state, WH_ROLE_SOURCE, WH_JOB_POSTCOPY);

	/* While all is well, and then in PostCopyPaused. */
	for (int i = 0; i < 2; i++) {
		for (enum wh_node_type t = 0; t < WH_NODE_TYPES; t++) {
			if (t == WH_NODE_WELCOME)
				continue; /* of a connection that there is not */
			say(job, t, false, false);
			say(job, t, true, true);
			assert_true(wh_job_in_postcopy(job));
			assert_false(job->retiring);
			assert_int_equal(phase_on_disk(job), WH_PHASE_POSTCOPY);
		}
		wh_postcopy_lost(job, "why");
	}
}

static void a_target_that_has_all_lets_the_source_go(void **state)
{
	struct wh_job *job = moved(*state, WH_ROLE_SOURCE, WH_JOB_POSTCOPY_PAUSED);

	job->record.vmm = (struct wh_process){ 0 }; /* there is nothing to quit */
	say(job, WH_NODE_ANSWER, true, false);

	assert_int_equal(job->state, WH_JOB_SUCCEEDED);
	assert_int_equal(phase_on_disk(job), WH_PHASE_DONE);
}

static void a_source_in_doubt_keeps_memory_that_is_owed(void **state)
{
	struct wh_job *job = moved(*state, WH_ROLE_SOURCE, WH_JOB_ASKING);
	struct wh_error err;

	job->postcopy = false; /* found in the journal: it does not know */
	assert_int_equal(wh_job_record(job, WH_PHASE_ASKING, &err), 0);

	wh_asking_answer(job, true, true);

	assert_int_equal(job->state, WH_JOB_POSTCOPY_PAUSED);
	assert_int_equal(phase_on_disk(job), WH_PHASE_POSTCOPY);
	assert_false(job->retiring);
}

static void a_mover_lost_before_the_word_came_is_replaced_after_it(void **state)
{
	struct wh_job *job = moved(*state, WH_ROLE_SOURCE, WH_JOB_HAND_OVER);

	job->mover_lost = true;
	wh_hand_over_running(job);

	assert_int_equal(job->state, WH_JOB_POSTCOPY_PAUSED);
	assert_non_null(job->timer.source);
}

/* --- target ----------------------------------------------------------------------------------- */

static void a_target_that_loses_its_mover_keeps_its_guest(void **state)
{
	struct wh_job *job = moved(*state, WH_ROLE_TARGET, WH_JOB_HAND_OVER);

	wh_target_settle(job);
	assert_int_equal(job->state, WH_JOB_POSTCOPY);

	wh_owed_lost(job, "killed");
	assert_int_equal(job->state, WH_JOB_POSTCOPY_PAUSED);
	wh_owed_lost(job, "killed again");
	wh_target_lost(job, "no connection");
	wh_job_fail(job, WH_OUTCOME_FAILED, "anything");

	assert_int_equal(job->state, WH_JOB_POSTCOPY_PAUSED);
	assert_int_equal(phase_on_disk(job), WH_PHASE_POSTCOPY);
	assert_false(job->retiring);
}

static void a_target_that_loses_its_mover_while_it_commits_keeps_its_guest(void **state)
{
	struct wh_job *job = moved(*state, WH_ROLE_TARGET, WH_JOB_HAND_OVER);

	job->resuming = true;
	wh_owed_lost(job, "killed");
	assert_int_equal(job->state, WH_JOB_HAND_OVER);
	wh_owed_monitor_lost(job, "QEMU does not answer");
	assert_int_equal(job->state, WH_JOB_HAND_OVER);
	assert_non_null(job->timer.source); /* it is asked again */

	wh_target_settle(job);

	assert_int_equal(job->state, WH_JOB_POSTCOPY_PAUSED);
}

static void memory_that_came_before_the_word_ends_it(void **state)
{
	struct wh_job *job = moved(*state, WH_ROLE_TARGET, WH_JOB_HAND_OVER);

	job->resuming = true;
	wh_owed_arrived(job);
	assert_int_equal(job->state, WH_JOB_HAND_OVER);

	wh_target_settle(job);

	assert_int_equal(job->state, WH_JOB_SUCCEEDED);
	assert_int_equal(phase_on_disk(job), WH_PHASE_DONE);
}

static void the_missing_file_goes_when_all_has_arrived(void **state)
{
	struct wh_job *job = moved(*state, WH_ROLE_TARGET, WH_JOB_HAND_OVER);
	FILE *file;

	(void)snprintf(job->record.missing, sizeof(job->record.missing), "%s/x.missing", dir);
	file = fopen(job->record.missing, "we");
	assert_non_null(file);
	assert_int_equal(fclose(file), 0);
	wh_target_settle(job);
	assert_int_equal(access(job->record.missing, F_OK), 0);

	wh_owed_arrived(job);

	assert_int_equal(job->state, WH_JOB_SUCCEEDED);
	assert_int_not_equal(access(job->record.missing, F_OK), 0);
}

static void a_target_found_in_the_journal_waits_for_its_source(void **state)
{
	struct wh_job *job = moved(*state, WH_ROLE_TARGET, WH_JOB_POSTCOPY_PAUSED);

	wh_owed_recover(job);

	assert_int_equal(job->state, WH_JOB_POSTCOPY_PAUSED);
	assert_non_null(strstr(job->note.text, "until node b resumes"));
}

static void a_guest_whose_hypervisor_is_gone_is_waited_for_no_more(void **state)
{
	struct wh_job *job = moved(*state, WH_ROLE_TARGET, WH_JOB_POSTCOPY);

	job->record.vmm.start++; /* the pid is another process' now */
	wh_owed_monitor_lost(job, "closed");

	assert_true(wh_job_is_over(job->state));
	assert_int_equal(phase_on_disk(job), WH_PHASE_DONE);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

static int make_dir(void **state)
{
	(void)state;
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	char path[sizeof(dir) + 64];

	(void)state;
	(void)snprintf(path, sizeof(path), "%s/migrations", dir);
	return rmdir(path) + rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_source_that_loses_its_mover_pauses_and_tries_at_once),
		TEST(pauses_between_attempts_double_up_to_30_s),
		TEST(an_attempt_that_went_well_for_long_is_followed_by_one_at_once),
		TEST(a_source_that_cannot_call_its_target_stays_paused),
		TEST(to_recover_ends_the_pause_before),
		TEST(nothing_that_a_target_says_takes_the_guest_back),
		TEST(a_target_that_has_all_lets_the_source_go),
		TEST(a_source_in_doubt_keeps_memory_that_is_owed),
		TEST(a_mover_lost_before_the_word_came_is_replaced_after_it),
		TEST(a_target_that_loses_its_mover_keeps_its_guest),
		TEST(a_target_that_loses_its_mover_while_it_commits_keeps_its_guest),
		TEST(memory_that_came_before_the_word_ends_it),
		TEST(the_missing_file_goes_when_all_has_arrived),
		TEST(a_target_found_in_the_journal_waits_for_its_source),
		TEST(a_guest_whose_hypervisor_is_gone_is_waited_for_no_more),
	};

	return cmocka_run_group_tests_name("job_postcopy", tests, make_dir, remove_dir);
}
