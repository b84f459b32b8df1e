/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Worker - what wherryd and a wherry-mover say to each other.
 *
 * wherryd starts a mover inside its cgroup leaf with descriptor WH_WORKER_FD: one end of a unix
 * SOCK_SEQPACKET pair. Each message is one struct below; both programs come from one build, so
 * layouts are native. Descriptors travel with START only.
 *
 *	source:  START ->            <- OPEN, CONVERGED    FINISH ->    <- LANDED
 *	target:  START ->            <- LISTENING, OPEN                 <- LANDED
 *
 * and FAILED instead of any answer. After FAILED the mover exits by itself.
 *
 * After LANDED it has no more to do than to take down what it has, and that would keep processors and
 * the hypervisor busy while the guest stands still. So the source's mover waits until it is killed,
 * or the daemon's end of the socket is closed; the target's exits when the source's has.
 *
 * CONVERGED may be answered with AGAIN before FINISH: all is ready now to stop the guest, and it has
 * been writing meanwhile. The source sends that, if it is worth it, and says CONVERGED again. After the
 * first CONVERGED it sends what it knew to be left before it looks for an answer.
 *
 * A source with @lingers in START does not end its rounds by itself: something else has still to be moved, and
 * the guest cannot stop before. It says NEAR when it would have converged for the first time, and keeps
 * the destination's memory near to the guest's from then on, until SWITCH comes.
 *
 * SWITCH, at any time between OPEN and CONVERGED, has the source end its rounds at once: it says
 * CONVERGED as if the rest were small. What follows is its mode's:
 *
 *	PAUSE		the last pass sends all of it, however long that takes
 *	POSTCOPY	nothing is sent while the guest stands still; both sides say LANDED with
 *			@postcopy set: the destination may run the guest now. They go on, and say
 *			ARRIVED when it has every byte, and exit.
 *
 * A source whose peer cannot take post-copy into its memory says NO_POSTCOPY, soon after OPEN. A SWITCH
 * to that then has no effect, also if it came before.
 *
 * A SWITCH that comes after CONVERGED is too late and has no effect; so is a second one. Whether it
 * became post-copy is what LANDED says. POSTCOPY needs @postcopy in START on both sides, and an
 * error in words says so.
 *
 * Post-copy that fails after LANDED leaves a guest that waits, and can be resumed: both daemons
 * start a mover again with @resume set, the target's with the same missing file and @vmm_uffd as
 * LANDED gave it. They say LISTENING and OPEN as ever, LANDED when the guest's faults are served
 * again, and ARRIVED.
 *
 * TRANSPORT comes only if START asks for RDMA, from both sides: before OPEN, and again if RDMA breaks and TCP
 * carries on. It may come at any time before the mover's last word.
 *
 * To cancel, send SIGTERM: the mover lets go of the hypervisor, bit by bit, and ends. SIGKILL works as
 * well: all it holds are descriptors and mappings, and they die with it; but a guest that it tracks
 * stands still meanwhile. A mover whose daemon dies is killed by the kernel (PR_SET_PDEATHSIG).
 *
 * Descriptors of START, in this order:
 *	1			stats page, a memfd of sizeof(struct wh_stats)
 *	region_count		RAM files, in the order of @regions, opened read-write
 *	1			target, if @postcopy is set: the missing file, read-write, of
 *				wh_missing_file_bytes(). Zeroed for a new migration; for one that
 *				resumes, as the last mover left it
 *	1			if @bucket is set: the BPF map that is the limit's bucket, a page with
 *				a struct wh_bucket (bpf/token_bucket.h), to map for reading and writing
 *	hold_count		kept open and never used: BPF links, so that the limit lives as long
 *				as the mover does, even if the daemon is gone
 */

#ifndef WH_WORKER_H
#define WH_WORKER_H

#include <assert.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdint.h>

#include "error.h"
#include "limits.h"
#include "transport.h"

#define WH_WORKER_FD       3
#define WH_WORKER_HOLD_MAX 8u

enum wh_worker_type {
	WH_WORKER_START,       /* daemon -> mover, struct wh_worker_start */
	WH_WORKER_FINISH,      /* daemon -> source: the guest stands still, do the last pass */
	WH_WORKER_AGAIN,       /* daemon -> source: not yet, one more round, and CONVERGED again */
	WH_WORKER_LISTENING,   /* target -> daemon, struct wh_worker_listening */
	WH_WORKER_TRANSPORT,   /* mover -> daemon, struct wh_worker_transport */
	WH_WORKER_OPEN,        /* mover -> daemon: the link is up, copying begins */
	WH_WORKER_NO_POSTCOPY, /* source -> daemon: the destination's memory does not allow it */
	WH_WORKER_NEAR,        /* source -> daemon: it would have converged, and lingers */
	WH_WORKER_CONVERGED,   /* source -> daemon: stop the guest, then FINISH */
	WH_WORKER_SWITCH,      /* daemon -> source, struct wh_worker_switch */
	WH_WORKER_LANDED,      /* mover -> daemon, struct wh_worker_landed */
	WH_WORKER_ARRIVED, /* mover -> daemon, after post-copy: the destination has every byte */
	WH_WORKER_FAILED,  /* mover -> daemon, struct wh_worker_failed; nothing follows */
};

