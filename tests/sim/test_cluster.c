/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A whole cluster in one thread: the real coordinator over a real store, and fake nodes. Every VM is
 * migrated once, with drains in between; nodes refuse, fail, fall silent and crash; the coordinator
 * is killed at any moment, also between what it writes and what it orders, and opened again.
 *
 *	test_cluster [SEED]	one large cluster; without SEED many small ones, too
 *
 * No limit is ever exceeded, by what nodes really work on. What starts is the first in the queue
 * of all that could. Everything ends, and no guest is left on a drained node.
 */

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cluster.h"
#include "fake_nodes.h"
#include "remove_tree.h"

#include "wherry/log.h"

#define SMALL_RUNS 60u

/* A run that has not ended by then goes nowhere. */
#define LONGEST_RUN_MS 86400000u

/* Nodes that are drained to the end; fewer than there are places for a VM. */
#define EMPTIED 3u

struct plan {
	uint32_t nodes, vms;
	uint32_t cluster_limit, outbound_limit;
	uint32_t request_ms; /* all requests come within this */
	uint32_t kills;      /* of the coordinator, about */
	uint64_t trouble_ms; /* fake_nodes.h */
};

/* A move that is not over, as the orders and news from the coordinator have it. */
struct mirror {
	char id[WH_NAME_MAX];
	uint64_t sequence;
	uint32_t vm, source;
	uint32_t target; /* if named */
	uint32_t priority;
	bool named, drain, holds;
	uint64_t not_before_ms; /* since the coordinator was opened */
	size_t at;              /* its place in the list */
};

struct world {
	const struct plan *plan;
	struct fake_nodes nodes;
	char dir[64];
	struct wh_cluster *cluster; /* NULL while it is dead */
	uint32_t life;
	uint32_t random;
	uint64_t turn_ms; /* when it wants its turn */
	jmp_buf death;
	bool mortal; /* inside a call that may be cut short */
	uint32_t kills, deaths_inside;

	struct mirror **moves; /* in no order */
	size_t move_count;
	struct mirror **of_vm;     /* there is one at most */
	uint32_t holding, waiting; /* of them */
	struct mirror **started;   /* in this turn */
	size_t started_count;
	uint32_t requests_left;
	bool *drained; /* by us */
	uint32_t seen_outbound_full, over, drains;
	uint64_t first_ms, last_ms;
};

static struct world *the_world; /* whose coordinator is at work: one at a time */

static struct wh_cluster_time now_of(const struct world *w)
{
	return (struct wh_cluster_time){
		.mono_ms = w->nodes.now_ms,
		.wall_ms = w->nodes.now_ms + 1700000000000,
	};
}

/* What the coordinator says. */

static void mirror_new(struct world *w, const struct wh_move *move)
{
	struct mirror *m = calloc(1, sizeof(*m));

	assert_non_null(m);
	memcpy(m->id, move->id, sizeof(m->id));
	m->sequence = move->sequence;
	m->vm = fake_index(move->vm);
	m->source = fake_index(move->source);
	m->named = move->target_named;
	m->target = m->named ? fake_index(move->target) : 0;
	m->priority = move->priority;
	m->drain = move->drain;
	m->not_before_ms = move->not_before_ms;
	m->at = w->move_count++;
	w->moves[m->at] = m;
	w->of_vm[m->vm] = m;
	w->waiting++;
}

static void mirror_over(struct world *w, struct mirror *m)
{
	w->holding -= m->holds;
	w->waiting -= !m->holds;
	for (size_t i = 0; i < w->started_count; i++)
		if (w->started[i] == m)
			w->started[i] = w->started[--w->started_count];
	w->moves[m->at] = w->moves[--w->move_count];
	w->moves[m->at]->at = m->at;
	w->of_vm[m->vm] = NULL;
	free(m);
	w->over++;
	w->last_ms = w->nodes.now_ms;
}

