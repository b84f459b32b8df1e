/* SPDX-License-Identifier: Apache-2.0 */

#include <stdio.h>

#include "job.h"

#include "wherry/log.h"

void wh_job_carries(void *ctx, enum wh_transport_kind kind, const char *why)
{
	struct wh_job *job = ctx;

	job->carries = kind;
	(void)snprintf(job->no_rdma.text, sizeof(job->no_rdma.text), "%s", why);
	if (kind == WH_TRANSPORT_RDMA)
		wh_log(WH_LOG_INFO, "migration.rdma", WH_STR("migration", job->record.id),
		       WH_STR("vm", job->record.vm), WH_STR("peer", job->record.peer));
	else
		wh_log(WH_LOG_WARNING, "migration.no-rdma", WH_STR("migration", job->record.id),
		       WH_STR("vm", job->record.vm), WH_STR("peer", job->record.peer),
		       WH_STR("reason", why));
}
