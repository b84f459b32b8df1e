/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Each pair numbers its works from 0, and these numbers are what the verbs get as cookies:
 *
 *	reported <= completed <= posted <= accepted
 *
 * A completion completes everything before it on its pair, so only every Nth work is signalled. For
 * the last of a batch to be among them, a write waits ("staged") until the next one comes, or a
 * mark, or the caller has no more: a poll that finds nothing to report, or push().
 *
 * A barrier is one mark on each pair, with its number as value, so that on each pair the numbers go
 * up by one. Marks take receives of the peer, so only so many may be on their way: the peer sends a
 * receipt, a mark with another top bit, for half of them at once. It follows that of the receipts
 * at most two are on their way, which have receives here.
 *
 * When a pair fails, nothing is complete that was not known to be: the completions of works that
 * were flushed are ignored, since what they could tell is what take_lost() says anyway.
 */

#include "rdma_pairs.h"

#include <errno.h>
#include <stdlib.h>

#include "wherry/assert.h"
#include "wherry/limits.h"
#include "wherry/transport.h"

/* Of a mark's value: it is a receipt. The rest is the number of a barrier. */
#define RECEIPT (1u << 31)

struct slot {
	uint64_t cookie;
	bool silent; /* a mark: nobody waits for it */
};

struct pair {
	struct slot *slots; /* of @depth works from @reported on */
	uint64_t accepted, posted, completed, reported;
	uint64_t signalled; /* the works before this one will be completed by what is posted */
	struct wh_verbs_work staged; /* if accepted > posted */
	bool failed;

	uint32_t acknowledged; /* barriers, by the peer's last receipt */
	uint32_t arrived;      /* the peer's barriers */
	uint32_t receipted;    /* of them, in our last receipt */
};

struct wh_rdma_pairs {
	struct wh_rdma_pairs_config cfg;
	uint32_t write_len_max;
	struct pair pairs[WH_RDMA_PAIRS_MAX];
	uint32_t next; /* the pair that is asked first for cookies */
	uint32_t in_flight;
	uint32_t barrier; /* the last one's number */
	bool written;     /* since then */
	int broken;
	bool given_up;
};

struct wh_rdma_pairs *wh_rdma_pairs_new(const struct wh_rdma_pairs_config *cfg)
{
	wh_cleanup(wh_rdma_pairs_freep) struct wh_rdma_pairs *p = calloc(1, sizeof(*p));

	wh_assert(cfg->pairs >= 1 && cfg->pairs <= WH_RDMA_PAIRS_MAX && cfg->marks >= 1);
	wh_assert(cfg->depth >= 2 && cfg->depth <= WH_RDMA_DEPTH_MAX);
	wh_assert(cfg->signal_every >= 1 && cfg->signal_every <= cfg->depth / 2);
	if (!p)
		return NULL;
	p->cfg = *cfg;
	p->write_len_max = wh_verbs_caps(cfg->verbs)->write_len_max;
	for (uint32_t i = 0; i < p->cfg.pairs; i++) {
		p->pairs[i].slots = calloc(cfg->depth, sizeof(*p->pairs[i].slots));
		if (!p->pairs[i].slots)
			return NULL;
	}
	return wh_steal(p);
}

struct wh_rdma_pairs *wh_rdma_pairs_free(struct wh_rdma_pairs *p)
{
	if (!p)
		return NULL;
	for (uint32_t i = 0; i < p->cfg.pairs; i++)
		free(p->pairs[i].slots);
	free(p);
	return NULL;
}

static uint32_t number_of(const struct wh_rdma_pairs *p, const struct pair *pair)
{
	return (uint32_t)(pair - p->pairs);
}

static struct slot *slot_of(struct wh_rdma_pairs *p, struct pair *pair, uint64_t work)
{
	return &pair->slots[work % p->cfg.depth];
}

static bool is_full(const struct wh_rdma_pairs *p, const struct pair *pair)
{
	return pair->accepted - pair->reported == p->cfg.depth;
}

/* What broke first explains the rest: works are flushed after, and because of it. */
static int break_down(struct wh_rdma_pairs *p, int code)
{
	if (!p->broken || p->broken == -ECANCELED)
		p->broken = code;
	return p->broken;
}

/* --- posting ---------------------------------------------------------------------------------- */