/* Cut the call short, as a kill would. */
static void maybe_die(struct world *w)
{
	if (w->mortal && !w->nodes.calm && w->kills < w->plan->kills &&
	    fake_random(&w->nodes, UINT64_C(6) * w->plan->vms / w->plan->kills) == 0) {
		w->deaths_inside++;
		longjmp(w->death, 1);
	}
}

static void on_changed(void *ctx, const struct wh_move *move)
{
	struct world *w = ctx;
	struct mirror *m = w->of_vm[fake_index(move->vm)];

	assert_true(!m || !strcmp(m->id, move->id)); /* one at most */
	if (!m) {
		assert_int_equal(move->phase, WH_MOVE_PENDING);
		mirror_new(w, move);
	} else if (move->phase == WH_MOVE_GRANTED) {
		assert_false(m->holds); /* never twice */
		m->holds = true;
		w->holding++;
		w->waiting--;
		w->started[w->started_count++] = m;
		assert_true(w->holding <= w->plan->cluster_limit);
	} else if (wh_move_is_over(move)) {
		mirror_over(w, m);
	} else {
		assert_int_equal(move->phase, WH_MOVE_RUNNING);
		assert_true(m->holds);
	}
	maybe_die(w);
}

static void on_start(void *ctx, const struct wh_move *move)
{
	struct world *w = ctx;

	fake_start(&w->nodes, move);
	maybe_die(w);
}

static void on_cancel(void *ctx, const struct wh_move *move, const char *why)
{
	struct world *w = ctx;

	assert_non_null(why);
	fake_cancel(&w->nodes, move);
}

static void on_settings(void *ctx, const struct wh_settings *settings)
{
	(void)ctx;
	assert_non_null(settings);
}

static uint32_t next_random(void *ctx)
{
	struct world *w = ctx;

	return w->random++;
}

/* The order of the queue. */

static bool goes_before(const struct mirror *a, const struct mirror *b)
{
	return a->priority != b->priority ? a->priority > b->priority : a->sequence < b->sequence;
}

/* What a node has said of the VM that @m moves; NULL if nothing. */
static const struct wh_report_vm *said_of(const struct wh_cluster_node *node, const struct world *w,
                                          const struct mirror *m)
{
	for (size_t i = 0; i < node->vm_count; i++)
		if (!strcmp(node->vms[i].name, w->nodes.vms[m->vm].name))
			return &node->vms[i];
	return NULL;
}

static bool node_is_fit(const struct world *w, uint32_t index, const struct mirror *m)
{
	const struct wh_report_vm *there;
	struct wh_cluster_node node;

	assert_true(wh_cluster_node_at(w->cluster, index, &node, now_of(w)));
	if (!node.alive || node.drained || !node.seen)
		return false;
	there = said_of(&node, w, m);
	return w->nodes.vms[m->vm].domain ? node.libvirt && !there : there && !there->here;
}

/* The node that has it has said so, to this coordinator. */
static bool is_reported(const struct world *w, const struct mirror *m)
{
	struct wh_cluster_node source;

	assert_true(wh_cluster_node_at(w->cluster, m->source, &source, now_of(w)));
	return said_of(&source, w, m);
}

static bool a_domain_has_a_target(const struct world *w, const struct mirror *m)
{
	for (uint32_t i = 0; is_reported(w, m) && i < w->nodes.node_count; i++)
		if (i != m->source && node_is_fit(w, i, m))
			return true;
	return false;
}

static bool has_target(const struct world *w, const struct mirror *m)
{
	const struct fake_vm *vm = &w->nodes.vms[m->vm];

	if (m->named) {
		struct wh_cluster_node node;

		assert_true(wh_cluster_node_at(w->cluster, m->target, &node, now_of(w)));
		return node.alive && !node.drained;
	}
	if (vm->domain)
		return a_domain_has_a_target(w, m);
	for (size_t i = 0; i < VM_PLACES; i++)
		if (vm->places[i] != m->source && node_is_fit(w, vm->places[i], m))
			return true;
	return false;
}