enum wh_worker_role {
	WH_ROLE_SOURCE,
	WH_ROLE_TARGET,
};

enum wh_switch_mode {
	WH_SWITCH_NONE,
	WH_SWITCH_POSTCOPY,
	WH_SWITCH_PAUSE,
};

struct wh_worker_region {
	char name[WH_NAME_MAX]; /* the memory backend's id; both sides must use the same */
	uint64_t bytes;
};

union wh_worker_address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

struct wh_worker_start {
	uint32_t type;         /* WH_WORKER_START */
	uint32_t role;         /* enum wh_worker_role */
	uint32_t region_count; /* 1 to WH_REGIONS_MAX */
	uint32_t hold_count;
	uint32_t connections; /* source: 1 to WH_CONNECTIONS_MAX; the target accepts as many */
	int32_t vmm_pid; /* the hypervisor that runs the guest, or will; target: for post-copy */
	uint32_t compression; /* source: enum wh_compression */
	uint32_t postcopy;    /* 1: it may become post-copy; both sides alike */
	uint32_t lingers;     /* source, 1: go on with rounds until SWITCH */
	uint32_t resume;      /* 1: go on with post-copy that broke off; @postcopy is set, too */
	int32_t vmm_uffd;     /* target that resumes: its descriptor in the hypervisor; else -1 */
	uint32_t transport;   /* enum wh_transport_kind; not TCP: try RDMA; both sides alike */
	uint32_t rdma_pairs;  /* queue pairs, 1 to WH_RDMA_PAIRS_MAX; both sides alike */
	uint32_t rdma_odp;    /* 1: pin nothing, if the device can do without */
	uint32_t bucket;      /* 1: the limit's bucket is among the descriptors */
	uint64_t rdma_chunk_bytes;      /* a power of two; both sides alike */
	uint64_t rdma_pinned_bytes_max; /* of this side's memory */
	uint64_t downtime_target_ns;
	uint64_t
		echo_ns; /* source: no read with O_DIRECT takes as long; 0: there are no such disks */
	uint8_t token[WH_TOKEN_BYTES];      /* the same on both sides, secret */
	char congestion[WH_CONGESTION_MAX]; /* source: "auto", "system" or a name: see tcp.h */
	char interface[IFNAMSIZ]; /* bind every socket to this device; "" leaves it to routing */
	union wh_worker_address local; /* target: listen here (port 0); source: bind here */
	union wh_worker_address peer;  /* source: connect here */
	struct wh_worker_region regions[WH_REGIONS_MAX];
};

struct wh_worker_listening {
	uint32_t type; /* WH_WORKER_LISTENING */
	uint16_t port; /* host byte order */
	uint16_t reserved;
};

/* What carries pages from now on. */
struct wh_worker_transport {
	uint32_t type;       /* WH_WORKER_TRANSPORT */
	uint32_t kind;       /* WH_TRANSPORT_RDMA or WH_TRANSPORT_TCP */
	struct wh_error why; /* of TCP, in words */
};

struct wh_worker_switch {
	uint32_t type; /* WH_WORKER_SWITCH */
	uint32_t mode; /* enum wh_switch_mode, not NONE */
};

struct wh_worker_landed {
	uint32_t type;     /* WH_WORKER_LANDED */
	uint32_t postcopy; /* 0: the destination has every byte; 1: ARRIVED will say so */
	int32_t vmm_uffd;  /* target, post-copy: for who resumes; else -1 */
};

struct wh_worker_failed {
	uint32_t type; /* WH_WORKER_FAILED */
	int32_t code;  /* negative errno */
	struct wh_error error;
};

/* FINISH, AGAIN, OPEN, NO_POSTCOPY, NEAR, CONVERGED and ARRIVED carry nothing but their type. */
struct wh_worker_note {
	uint32_t type;
};

/* Size of the missing file for a guest of @ram_bytes: a bit for each page, in words of 64. */
static inline uint64_t wh_missing_file_bytes(uint64_t ram_bytes)
{
	return (ram_bytes / WH_PAGE_SIZE + 63) / 64 * 8;
}

static_assert(sizeof(struct wh_worker_switch) == 8, "no padding travels");
static_assert(sizeof(struct wh_worker_landed) == 12, "no padding travels");
static_assert(sizeof(struct wh_worker_transport) == 8 + WH_ERROR_TEXT_MAX, "no padding travels");
static_assert(sizeof(struct wh_worker_failed) == 8 + WH_ERROR_TEXT_MAX, "no padding travels");
static_assert(sizeof(struct wh_worker_listening) == 8, "no padding travels");

#endif
