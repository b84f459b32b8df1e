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
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "files.h"
#include "lines.h"

#include "wherry/assert.h"
#include "wherry/fdpass.h"
#include "wherry/limits.h"

struct call {
	struct call *next;
	wh_qmp_reply_fn reply;
	void *ctx;
};

struct wh_qmp {
	sd_event *loop;
	struct wh_lines *lines;
	struct wh_qmp_handler handler;
	struct wh_timer timer; /* runs while somebody waits for an answer */
	struct call *first;
	struct call **last;
	bool greeted;
	pid_t pid;
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
	wh_timer_start(&q->timer, q->loop, WH_QMP_REPLY_NS);
}

static void on_timeout(void *ctx)
{
	struct wh_qmp *q = ctx;

	q->handler.closed(q->handler.ctx,
	                  q->greeted ? "QEMU does not answer on its QMP socket"
	                             : "no QMP greeting; is another client connected?");
}

static void on_closed(void *ctx, const char *why)
{
	struct wh_qmp *q = ctx;

	wh_timer_stop(&q->timer);
	q->handler.closed(q->handler.ctx, why);
}

static void tell(const struct wh_qmp *q, const struct wh_qmp_line *event)
{
	if (q->handler.event)
		q->handler.event(q->handler.ctx, event->text, event->data);
}

static void answer(struct wh_qmp *q, const struct wh_qmp_line *line)
{
	struct call *call = q->first;
	wh_qmp_reply_fn reply;
	void *ctx;

	if (!call) {
		on_closed(q, "QEMU answers what was not asked");
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
		reply(ctx, line->data, line->data ? NULL : line->text);
}

static void on_capabilities(void *ctx, const json_t *result, const char *error)
{
	struct wh_qmp *q = ctx;

	if (result)
		q->handler.ready(q->handler.ctx);
	else
		on_closed(q, error);
}

static void on_line(void *ctx, const char *text, size_t len)
{
	wh_cleanup(wh_json_unrefp) json_t *json = NULL;
	struct wh_qmp *q = ctx;
	struct wh_qmp_line line;
	struct wh_error err;

	if (wh_json_parse(&json, text, len, &err) < 0 || wh_qmp_classify(&line, json, &err) < 0) {
		on_closed(q, err.text);
		return;
	}

	switch (line.kind) {
	case WH_QMP_GREETING:
		if (!q->greeted)
			wh_qmp_call(q, "qmp_capabilities", NULL, on_capabilities, q);
		q->greeted = true;
		return;
	case WH_QMP_RESULT:
	case WH_QMP_ERROR:
		answer(q, &line);
		return;
	case WH_QMP_EVENT:
		tell(q, &line);
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
	wh_lines_send(q->lines, text);
	free(text);
}

static int connect_unix(const char *path, struct wh_error *err)
{
	wh_cleanup(wh_closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	if (fd < 0)
		return wh_fail(err, -errno, "cannot make a socket: %s", strerror(errno));
	if (strlen(path) >= sizeof(addr.sun_path))
		return wh_fail(err, -ENAMETOOLONG, "%s is longer than a socket's path may be",
		               path);
	memcpy(addr.sun_path, path, strlen(path));
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return wh_fail(err, -errno, "no QEMU listens at %s: %s", path, strerror(errno));
	return wh_steal_fd(&fd);
}

static int peer_pid(int fd, pid_t *ret)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return -errno;
	*ret = cred.pid;
	return 0;
}

int wh_qmp_open(struct wh_qmp **ret, sd_event *loop, const char *path,
                const struct wh_qmp_handler *handler, struct wh_error *err)
{
	wh_cleanup(wh_qmp_closep) struct wh_qmp *q = calloc(1, sizeof(*q));
	int fd;
	int r;

	if (!q)
		return wh_fail(err, -ENOMEM, "out of memory");
	q->last = &q->first;
	q->loop = loop;
	q->handler = *handler;
	q->timer = (struct wh_timer){ .fired = on_timeout, .ctx = q };

	fd = connect_unix(path, err);
	if (fd < 0)
		return fd;
	r = peer_pid(fd, &q->pid);
	if (r == 0)
		r = wh_lines_open(&q->lines, fd,
		                  &(struct wh_lines_config){
					  .loop = loop,
					  .line_max = WH_QMP_LINE_MAX,
					  .line = on_line,
					  .closed = on_closed,
					  .ctx = q,
				  });
	else
		wh_closep(&fd);
	if (r < 0)
		return wh_fail(err, r, "cannot use %s: %s", path, strerror(-r));
	arm(q);
	*ret = wh_steal(q);
	return 0;
}

pid_t wh_qmp_pid(const struct wh_qmp *q)
{
	return q->pid;
}

struct wh_qmp *wh_qmp_close(struct wh_qmp *q)
{
	if (!q)
		return NULL;
	wh_timer_stop(&q->timer);
	q->lines = wh_lines_close(q->lines);
	while (q->first) {
		struct call *call = q->first;

		q->first = call->next;
		free(call);
	}
	free(q);
	return NULL;
}
