/* SPDX-License-Identifier: Apache-2.0 */

#include "compress_pays.h"

#include "wherry/clock.h"

#define MIB (UINT64_C(1) << 20)

/* The link's rate over less time is noise: a thread may have waited for its CPU. */
#define LINK_NS_MIN (50 * WH_NSEC_PER_MSEC)

/* From one sample to the next: contents change. */
#define SAMPLE_NS (100 * WH_NSEC_PER_MSEC)

/*
 * How long the link may be without a backlog before what was measured is forgotten. Without one
 * writes go as they are: if that makes none, the link is not what holds sending up.
 */
#define IDLE_NS (50 * WH_NSEC_PER_MSEC)

/*
 * And for how many looks in a row: on a slow link they are far apart, and two of them may just have
 * met a peer that was waiting for its CPU.
 */
#define IDLE_LOOKS 8u

/* Older contents lose half of their weight when the mean covers more than this. */
#define WINDOW (8 * MIB)

/*
 * For deltas it is remembered for longer: they may well be so short that the link is idle, and a page
 * that is sent without one has none the next time, either.
 */
#define IDLE_DELTA_NS (3 * WH_NSEC_PER_SEC)

/* Contents to send as differences before they are judged, and how long a bad judgement holds. */
#define DELTA_TRIAL   (4 * MIB)
#define DELTA_REST_NS (2 * WH_NSEC_PER_SEC)

/*
 * What must be saved of the contents, one part in so many, to begin and to go on: less is not worth
 * the CPU time.
 */
#define SAVED_TO_BEGIN 8u
#define SAVED_TO_GO_ON 16u

/*
 * How many times as fast as the compressor the link may be, when it goes on. The compressor is
 * measured as it is, and where all connections compress they share the CPUs: a bound as to begin
 * would be crossed again and again.
 */
#define FASTER_LINK 2u

bool wh_compress_cost_pays(const struct wh_compress_cost *cost, bool now_on)
{
	const uint64_t saved = MIB / (now_on ? SAVED_TO_GO_ON : SAVED_TO_BEGIN);
	const uint64_t faster_link = now_on ? FASTER_LINK : 1;

	return cost->link_bps > 0 && cost->len_per_mib + saved <= MIB &&
	       cost->link_bps / faster_link < wh_bytes_per_s(MIB, cost->ns_per_mib);
}

/* What the link took since the last look, if it was the link that took its time. */
static void measure_link(struct wh_compress_pays *p, const struct wh_socket_look *look)
{
	if (look->backlog_bytes > 0 && p->last.backlog_bytes > 0)
		wh_rate_mean_add(&p->link, look->acked_bytes - p->last.acked_bytes,
		                 look->now_ns - p->last.now_ns);
	if (look->backlog_bytes > 0)
		p->idle_looks = 0;
	else if (p->idle_looks++ == 0)
		p->idle_ns = look->now_ns;
	if (p->idle_looks >= IDLE_LOOKS && look->now_ns - p->idle_ns >= IDLE_NS)
		p->link = (struct wh_rate_mean){ 0 };
	p->last = *look;
	if (look->backlog_bytes > 0 && p->link.ns >= LINK_NS_MIN) {
		p->slow_bps = wh_rate_mean_bps(&p->link);
		p->slow_ns = look->now_ns;
	}
}

static bool cost_pays(const struct wh_compress_pays *p)
{
	const struct wh_compress_cost cost = { .link_bps = wh_rate_mean_bps(&p->link),
		                               .ns_per_mib = p->compress_ns * MIB / p->len,
		                               .len_per_mib = p->compressed * MIB / p->len };

	return wh_compress_cost_pays(&cost, p->on);
}

/*
 * Differences need not wait for a busy link: they pay where they take less time than the contents
 * would, even if the link waits for them.
 */
static bool delta_pays(const struct wh_compress_pays *p)
{
	const struct wh_delta_mean *d = &p->delta;
	const uint64_t wanted = d->len - d->len / SAVED_TO_GO_ON;
	const uint64_t compressed = d->len < DELTA_TRIAL ? 0 : d->compressed;
	double link_ns;

	if (p->slow_bps == 0 || p->last.now_ns - p->slow_ns >= IDLE_DELTA_NS)
		return false;
	link_ns = (double)WH_NSEC_PER_SEC / (double)p->slow_bps;
	return d->len == 0 ||
	       (double)d->ns + link_ns * (double)compressed < link_ns * (double)wanted;
}

static void judge_deltas(struct wh_compress_pays *p)
{
	p->delta_on = delta_pays(p);
	if (p->delta_on)
		p->delta_ns = p->last.now_ns;
	else if (p->last.now_ns - p->delta_ns >= DELTA_REST_NS)
		p->delta = (struct wh_delta_mean){ 0 };
}

void wh_compress_pays_look(struct wh_compress_pays *p, const struct wh_socket_look *look)
{
	measure_link(p, look);
	p->on = p->link.ns >= LINK_NS_MIN && p->len >= WH_COMPRESS_SAMPLE && cost_pays(p);
	judge_deltas(p);
}

bool wh_compress_pays_now(const struct wh_compress_pays *p, uint32_t len)
{
	double backlog_ns, compress_ns;

	if (!p->on)
		return false;
	backlog_ns = (double)p->last.backlog_bytes * (double)p->link.ns / (double)p->link.bytes;
	compress_ns = (double)p->compress_ns * len / (double)p->len;
	/*
	 * The link may be idle for half of what is saved: that keeps more bytes off the network, and
	 * still takes less time than to compress nothing.
	 */
	return backlog_ns >= compress_ns * (double)(p->len + p->compressed) / 2 / (double)p->len;
}

bool wh_compress_pays_wants_sample(const struct wh_compress_pays *p)
{
	return !p->on && p->link.ns >= LINK_NS_MIN &&
	       (p->len < WH_COMPRESS_SAMPLE || p->last.now_ns - p->sample_ns >= SAMPLE_NS);
}

void wh_compress_pays_measured(struct wh_compress_pays *p, uint32_t len, uint32_t compressed,
                               uint64_t ns)
{
	/* A sample says what is so now, and nothing of what was. */
	if (!p->on && p->len >= WH_COMPRESS_SAMPLE)
		p->len = p->compressed = p->compress_ns = 0;
	if (p->len == 0)
		p->sample_ns = p->last.now_ns;
	p->len += len;
	p->compressed += compressed;
	p->compress_ns += ns;
	if (p->len > WINDOW) {
		p->len /= 2;
		p->compressed /= 2;
		p->compress_ns /= 2;
	}
}

bool wh_delta_pays(const struct wh_compress_pays *p)
{
	return p->delta_on;
}

void wh_delta_pays_measured(struct wh_compress_pays *p, uint32_t len, uint32_t compressed,
                            uint64_t ns)
{
	struct wh_delta_mean *d = &p->delta;

	d->len += len;
	d->compressed += compressed;
	d->ns += ns;
	if (d->len > WINDOW)
		*d = (struct wh_delta_mean){ d->len / 2, d->compressed / 2, d->ns / 2 };
}
