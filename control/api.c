/* SPDX-License-Identifier: Apache-2.0 */

/*
 * API - a table of what this node answers itself. A request about a migration is answered here if
 * a job of it is here, one about a VM if that is here; everything else goes to the coordinator.
 */

#include "api.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent.h"
#include "check_vm.h"
#include "events.h"
#include "hook.h"
#include "job.h"
#include "label.h"
#include "quantity.h"
#include "report.h"
#include "settings_json.h"
#include "status.h"

#include "wherry/assert.h"
#include "wherry/limits.h"
#include "wherry/log.h"

/* Orders: only the coordinator gives them. docs/node-protocol.md */

static int take_start(struct wh_daemon *d, const json_t *request, json_t *answer,
                      struct wh_error *err)
{
	struct wh_move move;
	int r = wh_order_parse(&move, request, err);

	if (r == 0)
		r = wh_source_start(d, &move, err);
	if (r == 0)
		(void)json_object_set_new(answer, "migration", json_string(move.id));
	return r;
}

static int take_settings(struct wh_daemon *d, const json_t *request, json_t *answer,
                         struct wh_error *err)
{
	struct wh_settings settings;
	int r = wh_settings_from_json(&settings, json_object_get(request, "settings"), err);

	(void)answer;
	if (r == 0)
		wh_daemon_use_settings(d, &settings);
	return r;
}

/* What clients ask. */

static int find_job(struct wh_daemon *d, const json_t *request, struct wh_job **ret,
                    struct wh_error *err)
{
	char name[WH_NAME_MAX];
	int r = wh_json_string(request, "migration", name, sizeof(name), err);

	if (r < 0)
		return r;
	*ret = wh_job_find(d, name);
	if (!*ret)
		return wh_fail(err, -ENOENT,
		               "no migration '%s', and no VM of that name is being migrated", name);
	return 0;
}

/* Have a migration do something that it may refuse; the answer is its id. */
static int have_job(struct wh_daemon *d, const json_t *request, json_t *answer,
                    int (*act)(struct wh_job *job, struct wh_error *err), struct wh_error *err)
{
	struct wh_job *job;
	int r = find_job(d, request, &job, err);

	if (r == 0)
		r = act(job, err);
	if (r == 0)
		(void)json_object_set_new(answer, "migration", json_string(job->record.id));
	return r;
}

/* Where the guest is, or who knows, if it is too late to cancel. */
static int refuse_cancel(const struct wh_job *job, struct wh_error *err)
{
	const bool source = job->record.role == WH_ROLE_SOURCE;
	const char *id = job->record.id;

	if (wh_job_is_over(job->state) || job->state == WH_JOB_CANCELLING)
		return wh_fail(err, -EBUSY, "migration %s is '%s' already", id,
		               wh_job_state_name(job->state));
	if (wh_job_in_postcopy(job))
		return wh_fail(err, -EBUSY,
		               "migration %s cannot be cancelled: the guest already runs %s%s, and "
		               "only the rest of its memory is still to follow",
		               id, source ? "at node " : "here", source ? job->record.peer : "");
	if (wh_phase_is_committed(job->record.phase))
		return wh_fail(err, -EBUSY, "migration %s cannot be cancelled: the guest has moved",
		               id);
	if (!source)
		return wh_fail(err, -EBUSY,
		               "migration %s cannot be cancelled here any more: ask node %s, its "
		               "source",
		               id, job->record.peer);
	if (job->domain)
		return wh_fail(
			err, -EBUSY,
			"migration %s cannot be cancelled any more: all that node %s needs is "
			"on its way, and libvirt decides now where the guest goes on",
			id, job->record.peer);
	return wh_fail(
		err, -EBUSY,
		"migration %s cannot be cancelled any more: all that node %s needs is on its "
		"way, and only that node knows whether the guest runs there already",
		id, job->record.peer);
}

static int cancel(struct wh_job *job, struct wh_error *err)
{
	if (!wh_job_can_undo(job))
		return refuse_cancel(job, err);
	wh_job_fail(job, WH_OUTCOME_CANCELLED, "cancelled by the operator");
	return 0;
}

