/* SPDX-License-Identifier: Apache-2.0 */

/*
 * memguest - the guest's program: rewrites memory and checks it all the time.
 *
 * Parameters come from the command line, and from the kernel's where /proc/cmdline has them:
 *
 *	wherry.mib=512		memory to use
 *	wherry.mode=work	check (never rewrite), idle (fill, then sleep) or untouched
 *	wherry.rate=0		MiB/s to rewrite; 0 is as fast as possible
 *	wherry.hot=0		rewrite only the first so many MiB; 0 is all
 *	wherry.pattern=seq	or random, zipf: the order of rewriting, see cursor.h
 *	wherry.touch=4096	bytes that change when a page is rewritten: 8, 16, 32, ... or all
 *	wherry.check=0		MiB/s to check; 0 is as fast as possible
 *	wherry.report=200	ms between two lines of totals
 *	wherry.waits=0		1: measure how long each access takes, and print it after each pass
 *	wherry.beat=0		1: advance a count all the time, for somebody outside (see beat.h)
 *
 * It prints, for a test to read on the serial console:
 *
 *	memguest: ready pages=131072
 *	memguest: checks=123456 errors=0 generation=17 uptime=12.3 writes=98765	(totals)
 *	memguest: error page=12 expected=7 found=6 stale			(at once)
 *	memguest: waits pass=7 ...						(see waits.h)
 *
 * One more thing can go wrong than a bad page: all that was written during the last moments at the
 * source is lost. Then pages and table are both old and agree. So the count of steps is kept
 * twice: in memory, and in a CPU register, which travels with the device state. If they differ,
 * memory and CPU are not of the same moment.
 */

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "beat.h"
#include "cursor.h"
#include "pages.h"
#include "waits.h"

#define NS_PER_S        1000000000ull
#define NS_PER_MS       1000000ull
#define PAGES_PER_MIB   (1024 * 1024 / PAGE_BYTES)
#define ERROR_LINES_MAX 200u
#define CMDLINE_MAX     4096

enum mode {
	MODE_WORK,
	MODE_CHECK,
	MODE_IDLE,
	MODE_UNTOUCHED,
	MODE_COUNT,
};

static const char *const mode_names[MODE_COUNT] = {
	[MODE_WORK] = "work",
	[MODE_CHECK] = "check",
	[MODE_IDLE] = "idle",
	[MODE_UNTOUCHED] = "untouched",
};

struct options {
	enum mode mode;
	uint32_t mib;
	uint32_t hot_mib;
	uint32_t rate_mib;
	uint32_t check_mib;
	uint32_t report_ms;
	uint32_t touch_bytes;
	bool waits;
	bool beat;
	enum pattern pattern;
};

struct totals {
	uint64_t start_ns;
	uint64_t report_ns;   /* when the next line is due */
	uint64_t interval_ns; /* between two lines */
	uint64_t checks;
	uint64_t errors;
	uint64_t writes;
	struct waits *waits; /* NULL: they are not measured */
};

/* On a page of its own and marked, so that a test can find it in the RAM file and age it. */
static volatile struct {
	char mark[8];
	uint64_t count;
	char rest[PAGE_BYTES - 16];
} steps_in_memory __attribute__((aligned(PAGE_BYTES))) = { .mark = "memsteps" };

/* MMX register 7: no compiler or C library uses it unasked, so it is ours alone. */
static void set_steps_in_cpu(uint64_t steps)
{
	__asm__ volatile("movq %0, %%mm7" : : "r"(steps));
}

static uint64_t steps_in_cpu(void)
{
	uint64_t steps;

	__asm__ volatile("movq %%mm7, %0" : "=r"(steps));
	return steps;
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts); /* cannot fail for this clock */
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

static void nap(uint64_t ns)
{
	struct timespec ts = { (time_t)(ns / NS_PER_S), (long)(ns % NS_PER_S) };

	(void)nanosleep(&ts, NULL); /* too short a nap does no harm */
}

/* The value of @word if it is "@key=value". */
static const char *value_of(const char *word, const char *key)
{
	size_t len = strlen(key);

	return strncmp(word, key, len) == 0 && word[len] == '=' ? word + len + 1 : NULL;
}

static uint32_t number(const char *text)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (end == text || *end != '\0' || n > 1u << 20) {
		printf("memguest: error: '%s' is not a number up to 1048576\n", text);
		_exit(EXIT_FAILURE); /* stdout is written line by line */
	}
	return (uint32_t)n;
}

/* Which of @names @text is. */
static uint32_t choice(const char *text, const char *const *names, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		if (strcmp(text, names[i]) == 0)
			return i;
	printf("memguest: error: there is no '%s'\n", text);
	_exit(EXIT_FAILURE); /* stdout is written line by line */
}

static uint32_t touch_bytes(const char *text)
{
	uint32_t bytes = number(text);

	if (bytes < sizeof(uint64_t) || bytes > PAGE_BYTES || (bytes & (bytes - 1)) != 0) {
		printf("memguest: error: '%s' is not a power of two from 8 to 4096\n", text);
		_exit(EXIT_FAILURE); /* stdout is written line by line */
	}
	return bytes;
}

static void take_option(struct options *o, const char *word)
{
	const char *v;

	if ((v = value_of(word, "wherry.mib")))
		o->mib = number(v);
	else if ((v = value_of(word, "wherry.hot")))
		o->hot_mib = number(v);
	else if ((v = value_of(word, "wherry.rate")))
		o->rate_mib = number(v);
	else if ((v = value_of(word, "wherry.check")))
		o->check_mib = number(v);
	else if ((v = value_of(word, "wherry.report")))
		o->report_ms = number(v);
	else if ((v = value_of(word, "wherry.pattern")))
		o->pattern = (enum pattern)choice(v, pattern_names, PATTERN_COUNT);
	else if ((v = value_of(word, "wherry.waits")))
		o->waits = number(v) > 0;
	else if ((v = value_of(word, "wherry.beat")))
		o->beat = number(v) > 0;
	else if ((v = value_of(word, "wherry.touch")))
		o->touch_bytes = touch_bytes(v);
	else if ((v = value_of(word, "wherry.mode")))
		o->mode = (enum mode)choice(v, mode_names, MODE_COUNT);
}

