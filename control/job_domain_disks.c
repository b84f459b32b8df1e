/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Disks - which of a domain's files the target does not see, and so have to be copied.
 *
 * Nothing but a look tells whether a directory is shared: the source puts a mark beside each disk, and
 * the target looks for it. Where it is not, the target makes an empty file of the same size, for
 * libvirt to copy into. It never touches a file that is there.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "domain_xml.h"
#include "files.h"
#include "job_domain.h"

#include "wherry/assert.h"
#include "wherry/fdpass.h"

/* "DIR/.wherry-ID" beside the disk; never NULL, from malloc(). */
static char *mark_of(const struct wh_job *job, const struct wh_node_disk *disk)
{
	const char *slash = strrchr(disk->path, '/');
	char *path;

	wh_assert(slash);
	wh_assert(asprintf(&path, "%.*s/.wherry-%s", (int)(slash - disk->path), disk->path,
	                   job->record.id) > 0);
	return path;
}

static int mark(const struct wh_job *job, const struct wh_node_disk *disk, struct wh_error *err)
{
	wh_cleanup(wh_freep) char *path = mark_of(job, disk);
	wh_cleanup(wh_closep) int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

	if (fd < 0)
		return wh_fail(err, -errno,
		               "cannot tell whether disk '%s' is shared: cannot make %s: %s",
		               disk->target, path, strerror(errno));
	return 0;
}

static int take_disk(struct wh_job *job, const struct wh_domain_disk *disk, struct wh_error *err)
{
	struct wh_job_domain *d = job->domain;
	struct wh_node_disk *file = &d->files[d->file_count];
	struct stat st;

	if (disk->readonly || !disk->source || stat(disk->source, &st) < 0 || !S_ISREG(st.st_mode))
		return 0; /* a device is a volume of a storage that both nodes see, or libvirt refuses */
	if (d->file_count == WH_DISKS_MAX || strlen(disk->source) >= sizeof(file->path))
		return wh_fail(err, -E2BIG, "disk '%s' has too long a path, or is one too many",
		               disk->target);
	*file = (struct wh_node_disk){ .bytes = (uint64_t)st.st_size };
	(void)snprintf(file->target, sizeof(file->target), "%s", disk->target);
	(void)snprintf(file->path, sizeof(file->path), "%s", disk->source);
	(void)snprintf(file->format, sizeof(file->format), "%s", disk->format);
	d->file_count++;
	return mark(job, file, err);
}

int wh_disks_find(struct wh_job *job, const char *xml, struct wh_error *err)
{
	struct wh_domain_disks disks = { 0 };
	int r = wh_domain_xml_disks(&disks, xml, err);

	for (size_t i = 0; r == 0 && i < disks.count; i++)
		r = take_disk(job, &disks.items[i], err);
	wh_domain_disks_done(&disks);
	return r;
}

static uint64_t bytes_of(const struct wh_job *job, const char *target)
{
	for (uint32_t i = 0; i < job->domain->file_count; i++)
		if (!strcmp(job->domain->files[i].target, target))
			return job->domain->files[i].bytes;
	return 0;
}

void wh_disks_copy(struct wh_job *job, const struct wh_node_message *expected)
{
	uint64_t bytes = 0;
	char *list = NULL;

	for (uint32_t i = 0; i < expected->disk_count; i++) {
		char *longer;

		bytes += bytes_of(job, expected->disks[i].target);
		wh_assert(asprintf(&longer, "%s%s%s", list ? list : "", list ? "," : "",
		                   expected->disks[i].target) > 0);
		free(list);
		list = longer;
	}
	job->domain->disks = list;
	if (job->record.engine == WH_ENGINE_NATIVE)
		return; /* libvirt counts them with the memory */
	job->disks.value[WH_STAT_RAM_BYTES] = bytes;
	job->disks.value[WH_STAT_ROUND_BYTES] = bytes;
	job->disks.value[WH_STAT_LEFT_BYTES] = bytes;
}

bool wh_disks_linger(const struct wh_job *job)
{
	return job->domain && job->domain->disks && job->state <= WH_JOB_PRECOPY;
}

static void on_progress(void *ctx, const struct wh_libvirt_job *libvirt, const char *error)
{
	struct wh_job *job = ctx;
	uint64_t received;

	(void)error; /* that is heard of from the migration itself */
	if (!libvirt || !libvirt->active || !libvirt->disk_total_bytes || !job->domain ||
	    !job->domain->streams)
		return;
	job->disks.value[WH_STAT_LEFT_BYTES] = libvirt->disk_left_bytes;
	job->disks.value[WH_STAT_PAGE_BYTES] = libvirt->disk_done_bytes;
	wh_streams_bytes(job->domain->streams, &job->disks.value[WH_STAT_WIRE_BYTES], &received);
}

void wh_disks_tick(struct wh_job *job)
{
	if (wh_disks_linger(job))
		wh_libvirt_job(job->daemon->libvirt, job->record.vm, on_progress, job);
}

static int make_place(struct wh_job *job, const struct wh_node_disk *disk, struct wh_error *err)
{
	struct wh_job_domain *d = job->domain;
	wh_cleanup(wh_closep) int fd = -1;

	if (strcmp(disk->format, "raw") != 0)
		return wh_fail(
			err, -EOPNOTSUPP,
			"disk '%s' is not shared and has format %s: only raw ones are copied",
			disk->target, disk->format);
	fd = open(disk->path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
	if (fd < 0 && errno == EEXIST)
		return wh_fail(err, -EEXIST,
		               "disk '%s' is not shared, and there is another %s already: remove "
		               "it, if nobody needs it",
		               disk->target, disk->path);
	if (fd < 0)
		return wh_fail(err, -errno, "no place for disk '%s': cannot make %s: %s",
		               disk->target, disk->path, strerror(errno));
	d->files[d->file_count++] = *disk;
	if (ftruncate(fd, (off_t)disk->bytes) < 0)
		return wh_fail(err, -errno, "no place for disk '%s': %s", disk->target,
		               strerror(errno));
	return 0;
}

int wh_disks_place(struct wh_job *job, const struct wh_node_message *expect,
                   struct wh_node_message *expected, struct wh_error *err)
{
	for (uint32_t i = 0; i < expect->disk_count; i++) {
		const struct wh_node_disk *disk = &expect->disks[i];
		wh_cleanup(wh_freep) char *path = mark_of(job, disk);
		int r;

		if (access(path, F_OK) == 0)
			continue;
		r = make_place(job, disk, err);
		if (r < 0)
			return r;
		expected->disks[expected->disk_count++] = *disk;
	}
	return 0;
}

void wh_disks_remove(struct wh_job *job)
{
	const bool source = job->record.role == WH_ROLE_SOURCE;
	/* One that is claimed may be the guest's, whatever becomes of this wherryd. */
	const bool used = wh_phase_is_committed(job->record.phase) || wh_domain_is_claimed(job);

	for (uint32_t i = 0; i < job->domain->file_count; i++) {
		const struct wh_node_disk *disk = &job->domain->files[i];
		wh_cleanup(wh_freep) char *path = mark_of(job, disk);

		if (source)
			(void)unlink(path); /* of several disks in one place, there is one */
		else if (!used)
			(void)unlink(disk->path);
	}
	job->domain->file_count = 0;
}
