/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Census of domains - those of this host's libvirt, as guests of this node: with what their metadata says, and
 * without those whose name the configuration gives to a guest of its own.
 *
 * Threads: the loop's own.
 */

#ifndef WH_CENSUS_DOMAINS_H
#define WH_CENSUS_DOMAINS_H

#include "config.h"
#include "domain_xml.h"
#include "libvirt.h"

#include "wherry/cleanup.h"
#include "wherry/error.h"

struct wh_census_domains;

/* Never NULL. @config is borrowed. */
struct wh_census_domains *wh_census_domains_new(const struct wh_config *config);

struct wh_domain_seen {
	const struct wh_domain *domain;    /* borrowed from the list */
	const struct wh_domain_note *note; /* borrowed until the next look */
};

struct wh_domain_list {
	const struct wh_domain *items; /* in the order of names */
	size_t count;
};

/* Look again. Return: how many there are. */
size_t wh_census_domains_look(struct wh_census_domains *domains, const struct wh_domain_list *list);

/* The one of index @i. */
struct wh_domain_seen wh_census_domains_at(const struct wh_census_domains *domains, size_t i);

/* Accepts NULL, returns NULL. */
struct wh_census_domains *wh_census_domains_free(struct wh_census_domains *domains);

WH_DEFINE_CLEANUP(struct wh_census_domains, wh_census_domains_free)

#endif
