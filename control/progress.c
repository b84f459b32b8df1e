/* SPDX-License-Identifier: Apache-2.0 */

#include "progress.h"

#include <inttypes.h>
#include <string.h>

#include "units.h"

#include "wherry/clock.h"

static unsigned percent(uint64_t part, uint64_t whole)
{
	if (whole == 0 || part >= whole)
		return 100;
	return (unsigned)((double)part * 100 / (double)whole);
}

/* @bytes in @ns, per second. */
static uint64_t rate(uint64_t bytes, uint64_t ns)
{
	return ns == 0 ? 0 : (uint64_t)((double)bytes * (double)WH_NSEC_PER_SEC / (double)ns);
}

uint64_t wh_progress_wait_ns(const uint64_t buckets[WH_FAULT_BUCKETS], uint32_t per_mille)
{
	uint64_t all = 0;
	uint64_t seen = 0;

	for (uint32_t i = 0; i < WH_FAULT_BUCKETS; i++)
		all += buckets[i];
	for (uint32_t i = 0; all > 0 && i < WH_FAULT_BUCKETS; i++) {
		seen += buckets[i];
		if ((double)seen * 1000 >= (double)all * per_mille)
			return UINT64_C(2) << i;
	}
	return 0;
}

static struct wh_text wait_of(const struct wh_view *v, uint32_t per_mille)
{
	uint64_t ns = wh_progress_wait_ns(v->fault_ns_log2, per_mille);
	struct wh_text text;

	if (ns >= 10 * WH_NSEC_PER_MSEC)
		return wh_units_time(ns);
	(void)snprintf(text.s, sizeof(text.s), "%" PRIu64 " us", ns / 1000);
	return text;
}

/* The guest runs at its target; what is left follows, or would. */
static void postcopy_line(char line[WH_PROGRESS_MAX], const struct wh_view *v, struct wh_text eta)
{
	(void)snprintf(line, WH_PROGRESS_MAX,
	               "%-8s  left %s  %s  faults %" PRIu64 "  99%% below %s  ETA %s", v->state,
	               wh_units_bytes(v->stats[WH_STAT_LEFT_BYTES]).s,
	               wh_units_rate(v->stats[WH_STAT_RATE_BPS]).s, v->stats[WH_STAT_FAULTS],
	               wait_of(v, 990).s, eta.s);
}

bool wh_progress_is_copying(const struct wh_view *v)
{
	static const char *const states[] = { "PreCopy", "Paused", "HandOver", "PostCopy" };

	for (size_t i = 0; i < sizeof(states) / sizeof(*states); i++)
		if (!strcmp(v->state, states[i]))
			return true;
	return false;
}

uint64_t wh_progress_bps(const struct wh_view *v)
{
	uint64_t bps = v->stats[WH_STAT_RATE_BPS];

	/* The mover has measured nothing before the end of the first round. */
	return bps > 0 ? bps : rate(v->stats[WH_STAT_PAGE_BYTES], v->copied_ns);
}

double wh_progress_done(const struct wh_view *v)
{
	uint64_t left = v->stats[WH_STAT_LEFT_BYTES];
	uint64_t whole = v->stats[WH_STAT_ROUND_BYTES];

	if (whole == 0)
		return 1;
	return left < whole ? (double)(whole - left) / (double)whole : 0;
}

bool wh_progress_eta_ns(const struct wh_view *v, uint64_t *ret)
{
	uint64_t bps = wh_progress_bps(v);

	if (bps == 0)
		return false;
	*ret = (uint64_t)((double)v->stats[WH_STAT_LEFT_BYTES] * (double)WH_NSEC_PER_SEC /
	                  (double)bps);
	return true;
}

void wh_progress_line(char line[WH_PROGRESS_MAX], const struct wh_view *v)
{
	struct wh_text eta = { "-" };
	char throttled[40] = "";
	const bool rdma = !strcmp(v->transport, "rdma");
	uint64_t eta_ns;

	if (!wh_progress_is_copying(v)) {
		(void)snprintf(line, WH_PROGRESS_MAX, "%s%s%.180s", v->state, *v->note ? "  " : "",
		               v->note);
		return;
	}
	if (wh_progress_eta_ns(v, &eta_ns))
		eta = wh_units_time(eta_ns);
	if (!strcmp(v->state, "PostCopy")) {
		postcopy_line(line, v, eta);
		return;
	}
	if (v->throttle_percent > 0)
		(void)snprintf(throttled, sizeof(throttled), "  throttled %" PRIu64 "%%",
		               v->throttle_percent);
	(void)snprintf(line, WH_PROGRESS_MAX,
	               "%-8s  round %" PRIu64 "  %3u%%  %s  dirty %s  left %s  ETA %s%s%s",
	               v->state, v->stats[WH_STAT_ROUND], (unsigned)(wh_progress_done(v) * 100),
	               wh_units_rate(wh_progress_bps(v)).s,
	               wh_units_rate(v->stats[WH_STAT_DIRTY_BPS]).s,
	               wh_units_bytes(v->stats[WH_STAT_LEFT_BYTES]).s, eta.s, throttled,
	               rdma ? "  by RDMA" : "");
}

