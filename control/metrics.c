/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Metrics - a table, and a text for each of its entries that grows with each sample; Prometheus wants
 * all samples of a metric together.
 *
 * Numbers are integers all the way: times are in ns until they are written, with a point put in.
 */

#include "metrics.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wherry/assert.h"
#include "wherry/clock.h"

/* Waits for a page are told from 1 us on: shorter ones do not happen. */
#define FAULT_BUCKET_MIN 10u

enum metric {
	KV_DATA_TOTAL,
	KV_DATA_PROCESSED,
	KV_DATA_REMAINING,
	KV_DIRTY_RATE,
	KV_TRANSFER_RATE,
	KV_START_TIME,
	KV_END_TIME,
	KV_SUCCEEDED,
	KV_FAILED,
	KV_LAST_DOWNTIME,
	KV_DOWNTIME,
	KV_PENDING,
	KV_SCHEDULING,
	KV_RUNNING,
	STATE,
	ELAPSED,
	PROGRESS,
	ETA,
	ROUNDS,
	WIRE,
	RDMA,
	TRANSPORT,
	DOWNTIME,
	DOWNTIME_PART,
	POSTCOPY,
	FAULT_WAIT,
	LIMIT,
	LIMIT_CHARGED,
	LIMIT_URGENT,
	LIMIT_WAITS,
	LIMIT_DROPPED,
	LIMIT_DEBT,
	BUILD_INFO,
	MIGRATIONS,
	MANIFEST_ERRORS,
	QUEUE_LENGTH,
	NODE_ALIVE,
	NODE_DRAINED,
	NODE_AGE,
	NODE_MEMORY,
	NODE_FREE,
	NODE_OUTBOUND,
	METRICS,
};

#define GAUGE     "gauge"
#define COUNTER   "counter"
#define HISTOGRAM "histogram"

