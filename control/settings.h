/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Settings - how migrations are to be done: HyperConverged.spec.liveMigrationConfig.
 *
 * Keys, units and defaults are docs/semantics.md section 1; the table in settings.c is the only
 * place where code knows them. A settings object is a plain value: copy it to fix it for a
 * migration.
 */

#ifndef WH_SETTINGS_H
#define WH_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "wherry/limits.h"

struct wh_settings {
	uint64_t bandwidth_bps;              /* bytes per second of one migration, 0 is unlimited */
	uint32_t completion_s_per_gib;       /* 0 switches the check off */
	uint32_t progress_s;                 /* 0 switches the check off */
	uint32_t parallel_per_cluster;       /* 0 holds all */
	uint32_t parallel_outbound_per_node; /* 0 holds all */
	bool allow_post_copy;
	bool allow_auto_converge;
	bool allow_workload_disruption;
	bool disable_tls;
	char network[WH_NAME_MAX]; /* "" if no migration network is named */
};

#endif