/* @m waits, although it goes before @started, if that is not NULL: something must be in its way. */
static void assert_blocked(struct world *w, const struct mirror *m, const struct mirror *started)
{
	struct wh_cluster_node source;

	if (m->not_before_ms > w->nodes.now_ms)
		return;
	assert_true(wh_cluster_node_at(w->cluster, m->source, &source, now_of(w)));
	if (!source.alive)
		return;
	if ((!started || m->source != started->source) &&
	    source.outbound >= w->plan->outbound_limit) {
		w->seen_outbound_full++;
		return;
	}
	if (has_target(w, m))
		fail_msg("%s started before %s", started ? started->id : "nothing", m->id);
}

static void check_order(struct world *w)
{
	for (size_t i = 0; i < w->started_count; i++)
		for (size_t k = 0; k < w->move_count; k++)
			if (!w->moves[k]->holds && goes_before(w->moves[k], w->started[i]))
				assert_blocked(w, w->moves[k], w->started[i]);
	w->started_count = 0;
}

/* The cluster has a slot: then something is in the way of each that waits. */
static void check_nothing_idles(struct world *w)
{
	struct wh_cluster_node node;
	uint32_t used = 0;

	for (size_t i = 0; wh_cluster_node_at(w->cluster, i, &node, now_of(w)); i++)
		used += node.outbound;
	for (size_t i = 0; used < w->plan->cluster_limit && i < w->move_count; i++)
		if (!w->moves[i]->holds)
			assert_blocked(w, w->moves[i], NULL);
}

/* One that holds slots, or one that does not; NULL if there is none. */
static const struct mirror *find(const struct world *w, bool holds)
{
	for (size_t i = 0; i < w->move_count; i++)
		if (w->moves[i]->holds == holds)
			return w->moves[i];
	return NULL;
}

/* Every Pending move says its place, and why. */
static void check_note(struct world *w)
{
	const struct mirror *m = find(w, false);
	uint32_t place = 1;
	char words[64];

	if (!m)
		return;
	for (size_t i = 0; i < w->move_count; i++)
		place += !w->moves[i]->holds && goes_before(w->moves[i], m);
	(void)snprintf(words, sizeof(words), "place %u in the queue: ", place);
	assert_memory_equal(wh_cluster_find_move(w->cluster, m->id)->note, words, strlen(words));
}

/* The coordinator's life. */

static void open_cluster(struct world *w)
{
	const struct wh_cluster_config cfg = {
		.state_dir = w->dir,
		.node = w->nodes.nodes[0].name,
		.actions = { .start = on_start,
		             .cancel = on_cancel,
		             .changed = on_changed,
		             .settings = on_settings,
		             .ctx = w },
		.random = next_random,
		.random_ctx = w,
	};
	struct wh_error err;

	if (wh_cluster_open(&w->cluster, &cfg, now_of(w), &err) < 0)
		fail_msg("%s", err.text);
	for (uint32_t i = 0; i < w->plan->nodes; i++)
		wh_cluster_expect_node(w->cluster, w->nodes.nodes[i].name, now_of(w));
	for (size_t i = 0; i < w->move_count; i++)
		w->moves[i]->not_before_ms = 0;
	w->life++;
	w->turn_ms = w->nodes.now_ms;
}

static void on_open(struct fake_nodes *f, struct fake_event *event)
{
	(void)f;
	(void)event;
	open_cluster(the_world);
}

/* Half of the time it is back at once, else after up to two leases. */
static void die(struct world *w)
{
	w->cluster = wh_cluster_close(w->cluster);
	w->kills++;
	w->started_count = 0;
	fake_later(&w->nodes,
	           fake_random(&w->nodes, 2) ? 1
	                                     : fake_random(&w->nodes, UINT64_C(2) * WH_LEASE_MS),
	           &(struct fake_event){ .run = on_open });
}

