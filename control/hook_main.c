/* SPDX-License-Identifier: Apache-2.0 */

/*
 * wherry-libvirt-hook - holds an incoming domain until wherryd has made it ready for a mover.
 *
 * libvirtd runs hooks for every domain and at every step of its life, waits for each, and a domain whose
 * hook fails does not start. So whatever is unclear here ends at once and well; only after this host's
 * wherryd has said that the domain is one it waits for is there something to fail at.
 *
 * The domain's XML, which comes on standard input, says by the name of a monitor which migration it comes
 * with. Nothing is ever printed on standard output: that would be another XML.
 */

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "domain_xml.h"
#include "files.h"
#include "json.h"

#include "wherry/clock.h"
#include "wherry/fdpass.h"
#include "wherry/limits.h"

#define DEFAULT_SOCKET "/run/wherry/wherryd.sock"

/* libvirtd writes the XML at once; a person at a terminal may never. */
#define INPUT_NS WH_NSEC_PER_SEC

/* A wherryd that is alive takes a connection at once, and answers between two of its turns. */
#define CONNECT_S 1
#define ANSWER_NS (3 * WH_NSEC_PER_SEC)

/* As far as the XML of a domain is looked at: real ones are some KiB. */
#define XML_MAX ((size_t)16 << 20)

/* An answer is a number or a reason. */
#define ANSWER_MAX 4096u

/* More than any migration takes, and far from overflows. */
#define HOLD_MAX_S UINT64_C(1000000000)

static uint64_t now_ns(void)
{
	return wh_now_ns(&wh_clock_monotonic);
}

/* For poll(). */
static int left_ms(uint64_t deadline_ns)
{
	const uint64_t now = now_ns();
	const uint64_t left = deadline_ns > now ? (deadline_ns - now) / WH_NSEC_PER_MSEC + 1 : 0;

	return left > INT_MAX ? INT_MAX : (int)left;
}

/* The XML. */

/* Make room. Return: whether there is some. */
static bool grow(char **text, size_t *size)
{
	const size_t wanted = *size ? *size * 2 : 64u << 10;
	char *more = wanted <= XML_MAX ? realloc(*text, wanted) : NULL;

	if (!more)
		return false;
	*text = more;
	*size = wanted;
	return true;
}

/* All of standard input, or what there is of it in time; from malloc(), NULL if that is nothing. */
static char *read_input(void)
{
	const uint64_t deadline_ns = now_ns() + INPUT_NS;
	struct pollfd in = { .fd = STDIN_FILENO, .events = POLLIN };
	char *text = NULL;
	size_t size = 0;
	size_t len = 0;

	/* This ends: at the end of input, or the deadline. */
	while (poll(&in, 1, left_ms(deadline_ns)) > 0) {
		ssize_t n;

		if (len + 1 >= size && !grow(&text, &size))
			break;
		n = read(STDIN_FILENO, text + len, size - len - 1);
		if (n <= 0)
			break;
		len += (size_t)n;
	}
	if (text)
		text[len] = '\0';
	return text;
}

