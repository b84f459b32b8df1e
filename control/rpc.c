/* SPDX-License-Identifier: Apache-2.0 */

/*
 * RPC - calls that wait for their answer are a list here; asks that the other end has put are one
 * there. Either may outlive the connection: an ask is answered into nothing then.
 */

#include "rpc.h"

#include <errno.h>
#include <stdlib.h>

#include "loop.h"

#include "wherry/assert.h"
#include "wherry/error.h"
#include "wherry/limits.h"

struct call {
	struct call *next;
	uint64_t id;
	wh_rpc_answer_fn answer;
	void *ctx;
};

struct asked {
	struct wh_ask ask; /* first: reply() gets this */
	struct asked *next;
	struct wh_rpc *rpc; /* NULL once it is closed */
	uint64_t id;
};

struct wh_rpc {
	struct wh_lines *lines;
	struct wh_timer silence;
	sd_event *loop;
	const char *node; /* borrowed */
	struct wh_rpc_handler handler;
	struct call *calls;
	struct asked *asked;
	uint64_t last_id;
};

static void lose(struct wh_rpc *rpc, const char *why)
{
	wh_timer_stop(&rpc->silence);
	rpc->handler.lost(rpc->handler.ctx, why);
}

static void on_silence(void *ctx)
{
	lose(ctx, "it is silent");
}

static void on_closed(void *ctx, const char *why)
{
	lose(ctx, why);
}

static void send_json(struct wh_rpc *rpc, json_t *json)
{
	char *line = json ? wh_json_line(json) : NULL;

	wh_assert(line);
	wh_lines_send(rpc->lines, line);
	free(line);
	json_decref(json);
}

/* What the other end asks. */

static void on_reply(struct wh_ask *ask, json_t *answer)
{
	struct asked *a = (struct asked *)ask;
	struct asked **at;

	if (!a->rpc) {
		json_decref(answer);
		free(a);
		return;
	}
	for (at = &a->rpc->asked; *at != a;)
		at = &(*at)->next;
	*at = a->next;
	send_json(a->rpc, json_pack("{s:I, s:o}", "reply", (json_int_t)a->id, "answer", answer));
	free(a);
}

static void take_request(struct wh_rpc *rpc, uint64_t id, const json_t *request)
{
	struct asked *a = calloc(1, sizeof(*a));

	wh_assert(a);
	a->ask = (struct wh_ask){ .reply = on_reply, .from = rpc->node };
	a->rpc = rpc;
	a->id = id;
	a->next = rpc->asked;
	rpc->asked = a;
	rpc->handler.request(rpc->handler.ctx, request, &a->ask);
}

/* What we have asked. */

static struct call *take_call(struct wh_rpc *rpc, uint64_t id)
{
	for (struct call **at = &rpc->calls; *at; at = &(*at)->next) {
		struct call *c = *at;

		if (c->id == id) {
			*at = c->next;
			return c;
		}
	}
	return NULL;
}

static void take_answer(struct wh_rpc *rpc, uint64_t id, json_t *answer)
{
	struct call *c = take_call(rpc, id);

	if (!c)
		return; /* nobody asked that */
	c->answer(c->ctx, json_incref(answer), NULL);
	free(c);
}

static void on_line(void *ctx, const char *text, size_t len)
{
	wh_cleanup(wh_json_unrefp) json_t *json = NULL;
	struct wh_rpc *rpc = ctx;
	json_t *request;
	json_t *answer;
	struct wh_error err;
	uint64_t id;

	wh_timer_start(&rpc->silence, rpc->loop, WH_PEER_SILENCE_NS);
	if (wh_json_parse(&json, text, len, &err) < 0) {
		lose(rpc, "it does not speak the protocol");
		return;
	}
	request = json_object_get(json, "request");
	answer = json_object_get(json, "answer");
	if (json_is_object(request) && wh_json_u64(json, "call", INT64_MAX, &id, &err) == 0)
		take_request(rpc, id, request);
	else if (json_is_object(answer) && wh_json_u64(json, "reply", INT64_MAX, &id, &err) == 0)
		take_answer(rpc, id, answer);
	else
		lose(rpc, "it does not speak the protocol");
}

int wh_rpc_adopt(struct wh_rpc **ret, struct wh_lines *lines, sd_event *loop, const char *node,
                 const struct wh_rpc_handler *handler)
{
	struct wh_rpc *rpc = calloc(1, sizeof(*rpc));

	if (!rpc) {
		(void)wh_lines_close(lines); /* returns NULL */
		return -ENOMEM;
	}
	rpc->lines = lines;
	rpc->loop = loop;
	rpc->node = node;
	rpc->handler = *handler;
	rpc->silence = (struct wh_timer){ .fired = on_silence, .ctx = rpc };
	wh_lines_redirect(lines, &(struct wh_lines_config){
					 .loop = loop,
					 .line_max = WH_API_LINE_MAX,
					 .line = on_line,
					 .closed = on_closed,
					 .ctx = rpc,
				 });
	wh_timer_start(&rpc->silence, loop, WH_PEER_SILENCE_NS);
	*ret = rpc;
	return 0;
}

void wh_rpc_call(struct wh_rpc *rpc, json_t *request, wh_rpc_answer_fn answer, void *ctx)
{
	struct call *c = calloc(1, sizeof(*c));

	wh_assert(c);
	c->id = ++rpc->last_id;
	c->answer = answer;
	c->ctx = ctx;
	c->next = rpc->calls;
	rpc->calls = c;
	send_json(rpc, json_pack("{s:I, s:o}", "call", (json_int_t)c->id, "request", request));
}

struct wh_rpc *wh_rpc_close(struct wh_rpc *rpc)
{
	struct call *calls;

	if (!rpc)
		return NULL;
	wh_timer_stop(&rpc->silence);
	rpc->lines = wh_lines_close(rpc->lines);
	for (struct asked *a = rpc->asked; a; a = a->next) {
		a->rpc = NULL;
		a->ask.from = ""; /* the name may go with us */
	}
	calls = rpc->calls;
	free(rpc);
	while (calls) {
		struct call *c = calls;

		calls = c->next;
		c->answer(c->ctx, NULL, "the connection to the node is lost");
		free(c);
	}
	return NULL;
}
