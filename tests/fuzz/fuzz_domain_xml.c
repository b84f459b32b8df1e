/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The XML of domains under libFuzzer: what libvirt gives, and so what whoever defines domains likes.
 *
 * Beyond not crashing: what is refused is refused in plain words; what wherry writes it reads again,
 * and does not change twice; nothing that can be fixed is left after fixing; and a note reads as it
 * was written.
 */

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "domain_xml.h"

#include "wherry/assert.h"

#define MONITOR "/run/wherry-monitor-1"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_refusal(int r, const struct wh_error *err)
{
	wh_assert(r == -EINVAL && *err->text);
	for (const char *c = err->text; *c; c++)
		wh_assert(*c >= ' ' && *c <= '~');
}

static void check_note(const char *text)
{
	wh_cleanup(wh_domain_note_done) struct wh_domain_note note = { 0 };
	wh_cleanup(wh_domain_note_done) struct wh_domain_note again = { 0 };
	struct wh_error err = { 0 };
	char *written;
	int r = wh_domain_note_parse(&note, text, &err);

	if (r < 0) {
		check_refusal(r, &err);
		return;
	}
	written = wh_domain_note_format(&note);
	wh_assert(wh_domain_note_parse(&again, written, NULL) == 0);
	free(written);
	wh_assert(!strcmp(note.name_space, again.name_space));
	wh_assert(note.labels.count == again.labels.count);
	for (size_t i = 0; i < note.labels.count; i++) {
		wh_assert(!strcmp(note.labels.items[i].key, again.labels.items[i].key));
		wh_assert(!strcmp(note.labels.items[i].value, again.labels.items[i].value));
	}
}

static void check_monitor(const char *text)
{
	char *with = NULL, *again = NULL, *without = NULL;

	wh_assert(wh_domain_xml_monitor(&with, text, MONITOR, NULL) == 0);
	wh_assert(wh_domain_xml_monitor(&again, with, MONITOR, NULL) == 0);
	wh_assert(!strcmp(with, again));
	wh_assert(wh_domain_xml_monitor(&without, again, NULL, NULL) == 0);
	wh_assert(strstr(with, MONITOR));
	free(with);
	free(again);
	free(without);
}

/* What only may be said of a part: it must be text that JSON takes. */
static void check_findings(const struct wh_findings *findings)
{
	for (size_t i = 0; i < findings->count; i++) {
		const struct wh_finding *f = &findings->items[i];

		wh_assert(f->rule && f->good == !f->remedy && !(f->good && f->fixable));
		check_refusal(-EINVAL, &f->is);
	}
}

static void check_fix(const char *text)
{
	struct wh_findings findings = { 0 };
	char *fixed = NULL, *again = NULL;

	wh_assert(wh_domain_xml_check(&findings, text, NULL) == 0);
	check_findings(&findings);
	wh_findings_done(&findings);
	wh_assert(wh_domain_xml_fix(&fixed, text, NULL) == 0);
	wh_assert(wh_domain_xml_fix(&again, fixed, NULL) == 0);
	wh_assert(!strcmp(fixed, again));
	wh_assert(wh_domain_xml_check(&findings, fixed, NULL) == 0);
	for (size_t i = 0; i < findings.count; i++)
		wh_assert(!findings.items[i].fixable);
	wh_findings_done(&findings);
	free(fixed);
	free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wh_domain_disks disks = { 0 };
	struct wh_domain_needs needs = { 0 };
	struct wh_error err = { 0 };
	char *text = malloc(size + 1);
	int r;

	wh_assert(text);
	memcpy(text, data, size);
	text[size] = '\0';
	check_note(text);
	r = wh_domain_xml_disks(&disks, text, &err);
	if (r < 0) {
		check_refusal(r, &err);
	} else {
		wh_assert(wh_domain_xml_needs(&needs, text, NULL) == 0);
		check_monitor(text);
		check_fix(text);
	}
	wh_domain_needs_done(&needs);
	wh_domain_disks_done(&disks);
	free(text);
	return 0;
}
