/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What is in the queue has no counters and no downtime yet, so of what describes a migration only
 * its name and its state must be there.
 */

#include <errno.h>

#include "cli.h"

/* Read what may be missing. Return: 0 or -EPROTO. */
static int text(const json_t *json, const char *key, char *buf, size_t size, struct wh_error *err)
{
	return json_object_get(json, key) ? wh_json_string(json, key, buf, size, err) : 0;
}

static int number(const json_t *json, const char *key, uint64_t *ret, struct wh_error *err)
{
	return json_object_get(json, key) ? wh_json_u64(json, key, INT64_MAX, ret, err) : 0;
}

static int parse_downtime(struct wh_view *v, const json_t *json, struct wh_error *err)
{
	const struct {
		const char *key;
		uint64_t *to;
	} parts[] = {
		{ "total_ns", &v->downtime.total_ns },   { "stop_ns", &v->downtime.stop_ns },
		{ "scan_ns", &v->downtime.scan_ns },     { "pages_ns", &v->downtime.pages_ns },
		{ "device_ns", &v->downtime.device_ns }, { "resume_ns", &v->downtime.resume_ns },
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < sizeof(parts) / sizeof(*parts); i++)
		r = number(json, parts[i].key, parts[i].to, err);
	return r;
}

static int parse_names(struct wh_view *v, const json_t *json, struct wh_error *err)
{
	const struct {
		const char *key;
		char *to;
		size_t size;
	} names[] = {
		{ "migration", v->migration, sizeof(v->migration) },
		{ "vm", v->vm, sizeof(v->vm) },
		{ "role", v->role, sizeof(v->role) },
		{ "peer", v->peer, sizeof(v->peer) },
		{ "state", v->state, sizeof(v->state) },
		{ "outcome", v->outcome, sizeof(v->outcome) },
		{ "reason", v->reason, sizeof(v->reason) },
		{ "note", v->note, sizeof(v->note) },
		{ "namespace", v->name_space, sizeof(v->name_space) },
		{ "source", v->source, sizeof(v->source) },
		{ "target", v->target, sizeof(v->target) },
		{ "priority", v->priority, sizeof(v->priority) },
		{ "policy", v->policy, sizeof(v->policy) },
		{ "transport", v->transport, sizeof(v->transport) },
		{ "no_rdma", v->no_rdma, sizeof(v->no_rdma) },
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < sizeof(names) / sizeof(*names); i++)
		r = text(json, names[i].key, names[i].to, names[i].size, err);
	return r;
}

static int parse_stats(struct wh_view *v, const json_t *stats, struct wh_error *err)
{
	const json_t *waits = json_object_get(stats, wh_stat_faults_info.name);
	int r = 0;

	for (enum wh_stat s = 0; r == 0 && s < WH_STAT_COUNT; s++)
		r = number(stats, wh_stat_table[s].name, &v->stats[s], err);
	for (size_t i = 0; r == 0 && i < WH_FAULT_BUCKETS; i++)
		v->fault_ns_log2[i] = (uint64_t)json_integer_value(json_array_get(waits, i));
	return r;
}

static int parse_numbers(struct wh_view *v, const json_t *json, struct wh_error *err)
{
	const struct {
		const char *key;
		uint64_t *to;
	} numbers[] = {
		{ "bandwidth_bps", &v->bandwidth_bps },
		{ "throttle_percent", &v->throttle_percent },
		{ "throttle_peak_percent", &v->throttle_peak_percent },
		{ "elapsed_ns", &v->elapsed_ns },
		{ "copied_ns", &v->copied_ns },
		{ "postcopy_ns", &v->postcopy_ns },
		{ "attempt", &v->attempt },
		{ "place", &v->place },
		{ "created_ms", &v->created_ms },
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < sizeof(numbers) / sizeof(*numbers); i++)
		r = number(json, numbers[i].key, numbers[i].to, err);
	return r;
}

int wh_view_parse(struct wh_view *ret, const json_t *json, struct wh_error *err)
{
	struct wh_view v = { 0 };
	int r = parse_names(&v, json, err);

	if (r == 0 && (!*v.migration || !*v.state))
		r = wh_fail(err, -EPROTO, "wherryd tells of a migration without a name or a state");
	if (r == 0)
		r = wh_json_bool(json, "over", &v.over, err);
	if (r == 0 && json_object_get(json, "tries_rdma"))
		r = wh_json_bool(json, "tries_rdma", &v.tries_rdma, err);
	if (r == 0)
		r = parse_numbers(&v, json, err);
	if (r == 0)
		r = parse_downtime(&v, json_object_get(json, "downtime"), err);
	if (r == 0)
		r = parse_stats(&v, json_object_get(json, "stats"), err);
	if (v.over)
		*v.note = '\0'; /* it waits for nothing any more */
	if (r == 0)
		*ret = v;
	return r;
}
