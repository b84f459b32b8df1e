/* SPDX-License-Identifier: Apache-2.0 */

/*
 * libvirt's own test driver, which keeps domains in the memory of this process, through the real
 * library. Its domain "test" runs.
 */

#include "libvirt.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_US (20ull * 1000 * 1000)
#define ANSWERS_MAX 64

struct answer {
	char *text;
	char *error;
};

struct fixture {
	sd_event *loop;
	struct wh_libvirt *libvirt;
	struct answer answers[ANSWERS_MAX];
	size_t answered;
	unsigned changes;
	char closed[WH_NAME_MAX]; /* the last domain that was "CLOSED" */
	char directory[sizeof("/tmp/wherry-test-libvirt-XXXXXX")];
	char uri[128];
	char file[64];
	struct wh_libvirt_job job;
};

static void on_changed(void *ctx)
{
	struct fixture *f = ctx;

	f->changes++;
}

static void on_event(void *ctx, const char *domain, const char *event, const json_t *data)
{
	struct fixture *f = ctx;

	assert_string_equal(event, "CLOSED");
	assert_null(data);
	(void)snprintf(f->closed, sizeof(f->closed), "%s", domain);
}

static void on_answer(void *ctx, const char *text, const char *error)
{
	struct fixture *f = ctx;
	struct answer *answer = &f->answers[f->answered++];

	assert_true(f->answered < ANSWERS_MAX);
	assert_int_equal(!text, !!error);
	answer->text = text ? strdup(text) : NULL;
	answer->error = error ? strdup(error) : NULL;
}

static void on_job(void *ctx, const struct wh_libvirt_job *job, const char *error)
{
	struct fixture *f = ctx;

	if (job)
		f->job = *job;
	on_answer(ctx, job ? "" : NULL, error);
}

static void open_uri(struct fixture *f, const char *uri)
{
	const struct wh_libvirt_handler handler = { on_changed, on_event, f };
	struct wh_error err;

	assert_int_equal(wh_libvirt_open(&f->libvirt, f->loop, uri, &handler, &err), 0);
}

/* One turn of the loop; a test that waits for something that does not happen fails here. */
static void turn(struct fixture *f)
{
	assert_true(sd_event_run(f->loop, PATIENCE_US) > 0);
}

static void wait_until_connected(struct fixture *f)
{
	while (!wh_libvirt_connected(f->libvirt, NULL))
		turn(f);
}

/* The next answer. */
static const struct answer *wait_for_answer(struct fixture *f)
{
	const size_t before = f->answered;

	while (f->answered == before)
		turn(f);
	return &f->answers[before];
}

static const struct wh_domain *wait_for(struct fixture *f, bool active, bool running)
{
	const struct wh_domain *domain = wh_libvirt_domain(f->libvirt, "test");

	while (!domain || domain->active != active || domain->running != running) {
		turn(f);
		domain = wh_libvirt_domain(f->libvirt, "test");
	}
	return domain;
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	if (!f || sd_event_new(&f->loop) < 0)
		return -1;
	(void)snprintf(f->directory, sizeof(f->directory), "/tmp/wherry-test-libvirt-XXXXXX");
	if (!mkdtemp(f->directory))
		return -1;
	(void)snprintf(f->file, sizeof(f->file), "%s/node.xml", f->directory);
	(void)snprintf(f->uri, sizeof(f->uri), "test://%s", f->file);
	*state = f;
	return 0;
}

static int set_up_connected(void **state)
{
	struct fixture *f;

	if (set_up(state) < 0)
		return -1;
	f = *state;
	open_uri(f, "test:///default");
	wait_until_connected(f);
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	(void)wh_libvirt_close(f->libvirt);
	(void)sd_event_unref(f->loop);
	for (size_t i = 0; i < f->answered; i++) {
		free(f->answers[i].text);
		free(f->answers[i].error);
	}
	(void)unlink(f->file);
	(void)rmdir(f->directory);
	free(f);
	return 0;
}

static void lists_the_domains_of_a_connection(void **state)
{
	struct fixture *f = *state;
	const struct wh_domain *domain = wh_libvirt_domain(f->libvirt, "test");
	struct wh_error why;
	size_t count;

	assert_non_null(domain);
	assert_ptr_equal(wh_libvirt_domains(f->libvirt, &count), domain);
	assert_int_equal(count, 1);
	assert_string_equal(domain->name, "test");
	assert_int_equal(strlen(domain->uuid), WH_UUID_TEXT_MAX - 1);
	assert_true(domain->active);
	assert_true(domain->running);
	assert_true(domain->persistent);
	assert_true(domain->memory_bytes >= 1ull << 30);
	assert_string_equal(domain->metadata, "");
	assert_null(wh_libvirt_domain(f->libvirt, "tes"));
	assert_true(wh_libvirt_connected(f->libvirt, &why));
	assert_string_equal(why.text, "");
	assert_int_equal(f->changes, 1);
}

