/* SPDX-License-Identifier: Apache-2.0 */

#include "cluster_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sqlite3.h>

#include "remove_tree.h"

static void order(struct rig *rig, const char *verb, const struct wh_move *move)
{
	const size_t used = strlen(rig->orders);

	(void)snprintf(rig->orders + used, sizeof(rig->orders) - used, "%s %s %s>%s; ", verb,
	               move->vm, move->source, move->target);
}

static void put_job(struct rig_node *at, const struct wh_report_job *job)
{
	size_t i = 0;

	while (i < at->job_count && strcmp(at->jobs[i].id, job->id) != 0)
		i++;
	assert_true(i < RIG_JOBS);
	at->jobs[i] = *job;
	if (i == at->job_count)
		at->job_count++;
}

static void begin(struct rig_node *at, const struct wh_move *move)
{
	struct wh_report_job job = { .source = move->source[0] == at->name[0] };

	(void)snprintf(job.id, sizeof(job.id), "%s", move->id);
	put_job(at, &job);
}

static void on_start(void *ctx, const struct wh_move *move)
{
	struct rig *rig = ctx;

	order(rig, "start", move);
	if (rig->deaf)
		return;
	begin(rig_node(rig, move->source[0]), move);
	if (strlen(move->target) == 1) /* of others there is nothing but the name */
		begin(rig_node(rig, move->target[0]), move);
}

static void on_cancel(void *ctx, const struct wh_move *move, const char *why)
{
	assert_non_null(why);
	order(ctx, "cancel", move);
}

static void on_changed(void *ctx, const struct wh_move *move)
{
	(void)ctx;
	assert_true(*move->id);
}

static void on_settings(void *ctx, const struct wh_settings *settings)
{
	struct rig *rig = ctx;

	assert_non_null(settings);
	rig->settings_told++;
}

static uint32_t next_random(void *ctx)
{
	struct rig *rig = ctx;

	return rig->random++;
}

static void open_cluster(struct rig *rig)
{
	const struct wh_cluster_config cfg = {
		.state_dir = rig->dir,
		.node = "a",
		.actions = { .start = on_start,
		             .cancel = on_cancel,
		             .changed = on_changed,
		             .settings = on_settings,
		             .ctx = rig },
		.random = next_random,
		.random_ctx = rig,
	};

	if (wh_cluster_open(&rig->cluster, &cfg, rig->now, &rig->err) < 0)
		fail_msg("%s", rig->err.text);
}

static void fill_node(struct rig_node *node, char name)
{
	node->name[0] = name;
	node->free_bytes = 64 * RIG_GIB;
	for (int i = 0; i < RIG_VMS; i++) {
		struct wh_report_vm *vm = &node->vms[node->vm_count++];

		(void)strcpy(vm->name_space, "default");
		(void)snprintf(vm->name, sizeof(vm->name), "%c%d", 'a' + i / 5, i % 5);
		vm->here = vm->name[0] == name;
		vm->memory_bytes = RIG_GIB;
	}
}

int rig_set_up(void **state)
{
	struct rig *rig = calloc(1, sizeof(*rig));

	assert_non_null(rig);
	(void)strcpy(rig->dir, "/dev/shm/wherry-cluster-XXXXXX");
	assert_non_null(mkdtemp(rig->dir));
	rig->now = (struct wh_cluster_time){ .mono_ms = 1000000, .wall_ms = 1700000000000 };
	for (int i = 0; i < RIG_NODES; i++)
		fill_node(&rig->nodes[i], (char)('a' + i));
	open_cluster(rig);
	rig_report_all(rig);
	rig_turn(rig);
	*state = rig;
	return 0;
}

int rig_tear_down(void **state)
{
	struct rig *rig = *state;

	rig->cluster = wh_cluster_close(rig->cluster);
	assert_int_equal(remove_tree(rig->dir), 0);
	free(rig);
	return 0;
}

void rig_reopen(struct rig *rig)
{
	rig->cluster = wh_cluster_close(rig->cluster);
	open_cluster(rig);
}

struct rig_node *rig_node(struct rig *rig, char name)
{
	return &rig->nodes[name - 'a'];
}

struct wh_report_vm *rig_vm(struct rig *rig, char node, const char *vm)
{
	struct rig_node *at = rig_node(rig, node);

	for (size_t i = 0; i < at->vm_count; i++)
		if (!strcmp(at->vms[i].name, vm))
			return &at->vms[i];
	fail_msg("node %c has no VM %s", node, vm);
	return NULL;
}

void rig_domain(struct rig *rig, const char *vm)
{
	for (int i = 0; i < RIG_NODES; i++) {
		struct rig_node *at = &rig->nodes[i];
		struct wh_report_vm *entry = rig_vm(rig, at->name[0], vm);

		if (at->name[0] == vm[0])
			entry->libvirt = true;
		else
			*entry = at->vms[--at->vm_count];
	}
}

