/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Ask - a question that was put to this wherryd, by its CLI or by another node, and that waits
 * for its answer. It may come at once, or after somebody else was asked.
 *
 * Whoever has an ask owes exactly one of the calls below, which end it.
 *
 * Threads: the loop's own.
 */

#ifndef WH_ASK_H
#define WH_ASK_H

#include "json.h"

#include "wherry/error.h"

/* Made by who asks, and freed by @reply. */
struct wh_ask {
	void (*reply)(struct wh_ask *ask, json_t *answer); /* @answer is its own */
	const char *from;                                  /* the node that asks; borrowed */
	/*
	 * Set by who owes the answer, or NULL: called once when nobody waits for it any more. It is
	 * owed all the same, and may be given there and then.
	 */
	void (*gone)(void *ctx);
	void *gone_ctx;
};

/* Answer with @answer, which is given away, and "ok": true; NULL is an answer without more. */
void wh_ask_answer(struct wh_ask *ask, json_t *answer);

/* Answer that it cannot be done, and why. */
void wh_ask_refuse(struct wh_ask *ask, const struct wh_error *err);

/* Pass on what another node answered, "ok" and all; NULL is no answer, and then @why counts. */
void wh_ask_pass(struct wh_ask *ask, json_t *answer, const char *why);

#endif
