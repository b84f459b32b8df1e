/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Verbs - one end of the RDMA part of a link: a device, its memory keys, and queue pairs.
 *
 * The pairs are numbered from 0 and pair N here is pair N at the peer. A pair completes what is
 * posted on it in that order, and a mark arrives at the peer after every write before it on the
 * same pair has landed. Between pairs nothing is ordered.
 *
 * This is a thin layer: how many writes a pair may hold, which of them are signalled, and credits
 * for marks are the callers' to keep (rdma_pairs.h). What a device or the connection manager says
 * on its own comes out of wh_verbs_poll(), as a negative errno and words.
 *
 * verbs.c is this over libibverbs and librdmacm; tests link tests/lib/fake_verbs.c instead.
 *
 * An end lives like this:
 *
 *	open -> advance until 1 -> enroll, write, mark, read, poll ... -> cut -> expel -> close
 *
 * Threads: one, but for wh_verbs_enroll() and wh_verbs_expel(), which any may call from when
 * wh_verbs_advance() has returned 1.
 */

#ifndef WH_VERBS_H
#define WH_VERBS_H

#include <stdbool.h>
#include <stdint.h>

#include "wherry/cleanup.h"
#include "wherry/error.h"

struct wh_verbs;

struct wh_verbs_config {
	bool passive;
	const char *address; /* numeric: passive: to listen on; active: the peer's */
	const char *local;   /* active: numeric address to connect from; "" leaves it to routing */
	uint16_t port;       /* active: what wh_verbs_port() says at the peer; passive: unused */
	uint32_t pairs;      /* 1 to WH_RDMA_PAIRS_MAX; the same at the peer */
	uint32_t depth;      /* on each: writes, reads and marks posted and not completed */
	uint32_t marks; /* on each: marks of the peer's not polled, at most WH_RDMA_MARKS_MAX */
	bool marks_as_sends;  /* on any device, as on iWARP; the same at the peer */
	const uint8_t *token; /* WH_TOKEN_BYTES; a peer that does not show it is refused */
};

/* What the device can do, and what was agreed on. */
struct wh_verbs_caps {
	const char *device;     /* its name; the end's */
	uint32_t write_len_max; /* one write or read: at most WH_RDMA_WRITE_LEN_MAX */
	uint32_t reads_max;     /* reads that a pair performs at once; more wait, in order */
	uint64_t enroll_max;    /* bytes of one key */
	bool on_demand;         /* WH_VERBS_ON_DEMAND works, for writes and reads alike */
	bool in_kernel;         /* no adapter: its packets pass the host's own network stack */
	bool write_with_imm;    /* marks are writes with immediate data; else sends */
};

enum wh_verbs_rights {
	WH_VERBS_LOCAL_WRITE = 1u << 0,  /* reads of this end may put their data there */
	WH_VERBS_REMOTE_WRITE = 1u << 1, /* the peer's writes; local write comes with it */
	WH_VERBS_REMOTE_READ = 1u << 2,
	WH_VERBS_ON_DEMAND = 1u << 3, /* pin nothing: the device faults pages in */
};

/* Memory that the device knows. */
struct wh_verbs_key {
	uint32_t local;  /* for works of this end */
	uint32_t remote; /* for those of the peer */
	void *handle;    /* NULL: none */
};

/* A write (from @local_addr to @remote_addr) or a read (the other way round). */
struct wh_verbs_work {
	uint64_t cookie; /* below WH_VERBS_COOKIES; comes back in the completion */
	const void *local_addr;
	uint64_t remote_addr; /* as it is mapped at the peer */
	uint32_t local_key;
	uint32_t remote_key;
	uint32_t len;   /* bytes, 1 to write_len_max */
	bool signalled; /* else only a failure makes a completion */
};

#define WH_VERBS_COOKIE_BITS 48
#define WH_VERBS_COOKIES     (1ull << WH_VERBS_COOKIE_BITS)

enum wh_completion_kind {
	WH_COMPLETION_WRITE,
	WH_COMPLETION_READ,
	WH_COMPLETION_MARK,   /* one of this end is with the peer */
	WH_COMPLETION_MARKED, /* one of the peer's arrived, and its room is free again */
};

struct wh_completion {
	enum wh_completion_kind kind;
	uint32_t pair;
	uint64_t cookie; /* not of WH_COMPLETION_MARKED */
	uint32_t value;  /* of WH_COMPLETION_MARKED */