static void take_kernel_options(struct options *o)
{
	char line[CMDLINE_MAX] = "";
	FILE *file = fopen("/proc/cmdline", "re");
	char *rest = line;
	const char *word;

	if (!file)
		return;
	if (fgets(line, sizeof(line), file))
		while ((word = strtok_r(rest, " \n", &rest)))
			take_option(o, word);
	(void)fclose(file); /* it was only read */
}

static void report_page(struct totals *t, uint32_t page, const struct page_report *r)
{
	t->errors++;
	if (t->errors <= ERROR_LINES_MAX)
		printf("memguest: error page=%u expected=%u found=%u %s\n", page, r->expected,
		       r->found, page_state_name(r->state));
}

/* Compares the two counts and advances both. */
static void step(struct totals *t)
{
	uint64_t cpu = steps_in_cpu();
	uint64_t memory = steps_in_memory.count;

	if (cpu != memory) {
		t->errors++;
		printf("memguest: error steps cpu=%llu memory=%llu\n", (unsigned long long)cpu,
		       (unsigned long long)memory);
	}
	steps_in_memory.count = cpu + 1;
	set_steps_in_cpu(cpu + 1);
}

static void report_totals(struct totals *t, const struct pages *p, uint64_t now)
{
	uint64_t up_ms = (now - t->start_ns) / NS_PER_MS;

	if (now < t->report_ns)
		return;
	t->report_ns = now + t->interval_ns;
	printf("memguest: checks=%llu errors=%llu generation=%u uptime=%llu.%llu writes=%llu\n",
	       (unsigned long long)t->checks, (unsigned long long)t->errors,
	       p->count ? (uint32_t)p->expected[0] : 0, (unsigned long long)(up_ms / 1000),
	       (unsigned long long)(up_ms % 1000 / 100), (unsigned long long)t->writes);
}

static void note_access(struct totals *t)
{
	if (t->waits)
		waits_note(t->waits, now_ns());
}

static void check_batch(struct pages *p, struct cursor *c, struct totals *t)
{
	for (uint32_t i = 0; i < CURSOR_BATCH; i++) {
		uint32_t page = cursor_step(c);
		struct page_report r = pages_check(p, page);

		t->checks++;
		if (r.state != PAGE_GOOD) {
			report_page(t, page, &r);
			pages_repair(p, page, &r);
		}
		note_access(t);
	}
}

static void write_batch(struct pages *p, struct cursor *c, struct totals *t)
{
	for (uint32_t i = 0; i < CURSOR_BATCH; i++) {
		pages_write(p, cursor_step(c));
		note_access(t);
	}
	t->writes += CURSOR_BATCH;
	if (t->waits && t->writes % c->count == 0) {
		waits_print(t->waits);
		waits_end_pass(t->waits);
	}
}

/* Nothing is due: that is no wait for memory. */
static void idle(struct totals *t)
{
	nap(NS_PER_MS);
	if (t->waits)
		waits_begin(t->waits, now_ns());
}

/* Runs for as long as the guest does. */
static void work(struct pages *p, const struct options *o, struct totals *t)
{
	uint32_t hot = o->hot_mib > 0 && o->hot_mib < o->mib ? o->hot_mib : o->mib;
	struct cursor writer = cursor_make(hot * PAGES_PER_MIB, o->rate_mib, o->pattern);
	struct cursor checker = cursor_make(p->count, o->check_mib, PATTERN_SEQ);

	set_steps_in_cpu(steps_in_memory.count);
	if (t->waits)
		waits_begin(t->waits, now_ns());
	for (;;) {
		uint64_t now = now_ns();
		bool write = o->mode == MODE_WORK && cursor_due(&writer, now);
		bool check = cursor_due(&checker, now);

		if (write)
			write_batch(p, &writer, t);
		if (check)
			check_batch(p, &checker, t);
		if (!write && !check)
			idle(t);

		step(t);
		report_totals(t, p, now);
	}
}

static void rest(const struct pages *p, struct totals *t)
{
	for (;;) {
		report_totals(t, p, now_ns());
		nap(t->interval_ns);
	}
}

int main(int argc, char **argv)
{
	struct options o = { .mib = 512, .report_ms = 200, .touch_bytes = PAGE_BYTES };
	struct pages pages = { 0 };
	struct totals totals = { .start_ns = now_ns() };
	static struct waits waits;

	(void)setvbuf(stdout, NULL, _IOLBF, 0); /* only costs timeliness if it fails */
	take_kernel_options(&o);
	for (int i = 1; i < argc; i++)
		take_option(&o, argv[i]);
	totals.interval_ns = o.report_ms * NS_PER_MS;
	totals.waits = o.waits ? &waits : NULL;
	if (o.beat)
		beat_start();

	if (o.mode != MODE_UNTOUCHED && o.mib > 0) {
		pages_init(&pages, o.mib * PAGES_PER_MIB, o.touch_bytes);
		for (uint32_t i = 0; i < pages.count; i++)
			pages_write(&pages, i);
	}
	printf("memguest: ready pages=%u\n", pages.count);

	if (o.mode <= MODE_CHECK && pages.count > 0)
		work(&pages, &o, &totals);
	rest(&pages, &totals);
}
