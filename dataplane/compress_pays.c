/* SPDX-License-Identifier: Apache-2.0 */

#include "compress_pays.h"

#include "wherry/clock.h"

#define MIB (UINT64_C(1) << 20)

/* The link's rate over less time is noise: a thread may have waited for its CPU. */
#define LINK_NS_MIN (50 * WH_NSEC_PER_MSEC)

/* From one sample to the next: contents change. */
#define SAMPLE_NS (100 * WH_NSEC_PER_MSEC)

/* How long compressing may leave the link idle before we look what it takes without. */
#define IDLE_NS (500 * WH_NSEC_PER_MSEC)

/* A measurement's weight in the mean of them is one in so many. */
#define MEAN_OF 4u

/* What must be saved to begin: one part in so many. Less is not worth a change of mind. */
#define MARGIN 8u

bool wh_compress_cost_pays(const struct wh_compress_cost *cost, bool now_on)
{
	const double link_ns = (double)(MIB * WH_NSEC_PER_SEC) / (double)cost->link_bps;
	const double share = (double)cost->len_per_mib / (double)MIB;
	const double compressed_ns = (double)cost->ns_per_mib + share * link_ns;

	if (cost->link_bps == 0)
		return false;
	return compressed_ns < (now_on ? link_ns : link_ns - link_ns / MARGIN);
}

/* What the link took since the last look, if it was the link that took its time. */
static void measure_link(struct wh_compress_pays *p, const struct wh_socket_look *look)
{
	if (look->backlog && p->last.backlog)
		wh_rate_mean_add(&p->link, look->acked_bytes - p->last.acked_bytes,
		                 look->now_ns - p->last.now_ns);
	if (look->backlog || !p->on)
		p->idle_ns = 0;
	else if (p->idle_ns == 0)
		p->idle_ns = look->now_ns;
	if (!look->backlog && (!p->on || look->now_ns - p->idle_ns >= IDLE_NS))
		p->link = (struct wh_rate_mean){ 0 };
	p->last = *look;
}

static bool is_measured(const struct wh_compress_pays *p)
{
	return p->cost.ns_per_mib > 0;
}

void wh_compress_pays_look(struct wh_compress_pays *p, const struct wh_socket_look *look)
{
	measure_link(p, look);
	p->cost.link_bps = wh_rate_mean_bps(&p->link);
	p->on = p->link.ns >= LINK_NS_MIN && is_measured(p) &&
	        wh_compress_cost_pays(&p->cost, p->on);
}

bool wh_compress_pays_wants_sample(const struct wh_compress_pays *p)
{
	return !p->on && p->link.ns >= LINK_NS_MIN &&
	       (!is_measured(p) || p->last.now_ns - p->measured_ns >= SAMPLE_NS);
}

/* A mean that forgets. */
static uint64_t mean(uint64_t old, uint64_t new)
{
	return (old * (MEAN_OF - 1) + new) / MEAN_OF;
}

void wh_compress_pays_measured(struct wh_compress_pays *p, uint32_t len, uint32_t compressed,
                               uint64_t ns)
{
	const uint64_t ns_per_mib = ns * MIB / len + 1; /* never 0 */
	const uint64_t len_per_mib = compressed * MIB / len;
	const bool first = !is_measured(p);

	p->cost.ns_per_mib = first ? ns_per_mib : mean(p->cost.ns_per_mib, ns_per_mib);
	p->cost.len_per_mib = first ? len_per_mib : mean(p->cost.len_per_mib, len_per_mib);
	p->measured_ns = p->last.now_ns;
}
