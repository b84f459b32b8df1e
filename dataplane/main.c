/* SPDX-License-Identifier: Apache-2.0 */

/*
 * wherry-mover - moves one guest's memory; one process on each side of a migration.
 *
 * Started by wherryd, which says on descriptor 3 what to do (include/wherry/worker.h). It has no
 * options, reads no configuration, resolves no names and starts no processes.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <unistd.h>

#include "copies.h"
#include "dirty.h"
#include "sandbox.h"
#include "session.h"
#include "source.h"
#include "target.h"
#include "transport_ops.h"
#include "uffd.h"
#include "worker_link.h"

#include "wherry/clock.h"
#include "wherry/limits.h"

/* Writes posted at once: enough to keep every connection busy, few enough to be lost quickly. */
#define QUEUE_DEPTH 1024u

/*
 * Held while a hypervisor is being changed: SIGTERM waits for that. It then ends all tracking bit by
 * bit, and the process; SIGKILL would leave that to the kernel, which has the guest stand still for all
 * of it at once.
 */
static struct {
	pthread_mutex_t lock;
	struct wh_dirty *dirty; /* borrowed; what is to be ended */
} hold = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* Waits for SIGTERM, which all other threads have blocked. */
static void *end_thread(void *arg)
{
	const sigset_t *signals = arg;
	int signal;

	while (sigwait(signals, &signal) != 0)
		;
	(void)pthread_mutex_lock(&hold.lock);
	if (hold.dirty)
		wh_dirty_untrack(hold.dirty);
	_exit(EXIT_FAILURE); /* with the lock held: nothing begins any more */
}

/* For the first thread, before there are others. Return: 0 or -errno. */
static int await_end(void)
{
	static sigset_t signals;
	pthread_t thread;

	(void)sigemptyset(&signals);
	(void)sigaddset(&signals, SIGTERM);
	(void)pthread_sigmask(SIG_BLOCK, &signals, NULL);
	return -pthread_create(&thread, NULL, end_thread, &signals);
}

/* Text of a link's addresses, as long as a struct wh_link_config that points here. */
struct addresses {
	char uri[INET6_ADDRSTRLEN + 24];
	char local[INET6_ADDRSTRLEN];
};

static int print_host(const union wh_worker_address *address, char *host, socklen_t size)
{
	const void *bytes = address->any.sa_family == AF_INET6
	                            ? (const void *)&address->v6.sin6_addr
	                            : (const void *)&address->v4.sin_addr;

	return inet_ntop(address->any.sa_family, bytes, host, size) ? 0 : -errno;
}

/* Whether this program was built with a transport called @scheme. */
static bool has_transport(const char *scheme)
{
	size_t i = 0;

	while (wh_transports[i] && strcmp(wh_transports[i]->scheme, scheme) != 0)
		i++;
	return wh_transports[i];
}

/* RDMA is for the daemons to agree on. */
static const char *choose_scheme(const struct wh_worker_start *start)
{
	if (start->transport == WH_TRANSPORT_TCP)
		return "tcp";
	if (has_transport("rdma"))
		return "rdma";
	wh_worker_transport(WH_TRANSPORT_TCP, "this wherry-mover was built without RDMA");
	return "tcp";
}

/* The port is at the same place in both families. */
static int print_uri(const char *scheme, const union wh_worker_address *address,
                     struct addresses *text)
{
	char host[INET6_ADDRSTRLEN];
	int r = print_host(address, host, sizeof(host));

	if (r == 0)
		(void)snprintf(text->uri, sizeof(text->uri),
		               address->any.sa_family == AF_INET6 ? "%s://[%s]:%u" : "%s://%s:%u",
		               scheme, host, ntohs(address->v4.sin_port));
	return r;
}

static void on_listening(void *context, uint16_t port)
{
	(void)context;
	wh_worker_listening(port);
}

static void on_carries(void *context, enum wh_transport_kind kind, const char *why)
{
	(void)context;
	wh_worker_transport(kind, why);
}

static int open_link(struct wh_transport **ret, const struct wh_job *job, struct wh_error *err)
{
	const bool passive = job->start.role == WH_ROLE_TARGET;
	struct addresses text = { 0 };
	const struct wh_link_config cfg = {
		.uri = text.uri,
		.passive = passive,
		.queue_depth = QUEUE_DEPTH,
		.connections = job->start.connections,
		.interface = job->start.interface,
		.local = text.local,
		.urgent = job->start.postcopy != 0,
		.congestion = job->start.congestion,
		.compression = job->start.compression,
		.token = job->start.token,
		.deadline_ns = wh_now_ns(&wh_clock_monotonic) + WH_CONNECT_NS,
		.rdma = { .pairs = job->start.rdma_pairs,
		          .chunk_bytes = job->start.rdma_chunk_bytes,
		          .pinned_bytes_max = job->start.rdma_pinned_bytes_max,
		          .odp = job->start.rdma_odp != 0 },
		.bucket = job->bucket,
		.carries = on_carries,
		.listening = on_listening,
	};
	int r = print_uri(choose_scheme(&job->start),
	                  passive ? &job->start.local : &job->start.peer, &text);

	if (r == 0 && !passive)
		r = print_host(&job->start.local, text.local, sizeof(text.local));
	if (r < 0)
		return wh_fail(err, r, "wherryd gave no usable address");
	return wh_transport_open(ret, &cfg, err);
}

