// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/*
 * Token bucket - the bandwidth limit of one migration, in the kernel.
 *
 *	           tells each flow its pace            takes the price
 *	  TCP  ->  pace (sockops, before a packet)  ->  charge (egress)  ->  device
 *	   ^                      |                          |
 *	   |                      +--- debt, read ---[ clock_ns ]
 *	   +--- TCP's own pacing timer does the waiting
 *
 * charge() adds the price of each packet's payload to the clock. Whoever sends anything that TCP
 * does not pace, or ignores its pace, runs into its bound on the debt and is dropped there: the
 * limit holds whatever the sender does.
 *
 * pace() keeps TCP away from that bound, because a dropped packet costs TCP a timeout. Before
 * each packet a flow sets its own pace from the debt:
 *
 *	pace = limit * q / (q + debt)		q: price of a mean packet
 *
 * The debt is the same for all, so all flows that really send get the same pace; and since the
 * debt grows until the sum of them is the limit, n flows end up at limit / n each without
 * anybody counting them. A flow that sends a little now and then waits for nobody: a pace delays
 * only what follows a packet.
 *
 * Where sch_fq owns the device it does the waiting, and charge() tells it the time of departure.
 *
 * Urgent is a socket with SO_PRIORITY 6: a vCPU waits for what it carries. It is charged like any
 * other, so bulk gives way, but it has no pace until the debt is half of what bulk is dropped at.
 * Beyond that it alone takes the whole limit, and the same law paces it by the rest of the debt.
 * Its bound is far behind: what waits when told never gets there.
 *
 * keep_pace() refuses the sender's own attempts at its pace. arm() is run once when a limit is
 * set while connections are open: it switches the callbacks of pace() on in each of them.
 */

#include "token_bucket.h"

#include <asm/socket.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <stdbool.h>
#include <stddef.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define NSEC_PER_MSEC 1000000ull

/* Verdicts of the cgroup hooks. */
#define REFUSE 0
#define PASS   1

/* The backstop's bound where sch_fq holds two super-packets of each connection and a millisecond more. */
#define FQ_DEBT_MAX_NS    (30 * NSEC_PER_MSEC)
#define FQ_DEBT_MAX_BYTES (3ull << 20)

/* Urgent sockets' bound, with sch_fq or without: above bulk's at every limit. */
#define URGENT_DEBT_MAX_NS    (100 * NSEC_PER_MSEC)
#define URGENT_DEBT_MAX_BYTES (4ull << 20)

/* TC_PRIO_INTERACTIVE: the highest that needs no privilege. */
#define URGENT_PRIORITY 6

/* Smaller packets say nothing about the size of bulk packets. */
#define BULK_BYTES 1024

/* Larger option values do not fit the kernel's copy for the program. */
#define SOCKOPT_COPY_MAX 4096

/* SO_MAX_PACING_RATE has 32 bits here, and all of them set mean "no pace". */
#define PACE_MAX  0xfffffffeull
#define PACE_NONE 0xffffffffull

/* From kernels newer than the headers we build with. */
#ifndef TCP_BPF_SOCK_OPS_CB_FLAGS
#define TCP_BPF_SOCK_OPS_CB_FLAGS 1008
#endif

/* The few kernel fields we read; their offsets are filled in when the program is loaded. */
#define KERNEL_TYPE __attribute__((preserve_access_index))

struct kernfs_node {
	__u64 id;
} KERNEL_TYPE;

struct cgroup {
	struct kernfs_node *kn;
} KERNEL_TYPE;

struct sock_cgroup_data {
	struct cgroup *cgroup;
} KERNEL_TYPE;

struct sock {
	__u32 sk_pacing_status;
	struct sock_cgroup_data sk_cgrp_data;
} KERNEL_TYPE;

struct bpf_iter__tcp {
	struct bpf_iter_meta *meta;
	struct sock_common *sk_common;
} KERNEL_TYPE;

enum { SK_PACING_FQ = 2 }; /* enum sk_pacing, include/net/sock.h */

/* The cgroup whose sockets arm() looks for. */
const volatile __u64 cgroup_id;