static void on_kill(struct fake_nodes *f, struct fake_event *event)
{
	if (f->calm)
		return;
	if (the_world->cluster)
		die(the_world);
	fake_later(f,
	           1 + fake_random(f, UINT64_C(4) * the_world->plan->request_ms /
	                                      the_world->plan->kills),
	           event);
}

static void turn(struct world *w)
{
	w->turn_ms = wh_cluster_turn(w->cluster, now_of(w));
	check_order(w);
	if (fake_random(&w->nodes, 64) == 0) {
		check_nothing_idles(w);
		check_note(w);
	}
}

/* Both may be cut short. */
static void hear(void *ctx, const struct wh_report *report)
{
	struct world *w = ctx;

	if (!w->cluster)
		return;
	w->mortal = true;
	if (setjmp(w->death) == 0) {
		wh_cluster_report(w->cluster, report, now_of(w));
		turn(w);
	} else {
		die(w);
	}
	w->mortal = false;
}

static void hear_refusal(void *ctx, const char *id, const char *why)
{
	struct world *w = ctx;

	if (!w->cluster)
		return;
	wh_cluster_refused(w->cluster, id, why, now_of(w));
	turn(w);
}

/* What people do. */

static const enum wh_priority priorities[] = { WH_PRIORITY_MAINTENANCE, WH_PRIORITY_USER,
	                                       WH_PRIORITY_USER, WH_PRIORITY_CRITICAL };

/* It would wait for a node that is drained to the end without one, and fail at one without libvirt. */
static bool may_name(const struct fake_nodes *f, const struct fake_vm *vm, uint32_t place)
{
	return place >= EMPTIED && (!vm->domain || f->nodes[place].libvirt);
}

/* Ask for VM event->vm to be moved, again and again until that is accepted. */
static void on_request(struct fake_nodes *f, struct fake_event *event)
{
	struct world *w = the_world;
	const struct fake_vm *vm = &f->vms[event->vm];
	const uint32_t place = vm->places[fake_random(f, VM_PLACES)];
	const struct wh_cluster_request request = {
		.name_space = "",
		.vm = vm->name,
		.to = fake_random(f, 5) || !may_name(f, vm, place) ? "" : f->nodes[place].name,
		.from = "",
		.priority = priorities[fake_random(f, 4)],
	};
	const struct wh_move *move;
	struct wh_error err;

	if (w->cluster && wh_cluster_migrate(w->cluster, &request, &move, now_of(w), &err) == 0) {
		w->requests_left--;
		if (fake_random(f, 100) == 0)
			assert_int_equal(wh_cluster_cancel(w->cluster, move->id, "changed my mind",
			                                   now_of(w), &err),
			                 0);
		turn(w);
		return;
	}
	fake_later(f, 1000 + fake_random(f, 20000), event);
}

/* Cancel something that holds slots. */
static void on_whim(struct fake_nodes *f, struct fake_event *event)
{
	struct world *w = the_world;
	const struct mirror *m = find(w, true);
	struct wh_error err;
	int r;

	if (m && w->cluster) {
		r = wh_cluster_cancel(w->cluster, m->id, "on a whim", now_of(w), &err);
		assert_true(r == 0 || r == -EALREADY);
	}
	if (!f->calm)
		fake_later(f, 1 + fake_random(f, 10000), event);
}

static void set_drained(struct world *w, uint32_t node, bool drained)
{
	struct wh_error err;

	assert_int_equal(
		wh_cluster_drain(w->cluster, w->nodes.nodes[node].name, drained, now_of(w), &err),
		0);
	w->drains += drained;
	w->drained[node] = drained;
	turn(w);
}

