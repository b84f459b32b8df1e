/* SPDX-License-Identifier: Apache-2.0 */

#include "wherry/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
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

/* A string in JSON's escapes, which text lines use for values that are not plain, too. */
static void put_quoted(FILE *out, const char *s)
{
	(void)fputc('"', out);
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;

		if (c == '"' || c == '\\')
			(void)fprintf(out, "\\%c", c);
		else if (c < 0x20 || c == 0x7f)
			(void)fprintf(out, "\\u%04x", c);
		else
			(void)fputc(c, out);
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

static void put_value(FILE *out, const struct wh_field *field)
{
	const char *s;

	switch (field->type) {
	case WH_FIELD_STR:
		s = field->str ? field->str : "";
		if (config.json || !is_plain(s))
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

static void put_text(FILE *out, enum wh_log_level level, const char *event)
{
	if (!on_terminal)
		(void)fprintf(out, "<%d>", (int)level);
	else if (level != WH_LOG_INFO)
		(void)fprintf(out, "%s: ", level_name(level));
	(void)fputs(event, out);
}

static void put_json(FILE *out, enum wh_log_level level, const char *event)
{
	struct timespec now;
	struct tm tm;
	char stamp[32];

	(void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail for this clock */
	(void)gmtime_r(&now.tv_sec, &tm);
	(void)strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &tm);
	(void)fprintf(out, "{\"time\":\"%s.%06ldZ\",\"level\":\"%s\",\"event\":\"%s\"", stamp,
	              now.tv_nsec / 1000, level_name(level), event);
}

void wh_log_fields(enum wh_log_level level, const char *event, const struct wh_field *fields,
                   size_t count)
{
	char *line = NULL;
	size_t len = 0;
	FILE *out;

	if (level > config.level)
		return;
	out = open_memstream(&line, &len);
	if (!out)
		return; /* out of memory: nothing better is left to say it with */

	if (config.json)
		put_json(out, level, event);
	else
		put_text(out, level, event);
	for (size_t i = 0; i < count; i++) {
		(void)fprintf(out, config.json ? ",\"%s\":" : " %s=", fields[i].name);
		put_value(out, &fields[i]);
	}
	(void)fputs(config.json ? "}\n" : "\n", out);
	if (fclose(out) == 0)
		(void)!write(STDERR_FILENO, line, len); /* nobody is left to tell */
	free(line);
}
