/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Job, reads - a source whose guest has disks with O_DIRECT: see reads.h.
 *
 *	Preparing     QEMU is told to count the reads that take too long
 *	PreCopy       now and then it is asked, so that what is in vain ends soon
 *	HandOver      and once more when the guest stands still and its reads have ended: only after
 *	              that answer the device state goes
 */

#include <errno.h>
#include <string.h>

#include "job.h"
#include "reads.h"

#include "wherry/assert.h"
#include "wherry/clock.h"

#define ASK_NS WH_NSEC_PER_SEC

static uint64_t limit_ns(const struct wh_job *job)
{
	return job->daemon->config->direct_io_ns;
}

static void on_watched(void *ctx, const json_t *result, const char *error)
{
	struct wh_error err;

	if (result)
		return;
	(void)wh_fail(&err, 0,
	              "QEMU does not count how long its disks with cache.direct=on read: %s",
	              error);
	wh_job_fail(ctx, WH_OUTCOME_FAILED, err.text);
}

void wh_job_watch_reads(struct wh_job *job)
{
	if (job->guest.direct_io)
		wh_reads_watch(job->qmp, job->guest.disks, limit_ns(job), on_watched, job);
}

static void on_reads(void *ctx, const json_t *result, const char *error)
{
	struct wh_job *job = ctx;
	struct wh_error err;
	int r;

	wh_assert(job->reads_due > 0);
	job->reads_due--;
	r = result ? wh_reads_check(result, job->guest.disks, limit_ns(job), &err)
	           : wh_fail(&err, -EPROTO, "QEMU does not say how long its disks read: %s", error);
	if (r < 0)
		wh_job_fail(job, WH_OUTCOME_FAILED, err.text);
	else
		wh_hand_over_landed(job); /* if it has, that waited for this answer */
}

void wh_job_ask_reads(struct wh_job *job)
{
	if (!job->guest.direct_io)
		return;
	job->reads_due++;
	wh_qmp_call(job->qmp, "query-blockstats", NULL, on_reads, job);
}

void wh_job_tick_reads(struct wh_job *job)
{
	const uint64_t now_ns = wh_now_ns(&wh_clock_monotonic);

	if (job->reads_due > 0 || now_ns - job->reads_ns < ASK_NS)
		return;
	job->reads_ns = now_ns;
	wh_job_ask_reads(job);
}

/*
 * A read that fails and waits for the guest to go on is not counted, however long it took. (One whose
 * error the guest is told of is.)
 */
void wh_job_reads_event(struct wh_job *job, const char *name, const json_t *data)
{
	if (job->guest.direct_io && !strcmp(name, "BLOCK_IO_ERROR") &&
	    !strcmp(wh_json_text(data, "action"), "stop"))
		wh_job_fail(
			job, WH_OUTCOME_FAILED,
			"a disk had an error, and QEMU does not count how long such reads take");
}
