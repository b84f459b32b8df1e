/* SPDX-License-Identifier: Apache-2.0 */

#include "status.h"

#include "config_rdma.h"
#include "object.h"

#include <stdio.h>
#include <string.h>

#include "wherry/clock.h"

static void put(json_t *json, const char *key, uint64_t value)
{
	(void)json_object_set_new(json, key, wh_json_number(value));
}

/* Time from @from to @to, 0 unless both happened. */
static uint64_t between(uint64_t from, uint64_t to)
{
	return from != 0 && to > from ? to - from : 0;
}

/* All as seen by the source: the target's clock is not asked. */
static void view_downtime(const struct wh_job *job, struct wh_view *ret)
{
	const struct wh_job_times *t = &job->times;
	uint64_t scanned_ns = wh_job_stat(job, WH_STAT_SCANNED_NS);
	uint64_t sent_ns = t->completed_ns;

	/* QEMU says so only once the target has hung up, which may be after the target's word. */
	if (sent_ns == 0 || sent_ns > t->running_ns)
		sent_ns = t->running_ns;

	ret->downtime.total_ns = between(t->stopped_ns, t->running_ns);
	ret->downtime.stop_ns = between(t->stopped_ns, t->drained_ns);
	ret->downtime.scan_ns = between(t->drained_ns, scanned_ns);
	ret->downtime.pages_ns = between(scanned_ns ? scanned_ns : t->drained_ns, t->landed_ns);
	ret->downtime.device_ns = between(t->landed_ns, sent_ns);
	ret->downtime.resume_ns = between(sent_ns, t->running_ns);
}

#define COPY(field, text) ((void)snprintf((field), sizeof(field), "%s", (text)))

void wh_status_view(const struct wh_job *job, struct wh_view *ret)
{
	uint64_t now = wh_now_ns(&wh_clock_monotonic);
	uint64_t end = job->times.ended_ns ? job->times.ended_ns : now;
	uint64_t landed_ns = wh_job_stat(job, WH_STAT_LANDED_NS);

	*ret = (struct wh_view){
		.over = wh_job_is_over(job->state),
		.bandwidth_bps = job->settings.bandwidth_bps,
		.elapsed_ns = end - job->times.created_ns,
		.throttle_percent = job->throttle_percent,
		.throttle_peak_percent = job->throttle_peak,
		.tries_rdma = job->tries_rdma,
	};
	COPY(ret->migration, job->record.id);
	COPY(ret->vm, job->record.vm);
	COPY(ret->role, job->record.role == WH_ROLE_SOURCE ? "source" : "target");
	COPY(ret->peer, job->record.peer);
	COPY(ret->state, wh_job_state_name(job->state));
	COPY(ret->outcome, wh_outcome_name(job->outcome));
	COPY(ret->reason, job->reason.text);
	COPY(ret->note, job->note.text);
	COPY(ret->transport, wh_transport_kind_name(job->carries));
	COPY(ret->no_rdma, job->no_rdma.text);
	for (enum wh_stat s = 0; s < WH_STAT_COUNT; s++)
		ret->stats[s] = wh_job_stat(job, s);
	for (uint32_t i = 0; i < WH_FAULT_BUCKETS; i++)
		ret->fault_ns_log2[i] = wh_job_fault_bucket(job, i);
	ret->copied_ns = between(ret->stats[WH_STAT_STARTED_NS], landed_ns ? landed_ns : end);
	ret->postcopy_ns = between(ret->stats[WH_STAT_POSTCOPY_NS], landed_ns ? landed_ns : end);
	view_downtime(job, ret);
}

static json_t *downtime(const struct wh_view *v)
{
	json_t *json = json_object();

	put(json, "total_ns", v->downtime.total_ns);
	put(json, "stop_ns", v->downtime.stop_ns);
	put(json, "scan_ns", v->downtime.scan_ns);
	put(json, "pages_ns", v->downtime.pages_ns);
	put(json, "device_ns", v->downtime.device_ns);
	put(json, "resume_ns", v->downtime.resume_ns);
	return json;
}

static json_t *limiter(const struct wh_job *job)
{
	struct wh_rate_stats stats;
	json_t *json = json_object();

	wh_job_limiter(job, &stats);
	put(json, "charged_bytes", stats.charged_bytes);
	put(json, "urgent_bytes", stats.urgent_bytes);
	put(json, "dropped_packets", stats.dropped_packets);
	put(json, "waits", stats.waits);
	put(json, "debt_ns", stats.debt_ns);
	return json;
}

