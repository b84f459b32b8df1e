/* SPDX-License-Identifier: Apache-2.0 */

/* Status - a job and the settings as the API shows them: docs/api.md. */

#ifndef WH_STATUS_H
#define WH_STATUS_H

#include "job.h"
#include "json.h"
#include "move.h"
#include "progress.h"
#include "settings.h"

/* What there is to know of a job, all as this node sees it now. */
void wh_status_view(const struct wh_job *job, struct wh_view *ret);

/* A new reference. */
json_t *wh_status_job(const struct wh_job *job);

/* Put into it what the coordinator knows of @move. */
void wh_status_move(json_t *json, const struct wh_move *move);

/* A list with one entry for each key of the manifest; a new reference. */
json_t *wh_status_settings(const struct wh_settings *settings);

#endif
