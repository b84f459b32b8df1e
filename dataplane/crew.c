/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Who has nothing to do takes the next part. The job is over when no part is left and nobody is
 * at one: a thread that has not woken by then is not waited for.
 */

#include "crew.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "wherry/assert.h"
#include "wherry/limits.h"

struct member {
	struct wh_crew *crew; /* borrowed */
	uint32_t number;
	pthread_t thread;
};

struct wh_crew {
	struct member members[WH_SCAN_THREADS_MAX]; /* the first is the caller, without a thread */
	uint32_t size;

	pthread_mutex_t lock; /* guards the rest; @next and @result are written without it, too */
	pthread_cond_t work;
	pthread_cond_t idle;
	uint32_t busy; /* threads that may be at a part; the caller does not count */
	bool stop;

	wh_crew_part fn;
	void *context; /* borrowed while a job runs */
	uint64_t parts;
	_Atomic uint64_t next; /* the first part that nobody has taken */
	_Atomic int result;
};

static void do_parts(struct wh_crew *crew, uint32_t member)
{
	uint64_t part;

	/* This ends: each turn takes a part, and failing leaves none. */
	while ((part = atomic_fetch_add(&crew->next, 1)) < crew->parts) {
		int r = crew->fn(crew->context, member, part);
		int none = 0;

		if (r == 0)
			continue;
		(void)atomic_compare_exchange_strong(&crew->result, &none, r);
		atomic_store(&crew->next, crew->parts);
	}
}

static void *member_thread(void *arg)
{
	struct member *member = arg;
	struct wh_crew *crew = member->crew;

	(void)pthread_mutex_lock(&crew->lock);
	/* Ends when close sets @stop. */
	while (!crew->stop) {
		if (crew->next >= crew->parts) {
			(void)pthread_cond_wait(&crew->work, &crew->lock);
			continue;
		}
		crew->busy++;
		(void)pthread_mutex_unlock(&crew->lock);
		do_parts(crew, member->number);
		(void)pthread_mutex_lock(&crew->lock);
		if (--crew->busy == 0)
			(void)pthread_cond_signal(&crew->idle);
	}
	(void)pthread_mutex_unlock(&crew->lock);
	return NULL;
}

int wh_crew_run(struct wh_crew *crew, wh_crew_part fn, void *context, uint64_t parts)
{
	(void)pthread_mutex_lock(&crew->lock);
	crew->fn = fn;
	crew->context = context;
	crew->parts = parts;
	crew->result = 0;
	crew->next = 0;
	(void)pthread_cond_broadcast(&crew->work);
	(void)pthread_mutex_unlock(&crew->lock);

	do_parts(crew, 0);

	(void)pthread_mutex_lock(&crew->lock);
	/* This ends: nobody begins any more, and a part is finite. */
	while (crew->busy > 0)
		(void)pthread_cond_wait(&crew->idle, &crew->lock);
	(void)pthread_mutex_unlock(&crew->lock);
	return crew->result;
}

uint32_t wh_crew_size(const struct wh_crew *crew)
{
	return crew->size;
}

static int start_threads(struct wh_crew *crew, uint32_t size)
{
	for (crew->size = 1; crew->size < size; crew->size++) {
		struct member *member = &crew->members[crew->size];
		int r;

		*member = (struct member){ .crew = crew, .number = crew->size };
		r = pthread_create(&member->thread, NULL, member_thread, member);
		if (r)
			return -r;
	}
	return 0;
}

int wh_crew_open(struct wh_crew **ret, uint32_t size, struct wh_error *err)
{
	struct wh_crew *crew = calloc(1, sizeof(*crew));
	int r;

	wh_assert(size > 0 && size <= WH_SCAN_THREADS_MAX);
	if (!crew)
		return wh_fail(err, -ENOMEM, "out of memory");
	wh_assert(pthread_mutex_init(&crew->lock, NULL) == 0);
	wh_assert(pthread_cond_init(&crew->work, NULL) == 0);
	wh_assert(pthread_cond_init(&crew->idle, NULL) == 0);
	r = start_threads(crew, size);
	if (r < 0) {
		(void)wh_crew_close(crew);
		return wh_fail(err, r, "cannot start a thread: %s", strerror(-r));
	}
	*ret = crew;
	return 0;
}

struct wh_crew *wh_crew_close(struct wh_crew *crew)
{
	if (!crew)
		return NULL;
	(void)pthread_mutex_lock(&crew->lock);
	crew->stop = true;
	(void)pthread_cond_broadcast(&crew->work);
	(void)pthread_mutex_unlock(&crew->lock);
	for (uint32_t i = 1; i < crew->size; i++)
		(void)pthread_join(crew->members[i].thread, NULL);
	(void)pthread_cond_destroy(&crew->idle);
	(void)pthread_cond_destroy(&crew->work);
	(void)pthread_mutex_destroy(&crew->lock);
	free(crew);
	return NULL;
}
