/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Short records come through the buffer. The contents of a long write go from the socket through a
 * pipe into the RAM file, by splice(): the kernel hands pages on, and the only copy made is the one
 * into the destination's memory.
 *
 * The kernel lets one thread at a time write to a file and has the others spin. So connections take
 * turns, and one that waits for its turn sleeps.
 *
 * Only whole pages are placed as they come; a rest waits for its other half, because placing a
 * page in two parts makes the kernel clear it first.
 */

#include "intake.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "wherry/assert.h"
#include "wherry/fdpass.h"

/* What is received at once: it also takes the front of a long write, so not too much. */
#define BUFFER_BYTES 65536u

/* What the pipe is asked to hold: as many pages as fit into a normal limit of the system. */
#define PIPE_BYTES (1u << 20)

int wh_intake_init(struct wh_intake *in, const struct wh_intake_config *cfg)
{
	*in = (struct wh_intake){ .cfg = *cfg, .pipe = { -1, -1 } };
	if (pipe2(in->pipe, O_CLOEXEC) < 0)
		return -errno;
	/* A system that allows less gives us less at a time. */
	(void)fcntl(in->pipe[1], F_SETPIPE_SZ, PIPE_BYTES);
	in->buffer = aligned_alloc(WH_PAGE_SIZE, BUFFER_BYTES);
	return in->buffer ? 0 : -ENOMEM;
}

void wh_intake_done(struct wh_intake *in)
{
	free(in->buffer);
	in->buffer = NULL;
	wh_closep(&in->pipe[0]);
	wh_closep(&in->pipe[1]);
}

static bool in_long_write(const struct wh_intake *in)
{
	return in->record.type == WH_RECORD_WRITE && in->left >= WH_LONG_WRITE;
}

/* A frame that is all here and still in the buffer: its owner had no room for it. */
static bool frame_waits(const struct wh_intake *in)
{
	return in->left > 0 && in->record.type == WH_RECORD_FRAME && in->have >= in->left;
}

uint8_t *wh_intake_room(const struct wh_intake *in, uint32_t *len)
{
	*len = BUFFER_BYTES - in->have;
	if (frame_waits(in))
		*len = 0;
	/* Within a long write, only what completes a page: the rest need not come this way. */
	else if (in_long_write(in) && in->have > 0)
		*len = WH_PAGE_SIZE - in->have;
	return in->buffer + in->have;
}

void wh_intake_add(struct wh_intake *in, uint32_t len)
{
	wh_assert(len <= BUFFER_BYTES - in->have);
	in->have += len;
}

/* Whether [@offset, @offset + @len) is lent memory. */
static bool is_lent(const struct wh_memory *region, uint64_t offset, uint32_t len)
{
	uint64_t bytes = __atomic_load_n(&region->bytes, __ATOMIC_ACQUIRE);

	return offset <= bytes && len <= bytes - offset;
}

/* Check a record's header: a peer's words are claims. */
static int check_record(const struct wh_intake *in, const struct wh_record *record)
{
	if (record->type == WH_RECORD_FRAME)
		return record->length > 0 && record->length <= WH_FRAME_RECORD_MAX ? 0 : -EPROTO;
	if (record->type != WH_RECORD_WRITE || record->region >= WH_REGIONS_MAX)
		return -EPROTO;

	if (record->length == 0 || record->length > WH_WRITE_LEN_MAX ||
	    record->length % WH_PAGE_SIZE || record->offset % WH_PAGE_SIZE ||
	    !is_lent(&in->cfg.regions[record->region], record->offset, record->length))
		return -EPROTO;
	return 0;
}

