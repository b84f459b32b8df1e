/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Domain calls - control/libvirt.h on a command line: domain_calls URI
 *
 * Reads lines, makes the calls, and prints what comes of them, each in a line of its own:
 *
 *	in	monitor DOMAIN JSON | xml DOMAIN | job DOMAIN | suspend | resume | destroy DOMAIN
 *		capabilities | cpu XML | quit
 *	out	connected COUNT | lost REASON | domain NAME STATE MIB (for each, at each change)
 *		event DOMAIN NAME DATA | answer LINE TEXT | error LINE TEXT
 *
 * LINE is the number of the line that asked. Of a text that has several, the first is printed.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "libvirt.h"

#define LINE_MAX_BYTES 65536u

struct tool {
	sd_event *loop;
	struct wh_libvirt *libvirt;
	struct wh_watch input;
	char text[LINE_MAX_BYTES];
	size_t len;
	unsigned lines;
};

struct asked {
	unsigned line;
};

static void on_changed(void *ctx)
{
	struct tool *t = ctx;
	struct wh_error why;
	size_t count;
	const struct wh_domain *domains = wh_libvirt_domains(t->libvirt, &count);

	if (wh_libvirt_connected(t->libvirt, &why))
		(void)printf("connected %zu\n", count);
	else
		(void)printf("lost %s\n", why.text);
	for (size_t i = 0; i < count; i++)
		(void)printf("domain %s %s %llu\n", domains[i].name,
		             domains[i].running  ? "running"
		             : domains[i].active ? "paused"
		                                 : "off",
		             (unsigned long long)domains[i].memory_bytes >> 20);
}

static void on_event(void *ctx, const char *domain, const char *event, const json_t *data)
{
	char *text = data ? json_dumps(data, JSON_COMPACT) : NULL;

	(void)ctx;
	(void)printf("event %s %s %s\n", domain, event, text ? text : "");
	free(text);
}

static void on_answer(void *ctx, const char *text, const char *error)
{
	struct asked *asked = ctx;
	const char *words = error ? error : text ? text : "";

	(void)printf("%s %u %.*s\n", error ? "error" : "answer", asked->line,
	             (int)strcspn(words, "\n"), words);
	free(asked);
}

static void on_job(void *ctx, const struct wh_libvirt_job *job, const char *error)
{
	on_answer(ctx, !job ? NULL : job->active ? "active" : "none", error);
}

/* End @text at its first space. Return: what comes after that, or NULL. */
static char *cut(char *text)
{
	char *space = strchr(text, ' ');

	if (space)
		*space++ = '\0';
	return space;
}

/* Return: 0, or -1 if there is no such call. */
static int call(struct tool *t, char *name)
{
	static const struct {
		const char *name;
		void (*call)(struct wh_libvirt *libvirt, const char *domain,
		             wh_libvirt_reply_fn reply, void *ctx);
	} plain[] = {
		{ "suspend", wh_libvirt_suspend },
		{ "resume", wh_libvirt_resume },
		{ "destroy", wh_libvirt_destroy },
		{ "abort", wh_libvirt_abort },
	};
	struct asked *asked = calloc(1, sizeof(*asked));
	char *domain = cut(name);
	char *json;

	if (!asked)
		return -1;
	asked->line = ++t->lines;
	for (size_t i = 0; domain && i < sizeof(plain) / sizeof(*plain); i++)
		if (!strcmp(name, plain[i].name)) {
			plain[i].call(t->libvirt, domain, on_answer, asked);
			return 0;
		}
	if (!strcmp(name, "capabilities"))
		wh_libvirt_capabilities(t->libvirt, "", "", on_answer, asked);
	else if (!strcmp(name, "cpu") && domain)
		wh_libvirt_compare_cpu(
			t->libvirt, &(struct wh_libvirt_cpu){ .xml = domain, .virt_type = "qemu" },
			on_answer, asked);
	else if (!strcmp(name, "xml") && domain)
		wh_libvirt_xml(t->libvirt, domain, WH_DOMAIN_XML_MIGRATABLE, on_answer, asked);
	else if (!strcmp(name, "job") && domain)
		wh_libvirt_job(t->libvirt, domain, on_job, asked);
	else if (!strcmp(name, "monitor") && domain && (json = cut(domain)))
		wh_libvirt_monitor(t->libvirt, domain, json, on_answer, asked);
	else
		return -1;
	return 0;
}

static void on_input(void *ctx, uint32_t events)
{
	struct tool *t = ctx;
	ssize_t n = read(STDIN_FILENO, t->text + t->len, sizeof(t->text) - 1 - t->len);
	char *rest = t->text;
	char *end;

	(void)events;
	if (n <= 0) {
		(void)sd_event_exit(t->loop, n < 0);
		return;
	}
	t->len += (size_t)n;
	t->text[t->len] = '\0';
	for (; (end = strchr(rest, '\n')); rest = end + 1) {
		*end = '\0';
		if (call(t, rest) < 0)
			(void)sd_event_exit(t->loop, strcmp(rest, "quit") != 0);
	}
	t->len = strlen(rest);
	memmove(t->text, rest, t->len + 1);
}

int main(int argc, char **argv)
{
	struct tool *t = calloc(1, sizeof(*t));
	const struct wh_libvirt_handler handler = { on_changed, on_event, t };
	struct wh_error err;
	int r;

	if (argc != 2 || !t || sd_event_new(&t->loop) < 0)
		return 2;
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	t->input = (struct wh_watch){ .ready = on_input, .ctx = t };
	if (wh_watch_start(&t->input, t->loop, STDIN_FILENO, EPOLLIN) < 0)
		return 2;
	if (wh_libvirt_open(&t->libvirt, t->loop, argv[1], &handler, &err) < 0) {
		(void)fprintf(stderr, "%s\n", err.text);
		return 2;
	}
	r = sd_event_loop(t->loop);
	t->libvirt = wh_libvirt_close(t->libvirt);
	wh_watch_stop(&t->input);
	(void)sd_event_unref(t->loop);
	free(t);
	return r;
}
