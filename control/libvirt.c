/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Libvirt - the loop's side: news of the threads come in by an eventfd, and are passed on.
 *
 * libvirt's event loop is one for the whole process, and cannot be ended; it is started with the first
 * object and has nothing to do when there is none. Why there are threads at all:
 * docs/decisions/0009-libvirt-in-threads.md.
 */

#include "libvirt.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <libvirt/virterror.h>

#include "libvirt_state.h"

#include "wherry/assert.h"
#include "wherry/clock.h"
#include "wherry/fdpass.h"

void *wh_libvirt_alloc(size_t bytes)
{
	void *memory = calloc(1, bytes);

	wh_assert(memory);
	return memory;
}

char *wh_libvirt_copy(const char *text)
{
	char *copy = text ? strdup(text) : NULL;

	wh_assert(copy || !text);
	return copy;
}

const char *wh_libvirt_words(void)
{
	return virGetLastErrorMessage();
}

static void ignore(void *ctx, virErrorPtr error)
{
	(void)ctx;
	(void)error;
}

/* Return: 0 or -errno. @run gets @arg; all signals are the main thread's. */
static int start_thread(void *(*run)(void *arg), void *arg)
{
	pthread_t thread;
	sigset_t all;
	sigset_t old;
	int r;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&thread, NULL, run, arg);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r == 0)
		(void)pthread_detach(thread);
	return -r;
}

static void *run_events(void *arg)
{
	const struct timespec pause = { .tv_nsec = 100000000L };

	(void)arg;
	/* This ends with the process. */
	for (;;)
		if (virEventRunDefaultImpl() < 0)
			(void)nanosleep(&pause, NULL); /* out of something: not all the time */
	return NULL;
}

/* Return: 0 or -errno. */
static int set_up_library(struct wh_error *err)
{
	static bool done;
	int r;

	if (done)
		return 0;
	virSetErrorFunc(NULL, ignore); /* or it would print them */
	if (virInitialize() < 0 || virEventRegisterDefaultImpl() < 0)
		return wh_fail(err, -EIO, "libvirt's library cannot be used: %s",
		               wh_libvirt_words());
	r = start_thread(run_events, NULL);
	if (r < 0)
		return wh_fail(err, r, "cannot start a thread: %s", strerror(-r));
	done = true;
	return 0;
}

struct thread {
	struct wh_libvirt *libvirt;
	void (*run)(struct wh_libvirt *libvirt);
};

static void *run_thread(void *arg)
{
	struct thread thread = *(struct thread *)arg;

	free(arg);
	thread.run(thread.libvirt);

	(void)pthread_mutex_lock(&thread.libvirt->lock);
	thread.libvirt->threads--;
	(void)pthread_cond_broadcast(&thread.libvirt->changed);
	(void)pthread_mutex_unlock(&thread.libvirt->lock);
	wh_libvirt_unref(thread.libvirt);
	return NULL;
}

static void count_thread(struct wh_libvirt *l, bool more)
{
	(void)pthread_mutex_lock(&l->lock);
	l->threads = more ? l->threads + 1 : l->threads - 1;
	(void)pthread_mutex_unlock(&l->lock);
}

int wh_libvirt_thread(struct wh_libvirt *l, void (*run)(struct wh_libvirt *libvirt))
{
	struct thread *thread = wh_libvirt_alloc(sizeof(*thread));
	int r;

	*thread = (struct thread){ .libvirt = wh_libvirt_ref(l), .run = run };
	count_thread(l, true);
	r = start_thread(run_thread, thread);
	if (r < 0) {
		count_thread(l, false);
		wh_libvirt_unref(l);
		free(thread);
	}
	return r;
}

bool wh_libvirt_wait(struct wh_libvirt *l, uint64_t until_ns)
{
	const struct timespec until = { .tv_sec = (time_t)(until_ns / WH_NSEC_PER_SEC),
		                        .tv_nsec = (long)(until_ns % WH_NSEC_PER_SEC) };

	return pthread_cond_timedwait(&l->changed, &l->lock, &until) == 0;
}