struct wh_bucket bucket __attribute__((aligned(64)));

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Other CPUs and the loader change the bucket at any time: read each word once. */
#define READ(field) (*(volatile __u64 *)&bucket.field)

static __always_inline void count(__u64 *counter, __u64 more)
{
	__sync_fetch_and_add(counter, more);
}

static __always_inline __u64 price_ns(__u64 bytes)
{
	return bytes * READ(ns_per_byte) >> WH_BUCKET_SHIFT;
}

static __always_inline bool paced_by_fq(void *sk)
{
	struct tcp_sock *tcp = sk ? bpf_skc_to_tcp_sock(sk) : NULL;

	return tcp && ((struct sock *)tcp)->sk_pacing_status == SK_PACING_FQ;
}

/* Bytes to pay for: TCP payload, or all that IP carries if it is not TCP. */
static __always_inline __u32 payload_bytes(struct __sk_buff *skb)
{
	__u32 header = 0;
	__u8 protocol = 0;
	__u8 byte = 0;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		bpf_skb_load_bytes(skb, 0, &byte, sizeof(byte));
		bpf_skb_load_bytes(skb, offsetof(struct iphdr, protocol), &protocol, 1);
		header = (byte & 15) * 4;
	} else if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		bpf_skb_load_bytes(skb, offsetof(struct ipv6hdr, nexthdr), &protocol, 1);
		header = sizeof(struct ipv6hdr);
	}
	if (protocol == IPPROTO_TCP) {
		/* The data offset is the upper half of the 13th byte, in words of 4 bytes. */
		bpf_skb_load_bytes(skb, header + 12, &byte, sizeof(byte));
		header += (byte >> 4) * 4;
	}
	return skb->len > header ? skb->len - header : 0;
}

/* Advance the clock by @price. Return: when what was admitted before is paid for. */
static __always_inline __u64 charge_clock(__u64 now, __u64 price)
{
	__u64 clock = READ(clock_ns);

	/* After idleness the clock is far behind. If this fails, somebody else has lifted it. */
	if (clock + WH_BUCKET_CREDIT_NS < now)
		__sync_val_compare_and_swap(&bucket.clock_ns, clock, now - WH_BUCKET_CREDIT_NS);
	return __sync_fetch_and_add(&bucket.clock_ns, price);
}

/* The debt at which packets are dropped. */
static __always_inline __u64 bound_ns(bool urgent, bool fq)
{
	if (urgent)
		return URGENT_DEBT_MAX_NS + price_ns(URGENT_DEBT_MAX_BYTES);
	if (fq)
		return FQ_DEBT_MAX_NS + price_ns(FQ_DEBT_MAX_BYTES);
	return WH_BUCKET_DEBT_MAX_NS + price_ns(WH_BUCKET_DEBT_MAX_BYTES);
}

SEC("cgroup_skb/egress")
int charge(struct __sk_buff *skb)
{
	bool urgent = skb->priority == URGENT_PRIORITY;
	__u64 now, departure;
	__u32 bytes;
	bool fq;

	if (!READ(limit_bps))
		return PASS;
	bytes = payload_bytes(skb);
	if (!bytes)
		return PASS;

	now = bpf_ktime_get_ns();
	fq = paced_by_fq(skb->sk);
	if (READ(clock_ns) > now + bound_ns(urgent, fq)) {
		/* Debt made during grace would be slept off later, so it is not recorded. */
		if (now < READ(grace_end_ns))
			return PASS;
		count(&bucket.dropped_packets, 1);
		count(&bucket.dropped_bytes, bytes);
		return REFUSE;
	}

	departure = charge_clock(now, price_ns(bytes));
	count(&bucket.charged_bytes, bytes);
	if (urgent)
		count(&bucket.urgent_bytes, bytes);
	if (urgent || bytes < BULK_BYTES)
		return PASS;

	/* Two CPUs may lose each other's step here; it is an average. */
	bucket.mean_bytes = (READ(mean_bytes) * 7 + bytes) / 8;
	if (fq && departure > skb->tstamp)
		skb->tstamp = departure;
	return PASS;
}

