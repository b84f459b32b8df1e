/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The hook of libvirt: the real program, a real socket with wherryd's clients behind it, and a job that
 * counts on a domain. What libvirtd does is done here: XML on standard input, and somebody who
 * reads standard error.
 */

#include "hook.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
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

#include "api.h"
#include "clients.h"

#include "wherry/clock.h"
#include "wherry/fdpass.h"

#define XML_OF(id)                                                                       \
	"<domain><name>guest</name><qemu:commandline><qemu:arg value='-qmp'/><qemu:arg " \
	"value='unix:/var/lib/libvirt/qemu/wherry-monitor-" id ",server=on,wait=off'/>"  \
	"</qemu:commandline></domain>"
#define XML XML_OF("guest-00c0ffee")

static const char *hook_program;

struct fixture {
	char dir[64];
	char socket[80];
	struct wh_config config;
	struct wh_daemon daemon;
	struct wh_hook *hook;
	unsigned waited;
	unsigned lost;
	unsigned asked; /* requests that came in */
	pid_t pid;
	int in, out, err; /* ours, of the program's */
};

static struct fixture *fixture_of(struct wh_daemon *daemon)
{
	return (struct fixture *)((char *)daemon - offsetof(struct fixture, daemon));
}

/* In place of all that wherryd can be asked. */
void wh_api_request(struct wh_daemon *daemon, const json_t *request, struct wh_ask *ask)
{
	fixture_of(daemon)->asked++;
	assert_true(wh_hook_request(daemon, request, ask));
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct wh_error err;

	assert_non_null(f);
	(void)strcpy(f->dir, "/dev/shm/wherry-hook-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	(void)snprintf(f->socket, sizeof(f->socket), "%s/s", f->dir);
	f->config.socket = f->socket;
	f->daemon.config = &f->config;
	assert_true(sd_event_new(&f->daemon.loop) >= 0);
	assert_int_equal(wh_clients_open(&f->daemon.clients, &f->daemon, &err), 0);
	f->in = f->out = f->err = -1;
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	f->hook = wh_hook_close(f->hook);
	assert_null(f->daemon.hooks);
	f->daemon.clients = wh_clients_close(f->daemon.clients);
	f->daemon.loop = sd_event_unref(f->daemon.loop);
	wh_closep(&f->in);
	wh_closep(&f->out);
	wh_closep(&f->err);
	assert_int_equal(rmdir(f->dir), 0);
	free(f);
	return 0;
}

static void on_waits(void *ctx)
{
	((struct fixture *)ctx)->waited++;
}

static void on_lost(void *ctx)
{
	((struct fixture *)ctx)->lost++;
}

static void expect(struct fixture *f, uint64_t hold_ns)
{
	f->hook = wh_hook_expect(&f->daemon, &(struct wh_hook_config){
						     .domain = "guest",
						     .migration = "guest-00c0ffee",
						     .hold_ns = hold_ns,
						     .waits = on_waits,
						     .lost = on_lost,
						     .ctx = f,
					     });
}

static void make_pipe(int *ours, int *its, bool reads)
{
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	*ours = fds[reads ? 1 : 0];
	*its = fds[reads ? 0 : 1];
}

/* Run the hook, and give it @xml. */
static void run(struct fixture *f, const char *const *args, const char *xml)
{
	int its[3];

	make_pipe(&f->in, &its[0], true);
	make_pipe(&f->out, &its[1], false);
	make_pipe(&f->err, &its[2], false);
	f->pid = fork();
	assert_true(f->pid >= 0);
	if (f->pid == 0) {
		for (int i = 0; i < 3; i++)
			if (dup2(its[i], i) < 0)
				_exit(99);
		(void)execv(hook_program, (char *const *)args); /* it changes none */
		_exit(99);
	}
	for (int i = 0; i < 3; i++)
		wh_closep(&its[i]);
	for (size_t len = strlen(xml); len > 0;) {
		const ssize_t n = write(f->in, xml, len);

		assert_true(n > 0);
		xml += n;
		len -= (size_t)n;
	}
	wh_closep(&f->in);
}

/* At step @operation of @domain. */
static void run_for(struct fixture *f, const char *domain, const char *operation, const char *xml)
{
	const char *const args[] = { hook_program, "--socket", f->socket, domain,
		                     operation,    "begin",    "-",       NULL };

	run(f, args, xml);
}

/* Let wherryd work until @f->waited, @f->lost or whatever @what is has become true. */
static void run_until(struct fixture *f, const unsigned *what)
{
	while (!*what)
		assert_true(sd_event_run(f->daemon.loop, UINT64_MAX) >= 0);
}

/*
 * Let wherryd work until the program has ended. Return: its exit code, and in @words (of 512 bytes) what it
 * said on standard error. On standard output there must be nothing.
 */
static int end(struct fixture *f, char *words)
{
	int status = 0;
	ssize_t n;

	while (waitpid(f->pid, &status, WNOHANG) == 0)
		assert_true(sd_event_run(f->daemon.loop, 10000) >= 0);
	assert_int_equal(read(f->out, words, 1), 0);
	n = f->err >= 0 ? read(f->err, words, 511) : 0;
	assert_true(n >= 0);
	words[n] = '\0';
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void libvirtd_goes_on_when_the_job_says_so(void **state)
{
	struct fixture *f = *state;
	char words[512];

	expect(f, 60 * WH_NSEC_PER_SEC);
	run_for(f, "guest", "started", XML);
	run_until(f, &f->waited);
	assert_true(wh_hook_waits(f->hook));
	wh_hook_proceed(f->hook);

	assert_int_equal(end(f, words), 0);
	assert_string_equal(words, "");
	assert_false(wh_hook_waits(f->hook));
	assert_int_equal(f->lost, 0);
}

static void libvirtd_is_told_why_the_job_gives_up(void **state)
{
	struct fixture *f = *state;
	char words[512];

	expect(f, 60 * WH_NSEC_PER_SEC);
	run_for(f, "guest", "started", XML);
	run_until(f, &f->waited);
	wh_hook_refuse(f->hook, "the link is lost");

	assert_int_equal(end(f, words), 1);
	assert_string_equal(words, "wherry: the link is lost\n");
}

static void a_job_that_ends_ends_its_hook(void **state)
{
	struct fixture *f = *state;
	char words[512];

	expect(f, 60 * WH_NSEC_PER_SEC);
	run_for(f, "guest", "started", XML);
	run_until(f, &f->waited);
	f->hook = wh_hook_close(f->hook);

	assert_int_equal(end(f, words), 1);
	assert_string_equal(words, "wherry: the migration of this domain has ended\n");
	assert_int_equal(f->lost, 0);
}

static void other_domains_are_not_held(void **state)
{
	static const struct {
		const char *domain;
		const char *xml;
		unsigned asked;
	} cases[] = {
		{ "guest", "", 0 },
		{ "guest", "<domain><name>guest</name></domain>", 0 },
		{ "guest", "<domain>wherry-monitor-</domain>", 0 },
		{ "guest", "wherry-monitor-0123456789012345678901234567890123456789012345678901234",
		  1 },
		{ "guest",
		  "wherry-monitor-0123456789012345678901234567890123456789012345678901234567890123",
		  0 },
		{ "guest", XML_OF("guest-00000001"), 1 },
		{ "other", XML, 1 },
		{ "guest", "a comment with wherry-monitor-guest-00c0ffee " XML_OF("x"), 1 },
		{ "\xff", XML, 0 },
	};
	struct fixture *f = *state;
	char words[512];

	expect(f, 60 * WH_NSEC_PER_SEC);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		f->asked = 0;
		run_for(f, cases[i].domain, "started", cases[i].xml);
		assert_int_equal(end(f, words), 0);
		assert_string_equal(words, "");
		assert_int_equal(f->asked, cases[i].asked);
		wh_closep(&f->out);
		wh_closep(&f->err);
	}
	assert_int_equal(f->waited, 0);
}

static void other_steps_are_none_of_its_business(void **state)
{
	static const char *const operations[] = { "prepare", "start",   "stopped",   "release",
		                                  "migrate", "restore", "reconnect", "attach" };
	struct fixture *f = *state;
	char words[512];

	expect(f, 60 * WH_NSEC_PER_SEC);
	for (size_t i = 0; i < sizeof(operations) / sizeof(*operations); i++) {
		run_for(f, "guest", operations[i], XML);
		assert_int_equal(end(f, words), 0);
		assert_string_equal(words, "");
		wh_closep(&f->out);
		wh_closep(&f->err);
	}
	assert_int_equal(f->asked, 0);
}

static void the_name_of_a_domain_is_no_option(void **state)
{
	struct fixture *f = *state;
	const char *const args[] = { hook_program, "--socket", "prepare", "begin", "-", NULL };
	char words[512];

	run(f, args, XML);
	assert_int_equal(end(f, words), 0);
}

static void people_are_told_how_it_is_called(void **state)
{
	struct fixture *f = *state;
	const char *const args[] = { hook_program, "--help", NULL };
	char words[512];

	run(f, args, "");
	assert_int_equal(end(f, words), 2);
	assert_int_equal(strncmp(words, "usage: wherry-libvirt-hook ", 27), 0);
}

static void domains_start_without_a_wherryd(void **state)
{
	struct fixture *f = *state;
	char words[512];

	f->daemon.clients = wh_clients_close(f->daemon.clients);
	run_for(f, "guest", "started", XML);

	assert_int_equal(end(f, words), 0);
	assert_string_equal(words, "");
}

static void domains_start_though_wherryd_hangs(void **state)
{
	struct fixture *f = *state;
	int status;

	expect(f, 60 * WH_NSEC_PER_SEC);
	run_for(f, "guest", "started", XML);

	assert_int_equal(waitpid(f->pid, &status, 0), f->pid); /* the loop stands still */
	assert_int_equal(status, 0);
}

static void a_wherryd_that_dies_ends_the_hook(void **state)
{
	struct fixture *f = *state;
	char words[512];

	expect(f, 60 * WH_NSEC_PER_SEC);
	run_for(f, "guest", "started", XML);
	run_until(f, &f->waited);
	f->daemon.clients = wh_clients_close(f->daemon.clients);

	assert_int_equal(end(f, words), 1);
	assert_string_equal(words, "wherry: the wherryd that moves this domain is gone\n");
	assert_int_equal(f->lost, 1);
}

static void the_hook_does_not_wait_for_ever(void **state)
{
	struct fixture *f = *state;
	char words[512];

	expect(f, 0);
	run_for(f, "guest", "started", XML);
	run_until(f, &f->waited);

	assert_int_equal(end(f, words), 1);
	assert_string_equal(words, "wherry: this domain was not made ready in time\n");
	run_until(f, &f->lost);
	assert_false(wh_hook_waits(f->hook));
}

static void the_job_hears_of_a_hook_that_is_killed(void **state)
{
	struct fixture *f = *state;
	char words[512];

	expect(f, 60 * WH_NSEC_PER_SEC);
	run_for(f, "guest", "started", XML);
	run_until(f, &f->waited);
	assert_int_equal(kill(f->pid, SIGKILL), 0);

	assert_int_equal(end(f, words), -SIGKILL);
	run_until(f, &f->lost);
	assert_false(wh_hook_waits(f->hook));

	/* Whoever starts the domain now is somebody else. */
	wh_closep(&f->out);
	wh_closep(&f->err);
	run_for(f, "guest", "started", XML);
	assert_int_equal(end(f, words), 0);
	assert_int_equal(f->waited, 1);
	assert_int_equal(f->lost, 1);
}

static void the_hook_ends_with_libvirtd(void **state)
{
	struct fixture *f = *state;
	char words[512];

	expect(f, 60 * WH_NSEC_PER_SEC);
	run_for(f, "guest", "started", XML);
	run_until(f, &f->waited);
	wh_closep(&f->err);

	assert_int_equal(end(f, words), 1);
	run_until(f, &f->lost);
}

static void on_lost_close(void *ctx)
{
	struct fixture *f = ctx;

	f->lost++;
	f->hook = wh_hook_close(f->hook);
}

static void a_job_may_end_when_its_hook_is_lost(void **state)
{
	struct fixture *f = *state;
	char words[512];

	f->hook = wh_hook_expect(&f->daemon, &(struct wh_hook_config){
						     .domain = "guest",
						     .migration = "guest-00c0ffee",
						     .hold_ns = 60 * WH_NSEC_PER_SEC,
						     .waits = on_waits,
						     .lost = on_lost_close,
						     .ctx = f,
					     });
	run_for(f, "guest", "started", XML);
	run_until(f, &f->waited);
	assert_int_equal(kill(f->pid, SIGKILL), 0);

	assert_int_equal(end(f, words), -SIGKILL);
	run_until(f, &f->lost);
	assert_null(f->daemon.hooks);
}

static void each_domain_has_its_own_hook(void **state)
{
	struct fixture *f = *state;
	struct wh_hook *other = wh_hook_expect(&f->daemon, &(struct wh_hook_config){
								   .domain = "other",
								   .migration = "other-00000001",
								   .waits = on_waits,
								   .lost = on_lost,
								   .ctx = f,
							   });
	char words[512];

	expect(f, 60 * WH_NSEC_PER_SEC);
	run_for(f, "guest", "started", XML);
	run_until(f, &f->waited);
	assert_false(wh_hook_waits(other));
	assert_true(wh_hook_waits(f->hook));
	other = wh_hook_close(other);
	assert_null(other);
	wh_hook_proceed(f->hook);

	assert_int_equal(end(f, words), 0);
}

static void a_large_xml_is_read_to_its_end(void **state)
{
	const size_t large = (size_t)3 << 20;
	struct fixture *f = *state;
	char *xml = malloc(large + sizeof(XML));
	char words[512];

	assert_non_null(xml);
	memset(xml, ' ', large);
	memcpy(xml + large, XML, sizeof(XML));
	expect(f, 60 * WH_NSEC_PER_SEC);
	run_for(f, "guest", "started", xml);
	free(xml);
	run_until(f, &f->waited);
	wh_hook_proceed(f->hook);

	assert_int_equal(end(f, words), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(int argc, char **argv)
{
	const struct CMUnitTest hook[] = {
		TEST(libvirtd_goes_on_when_the_job_says_so),
		TEST(libvirtd_is_told_why_the_job_gives_up),
		TEST(a_job_that_ends_ends_its_hook),
		TEST(other_domains_are_not_held),
		TEST(other_steps_are_none_of_its_business),
		TEST(the_name_of_a_domain_is_no_option),
		TEST(people_are_told_how_it_is_called),
		TEST(domains_start_without_a_wherryd),
		TEST(domains_start_though_wherryd_hangs),
		TEST(a_wherryd_that_dies_ends_the_hook),
		TEST(the_hook_does_not_wait_for_ever),
		TEST(the_job_hears_of_a_hook_that_is_killed),
		TEST(the_hook_ends_with_libvirtd),
		TEST(a_job_may_end_when_its_hook_is_lost),
		TEST(each_domain_has_its_own_hook),
		TEST(a_large_xml_is_read_to_its_end),
	};

	hook_program = argc == 2 ? argv[1] : "";
	return cmocka_run_group_tests(hook, NULL, NULL);
}
