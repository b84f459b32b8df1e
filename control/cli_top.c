/* SPDX-License-Identifier: Apache-2.0 */

/*
 * wherry top - all migrations on the whole screen, again each second, and more about the one that is
 * selected. The selection stays with its migration while the order changes. The only file with
 * ncurses.
 *
 *	title
 *	columns
 *	a row for each migration
 *	more about the selected one
 *	keys
 */

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <locale.h>
#include <ncurses.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "units.h"

#include "wherry/assert.h"
#include "wherry/clock.h"

#define LOOK_MS 1000

/* Lines of "more", with the rule above it; the last ones are for why or for what it waits. */
#define MORE_LINES 8
#define WHY_LINES  3

/* The fixed columns; the first one takes what a wide screen leaves. */
#define COLUMNS_FORMAT "%-*.*s %-8.8s %-8.8s %-14.14s %4s %11s %9s %7s"
#define COLUMNS_WIDTH  68
#define VM_WIDTH_MIN   12

enum order {
	BY_AGE,
	BY_VM,
	BY_STATE,
	BY_RATE,
	BY_LEFT,
	ORDERS,
};

static const char *const order_names[ORDERS] = { "newest", "VM", "state", "rate", "left" };

struct top {
	struct wh_cli *cli;
	struct wh_view *views;
	size_t count;
	size_t running; /* of those that are shown */
	size_t waiting;
	char selected[WH_NAME_MAX]; /* id */
	size_t first;               /* row on top of the list */
	enum order order;
	bool with_ended;
	struct wh_error trouble; /* why there is nothing new; "" if there is */
};

/* What to show. */

static bool is_waiting(const struct wh_view *v)
{
	return !strcmp(v->state, "Pending");
}

static int compare_numbers(uint64_t a, uint64_t b)
{
	return (a < b) - (a > b); /* the largest comes first */
}

static int compare(const void *a, const void *b, void *ctx)
{
	const struct wh_view *x = a;
	const struct wh_view *y = b;
	const enum order *order = ctx;
	int r = 0;

	switch (*order) {
	case BY_VM:
		r = strcmp(x->vm, y->vm);
		break;
	case BY_STATE:
		r = strcmp(x->state, y->state);
		break;
	case BY_RATE:
		r = compare_numbers(x->stats[WH_STAT_RATE_BPS], y->stats[WH_STAT_RATE_BPS]);
		break;
	case BY_LEFT:
		r = compare_numbers(x->stats[WH_STAT_LEFT_BYTES], y->stats[WH_STAT_LEFT_BYTES]);
		break;
	case BY_AGE:
	case ORDERS:
		break;
	}
	if (r == 0)
		r = compare_numbers(x->created_ms, y->created_ms);
	return r != 0 ? r : strcmp(x->migration, y->migration);
}

static void sort(struct top *top)
{
	if (top->count > 0)
		qsort_r(top->views, top->count, sizeof(*top->views), compare, &top->order);
}

static void forget(struct top *top)
{
	free(top->views);
	top->views = NULL;
	top->count = top->running = top->waiting = 0;
}

static int fetch(struct top *top, struct wh_error *err)
{
	wh_cleanup(wh_json_unrefp) json_t *answer = NULL;
	const json_t *list;
	int r = wh_cli_ask(top->cli, json_pack("{s:s}", "command", "status"), &answer, err);

	if (r < 0)
		return r;
	(void)snprintf(err->text, sizeof(err->text), "%s", wh_json_text(answer, "warning"));
	list = json_object_get(answer, "migrations");
	forget(top);
	top->views = calloc(json_array_size(list) + 1, sizeof(*top->views));
	wh_assert(top->views);
	for (size_t i = 0; r == 0 && i < json_array_size(list); i++) {
		struct wh_view *v = &top->views[top->count];

		r = wh_view_parse(v, json_array_get(list, i), err);
		if (r < 0 || (v->over && !top->with_ended))
			continue;
		top->count++;
		top->waiting += is_waiting(v);
		top->running += !v->over && !is_waiting(v);
	}
	sort(top);
	return r;
}

static size_t selected(const struct top *top)
{
	for (size_t i = 0; i < top->count; i++)
		if (!strcmp(top->views[i].migration, top->selected))
			return i;
	return 0;
}

