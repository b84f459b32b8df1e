/* SPDX-License-Identifier: Apache-2.0 */

#include "fake_nodes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BEAT_MS     5000u
#define LATENCY_MS  300u  /* of an order or a report, at most */
#define SHORTEST_MS 1000u /* a migration */
#define LONGEST_MS  20000u
#define LINGER_MS   3000u /* one side takes longer to end than the other */
#define NOTICE_MS   5000u /* that the peer has crashed */
#define REFUSED_IN  64u   /* one of so many */
#define FAILS_IN    16u
#define GUEST_BYTES (UINT64_C(1) << 30)
#define NODE_BYTES  (UINT64_C(400) << 30)

static void *must(void *memory)
{
	assert_non_null(memory);
	return memory;
}

uint64_t fake_random(struct fake_nodes *f, uint64_t below)
{
	f->seed ^= f->seed << 13;
	f->seed ^= f->seed >> 7;
	f->seed ^= f->seed << 17;
	return below ? f->seed % below : 0;
}

uint32_t fake_index(const char *name)
{
	return (uint32_t)strtoul(name + 1, NULL, 10);
}

/* Events: a heap by time, then by the order in which they were made. */

static bool is_earlier(const struct fake_event *a, const struct fake_event *b)
{
	return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->sequence < b->sequence;
}

static void at(struct fake_nodes *f, uint64_t at_ms, const struct fake_event *event)
{
	size_t i = f->event_count++;
	struct fake_event new = *event;

	if (i == f->event_capacity) {
		f->event_capacity = f->event_capacity ? 2 * f->event_capacity : 1024;
		f->heap = must(reallocarray(f->heap, f->event_capacity, sizeof(new)));
	}
	new.at_ms = at_ms;
	new.sequence = f->last_sequence++;
	for (; i > 0 && is_earlier(&new, &f->heap[(i - 1) / 2]); i = (i - 1) / 2)
		f->heap[i] = f->heap[(i - 1) / 2];
	f->heap[i] = new;
}

void fake_later(struct fake_nodes *f, uint64_t in_ms, const struct fake_event *event)
{
	at(f, f->now_ms + in_ms, event);
}

static struct fake_event take_first(struct fake_nodes *f)
{
	const struct fake_event first = f->heap[0];
	const struct fake_event last = f->heap[--f->event_count];
	size_t i = 0;

	/* This ends: i grows. */
	for (;;) {
		size_t child = 2 * i + 1;

		if (child >= f->event_count)
			break;
		if (child + 1 < f->event_count && is_earlier(&f->heap[child + 1], &f->heap[child]))
			child++;
		if (!is_earlier(&f->heap[child], &last))
			break;
		f->heap[i] = f->heap[child];
		i = child;
	}
	f->heap[i] = last;
	return first;
}

void fake_step(struct fake_nodes *f)
{
	struct fake_event event;

	assert_true(f->event_count > 0);
	event = take_first(f);
	f->now_ms = event.at_ms;
	event.run(f, &event);
	free(event.data);
}

/* Reports. */

struct snapshot {
	struct wh_report report;
	struct wh_report_job jobs[NODE_REMEMBERS];
	struct wh_report_vm vms[];
};

static void fill_job(const struct fake_node *node, const struct fake_job *job,
                     struct wh_report_job *out)
{
	*out = (struct wh_report_job){ .source = fake_index(node->name) == job->source };
	(void)snprintf(out->id, sizeof(out->id), "%s", job->id);
	out->over = out->source ? !job->source_live : !job->target_live;
	if (!out->over || !*job->outcome)
		return;
	(void)snprintf(out->outcome, sizeof(out->outcome), "%s", job->outcome);
	(void)snprintf(out->reason, sizeof(out->reason), "as the simulation has it");
}

/* Return: how many. What was refused never became a job. */
static size_t fill_jobs(const struct fake_node *node, struct wh_report_job *jobs)
{
	size_t count = 0;

	for (size_t i = 0; i < node->job_count; i++)
		if (!node->jobs[i]->refused)
			fill_job(node, node->jobs[i], &jobs[count++]);
	return count;
}

