/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Rate - the bandwidth limit of one migration, enforced by the kernel.
 *
 * The limit is on a cgroup: everything that its processes send over IP, in bytes of TCP payload
 * per second. It holds whatever those processes do; docs/bandwidth.md says how and how exactly.
 *
 * Life:    the limit lives in descriptors, nothing is pinned anywhere. It lasts until this object
 *          is closed and every copy of the descriptors of wh_rate_bpf_links() is, too. So a mover
 *          that was handed copies stays limited when its daemon dies.
 * Trust:   who holds one of those descriptors and may call bpf(2) can take the limit off: the
 *          kernel asks no privilege for BPF_LINK_DETACH. Give them only to a process that is
 *          denied bpf(2) by a seccomp filter before it reads a byte from the network.
 * Network: open it, and change it, in the network namespace where the sockets are.
 * Rights:  CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON.
 * Threads: one at a time.
 */

#ifndef WH_RATE_BPF_H
#define WH_RATE_BPF_H

#include <stddef.h>
#include <stdint.h>

#include "wherry/cleanup.h"
#include "wherry/error.h"

#define WH_RATE_LINKS 3u

struct wh_rate_bpf;

struct wh_rate_stats {
	uint64_t limit_bps;
	uint64_t charged_bytes;   /* payload that took its share of the limit */
	uint64_t urgent_bytes;    /* of it, on sockets marked as urgent: SO_PRIORITY 6 */
	uint64_t dropped_packets; /* by the backstop; 0 unless the sender evades TCP's pacing */
	uint64_t dropped_bytes;
	uint64_t waits;   /* packets that made their connection wait for the limit */
	uint64_t debt_ns; /* how long what was sent so far will keep the limit busy */
};

/**
 * wh_rate_bpf_open() - Limit what a cgroup sends
 * @ret:	receives the limit; owned by the caller, untouched on failure
 * @cgroup_fd:	directory of a cgroup v2 leaf; not kept
 * @limit_bps:	bytes per second, 0 or WH_RATE_MIN_BPS upwards; with 0 the kernel is left alone
 * @err:	receives the reason in words on failure; may be NULL
 *
 * Limit first, open sockets later: then each is paced from its first byte.
 *
 * Return: 0, -ERANGE for a limit too small to mean anything, or -errno.
 */
wh_must_check int wh_rate_bpf_open(struct wh_rate_bpf **ret, int cgroup_fd, uint64_t limit_bps,
                                   struct wh_error *err);

/* Accepts NULL. Returns NULL. */
struct wh_rate_bpf *wh_rate_bpf_close(struct wh_rate_bpf *rate);

/**
 * wh_rate_bpf_set() - Change the limit, also to or from 0, while sockets are sending
 *
 * It is felt with each connection's next packet. After a limit, 0 lets everything pass but
 * leaves the programs in place; each connection drops its pace with its next packet.
 *
 * Return: 0; -EOPNOTSUPP if a limit comes after 0 and the kernel is too old to find the sockets
 * that are open already (before 6.12); -ERANGE; or -errno. On failure the old limit stays.
 */
wh_must_check int wh_rate_bpf_set(struct wh_rate_bpf *rate, uint64_t limit_bps,
                                  struct wh_error *err);

/* Everything is 0 if there never was a limit. */
void wh_rate_bpf_stats(const struct wh_rate_bpf *rate, struct wh_rate_stats *ret);

/**
 * wh_rate_bpf_share() - Let somebody else charge the bucket, for what passes no hook of the kernel
 * @ret:	the map that is the bucket, borrowed: to be mapped, one struct wh_bucket at its start
 *
 * From now on the bucket exists, also while there is no limit: whoever has mapped it sees one that is set
 * later. So call this before there are sockets.
 *
 * Return: 0 or -errno.
 */
wh_must_check int wh_rate_bpf_share(struct wh_rate_bpf *rate, int *ret, struct wh_error *err);

/* The descriptors that keep the limit alive, borrowed. Return: how many, 0 if never limited. */
size_t wh_rate_bpf_links(const struct wh_rate_bpf *rate, int fds[WH_RATE_LINKS]);

WH_DEFINE_CLEANUP(struct wh_rate_bpf, wh_rate_bpf_close)

#endif
