/* SPDX-License-Identifier: Apache-2.0 */

/*
 * RDMA link - what the parts of transport_rdma.c share: the link itself.
 *
 *	transport_rdma.c	the transport's calls, and the session's frames
 *	rdma_state.c		how RDMA comes up, and down
 *	rdma_source.c		the end that writes: slots, keys it needs, what to do when RDMA breaks
 *	rdma_target.c		the end that is written to: keys it gives
 *	rdma_tell.c		what either says of it
 *
 * Threads: one.
 */

#ifndef WH_RDMA_LINK_H
#define WH_RDMA_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "rate.h"
#include "rdma_chunks.h"
#include "rdma_frames.h"
#include "rdma_pairs.h"
#include "transport_ops.h"
#include "verbs.h"

#include "wherry/limits.h"
#include "wherry/transport.h"

/* Frames of the session that wait to be sent. */
#define WH_RDMA_OUT_MAX 16u

enum wh_rdma_state {
	WH_RDMA_OPENING,    /* source: no OFFER yet; target: nobody has connected */
	WH_RDMA_CONNECTING, /* source */
	WH_RDMA_UP,
	WH_RDMA_BROKEN, /* source: said DOWN, or is about to, and CLOSED has not come */
	WH_RDMA_OVER,   /* all goes over TCP */
};

/* A write of the caller's, at the source. */
struct wh_rdma_slot {
	struct wh_write w;
	uint64_t sequence;  /* the how manieth write it is */
	uint32_t next;      /* bytes posted, from the front */
	uint32_t by_rdma;   /* of them, those that went by RDMA, from the front */
	uint32_t lost;      /* of those, bytes that are to be sent again */
	uint32_t works;     /* of RDMA, in flight */
	uint32_t beside;    /* writes over TCP, in flight */
	uint32_t barrier;   /* that the link had said when the last of those works was posted */
	bool only_beside;   /* the rest goes over TCP */
	bool in_use, waits; /* waits: something of it is not posted */
	struct wh_rdma_chunk *awaits;
	struct wh_rdma_slot *next_waiting;
};

/* A frame of the session. */
struct wh_rdma_out {
	uint64_t after; /* goes when so many writes have been posted */
	uint32_t len;
	uint8_t data[WH_FRAME_LEN_MAX];
};

struct wh_rdma_held {
	struct wh_rdma_held *next;
	uint32_t barrier;
	uint32_t len;
	uint8_t data[];
};

struct wh_rdma_link {
	struct wh_transport base;
	struct wh_transport *beside; /* owned: the TCP link */
	bool passive;
	enum wh_rdma_state state;
	struct wh_rdma_options options;
	struct wh_rate rate;
	uint32_t paid_bytes; /* taken from it, and not posted yet */
	void (*carries)(void *context, enum wh_transport_kind kind, const char *why);
	void *context;

	struct wh_verbs *verbs;        /* owned; NULL before and after */
	struct wh_rdma_pairs *pairs;   /* owned; while it is up */
	struct wh_rdma_enroll *enroll; /* owned; while it is up */
	struct wh_rdma_chunks chunks;
	struct wh_memory regions[WH_REGIONS_MAX];
	int epoll;                       /* owned; whatever happens beside TCP */
	uint64_t wake_ns;                /* look again then, without an event; 0: no need */
	uint64_t give_up_ns;             /* connecting */
	bool beside_full;                /* TCP had no room for a frame */
	uint64_t told;                   /* frames of ours that it took */
	uint32_t barrier;                /* that the last DATA named */
	bool must_resend;                /* source: RESENT is still to be said */
	bool tell_over;                  /* DOWN or CLOSED is still to be said */
	bool tell_landed;                /* CLOSED: in good order */
	bool tell_offer;                 /* OFFER is still to be said */
	char reason[WH_RDMA_REASON_MAX]; /* why it is over */
	char address[64], local[64];     /* for the verbs */
	uint8_t token[WH_TOKEN_BYTES];

	/* Writes. */
	struct wh_rdma_slot *slots; /* owned, @depth of them */
	uint32_t depth;
	uint32_t *unused; /* owned, stack of unused slots */
	uint32_t unused_count;
	uint64_t *written; /* owned: cookies to hand out, at most @depth */
	uint32_t written_count;
	uint64_t sequence;
	struct wh_rdma_slot *waiting, **waiting_tail;
	bool try_waiting; /* something has changed that they may wait for */
	uint64_t rdma_bytes;

