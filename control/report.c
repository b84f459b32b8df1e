/* SPDX-License-Identifier: Apache-2.0 */

#include "report.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "labels_json.h"
#include "node_protocol.h"
#include "settings_json.h"

#include "wherry/assert.h"
#include "wherry/limits.h"

static json_t *format_vm(const struct wh_report_vm *vm)
{
	json_t *json = json_pack("{s:s, s:s, s:b, s:o}", "namespace", vm->name_space, "name",
	                         vm->name, "here", vm->here, "memory_bytes",
	                         wh_json_number(vm->memory_bytes));

	wh_assert(json);
	if (vm->libvirt)
		(void)json_object_set_new(json, "libvirt", json_true());
	if (vm->labels.count > 0)
		(void)json_object_set_new(json, "labels", wh_labels_to_json(&vm->labels));
	return json;
}

json_t *wh_report_format(const struct wh_report *report, json_t *jobs)
{
	json_t *vms = json_array();
	json_t *json;

	wh_assert(vms && jobs);
	for (size_t i = 0; i < report->vm_count; i++)
		(void)json_array_append_new(vms, format_vm(&report->vms[i]));
	json = json_pack("{s:s, s:o, s:o, s:o, s:o}", "command", "report", "memory_bytes",
	                 wh_json_number(report->memory_bytes), "free_bytes",
	                 wh_json_number(report->free_bytes), "vms", vms, "jobs", jobs);
	wh_assert(json);
	if (report->libvirt)
		(void)json_object_set_new(json, "libvirt", json_true());
	return json;
}

static int read_name(const json_t *json, const char *key, char ret[WH_NAME_MAX],
                     struct wh_error *err)
{
	int r = wh_json_string(json, key, ret, WH_NAME_MAX, err);

	if (r == 0 && !wh_node_is_name(ret))
		return wh_fail(err, -EPROTO, "'%s' must be a name", key);
	return r;
}

/* A node of an earlier version leaves it out. */
static int read_libvirt(const json_t *json, bool *ret, struct wh_error *err)
{
	if (!json_object_get(json, "libvirt"))
		return 0;
	return wh_json_bool(json, "libvirt", ret, err);
}

static int parse_vm(struct wh_report_vm *vm, const json_t *json, struct wh_error *err)
{
	int r = read_name(json, "namespace", vm->name_space, err);

	if (r == 0)
		r = read_name(json, "name", vm->name, err);
	if (r == 0)
		r = wh_json_bool(json, "here", &vm->here, err);
	if (r == 0)
		r = wh_json_u64(json, "memory_bytes", INT64_MAX, &vm->memory_bytes, err);
	if (r == 0)
		r = read_libvirt(json, &vm->libvirt, err);
	return r < 0 ? r : wh_labels_from_json(&vm->labels, json_object_get(json, "labels"), err);
}

/* Of all that "status" says, what decides over the move. */
static int parse_job(struct wh_report_job *job, const json_t *json, struct wh_error *err)
{
	int r = read_name(json, "migration", job->id, err);

	if (r == 0)
		r = wh_json_bool(json, "over", &job->over, err);
	if (r == 0)
		r = wh_json_string(json, "outcome", job->outcome, sizeof(job->outcome), err);
	if (r == 0)
		r = wh_json_string(json, "reason", job->reason, sizeof(job->reason), err);
	job->source = !strcmp(wh_json_text(json, "role"), "source");
	return r;
}

static int parse_vms(struct wh_report_read *read, const json_t *list, struct wh_error *err)
{
	size_t count = json_array_size(list);
	int r = 0;

	read->vms = calloc(count + 1, sizeof(*read->vms));
	wh_assert(read->vms);
	for (size_t i = 0; r == 0 && i < count; i++)
		r = parse_vm(&read->vms[i], json_array_get(list, i), err);
	read->report.vms = read->vms;
	read->report.vm_count = count;
	return r;
}