void wh_libvirt_list_done(struct wh_libvirt_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		free((char *)list->items[i].metadata);
	free(list->items);
	*list = (struct wh_libvirt_list){ 0 };
}

static void free_news(struct wh_libvirt_news *news)
{
	wh_libvirt_list_done(&news->list);
	wh_libvirt_call_free(news->call);
	free(news->event);
	free(news->data);
	free(news);
}

void wh_libvirt_put(struct wh_libvirt *l, struct wh_libvirt_news *news)
{
	const uint64_t one = 1;

	news->next = NULL;
	*l->last_news = news;
	l->last_news = &news->next;
	(void)!write(l->news_fd, &one, sizeof(one)); /* fails only if the loop knows already */
}

void wh_libvirt_tell(struct wh_libvirt *l, struct wh_libvirt_news *news)
{
	(void)pthread_mutex_lock(&l->lock);
	wh_libvirt_put(l, news);
	(void)pthread_mutex_unlock(&l->lock);
}

static struct wh_libvirt_news *take_news(struct wh_libvirt *l)
{
	struct wh_libvirt_news *news;

	(void)pthread_mutex_lock(&l->lock);
	news = l->news;
	if (news)
		l->news = news->next;
	if (!l->news)
		l->last_news = &l->news;
	(void)pthread_mutex_unlock(&l->lock);
	return news;
}

struct wh_libvirt *wh_libvirt_ref(struct wh_libvirt *l)
{
	(void)pthread_mutex_lock(&l->lock);
	l->references++;
	(void)pthread_mutex_unlock(&l->lock);
	return l;
}

static void free_rows(struct wh_libvirt *l)
{
	while (l->rows) {
		struct wh_libvirt_row *row = l->rows;

		l->rows = row->next;
		while (row->call) {
			struct wh_libvirt_call *call = row->call;

			row->call = call->next;
			wh_libvirt_call_free(call);
		}
		free(row);
	}
}

void wh_libvirt_unref(struct wh_libvirt *l)
{
	struct wh_libvirt_news *news;
	bool last;

	(void)pthread_mutex_lock(&l->lock);
	last = --l->references == 0;
	(void)pthread_mutex_unlock(&l->lock);
	if (!last)
		return;
	while ((news = take_news(l)))
		free_news(news);
	free_rows(l);
	while (l->left_out) {
		struct wh_libvirt_name *name = l->left_out;

		l->left_out = name->next;
		free(name);
	}
	wh_libvirt_list_done(&l->list);
	wh_closep(&l->news_fd);
	(void)pthread_cond_destroy(&l->changed);
	(void)pthread_mutex_destroy(&l->lock);
	free(l->uri);
	free(l);
}

static void pass_on_event(struct wh_libvirt *l, const struct wh_libvirt_news *news)
{
	wh_cleanup(wh_json_unrefp) json_t *data = news->data ? json_loads(news->data, 0, NULL)
	                                                     : NULL;

	l->handler.event(l->handler.ctx, news->domain, news->event, data);
}

/* May end the life of what the object is to its user, but not of @l. */
static void pass_on(struct wh_libvirt *l, struct wh_libvirt_news *news)
{
	switch (news->kind) {
	case WH_LIBVIRT_LIST:
		wh_libvirt_list_done(&l->list);
		l->list = news->list;
		news->list = (struct wh_libvirt_list){ 0 };
		l->why = (struct wh_error){ 0 };
		l->handler.changed(l->handler.ctx);
		return;
	case WH_LIBVIRT_LOST:
		if (!strcmp(l->why.text, news->why.text))
			return; /* another attempt that failed */
		wh_libvirt_list_done(&l->list);
		l->why = news->why;
		l->handler.changed(l->handler.ctx);
		return;
	case WH_LIBVIRT_EVENT:
		pass_on_event(l, news);
		return;
	case WH_LIBVIRT_ANSWER:
		wh_libvirt_call_answer(l, news->call);
		return;
	}
}

