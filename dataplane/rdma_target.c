/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The source says which chunks it will write to, and when it will not any more. To enroll a chunk
 * allocates all of it, so no other chunk is touched.
 */

#include "rdma_link.h"

#include <errno.h>
#include <sys/mman.h>

#include "huge.h"

#include "wherry/assert.h"

/* Map @region to be written to by the device. Return: whether that can be. */
static bool map_region(struct wh_rdma_link *link, uint16_t region)
{
	const struct wh_memory *memory = &link->regions[region];
	struct wh_rdma_region *r = &link->chunks.regions[region];
	void *addr;

	if (r->addr)
		return true;
	/* Huge pages are reserved, and not for us. */
	if (wh_huge_page_bytes(memory->fd) != WH_PAGE_SIZE)
		return false;
	addr = mmap(NULL, memory->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
	            memory->fd, 0);
	if (addr == MAP_FAILED)
		return false;
	r->addr = addr;
	return true;
}

static void on_want(struct wh_rdma_link *link, struct wh_rdma_chunk *chunk)
{
	if (map_region(link, chunk->region) && wh_rdma_chunks_fits(&link->chunks, chunk)) {
		wh_rdma_chunks_enroll(&link->chunks, chunk);
		return;
	}
	chunk->state = WH_RDMA_CHUNK_FAILED;
	wh_rdma_chunks_tell(&link->chunks, chunk);
}

/* WANT and FREE. */
static int on_list(struct wh_rdma_link *link, const struct wh_rdma_frame *frame)
{
	if (link->state == WH_RDMA_OVER)
		return 0; /* the source does not know yet */
	for (uint16_t i = 0; i < frame->list.count; i++) {
		const struct wh_rdma_chunk_id *id = &frame->list.chunks[i];
		struct wh_rdma_chunk *chunk =
			wh_rdma_chunks_get(&link->chunks, id->region, id->number);
		const enum wh_rdma_chunk_state expected =
			frame->kind == WH_RDMA_WANT ? WH_RDMA_CHUNK_IDLE : WH_RDMA_CHUNK_READY;

		if (!chunk || chunk->state != expected || chunk->is_told)
			return -EPROTO;
		if (frame->kind == WH_RDMA_WANT)
			on_want(link, chunk);
		else
			wh_rdma_chunks_drop(&link->chunks, chunk);
	}
	return 0;
}

void wh_rdma_target_chunk(struct wh_rdma_link *link, struct wh_rdma_chunk *chunk)
{
	wh_rdma_chunks_tell(&link->chunks, chunk);
}

void wh_rdma_target_seal(struct wh_rdma_link *link, const char *reason, bool expel)
{
	if (link->state == WH_RDMA_OVER)
		return;
	if (expel)
		wh_rdma_give_up(link, reason);
	else
		wh_rdma_cut(link); /* the rest takes longer, and a guest may be waiting */
	link->state = WH_RDMA_OVER;
	link->tell_over = true;
	link->tell_landed = true;
}

int wh_rdma_target_frame(struct wh_rdma_link *link, const struct wh_rdma_frame *frame)
{
	switch (frame->kind) {
	case WH_RDMA_WANT:
	case WH_RDMA_FREE:
		return on_list(link, frame);
	case WH_RDMA_DOWN:
		if (link->state != WH_RDMA_OVER)
			wh_rdma_give_up(link, frame->over.reason);
		return 0;
	case WH_RDMA_RESENT:
		if (link->state != WH_RDMA_OVER || link->resent)
			return -EPROTO;
		link->resent = true;
		return 0;
	case WH_RDMA_DATA: /* not for us */
	case WH_RDMA_OFFER:
	case WH_RDMA_KEYS:
	case WH_RDMA_REFUSED:
	case WH_RDMA_CLOSED:
		return -EPROTO;
	}
	return -EPROTO;
}
