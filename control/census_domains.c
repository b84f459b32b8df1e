/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Census of domains - an entry for each, in the order of names, which is libvirt's, too. A look walks through both
 * lists at once; an entry whose metadata is the same text stays as it is, so nothing is read, or said in
 * the log, twice.
 */

#include "census_domains.h"

#include <stdlib.h>
#include <string.h>

#include "job.h"

#include "wherry/assert.h"
#include "wherry/log.h"

struct entry {
	char name[WH_NAME_MAX];
	const struct wh_domain *domain; /* borrowed */
	char *metadata;                 /* that @note was read from */
	struct wh_domain_note note;
	bool shadowed;
};

struct wh_census_domains {
	const struct wh_config *config; /* borrowed */
	struct entry *all;              /* by name, shadowed ones as well */
	size_t all_count;
	struct entry **shown; /* borrowed from @all */
	size_t shown_count;
};

static void entry_done(struct entry *e)
{
	free(e->metadata);
	wh_domain_note_done(&e->note);
}

/* A note that is none is as if it was not there: the domain can be moved all the same. */
static void read_note(struct entry *e, const char *metadata)
{
	struct wh_error err;

	if (e->metadata && !strcmp(e->metadata, metadata))
		return;
	free(e->metadata);
	wh_domain_note_done(&e->note);
	e->note = (struct wh_domain_note){ 0 };
	e->metadata = strdup(metadata);
	wh_assert(e->metadata);
	if (wh_domain_note_parse(&e->note, metadata, &err) < 0)
		wh_log(WH_LOG_WARNING, "domain.note-refused", WH_STR("domain", e->name),
		       WH_STR("reason", err.text));
}

static void look_at(const struct wh_census_domains *d, struct entry *e,
                    const struct wh_domain *domain)
{
	const bool shadowed = wh_find_vm(d->config, domain->name);

	memcpy(e->name, domain->name, sizeof(e->name));
	e->domain = domain;
	if (shadowed && !e->shadowed)
		wh_log(WH_LOG_WARNING, "domain.shadowed", WH_STR("domain", e->name));
	e->shadowed = shadowed;
	if (!shadowed)
		read_note(e, domain->metadata);
}

/* The entry of @name, taken out of the old ones, where the search goes on at *@from; or an empty one. */
static struct entry take(const struct wh_census_domains *d, size_t *from, const char *name)
{
	struct entry taken = { .domain = NULL };

	while (*from < d->all_count && strcmp(d->all[*from].name, name) < 0)
		entry_done(&d->all[(*from)++]);
	if (*from < d->all_count && !strcmp(d->all[*from].name, name))
		taken = d->all[(*from)++];
	return taken;
}

size_t wh_census_domains_look(struct wh_census_domains *d, const struct wh_domain_list *list)
{
	struct entry *fresh = calloc(list->count + 1, sizeof(*fresh));
	size_t from = 0;

	free(d->shown);
	d->shown = calloc(list->count + 1, sizeof(struct entry *));
	wh_assert(fresh && d->shown);
	d->shown_count = 0;
	for (size_t i = 0; i < list->count; i++) {
		fresh[i] = take(d, &from, list->items[i].name);
		look_at(d, &fresh[i], &list->items[i]);
		if (!fresh[i].shadowed)
			d->shown[d->shown_count++] = &fresh[i];
	}
	while (from < d->all_count)
		entry_done(&d->all[from++]);
	free(d->all);
	d->all = fresh;
	d->all_count = list->count;
	return d->shown_count;
}

struct wh_domain_seen wh_census_domains_at(const struct wh_census_domains *d, size_t i)
{
	wh_assert(i < d->shown_count);
	return (struct wh_domain_seen){ .domain = d->shown[i]->domain, .note = &d->shown[i]->note };
}

struct wh_census_domains *wh_census_domains_new(const struct wh_config *config)
{
	struct wh_census_domains *d = calloc(1, sizeof(*d));

	wh_assert(d);
	d->config = config;
	return d;
}

struct wh_census_domains *wh_census_domains_free(struct wh_census_domains *d)
{
	if (!d)
		return NULL;
	for (size_t i = 0; i < d->all_count; i++)
		entry_done(&d->all[i]);
	free(d->all);
	free(d->shown);
	free(d);
	return NULL;
}