/* Name, type, unit, help. */
static const struct {
	const char *name;
	const char *type;
	const char *unit;
	const char *help;
} table[METRICS] = {
	[KV_DATA_TOTAL] = { "kubevirt_vmi_migration_data_bytes_total", COUNTER, "bytes",
	                    "guest memory that is to be moved" },
	[KV_DATA_PROCESSED] = { "kubevirt_vmi_migration_data_processed_bytes", GAUGE, "bytes",
	                        "page contents sent; a page counts each time" },
	[KV_DATA_REMAINING] = { "kubevirt_vmi_migration_data_remaining_bytes", GAUGE, "bytes",
	                        "left to send, new writes estimated" },
	[KV_DIRTY_RATE] = { "kubevirt_vmi_migration_dirty_memory_rate_bytes", GAUGE,
	                    "bytes per second", "rate at which the guest dirties memory" },
	[KV_TRANSFER_RATE] = { "kubevirt_vmi_migration_memory_transfer_rate_bytes", GAUGE,
	                       "bytes per second", "measured transfer rate" },
	[KV_START_TIME] = { "kubevirt_vmi_migration_start_time_seconds", GAUGE,
	                    "seconds since 1970", "when the migration started" },
	[KV_END_TIME] = { "kubevirt_vmi_migration_end_time_seconds", GAUGE, "seconds since 1970",
	                  "when the migration ended" },
	[KV_SUCCEEDED] = { "kubevirt_vmi_migration_succeeded", GAUGE, "1",
	                   "the migration has succeeded" },
	[KV_FAILED] = { "kubevirt_vmi_migration_failed", GAUGE, "1",
	                "the migration is over and has not succeeded" },
	[KV_LAST_DOWNTIME] = { "kubevirt_vmi_migration_last_downtime_seconds", GAUGE, "seconds",
	                       "downtime of the guest's last migration that succeeded" },
	[KV_DOWNTIME] = { "kubevirt_vmi_migration_downtime_seconds", HISTOGRAM, "seconds",
	                  "downtimes of the guests that have left this node" },
	[KV_PENDING] = { "kubevirt_vmi_migrations_in_pending_phase", GAUGE, "migrations",
	                 "migrations that wait for their turn" },
	[KV_SCHEDULING] = { "kubevirt_vmi_migrations_in_scheduling_phase", GAUGE, "migrations",
	                    "migrations that are being prepared" },
	[KV_RUNNING] = { "kubevirt_vmi_migrations_in_running_phase", GAUGE, "migrations",
	                 "migrations under way" },
	[STATE] = { "wherry_migration_state", GAUGE, "1", "the state is the one of the label" },
	[ELAPSED] = { "wherry_migration_elapsed_seconds", GAUGE, "seconds",
	              "from the request to the end, or until now" },
	[PROGRESS] = { "wherry_migration_progress_ratio", GAUGE, "ratio",
	               "how much of the current round is done" },
	[ETA] = { "wherry_migration_eta_seconds", GAUGE, "seconds",
	          "time for what is left to send, at the present rate" },
	[ROUNDS] = { "wherry_migration_rounds", GAUGE, "rounds",
	             "rounds begun, the last pass included" },
	[WIRE] = { "wherry_migration_wire_bytes_total", COUNTER, "bytes",
	           "everything handed to the network" },
	[RDMA] = { "wherry_migration_rdma_bytes_total", COUNTER, "bytes", "of it, by RDMA" },
	[TRANSPORT] = { "wherry_migration_transport", GAUGE, "1",
	                "what carries pages is that of the label" },
	[DOWNTIME] = { "wherry_migration_downtime_seconds", GAUGE, "seconds",
	               "from the guest's stop until the word that it runs" },
	[DOWNTIME_PART] = { "wherry_migration_downtime_part_seconds", GAUGE, "seconds",
	                    "the same by what was waited for" },
	[POSTCOPY] = { "wherry_migration_postcopy_seconds", GAUGE, "seconds",
	               "for how long memory followed the guest" },
	[FAULT_WAIT] = { "wherry_migration_fault_wait_seconds", HISTOGRAM, "seconds",
	                 "waits of the guest for a page in post-copy" },
	[LIMIT] = { "wherry_migration_bandwidth_limit_bytes_per_second", GAUGE, "bytes per second",
	            "the bandwidth limit, 0 for none" },
	[LIMIT_CHARGED] = { "wherry_migration_limiter_charged_bytes_total", COUNTER, "bytes",
	                    "payload that took its share of the limit" },
	[LIMIT_URGENT] = { "wherry_migration_limiter_urgent_bytes_total", COUNTER, "bytes",
	                   "of it, pages that the guest waited for" },
	[LIMIT_WAITS] = { "wherry_migration_limiter_waits_total", COUNTER, "packets",
	                  "packets that made their connection wait" },
	[LIMIT_DROPPED] = { "wherry_migration_limiter_dropped_packets_total", COUNTER, "packets",
	                    "packets dropped; not 0 only if pacing is evaded" },
	[LIMIT_DEBT] = { "wherry_migration_limiter_debt_seconds", GAUGE, "seconds",
	                 "how long what was sent will keep the limit busy" },
	[BUILD_INFO] = { "wherry_build_info", GAUGE, "1", "the version is that of the label" },
	[MIGRATIONS] = { "wherry_migrations_total", COUNTER, "migrations",
	                 "migrations that are over, by their outcome" },
	[MANIFEST_ERRORS] = { "wherry_manifest_errors_total", COUNTER, "manifests",
	                      "manifests refused because of a mistake in them" },
	[QUEUE_LENGTH] = { "wherry_queue_length", GAUGE, "migrations",
	                   "migrations that wait, by their priority" },
	[NODE_ALIVE] = { "wherry_node_alive", GAUGE, "0 or 1", "the node's lease has not expired" },
	[NODE_DRAINED] = { "wherry_node_drained", GAUGE, "0 or 1",
	                   "guests are moved off the node" },
	[NODE_AGE] = { "wherry_node_report_age_seconds", GAUGE, "seconds",
	               "since the node's last report" },
	[NODE_MEMORY] = { "wherry_node_memory_bytes", GAUGE, "bytes", "memory of the node" },
	[NODE_FREE] = { "wherry_node_free_bytes", GAUGE, "bytes", "free memory of the node" },
	[NODE_OUTBOUND] = { "wherry_node_outbound_migrations", GAUGE, "migrations",
	                    "slots in use for guests that leave the node" },
};

struct text {
	FILE *out; /* NULL until something is written */
	char *data;
	size_t len;
};

struct wh_metrics {
	char *node; /* the label, escaped */
	struct text texts[METRICS];
};

static FILE *writing(struct text *text)
{
	if (!text->out)
		text->out = open_memstream(&text->data, &text->len);
	wh_assert(text->out); /* some KiB each */
	return text->out;
}