static void accept_work(struct wh_rdma_pairs *p, struct pair *pair, uint64_t cookie)
{
	*slot_of(p, pair, pair->accepted++) = (struct slot){ .cookie = cookie };
	p->in_flight++;
}

/* Post what is staged, if anything is. Return: 0 or -errno. */
static int post_staged(struct wh_rdma_pairs *p, struct pair *pair, bool signalled)
{
	struct wh_verbs_work *w = &pair->staged;
	int r;

	if (pair->posted == pair->accepted)
		return 0;
	w->cookie = pair->posted;
	w->signalled = signalled || pair->posted + 1 - pair->signalled >= p->cfg.signal_every;
	r = wh_verbs_write(p->cfg.verbs, number_of(p, pair), w);
	if (r < 0)
		return break_down(p, r);
	pair->posted++;
	if (w->signalled)
		pair->signalled = pair->posted;
	return 0;
}

static int post_mark(struct wh_rdma_pairs *p, struct pair *pair, uint32_t value)
{
	int r;

	r = post_staged(p, pair, false);
	if (r < 0)
		return r;
	r = wh_verbs_mark(p->cfg.verbs, number_of(p, pair), value, pair->posted);
	if (r < 0)
		return break_down(p, r);
	*slot_of(p, pair, pair->accepted++) = (struct slot){ .silent = true };
	pair->signalled = ++pair->posted;
	return 0;
}

static uint64_t bytes_to_stripe_end(uint64_t offset)
{
	return WH_RDMA_STRIPE_BYTES - offset % WH_RDMA_STRIPE_BYTES;
}

uint32_t wh_rdma_pairs_piece(const struct wh_rdma_pairs *p, uint64_t offset, uint32_t len)
{
	uint64_t piece = bytes_to_stripe_end(offset);

	if (piece > p->write_len_max)
		piece = p->write_len_max;
	return len < piece ? len : (uint32_t)piece;
}

int wh_rdma_pairs_write(struct wh_rdma_pairs *p, uint16_t region, uint64_t offset,
                        const struct wh_verbs_work *w)
{
	struct pair *pair = &p->pairs[(region + offset / WH_RDMA_STRIPE_BYTES) % p->cfg.pairs];
	int r;

	wh_assert(w->len <= p->write_len_max && w->len <= bytes_to_stripe_end(offset));
	if (p->broken)
		return p->broken;
	if (is_full(p, pair))
		return WH_TX_FULL;
	r = post_staged(p, pair, false);
	if (r < 0)
		return r;
	pair->staged = *w;
	accept_work(p, pair, w->cookie);
	p->written = true;
	return 0;
}

static bool may_mark(const struct wh_rdma_pairs *p)
{
	for (uint32_t i = 0; i < p->cfg.pairs; i++) {
		const struct pair *pair = &p->pairs[i];

		if (is_full(p, pair) || p->barrier - pair->acknowledged == p->cfg.marks)
			return false;
	}
	return true;
}

int wh_rdma_pairs_barrier(struct wh_rdma_pairs *p, uint32_t *ret)
{
	if (p->broken)
		return p->broken;
	if (p->written && !may_mark(p))
		return WH_TX_FULL;
	if (p->written) {
		wh_assert(p->barrier < RECEIPT - 1);
		p->barrier++;
		p->written = false;
		for (uint32_t i = 0; i < p->cfg.pairs; i++) {
			int r = post_mark(p, &p->pairs[i], p->barrier);

			if (r < 0)
				return r;
		}
	}
	*ret = p->barrier;
	return 0;
}

uint32_t wh_rdma_pairs_arrived(const struct wh_rdma_pairs *p)
{
	uint32_t arrived = p->pairs[0].arrived;

	for (uint32_t i = 1; i < p->cfg.pairs; i++) {
		if (p->pairs[i].arrived < arrived)
			arrived = p->pairs[i].arrived;
	}
	return arrived;
}

/* --- what happened ---------------------------------------------------------------------------- */

static int take_receipt(const struct wh_rdma_pairs *p, struct pair *pair, uint32_t barrier)
{
	if (barrier <= pair->acknowledged || barrier > p->barrier)
		return -EPROTO;
	pair->acknowledged = barrier;
	return 0;
}

static int take_barrier(const struct wh_rdma_pairs *p, struct pair *pair, uint32_t barrier)
{
	if (barrier != pair->arrived + 1 || barrier - pair->receipted > p->cfg.marks)
		return -EPROTO;
	pair->arrived = barrier;
	return 0;
}