static int track(struct wh_source *source, struct wh_error *err)
{
	const struct wh_job *job = source->context;
	int r;

	(void)pthread_mutex_lock(&hold.lock);
	r = wh_dirty_open(&source->dirty, source->ram, job->start.vmm_pid, err);
	hold.dirty = source->dirty;
	(void)pthread_mutex_unlock(&hold.lock);
	if (r == 0)
		source->crew = wh_dirty_crew(source->dirty);
	return r;
}

static int stop_guest(struct wh_source *source, struct wh_error *err)
{
	int r;

	(void)source;
	r = wh_worker_note(WH_WORKER_CONVERGED, err);
	if (r == 0)
		r = wh_worker_await_finish(err);
	if (r < 0)
		return r;
	return r == WH_WORKER_AGAIN ? WH_SOURCE_AGAIN : 0;
}

static int lingers(struct wh_source *source)
{
	struct wh_error err;

	(void)source;
	return wh_worker_note(WH_WORKER_NEAR, &err);
}

static int switch_mode(struct wh_source *source)
{
	(void)source;
	return wh_worker_switch_mode();
}

/* If the daemon is gone, the kernel is about to kill us. */
static void no_postcopy(struct wh_source *source)
{
	struct wh_error err;
	int r = wh_worker_note(WH_WORKER_NO_POSTCOPY, &err);

	(void)source;
	(void)r;
}

static int switched(struct wh_source *source, struct wh_error *err)
{
	(void)source;
	return wh_worker_landed(true, -1, err);
}

static int lend_ram(struct wh_transport *link, const struct wh_ram *ram)
{
	for (uint16_t i = 0; i < ram->count; i++) {
		const struct wh_memory memory = { .addr = ram->regions[i].addr,
			                          .fd = ram->regions[i].fd,
			                          .bytes = ram->regions[i].bytes };
		int r = wh_transport_map(link, i, &memory);

		if (r < 0)
			return r;
	}
	return 0;
}

static int make_copies(struct wh_copies **ret, const struct wh_ram *ram, struct wh_error *err)
{
	uint8_t secret[WH_CHANGED_SECRET_BYTES];

	if (!wh_ram_has_huge(ram))
		return 0;
	/* So few bytes come all at once, or not at all. */
	if (getrandom(secret, sizeof(secret), 0) < 0)
		return wh_fail(err, -errno, "getrandom: %s", strerror(errno));
	*ret = wh_copies_new(ram, secret);
	return *ret ? 0 : wh_fail(err, -ENOMEM, "out of memory");
}

/* @copies: what @link may send from until it is closed. */
static int run_source(struct wh_job *job, struct wh_transport *link, struct wh_copies *copies,
                      struct wh_error *err)
{
	struct wh_source source = {
		.ram = &job->ram,
		.link = link,
		.clock = &wh_clock_monotonic,
		.stats = job->stats,
		.copies = copies,
		.downtime_target_ns = job->start.downtime_target_ns,
		.echo_ns = job->start.echo_ns,
		.track = track,
		.stop_guest = stop_guest,
		.lingers = job->start.lingers ? lingers : NULL,
		.switch_mode = switch_mode,
		.no_postcopy = no_postcopy,
		.switched = switched,
		.resume = job->start.resume != 0,
		.context = job,
	};
	int r = wh_ram_map(&job->ram, err);

	if (r < 0)
		return r;
	r = lend_ram(link, &job->ram);
	if (r < 0)
		return wh_fail(err, r, "cannot lend the guest's RAM to the link");
	r = wh_source_run(&source, err);
	if (r == 0)
		r = source.became_postcopy ? wh_worker_note(WH_WORKER_ARRIVED, err)
		                           : wh_worker_landed(false, -1, err);
	/* All that follows takes the longer the larger the guest, which stands still meanwhile. */
	if (r == 0 && !source.became_postcopy)
		wh_worker_await_end();
	(void)pthread_mutex_lock(&hold.lock);
	hold.dirty = source.dirty = wh_dirty_close(source.dirty);
	(void)pthread_mutex_unlock(&hold.lock);
	return r;
}

/* What a target has of its hypervisor in post-copy. */
struct hypervisor {
	const struct wh_job *job;
	struct wh_uffd *uffd; /* owned */
};

