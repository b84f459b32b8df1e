/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Disks - which of a domain's files the target does not see, and so have to be copied.
 *
 * Nothing but a look tells whether a directory is shared: the source puts a mark beside each disk, and
 * the target looks for it. Where it is not, the target makes an empty file of the same size, for
 * libvirt to copy into. It never touches a file that is there. The journal knows of both, so that a
 * wherryd that is killed leaves none.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "domain_xml.h"
#include "files.h"
#include "job_domain.h"

#include "wherry/assert.h"
#include "wherry/clock.h"
#include "wherry/fdpass.h"

/* "DIR/.wherry-ID" beside the disk. */
static void mark_of(const struct wh_job *job, const struct wh_node_disk *disk,
                    char path[WH_MADE_PATH_MAX])
{
	const char *slash = strrchr(disk->path, '/');
	int n;

	wh_assert(slash);
	n = snprintf(path, WH_MADE_PATH_MAX, "%.*s/.wherry-%s", (int)(slash - disk->path),
	             disk->path, job->record.id);
	wh_assert(n > 0 && (size_t)n < WH_MADE_PATH_MAX);
}

/* In the journal before there is one: the name is ours alone. */
static int mark_all(struct wh_job *job, struct wh_error *err)
{
	struct wh_record *record = &job->record;
	const struct wh_job_domain *d = job->domain;
	int r;

	record->made_count = 0;
	if (d->file_count == 0)
		return 0;
	for (uint32_t i = 0; i < d->file_count; i++)
		mark_of(job, &d->files[i], record->made[record->made_count++].path);
	r = wh_job_record(job, record->phase, err);
	for (uint32_t i = 0; r == 0 && i < d->file_count; i++) {
		const char *path = record->made[i].path;
		wh_cleanup(wh_closep) int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

		if (fd < 0)
			r = wh_fail(err, -errno,
			            "cannot tell whether disk '%s' is shared: cannot make %s: %s",
			            d->files[i].target, path, strerror(errno));
	}
	return r;
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
	return 0;
}

int wh_disks_find(struct wh_job *job, const char *xml, struct wh_error *err)
{
	struct wh_domain_disks disks = { 0 };
	int r = wh_domain_xml_disks(&disks, xml, err);

	for (size_t i = 0; r == 0 && i < disks.count; i++)
		r = take_disk(job, &disks.items[i], err);
	wh_domain_disks_done(&disks);
	return r < 0 ? r : mark_all(job, err);
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

/* Which file it is; 0 for a birth that the file system does not know. Return: 0 or -errno. */
static int identify(struct wh_made_file *f, const char *path)
{
	struct statx st;

	if (statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_INO | STATX_BTIME, &st) < 0)
		return -errno;
	f->dev = makedev(st.stx_dev_major, st.stx_dev_minor);
	f->ino = st.stx_ino;
	f->born_ns = st.stx_mask & STATX_BTIME ? (uint64_t)st.stx_btime.tv_sec * WH_NSEC_PER_SEC +
	                                                 st.stx_btime.tv_nsec
	                                       : 0;
	return 0;
}

static int note_place(struct wh_job *job, const struct wh_node_disk *disk, struct wh_error *err)
{
	struct wh_made_file *made = &job->record.made[job->record.made_count++];
	int r;

	(void)snprintf(made->path, sizeof(made->path), "%s", disk->path);
	r = identify(made, made->path);
	if (r < 0)
		return wh_fail(err, r, "%s: %s", made->path, strerror(-r));
	return wh_job_record(job, job->record.phase, err);
}

static int make_place(struct wh_job *job, const struct wh_node_disk *disk, struct wh_error *err)
{
	wh_cleanup(wh_closep) int fd = -1;
	int r;

	if (strcmp(disk->format, "raw") != 0)
		return wh_fail(
			err, -EOPNOTSUPP,
			"disk '%s' is not shared and has format %s, and only raw ones are "
			"copied: keep it on storage that both nodes see, or make it a raw one "
			"(qemu-img convert -O raw)",
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
	r = note_place(job, disk, err);
	if (r < 0)
		return r;
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
		char path[WH_MADE_PATH_MAX];
		int r;

		mark_of(job, disk, path);
		if (access(path, F_OK) == 0)
			continue;
		r = make_place(job, disk, err);
		if (r < 0)
			return r;
		expected->disks[expected->disk_count++] = *disk;
	}
	return 0;
}

static bool is_ours(const struct wh_made_file *made)
{
	struct wh_made_file now;

	return made->ino == 0 || (identify(&now, made->path) == 0 && now.dev == made->dev &&
	                          now.ino == made->ino && now.born_ns == made->born_ns);
}

void wh_disks_remove(struct wh_job *job)
{
	const bool target = job->record.role == WH_ROLE_TARGET;
	/* One that is claimed may be the guest's, whatever becomes of this wherryd. */
	const bool used = wh_phase_is_committed(job->record.phase) || wh_domain_is_claimed(job);

	if (target && used)
		return;
	for (uint32_t i = 0; i < job->record.made_count; i++)
		if (is_ours(&job->record.made[i]))
			(void)unlink(job->record.made[i].path); /* gone is what it is to be */
	job->record.made_count = 0;
}
