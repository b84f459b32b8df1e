/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Name - names of nodes, VMs, networks and keys: which are valid, and which was probably meant.
 */

#ifndef WH_NAME_H
#define WH_NAME_H

#include <stdbool.h>
#include <stddef.h>

/* A DNS label: 1 to 63 of a-z, 0-9 and '-', with no '-' at either end. */
bool wh_name_valid(const char *name);

/* A DNS subdomain, as Kubernetes names most objects: labels with '.' between, up to 253 in all. */
bool wh_subdomain_valid(const char *name);

/* A search for the known name nearest to a wrong one. */
struct wh_nearest {
	const char *wrong; /* borrowed */
	const char *best;  /* borrowed; the nearest so far, NULL if none was offered */
	size_t distance;   /* from @wrong to @best: letters to insert, delete or replace */
};

/* Offer @known, which is borrowed. Of names equally near, the first one offered stays. */
void wh_nearest_offer(struct wh_nearest *nearest, const char *known);

#endif
