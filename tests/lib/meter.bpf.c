// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/*
 * Meter - counts the TCP payload that arrives at an interface, by time of arrival.
 *
 * It is a filter on a packet socket that takes no packet: it sees each one, files its payload
 * under the current window and lets the socket have none. It shares no code with the limiter
 * that it is there to check.
 */

#include "meter.h"

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

const volatile struct meter_setup setup;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* the loader says how many */
	__type(key, __u32);
	__type(value, __u64);
} windows SEC(".maps");

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Where the TCP header begins, or 0 if the packet is not TCP. */
static __always_inline __u32 tcp_at(struct __sk_buff *skb)
{
	__u8 head[40];

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		if (bpf_skb_load_bytes(skb, 0, head, 20) < 0 || head[9] != IPPROTO_TCP)
			return 0;
		return (head[0] & 15) * 4;
	}
	if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		if (bpf_skb_load_bytes(skb, 0, head, 40) < 0 || head[6] != IPPROTO_TCP)
			return 0;
		return 40;
	}
	return 0;
}

SEC("socket")
int meter(struct __sk_buff *skb)
{
	__u32 at, index;
	__u64 *window;
	__u8 tcp[20];

	if (skb->pkt_type == PACKET_OUTGOING)
		return 0;
	at = tcp_at(skb);
	if (!at || bpf_skb_load_bytes(skb, at, tcp, sizeof(tcp)) < 0)
		return 0;
	if (setup.port && (tcp[2] << 8 | tcp[3]) != setup.port)
		return 0;

	at += (tcp[12] >> 4) * 4;
	index = (bpf_ktime_get_ns() - setup.start_ns) / setup.window_ns;
	window = bpf_map_lookup_elem(&windows, &index);
	if (window && skb->len > at)
		__sync_fetch_and_add(window, skb->len - at);
	return 0;
}
