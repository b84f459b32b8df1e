/* SPDX-License-Identifier: Apache-2.0 */

/* Label - the note is read, changed as a whole, and written back, or not touched at all. */

#include "label.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "files.h"
#include "job.h"
#include "libvirt.h"

#include "wherry/assert.h"

struct labelling {
	struct wh_ask *ask;
	json_t *answer; /* once it is written */
};

static void on_written(void *ctx, const char *text, const char *error)
{
	struct labelling *l = ctx;
	struct wh_error err;

	if (text) {
		wh_ask_answer(l->ask, l->answer);
	} else {
		(void)wh_fail(&err, 0, "libvirt did not write it: %s", error);
		wh_ask_refuse(l->ask, &err);
		json_decref(l->answer);
	}
	free(l);
}

static void write_note(struct wh_daemon *d, const char *vm, const struct wh_domain_note *note,
                       struct wh_ask *ask)
{
	wh_cleanup(wh_freep) char *xml = wh_domain_note_format(note);
	struct labelling *l = calloc(1, sizeof(*l));

	wh_assert(l);
	*l = (struct labelling){ .ask = ask, .answer = wh_label_json(note) };
	wh_libvirt_set_metadata(d->libvirt, vm, xml, on_written, l);
}

/* Return: 0, or -errno if there is no domain of this name. */
static int read_note(const struct wh_daemon *d, const char *vm, struct wh_domain_note *ret,
                     struct wh_error *err)
{
	const struct wh_domain *domain = d->libvirt ? wh_libvirt_domain(d->libvirt, vm) : NULL;

	if (wh_find_vm(d->config, vm))
		return wh_fail(
			err, -EINVAL,
			"VM '%s' is one of the configuration: its labels are in a manifest, see "
			"'wherry apply'",
			vm);
	if (!domain)
		return wh_fail(err, -ENOENT, "there is no VM '%s' on node %s", vm, d->config->node);
	return wh_domain_note_parse(ret, domain->metadata, err);
}

static bool changes(const json_t *request)
{
	return json_object_size(json_object_get(request, "set")) > 0 ||
	       json_array_size(json_object_get(request, "remove")) > 0 ||
	       json_object_get(request, "name_space");
}

void wh_label_request(struct wh_daemon *d, const json_t *request, struct wh_ask *ask)
{
	wh_cleanup(wh_domain_note_done) struct wh_domain_note note = { 0 };
	char vm[WH_NAME_MAX];
	struct wh_error err;
	int r = wh_json_string(request, "vm", vm, sizeof(vm), &err);

	if (r == 0)
		r = read_note(d, vm, &note, &err);
	if (r == 0)
		r = wh_label_change(&note, request, &err);
	if (r < 0)
		wh_ask_refuse(ask, &err);
	else if (changes(request))
		write_note(d, vm, &note, ask);
	else
		wh_ask_answer(ask, wh_label_json(&note));
}