/* Drain a node, or undrain one that is; but those that are to be emptied stay as they are. */
static void on_drain(struct fake_nodes *f, struct fake_event *event)
{
	struct world *w = the_world;

	if (!w->cluster) {
		fake_later(f, 1000, event);
		return;
	}
	if (f->calm && !w->drained[event->node] && event->node >= EMPTIED)
		return;
	set_drained(w, event->node, !w->drained[event->node]);
	if (event->node >= EMPTIED)
		fake_later(f, 10000 + fake_random(f, 200000), event);
}

/* Runs. */

static void set_limits(struct world *w)
{
	char text[512];
	struct wh_error err;
	struct wh_apply apply = { .name = "limits.yaml", .data = text };

	apply.len = (size_t)snprintf(text, sizeof(text),
	                             "apiVersion: kubevirt.io/v1\nkind: KubeVirt\n"
	                             "metadata: {name: kv, namespace: cnv}\n"
	                             "spec: {configuration: {migrations: {"
	                             "parallelMigrationsPerCluster: %u, "
	                             "parallelOutboundMigrationsPerNode: %u}}}\n",
	                             w->plan->cluster_limit, w->plan->outbound_limit);
	if (wh_cluster_apply(w->cluster, &apply, now_of(w), &err) < 0)
		fail_msg("%s", err.text);
}