/* The migration that the last monitor of ours is called after. Return: whether there is one. */
static bool find_migration(const char *xml, char id[WH_NAME_MAX])
{
	static const char prefix[] = WH_DOMAIN_MONITOR_PREFIX;
	const char *last = NULL;
	size_t len;

	for (const char *at = xml; at && (at = strstr(at, prefix));) {
		at += strlen(prefix);
		last = at;
	}
	if (!last)
		return false;
	len = strspn(last, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.");
	if (len == 0 || len >= WH_NAME_MAX)
		return false;
	memcpy(id, last, len);
	id[len] = '\0';
	return true;
}

/* wherryd. */

static int connect_to(const char *path)
{
	const struct timeval patience = { .tv_sec = CONNECT_S };
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd;

	if (strlen(path) >= sizeof(addr.sun_path))
		return -1;
	memcpy(addr.sun_path, path, strlen(path));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	/* It holds for connect(), too. */
	if (fd >= 0 && (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0 ||
	                connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0))
		wh_closep(&fd);
	return fd;
}

/* Return: 0; -ECONNRESET, -ETIMEDOUT, or -EPIPE if libvirtd is gone; or -EPROTO. */
static int receive(int fd, uint64_t deadline_ns, json_t **ret)
{
	char line[ANSWER_MAX];
	size_t len = 0;

	while (len == 0 || line[len - 1] != '\n') {
		/* Nothing is read there, but libvirtd holds its other end for as long as it waits. */
		struct pollfd p[] = { { .fd = fd, .events = POLLIN }, { .fd = STDERR_FILENO } };
		int ready;
		ssize_t n;

		if (len == sizeof(line))
			return -EPROTO;
		ready = poll(p, 2, left_ms(deadline_ns));
		if (ready == 0)
			return -ETIMEDOUT;
		if (ready > 0 && p[1].revents & (POLLERR | POLLHUP))
			return -EPIPE;
		if (ready < 0 || !p[0].revents)
			continue;
		n = recv(fd, line + len, sizeof(line) - len, 0);
		if (n <= 0)
			return -ECONNRESET;
		len += (size_t)n;
	}
	return wh_json_parse(ret, line, len - 1, NULL);
}

/* What wherryd says to @command about a domain. Return: as receive(). */
static int ask(int fd, const char *command, const json_t *about, uint64_t deadline_ns, json_t **ret)
{
	wh_cleanup(wh_json_unrefp)
		json_t *request = json_copy((json_t *)about); /* it is only read */
	wh_cleanup(wh_freep) char *line = NULL;
	size_t len;

	if (json_object_set_new(request, "command", json_string(command)) == 0)
		line = wh_json_line(request);
	if (!line)
		return -EPROTO;
	len = strlen(line);
	line[len] = '\n'; /* in place of the final NUL */
	if (send(fd, line, len + 1, MSG_NOSIGNAL) != (ssize_t)len + 1)
		return -ECONNRESET;
	return receive(fd, deadline_ns, ret);
}

/* For how long the domain is to be held: 0 if it is none of wherryd's, or that does not say. */
static uint64_t ask_hold_s(int fd, const json_t *about)
{
	wh_cleanup(wh_json_unrefp) json_t *answer = NULL;
	uint64_t hold_s = 0;

	if (ask(fd, "hook", about, now_ns() + ANSWER_NS, &answer) < 0 ||
	    wh_json_u64(answer, "hold_s", UINT64_MAX, &hold_s, NULL) < 0)
		return 0;
	return hold_s < HOLD_MAX_S ? hold_s : HOLD_MAX_S;
}

static int fail(const char *why)
{
	(void)fprintf(stderr, "wherry: %s\n", why); /* libvirtd shows it */
	return 1;
}

static int wait_for_memory(int fd, const json_t *about, uint64_t hold_s)
{
	wh_cleanup(wh_json_unrefp) json_t *answer = NULL;
	int r = ask(fd, "hook-wait", about, now_ns() + hold_s * WH_NSEC_PER_SEC, &answer);

	if (r == -ETIMEDOUT)
		return fail("this domain was not made ready in time");
	if (r < 0)
		return fail("the wherryd that moves this domain is gone");
	if (json_is_true(json_object_get(answer, "ok")))
		return 0;
	return fail(wh_json_text(answer, "error"));
}

/* Return: the exit code. */
static int hold(const char *socket_path, const char *domain, const char *migration)
{
	wh_cleanup(wh_closep) int fd = connect_to(socket_path);
	wh_cleanup(wh_json_unrefp) json_t *about = NULL;
	uint64_t hold_s;

	if (fd < 0)
		return 0;
	about = json_pack("{s:s, s:s}", "vm", domain, "migration", migration);
	if (!about)
		return 0; /* no name of ours is anything but UTF-8 */
	hold_s = ask_hold_s(fd, about);
	return hold_s ? wait_for_memory(fd, about, hold_s) : 0;
}

int main(int argc, char **argv)
{
	wh_cleanup(wh_freep) char *xml = NULL;
	const char *socket_path = DEFAULT_SOCKET;
	char migration[WH_NAME_MAX];

	/* By their number, since a domain may be called as it likes. */
	if (argc == 7 && !strcmp(argv[1], "--socket")) {
		socket_path = argv[2];
		argv += 2;
		argc -= 2;
	}
	if (argc != 5) {
		(void)fputs("usage: wherry-libvirt-hook [--socket PATH] DOMAIN OPERATION "
		            "SUB-OPERATION EXTRA\n",
		            stderr);
		return 2;
	}
	(void)signal(SIGPIPE, SIG_IGN);
	xml = read_input();
	if (strcmp(argv[2], "started") != 0 || strcmp(argv[3], "begin") != 0 ||
	    !find_migration(xml, migration))
		return 0;
	return hold(socket_path, argv[1], migration);
}