static void put_downtime(FILE *out, const struct wh_view *v)
{
	if (v->downtime.total_ns == 0) {
		(void)fputs("  downtime     none: the guest was paused, and still is\n", out);
		return;
	}
	(void)fprintf(out,
	              "  downtime     %s, from the stop until the word came back that it runs\n"
	              "               stop %s, scan %s, pages %s, device state %s, resume %s\n",
	              wh_units_time(v->downtime.total_ns).s, wh_units_time(v->downtime.stop_ns).s,
	              wh_units_time(v->downtime.scan_ns).s, wh_units_time(v->downtime.pages_ns).s,
	              wh_units_time(v->downtime.device_ns).s,
	              wh_units_time(v->downtime.resume_ns).s);
}

static void put_postcopy(FILE *out, const struct wh_view *v)
{
	if (v->postcopy_ns == 0)
		return;
	(void)fprintf(
		out,
		"  post-copy    %s: %s for faults, %s pushed\n"
		"  faults       %" PRIu64
		", half of them below %s, 99%% below %s, 99.9%% below %s, stalled %s in all\n",
		wh_units_time(v->postcopy_ns).s, wh_units_bytes(v->stats[WH_STAT_FAULT_BYTES]).s,
		wh_units_bytes(v->stats[WH_STAT_PUSH_BYTES]).s, v->stats[WH_STAT_FAULTS],
		wait_of(v, 500).s, wait_of(v, 990).s, wait_of(v, 999).s,
		wh_units_time(v->stats[WH_STAT_STALL_NS]).s);
}

/* Only where RDMA was tried: else TCP is what everybody expects. */
static void put_transport(FILE *out, const struct wh_view *v)
{
	if (!v->tries_rdma)
		return;
	(void)fprintf(out, "  by RDMA      %s of that",
	              wh_units_bytes(v->stats[WH_STAT_RDMA_BYTES]).s);
	if (strcmp(v->transport, "rdma") != 0 && *v->no_rdma)
		(void)fprintf(out, ", the rest by TCP: %s", v->no_rdma);
	(void)fputc('\n', out);
}

static void put_compression(FILE *out, const struct wh_view *v)
{
	const uint64_t raw = v->stats[WH_STAT_COMPRESSED_RAW_BYTES];
	const uint64_t differing = v->stats[WH_STAT_DELTA_RAW_BYTES];

	if (raw > 0)
		(void)fprintf(out, "  compressed   %s of pages, to %u%%\n", wh_units_bytes(raw).s,
		              percent(v->stats[WH_STAT_COMPRESSED_BYTES], raw));
	if (differing > 0)
		(void)fprintf(out, "  differences  %s of pages, to %u%%\n",
		              wh_units_bytes(differing).s,
		              percent(v->stats[WH_STAT_DELTA_BYTES], differing));
}

static void put_echo(FILE *out, const struct wh_view *v)
{
	if (v->stats[WH_STAT_ECHO_BYTES] > 0)
		(void)fprintf(out, "  once more    %s of pages, for reads with O_DIRECT\n",
		              wh_units_bytes(v->stats[WH_STAT_ECHO_BYTES]).s);
}

static void put_skipped(FILE *out, const struct wh_view *v)
{
	const uint64_t unchanged = v->stats[WH_STAT_UNCHANGED_BYTES];

	(void)fprintf(out, "  skipped      %s zero, %s never touched",
	              wh_units_bytes(v->stats[WH_STAT_ZERO_BYTES]).s,
	              wh_units_bytes(v->stats[WH_STAT_UNTOUCHED_BYTES]).s);
	if (unchanged > 0)
		(void)fprintf(out, ", %s unchanged in huge pages", wh_units_bytes(unchanged).s);
	(void)fputc('\n', out);
}

void wh_progress_summary(FILE *out, const struct wh_view *v)
{
	uint64_t mean = rate(v->stats[WH_STAT_WIRE_BYTES], v->copied_ns);

	(void)fprintf(out, "VM %s runs on node %s (migration %s)\n", v->vm, v->peer, v->migration);
	(void)fprintf(out, "  total        %s\n", wh_units_time(v->elapsed_ns).s);
	put_downtime(out, v);
	put_postcopy(out, v);
	(void)fprintf(out, "  rounds       %" PRIu64 "\n", v->stats[WH_STAT_ROUND]);
	if (v->throttle_peak_percent > 0)
		(void)fprintf(out, "  throttled    up to %" PRIu64 "%%, so that it converges\n",
		              v->throttle_peak_percent);
	(void)fprintf(out, "  moved        %s of pages, %s on the network, guest RAM %s\n",
	              wh_units_bytes(v->stats[WH_STAT_PAGE_BYTES]).s,
	              wh_units_bytes(v->stats[WH_STAT_WIRE_BYTES]).s,
	              wh_units_bytes(v->stats[WH_STAT_RAM_BYTES]).s);
	put_transport(out, v);
	put_compression(out, v);
	put_echo(out, v);
	put_skipped(out, v);
	if (v->bandwidth_bps == 0)
		(void)fprintf(out, "  mean rate    %s, unlimited\n", wh_units_rate(mean).s);
	else
		(void)fprintf(out, "  mean rate    %s, %u%% of the limit of %s\n",
		              wh_units_rate(mean).s, percent(mean, v->bandwidth_bps),
		              wh_units_rate(v->bandwidth_bps).s);
}