static void select_row(struct top *top, size_t row)
{
	if (top->count == 0)
		return;
	row = row < top->count ? row : top->count - 1;
	memcpy(top->selected, top->views[row].migration, sizeof(top->selected));
}

/* Drawing. */

static size_t rows_of_list(void)
{
	return LINES > MORE_LINES + 4 ? (size_t)(LINES - MORE_LINES - 3) : 1;
}

static void put_line(int y, attr_t how, const char *text)
{
	(void)attr_set(how, 0, NULL);
	(void)mvaddnstr(y, 0, text, COLS);
	(void)clrtoeol();
	if ((int)strlen(text) < COLS && how != A_NORMAL)
		(void)mvchgat(y, 0, COLS, how, 0, NULL);
	(void)attr_set(A_NORMAL, 0, NULL);
}

static void put_wrapped(int y, const char *text, int lines)
{
	const size_t width = (size_t)COLS;

	for (int i = 0; i < lines && *text; i++) {
		put_line(y + i, A_NORMAL, text);
		text += strlen(text) < width ? strlen(text) : width;
	}
}

static int vm_width(void)
{
	int width = COLS - COLUMNS_WIDTH;

	return width < VM_WIDTH_MIN ? VM_WIDTH_MIN : (width > 40 ? 40 : width);
}

static void put_row(int y, attr_t how, const struct wh_view *v)
{
	const uint64_t whole = v->stats[WH_STAT_ROUND_BYTES];
	const uint64_t left = v->stats[WH_STAT_LEFT_BYTES];
	char done[8] = "-";
	char line[WH_PROGRESS_MAX];

	if (whole > 0 && !v->over)
		(void)snprintf(done, sizeof(done), "%u%%",
		               (unsigned)(100 - 100 * (double)(left < whole ? left : whole) /
		                                        (double)whole));
	(void)snprintf(line, sizeof(line), COLUMNS_FORMAT, vm_width(), vm_width(), v->vm,
	               *v->source ? v->source : "-", *v->target ? v->target : "-", v->state, done,
	               v->over ? "-" : wh_units_rate(v->stats[WH_STAT_RATE_BPS]).s,
	               v->over ? "-" : wh_units_bytes(left).s, wh_units_time(v->elapsed_ns).s);
	put_line(y, how, line);
}

static void put_list(struct top *top)
{
	const size_t rows = rows_of_list();
	const size_t chosen = selected(top);
	char line[WH_PROGRESS_MAX];

	if (chosen < top->first)
		top->first = chosen;
	if (chosen >= top->first + rows)
		top->first = chosen - rows + 1;
	(void)snprintf(line, sizeof(line), COLUMNS_FORMAT, vm_width(), vm_width(), "VM", "FROM",
	               "TO", "STATE", "DONE", "RATE", "LEFT", "TIME");
	put_line(1, A_REVERSE, line);
	for (size_t i = 0; i < rows && top->first + i < top->count; i++)
		put_row((int)i + 2, top->first + i == chosen ? A_BOLD | A_REVERSE : A_NORMAL,
		        &top->views[top->first + i]);
	if (top->count == 0)
		put_line(2, A_NORMAL, top->with_ended ? "no migrations" : "no migrations now");
}

static void put_more(const struct wh_view *v)
{
	const int y = LINES - 1 - MORE_LINES;
	char line[2 * WH_PROGRESS_MAX];

	(void)mvhline(y, 0, ACS_HLINE, COLS);
	(void)snprintf(line, sizeof(line), "%s  VM %s/%s  priority %s  try %" PRIu64, v->migration,
	               *v->name_space ? v->name_space : "-", v->vm,
	               *v->priority ? v->priority : "-", v->attempt > 0 ? v->attempt : 1);
	put_line(y + 1, A_BOLD, line);
	wh_progress_line(line, v);
	put_line(y + 2, A_NORMAL, line);
	if (v->bandwidth_bps > 0)
		(void)snprintf(line, sizeof(line), "limit %s  policy %s",
		               wh_units_rate(v->bandwidth_bps).s, *v->policy ? v->policy : "none");
	else
		(void)snprintf(line, sizeof(line), "no limit  policy %s",
		               *v->policy ? v->policy : "none");
	put_line(y + 3, A_NORMAL, line);
	if (v->downtime.total_ns > 0)
		(void)snprintf(line, sizeof(line), "downtime %s",
		               wh_units_time(v->downtime.total_ns).s);
	else if (v->place > 0)
		(void)snprintf(line, sizeof(line), "place %" PRIu64 " in the queue", v->place);
	else
		*line = '\0';
	put_line(y + 4, A_NORMAL, line);
	put_wrapped(y + 5, *v->reason ? v->reason : v->note, WHY_LINES);
}