static void set_up(struct world *w, const struct plan *plan, uint64_t seed)
{
	struct fake_nodes *f = &w->nodes;

	*w = (struct world){ .plan = plan, .requests_left = plan->vms };
	the_world = w;
	f->cluster_limit = plan->cluster_limit;
	f->outbound_limit = plan->outbound_limit;
	f->trouble_ms = plan->trouble_ms;
	fake_nodes_init(f, seed, plan->nodes, plan->vms);
	f->report = hear;
	f->refuse = hear_refusal;
	f->ctx = w;
	w->started = calloc(plan->cluster_limit, sizeof(struct mirror *));
	w->drained = calloc(plan->nodes, sizeof(*w->drained));
	w->moves = calloc(plan->vms, sizeof(struct mirror *));
	w->of_vm = calloc(plan->vms, sizeof(struct mirror *));
	assert_true(w->started && w->drained && w->moves && w->of_vm);
	(void)strcpy(w->dir, "/dev/shm/wherry-sim-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	open_cluster(w);
	set_limits(w);
	w->first_ms = f->now_ms;
	for (uint32_t i = 0; i < plan->vms; i++)
		fake_later(f, fake_random(f, plan->request_ms),
		           &(struct fake_event){ .run = on_request, .vm = i });
	for (uint32_t i = 0; i < EMPTIED + plan->nodes / 50; i++)
		fake_later(f, fake_random(f, plan->request_ms),
		           &(struct fake_event){ .run = on_drain, .node = i });
	fake_later(f, 1000, &(struct fake_event){ .run = on_kill });
	fake_later(f, 1000, &(struct fake_event){ .run = on_whim });
}

static void tear_down(struct world *w)
{
	w->cluster = wh_cluster_close(w->cluster);
	assert_int_equal(remove_tree(w->dir), 0);
	fake_nodes_done(&w->nodes);
	free(w->started);
	free(w->drained);
	free(w->moves);
	free(w->of_vm);
}

static bool is_emptied(const struct world *w)
{
	for (uint32_t i = 0; i < w->plan->vms; i++)
		if (w->nodes.vms[i].home < EMPTIED)
			return false;
	return true;
}

static bool is_at_rest(const struct world *w)
{
	return w->cluster && w->requests_left == 0 && w->move_count == 0 && w->nodes.working == 0 &&
	       is_emptied(w);
}

static void print(const struct world *w, uint64_t seed)
{
	const struct fake_nodes *f = &w->nodes;
	const uint64_t took_ms = w->last_ms - w->first_ms;
	uint64_t bound_ms = f->worked_ms / w->plan->cluster_limit;

	for (uint32_t i = 0; i < w->plan->nodes; i++)
		if (f->nodes[i].leaving_ms / w->plan->outbound_limit > bound_ms)
			bound_ms = f->nodes[i].leaving_ms / w->plan->outbound_limit;
	print_message("# seed %" PRIu64
	              ": %u nodes, %u VMs; %u moves over, %u began, %u succeeded, "
	              "%u failed, %u refused\n",
	              seed, w->plan->nodes, w->plan->vms, w->over, f->begun, f->succeeded,
	              f->failed, f->refused);
	print_message("#   %u crashes of nodes, %u kills of the coordinator, %u of them inside a "
	              "call; %u drains\n",
	              f->crashes, w->kills, w->deaths_inside, w->drains);
	print_message("#   at most %u of %u in the cluster, %u of %u from a node; %u times one was "
	              "passed by for a full node\n",
	              f->most, w->plan->cluster_limit, f->most_outbound, w->plan->outbound_limit,
	              w->seen_outbound_full);
	print_message("#   makespan %" PRIu64 " s, the limits allow no less than %" PRIu64 " s\n",
	              took_ms / 1000, bound_ms / 1000);
}

static void fail_stuck(const struct world *w, uint64_t seed)
{
	for (size_t i = 0; w->cluster && i < w->move_count && i < 10; i++)
		print_message("# %s waits: %s\n", w->moves[i]->id,
		              wh_cluster_find_move(w->cluster, w->moves[i]->id)->note);
	for (uint32_t i = 0; i < w->plan->vms; i++)
		if (w->nodes.vms[i].home < EMPTIED)
			print_message("# %s is on %s\n", w->nodes.vms[i].name,
			              w->nodes.nodes[w->nodes.vms[i].home].name);
	fail_msg("seed %" PRIu64 ": stuck with %u requests, %zu moves, %u at work", seed,
	         w->requests_left, w->move_count, w->nodes.working);
}

/* Failures go on until all was asked for and most of it done; then all must come to its end. */
static void run(const struct plan *plan, uint64_t seed)
{
	static struct world w;

	set_up(&w, plan, seed);
	while (!is_at_rest(&w)) {
		if (w.nodes.now_ms - w.first_ms >= LONGEST_RUN_MS)
			fail_stuck(&w, seed);
		w.nodes.calm = w.requests_left == 0 && w.over > plan->vms;
		fake_step(&w.nodes);
		if (w.cluster && w.turn_ms <= w.nodes.now_ms)
			turn(&w);
	}

	assert_int_equal(w.holding, 0);
	assert_true(w.nodes.most <= plan->cluster_limit);
	assert_true(w.nodes.most_outbound <= plan->outbound_limit);
	print(&w, seed);
	tear_down(&w);
}

static const struct plan large = {
	.nodes = 1000,
	.vms = 10000,
	.cluster_limit = 200,
	.outbound_limit = 2,
	.request_ms = 300000,
	.kills = 40,
	.trouble_ms = 8000000,
};

static const struct plan small = {
	.nodes = 24,
	.vms = 200,
	.cluster_limit = 7,
	.outbound_limit = 2,
	.request_ms = 200000,
	.kills = 20,
	.trouble_ms = 400000,
};

static uint64_t large_seed = 1;

static void a_thousand_nodes_and_ten_thousand_moves(void **state)
{
	(void)state;
	run(&large, large_seed);
}

static void small_clusters_with_more_trouble(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= SMALL_RUNS; seed++)
		run(&small, seed);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_thousand_nodes_and_ten_thousand_moves),
		cmocka_unit_test(small_clusters_with_more_trouble),
	};

	wh_log_setup(&(struct wh_log_config){ .level = WH_LOG_ERROR });
	if (argc > 1)
		large_seed = strtoull(argv[1], NULL, 10);
	if (argc > 2)
		cmocka_set_test_filter(argv[2]);
	return cmocka_run_group_tests_name("cluster", tests, NULL, NULL);
}