void rig_limits(struct rig *rig, unsigned cluster, unsigned outbound)
{
	char text[512];
	struct wh_apply apply = { .name = "limits.yaml", .data = text };

	apply.len = (size_t)snprintf(text, sizeof(text),
	                             "apiVersion: hco.kubevirt.io/v1beta1\n"
	                             "kind: HyperConverged\n"
	                             "metadata: {name: hco, namespace: cnv}\n"
	                             "spec: {liveMigrationConfig: {"
	                             "parallelMigrationsPerCluster: %u, "
	                             "parallelOutboundMigrationsPerNode: %u}}\n",
	                             cluster, outbound);
	if (wh_cluster_apply(rig->cluster, &apply, rig->now, &rig->err) < 0)
		fail_msg("%s", rig->err.text);
}

void rig_report(struct rig *rig, char node)
{
	const struct rig_node *at = rig_node(rig, node);
	const struct wh_report report = {
		.node = at->name,
		.memory_bytes = 128 * RIG_GIB,
		.free_bytes = at->free_bytes,
		.libvirt = at->libvirt,
		.vms = at->vms,
		.vm_count = at->vm_count,
		.jobs = at->jobs,
		.job_count = at->job_count,
	};

	wh_cluster_report(rig->cluster, &report, rig->now);
}

void rig_report_all(struct rig *rig)
{
	for (int i = 0; i < RIG_NODES; i++)
		rig_report(rig, (char)('a' + i));
}

void rig_turn(struct rig *rig)
{
	rig->next_ms = wh_cluster_turn(rig->cluster, rig->now);
}

static void pass(struct rig *rig, uint64_t ms)
{
	rig->now.mono_ms += ms;
	rig->now.wall_ms += ms;
}

void rig_pass(struct rig *rig, uint64_t ms)
{
	pass(rig, ms);
	rig_turn(rig);
}

void rig_live(struct rig *rig, uint64_t ms)
{
	for (; ms > 0; ms -= ms < 1000 ? ms : 1000) {
		pass(rig, ms < 1000 ? ms : 1000);
		rig_report_all(rig);
		rig_turn(rig);
	}
}

static int ask(struct rig *rig, const char *vm, const char *to, uint32_t priority)
{
	const struct wh_cluster_request request = {
		.name_space = "",
		.vm = vm,
		.to = to,
		.from = "",
		.priority = priority ? priority : WH_PRIORITY_USER,
	};
	const struct wh_move *move;

	return wh_cluster_migrate(rig->cluster, &request, &move, rig->now, &rig->err);
}

void rig_ask(struct rig *rig, const char *vm, const char *to, uint32_t priority)
{
	if (ask(rig, vm, to, priority) < 0)
		fail_msg("%s", rig->err.text);
}

int rig_try(struct rig *rig, const char *vm, const char *to)
{
	return ask(rig, vm, to, 0);
}

const struct wh_move *rig_move(const struct rig *rig, const char *vm)
{
	const struct wh_move *move = wh_cluster_find_move(rig->cluster, vm);

	if (!move)
		fail_msg("VM %s has no move", vm);
	return move;
}

enum wh_move_phase rig_phase(const struct rig *rig, const char *vm)
{
	return rig_move(rig, vm)->phase;
}

void rig_job(struct rig *rig, char node, const char *vm, bool over, const char *outcome)
{
	const struct wh_move *move = rig_move(rig, vm);
	struct wh_report_job job = { .source = move->source[0] == node, .over = over };

	(void)snprintf(job.id, sizeof(job.id), "%s", move->id);
	(void)snprintf(job.outcome, sizeof(job.outcome), "%s", outcome);
	if (*outcome)
		(void)snprintf(job.reason, sizeof(job.reason), "%c says so", node);
	put_job(rig_node(rig, node), &job);
}

void rig_forget_jobs(struct rig *rig, char node)
{
	rig_node(rig, node)->job_count = 0;
}

static void drop_job(struct rig_node *node, const char *id)
{
	for (size_t i = 0; i < node->job_count; i++)
		if (!strcmp(node->jobs[i].id, id))
			node->jobs[i] = node->jobs[--node->job_count];
}

void rig_end(struct rig *rig, const char *vm, const char *outcome)
{
	const struct wh_move move = *rig_move(rig, vm);
	const char source = move.source[0];
	const char target = move.target[0];

	rig_vm(rig, source, vm)->here = *outcome;
	rig_vm(rig, target, vm)->here = !*outcome;
	rig_job(rig, source, vm, true, outcome);
	rig_job(rig, target, vm, true, outcome);
	rig_report(rig, source);
	rig_report(rig, target);
	drop_job(rig_node(rig, source), move.id);
	drop_job(rig_node(rig, target), move.id);
}

void rig_meddle(const struct rig *rig, const char *sql)
{
	char path[96];
	sqlite3 *db;

	(void)snprintf(path, sizeof(path), "%s/cluster.db", rig->dir);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

void rig_expect(struct rig *rig, const char *orders)
{
	assert_string_equal(rig->orders, orders);
	rig->orders[0] = '\0';
}

void rig_says(const char *text, const char *words)
{
	if (!strstr(text, words))
		fail_msg("'%s' says nothing of '%s'", text, words);
}
