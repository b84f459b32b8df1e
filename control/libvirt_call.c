/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Libvirt call - who makes a call, and when.
 *
 * A caller is a thread with a connection of its own: libvirtd works on five calls of one connection
 * at a time and then reads no more of it, not even keepalive, and a migration is a call that may last
 * for hours. A caller takes a row, makes its calls until there are no more, and looks for another.
 * A row that finds no idle caller gets a new one, so that none waits for another.
 */

#include "libvirt_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wherry/assert.h"

struct wh_libvirt_call *wh_libvirt_call_new(enum wh_libvirt_row_kind row, const char *domain)
{
	struct wh_libvirt_call *call = wh_libvirt_alloc(sizeof(*call));

	call->row = row;
	call->domain = wh_libvirt_copy(domain);
	return call;
}

void wh_libvirt_call_free(struct wh_libvirt_call *call)
{
	if (!call)
		return;
	free(call->domain);
	free(call->first);
	free(call->second);
	wh_libvirt_migration_done(&call->migration);
	free((char *)call->cpu.xml);
	free((char *)call->cpu.emulator);
	free((char *)call->cpu.arch);
	free((char *)call->cpu.machine);
	free((char *)call->cpu.virt_type);
	free(call->text);
	free(call->error);
	free(call);
}

/* With the lock held, so that answers of a row stay in order. */
static void put_answer(struct wh_libvirt *l, struct wh_libvirt_call *call)
{
	struct wh_libvirt_news *news = wh_libvirt_alloc(sizeof(*news));

	news->kind = WH_LIBVIRT_ANSWER;
	news->call = call;
	wh_libvirt_put(l, news);
}

/* Why no call can be made, from malloc(), or NULL. */
static char *why_down(struct wh_libvirt *l)
{
	struct wh_error down;

	(void)pthread_mutex_lock(&l->lock);
	down = l->down;
	(void)pthread_mutex_unlock(&l->lock);
	return *down.text ? wh_libvirt_copy(down.text) : NULL;
}

static void make(struct wh_libvirt_call *call, virConnectPtr connection)
{
	virDomainPtr domain = NULL;

	if (call->domain)
		domain = virDomainLookupByName(connection, call->domain);
	if ((call->domain && !domain) || call->make(call, connection, domain) < 0)
		call->error = wh_libvirt_copy(wh_libvirt_words());
	if (domain)
		(void)virDomainFree(domain);
}

/* The caller's connection, made again if it is lost. */
static virConnectPtr connected(struct wh_libvirt *l, virConnectPtr connection)
{
	if (connection && virConnectIsAlive(connection) == 1)
		return connection;
	if (connection)
		(void)virConnectClose(connection);
	return wh_libvirt_connect(l->uri);
}

static virConnectPtr carry_out(struct wh_libvirt *l, virConnectPtr connection,
                               struct wh_libvirt_call *call)
{
	connection = connected(l, connection);
	if (!connection) {
		call->error = wh_libvirt_copy(wh_libvirt_words());
		return NULL;
	}
	/* Looked at last: connecting may have taken as long as libvirtd hung. */
	call->error = why_down(l);
	if (!call->error)
		make(call, connection);
	return connection;
}

/* With the lock held. */
static struct wh_libvirt_row *take_row(struct wh_libvirt *l)
{
	for (struct wh_libvirt_row *row = l->rows; row; row = row->next)
		if (!row->taken) {
			row->taken = true;
			return row;
		}
	return NULL;
}

/* With the lock held: a row that has no calls any more. */
static void drop_row(struct wh_libvirt *l, struct wh_libvirt_row *row)
{
	struct wh_libvirt_row **at = &l->rows;

	while (*at != row)
		at = &(*at)->next;
	*at = row->next;
	free(row);
}

/*
 * With the lock held, which is let go of meanwhile: make the calls of a row until there are no more.
 * Those of an object that was closed are not made.
 */
static virConnectPtr work(struct wh_libvirt *l, virConnectPtr connection,
                          struct wh_libvirt_row *row)
{
	while (row->call && !l->closed) {
		struct wh_libvirt_call *call = row->call;

		(void)pthread_mutex_unlock(&l->lock);
		connection = carry_out(l, connection, call);
		(void)pthread_mutex_lock(&l->lock);
		row->call = call->next;
		put_answer(l, call);
	}
	if (!row->call)
		drop_row(l, row);
	return connection;
}