static json_t *stats_of(const struct wh_view *v)
{
	json_t *stats = json_object();
	json_t *waits = json_array();

	for (enum wh_stat s = 0; s < WH_STAT_COUNT; s++)
		put(stats, wh_stat_table[s].name, v->stats[s]);
	for (uint32_t i = 0; i < WH_FAULT_BUCKETS; i++)
		(void)json_array_append_new(waits, wh_json_number(v->fault_ns_log2[i]));
	(void)json_object_set_new(stats, wh_stat_faults_info.name, waits);
	return stats;
}

void wh_status_move(json_t *json, const struct wh_move *move)
{
	const char *priority = wh_priority_name(move->priority);
	const struct {
		const char *key;
		const char *value;
	} names[] = {
		{ "namespace", move->name_space },
		{ "source", move->source },
		{ "target", move->target },
		{ "policy", move->policy },
		{ "priority", priority ? priority : "" },
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		(void)json_object_set_new(json, names[i].key, json_string(names[i].value));
	put(json, "attempt", move->attempt);
	put(json, "created_ms", move->created_ms);
	put(json, "started_ms", move->started_ms);
	put(json, "ended_ms", move->ended_ms);
	put(json, "place", 0);
}

/* What a job knows of its move: a target was told names only, and a recovered source has its record. */
static void put_move(json_t *json, const struct wh_job *job)
{
	bool source = job->record.role == WH_ROLE_SOURCE;
	struct wh_move move = job->move;
	const char *here = job->daemon ? job->daemon->config->node : "";

	if (job->vm)
		memcpy(move.name_space, job->vm->name_space, WH_NAME_MAX);
	(void)snprintf(move.source, WH_NAME_MAX, "%s", source ? here : job->record.peer);
	(void)snprintf(move.target, WH_NAME_MAX, "%s", source ? job->record.peer : here);
	wh_status_move(json, &move);
}

json_t *wh_status_job(const struct wh_job *job)
{
	uint64_t now = wh_now_ns(&wh_clock_monotonic);
	uint64_t end = job->times.ended_ns ? job->times.ended_ns : now;
	json_t *json = json_object();
	struct wh_view v;

	wh_status_view(job, &v);
	(void)json_object_set_new(json, "migration", json_string(v.migration));
	(void)json_object_set_new(json, "vm", json_string(v.vm));
	(void)json_object_set_new(json, "role", json_string(v.role));
	(void)json_object_set_new(json, "peer", json_string(v.peer));
	(void)json_object_set_new(json, "state", json_string(v.state));
	(void)json_object_set_new(json, "over", json_boolean(v.over));
	(void)json_object_set_new(json, "outcome", json_string(v.outcome));
	(void)json_object_set_new(json, "reason", json_string(v.reason));
	(void)json_object_set_new(json, "note", json_string(v.note));
	(void)json_object_set_new(json, "engine", json_string(wh_engine_name(job->record.engine)));
	(void)json_object_set_new(json, "engine_note", json_string(job->engine_note.text));
	(void)json_object_set_new(json, "transport", json_string(v.transport));
	(void)json_object_set_new(json, "no_rdma", json_string(v.no_rdma));
	(void)json_object_set_new(json, "tries_rdma", json_boolean(v.tries_rdma));
	put(json, "bandwidth_bps", v.bandwidth_bps);
	put(json, "elapsed_ns", v.elapsed_ns);
	put(json, "moving_ns",
	    between(job->times.ready_ns, job->times.running_ns ? job->times.running_ns : end));
	put(json, "copied_ns", v.copied_ns);
	put(json, "postcopy_ns", v.postcopy_ns);
	(void)json_object_set_new(json, "downtime", downtime(&v));
	put_move(json, job);
	if (job->record.role == WH_ROLE_SOURCE) {
		put(json, "throttle_percent", v.throttle_percent);
		put(json, "throttle_peak_percent", v.throttle_peak_percent);
		(void)json_object_set_new(json, "limiter", limiter(job));
	}
	(void)json_object_set_new(json, "stats", stats_of(&v));
	return json;
}

static json_t *setting(const struct wh_setting_value *value)
{
	char text[WH_SETTING_TEXT_MAX];

	switch (value->type) {
	case WH_SETTING_INTEGER:
		return wh_json_number(value->number);
	case WH_SETTING_BOOLEAN:
		return json_boolean(value->number != 0);
	case WH_SETTING_BANDWIDTH:
	case WH_SETTING_NAME:
		break;
	}
	wh_setting_format(text, value);
	return json_string(text);
}

json_t *wh_status_settings(const struct wh_settings *settings)
{
	struct wh_setting_value value;
	json_t *list = json_array();

	for (size_t i = 0; wh_settings_at(settings, i, &value); i++)
		(void)json_array_append_new(
			list, json_pack("{s:s, s:o, s:b, s:s}", "key", value.key, "value",
		                        setting(&value), "given", value.given, "help", value.help));
	return list;
}
