/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What the next wherryd makes of a source's domain that the one before it has left in the journal: if its QEMU lives,
 * and is not frozen, the guest is there; if it is frozen or gone, the target is asked.
 */

#include "job_domain.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "fake_libvirt.h"
#include "left_domain.h"

static bool is_forgotten(const struct left_domain *f)
{
	(void)f;
	return left_phase() == WH_PHASES;
}

#define TOKEN "ab000000000000000000000000000000"
#define OFF                                                                             \
	"vm {\"execute\":\"migrate-set-capabilities\",\"arguments\":{\"capabilities\":" \
	"[{\"capability\":\"x-ignore-shared\",\"state\":false}]}}"

/* Undone, and the target hears of it: only then is it forgotten. */
static void expect_undone(struct left_domain *f)
{
	assert_int_equal(f->job->state, WH_JOB_FAILED);
	assert_int_equal(left_phase(), WH_PHASE_BEGUN);
	left_take_call(f);
	left_expect_line(f, "{\"type\":\"hello\",\"min\":1,\"max\":5,\"node\":\"a\"}");
	left_say(f, "{\"type\":\"welcome\",\"version\":5,\"node\":\"b\"}");
	left_expect_line(f, "{\"type\":\"stay\",\"migration\":\"vm-1\",\"token\":\"" TOKEN "\"}");
	left_say(f, "{\"type\":\"closed\"}");
	left_run_until(f, is_forgotten);
}

static void expect_question(struct left_domain *f)
{
	left_take_call(f);
	left_expect_line(f, "{\"type\":\"hello\",\"min\":1,\"max\":5,\"node\":\"a\"}");
	left_say(f, "{\"type\":\"welcome\",\"version\":5,\"node\":\"b\"}");
	left_expect_line(f, "{\"type\":\"ask\",\"migration\":\"vm-1\",\"token\":\"" TOKEN "\"}");
}

/* The target says that it runs there. */
static void expect_finished(struct left_domain *f)
{
	left_say(f, "{\"type\":\"answer\",\"committed\":true}");
	left_expect_line(f,
	                 "{\"type\":\"finished\",\"migration\":\"vm-1\",\"token\":\"" TOKEN "\"}");
	left_say(f, "{\"type\":\"closed\"}");
	left_run_until(f, left_is_over);
	assert_int_equal(f->job->state, WH_JOB_SUCCEEDED);
}

static void a_source_whose_qemu_is_gone_asks_the_target(void **state)
{
	struct left_domain *f = *state;
	struct wh_job *job;

	left_end_vmm(f);
	job = left_recover(f, WH_ROLE_SOURCE, WH_PHASE_ASKING);
	assert_int_equal(job->state, WH_JOB_ASKING);
	assert_int_equal(left_phase(), WH_PHASE_ASKING);
	expect_question(f);
	expect_finished(f);
}

static bool was_killed(const struct left_domain *f)
{
	siginfo_t info = { 0 };

	assert_int_equal(waitid(P_PID, (id_t)f->vmm, &info, WEXITED | WNOHANG | WNOWAIT), 0);
	return info.si_code == CLD_KILLED && info.si_status == SIGKILL;
}

static void a_frozen_qemu_is_killed_if_the_guest_runs_at_the_target(void **state)
{
	struct left_domain *f = *state;
	struct wh_job *job;

	left_freeze(f);
	job = left_recover(f, WH_ROLE_SOURCE, WH_PHASE_ASKING);
	assert_int_equal(job->state, WH_JOB_ASKING);
	expect_question(f);
	assert_true(left_is_frozen(f));
	left_say(f, "{\"type\":\"answer\",\"committed\":true}");
	left_run_until(f, was_killed);
	assert_int_equal(left_phase(), WH_PHASE_DONE);
	left_end_vmm(f);
	left_expect_line(f,
	                 "{\"type\":\"finished\",\"migration\":\"vm-1\",\"token\":\"" TOKEN "\"}");
	left_say(f, "{\"type\":\"closed\"}");
	left_run_until(f, left_is_over);
	assert_int_equal(job->state, WH_JOB_SUCCEEDED);
}

