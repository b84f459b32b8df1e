/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Move - a migration as the coordinator sees it: from the request, through the queue, to its place
 * in the history. What happens on the two nodes meanwhile is a job (job.h), of the same id.
 *
 * A plain value.
 */

#ifndef WH_MOVE_H
#define WH_MOVE_H

#include <stdbool.h>
#include <stdint.h>

#include "settings.h"

#include "wherry/error.h"
#include "wherry/limits.h"

/* Numbers are kept in stores: append only. */
enum wh_move_phase {
	WH_MOVE_PENDING = 0,   /* holds nothing, waits for its slots */
	WH_MOVE_GRANTED = 1,   /* holds its slots; the source node has not said yet that it began */
	WH_MOVE_RUNNING = 2,   /* holds its slots; the source node works on it */
	WH_MOVE_SUCCEEDED = 3, /* over, and so on */
	WH_MOVE_FAILED = 4,
	WH_MOVE_CANCELLED = 5,
};

struct wh_move {
	char id[WH_NAME_MAX];
	uint64_t sequence; /* age: the lower is older; never given twice */
	char name_space[WH_NAME_MAX];
	char vm[WH_NAME_MAX];
	char source[WH_NAME_MAX];
	char target[WH_NAME_MAX];         /* "" until chosen, where the request names none */
	bool target_named;                /* the request names it: no other will do */
	char request[WH_OBJECT_NAME_MAX]; /* VirtualMachineInstanceMigration; "" for others */
	uint32_t priority;                /* enum wh_priority */
	char engine[WH_NAME_MAX];         /* "auto", "offload", "native"; "" as the node has it */
	char transport[WH_NAME_MAX];      /* "auto", "tcp", "rdma"; "" as the node has it */
	bool drain;                       /* because its node is drained: failures are retried */
	uint32_t attempt;                 /* 1 is the first */
	enum wh_move_phase phase;
	char policy[WH_OBJECT_NAME_MAX]; /* the policy that won, "" if none; from GRANTED on */
	struct wh_settings settings;     /* effective, fixed; from GRANTED on */
	char outcome[WH_NAME_MAX];       /* over: "", "cancelled", "deadline", "failed"; or before
	                                      * that "cancelled": it was asked for */
	char reason[WH_ERROR_TEXT_MAX];  /* over: why it did not succeed */
	uint32_t place;                  /* PENDING: in the queue, 1 is next; not kept */
	char note[WH_ERROR_TEXT_MAX];    /* PENDING: what it waits for; not kept */
	uint64_t created_ms;             /* CLOCK_REALTIME, ms since 1970; 0 until then */
	uint64_t started_ms;
	uint64_t ended_ms;
	uint64_t not_before_ms; /* PENDING: back-off after a failure; CLOCK_MONOTONIC, not kept */
};

static inline bool wh_move_is_over(const struct wh_move *move)
{
	return move->phase >= WH_MOVE_SUCCEEDED;
}

static inline bool wh_move_holds_slots(const struct wh_move *move)
{
	return move->phase == WH_MOVE_GRANTED || move->phase == WH_MOVE_RUNNING;
}

#endif