/* Write all of it to the RAM file. Return: 0, or -errno (-ENOSPC if the tmpfs is full). */
static int place(const struct wh_memory *region, const uint8_t *from, size_t len, uint64_t offset)
{
	while (len > 0) {
		ssize_t n = pwrite(region->fd, from, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		from += n;
		len -= (size_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

/* Note that @len bytes of the current WRITE are in place. */
static void placed(struct wh_intake *in, uint32_t len)
{
	in->record.offset += len;
	in->left -= len;
	if (in->left > 0)
		return;
	in->cfg.landed(in->cfg.context);
}

/* Move @len bytes from the pipe into the RAM file. Return: 0 or -errno. */
static int drain(struct wh_intake *in, const struct wh_memory *region, uint32_t len)
{
	loff_t to = (loff_t)in->record.offset;

	while (len > 0) {
		ssize_t n = splice(in->pipe[0], NULL, region->fd, &to, len, SPLICE_F_MOVE);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		len -= (uint32_t)n;
	}
	return 0;
}

static int drain_pipe(struct wh_intake *in, uint32_t len)
{
	const struct wh_memory *region = &in->cfg.regions[in->record.region];
	int r = -EPROTO;

	(void)pthread_mutex_lock(in->cfg.turn);
	if (is_lent(region, in->record.offset, len))
		r = drain(in, region, len);
	(void)pthread_mutex_unlock(in->cfg.turn);
	return r;
}

/* Take the rest of a long WRITE straight from the socket. Return: 0 or -errno. */
static int take_long(struct wh_intake *in)
{
	uint32_t in_pipe = 0;

	/* This ends: each turn takes bytes of a record of known length, or the link fails. */
	while (in->left > 0) {
		ssize_t n = splice(in->cfg.fd, NULL, in->pipe[1], NULL, in->left - in_pipe,
		                   SPLICE_F_MOVE);
		uint32_t whole;
		int r;

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ECONNRESET;
		in_pipe += (uint32_t)n;
		whole = in_pipe < in->left ? in_pipe / WH_PAGE_SIZE * WH_PAGE_SIZE : in_pipe;
		r = drain_pipe(in, whole);
		if (r < 0)
			return r;
		in_pipe -= whole;
		placed(in, whole);
	}
	return 0;
}

/* Place what has come of a WRITE. Return: bytes used, 0 if more must come first, or -errno. */
static int take_write(struct wh_intake *in, const uint8_t *data, uint32_t have)
{
	const struct wh_memory *region = &in->cfg.regions[in->record.region];
	uint32_t len = have < in->left ? have / WH_PAGE_SIZE * WH_PAGE_SIZE : in->left;
	int r = -EPROTO;

	/* The region may have been taken back since the header came. */
	(void)pthread_mutex_lock(in->cfg.turn);
	if (is_lent(region, in->record.offset, len))
		r = place(region, data, len, in->record.offset);
	(void)pthread_mutex_unlock(in->cfg.turn);
	if (r < 0)
		return r;
	if (len > 0)
		placed(in, len);
	return (int)len;
}

/* Hand a whole FRAME to the owner. Return: as take_write(). */
static int take_frame(struct wh_intake *in, const uint8_t *data, uint32_t have)
{
	const uint32_t len = in->left;

	if (have < len || !in->cfg.frame(in->cfg.context, data, len))
		return 0;
	in->left = 0;
	return (int)len;
}

/* Take one step through the received bytes. Return: bytes used, 0 if stuck, or -errno. */
static int take_some(struct wh_intake *in, const uint8_t *data, uint32_t have)
{
	int r;

	if (in->left > 0)
		return in->record.type == WH_RECORD_WRITE ? take_write(in, data, have)
		                                          : take_frame(in, data, have);
	if (have < WH_RECORD_HEADER)
		return 0;
	in->record = wh_record_decode(data);
	r = check_record(in, &in->record);
	if (r < 0)
		return r;
	in->left = in->record.length;
	return (int)WH_RECORD_HEADER;
}

int wh_intake_parse(struct wh_intake *in)
{
	uint32_t at = 0;
	int used = 1;

	while (used > 0) {
		used = take_some(in, in->buffer + at, in->have - at);
		if (used > 0)
			at += (uint32_t)used;
	}
	if (used == 0 && at == in->have && in_long_write(in))
		used = take_long(in);

	/* What is left moves to the front. */
	in->have -= at;
	memmove(in->buffer, in->buffer + at, in->have);
	return used;
}

int wh_intake_end(const struct wh_intake *in)
{
	if (frame_waits(in))
		return 0;
	return in->have > 0 || in->left > 0 ? -ECONNRESET : -ESHUTDOWN;
}