/* Return: the text, from malloc(). */
static char *written(struct text *text)
{
	wh_assert(fclose(writing(text)) == 0);
	text->out = NULL;
	return text->data;
}

static void put_label(FILE *out, const char *name, const char *value)
{
	(void)fprintf(out, "%s%s=\"", ftell(out) > 0 ? "," : "", name);
	for (; *value; value++) {
		if (*value == '\n')
			(void)fputs("\\n", out);
		else if (*value == '"' || *value == '\\')
			(void)fprintf(out, "\\%c", *value);
		else
			(void)fputc(*value, out);
	}
	(void)fputc('"', out);
}

/* Names and values, in pairs, up to NULL. From malloc(). */
static char *labels(const char *const *pairs)
{
	struct text text = { 0 };

	for (FILE *out = writing(&text); pairs[0]; pairs += 2)
		put_label(out, pairs[0], pairs[1]);
	return written(&text);
}

#define LABELS(...) labels((const char *const[]){ __VA_ARGS__, NULL })

struct number {
	char s[32];
};

static struct number whole(uint64_t value)
{
	struct number number;

	(void)snprintf(number.s, sizeof(number.s), "%" PRIu64, value);
	return number;
}

/* A number of units that are each 10^9 of ours: ns to seconds. */
static struct number billionths(uint64_t value)
{
	uint64_t rest = value % WH_NSEC_PER_SEC;
	struct number number;
	int digits = 9;

	if (rest == 0)
		return whole(value / WH_NSEC_PER_SEC);
	for (; rest % 10 == 0; rest /= 10)
		digits--;
	(void)snprintf(number.s, sizeof(number.s), "%" PRIu64 ".%0*" PRIu64,
	               value / WH_NSEC_PER_SEC, digits, rest);
	return number;
}

/* @labels may be "". */
static void put_line(struct wh_metrics *m, enum metric metric, const char *suffix,
                     const char *labels, struct number value)
{
	FILE *out = writing(&m->texts[metric]);

	(void)fprintf(out, "%s%s", table[metric].name, suffix);
	if (*labels)
		(void)fprintf(out, "{%s}", labels);
	(void)fprintf(out, " %s\n", value.s);
}

static void put(struct wh_metrics *m, enum metric metric, const char *own, struct number value)
{
	put_line(m, metric, "", own, value);
}

/* With further labels. From malloc(). */
static char *with(const char *own, const char *more)
{
	char *both;

	wh_assert(asprintf(&both, "%s,%s", own, more) > 0);
	return both;
}

static void put_more(struct wh_metrics *m, enum metric metric, const char *own, const char *more,
                     struct number value)
{
	char *both = with(own, more);

	put_line(m, metric, "", both, value);
	free(both);
}

/* A histogram is written bucket by bucket, the shortest waits first. */
struct histogram {
	struct wh_metrics *m;
	enum metric metric;
	const char *own;
	uint64_t count;
};

static void put_le(const struct histogram *h, const char *end)
{
	char *le = LABELS("le", end);
	char *both = with(h->own, le);

	put_line(h->m, h->metric, "_bucket", both, whole(h->count));
	free(both);
	free(le);
}

/* All that were counted so far are at most @end_ns long. */
static void put_bucket(const struct histogram *h, uint64_t end_ns)
{
	put_le(h, billionths(end_ns).s);
}

static void put_end(const struct histogram *h, uint64_t sum_ns)
{
	put_le(h, "+Inf");
	put_line(h->m, h->metric, "_sum", h->own, billionths(sum_ns));
	put_line(h->m, h->metric, "_count", h->own, whole(h->count));
}

struct wh_metrics *wh_metrics_new(const char *node)
{
	struct wh_metrics *m = calloc(1, sizeof(*m));

	wh_assert(m);
	m->node = LABELS("node", node);
	return m;
}

struct wh_metrics *wh_metrics_free(struct wh_metrics *m)
{
	if (!m)
		return NULL;
	for (size_t i = 0; i < METRICS; i++)
		if (m->texts[i].out)
			free(written(&m->texts[i]));
	free(m->node);
	free(m);
	return NULL;
}

char *wh_metrics_text(struct wh_metrics *m, size_t *len)
{
	struct text page = { 0 };
	char *data;

	for (size_t i = 0; i < METRICS; i++) {
		if (!m->texts[i].out)
			continue;
		data = written(&m->texts[i]);
		(void)fprintf(writing(&page), "# HELP %s %s\n# TYPE %s %s\n", table[i].name,
		              table[i].help, table[i].name, table[i].type);
		(void)fputs(data, page.out);
		free(data);
	}
	data = written(&page);
	*len = page.len;
	return data;
}

