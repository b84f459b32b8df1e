// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/*
 * Meter - counts the payload of TCP and of RDMA (RoCE v2) that arrives at an interface, by time of arrival.
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

/* UDP, to this port. */
#define ROCE_PORT 4791

struct packet {
	__u32 at; /* where the header of TCP or UDP begins */
	__u8 protocol;
};

static __always_inline int parse(struct __sk_buff *skb, struct packet *ret)
{
	__u8 head[40];

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		if (bpf_skb_load_bytes(skb, 0, head, 20) < 0)
			return -1;
		*ret = (struct packet){ .at = (head[0] & 15) * 4, .protocol = head[9] };
		return 0;
	}
	if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		if (bpf_skb_load_bytes(skb, 0, head, 40) < 0)
			return -1;
		*ret = (struct packet){ .at = 40, .protocol = head[6] };
		return 0;
	}
	return -1;
}

static __always_inline __u32 tcp_payload(struct __sk_buff *skb, __u32 at)
{
	__u8 tcp[20];

	if (bpf_skb_load_bytes(skb, at, tcp, sizeof(tcp)) < 0)
		return 0;
	if (setup.port && (tcp[2] << 8 | tcp[3]) != setup.port)
		return 0;
	at += (tcp[12] >> 4) * 4;
	return skb->len > at ? skb->len - at : 0;
}

/*
 * Bytes of headers behind the first one, the BTH, of what a reliable connection sends; 255 for what
 * carries no memory. By opcode, as the InfiniBand specification lists them in its chapter 9.2.
 */
static __always_inline __u8 extended_headers(__u8 opcode)
{
	switch (opcode) {
	case 6:  /* WRITE, first */
	case 10: /* only */
		return 16;
	case 11: /* only, with an immediate */
		return 20;
	case 3:  /* SEND, last with an immediate */
	case 5:  /* only with one */
	case 9:  /* WRITE, last with one */
	case 13: /* the answer to a READ, first */
	case 15: /* last */
	case 16: /* only */
		return 4;
	case 0:  /* SEND, first */
	case 1:  /* middle */
	case 2:  /* last */
	case 4:  /* only */
	case 7:  /* WRITE, middle */
	case 8:  /* last */
	case 14: /* the answer to a READ, middle */
		return 0;
	default:
		return 255;
	}
}

static __always_inline __u32 roce_payload(struct __sk_buff *skb, __u32 at)
{
	__u8 head[20]; /* of UDP, and the BTH */
	__u32 length, around;
	__u8 extended;

	if (setup.port || bpf_skb_load_bytes(skb, at, head, sizeof(head)) < 0 ||
	    (head[2] << 8 | head[3]) != ROCE_PORT)
		return 0;
	extended = extended_headers(head[8]);
	length = head[4] << 8 | head[5];
	around = sizeof(head) + extended + (head[9] >> 4 & 3) + 4; /* padding, and a checksum */
	return extended != 255 && length > around ? length - around : 0;
}

SEC("socket")
int meter(struct __sk_buff *skb)
{
	struct packet packet;
	__u32 index, bytes;
	__u64 *window;

	if (skb->pkt_type == PACKET_OUTGOING || parse(skb, &packet) < 0)
		return 0;
	if (packet.protocol == IPPROTO_TCP)
		bytes = tcp_payload(skb, packet.at);
	else if (packet.protocol == IPPROTO_UDP)
		bytes = roce_payload(skb, packet.at);
	else
		return 0;

	index = (bpf_ktime_get_ns() - setup.start_ns) / setup.window_ns;
	window = bpf_map_lookup_elem(&windows, &index);
	if (window)
		__sync_fetch_and_add(window, bytes);
	return 0;
}
