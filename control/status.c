/* SPDX-License-Identifier: Apache-2.0 */

#include "status.h"

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
static json_t *downtime(const struct wh_job *job)
{
	const struct wh_job_times *t = &job->times;
	uint64_t scanned_ns = wh_job_stat(job, WH_STAT_SCANNED_NS);
	uint64_t sent_ns = t->completed_ns;
	json_t *json = json_object();

	/* QEMU says so only once the target has hung up, which may be after the target's word. */
	if (sent_ns == 0 || sent_ns > t->running_ns)
		sent_ns = t->running_ns;

	put(json, "total_ns", between(t->stopped_ns, t->running_ns));
	put(json, "stop_ns", between(t->stopped_ns, t->drained_ns));
	put(json, "scan_ns", between(t->drained_ns, scanned_ns));
	put(json, "pages_ns", between(scanned_ns ? scanned_ns : t->drained_ns, t->landed_ns));
	put(json, "device_ns", between(t->landed_ns, sent_ns));
	put(json, "resume_ns", between(sent_ns, t->running_ns));
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

static json_t *stats_of(const struct wh_job *job)
{
	json_t *stats = json_object();
	json_t *waits = json_array();

	for (enum wh_stat s = 0; s < WH_STAT_COUNT; s++)
		put(stats, wh_stat_table[s].name, wh_job_stat(job, s));
	for (uint32_t i = 0; i < WH_FAULT_BUCKETS; i++)
		(void)json_array_append_new(waits, wh_json_number(wh_job_fault_bucket(job, i)));
	(void)json_object_set_new(stats, wh_stat_faults_info.name, waits);
	return stats;
}

json_t *wh_status_job(const struct wh_job *job)
{
	uint64_t now = wh_now_ns(&wh_clock_monotonic);
	uint64_t end = job->times.ended_ns ? job->times.ended_ns : now;
	uint64_t landed_ns = wh_job_stat(job, WH_STAT_LANDED_NS);
	uint64_t postcopy_ns = wh_job_stat(job, WH_STAT_POSTCOPY_NS);
	json_t *json = json_object();

	(void)json_object_set_new(json, "migration", json_string(job->record.id));
	(void)json_object_set_new(json, "vm", json_string(job->record.vm));
	(void)json_object_set_new(
		json, "role",
		json_string(job->record.role == WH_ROLE_SOURCE ? "source" : "target"));
	(void)json_object_set_new(json, "peer", json_string(job->record.peer));
	(void)json_object_set_new(json, "state", json_string(wh_job_state_name(job->state)));
	(void)json_object_set_new(json, "over", json_boolean(wh_job_is_over(job->state)));
	(void)json_object_set_new(json, "outcome", json_string(wh_outcome_name(job->outcome)));
	(void)json_object_set_new(json, "reason", json_string(job->reason.text));
	(void)json_object_set_new(json, "note", json_string(job->note.text));
	put(json, "bandwidth_bps", job->settings.bandwidth_bps);
	put(json, "elapsed_ns", end - job->times.created_ns);
	put(json, "moving_ns",
	    between(job->times.ready_ns, job->times.running_ns ? job->times.running_ns : end));
	put(json, "copied_ns",
	    between(wh_job_stat(job, WH_STAT_STARTED_NS), landed_ns ? landed_ns : end));
	put(json, "postcopy_ns", between(postcopy_ns, landed_ns ? landed_ns : end));
	(void)json_object_set_new(json, "downtime", downtime(job));
	if (job->record.role == WH_ROLE_SOURCE) {
		put(json, "throttle_percent", job->throttle_percent);
		put(json, "throttle_peak_percent", job->throttle_peak);
		(void)json_object_set_new(json, "limiter", limiter(job));
	}
	(void)json_object_set_new(json, "stats", stats_of(job));
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
