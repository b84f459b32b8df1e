/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Report - what a node tells the coordinator of itself, and the order that it gets: as JSON, and
 * read again on the other side. docs/node-protocol.md.
 */

#ifndef WH_REPORT_H
#define WH_REPORT_H

#include "cluster.h"
#include "json.h"
#include "move.h"

#include "wherry/cleanup.h"
#include "wherry/error.h"

/* A report as it was read. */
struct wh_report_read {
	struct wh_report report;
	struct wh_report_vm *vms;   /* owned */
	struct wh_report_job *jobs; /* owned */
};

/* @report->jobs is not written: @jobs is what "status" says of each, and is given away. */
json_t *wh_report_format(const struct wh_report *report, json_t *jobs);

/*
 * Read one of @node. What it points to belongs to @ret, which is to be given to
 * wh_report_read_done(); @node is borrowed. Return: 0 or -EPROTO.
 */
wh_must_check int wh_report_parse(struct wh_report_read *ret, const char *node, const json_t *json,
                                  struct wh_error *err);
void wh_report_read_done(struct wh_report_read *report);

/* "start": what a source node must know of a move. */
json_t *wh_order_format(const struct wh_move *move);
wh_must_check int wh_order_parse(struct wh_move *ret, const json_t *json, struct wh_error *err);

#endif
