/* SPDX-License-Identifier: Apache-2.0 */

/* Which guests a node reports. No hypervisor listens here: those of the configuration are not here. */

#include "census.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "job.h"

#include "wherry/log.h"

#define NOTE(inner) "<vm xmlns=\"urn:wherry:domain:1\"" inner "</vm>"

struct fixture {
	char qmp[32];
	struct wh_vm vm;
	struct wh_config config;
	struct wh_daemon daemon;
	struct wh_domain domains[4];
	size_t domain_count;
	struct wh_census *census;
	const struct wh_report_vm *vms; /* of the last look */
	size_t count;
	unsigned shadowed, refused; /* lines of the log */
};

static void on_log(void *ctx, const struct wh_log_event *event)
{
	struct fixture *f = ctx;

	f->shadowed += !strcmp(event->event, "domain.shadowed");
	f->refused += !strcmp(event->event, "domain.note-refused");
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	(void)snprintf(f->qmp, sizeof(f->qmp), "/nowhere/db1.qmp");
	f->vm = (struct wh_vm){ .name = "db1", .name_space = "prod", .qmp = f->qmp };
	f->config = (struct wh_config){ .vms = &f->vm, .vm_count = 1 };
	f->daemon = (struct wh_daemon){ .config = &f->config };
	f->census = wh_census_open(&f->daemon);
	wh_log_setup(&(struct wh_log_config){ .level = WH_LOG_INFO, .tap = on_log, .tap_ctx = f });
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	f->census = wh_census_close(f->census);
	while (f->daemon.jobs) {
		struct wh_job *job = f->daemon.jobs;

		f->daemon.jobs = job->next;
		wh_job_free(job);
	}
	wh_log_setup(&(struct wh_log_config){ .level = WH_LOG_INFO });
	free(f);
	return 0;
}

static struct wh_domain *add(struct fixture *f, const char *name, bool active, const char *metadata)
{
	struct wh_domain *domain = &f->domains[f->domain_count++];

	*domain = (struct wh_domain){ .active = active,
		                      .memory_bytes = UINT64_C(1) << 30,
		                      .metadata = metadata };
	(void)snprintf(domain->name, sizeof(domain->name), "%s", name);
	return domain;
}

static void look(struct fixture *f)
{
	const struct wh_domain_list domains = { f->domains, f->domain_count };

	f->vms = wh_census_look(f->census, &domains, &f->count);
}

static void without_libvirt_there_is_the_configuration(void **state)
{
	struct fixture *f = *state;

	look(f);

	assert_int_equal(f->count, 1);
	assert_string_equal(f->vms[0].name, "db1");
	assert_string_equal(f->vms[0].name_space, "prod");
	assert_false(f->vms[0].here);
	assert_false(f->vms[0].libvirt);
}

static void domains_are_guests_beside_the_configuration(void **state)
{
	struct fixture *f = *state;

	(void)add(f, "guest", true, "");
	(void)add(f, "off", false, "");
	look(f);

	assert_int_equal(f->count, 3);
	assert_string_equal(f->vms[0].name, "db1");
	assert_string_equal(f->vms[1].name, "guest");
	assert_string_equal(f->vms[1].name_space, "default");
	assert_true(f->vms[1].here);
	assert_true(f->vms[1].libvirt);
	assert_int_equal(f->vms[1].memory_bytes, UINT64_C(1) << 30);
	assert_int_equal(f->vms[1].labels.count, 0);
	assert_string_equal(f->vms[2].name, "off");
	assert_false(f->vms[2].here);
}

static void metadata_has_the_namespace_and_labels(void **state)
{
	struct fixture *f = *state;
	struct wh_domain *guest =
		add(f, "guest", true, NOTE(" namespace='shop'><label key='role' value='db'/>"));

	look(f);
	look(f);
	assert_string_equal(f->vms[1].name_space, "shop");
	assert_string_equal(wh_labels_get(&f->vms[1].labels, "role"), "db");

	guest->metadata = NOTE("><label key='role' value='web'/>");
	look(f);
	assert_string_equal(f->vms[1].name_space, "default");
	assert_string_equal(wh_labels_get(&f->vms[1].labels, "role"), "web");

	guest->metadata = "";
	look(f);
	assert_int_equal(f->vms[1].labels.count, 0);
	assert_int_equal(f->refused, 0);
}