static void gives_each_kind_of_xml(void **state)
{
	struct fixture *f = *state;

	for (int which = WH_DOMAIN_XML_LIVE; which <= WH_DOMAIN_XML_MIGRATABLE; which++) {
		const struct answer *answer;

		wh_libvirt_xml(f->libvirt, "test", (enum wh_domain_xml)which, on_answer, f);
		answer = wait_for_answer(f);
		assert_null(answer->error);
		assert_non_null(strstr(answer->text, "<name>test</name>"));
	}
}

static void keeps_metadata_and_shows_it_in_the_list(void **state)
{
	static const char note[] = "<vm namespace=\"prod\"><label key=\"a\" value=\"b\"/></vm>";
	struct fixture *f = *state;
	const struct wh_domain *domain;

	wh_libvirt_set_metadata(f->libvirt, "test", note, on_answer, f);
	assert_string_equal(wait_for_answer(f)->text, "");
	while (!*(domain = wh_libvirt_domain(f->libvirt, "test"))->metadata)
		turn(f);
	assert_non_null(strstr(domain->metadata, "<vm namespace=\"prod\">"));
	assert_non_null(strstr(domain->metadata, "<label key=\"a\" value=\"b\"/>"));

	wh_libvirt_set_metadata(f->libvirt, "test", "", on_answer, f);
	assert_string_equal(wait_for_answer(f)->text, "");
	while (*wh_libvirt_domain(f->libvirt, "test")->metadata)
		turn(f);
}

static void metadata_that_is_no_xml_is_refused_in_words(void **state)
{
	struct fixture *f = *state;

	wh_libvirt_set_metadata(f->libvirt, "test", "<vm", on_answer, f);
	assert_true(strlen(wait_for_answer(f)->error) > 10);
}

static void a_domain_is_paused_goes_on_and_ends(void **state)
{
	struct fixture *f = *state;

	wh_libvirt_suspend(f->libvirt, "test", on_answer, f);
	assert_string_equal(wait_for_answer(f)->text, "");
	(void)wait_for(f, true, false);
	wh_libvirt_resume(f->libvirt, "test", on_answer, f);
	assert_string_equal(wait_for_answer(f)->text, "");
	(void)wait_for(f, true, true);
	assert_string_equal(f->closed, "");

	wh_libvirt_destroy(f->libvirt, "test", on_answer, f);
	assert_string_equal(wait_for_answer(f)->text, "");
	(void)wait_for(f, false, false);
	assert_string_equal(f->closed, "test");
}

static void what_a_driver_cannot_do_is_told_in_words(void **state)
{
	const struct wh_libvirt_migration migration = {
		.domain = "test",
		.destination = "qemu+unix:///system?socket=/nowhere",
		.memory_uri = "unix:///nowhere",
		.disks_uri = "unix:///nowhere/disks",
		.disks = "vda,vdb",
		.disk_bps = 1,
		.live_xml = "<domain/>",
		.persistent_xml = "<domain/>",
		.persistent = true,
	};
	struct fixture *f = *state;
	struct answer *answers = f->answers;

	wh_libvirt_monitor(f->libvirt, "test", "{\"execute\": \"query-status\"}", on_answer, f);
	(void)wait_for_answer(f);
	wh_libvirt_compare_cpu(f->libvirt, &(struct wh_libvirt_cpu){ .xml = "<cpu/>" }, on_answer,
	                       f);
	(void)wait_for_answer(f);
	wh_libvirt_postcopy(f->libvirt, "test", on_answer, f);
	(void)wait_for_answer(f);
	wh_libvirt_migrate(f->libvirt, &migration, on_answer, f);
	(void)wait_for_answer(f);
	for (size_t i = 0; i < 4; i++)
		assert_non_null(strstr(answers[i].error, "support"));
}

static void a_domain_that_is_not_there_is_an_error(void **state)
{
	struct fixture *f = *state;

	wh_libvirt_suspend(f->libvirt, "nobody", on_answer, f);
	assert_non_null(strstr(wait_for_answer(f)->error, "not found"));
	wh_libvirt_job(f->libvirt, "nobody", on_job, f);
	assert_non_null(strstr(wait_for_answer(f)->error, "not found"));
}

static void calls_to_a_domain_are_answered_in_their_order(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 10; i++) {
		wh_libvirt_suspend(f->libvirt, "test", on_answer, f);
		wh_libvirt_resume(f->libvirt, "test", on_answer, f);
	}
	while (f->answered < 20)
		turn(f);

	/* Had they changed places, the driver would have refused to resume what is not paused. */
	for (int i = 0; i < 20; i++)
		assert_null(f->answers[i].error);
}

static void many_domains_are_asked_at_once(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 40; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "domain-%d", i);
		wh_libvirt_suspend(f->libvirt, name, on_answer, f);
	}
	while (f->answered < 40)
		turn(f);
	for (int i = 0; i < 40; i++)
		assert_non_null(strstr(f->answers[i].error, "not found"));
}

static void an_answer_nobody_waits_for_is_not_told(void **state)
{
	struct fixture *f = *state;
	int other;

	wh_libvirt_suspend(f->libvirt, "test", on_answer, &other);
	wh_libvirt_forget(f->libvirt, &other);
	wh_libvirt_resume(f->libvirt, "test", NULL, NULL);
	wh_libvirt_suspend(f->libvirt, "test", on_answer, f);

	assert_null(wait_for_answer(f)->error);
	assert_int_equal(f->answered, 1);
}