static struct snapshot *take_snapshot(struct fake_nodes *f, const struct fake_node *node)
{
	struct snapshot *shot =
		must(malloc(sizeof(*shot) + node->vm_count * sizeof(struct wh_report_vm)));
	uint64_t used_bytes = 0;

	for (size_t i = 0; i < node->vm_count; i++) {
		const struct fake_vm *vm = &f->vms[node->vms[i]];

		shot->vms[i] = (struct wh_report_vm){
			.name_space = "default",
			.here = vm->home == fake_index(node->name),
			.libvirt = vm->domain,
			.memory_bytes = GUEST_BYTES,
		};
		(void)snprintf(shot->vms[i].name, sizeof(shot->vms[i].name), "%s", vm->name);
		used_bytes += shot->vms[i].here ? GUEST_BYTES : 0;
	}
	shot->report = (struct wh_report){
		.node = node->name,
		.libvirt = node->libvirt,
		.memory_bytes = NODE_BYTES,
		.free_bytes = NODE_BYTES - used_bytes,
		.vms = shot->vms,
		.vm_count = node->vm_count,
		.jobs = shot->jobs,
		.job_count = fill_jobs(node, shot->jobs),
	};
	return shot;
}

static void on_report(struct fake_nodes *f, struct fake_event *event)
{
	const struct snapshot *shot = event->data;

	if (f->nodes[event->node].life == event->life)
		f->report(f->ctx, &shot->report);
}

/* When what is sent now arrives, after what was sent before. */
static uint64_t arrives_ms(struct fake_nodes *f, uint64_t *last_ms)
{
	const uint64_t at_ms = f->now_ms + 1 + fake_random(f, LATENCY_MS);

	*last_ms = at_ms > *last_ms ? at_ms : *last_ms;
	return *last_ms;
}

static void send_report(struct fake_nodes *f, uint32_t index)
{
	struct fake_node *node = &f->nodes[index];

	if (!node->up || node->quiet)
		return;
	at(f, arrives_ms(f, &node->report_ms),
	   &(struct fake_event){ .run = on_report,
	                         .node = index,
	                         .life = node->life,
	                         .data = take_snapshot(f, node) });
}

static void on_beat(struct fake_nodes *f, struct fake_event *event)
{
	send_report(f, event->node);
	fake_later(f, BEAT_MS, event);
}

/* Jobs: begin and end of each side. */

static void remember(struct fake_node *node, struct fake_job *job)
{
	size_t i = 0;

	for (size_t k = 0; k < node->job_count; k++)
		if (node->jobs[k] == job)
			return;
	if (node->job_count < NODE_REMEMBERS) {
		node->jobs[node->job_count++] = job;
		return;
	}
	while (node->jobs[i]->source_live || node->jobs[i]->target_live)
		assert_true(++i < NODE_REMEMBERS);
	memmove(&node->jobs[i], &node->jobs[i + 1],
	        (NODE_REMEMBERS - i - 1) * sizeof(struct fake_job *));
	node->jobs[NODE_REMEMBERS - 1] = job;
}

static void count_begin(struct fake_nodes *f, struct fake_job *job)
{
	struct fake_node *source = &f->nodes[job->source];

	job->begun_ms = f->now_ms;
	f->vms[job->vm].job = job;
	f->begun++;
	f->working++;
	source->outbound++;
	f->most = f->working > f->most ? f->working : f->most;
	if (source->outbound > f->most_outbound)
		f->most_outbound = source->outbound;
	/* The limits, against what is true. */
	assert_in_range(f->working, 1, f->cluster_limit);
	assert_in_range(source->outbound, 1, f->outbound_limit);
}