static void on_news(void *ctx, uint32_t events)
{
	struct wh_libvirt *l = wh_libvirt_ref(ctx);
	struct wh_libvirt_news *news;
	uint64_t count;

	(void)events;
	(void)!read(l->news_fd, &count, sizeof(count)); /* what it counts is in the queue */
	/* @closed is written by this thread alone. It ends: what is told now wakes the loop again. */
	while (!l->closed && (news = take_news(l))) {
		pass_on(l, news);
		free_news(news);
	}
	wh_libvirt_unref(l);
}

/* Return: 0 or -errno. */
static int init_lock(struct wh_libvirt *l)
{
	pthread_condattr_t attributes;
	int r = pthread_condattr_init(&attributes);

	if (r == 0)
		r = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	if (r == 0)
		r = pthread_cond_init(&l->changed, &attributes);
	(void)pthread_condattr_destroy(&attributes);
	if (r == 0)
		r = pthread_mutex_init(&l->lock, NULL);
	return -r;
}

/* Return: 0 or -errno. */
static int start(struct wh_libvirt *l)
{
	int r;

	l->news_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->news_fd < 0)
		return -errno;
	l->watch = (struct wh_watch){ .ready = on_news, .ctx = l };
	r = wh_watch_start(&l->watch, l->loop, l->news_fd, EPOLLIN);
	return r < 0 ? r : wh_libvirt_thread(l, wh_libvirt_watch);
}

int wh_libvirt_open(struct wh_libvirt **ret, sd_event *loop, const char *uri,
                    const struct wh_libvirt_handler *handler, struct wh_error *err)
{
	wh_cleanup(wh_libvirt_closep) struct wh_libvirt *l = NULL;
	int r = set_up_library(err);

	if (r < 0)
		return r;
	l = wh_libvirt_alloc(sizeof(*l));
	wh_assert(init_lock(l) == 0); /* fails only for want of memory */
	l->references = 1;
	l->loop = loop;
	l->handler = *handler;
	l->uri = wh_libvirt_copy(uri);
	l->news_fd = -1;
	l->last_news = &l->news;
	(void)wh_fail(&l->down, 0, "not connected to libvirt yet");
	l->why = l->down;

	r = start(l);
	if (r < 0)
		return wh_fail(err, r, "cannot wait for libvirt: %s", strerror(-r));
	*ret = wh_steal(l);
	return 0;
}

struct wh_libvirt *wh_libvirt_close(struct wh_libvirt *l)
{
	const uint64_t until_ns = wh_now_ns(&wh_clock_monotonic) + WH_LIBVIRT_CLOSE_NS;
	bool in_time = true;

	if (!l)
		return NULL;
	wh_watch_stop(&l->watch);
	(void)pthread_mutex_lock(&l->lock);
	l->closed = true;
	(void)pthread_cond_broadcast(&l->changed);
	while (l->threads > 0 && in_time)
		in_time = wh_libvirt_wait(l, until_ns);
	(void)pthread_mutex_unlock(&l->lock);
	wh_libvirt_unref(l);
	return NULL;
}

bool wh_libvirt_connected(const struct wh_libvirt *l, struct wh_error *why)
{
	if (why)
		*why = l->why;
	return !*l->why.text;
}

const struct wh_domain *wh_libvirt_domains(const struct wh_libvirt *l, size_t *count)
{
	*count = l->list.count;
	return l->list.items;
}

const struct wh_domain *wh_libvirt_domain(const struct wh_libvirt *l, const char *name)
{
	for (size_t i = 0; i < l->list.count; i++)
		if (!strcmp(l->list.items[i].name, name))
			return &l->list.items[i];
	return NULL;
}