/* If this fails, attaching will say why, or do it. */
static void loosen(struct wh_target *target)
{
	const struct hypervisor *vmm = target->context;

	(void)pthread_mutex_lock(&hold.lock);
	(void)wh_uffd_loosen(target->ram, vmm->job->start.vmm_pid, NULL);
	(void)pthread_mutex_unlock(&hold.lock);
}

static int attach(struct wh_target *target, struct wh_fill **fill, struct wh_error *err)
{
	struct hypervisor *vmm = target->context;
	const struct wh_worker_start *start = &vmm->job->start;
	const struct wh_uffd_left left = {
		.pid = start->vmm_pid,
		.number = start->vmm_uffd,
		.nothing_missing = wh_missing_left(target->missing) == 0,
	};
	int r;

	(void)pthread_mutex_lock(&hold.lock);
	r = start->resume ? wh_uffd_resume(&vmm->uffd, target->ram, &left, err)
	                  : wh_uffd_attach(&vmm->uffd, target->ram, start->vmm_pid, err);
	(void)pthread_mutex_unlock(&hold.lock);
	if (r == 0)
		*fill = wh_uffd_fill(vmm->uffd);
	return r;
}

static int detach(struct wh_target *target, struct wh_error *err)
{
	const struct hypervisor *vmm = target->context;
	int r;

	(void)pthread_mutex_lock(&hold.lock);
	r = wh_uffd_detach(vmm->uffd, err);
	(void)pthread_mutex_unlock(&hold.lock);
	return r;
}

/* Make the steps of a migration, and tell the daemon of them. Return: 0 or -errno. */
static int step_target(struct wh_target *target, struct wh_error *err)
{
	const struct hypervisor *vmm = target->context;
	int step = WH_TARGET_MORE;
	int r = 0;

	while (step >= 0 && step != WH_TARGET_LANDED && r == 0) {
		step = wh_target_step(target, UINT64_MAX, err);
		if (step == WH_TARGET_SWITCHED)
			r = wh_worker_landed(true, wh_uffd_number(vmm->uffd), err);
	}
	if (step >= 0 && r == 0)
		r = vmm->uffd ? wh_worker_note(WH_WORKER_ARRIVED, err)
		              : wh_worker_landed(false, -1, err);
	/* The source has still to hear that: wait until it closes the link. */
	while (step >= 0 && r == 0 && step != WH_TARGET_CLOSED)
		step = wh_target_step(target, UINT64_MAX, err);
	return step < 0 ? step : r;
}

static int run_target(struct wh_job *job, struct wh_transport *link, struct wh_error *err)
{
	struct hypervisor vmm = { .job = job };
	struct wh_missing missing = { 0 };
	struct wh_target target = {
		.ram = &job->ram,
		.link = link,
		.clock = &wh_clock_monotonic,
		.stats = job->stats,
		.resume = job->start.resume != 0,
		.loosen = loosen,
		.attach = attach,
		.detach = detach,
		.context = &vmm,
	};
	int r = 0;

	if (job->missing_fd >= 0) {
		r = wh_missing_open(&missing, job->missing_fd, job->ram.pages, err);
		target.missing = &missing;
	}
	if (r == 0)
		r = step_target(&target, err);
	wh_target_done(&target);
	vmm.uffd = wh_uffd_close(vmm.uffd);
	wh_missing_close(&missing);
	return r;
}

static int run(struct wh_job *job, struct wh_error *err)
{
	wh_cleanup(wh_copies_freep) struct wh_copies *copies = NULL;
	wh_cleanup(wh_transport_closep) struct wh_transport *link = NULL; /* goes first */
	int r = await_end();

	if (r < 0)
		return wh_fail(err, r, "cannot make a thread: %s", strerror(-r));
	r = wh_worker_receive(job, err);
	if (r == 0)
		r = wh_sandbox_enter(err);
	if (r == 0)
		r = open_link(&link, job, err);
	if (r == 0)
		r = wh_worker_note(WH_WORKER_OPEN, err);
	if (r < 0)
		return r;
	if (job->start.role == WH_ROLE_TARGET)
		return run_target(job, link, err);
	r = make_copies(&copies, &job->ram, err);
	return r < 0 ? r : run_source(job, link, copies, err);
}

int main(void)
{
	static struct wh_job job;
	struct wh_error err = { "" };
	int r;

	/* Nothing of a migration outlives its daemon. */
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* A link that breaks during sendfile() is an error like any other. */
	(void)signal(SIGPIPE, SIG_IGN);
	r = run(&job, &err);
	if (r == 0)
		return EXIT_SUCCESS;
	if (job.stats && wh_stat_get(job.stats, WH_STAT_STATE) != WH_SESSION_LANDED)
		wh_session_move(job.stats, WH_SESSION_FAILED);
	wh_worker_fail(r, &err);
	return EXIT_FAILURE;
}