/* The fair law, for a flow that takes no notice of the first @free_ns of debt. @limit is not 0. */
static __always_inline __u64 fair_pace(__u64 limit, __u64 free_ns)
{
	__u64 now = bpf_ktime_get_ns() + free_ns;
	__u64 clock = READ(clock_ns);
	__u64 q = price_ns(READ(mean_bytes));
	__u64 debt, credit, wait;

	if (q < WH_BUCKET_MEAN_MIN_NS)
		q = WH_BUCKET_MEAN_MIN_NS;

	if (clock > now) {
		debt = clock - now;
		wait = q +
		       (debt < WH_BUCKET_DEBT_MAX_MEANS * q ? debt : WH_BUCKET_DEBT_MAX_MEANS * q);
		count(&bucket.waits, 1);
	} else if (free_ns) {
		return PACE_NONE;
	} else {
		/* Credit is spent at up to four times the limit. */
		credit = now - clock < WH_BUCKET_CREDIT_NS ? now - clock : WH_BUCKET_CREDIT_NS;
		wait = q > credit + q / 4 ? q - credit : q / 4;
	}
	return limit * q / wait;
}

static __always_inline __u64 pace_of(struct bpf_sock_ops *ops, __u64 limit)
{
	struct bpf_sock *sk = ops->sk;

	if (sk && sk->priority == URGENT_PRIORITY)
		return fair_pace(limit, bound_ns(false, false) / 2);
	return paced_by_fq(ops->sk) ? limit : fair_pace(limit, 0);
}

static __always_inline void set_pace(struct bpf_sock_ops *ops)
{
	__u64 limit = READ(limit_bps);
	__u64 pace = PACE_NONE;
	__u32 value;

	if (limit) {
		pace = pace_of(ops, limit);
		if (pace > PACE_MAX && pace != PACE_NONE)
			pace = PACE_MAX;
		if (!pace)
			pace = 1;
	}
	value = pace;
	bpf_setsockopt(ops, SOL_SOCKET, SO_MAX_PACING_RATE, &value, sizeof(value));
}

SEC("sockops")
int pace(struct bpf_sock_ops *ops)
{
	switch (ops->op) {
	case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
		/* The call replaces all flags: keep those that other programs have set. */
		bpf_sock_ops_cb_flags_set(ops, ops->bpf_sock_ops_cb_flags |
		                                       BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG);
		/* At once, or the first window leaves as a burst. */
		set_pace(ops);
		break;
	case BPF_SOCK_OPS_HDR_OPT_LEN_CB:
		/* TCP asks what options we would add. None; but a packet is about to leave. */
		if (ops->args[0] != BPF_WRITE_HDR_TCP_CURRENT_MSS && ops->skb_len)
			set_pace(ops);
		break;
	}
	return PASS;
}

SEC("cgroup/setsockopt")
int keep_pace(struct bpf_sockopt *ctx)
{
	if (ctx->level == SOL_SOCKET && ctx->optname == SO_MAX_PACING_RATE)
		return REFUSE;
	/* "I have not touched it": without this the kernel refuses large values. */
	if (ctx->optlen > SOCKOPT_COPY_MAX)
		ctx->optlen = 0;
	return PASS;
}

SEC("iter/tcp")
int arm(struct bpf_iter__tcp *ctx)
{
	struct sock_common *common = ctx->sk_common;
	struct tcp_sock *tcp = common ? bpf_skc_to_tcp_sock(common) : NULL;
	int flags = 0;

	if (!tcp || ((struct sock *)tcp)->sk_cgrp_data.cgroup->kn->id != cgroup_id)
		return 0;

	if (bpf_getsockopt(tcp, IPPROTO_TCP, TCP_BPF_SOCK_OPS_CB_FLAGS, &flags, sizeof(flags)))
		goto failed;
	flags |= BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG;
	if (bpf_setsockopt(tcp, IPPROTO_TCP, TCP_BPF_SOCK_OPS_CB_FLAGS, &flags, sizeof(flags)))
		goto failed;
	count(&bucket.armed, 1);
	return 0;

failed:
	count(&bucket.unarmed, 1);
	return 0;
}
