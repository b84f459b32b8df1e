/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Table - cells that stand below each other, each column as wide as its widest cell.
 *
 * Lack of memory is not reported: these are a few lines for people.
 */

#ifndef WH_CLI_TABLE_H
#define WH_CLI_TABLE_H

#include <stddef.h>
#include <stdio.h>

#include "wherry/cleanup.h"

struct wh_table;

/* @titles: borrowed, ended by NULL; without a line of titles if all are "". */
struct wh_table *wh_table_new(const char *const *titles);

/* Fill in the next cell, from left to right and row by row. */
void wh_table_put(struct wh_table *table, const char *fmt, ...) wh_printf(2, 3);

/* Print it, each line with @indent blanks in front. */
void wh_table_print(const struct wh_table *table, FILE *out, size_t indent);

/* Accepts NULL, returns NULL. */
struct wh_table *wh_table_free(struct wh_table *table);

WH_DEFINE_CLEANUP(struct wh_table, wh_table_free)

#endif
