/* SPDX-License-Identifier: Apache-2.0 */

/*
 * QMP - commands in a queue, answers in the same order.
 *
 * QEMU executes what arrives on a monitor one after the other, so the oldest call waiting is the
 * one being answered and no ids are needed. One timer watches the oldest call.
 *
 * Callbacks may close the connection, so each is the last thing its caller does.
 */

#include "qmp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "qmp_link.h"

#include "wherry/assert.h"

struct call {
	struct call *next;
	wh_qmp_reply_fn reply;
	void *ctx;
};

struct wh_qmp {
	sd_event *loop;
	struct wh_qmp_link link;
	struct wh_qmp_handler handler;
	struct wh_timer timer; /* runs while somebody waits for an answer */
	struct call *first;
	struct call **last;
	bool greeted;
	bool over; /* @closed was called */
};

int wh_qmp_classify(struct wh_qmp_line *ret, const json_t *json, struct wh_error *err)
{
	const json_t *error = json_object_get(json, "error");
	const json_t *result = json_object_get(json, "return");
	const char *event = json_string_value(json_object_get(json, "event"));

	if (json_is_object(json_object_get(json, "QMP")))
		*ret = (struct wh_qmp_line){ .kind = WH_QMP_GREETING };
	else if (result)
		*ret = (struct wh_qmp_line){ .kind = WH_QMP_RESULT, .data = result };
	else if (error)
		*ret = (struct wh_qmp_line){ .kind = WH_QMP_ERROR,
			                     .text = wh_json_text(error, "desc") };
	else if (event)
		*ret = (struct wh_qmp_line){ .kind = WH_QMP_EVENT,
			                     .text = event,
			                     .data = json_object_get(json, "data") };
	else
		return wh_fail(err, -EPROTO, "neither greeting, answer nor event");
	return 0;
}

static void arm(struct wh_qmp *q)
{
	wh_timer_start(&q->timer, q->loop, q->link.reply_ns);
}

void wh_qmp_lost(struct wh_qmp *q, const char *why)
{
	if (q->over)
		return;
	q->over = true;
	wh_timer_stop(&q->timer);
	q->handler.closed(q->handler.ctx, why);
}

static void on_timeout(void *ctx)
{
	struct wh_qmp *q = ctx;

	wh_qmp_lost(q, q->greeted ? "QEMU does not answer on its QMP socket"
	                          : "no QMP greeting; is another client connected?");
}

void wh_qmp_event(struct wh_qmp *q, const char *name, const json_t *data)
{
	if (q->handler.event && !q->over)
		q->handler.event(q->handler.ctx, name, data);
}

/* @error is NULL if it was well. */
static void answer(struct wh_qmp *q, const json_t *result, const char *error)
{
	struct call *call = q->first;
	wh_qmp_reply_fn reply;
	void *ctx;

	if (q->over)
		return;
	if (!call) {
		wh_qmp_lost(q, "QEMU answers what was not asked");
		return;
	}
	reply = call->reply;
	ctx = call->ctx;
	q->first = call->next;
	if (!q->first)
		q->last = &q->first;
	free(call);
	if (q->first)
		arm(q);
	else
		wh_timer_stop(&q->timer);
	if (reply)
		reply(ctx, result, error);
}

void wh_qmp_refused(struct wh_qmp *q, const char *why)
{
	answer(q, NULL, why);
}

void wh_qmp_ready(struct wh_qmp *q)
{
	if (q->over)
		return;
	q->greeted = true;
	wh_timer_stop(&q->timer);
	q->handler.ready(q->handler.ctx);
}

static void on_capabilities(void *ctx, const json_t *result, const char *error)
{
	struct wh_qmp *q = ctx;

	if (result)
		q->handler.ready(q->handler.ctx);
	else
		wh_qmp_lost(q, error);
}

void wh_qmp_hear(struct wh_qmp *q, const char *text, size_t len)
{
	wh_cleanup(wh_json_unrefp) json_t *json = NULL;
	struct wh_qmp_line line;
	struct wh_error err;

	if (wh_json_parse(&json, text, len, &err) < 0 || wh_qmp_classify(&line, json, &err) < 0) {
		wh_qmp_lost(q, err.text);
		return;
	}

	switch (line.kind) {
	case WH_QMP_GREETING:
		if (!q->greeted)
			wh_qmp_call(q, "qmp_capabilities", NULL, on_capabilities, q);
		q->greeted = true;
		return;
	case WH_QMP_RESULT:
		answer(q, line.data, NULL);
		return;
	case WH_QMP_ERROR:
		answer(q, NULL, line.text);
		return;
	case WH_QMP_EVENT:
		wh_qmp_event(q, line.text, line.data);
		return;
	}
}

void wh_qmp_call(struct wh_qmp *q, const char *command, json_t *arguments, wh_qmp_reply_fn reply,
                 void *ctx)
{
	wh_cleanup(wh_json_unrefp) json_t *json = json_pack("{s:s}", "execute", command);
	struct call *call = calloc(1, sizeof(*call));
	char *text;

	if (arguments)
		(void)json_object_set_new(json, "arguments", arguments);
	text = wh_json_line(json);
	wh_assert(call && text); /* a few bytes: without them nothing else works either */

	*call = (struct call){ .reply = reply, .ctx = ctx };
	if (!q->first)
		arm(q);
	*q->last = call;
	q->last = &call->next;
	q->link.send(q->link.link, text);
	free(text);
}

struct wh_qmp *wh_qmp_new(sd_event *loop, const struct wh_qmp_handler *handler)
{
	struct wh_qmp *q = calloc(1, sizeof(*q));

	if (!q)
		return NULL;
	q->last = &q->first;
	q->loop = loop;
	q->handler = *handler;
	q->timer = (struct wh_timer){ .fired = on_timeout, .ctx = q };
	return q;
}

void wh_qmp_attach(struct wh_qmp *q, const struct wh_qmp_link *link)
{
	q->link = *link;
	arm(q);
}

pid_t wh_qmp_pid(const struct wh_qmp *q)
{
	return q->link.pid;
}

struct wh_qmp *wh_qmp_close(struct wh_qmp *q)
{
	if (!q)
		return NULL;
	wh_timer_stop(&q->timer);
	if (q->link.link)
		q->link.close(q->link.link);
	while (q->first) {
		struct call *call = q->first;

		q->first = call->next;
		free(call);
	}
	free(q);
	return NULL;
}