/* Somebody knows what the target would say, and that it never will. */
static int abandon(struct wh_job *job, struct wh_error *err)
{
	if (wh_phase_is_committed(job->record.phase))
		return refuse_cancel(job, err);
	if (job->state != WH_JOB_ASKING)
		return wh_fail(err, -EINVAL,
		               "migration %s is '%s': that its target is off matters only to one "
		               "that is Asking; cancel it without saying so",
		               job->record.id, wh_job_state_name(job->state));
	wh_asking_abandon(job);
	return 0;
}

static int do_cancel(struct wh_daemon *d, const json_t *request, json_t *answer,
                     struct wh_error *err)
{
	const bool off = json_is_true(json_object_get(request, "target_is_off"));

	return have_job(d, request, answer, off ? abandon : cancel, err);
}

static int do_postcopy(struct wh_daemon *d, const json_t *request, json_t *answer,
                       struct wh_error *err)
{
	return have_job(d, request, answer, wh_postcopy_ask, err);
}

static int do_recover(struct wh_daemon *d, const json_t *request, json_t *answer,
                      struct wh_error *err)
{
	return have_job(d, request, answer, wh_postcopy_recover, err);
}

static int do_set_bandwidth(struct wh_daemon *d, const json_t *request, json_t *answer,
                            struct wh_error *err)
{
	char text[WH_NAME_MAX];
	struct wh_job *job;
	uint64_t bps = 0;
	int r = find_job(d, request, &job, err);

	if (r == 0)
		r = wh_json_string(request, "rate", text, sizeof(text), err);
	if (r == 0)
		r = wh_quantity_parse(&bps, text, err);
	if (r < 0)
		return r;
	if (job->record.role != WH_ROLE_SOURCE || !job->rate)
		return wh_fail(err, -EINVAL,
		               "migration %s does not send from this node now (it is '%s')",
		               job->record.id, wh_job_state_name(job->state));
	r = wh_rate_bpf_set(job->rate, bps, err);
	if (r < 0)
		return r;
	job->settings.bandwidth_bps = bps;
	wh_log(WH_LOG_INFO, "migration.bandwidth", WH_STR("migration", job->record.id),
	       WH_U64("limit_bps", bps));
	(void)json_object_set_new(answer, "bandwidth_bps", wh_json_number(bps));
	return 0;
}

static json_t *all_jobs(const struct wh_daemon *d)
{
	json_t *list = json_array();

	wh_assert(list);
	for (const struct wh_job *job = d->jobs; job; job = job->next)
		(void)json_array_append_new(list, wh_status_job(job));
	return list;
}

static int do_status(struct wh_daemon *d, const json_t *request, json_t *answer,
                     struct wh_error *err)
{
	struct wh_job *job;
	int r;

	if (!json_object_get(request, "migration")) {
		(void)json_object_set_new(answer, "migrations", all_jobs(d));
		return 0;
	}
	r = find_job(d, request, &job, err);
	if (r == 0)
		(void)json_object_set_new(answer, "migrations",
		                          json_pack("[o]", wh_status_job(job)));
	return r;
}

static int do_events(struct wh_daemon *d, const json_t *request, json_t *answer,
                     struct wh_error *err)
{
	uint64_t after = 0;
	int r = 0;

	if (json_object_get(request, "after"))
		r = wh_json_u64(request, "after", INT64_MAX, &after, err);
	if (r == 0)
		wh_events_after(d->events, after, d->config->node, answer);
	return r;
}

/* From whom a command is taken; the coordinator may ask all of them. */
enum asker {
	COORDINATOR, /* no client: it is an order */
	IF_JOB_HERE, /* a client, where the migration that it names is worked on here */
	ANYBODY,
};