/* With the lock held. Return: a row, or NULL if this caller is not needed any more. */
static struct wh_libvirt_row *next_row(struct wh_libvirt *l)
{
	struct wh_libvirt_row *row = NULL;

	if (l->idle_callers < WH_LIBVIRT_IDLE_MAX) {
		l->idle_callers++;
		while (!l->closed && !(row = take_row(l)))
			(void)pthread_cond_wait(&l->changed, &l->lock);
		l->idle_callers--;
	} else if (!l->closed) {
		row = take_row(l);
	}
	return row;
}

static void be_caller(struct wh_libvirt *l)
{
	virConnectPtr connection = NULL;
	struct wh_libvirt_row *row;

	(void)pthread_mutex_lock(&l->lock);
	while ((row = next_row(l)))
		connection = work(l, connection, row);
	l->callers--;
	(void)pthread_mutex_unlock(&l->lock);
	if (connection)
		(void)virConnectClose(connection);
}

static bool same_row(const struct wh_libvirt_call *a, const struct wh_libvirt_call *b)
{
	return a->row == b->row && a->row != WH_LIBVIRT_ALONE && !strcmp(a->domain, b->domain);
}

/* With the lock held: append it to its row. Return: whether that row is a new one. */
static bool enqueue(struct wh_libvirt *l, struct wh_libvirt_call *call)
{
	struct wh_libvirt_row **row = &l->rows;
	struct wh_libvirt_call **last;

	while (*row && !same_row((*row)->call, call))
		row = &(*row)->next;
	if (!*row) {
		*row = wh_libvirt_alloc(sizeof(**row));
		(*row)->call = call;
		return true;
	}
	for (last = &(*row)->call; *last; last = &(*last)->next)
		;
	*last = call;
	return false;
}

static unsigned rows_waiting(const struct wh_libvirt *l)
{
	unsigned count = 0;

	for (const struct wh_libvirt_row *row = l->rows; row; row = row->next)
		count += row->taken ? 0 : 1;
	return count;
}

/* There was no thread to be had for a new row. If no other one has taken it, it is answered with that. */
static void refuse(struct wh_libvirt *l, struct wh_libvirt_call *call, int code)
{
	(void)pthread_mutex_lock(&l->lock);
	l->callers--;
	for (struct wh_libvirt_row *row = l->rows; row; row = row->next) {
		if (row->call != call || row->taken)
			continue;
		drop_row(l, row);
		call->error = wh_libvirt_copy(strerror(-code));
		put_answer(l, call);
		break;
	}
	(void)pthread_mutex_unlock(&l->lock);
}

void wh_libvirt_call_ask(struct wh_libvirt *l, struct wh_libvirt_call *call)
{
	bool more;
	int r;

	call->next_asked = l->asked;
	l->asked = call;

	(void)pthread_mutex_lock(&l->lock);
	more = enqueue(l, call) && rows_waiting(l) > l->idle_callers &&
	       l->callers < WH_LIBVIRT_CALLERS_MAX;
	l->callers += more ? 1 : 0;
	(void)pthread_cond_broadcast(&l->changed);
	(void)pthread_mutex_unlock(&l->lock);

	r = more ? wh_libvirt_thread(l, be_caller) : 0;
	if (r < 0)
		refuse(l, call, r);
}

static void answer_text(const struct wh_libvirt_call *call)
{
	call->reply(call->ctx, call->error ? NULL : call->text ? call->text : "", call->error);
}

void wh_libvirt_call_ask_text(struct wh_libvirt *l, struct wh_libvirt_call *call,
                              wh_libvirt_reply_fn reply, void *ctx)
{
	call->reply = reply;
	call->ctx = ctx;
	call->answer = reply ? answer_text : NULL;
	wh_libvirt_call_ask(l, call);
}

void wh_libvirt_call_answer(struct wh_libvirt *l, struct wh_libvirt_call *call)
{
	struct wh_libvirt_call **at = &l->asked;

	while (*at != call)
		at = &(*at)->next_asked;
	*at = call->next_asked;
	if (call->answer)
		call->answer(call);
}

void wh_libvirt_forget(struct wh_libvirt *l, const void *ctx)
{
	for (struct wh_libvirt_call *call = l->asked; call; call = call->next_asked)
		if (call->ctx == ctx)
			call->answer = NULL;
}
