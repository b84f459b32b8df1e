/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Log - one line per event, on standard error, for journald or a terminal.
 *
 * An event has a stable name ("migration.started") and typed fields; both are an interface and
 * are listed in docs/observability.md. As text a line reads
 *
 *	<6>migration.started vm=db1 to=b bytes=1073741824
 *
 * where <6> is the syslog priority that journald takes off again (left out on a terminal), and as
 * JSON it is one object with "time", "level", "event" and the fields.
 *
 * Threads: any; a line is one write(2).
 */

#ifndef WH_LOG_H
#define WH_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Values are syslog priorities. */
enum wh_log_level {
	WH_LOG_ERROR = 3,
	WH_LOG_WARNING = 4,
	WH_LOG_INFO = 6,
	WH_LOG_DEBUG = 7,
};

enum wh_field_type {
	WH_FIELD_STR,
	WH_FIELD_U64,
	WH_FIELD_I64,
};

struct wh_field {
	const char *name;
	enum wh_field_type type;
	union {
		const char *str;
		uint64_t u64;
		int64_t i64;
	};
};

#define WH_STR(n, v) ((struct wh_field){ .name = (n), .type = WH_FIELD_STR, .str = (v) })
#define WH_U64(n, v) ((struct wh_field){ .name = (n), .type = WH_FIELD_U64, .u64 = (v) })
#define WH_I64(n, v) ((struct wh_field){ .name = (n), .type = WH_FIELD_I64, .i64 = (v) })

/* What a line says, for those who keep events. All is borrowed and plain, so it needs no escapes. */
struct wh_log_event {
	uint64_t time_ms;  /* CLOCK_REALTIME, since 1970 */
	const char *time;  /* the same with us, as RFC 3339 writes it */
	const char *level; /* "info" */
	const char *event;
	const char *fields; /* a JSON object, of the same text as a JSON line has */
};

struct wh_log_config {
	enum wh_log_level level; /* lines above this priority number are left out */
	bool json;
	/* Gets every event of WH_LOG_INFO and worse, where it is logged. Must not log. May be NULL. */
	void (*tap)(void *ctx, const struct wh_log_event *event);
	void *tap_ctx;
};

/* Call before the first line and before the first thread. */
void wh_log_setup(const struct wh_log_config *cfg);

void wh_log_fields(enum wh_log_level level, const char *event, const struct wh_field *fields,
                   size_t count);

/* At least one field: an event without one says too little. */
#define wh_log(level, event, ...)                                                 \
	wh_log_fields((level), (event), (const struct wh_field[]){ __VA_ARGS__ }, \
	              sizeof((const struct wh_field[]){ __VA_ARGS__ }) / sizeof(struct wh_field))

#endif
