/* SPDX-License-Identifier: Apache-2.0 */

#include "rdma_enroll.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#include "queue.h"
#include "urgency.h"

#include "wherry/assert.h"
#include "wherry/fdpass.h"

struct wh_rdma_enroll {
	struct wh_verbs *verbs; /* borrowed */
	struct wh_queue jobs, results;
	struct wh_bell bell; /* the thread's */
	int fd;              /* readable when there are results */
	uint32_t pending;    /* posted and not taken */
	_Atomic bool stop;
	pthread_t thread;
	bool thread_runs;
};

static void expel(struct wh_rdma_enroll *e, struct wh_rdma_job *job)
{
	if (job->key.handle)
		wh_verbs_expel(e->verbs, &job->key);
}

static void perform(struct wh_rdma_enroll *e, struct wh_rdma_job *job)
{
	if (job->expels)
		expel(e, job);
	else
		job->result =
			wh_verbs_enroll(e->verbs, job->addr, job->bytes, job->rights, &job->key);
}

static void sleep_until_rung(struct wh_rdma_enroll *e)
{
	eventfd_t rings;

	wh_bell_arm(&e->bell);
	if (wh_queue_empty(&e->jobs) && !atomic_load(&e->stop))
		(void)eventfd_read(e->bell.fd, &rings);
	wh_bell_disarm(&e->bell);
}

static void *enroll_thread(void *arg)
{
	struct wh_rdma_enroll *e = arg;
	struct wh_rdma_job job;

	wh_urgency_rest(); /* what is urgent in post-copy is its owner */
	/* Ends when it is stopped. */
	while (!atomic_load(&e->stop)) {
		if (!wh_queue_take(&e->jobs, &job)) {
			sleep_until_rung(e);
			continue;
		}
		perform(e, &job);
		wh_assert(wh_queue_put(&e->results, &job)); /* it has room for all */
		(void)eventfd_write(e->fd, 1);
	}
	return NULL;
}

struct wh_rdma_enroll *wh_rdma_enroll_new(struct wh_verbs *verbs)
{
	struct wh_rdma_enroll *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	e->verbs = verbs;
	e->bell.fd = -1;
	e->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (e->fd < 0 || wh_bell_init(&e->bell) < 0 ||
	    wh_queue_init(&e->jobs, WH_RDMA_JOBS_MAX, sizeof(struct wh_rdma_job)) < 0 ||
	    wh_queue_init(&e->results, WH_RDMA_JOBS_MAX, sizeof(struct wh_rdma_job)) < 0)
		return wh_rdma_enroll_free(e);
	e->thread_runs = pthread_create(&e->thread, NULL, enroll_thread, e) == 0;
	if (!e->thread_runs)
		return wh_rdma_enroll_free(e);
	(void)pthread_setname_np(e->thread, "wherry-enroll"); /* for top(1) */
	return e;
}

bool wh_rdma_enroll_has_room(const struct wh_rdma_enroll *e)
{
	return e->pending < WH_RDMA_JOBS_MAX;
}

void wh_rdma_enroll_post(struct wh_rdma_enroll *e, const struct wh_rdma_job *job)
{
	wh_assert(wh_rdma_enroll_has_room(e) && wh_queue_put(&e->jobs, job));
	e->pending++;
	wh_bell_ring(&e->bell);
}

bool wh_rdma_enroll_take(struct wh_rdma_enroll *e, struct wh_rdma_job *ret)
{
	eventfd_t results;

	if (!wh_queue_take(&e->results, ret)) {
		(void)eventfd_read(e->fd, &results);
		if (!wh_queue_take(&e->results, ret)) /* it may have come between the two */
			return false;
	}
	e->pending--;
	return true;
}

int wh_rdma_enroll_fd(const struct wh_rdma_enroll *e)
{
	return e->fd;
}

struct wh_rdma_enroll *wh_rdma_enroll_free(struct wh_rdma_enroll *e)
{
	struct wh_rdma_job job;

	if (!e)
		return NULL;
	if (e->thread_runs) {
		atomic_store(&e->stop, true);
		wh_bell_wake(&e->bell);
		(void)pthread_join(e->thread, NULL);
	}
	while (e->jobs.slots && wh_queue_take(&e->jobs, &job))
		expel(e, &job);
	while (e->results.slots && wh_queue_take(&e->results, &job))
		expel(e, &job);
	wh_queue_done(&e->jobs);
	wh_queue_done(&e->results);
	wh_bell_done(&e->bell);
	wh_closep(&e->fd);
	free(e);
	return NULL;
}