	/* The session's frames. */
	struct wh_rdma_out *out; /* owned: a ring of WH_RDMA_OUT_MAX */
	uint32_t out_first, out_count;
	uint32_t unsettled; /* sent since the pairs were last known to be idle */
	bool caller_full;   /* the caller waits for room in it */
	struct wh_rdma_held *held, **held_tail; /* owned */
	uint32_t held_count;
	struct wh_rdma_held *lent; /* owned: what the caller has */
	uint32_t arrived;          /* newest barrier of the peer's */
	bool resent;               /* RESENT came: all barriers have arrived */
	bool beside_closed;        /* the peer has closed the link */
	int error;
};

/* --- rdma_state.c ------------------------------------------------------------------------------ */

/* End what the pairs do: when it returns, nothing lands here any more. Keys stay until the rest is
 * taken down. */
void wh_rdma_cut(struct wh_rdma_link *link);

/* End RDMA on this side at once: when it returns, nothing of it lands here any more. */
void wh_rdma_take_down(struct wh_rdma_link *link);

/* RDMA is over because of @reason: take it down, and have that said. */
void wh_rdma_give_up(struct wh_rdma_link *link, const char *reason);

/* Begin to connect, or to wait for the peer; gives up if that cannot be. */
void wh_rdma_begin(struct wh_rdma_link *link, uint16_t port);

/* Go on with that; gives up if that cannot be. */
void wh_rdma_advance(struct wh_rdma_link *link);

/* --- rdma_tell.c ------------------------------------------------------------------------------- */

/* Send a frame of ours. Return: 0, WH_TX_FULL or -errno. */
wh_must_check int wh_rdma_tell(struct wh_rdma_link *link, const struct wh_rdma_frame *frame);

/* Say WANT and FREE, or KEYS and REFUSED. Return: as above. */
wh_must_check int wh_rdma_tell_of_chunks(struct wh_rdma_link *link);

/* Say that, and all else that is to be said of RDMA. Return: as above. */
wh_must_check int wh_rdma_tell_all(struct wh_rdma_link *link);

/* --- rdma_source.c ---------------------------------------------------------------------------- */

wh_must_check int wh_rdma_source_init(struct wh_rdma_link *link, uint32_t depth);
void wh_rdma_source_done(struct wh_rdma_link *link);

/* Post a write. Return: 0, WH_TX_FULL or -errno. */
wh_must_check int wh_rdma_source_write(struct wh_rdma_link *link, const struct wh_write *w);

/* Works of RDMA, or a write over TCP, are complete. */
void wh_rdma_source_complete(struct wh_rdma_link *link, uint64_t cookie);
void wh_rdma_source_beside_written(struct wh_rdma_link *link, uint64_t number);

/* Post what waits and can go. Return: 0 or -errno. */
wh_must_check int wh_rdma_source_pump(struct wh_rdma_link *link);

/* How many writes have been posted, with all before them. */
uint64_t wh_rdma_source_posted(const struct wh_rdma_link *link);

/* @chunk became ready here, or failed. */
void wh_rdma_source_chunk(struct wh_rdma_link *link, struct wh_rdma_chunk *chunk);

/* RDMA is down here. @landed: all that was posted by it has landed. */
void wh_rdma_source_fall_back(struct wh_rdma_link *link, bool landed);

/* Act on a frame of the target's. Return: 0 or -EPROTO. */
wh_must_check int wh_rdma_source_frame(struct wh_rdma_link *link,
                                       const struct wh_rdma_frame *frame);

/* --- rdma_target.c ---------------------------------------------------------------------------- */

/* @chunk became ready here, or failed. */
void wh_rdma_target_chunk(struct wh_rdma_link *link, struct wh_rdma_chunk *chunk);

/* Act on a frame of the source's. Return: 0, -EPROTO or -ENOMEM. */
wh_must_check int wh_rdma_target_frame(struct wh_rdma_link *link,
                                       const struct wh_rdma_frame *frame);

/* All that was posted has landed, and nothing more will: see to it that nothing does. */
void wh_rdma_target_seal(struct wh_rdma_link *link, const char *reason, bool expel);

#endif