static int take_mark(const struct wh_rdma_pairs *p, struct pair *pair, uint32_t value)
{
	if (value & RECEIPT)
		return take_receipt(p, pair, value & ~RECEIPT);
	return take_barrier(p, pair, value);
}

/* A late completion of what another has completed already says nothing new. */
static int take_end(struct pair *pair, uint64_t work)
{
	if (work >= pair->posted)
		return -EIO;
	if (work >= pair->completed)
		pair->completed = work + 1;
	return 0;
}

/* A receive that was flushed says that the pair broke, but nothing of what is on its way from here. */
static void take_completion(struct wh_rdma_pairs *p, const struct wh_completion *c)
{
	struct pair *pair = &p->pairs[c->pair];
	const bool is_mark = c->kind == WH_COMPLETION_MARKED;
	int r = c->error;

	wh_assert(c->pair < p->cfg.pairs);
	if (r == 0 && is_mark)
		r = take_mark(p, pair, c->value);
	else if (r == 0 && !pair->failed)
		r = take_end(pair, c->cookie);
	if (r < 0) {
		pair->failed |= !is_mark || !c->error;
		(void)break_down(p, r);
	}
}

/*
 * What was flushed was so for a reason, which may be told only when all completions were taken. This ends: there
 * are no more of them than works were posted, and marks are rationed.
 */
static void take_completions(struct wh_rdma_pairs *p)
{
	struct wh_completion completions[WH_POLL_BATCH];
	int n;

	do {
		n = wh_verbs_poll(p->cfg.verbs, completions, WH_POLL_BATCH);
		for (int i = 0; i < n; i++)
			take_completion(p, &completions[i]);
	} while (n == WH_POLL_BATCH || (n > 0 && p->broken == -ECANCELED));
	if (n < 0)
		(void)break_down(p, n);
}

static void send_receipts(struct wh_rdma_pairs *p)
{
	for (uint32_t i = 0; i < p->cfg.pairs && !p->broken; i++) {
		struct pair *pair = &p->pairs[i];

		if ((pair->arrived - pair->receipted) * 2 < p->cfg.marks || is_full(p, pair))
			continue;
		if (post_mark(p, pair, RECEIPT | pair->arrived) == 0)
			pair->receipted = pair->arrived;
	}
}

static bool next_cookie(struct wh_rdma_pairs *p, struct pair *pair, uint64_t end, uint64_t *cookie)
{
	while (pair->reported < end) {
		const struct slot *slot = slot_of(p, pair, pair->reported++);

		if (!slot->silent) {
			*cookie = slot->cookie;
			p->in_flight--;
			return true;
		}
	}
	return false;
}

/* A pair after the other, so that a small @max does not favour the first. */
static uint32_t report(struct wh_rdma_pairs *p, uint64_t *cookies, uint32_t max)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < p->cfg.pairs; i++) {
		struct pair *pair = &p->pairs[(p->next + i) % p->cfg.pairs];

		while (n < max && next_cookie(p, pair, pair->completed, &cookies[n]))
			n++;
	}
	if (++p->next == p->cfg.pairs)
		p->next = 0;
	return n;
}

int wh_rdma_pairs_push(struct wh_rdma_pairs *p)
{
	for (uint32_t i = 0; i < p->cfg.pairs && !p->broken; i++)
		(void)post_staged(p, &p->pairs[i], true); /* it breaks them down */
	return p->broken;
}

int wh_rdma_pairs_poll(struct wh_rdma_pairs *p, uint64_t *cookies, uint32_t max)
{
	uint32_t n;

	wh_assert(max >= 1);
	if (p->given_up)
		return p->broken;
	take_completions(p);
	n = report(p, cookies, max);
	send_receipts(p);
	if (n > 0)
		return (int)n;
	return wh_rdma_pairs_push(p);
}

bool wh_rdma_pairs_take_lost(struct wh_rdma_pairs *p, uint64_t *cookie)
{
	p->given_up = true;
	(void)break_down(p, -ECANCELED);
	for (uint32_t i = 0; i < p->cfg.pairs; i++) {
		struct pair *pair = &p->pairs[i];

		if (next_cookie(p, pair, pair->accepted, cookie))
			return true;
	}
	return false;
}

uint32_t wh_rdma_pairs_in_flight(const struct wh_rdma_pairs *p)
{
	return p->in_flight;
}
