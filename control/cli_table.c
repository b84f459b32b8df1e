/* SPDX-License-Identifier: Apache-2.0 */

#include "cli_table.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>

#include "wherry/assert.h"

struct wh_table {
	const char *const *titles;
	size_t columns;
	size_t *widths; /* of the columns */
	char **cells;   /* row by row */
	size_t count;
};

struct wh_table *wh_table_new(const char *const *titles)
{
	struct wh_table *table = calloc(1, sizeof(*table));

	wh_assert(table);
	table->titles = titles;
	while (titles[table->columns])
		table->columns++;
	wh_assert(table->columns > 0);
	table->widths = calloc(table->columns, sizeof(*table->widths));
	wh_assert(table->widths);
	return table;
}

void wh_table_put(struct wh_table *table, const char *fmt, ...)
{
	char **more = reallocarray(table->cells, table->count + 1, sizeof(*more));
	va_list args;

	wh_assert(more);
	table->cells = more;
	va_start(args, fmt);
	wh_assert(vasprintf(&table->cells[table->count], fmt, args) >= 0);
	va_end(args);
	table->count++;
}

/* Characters of UTF-8: bytes but those that continue one. */
static size_t width_of(const char *text)
{
	size_t width = 0;

	for (; *text; text++)
		width += ((unsigned char)*text & 0xc0) != 0x80;
	return width;
}

static void widen(size_t *width, const char *text)
{
	size_t one = width_of(text);

	*width = one > *width ? one : *width;
}

/* Nothing is filled in after the last text of a row. */
static void print_row(const struct wh_table *table, const char *const *row, FILE *out,
                      size_t indent)
{
	size_t blanks = indent;

	for (size_t i = 0; i < table->columns; i++) {
		if (*row[i]) {
			(void)fprintf(out, "%*s%s", (int)blanks, "", row[i]);
			blanks = 0;
		}
		blanks += table->widths[i] - width_of(row[i]) + 2;
	}
	(void)fputc('\n', out);
}

static bool has_titles(const struct wh_table *table)
{
	for (size_t i = 0; i < table->columns; i++)
		if (*table->titles[i])
			return true;
	return false;
}

void wh_table_print(const struct wh_table *table, FILE *out, size_t indent)
{
	wh_assert(table->count % table->columns == 0);
	for (size_t i = 0; i < table->columns; i++)
		widen(&table->widths[i], table->titles[i]);
	for (size_t i = 0; i < table->count; i++)
		widen(&table->widths[i % table->columns], table->cells[i]);
	if (has_titles(table))
		print_row(table, table->titles, out, indent);
	for (size_t i = 0; i < table->count; i += table->columns)
		print_row(table, (const char *const *)&table->cells[i], out, indent);
}

struct wh_table *wh_table_free(struct wh_table *table)
{
	if (!table)
		return NULL;
	for (size_t i = 0; i < table->count; i++)
		free(table->cells[i]);
	free(table->cells);
	free(table->widths);
	free(table);
	return NULL;
}
