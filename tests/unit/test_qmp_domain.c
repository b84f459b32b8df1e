/* SPDX-License-Identifier: Apache-2.0 */

/* QMP through a libvirt that is a fake; the loop is a real one, for what comes at once. */

#include "qmp_domain.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "fake_libvirt.h"

/* Who uses one connection, and what it was told. */
struct user {
	struct wh_qmp *qmp;
	unsigned ready;
	char said[256];      /* all it was told, in one line */
	struct user *closes; /* at an event, that one is closed */
};

struct fixture {
	struct wh_qmp_domains domains;
	struct user a;
	struct user b;
	char directory[sizeof("/tmp/wherry-test-qmp-XXXXXX")];
};

static void say(struct user *u, const char *what, const char *text)
{
	size_t len = strlen(u->said);

	(void)snprintf(u->said + len, sizeof(u->said) - len, "%s%s %s", len ? "; " : "", what,
	               text);
}

static void on_ready(void *ctx)
{
	struct user *u = ctx;

	u->ready++;
}

static void on_event(void *ctx, const char *name, const json_t *data)
{
	struct user *u = ctx;

	say(u, name, wh_json_text(data, "status"));
	if (u->closes)
		u->closes->qmp = wh_qmp_close(u->closes->qmp);
}

static void on_closed(void *ctx, const char *why)
{
	struct user *u = ctx;

	say(u, "closed", why);
	u->qmp = wh_qmp_close(u->qmp);
}

static void on_reply(void *ctx, const json_t *result, const char *error)
{
	struct user *u = ctx;

	say(u, error ? "error" : "result", error ? error : wh_json_text(result, "status"));
}

static void open_for(struct fixture *f, struct user *u, const char *domain)
{
	const struct wh_qmp_handler handler = { on_ready, on_event, on_closed, u };
	struct wh_error err;

	assert_int_equal(wh_qmp_open_domain(&u->qmp, &f->domains,
	                                    &(struct wh_qmp_guest){ domain, 4711 }, &handler, &err),
	                 0);
	assert_int_equal(u->ready, 0);
	while (!u->ready)
		assert_true(sd_event_run(f->domains.loop, UINT64_MAX) > 0);
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	if (!f || sd_event_new(&f->domains.loop) < 0)
		return -1;
	f->domains.libvirt = fake_libvirt_new();
	(void)snprintf(f->directory, sizeof(f->directory), "/tmp/wherry-test-qmp-XXXXXX");
	*state = f;
	return mkdtemp(f->directory) ? 0 : -1;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	(void)wh_qmp_close(f->a.qmp);
	(void)wh_qmp_close(f->b.qmp);
	assert_null(f->domains.first);
	fake_libvirt_free(f->domains.libvirt);
	(void)sd_event_unref(f->domains.loop);
	(void)rmdir(f->directory);
	free(f);
	return 0;
}

static void commands_go_to_the_domain_and_are_answered_in_order(void **state)
{
	struct fixture *f = *state;

	open_for(f, &f->a, "vm1");
	wh_qmp_call(f->a.qmp, "query-status", NULL, on_reply, &f->a);
	wh_qmp_call(f->a.qmp, "stop", json_pack("{s:i}", "x", 1), on_reply, &f->a);

	assert_string_equal(fake_libvirt_oldest(f->domains.libvirt),
	                    "vm1 {\"execute\":\"query-status\"}");
	fake_libvirt_answer(f->domains.libvirt,
	                    "{\"return\": {\"status\": \"running\"}, \"id\": \"libvirt-9\"}", NULL);
	assert_string_equal(fake_libvirt_oldest(f->domains.libvirt),
	                    "vm1 {\"execute\":\"stop\",\"arguments\":{\"x\":1}}");
	fake_libvirt_answer(
		f->domains.libvirt,
		"{\"id\": \"libvirt-10\", \"error\": {\"class\": \"G\", \"desc\": \"no\"}}", NULL);
	assert_string_equal(f->a.said, "result running; error no");
}