static void add_outcomes(struct wh_metrics *m, const char *role, const uint64_t counts[WH_OUTCOMES])
{
	static const char *const names[WH_OUTCOMES] = {
		[WH_OUTCOME_NONE] = "succeeded",
		[WH_OUTCOME_CANCELLED] = "cancelled",
		[WH_OUTCOME_DEADLINE] = "deadline",
		[WH_OUTCOME_FAILED] = "failed",
	};

	for (size_t i = 0; i < WH_OUTCOMES; i++) {
		char *more = LABELS("role", role, "outcome", names[i]);

		put_more(m, MIGRATIONS, m->node, more, whole(counts[i]));
		free(more);
	}
}

void wh_metrics_add_totals(struct wh_metrics *m, const char *version,
                           const struct wh_totals *totals)
{
	struct histogram downtime = { .m = m, .metric = KV_DOWNTIME, .own = m->node };
	char *more = LABELS("version", version);

	put_more(m, BUILD_INFO, m->node, more, whole(1));
	free(more);
	add_outcomes(m, "source", totals->sources);
	add_outcomes(m, "target", totals->targets);
	put(m, MANIFEST_ERRORS, m->node, whole(totals->manifest_errors));
	for (size_t i = 0; i < WH_DOWNTIME_BUCKETS; i++) {
		downtime.count += totals->downtime[i];
		if (i < WH_DOWNTIME_BUCKETS - 1)
			put_bucket(&downtime, wh_downtime_ends_ms[i] * WH_NSEC_PER_MSEC);
	}
	put_end(&downtime, totals->downtime_ns);
}

/* The rest is about one migration; @own are its labels. */

static void add_faults(struct wh_metrics *m, const struct wh_view *v, const char *own)
{
	struct histogram waits = { .m = m, .metric = FAULT_WAIT, .own = own };

	for (uint32_t i = 0; i < WH_FAULT_BUCKETS; i++) {
		waits.count += v->fault_ns_log2[i];
		if (i >= FAULT_BUCKET_MIN && i < WH_FAULT_BUCKETS - 1)
			put_bucket(&waits, UINT64_C(2) << i);
	}
	put_end(&waits, v->stats[WH_STAT_STALL_NS]);
}

static void add_downtime(struct wh_metrics *m, const struct wh_view *v, const char *own)
{
	put(m, DOWNTIME, own, billionths(v->downtime.total_ns));
	put_more(m, DOWNTIME_PART, own, "part=\"stop\"", billionths(v->downtime.stop_ns));
	put_more(m, DOWNTIME_PART, own, "part=\"scan\"", billionths(v->downtime.scan_ns));
	put_more(m, DOWNTIME_PART, own, "part=\"pages\"", billionths(v->downtime.pages_ns));
	put_more(m, DOWNTIME_PART, own, "part=\"device\"", billionths(v->downtime.device_ns));
	put_more(m, DOWNTIME_PART, own, "part=\"resume\"", billionths(v->downtime.resume_ns));
}

static void add_limiter(struct wh_metrics *m, const struct wh_metrics_migration *s, const char *own)
{
	put(m, LIMIT, own, whole(s->view->bandwidth_bps));
	put(m, LIMIT_CHARGED, own, whole(s->limiter.charged_bytes));
	put(m, LIMIT_URGENT, own, whole(s->limiter.urgent_bytes));
	put(m, LIMIT_WAITS, own, whole(s->limiter.waits));
	put(m, LIMIT_DROPPED, own, whole(s->limiter.dropped_packets));
	put(m, LIMIT_DEBT, own, billionths(s->limiter.debt_ns));
}

/* What changes by the second, and means nothing after the end. */
static void add_progress(struct wh_metrics *m, const struct wh_view *v, const char *own)
{
	uint64_t ratio;
	uint64_t eta_ns;

	put(m, KV_DATA_REMAINING, own, whole(v->stats[WH_STAT_LEFT_BYTES]));
	put(m, KV_DIRTY_RATE, own, whole(v->stats[WH_STAT_DIRTY_BPS]));
	put(m, KV_TRANSFER_RATE, own, whole(wh_progress_bps(v)));
	ratio = (uint64_t)(wh_progress_done(v) * 10000);
	put(m, PROGRESS, own, billionths(ratio * (WH_NSEC_PER_SEC / 10000)));
	if (wh_progress_eta_ns(v, &eta_ns))
		put(m, ETA, own, billionths(eta_ns));
}

