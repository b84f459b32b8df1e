/* SPDX-License-Identifier: Apache-2.0 */

#include "check.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "wherry/assert.h"

/* The oldest QEMU that movers were tried with. */
#define QEMU_MAJOR 7
#define QEMU_MINOR 2

void wh_check_list_init(struct wh_check_list *list)
{
	*list = (struct wh_check_list){ .items = json_array() };
	wh_assert(list->items);
}

void wh_check_about(struct wh_check_list *list, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(list->about, sizeof(list->about), fmt, args);
	va_end(args);
}

static void add(struct wh_check_list *list, const struct wh_finding *finding)
{
	json_t *json = json_pack("{s:s, s:s, s:b, s:b, s:b, s:s, s:s*}", "about", list->about,
	                         "rule", finding->rule, "good", finding->good, "note",
	                         finding->note, "fixable", finding->fixable, "is", finding->is.text,
	                         "remedy", finding->remedy);

	wh_assert(json); /* findings are plain text */
	wh_assert(json_array_append_new(list->items, json) == 0);
}

static void add_words(struct wh_check_list *list, struct wh_finding finding, const char *fmt,
                      va_list args) wh_printf(3, 0);

static void add_words(struct wh_check_list *list, struct wh_finding finding, const char *fmt,
                      va_list args)
{
	(void)vsnprintf(finding.is.text, sizeof(finding.is.text), fmt, args);
	for (char *c = finding.is.text; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
	add(list, &finding);
}

void wh_check_yes(struct wh_check_list *list, const char *rule, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	add_words(list, (struct wh_finding){ .rule = rule, .good = true }, fmt, args);
	va_end(args);
}

void wh_check_heed(struct wh_check_list *list, const char *rule, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	add_words(list, (struct wh_finding){ .rule = rule, .good = true, .note = true }, fmt, args);
	va_end(args);
}

void wh_check_no(struct wh_check_list *list, const char *rule, const char *remedy, const char *fmt,
                 ...)
{
	va_list args;

	va_start(args, fmt);
	add_words(list, (struct wh_finding){ .rule = rule, .remedy = (char *)remedy }, fmt, args);
	va_end(args);
}

void wh_check_findings(struct wh_check_list *list, const struct wh_findings *findings)
{
	for (size_t i = 0; i < findings->count; i++)
		add(list, &findings->items[i]);
}

bool wh_check_is_good(const json_t *items)
{
	for (size_t i = 0; i < json_array_size(items); i++)
		if (!json_is_true(json_object_get(json_array_get(items, i), "good")))
			return false;
	return true;
}

void wh_check_list_done(struct wh_check_list *list)
{
	json_decref(list->items);
	list->items = NULL;
}

void wh_check_qemu(struct wh_check_list *list, const json_t *version)
{
	const json_t *qemu = json_object_get(version, "qemu");
	uint64_t major = 0;
	uint64_t minor = 0;

	if (wh_json_u64(qemu, "major", UINT32_MAX, &major, NULL) < 0 ||
	    wh_json_u64(qemu, "minor", UINT32_MAX, &minor, NULL) < 0)
		wh_check_no(list, "qemu", "start the guest with QEMU 7.2 or newer",
		            "its QEMU does not tell its version");
	else if (major < QEMU_MAJOR || (major == QEMU_MAJOR && minor < QEMU_MINOR))
		wh_check_no(list, "qemu", "start the guest with QEMU 7.2 or newer",
		            "it runs in QEMU %u.%u", (unsigned)major, (unsigned)minor);
	else
		wh_check_yes(list, "qemu", "it runs in QEMU %u.%u", (unsigned)major,
		             (unsigned)minor);
}