static const struct command {
	const char *name;
	int (*run)(struct wh_daemon *d, const json_t *request, json_t *answer,
	           struct wh_error *err);
	enum asker from;
} commands[] = {
	{ "start", take_start, COORDINATOR },   { "use-settings", take_settings, COORDINATOR },
	{ "cancel", do_cancel, IF_JOB_HERE },   { "postcopy", do_postcopy, IF_JOB_HERE },
	{ "recover", do_recover, IF_JOB_HERE }, { "set-bandwidth", do_set_bandwidth, IF_JOB_HERE },
	{ "status", do_status, IF_JOB_HERE },   { "events", do_events, ANYBODY },
};

static const struct command *find_command(const json_t *request)
{
	const char *name = wh_json_text(request, "command");

	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
		if (!strcmp(name, commands[i].name))
			return &commands[i];
	return NULL;
}

static void run(struct wh_daemon *d, const struct command *command, const json_t *request,
                struct wh_ask *ask)
{
	json_t *answer = json_object();
	struct wh_error err;

	wh_assert(answer);
	if (command->run(d, request, answer, &err) == 0) {
		wh_ask_answer(ask, answer);
		return;
	}
	json_decref(answer);
	wh_ask_refuse(ask, &err);
}

/* What others have to be asked for first, so that the answer comes later. */
static const struct later {
	const char *name;
	void (*start)(struct wh_daemon *d, const json_t *request, struct wh_ask *ask);
	bool of_vm; /* a client asks for it, about a VM */
} laters[] = {
	{ "check", wh_check_request, true },
	{ "label", wh_label_request, true },
	{ "check-target", wh_check_target, false },
};

static const struct later *find_later(const json_t *request)
{
	const char *name = wh_json_text(request, "command");

	for (size_t i = 0; i < sizeof(laters) / sizeof(*laters); i++)
		if (!strcmp(name, laters[i].name))
			return &laters[i];
	return NULL;
}

void wh_api_order(struct wh_daemon *d, const json_t *request, struct wh_ask *ask)
{
	const struct command *command = find_command(request);
	const struct later *later = find_later(request);
	struct wh_error err;

	if (later) {
		later->start(d, request, ask);
		return;
	}
	if (command) {
		run(d, command, request, ask);
		return;
	}
	(void)wh_fail(&err, -EINVAL, "unknown command");
	wh_ask_refuse(ask, &err);
}

static void on_answer(void *ctx, json_t *answer, const char *why)
{
	wh_ask_pass(ctx, answer, why);
}

/* Of a job that is over, the coordinator knows whether the move is. */
static bool is_known_here(const struct wh_daemon *d, const char *migration)
{
	const struct wh_job *job = wh_job_find(d, migration);

	return job && (!wh_job_is_over(job->state) || !wh_agent_connected(d->agent, NULL));
}

/* Whether @command of a client is answered here. */
static bool is_ours(const struct wh_daemon *d, const struct command *command, const json_t *request)
{
	const char *name = wh_json_text(request, "migration");

	if (!command || command->from == COORDINATOR)
		return false;
	return command->from == ANYBODY || json_is_true(json_object_get(request, "local")) ||
	       (*name && is_known_here(d, name));
}

/* Better than nothing, while the coordinator is away. */
static void answer_from_here(struct wh_daemon *d, const struct wh_error *why, struct wh_ask *ask)
{
	json_t *answer = json_pack("{s:o, s:s}", "migrations", all_jobs(d), "warning", why->text);

	wh_assert(answer);
	wh_ask_answer(ask, answer);
}

void wh_api_request(struct wh_daemon *d, const json_t *request, struct wh_ask *ask)
{
	const struct command *command = find_command(request);
	const struct later *later = find_later(request);
	struct wh_error why;

	if (wh_hook_request(d, request, ask))
		return;
	if (later && later->of_vm && wh_check_has_vm(d, wh_json_text(request, "vm")))
		later->start(d, request, ask);
	else if (is_ours(d, command, request))
		run(d, command, request, ask);
	else if (command && command->run == do_status && !json_object_get(request, "migration") &&
	         !wh_agent_connected(d->agent, &why))
		answer_from_here(d, &why, ask);
	else
		wh_agent_ask(d->agent, json_deep_copy(request), on_answer, ask);
}