static void a_frozen_qemu_goes_on_if_the_guest_does_not(void **state)
{
	struct left_domain *f = *state;
	struct wh_job *job;

	left_freeze(f);
	job = left_recover(f, WH_ROLE_SOURCE, WH_PHASE_ASKING);
	expect_question(f);
	assert_true(left_is_frozen(f));
	left_say(f, "{\"type\":\"answer\",\"committed\":false}");
	left_expect_call(f, OFF);
	assert_int_equal(job->state, WH_JOB_CANCELLING);
	assert_false(left_is_frozen(f));
	left_answer(f, "{\"return\":{}}");
	left_expect_call(f, "vm {\"execute\":\"query-status\"}");
	left_answer(f, "{\"return\":{\"status\":\"running\"}}");
	assert_int_equal(job->state, WH_JOB_FAILED);
}

static void a_frozen_qemu_goes_on_if_the_target_is_off_for_good(void **state)
{
	struct left_domain *f = *state;
	struct wh_job *job;

	left_freeze(f);
	job = left_recover(f, WH_ROLE_SOURCE, WH_PHASE_ASKING);
	assert_int_equal(job->state, WH_JOB_ASKING);
	wh_asking_abandon(job);
	left_expect_call(f, OFF);
	assert_int_equal(job->state, WH_JOB_CANCELLING);
	assert_false(left_is_frozen(f));
	assert_string_equal(job->reason.text, "node b is off, says the operator");
}

static void a_frozen_qemu_of_a_guest_that_has_moved_is_killed(void **state)
{
	struct left_domain *f = *state;

	left_freeze(f);
	(void)left_recover(f, WH_ROLE_SOURCE, WH_PHASE_DONE);
	left_run_until(f, was_killed);
}

/* As if there had been no other wherryd before: libvirt calls Finish. */
static struct wh_job *begin_finish(struct left_domain *f)
{
	struct wh_job *job = left_recover(f, WH_ROLE_SOURCE, WH_PHASE_ASKING);

	left_expect_call(f, "vm job");
	wh_domain_finish(job);
	assert_true(left_is_frozen(f));
	return job;
}

static void qemu_is_frozen_until_libvirt_hears_that_finish_failed(void **state)
{
	struct left_domain *f = *state;
	struct wh_job *job = begin_finish(f);

	wh_domain_finished(job, false);
	assert_false(left_is_frozen(f));
	assert_int_equal(left_phase(), WH_PHASE_ASKING);
}

static void qemu_is_killed_if_libvirt_does_not_hear_that_finish_went_well(void **state)
{
	struct left_domain *f = *state;
	struct wh_job *job = begin_finish(f);

	wh_domain_finished(job, true);
	assert_int_equal(left_phase(), WH_PHASE_DONE);
	assert_true(left_is_frozen(f));
	wh_domain_rpc_ended(job);
	left_run_until(f, was_killed);
}

static void the_target_is_asked_if_nobody_hears_how_finish_went(void **state)
{
	struct left_domain *f = *state;
	struct wh_job *job = begin_finish(f);

	wh_domain_rpc_ended(job);
	expect_question(f);
	assert_true(left_is_frozen(f));
	left_say(f, "{\"type\":\"answer\",\"committed\":true}");
	left_run_until(f, was_killed);
	assert_int_equal(left_phase(), WH_PHASE_DONE);
}

static void a_guest_whose_memory_has_not_landed_is_not_let_go(void **state)
{
	struct left_domain *f = *state;
	struct wh_job *job = left_recover(f, WH_ROLE_SOURCE, WH_PHASE_ASKING);

	job->continued = false;
	wh_domain_finish(job);
	assert_false(left_is_frozen(f));
	assert_false(job->domain->finishing);
}

