/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Events - a ring of texts, for they are small, and few of them are ever asked for. Event n is in
 * place n % WH_EVENTS_MAX, so its number says where it is.
 */

#include "events.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wherry/assert.h"
#include "wherry/limits.h"

struct wh_events {
	char *text[WH_EVENTS_MAX]; /* NULL where none is kept */
	uint64_t oldest;           /* that is kept; next if there is none */
	uint64_t next;
	size_t bytes; /* of all texts */
};

struct wh_events *wh_events_new(void)
{
	struct wh_events *events = calloc(1, sizeof(*events));

	wh_assert(events);
	events->oldest = events->next = 1;
	return events;
}

static char **place(struct wh_events *events, uint64_t number)
{
	return &events->text[number % WH_EVENTS_MAX];
}

static void drop_oldest(struct wh_events *events)
{
	char **text = place(events, events->oldest++);

	events->bytes -= strlen(*text);
	free(*text);
	*text = NULL;
}

struct wh_events *wh_events_free(struct wh_events *events)
{
	if (!events)
		return NULL;
	while (events->oldest < events->next)
		drop_oldest(events);
	free(events);
	return NULL;
}

void wh_events_add(void *ctx, const struct wh_log_event *event)
{
	struct wh_events *events = ctx;
	char *text = NULL;
	int len = asprintf(&text,
	                   "{\"number\":%" PRIu64 ",\"time\":\"%s\",\"ms\":%" PRIu64
	                   ",\"level\":\"%s\",\"event\":\"%s\",\"fields\":%s}",
	                   events->next, event->time, event->time_ms, event->level, event->event,
	                   event->fields);

	wh_assert(len > 0);
	if (events->next - events->oldest == WH_EVENTS_MAX)
		drop_oldest(events);
	*place(events, events->next++) = text;
	events->bytes += (size_t)len;
	while (events->bytes > WH_EVENTS_BYTES_MAX)
		drop_oldest(events);
}

static json_t *event_at(const struct wh_events *events, uint64_t number)
{
	const char *text = events->text[number % WH_EVENTS_MAX];
	json_t *event = json_loads(text, 0, NULL);

	if (!event) /* a number from 2^63 on, which jansson keeps only so */
		event = json_loads(text, JSON_DECODE_INT_AS_REAL, NULL);
	wh_assert(event); /* base/log.c wrote it */
	return event;
}

void wh_events_after(const struct wh_events *events, uint64_t after, const char *node,
                     json_t *answer)
{
	uint64_t number = after < events->next ? after + 1 : 1;
	uint64_t missed = number < events->oldest ? events->oldest - number : 0;
	json_t *list = json_array();

	for (number += missed; number < events->next; number++) {
		json_t *event = event_at(events, number);

		(void)json_object_set_new(event, "node", json_string(node));
		(void)json_array_append_new(list, event);
	}
	(void)json_object_set_new(answer, "events", list);
	(void)json_object_set_new(answer, "last", wh_json_number(events->next - 1));
	(void)json_object_set_new(answer, "missed", wh_json_number(missed));
}
