/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Libvirt state - what the files libvirt*.c share.
 *
 * Three kinds of threads have a part in it, and each passes on what it has to say as news, one queue
 * for all of them, so that the loop hears of things in the order in which they happened:
 *
 *	watcher (one)	keeps a connection, and lists the domains (libvirt_watch.c)
 *	callers		make the calls, each with a connection of its own (libvirt_call.c)
 *	libvirt's own	its event loop, one for the process; it calls back for events
 *
 * Whoever uses the object holds a reference, for a thread may wait for libvirtd long after the object
 * was closed.
 */

#ifndef WH_LIBVIRT_STATE_H
#define WH_LIBVIRT_STATE_H

#include <pthread.h>

#include <libvirt/libvirt.h>

#include "libvirt.h"

struct wh_libvirt_call;

/* What was seen in one look. @metadata of the domains is owned here. */
struct wh_libvirt_list {
	struct wh_domain *items;
	size_t count;
};

enum wh_libvirt_news_kind {
	WH_LIBVIRT_LIST,   /* connected, and these are the domains */
	WH_LIBVIRT_LOST,   /* not connected */
	WH_LIBVIRT_EVENT,  /* in a domain */
	WH_LIBVIRT_ANSWER, /* a call was made */
};

struct wh_libvirt_news {
	struct wh_libvirt_news *next;
	enum wh_libvirt_news_kind kind;
	struct wh_libvirt_list list;
	struct wh_error why;
	char domain[WH_NAME_MAX];
	char *event;
	char *data; /* JSON; NULL if there is none */
	struct wh_libvirt_call *call;
};

/* Calls of one row, which are made one after the other. */
struct wh_libvirt_row {
	struct wh_libvirt_row *next;  /* of all rows that have calls */
	struct wh_libvirt_call *call; /* the first; the others follow it */
	bool taken;                   /* by a caller */
};

struct wh_libvirt_name {
	struct wh_libvirt_name *next;
	char text[];
};

struct wh_libvirt {
	/* The loop's. */
	sd_event *loop;
	struct wh_libvirt_handler handler;
	struct wh_watch watch;
	struct wh_libvirt_list list;
	struct wh_error why; /* not connected; "" if it is */
	struct wh_libvirt_call *asked;

	/* Set before there are threads. */
	char *uri;
	int news_fd; /* an eventfd */

	/* The watcher's. */
	struct wh_libvirt_name *left_out;

	/* Everybody's, under the lock. */
	pthread_mutex_t lock;
	pthread_cond_t changed; /* whatever a thread waits for */
	unsigned references;
	unsigned threads;
	bool closed;
	struct wh_libvirt_news *news;
	struct wh_libvirt_news **last_news;
	bool stale;           /* the list: the watcher looks again */
	bool lost;            /* the watcher's connection: it makes another */
	struct wh_error down; /* why no call is made; "" if calls are */
	struct wh_libvirt_row *rows;
	unsigned callers;
	unsigned idle_callers;
};

/* Memory for what a thread has to say; it is a few bytes, and without them nothing works. */
void *wh_libvirt_alloc(size_t bytes);
char *wh_libvirt_copy(const char *text); /* NULL for NULL */

struct wh_libvirt *wh_libvirt_ref(struct wh_libvirt *libvirt);
void wh_libvirt_unref(struct wh_libvirt *libvirt);

/* The last error of libvirt in this thread, in its words. */
const char *wh_libvirt_words(void);

/* Start @run, without signals. It holds a reference while it runs. Return: 0 or -errno. */
wh_must_check int wh_libvirt_thread(struct wh_libvirt *libvirt,
                                    void (*run)(struct wh_libvirt *libvirt));

/* Tell the loop; @news is owned by it from here on. wh_libvirt_put() is for who holds the lock. */
void wh_libvirt_tell(struct wh_libvirt *libvirt, struct wh_libvirt_news *news);
void wh_libvirt_put(struct wh_libvirt *libvirt, struct wh_libvirt_news *news);

/* With the lock held: wait until something changed. Return: false if it is @until_ns before. */
bool wh_libvirt_wait(struct wh_libvirt *libvirt, uint64_t until_ns);

void wh_libvirt_list_done(struct wh_libvirt_list *list);

/* A connection of this thread, with keepalive; NULL if there is none to be had. */
virConnectPtr wh_libvirt_connect(const char *uri);

/* The watcher: connect, look, listen, until the object is closed. */
void wh_libvirt_watch(struct wh_libvirt *libvirt);

enum wh_libvirt_row_kind {
	WH_LIBVIRT_RUNNING,
	WH_LIBVIRT_CONFIGURATION,
	WH_LIBVIRT_ENDING,
	WH_LIBVIRT_ALONE, /* waits for nothing */
};

struct wh_libvirt_call {
	struct wh_libvirt_call *next; /* of its row */
	enum wh_libvirt_row_kind row;
	char *domain; /* NULL if it is about none */
	char *first;  /* what else it is about; see who makes it */
	char *second;
	unsigned flags;
	struct wh_libvirt_cpu cpu;             /* strings owned */
	struct wh_libvirt_migration migration; /* strings owned */
	/*
	 * In a caller's thread: make it, with what is above, and put down what came of it below.
	 * @domain is NULL if the call is about none. Return: 0, or -1 and libvirt's error.
	 */
	int (*make)(struct wh_libvirt_call *call, virConnectPtr connection, virDomainPtr domain);

	int (*plain)(virDomainPtr domain);

	char *text;
	char *error; /* NULL if it was well */
	struct wh_libvirt_job job;

	/* The loop's. */
	struct wh_libvirt_call *next_asked;
	void (*answer)(const struct wh_libvirt_call *call); /* NULL if nobody waits */
	wh_libvirt_reply_fn reply;
	void (*job_reply)(void *ctx, const struct wh_libvirt_job *job, const char *error);
	void *ctx;
};

/* A call to be filled in. */
struct wh_libvirt_call *wh_libvirt_call_new(enum wh_libvirt_row_kind row, const char *domain);
void wh_libvirt_call_free(struct wh_libvirt_call *call);

/* Have it made. It is owned by the object from here on. */
void wh_libvirt_call_ask(struct wh_libvirt *libvirt, struct wh_libvirt_call *call);

/* The same for one that is answered with its text. @reply may be NULL. */
void wh_libvirt_call_ask_text(struct wh_libvirt *libvirt, struct wh_libvirt_call *call,
                              wh_libvirt_reply_fn reply, void *ctx);

/* In the loop: a call that was made. */
void wh_libvirt_call_answer(struct wh_libvirt *libvirt, struct wh_libvirt_call *call);

/* Free the strings of one. */
void wh_libvirt_migration_done(struct wh_libvirt_migration *migration);

#endif