static void a_command_that_libvirt_refuses_fails_with_its_words(void **state)
{
	struct fixture *f = *state;

	open_for(f, &f->a, "vm1");
	wh_qmp_call(f->a.qmp, "stop", NULL, on_reply, &f->a);
	fake_libvirt_answer(f->domains.libvirt, NULL, "domain is busy");
	assert_string_equal(f->a.said, "error domain is busy");
	assert_non_null(f->a.qmp);
}

static void an_answer_that_is_none_closes_it(void **state)
{
	struct fixture *f = *state;

	open_for(f, &f->a, "vm1");
	wh_qmp_call(f->a.qmp, "stop", NULL, on_reply, &f->a);
	fake_libvirt_answer(f->domains.libvirt, "nonsense", NULL);
	assert_null(f->a.qmp);
	assert_memory_equal(f->a.said, "closed ", 7);
}

static void events_go_to_those_of_their_domain(void **state)
{
	wh_cleanup(wh_json_unrefp) json_t *data = json_pack("{s:s}", "status", "device");
	struct fixture *f = *state;

	open_for(f, &f->a, "vm1");
	open_for(f, &f->b, "vm2");
	wh_qmp_domains_event(&f->domains, "vm1", "MIGRATION", data);
	wh_qmp_domains_event(&f->domains, "vm2", "STOP", NULL);
	wh_qmp_domains_event(&f->domains, "vm", "RESUME", NULL);
	assert_string_equal(f->a.said, "MIGRATION device");
	assert_string_equal(f->b.said, "STOP ");
}

static void the_end_of_a_domain_closes_those_of_it(void **state)
{
	struct fixture *f = *state;

	open_for(f, &f->a, "vm1");
	open_for(f, &f->b, "vm2");
	wh_qmp_domains_event(&f->domains, "vm1", "CLOSED", NULL);
	assert_string_equal(f->a.said, "closed the domain has stopped");
	assert_string_equal(f->b.said, "");
}

static void a_lost_libvirt_closes_all_and_opens_none(void **state)
{
	const struct wh_qmp_handler handler = { on_ready, on_event, on_closed, NULL };
	struct fixture *f = *state;
	struct wh_qmp *qmp = NULL;
	struct wh_error err;

	open_for(f, &f->a, "vm1");
	open_for(f, &f->b, "vm2");
	wh_qmp_domains_changed(&f->domains);
	assert_string_equal(f->a.said, "");

	fake_libvirt_connection(f->domains.libvirt, "gone");
	wh_qmp_domains_changed(&f->domains);
	assert_string_equal(f->a.said, "closed gone");
	assert_string_equal(f->b.said, "closed gone");
	assert_int_equal(wh_qmp_open_domain(&qmp, &f->domains, &(struct wh_qmp_guest){ "vm1", 1 },
	                                    &handler, &err),
	                 -ENOTCONN);
	assert_string_equal(err.text, "gone");
	assert_null(qmp);
}

static void an_event_may_close_any_of_them(void **state)
{
	struct fixture *f = *state;

	open_for(f, &f->a, "vm1");
	open_for(f, &f->b, "vm1");
	f->a.closes = &f->b;
	f->b.closes = &f->a;
	wh_qmp_domains_event(&f->domains, "vm1", "STOP", NULL);

	/* Whichever was told first has closed the other. */
	assert_true((f->a.qmp != NULL) != (f->b.qmp != NULL));
	assert_int_equal(strlen(f->a.said) + strlen(f->b.said), strlen("STOP "));
}

static void an_answer_after_the_end_is_told_to_nobody(void **state)
{
	struct fixture *f = *state;

	open_for(f, &f->a, "vm1");
	wh_qmp_call(f->a.qmp, "stop", NULL, on_reply, &f->a);
	f->a.qmp = wh_qmp_close(f->a.qmp);

	assert_int_equal(fake_libvirt_due(f->domains.libvirt), 1);
	fake_libvirt_answer(f->domains.libvirt, "{\"return\": {}}", NULL);
	assert_string_equal(f->a.said, "");
}