static void count_end(struct fake_nodes *f, struct fake_job *job)
{
	const uint64_t took_ms = f->now_ms - job->begun_ms;

	if (job->source_live || job->target_live)
		return;
	f->vms[job->vm].job = NULL;
	f->working--;
	f->nodes[job->source].outbound--;
	f->nodes[job->source].leaving_ms += took_ms;
	f->worked_ms += took_ms;
}

static void end_source(struct fake_nodes *f, struct fake_job *job)
{
	if (!job->source_live)
		return;
	job->source_live = false;
	count_end(f, job);
	send_report(f, job->source);
}

static void end_target(struct fake_nodes *f, struct fake_job *job)
{
	if (!job->target_live)
		return;
	job->target_live = false;
	count_end(f, job);
	send_report(f, job->target);
}

static void on_source_over(struct fake_nodes *f, struct fake_event *event)
{
	end_source(f, event->job);
}

static void on_target_over(struct fake_nodes *f, struct fake_event *event)
{
	end_target(f, event->job);
}

/* A domain leaves nothing behind. */
static void change_home(struct fake_nodes *f, const struct fake_job *job)
{
	struct fake_vm *vm = &f->vms[job->vm];
	struct fake_node *source = &f->nodes[job->source];
	struct fake_node *target = &f->nodes[job->target];
	size_t i = 0;

	vm->home = job->target;
	if (!vm->domain)
		return;
	assert_true(target->libvirt && target->vm_count < NODE_VMS_MAX);
	while (source->vms[i] != job->vm)
		assert_true(++i < source->vm_count);
	source->vms[i] = source->vms[--source->vm_count];
	target->vms[target->vm_count++] = job->vm;
}

/* It is decided: the guest has moved, or will not. Each side takes its time to end. */
static void decide(struct fake_nodes *f, struct fake_job *job, const char *outcome)
{
	job->decided = true;
	(void)snprintf(job->outcome, sizeof(job->outcome), "%s", outcome);
	if (!*outcome) {
		change_home(f, job);
		f->succeeded++;
	} else {
		f->failed++;
	}
	fake_later(f, 1 + fake_random(f, LINGER_MS),
	           &(struct fake_event){ .run = on_source_over, .job = job });
	fake_later(f, 1 + fake_random(f, LINGER_MS),
	           &(struct fake_event){ .run = on_target_over, .job = job });
}

static void on_done(struct fake_nodes *f, struct fake_event *event)
{
	struct fake_job *job = event->job;

	if (job->decided)
		return;
	if (!job->target_live || !f->nodes[job->target].up) {
		decide(f, job, "failed"); /* the target has crashed, as is noticed now */
		return;
	}
	if (!f->calm && fake_random(f, FAILS_IN) == 0)
		decide(f, job, "failed");
	else
		decide(f, job, job->cancelled ? "cancelled" : "");
}

static void on_target_begins(struct fake_nodes *f, struct fake_event *event)
{
	struct fake_job *job = event->job;
	struct fake_node *target = &f->nodes[job->target];

	if (job->decided || !target->up)
		return;
	job->target_live = true;
	remember(target, job);
}

/* Orders. */

static struct fake_job *find_job(const struct fake_node *node, const char *id)
{
	for (size_t i = 0; i < node->job_count; i++)
		if (!strcmp(node->jobs[i]->id, id))
			return node->jobs[i];
	return NULL;
}

static struct fake_job *new_job(struct fake_nodes *f, const struct fake_event *event)
{
	struct fake_job *job = must(calloc(1, sizeof(*job)));

	if (f->job_count == f->job_capacity) {
		f->job_capacity = f->job_capacity ? 2 * f->job_capacity : 1024;
		f->jobs = must(reallocarray(f->jobs, f->job_capacity, sizeof(struct fake_job *)));
	}
	f->jobs[f->job_count++] = job;
	memcpy(job->id, event->id, sizeof(job->id));
	job->vm = event->vm;
	job->source = event->node;
	job->target = event->target;
	return job;
}