static void close_it(void *ctx, const char *text, const char *error)
{
	struct fixture *f = ctx;

	on_answer(ctx, text, error);
	f->libvirt = wh_libvirt_close(f->libvirt);
}

static void a_callback_may_close_it_and_then_nothing_comes(void **state)
{
	struct fixture *f = *state;

	wh_libvirt_resume(f->libvirt, "nobody", close_it, f);
	wh_libvirt_resume(f->libvirt, "nobody", on_answer, f);
	(void)wait_for_answer(f);
	while (sd_event_run(f->loop, 0) > 0)
		;

	assert_int_equal(f->answered, 1);
	assert_null(f->libvirt);
}

/* A file with the state of the test driver: such a connection keeps its domains to itself. */
static void write_node(struct fixture *f)
{
	static const char domain[] = "<domain type='test'><name>%s</name><memory>4096</memory>"
				     "<os><type>hvm</type></os></domain>";
	FILE *file = fopen(f->file, "w");

	assert_non_null(file);
	(void)fputs("<node>", file);
	(void)fprintf(file, domain, "b.2_x-y");
	(void)fprintf(file, domain, "a1");
	(void)fprintf(file, domain, "two words");
	(void)fprintf(file, domain, "-x");
	(void)fprintf(file, domain,
	              "a123456789012345678901234567890123456789012345678901234567890123");
	(void)fputs("</node>", file);
	assert_int_equal(fclose(file), 0);
}

static void a_libvirt_that_comes_later_is_found(void **state)
{
	struct fixture *f = *state;
	struct wh_error why;

	open_uri(f, f->uri);
	assert_false(wh_libvirt_connected(f->libvirt, &why));
	assert_string_equal(why.text, "not connected to libvirt yet");
	while (f->changes == 0)
		turn(f);
	assert_false(wh_libvirt_connected(f->libvirt, &why));
	assert_non_null(strstr(why.text, "node.xml"));
	wh_libvirt_resume(f->libvirt, "a1", on_answer, f);
	assert_non_null(strstr(wait_for_answer(f)->error, "node.xml"));

	write_node(f);
	wait_until_connected(f);
	assert_int_equal(f->changes, 2);
}

static void names_that_do_not_fit_are_left_out_and_the_others_sorted(void **state)
{
	struct fixture *f = *state;
	const struct wh_domain *domains;
	size_t count;

	write_node(f);
	open_uri(f, f->uri);
	wait_until_connected(f);

	domains = wh_libvirt_domains(f->libvirt, &count);
	assert_int_equal(count, 2);
	assert_string_equal(domains[0].name, "a1");
	assert_string_equal(domains[1].name, "b.2_x-y");
	assert_int_equal(domains[0].memory_bytes, 4096 << 10);
}

/* A socket that takes connections and says nothing. */
static int listen_at(const char *path)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(fd, 8), 0);
	return fd;
}

static void a_libvirtd_that_hangs_holds_up_neither_the_loop_nor_the_end(void **state)
{
	struct fixture *f = *state;
	char uri[128];
	int fd = listen_at(f->file);

	(void)snprintf(uri, sizeof(uri), "qemu+unix:///system?socket=%s", f->file);
	open_uri(f, uri);
	wh_libvirt_resume(f->libvirt, "test", on_answer, f);
	(void)sd_event_run(f->loop, 100000);
	assert_false(wh_libvirt_connected(f->libvirt, NULL));
	f->libvirt = wh_libvirt_close(f->libvirt);

	assert_int_equal(f->answered, 0);
	(void)close(fd); /* the threads that were left behind end now */
}

#define CONNECTED(test) cmocka_unit_test_setup_teardown(test, set_up_connected, tear_down)
#define ALONE(test)     cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CONNECTED(lists_the_domains_of_a_connection),
		CONNECTED(gives_each_kind_of_xml),
		CONNECTED(keeps_metadata_and_shows_it_in_the_list),
		CONNECTED(metadata_that_is_no_xml_is_refused_in_words),
		CONNECTED(a_domain_is_paused_goes_on_and_ends),
		CONNECTED(what_a_driver_cannot_do_is_told_in_words),
		CONNECTED(a_domain_that_is_not_there_is_an_error),
		CONNECTED(calls_to_a_domain_are_answered_in_their_order),
		CONNECTED(many_domains_are_asked_at_once),
		CONNECTED(an_answer_nobody_waits_for_is_not_told),
		CONNECTED(a_callback_may_close_it_and_then_nothing_comes),
		ALONE(a_libvirt_that_comes_later_is_found),
		ALONE(names_that_do_not_fit_are_left_out_and_the_others_sorted),
		ALONE(a_libvirtd_that_hangs_holds_up_neither_the_loop_nor_the_end),
	};

	return cmocka_run_group_tests_name("libvirt", tests, NULL, NULL);
}