static int parse_jobs(struct wh_report_read *read, const json_t *list, struct wh_error *err)
{
	size_t count = json_array_size(list);
	int r = 0;

	read->jobs = calloc(count + 1, sizeof(*read->jobs));
	wh_assert(read->jobs);
	for (size_t i = 0; r == 0 && i < count; i++)
		r = parse_job(&read->jobs[i], json_array_get(list, i), err);
	read->report.jobs = read->jobs;
	read->report.job_count = count;
	return r;
}

int wh_report_parse(struct wh_report_read *ret, const char *node, const json_t *json,
                    struct wh_error *err)
{
	struct wh_report_read read = { .report.node = node };
	int r = wh_json_u64(json, "memory_bytes", INT64_MAX, &read.report.memory_bytes, err);

	if (r == 0)
		r = wh_json_u64(json, "free_bytes", INT64_MAX, &read.report.free_bytes, err);
	if (r == 0)
		r = read_libvirt(json, &read.report.libvirt, err);
	if (r == 0)
		r = parse_vms(&read, json_object_get(json, "vms"), err);
	if (r == 0)
		r = parse_jobs(&read, json_object_get(json, "jobs"), err);
	if (r < 0)
		wh_report_read_done(&read);
	else
		*ret = read;
	return r;
}

void wh_report_read_done(struct wh_report_read *report)
{
	for (size_t i = 0; i < report->report.vm_count; i++)
		wh_labels_done(&report->vms[i].labels);
	free(report->vms);
	free(report->jobs);
	*report = (struct wh_report_read){ 0 };
}

json_t *wh_order_format(const struct wh_move *move)
{
	json_t *json = json_pack(
		"{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:i, s:i, s:o, s:o, s:o}", "command",
		"start", "migration", move->id, "namespace", move->name_space, "vm", move->vm, "to",
		move->target, "policy", move->policy, "engine", move->engine, "transport",
		move->transport, "priority", (int)move->priority, "attempt", (int)move->attempt,
		"created_ms", wh_json_number(move->created_ms), "started_ms",
		wh_json_number(move->started_ms), "settings", wh_settings_to_json(&move->settings));

	wh_assert(json);
	return json;
}

static int parse_numbers(struct wh_move *move, const json_t *json, struct wh_error *err)
{
	uint64_t priority = 0;
	uint64_t attempt = 0;
	int r = wh_json_u64(json, "priority", UINT32_MAX, &priority, err);

	if (r == 0)
		r = wh_json_u64(json, "attempt", UINT32_MAX, &attempt, err);
	if (r == 0)
		r = wh_json_u64(json, "created_ms", INT64_MAX, &move->created_ms, err);
	if (r == 0)
		r = wh_json_u64(json, "started_ms", INT64_MAX, &move->started_ms, err);
	move->priority = (uint32_t)priority;
	move->attempt = (uint32_t)attempt;
	return r;
}

int wh_order_parse(struct wh_move *ret, const json_t *json, struct wh_error *err)
{
	struct wh_move move = { .phase = WH_MOVE_RUNNING };
	int r = read_name(json, "migration", move.id, err);

	if (r == 0)
		r = read_name(json, "namespace", move.name_space, err);
	if (r == 0)
		r = read_name(json, "vm", move.vm, err);
	if (r == 0)
		r = read_name(json, "to", move.target, err);
	if (r == 0)
		r = wh_json_string(json, "policy", move.policy, sizeof(move.policy), err);
	if (r == 0 && json_object_get(json, "engine")) /* an earlier version names none */
		r = wh_json_string(json, "engine", move.engine, sizeof(move.engine), err);
	if (r == 0 && json_object_get(json, "transport")) /* nor this */
		r = wh_json_string(json, "transport", move.transport, sizeof(move.transport), err);
	if (r == 0)
		r = parse_numbers(&move, json, err);
	if (r == 0)
		r = wh_settings_from_json(&move.settings, json_object_get(json, "settings"), err);
	if (r == 0)
		*ret = move;
	return r;
}