static void a_source_whose_qemu_lives_is_undone_once_libvirt_lets_go_of_it(void **state)
{
	struct left_domain *f = *state;
	struct wh_job *job = left_recover(f, WH_ROLE_SOURCE, WH_PHASE_ASKING);

	left_expect_call(f, "vm job");
	left_answer_job(f, true);
	assert_int_equal(job->state, WH_JOB_ASKING);
	left_expect_call(f, "vm job");
	fake_libvirt_answer_job(f->daemon.libvirt, NULL, "libvirtd is away");
	assert_int_equal(job->state, WH_JOB_ASKING);
	left_expect_call(f, "vm job");
	left_answer_job(f, false);
	assert_int_equal(job->state, WH_JOB_CANCELLING);

	left_expect_call(f, OFF);
	left_answer(f, "{\"return\":{}}");
	left_expect_call(f, "vm {\"execute\":\"query-status\"}");
	left_answer(f, "{\"return\":{\"status\":\"paused\"}}");
	left_expect_call(f, "vm resume");
	left_answer(f, "");
	expect_undone(f);
}

static void a_source_that_libvirt_ends_after_all_asks(void **state)
{
	struct left_domain *f = *state;
	struct wh_job *job = left_recover(f, WH_ROLE_SOURCE, WH_PHASE_ASKING);

	left_expect_call(f, "vm job");
	left_end_vmm(f);
	expect_question(f);

	/* What libvirt says of it now is no matter. */
	left_answer_job(f, false);
	assert_int_equal(job->state, WH_JOB_ASKING);
	expect_finished(f);
}

static void a_source_that_had_begun_no_more_leaves_memory_out(void **state)
{
	struct left_domain *f = *state;
	struct wh_job *job = left_recover(f, WH_ROLE_SOURCE, WH_PHASE_BEGUN);

	assert_int_equal(job->state, WH_JOB_CANCELLING);
	left_expect_call(f, OFF);
	left_answer(f, "{\"return\":{}}");
	left_expect_call(f, "vm {\"execute\":\"query-status\"}");
	left_answer(f, "{\"return\":{\"status\":\"running\"}}");
	expect_undone(f);
}

static void undoing_waits_for_libvirt_or_the_end_of_the_guest(void **state)
{
	struct left_domain *f = *state;
	struct wh_job *job;

	fake_libvirt_connection(f->daemon.libvirt, "libvirtd is away");
	job = left_recover(f, WH_ROLE_SOURCE, WH_PHASE_BEGUN);
	assert_int_equal(job->state, WH_JOB_CANCELLING);
	assert_non_null(strstr(job->note.text, "libvirtd is away"));
	assert_int_equal(left_phase(), WH_PHASE_BEGUN);

	left_end_vmm(f);
	left_run_until(f, left_is_over);
	expect_undone(f);
}

static void a_source_that_ends_while_it_is_undone_has_not_moved(void **state)
{
	struct left_domain *f = *state;
	struct wh_job *job = left_recover(f, WH_ROLE_SOURCE, WH_PHASE_ASKING);

	left_expect_call(f, "vm job");
	fake_libvirt_connection(f->daemon.libvirt, "libvirtd is away");
	left_answer_job(f, false);
	assert_int_equal(job->state, WH_JOB_CANCELLING);

	left_end_vmm(f);
	left_run_until(f, left_is_over);
	expect_undone(f);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, left_begin, left_end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_source_whose_qemu_is_gone_asks_the_target),
		TEST(a_frozen_qemu_is_killed_if_the_guest_runs_at_the_target),
		TEST(a_frozen_qemu_goes_on_if_the_guest_does_not),
		TEST(a_frozen_qemu_goes_on_if_the_target_is_off_for_good),
		TEST(a_frozen_qemu_of_a_guest_that_has_moved_is_killed),
		TEST(qemu_is_frozen_until_libvirt_hears_that_finish_failed),
		TEST(qemu_is_killed_if_libvirt_does_not_hear_that_finish_went_well),
		TEST(the_target_is_asked_if_nobody_hears_how_finish_went),
		TEST(a_guest_whose_memory_has_not_landed_is_not_let_go),
		TEST(a_source_whose_qemu_lives_is_undone_once_libvirt_lets_go_of_it),
		TEST(a_source_that_libvirt_ends_after_all_asks),
		TEST(a_source_that_had_begun_no_more_leaves_memory_out),
		TEST(undoing_waits_for_libvirt_or_the_end_of_the_guest),
		TEST(a_source_that_ends_while_it_is_undone_has_not_moved),
	};

	return cmocka_run_group_tests_name("job_domain_source", tests, left_make_dir,
	                                   left_remove_dir);
}