static void on_refusal(struct fake_nodes *f, struct fake_event *event)
{
	if (f->nodes[event->node].life == event->life)
		f->refuse(f->ctx, event->id, "the simulation would not have it");
}

/* Why not to begin: the guest is not here, it is busy, or for no reason. */
static bool refuses(struct fake_nodes *f, const struct fake_event *event)
{
	const struct fake_vm *vm = &f->vms[event->vm];

	/* A slot is never held twice: the only thing that may be left is of an earlier life. */
	if (vm->job)
		assert_string_equal(vm->job->id, event->id);
	return vm->home != event->node || vm->job || (!f->calm && !fake_random(f, REFUSED_IN));
}

static void refuse(struct fake_nodes *f, const struct fake_event *order)
{
	struct fake_node *node = &f->nodes[order->node];
	struct fake_event answer = {
		.run = on_refusal,
		.node = order->node,
		.life = node->life,
	};

	memcpy(answer.id, order->id, sizeof(answer.id));
	at(f, arrives_ms(f, &node->report_ms), &answer);
}

static void begin(struct fake_nodes *f, struct fake_job *job)
{
	job->source_live = true;
	count_begin(f, job);
	fake_later(f, 1 + fake_random(f, SHORTEST_MS / 2),
	           &(struct fake_event){ .run = on_target_begins, .job = job });
	fake_later(f, SHORTEST_MS + fake_random(f, LONGEST_MS - SHORTEST_MS),
	           &(struct fake_event){ .run = on_done, .job = job });
	send_report(f, job->source);
}

/* One that is known is taken as done, and reports say so; or is refused again. */
static void on_start(struct fake_nodes *f, struct fake_event *event)
{
	struct fake_node *node = &f->nodes[event->node];
	struct fake_job *job;

	if (!node->up || node->life != event->life)
		return;
	job = find_job(node, event->id);
	if (!job) {
		const bool refused = refuses(f, event);

		job = new_job(f, event);
		job->refused = refused;
		f->refused += refused;
		remember(node, job);
		if (!refused)
			begin(f, job);
	}
	if (job->refused)
		refuse(f, event);
}

static void on_cancel(struct fake_nodes *f, struct fake_event *event)
{
	struct fake_node *node = &f->nodes[event->node];
	struct fake_job *job;

	if (!node->up || node->life != event->life)
		return;
	job = find_job(node, event->id);
	if (!job || job->decided || job->cancelled)
		return;
	job->cancelled = true;
	fake_later(f, 1 + fake_random(f, 1000), &(struct fake_event){ .run = on_done, .job = job });
}

static void send_order(struct fake_nodes *f, const struct wh_move *move,
                       void (*run)(struct fake_nodes *f, struct fake_event *event))
{
	const uint32_t index = fake_index(move->source);
	struct fake_node *node = &f->nodes[index];
	struct fake_event event = {
		.run = run,
		.node = index,
		.life = node->life,
		.vm = fake_index(move->vm),
		.target = fake_index(move->target),
	};

	(void)snprintf(event.id, sizeof(event.id), "%s", move->id);
	if (node->up && !node->quiet)
		at(f, arrives_ms(f, &node->order_ms), &event);
}

void fake_start(struct fake_nodes *f, const struct wh_move *move)
{
	send_order(f, move, on_start);
}

void fake_cancel(struct fake_nodes *f, const struct wh_move *move)
{
	send_order(f, move, on_cancel);
}

/* Crashes. */

static void on_source_lost(struct fake_nodes *f, struct fake_event *event)
{
	end_target(f, event->job);
}

static void on_target_lost(struct fake_nodes *f, struct fake_event *event)
{
	if (!event->job->decided)
		decide(f, event->job, "failed");
}