static void its_process_is_the_one_that_was_named(void **state)
{
	struct fixture *f = *state;

	open_for(f, &f->a, "vm1");
	assert_int_equal(wh_qmp_pid(f->a.qmp), 4711);
}

/* A process that calls itself a QEMU of vm1, and stands still until it is killed. */
static pid_t start_guest(void)
{
	int ends[2];
	pid_t pid;
	char c;

	assert_int_equal(pipe(ends), 0);
	pid = fork();
	if (pid == 0) {
		(void)dup2(ends[1], STDOUT_FILENO);
		(void)execl("/bin/sh", "sh", "-c", "echo; kill -STOP $$", "-name",
		            "guest=vm1,debug-threads=on", (char *)NULL);
		_exit(127);
	}
	(void)close(ends[1]);
	assert_int_equal(read(ends[0], &c, 1), 1);
	(void)close(ends[0]);
	return pid;
}

static void write_pid(const struct fixture *f, const char *name, const char *text, char *path)
{
	FILE *file;

	(void)snprintf(path, 64, "%s/%s.pid", f->directory, name);
	file = fopen(path, "w");
	assert_non_null(file);
	(void)fputs(text, file);
	assert_int_equal(fclose(file), 0);
}

static int find(const struct fixture *f, const char *name, const char *text, pid_t *ret)
{
	char path[64];
	struct wh_error err;
	int r;

	write_pid(f, name, text, path);
	r = wh_qmp_domain_pid(ret, f->directory, name, &err);
	(void)unlink(path);
	return r;
}

static void the_process_of_a_domain_is_the_one_that_says_so(void **state)
{
	struct fixture *f = *state;
	pid_t guest = start_guest();
	pid_t pid = 0;
	char text[32];

	(void)snprintf(text, sizeof(text), "%d\n", (int)guest);
	assert_int_equal(find(f, "vm1", text, &pid), 0);
	assert_int_equal(pid, guest);
	assert_int_equal(find(f, "vm", text, &pid), -ESRCH);
	assert_int_equal(find(f, "vm11", text, &pid), -ESRCH);

	(void)kill(guest, SIGKILL);
	(void)waitpid(guest, NULL, 0);
	assert_int_equal(find(f, "vm1", text, &pid), -ESRCH);
}

static void a_domain_without_a_process_has_none(void **state)
{
	struct fixture *f = *state;
	struct wh_error err;
	pid_t pid = 7;

	assert_int_equal(wh_qmp_domain_pid(&pid, f->directory, "vm1", &err), -ESRCH);
	assert_int_equal(find(f, "vm1", "", &pid), -EPROTO);
	assert_int_equal(find(f, "vm1", "-4", &pid), -EPROTO);
	assert_int_equal(find(f, "vm1", "12 monkeys", &pid), -EPROTO);
	assert_int_equal(pid, 7);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(commands_go_to_the_domain_and_are_answered_in_order),
		TEST(a_command_that_libvirt_refuses_fails_with_its_words),
		TEST(an_answer_that_is_none_closes_it),
		TEST(events_go_to_those_of_their_domain),
		TEST(the_end_of_a_domain_closes_those_of_it),
		TEST(a_lost_libvirt_closes_all_and_opens_none),
		TEST(an_event_may_close_any_of_them),
		TEST(an_answer_after_the_end_is_told_to_nobody),
		TEST(its_process_is_the_one_that_was_named),
		TEST(the_process_of_a_domain_is_the_one_that_says_so),
		TEST(a_domain_without_a_process_has_none),
	};

	return cmocka_run_group_tests_name("qmp_domain", tests, NULL, NULL);
}
