/* SPDX-License-Identifier: Apache-2.0 */

#include "compress_pays.h"

#include "wherry/clock.h"

#define MIB (UINT64_C(1) << 20)

/* The link's rate over less time is noise: a thread may have waited for its CPU. */
#define LINK_NS_MIN (50 * WH_NSEC_PER_MSEC)

/* From one sample to the next: contents change. */
#define SAMPLE_NS (100 * WH_NSEC_PER_MSEC)

/*
 * How long the link may be without a backlog before what was measured is forgotten. Where it is
 * compressing that leaves it idle, what it takes without is then measured anew, with contents as
 * they are; a good compressor does leave it idle, so that is for once in a while.
 */
#define IDLE_NS    (50 * WH_NSEC_PER_MSEC)
#define IDLE_ON_NS (3 * WH_NSEC_PER_SEC)

/* Older contents lose half of their weight when the mean covers more than this. */
#define WINDOW (8 * MIB)

/* What must be saved to begin: one part in so many. Less is not worth a change of mind. */
#define MARGIN 8u

bool wh_compress_cost_pays(const struct wh_compress_cost *cost, bool now_on)
{
	double link_ns, compressed_ns;

	if (cost->link_bps == 0)
		return false;
	link_ns = (double)(MIB * WH_NSEC_PER_SEC) / (double)cost->link_bps;
	compressed_ns =
		(double)cost->ns_per_mib + link_ns * (double)cost->len_per_mib / (double)MIB;
	return compressed_ns < (now_on ? link_ns : link_ns - link_ns / MARGIN);
}

/* What the link took since the last look, if it was the link that took its time. */
static void measure_link(struct wh_compress_pays *p, const struct wh_socket_look *look)
{
	if (look->backlog && p->last.backlog)
		wh_rate_mean_add(&p->link, look->acked_bytes - p->last.acked_bytes,
		                 look->now_ns - p->last.now_ns);
	if (look->backlog)
		p->idle_ns = 0;
	else if (p->idle_ns == 0)
		p->idle_ns = look->now_ns;
	else if (look->now_ns - p->idle_ns >= (p->on ? IDLE_ON_NS : IDLE_NS))
		p->link = (struct wh_rate_mean){ 0 };
	p->last = *look;
}

static bool cost_pays(const struct wh_compress_pays *p)
{
	const struct wh_compress_cost cost = { .link_bps = wh_rate_mean_bps(&p->link),
		                               .ns_per_mib = p->compress_ns * MIB / p->len,
		                               .len_per_mib = p->compressed * MIB / p->len };

	return wh_compress_cost_pays(&cost, p->on);
}

void wh_compress_pays_look(struct wh_compress_pays *p, const struct wh_socket_look *look)
{
	measure_link(p, look);
	p->on = p->link.ns >= LINK_NS_MIN && p->len >= WH_COMPRESS_SAMPLE && cost_pays(p);
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