	/*
	 * 0, or the pair performs nothing any more: -ECANCELED for what was still queued behind a
	 * failure, -ETIMEDOUT if the peer did not answer, -EACCES if it refused the key, -EFAULT if
	 * memory of this end could not be reached, -EIO for the rest. What failed may have landed.
	 */
	int error;
};

/**
 * wh_verbs_open() - Find the device and begin to connect, or to wait for the peer
 * @ret:	receives the end; owned by the caller, untouched on failure
 * @cfg:	copied, its strings and the token too
 * @err:	receives the reason in words on failure; may be NULL
 *
 * Return: 0; -ENODEV if there is no RDMA device at that address; or -errno.
 */
wh_must_check int wh_verbs_open(struct wh_verbs **ret, const struct wh_verbs_config *cfg,
                                struct wh_error *err);

/* Passive side: where the peer is to connect to. */
uint16_t wh_verbs_port(const struct wh_verbs *v);

/*
 * Go on with connecting as far as possible without waiting; call again when wh_verbs_fd() is
 * readable. There is no deadline here. Return: 1 as soon as all pairs are connected, 0 if there is
 * more to wait for, or -errno with the reason in @err: then only close is left.
 */
wh_must_check int wh_verbs_advance(struct wh_verbs *v, struct wh_error *err);

/* Valid from when wh_verbs_advance() has returned 1. */
const struct wh_verbs_caps *wh_verbs_caps(const struct wh_verbs *v);

/*
 * Have the device know [@addr, @addr + @bytes), and pin it unless @rights say on demand.
 * Return: 0; -ENOMEM if RLIMIT_MEMLOCK or the device does not allow that much; or -errno.
 */
wh_must_check int wh_verbs_enroll(struct wh_verbs *v, const void *addr, uint64_t bytes,
                                  uint32_t rights, struct wh_verbs_key *ret);

/* Forget and unpin it. Works that use it must be complete, or their pair cut. Accepts none. */
void wh_verbs_expel(struct wh_verbs *v, struct wh_verbs_key *key);

/*
 * Post on @pair, of whose room the caller keeps count. Return: 0, or -errno: RDMA is over.
 */
wh_must_check int wh_verbs_write(struct wh_verbs *v, uint32_t pair, const struct wh_verbs_work *w);
wh_must_check int wh_verbs_read(struct wh_verbs *v, uint32_t pair, const struct wh_verbs_work *w);

/* Post a mark, signalled. The peer must have room for it. Return: as above. */
wh_must_check int wh_verbs_mark(struct wh_verbs *v, uint32_t pair, uint32_t value, uint64_t cookie);

/**
 * wh_verbs_poll() - Take what happened; never waits
 * @completions: receives up to @max, those of one pair in their order
 * @max:	room in @completions, at least 1
 *
 * Completions come before the news that RDMA is over, as far as they are there.
 *
 * Return: the number of completions; or, again and again from then on, -ENODEV if the device is
 * gone, -ECONNRESET if the peer or the network is, or -EIO: then cut, expel and close without
 * delay, since who removes a device waits for it.
 */
wh_must_check int wh_verbs_poll(struct wh_verbs *v, struct wh_completion *completions,
                                uint32_t max);

/* Why RDMA is over, in words; "" as long as it is not. */
const char *wh_verbs_reason(const struct wh_verbs *v);

/* To wait on for reading, once wh_verbs_arm() has returned 1. Level-triggered; the end's own. */
int wh_verbs_fd(const struct wh_verbs *v);

/*
 * Have wh_verbs_fd() become readable with the next completion. Return: 0: now it will, but poll once more for what
 * came before; 1: polls have brought nothing since it returned 0; or -errno.
 */
wh_must_check int wh_verbs_arm(struct wh_verbs *v);

/*
 * Destroy the queue pairs: when this returns, nothing of the peer lands here any more, and the
 * device uses no memory of this end. Keys stay until they are expelled. May be called again.
 */
void wh_verbs_cut(struct wh_verbs *v);

/* Accepts NULL. All keys must have been expelled. Returns NULL. */
struct wh_verbs *wh_verbs_close(struct wh_verbs *v);

WH_DEFINE_CLEANUP(struct wh_verbs, wh_verbs_close)

#endif