static void add_end(struct wh_metrics *m, const struct wh_metrics_migration *s, const char *own)
{
	const struct wh_view *v = s->view;
	bool succeeded = !*v->outcome;
	char *more = LABELS("migration_name", v->migration, "status",
	                    succeeded ? "succeeded" : "failed");

	put_more(m, KV_END_TIME, own, more, billionths(s->ended_ms * WH_NSEC_PER_MSEC));
	free(more);
	more = LABELS("vmi", v->vm, "vmim", v->migration);
	put_more(m, succeeded ? KV_SUCCEEDED : KV_FAILED, own, more, whole(1));
	free(more);
	if (succeeded && s->last && v->downtime.total_ns > 0)
		put(m, KV_LAST_DOWNTIME, own, billionths(v->downtime.total_ns));
}

static void add_source(struct wh_metrics *m, const struct wh_metrics_migration *s, const char *own)
{
	const struct wh_view *v = s->view;
	char *more = LABELS("migration_name", v->migration);

	put(m, KV_DATA_TOTAL, own, whole(v->stats[WH_STAT_RAM_BYTES]));
	put(m, KV_DATA_PROCESSED, own, whole(v->stats[WH_STAT_PAGE_BYTES]));
	if (wh_progress_is_copying(v))
		add_progress(m, v, own);
	if (s->started_ms > 0)
		put_more(m, KV_START_TIME, own, more, billionths(s->started_ms * WH_NSEC_PER_MSEC));
	free(more);
	put(m, ROUNDS, own, whole(v->stats[WH_STAT_ROUND]));
	add_limiter(m, s, own);
	if (v->downtime.total_ns > 0)
		add_downtime(m, v, own);
	if (v->over)
		add_end(m, s, own);
}

void wh_metrics_add_migration(struct wh_metrics *m, const struct wh_metrics_migration *s)
{
	const struct wh_view *v = s->view;
	char *rest = LABELS("namespace", s->name_space, "name", v->vm, "migration", v->migration,
	                    "role", v->role, "peer", v->peer);
	char *state = LABELS("state", v->state);
	char *transport = LABELS("transport", v->transport);
	char *own = with(m->node, rest);

	put_more(m, STATE, own, state, whole(1));
	put(m, ELAPSED, own, billionths(v->elapsed_ns));
	put(m, WIRE, own, whole(v->stats[WH_STAT_WIRE_BYTES]));
	put(m, RDMA, own, whole(v->stats[WH_STAT_RDMA_BYTES]));
	put_more(m, TRANSPORT, own, transport, whole(1));
	if (v->postcopy_ns > 0)
		put(m, POSTCOPY, own, billionths(v->postcopy_ns));
	if (!strcmp(v->role, "source"))
		add_source(m, s, own);
	else if (v->postcopy_ns > 0)
		add_faults(m, v, own);
	free(own);
	free(state);
	free(transport);
	free(rest);
}

/* Of the cluster. */

void wh_metrics_add_phases(struct wh_metrics *m, const struct wh_metrics_phases *phases)
{
	put(m, KV_PENDING, "", whole(phases->pending));
	put(m, KV_SCHEDULING, "", whole(phases->scheduling));
	put(m, KV_RUNNING, "", whole(phases->running));
}

void wh_metrics_add_queue(struct wh_metrics *m, const char *priority, uint64_t length)
{
	char *own = LABELS("priority", priority);

	put(m, QUEUE_LENGTH, own, whole(length));
	free(own);
}

void wh_metrics_add_node(struct wh_metrics *m, const struct wh_metrics_node *node)
{
	char *own = LABELS("node", node->name);

	put(m, NODE_ALIVE, own, whole(node->alive));
	put(m, NODE_DRAINED, own, whole(node->drained));
	if (node->seen) {
		put(m, NODE_AGE, own, billionths(node->report_age_ms * WH_NSEC_PER_MSEC));
		put(m, NODE_MEMORY, own, whole(node->memory_bytes));
		put(m, NODE_FREE, own, whole(node->free_bytes));
		put(m, NODE_OUTBOUND, own, whole(node->outbound));
	}
	free(own);
}