static void metadata_that_cannot_be_read_counts_as_none(void **state)
{
	struct fixture *f = *state;
	struct wh_domain *guest = add(f, "guest", true, NOTE("><label key='a b' value=''/>"));

	look(f);
	look(f);
	assert_int_equal(f->count, 2);
	assert_string_equal(f->vms[1].name_space, "default");
	assert_int_equal(f->vms[1].labels.count, 0);
	assert_int_equal(f->refused, 1); /* it is said once */

	guest->metadata = NOTE(" name='x'>");
	look(f);
	assert_int_equal(f->refused, 2);
}

static void the_configuration_counts_more_than_a_domain(void **state)
{
	struct fixture *f = *state;

	(void)add(f, "db1", true, "");
	(void)add(f, "guest", true, "");
	look(f);
	look(f);

	assert_int_equal(f->count, 2);
	assert_false(f->vms[0].libvirt);
	assert_false(f->vms[0].here);
	assert_string_equal(f->vms[1].name, "guest");
	assert_int_equal(f->shadowed, 1); /* it is said once */
}

static void domains_come_and_go(void **state)
{
	struct fixture *f = *state;

	(void)add(f, "b", true, NOTE("><label key='of' value='b'/>"));
	(void)add(f, "d", true, NOTE("><label key='of' value='d'/>"));
	look(f);

	f->domain_count = 0;
	(void)add(f, "a", true, NOTE("><label key='of' value='a'/>"));
	(void)add(f, "c", true, "");
	(void)add(f, "d", true, NOTE("><label key='of' value='d'/>"));
	(void)add(f, "e", true, NOTE("><label key='of' value='e'/>"));
	look(f);
	assert_int_equal(f->count, 5);
	assert_string_equal(wh_labels_get(&f->vms[1].labels, "of"), "a");
	assert_null(wh_labels_get(&f->vms[2].labels, "of"));
	assert_string_equal(wh_labels_get(&f->vms[3].labels, "of"), "d");
	assert_string_equal(wh_labels_get(&f->vms[4].labels, "of"), "e");

	f->domain_count = 0; /* the connection is lost */
	look(f);
	assert_int_equal(f->count, 1);
}

static void while_a_domain_is_moved_its_job_knows_where_it_is(void **state)
{
	static const struct {
		enum wh_worker_role role;
		enum wh_phase phase;
		bool here;
	} cases[] = {
		{ WH_ROLE_SOURCE, WH_PHASE_BEGUN, true }, { WH_ROLE_SOURCE, WH_PHASE_ASKING, true },
		{ WH_ROLE_SOURCE, WH_PHASE_DONE, false }, { WH_ROLE_TARGET, WH_PHASE_BEGUN, false },
		{ WH_ROLE_TARGET, WH_PHASE_DONE, true },
	};
	struct fixture *f = *state;
	struct wh_domain *guest = add(f, "guest", true, "");

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct wh_job *job = wh_job_new(&f->daemon, cases[i].role, WH_JOB_PREPARING);

		(void)snprintf(job->record.vm, sizeof(job->record.vm), "guest");
		job->record.phase = cases[i].phase;
		/* libvirt shows it on both sides while it is moved, and then on one. */
		for (int active = 0; active <= 1; active++) {
			guest->active = active;
			look(f);
			assert_int_equal(f->vms[1].here, cases[i].here);
		}
		job->state = WH_JOB_SUCCEEDED;
	}
	look(f);
	assert_true(f->vms[1].here); /* as libvirt says */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest census[] = {
		TEST(without_libvirt_there_is_the_configuration),
		TEST(domains_are_guests_beside_the_configuration),
		TEST(metadata_has_the_namespace_and_labels),
		TEST(metadata_that_cannot_be_read_counts_as_none),
		TEST(the_configuration_counts_more_than_a_domain),
		TEST(domains_come_and_go),
		TEST(while_a_domain_is_moved_its_job_knows_where_it_is),
	};

	return cmocka_run_group_tests(census, NULL, NULL);
}