/* Its own side of every job is gone at once; the other side notices in time. */
static void crash(struct fake_nodes *f, uint32_t index)
{
	struct fake_node *node = &f->nodes[index];

	node->up = false;
	node->life++;
	f->crashes++;
	for (size_t i = 0; i < node->job_count; i++) {
		struct fake_job *job = node->jobs[i];
		const bool source = job->source == index;

		if (source && job->source_live) {
			job->source_live = false;
			job->decided = true; /* that it stays, if nothing else */
			fake_later(f, 1 + fake_random(f, NOTICE_MS),
			           &(struct fake_event){ .run = on_source_lost, .job = job });
			count_end(f, job);
		} else if (!source && job->target_live) {
			job->target_live = false;
			fake_later(f, 1 + fake_random(f, NOTICE_MS),
			           &(struct fake_event){ .run = on_target_lost, .job = job });
			count_end(f, job);
		}
	}
	node->job_count = 0;
}

static void on_up(struct fake_nodes *f, struct fake_event *event)
{
	f->nodes[event->node].up = true;
	f->nodes[event->node].quiet = false;
	send_report(f, event->node);
}

/* Half of the time all of the node is gone, for up to three leases; else wherryd, for seconds. */
static void on_trouble(struct fake_nodes *f, struct fake_event *event)
{
	if (f->calm)
		return;
	if (fake_random(f, 2) == 0) {
		crash(f, event->node);
		fake_later(f, 1 + fake_random(f, UINT64_C(3) * WH_LEASE_MS),
		           &(struct fake_event){ .run = on_up, .node = event->node });
	} else {
		f->nodes[event->node].quiet = true;
		fake_later(f, 1 + fake_random(f, UINT64_C(2) * WH_LEASE_MS / 3),
		           &(struct fake_event){ .run = on_up, .node = event->node });
	}
	fake_later(f, UINT64_C(4) * WH_LEASE_MS + fake_random(f, f->trouble_ms), event);
}

/* Making them. */

static void place_vm(struct fake_nodes *f, uint32_t index)
{
	struct fake_vm *vm = &f->vms[index];
	const uint32_t step = 1 + (uint32_t)fake_random(f, (f->node_count - 1) / VM_PLACES);

	(void)snprintf(vm->name, sizeof(vm->name), "v%05u", index);
	vm->home = (uint32_t)fake_random(f, f->node_count);
	vm->domain = index % 4 == 3 && f->nodes[vm->home].libvirt;
	for (uint32_t i = 0; i < VM_PLACES; i++) {
		struct fake_node *node;

		vm->places[i] = (vm->home + i * step) % f->node_count;
		if (vm->domain && i > 0)
			continue;
		node = &f->nodes[vm->places[i]];
		assert_true(node->vm_count < NODE_VMS_MAX);
		node->vms[node->vm_count++] = index;
	}
}

void fake_nodes_init(struct fake_nodes *f, uint64_t seed, uint32_t nodes, uint32_t vms)
{
	f->seed = seed * 2 + 1;
	f->now_ms = 1000000;
	f->node_count = nodes;
	f->nodes = must(calloc(nodes, sizeof(*f->nodes)));
	f->vm_count = vms;
	f->vms = must(calloc(vms, sizeof(*f->vms)));
	for (uint32_t i = 0; i < nodes; i++) {
		/* So that the order of names is that of numbers. */
		(void)snprintf(f->nodes[i].name, sizeof(f->nodes[i].name), "n%04u", i);
		f->nodes[i].up = true;
		f->nodes[i].libvirt = i % 8 != 7;
		fake_later(f, fake_random(f, BEAT_MS),
		           &(struct fake_event){ .run = on_beat, .node = i });
		fake_later(f, fake_random(f, f->trouble_ms),
		           &(struct fake_event){ .run = on_trouble, .node = i });
	}
	for (uint32_t i = 0; i < vms; i++)
		place_vm(f, i);
}

void fake_nodes_done(struct fake_nodes *f)
{
	for (size_t i = 0; i < f->event_count; i++)
		free(f->heap[i].data);
	for (size_t i = 0; i < f->job_count; i++)
		free(f->jobs[i]);
	free(f->heap);
	free(f->jobs);
	free(f->nodes);
	free(f->vms);
}