static void draw(struct top *top)
{
	char line[2 * WH_PROGRESS_MAX];

	(void)erase();
	if (*top->trouble.text)
		(void)snprintf(line, sizeof(line), "wherry top: %s", top->trouble.text);
	else
		(void)snprintf(line, sizeof(line),
		               "wherry top: %zu running, %zu waiting; order: %s", top->running,
		               top->waiting, order_names[top->order]);
	put_line(0, A_BOLD, line);
	put_list(top);
	if (top->count > 0 && LINES > MORE_LINES + 4)
		put_more(&top->views[selected(top)]);
	(void)snprintf(line, sizeof(line), "q end   s order   a %s ended   up, down select",
	               top->with_ended ? "without" : "with");
	put_line(LINES - 1, A_REVERSE, line);
	(void)refresh();
}

/* Keys. */

/* Return: false if it is over. */
static bool on_key(struct top *top, int key)
{
	const size_t row = selected(top);
	const size_t page = rows_of_list();

	switch (key) {
	case 'q':
		return false;
	case 's':
		top->order = (top->order + 1) % ORDERS;
		sort(top);
		break;
	case 'a':
		top->with_ended = !top->with_ended;
		break;
	case KEY_UP:
	case 'k':
		select_row(top, row > 0 ? row - 1 : 0);
		break;
	case KEY_DOWN:
	case 'j':
		select_row(top, row + 1);
		break;
	case KEY_PPAGE:
		select_row(top, row > page ? row - page : 0);
		break;
	case KEY_NPAGE:
		select_row(top, row + page);
		break;
	case KEY_HOME:
		select_row(top, 0);
		break;
	case KEY_END:
		select_row(top, SIZE_MAX);
		break;
	default:
		break;
	}
	return true;
}

/* A key is answered at once, and only from time to time wherryd is asked. */
static void look(struct top *top)
{
	uint64_t next_ns = 0;
	bool goes_on = true;

	/* This ends with 'q', or with a terminal that is gone. */
	while (goes_on) {
		uint64_t now_ns = wh_now_ns(&wh_clock_monotonic);
		int key;

		if (now_ns >= next_ns) {
			struct wh_error err = { "" };

			(void)fetch(top, &err);
			top->trouble = err;
			next_ns = now_ns + LOOK_MS * WH_NSEC_PER_MSEC;
			if (!*top->selected)
				select_row(top, 0);
		}
		draw(top);
		timeout((int)((next_ns - now_ns) / WH_NSEC_PER_MSEC) + 1);
		key = getch();
		if (key == 'a')
			next_ns = 0;
		goes_on = key != ERR || isatty(STDIN_FILENO) == 1 ? on_key(top, key) : false;
	}
}

int wh_cli_top(struct wh_cli *cli)
{
	struct top top = { .cli = cli };
	struct wh_error err;
	SCREEN *screen;

	if (isatty(STDIN_FILENO) != 1 || isatty(STDOUT_FILENO) != 1) {
		(void)wh_fail(&err, 0, "top needs a terminal; 'wherry status' does not");
		return wh_cli_fail(&err);
	}
	if (fetch(&top, &err) < 0)
		return wh_cli_fail(&err);
	(void)setlocale(LC_ALL, "");
	screen = newterm(NULL, stdout, stdin);
	if (!screen) {
		(void)wh_fail(&err, 0, "this kind of terminal is not known: TERM is wrong");
		forget(&top);
		return wh_cli_fail(&err);
	}
	(void)cbreak();
	(void)noecho();
	(void)keypad(stdscr, TRUE);
	(void)curs_set(0);
	look(&top);
	(void)endwin();
	delscreen(screen);
	forget(&top);
	return WH_EXIT_DONE;
}
