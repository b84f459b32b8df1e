/* SPDX-License-Identifier: Apache-2.0 */

#include "wherry/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static struct wh_log_config config = { .level = WH_LOG_INFO };
static bool on_terminal = true;

void wh_log_setup(const struct wh_log_config *cfg)
{
	config = *cfg;
	on_terminal = isatty(STDERR_FILENO) == 1;
}

static const char *level_name(enum wh_log_level level)
{
	switch (level) {
	case WH_LOG_ERROR:
		return "error";
	case WH_LOG_WARNING:
		return "warning";
	case WH_LOG_INFO:
		return "info";
	case WH_LOG_DEBUG:
		return "debug";
	}
	return "?";
}

/* Length of the character of UTF-8 that @s begins with, 0 if that is none. */
static size_t character(const char *s)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	const unsigned char *u = (const unsigned char *)s;
	size_t len = *u < 0x80 ? 1 : *u < 0xe0 ? 2 : *u < 0xf0 ? 3 : 4;
	uint32_t code = *u & (0xffu >> (len + 1));

	if (len == 1)
		return 1;
	if (*u < 0xc0 || *u > 0xf4)
		return 0;
	for (size_t i = 1; i < len; i++) {
		if ((u[i] & 0xc0) != 0x80) /* the final NUL, too */
			return 0;
		code = code << 6 | (u[i] & 0x3f);
	}
	return code < least[len] || code > 0x10ffff || code >> 11 == 0x1b ? 0 : len;
}

/*
 * A string in JSON's escapes, which text lines use for values that are not plain, too. What is not
 * UTF-8 becomes the replacement character: a reason may quote bytes from anywhere.
 */
static void put_quoted(FILE *out, const char *s)
{
	size_t len;

	(void)fputc('"', out);
	for (; *s; s += len) {
		unsigned char c = (unsigned char)*s;

		len = character(s);
		if (c == '"' || c == '\\')
			(void)fprintf(out, "\\%c", c);
		else if (c < 0x20 || c == 0x7f)
			(void)fprintf(out, "\\u%04x", c);
		else if (len == 0)
			(void)fputs("\\ufffd", out);
		else
			(void)fwrite(s, 1, len, out);
		if (len == 0)
			len = 1;
	}
	(void)fputc('"', out);
}

/* Whether a text line shows @s as it is, with no doubt where it ends. */
static bool is_plain(const char *s)
{
	if (!*s)
		return false;
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;

		if (c <= ' ' || c == 0x7f || c == '"' || c == '\\' || c == '=')
			return false;
	}
	return true;
}

static void put_value(FILE *out, const struct wh_field *field, bool json)
{
	const char *s;

	switch (field->type) {
	case WH_FIELD_STR:
		s = field->str ? field->str : "";
		if (json || !is_plain(s))
			put_quoted(out, s);
		else
			(void)fputs(s, out);
		return;
	case WH_FIELD_U64:
		(void)fprintf(out, "%" PRIu64, field->u64);
		return;
	case WH_FIELD_I64:
		(void)fprintf(out, "%" PRId64, field->i64);
		return;
	}
}

static void put_text(FILE *out, enum wh_log_level level, const char *event,
                     const struct wh_field *fields, size_t count)
{
	if (!on_terminal)
		(void)fprintf(out, "<%d>", (int)level);
	else if (level != WH_LOG_INFO)
		(void)fprintf(out, "%s: ", level_name(level));
	(void)fputs(event, out);
	for (size_t i = 0; i < count; i++) {
		(void)fprintf(out, " %s=", fields[i].name);
		put_value(out, &fields[i], false);
	}
	(void)fputc('\n', out);
}

/* The fields as an object. From malloc(), or NULL if memory ran out. */
static char *json_fields(const struct wh_field *fields, size_t count)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return NULL;
	for (size_t i = 0; i < count; i++) {
		(void)fprintf(out, "%c\"%s\":", i == 0 ? '{' : ',', fields[i].name);
		put_value(out, &fields[i], true);
	}
	(void)fputs(count == 0 ? "{}" : "}", out);
	if (fclose(out) == 0)
		return text;
	free(text);
	return NULL;
}

static void put_json(FILE *out, const struct wh_log_event *e)
{
	const char *members = e->fields + 1; /* and the brace at the end */

	(void)fprintf(out, "{\"time\":\"%s\",\"level\":\"%s\",\"event\":\"%s\"%s%s\n", e->time,
	              e->level, e->event, *members == '}' ? "" : ",", members);
}

#define STAMP_MAX sizeof("2000-00-00T00:00:00.000000Z")

/* Write the time of now into @stamp. Return: the same in ms since 1970. */
static uint64_t put_stamp(char stamp[STAMP_MAX])
{
	char seconds[sizeof("2000-00-00T00:00:00")];
	struct timespec now;
	struct tm tm;

	(void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail for this clock */
	(void)gmtime_r(&now.tv_sec, &tm);
	(void)strftime(seconds, sizeof(seconds), "%Y-%m-%dT%H:%M:%S", &tm);
	(void)snprintf(stamp, STAMP_MAX, "%s.%06uZ", seconds,
	               (unsigned)(now.tv_nsec / 1000) % 1000000);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void wh_log_fields(enum wh_log_level level, const char *event, const struct wh_field *fields,
                   size_t count)
{
	struct wh_log_event e = { .level = level_name(level), .event = event };
	bool tap = config.tap && level <= WH_LOG_INFO;
	bool print = level <= config.level;
	char stamp[STAMP_MAX];
	char *object = NULL;
	char *line = NULL;
	size_t len = 0;
	FILE *out;

	/* Out of memory: nothing better is left to say it with. */
	if (tap || (print && config.json)) {
		object = json_fields(fields, count);
		if (!object)
			return;
		e.fields = object;
		e.time_ms = put_stamp(stamp);
		e.time = stamp;
	}
	if (tap)
		config.tap(config.tap_ctx, &e);
	out = print ? open_memstream(&line, &len) : NULL;
	if (out) {
		if (config.json)
			put_json(out, &e);
		else
			put_text(out, level, event, fields, count);
		if (fclose(out) == 0)
			(void)!write(STDERR_FILENO, line, len); /* nobody is left to tell */
	}
	free(line);
	free(object);
}
