/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Counts the packets that netfilter drops, by flow, in one network namespace.
 *
 * It is called wherever the kernel throws a packet away and says why (tracepoint kfree_skb; net/core/skbuff.c,
 * sk_skb_reason_drop, and net/netfilter/core.c, nf_hook_slow, Linux 6.18). What rules drop has the reason
 * SKB_DROP_REASON_NETFILTER_DROP since Linux 5.18. Its number and where fields of the kernel's structures lie differ from kernel to
 * kernel, and are put in when the program is loaded, by the kernel's own description of its types (BTF).
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#define AF_INET 2
#define AF_INET6 10
#define IPPROTO_ICMP 1
#define IPPROTO_ICMPV6 58

#define KERNELS __attribute__((preserve_access_index))

struct ns_common {
	unsigned int inum;
} KERNELS;

struct net {
	struct ns_common ns;
} KERNELS;

typedef struct {
	struct net *net;
} possible_net_t;

struct net_device {
	possible_net_t nd_net;
} KERNELS;

struct sock_common {
	possible_net_t skc_net;
} KERNELS;

struct sock {
	struct sock_common __sk_common;
} KERNELS;

struct sk_buff {
	struct net_device *dev;
	struct sock *sk;
	unsigned char *head;
	__u16 transport_header;
	__u16 network_header;
} KERNELS;

enum skb_drop_reason {
	SKB_DROP_REASON_NETFILTER_DROP = 8,
};

struct key {
	__u8 source[16];
	__u8 destination[16];
	__u16 service; /* destination port, or type and code of ICMP */
	__u8 protocol;
	__u8 family;
	__u32 unused;
};

/* Allocated beforehand: programs that are called from anywhere may not allocate before Linux 6.1. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1 << 16);
	__type(key, struct key);
	__type(value, __u64);
} drops SEC(".maps");

/* The namespace's number, and packets whose flow found no room or can't be told. */
struct settings {
	__u64 namespace;
	__u64 uncounted;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct settings);
} settings SEC(".maps");

static __always_inline __u32 namespace_of(struct sk_buff *skb)
{
	struct net_device *dev = BPF_CORE_READ(skb, dev);
	struct sock *sk;

	if (dev)
		return BPF_CORE_READ(dev, nd_net.net, ns.inum);
	/* What the host sends has no device yet. */
	sk = BPF_CORE_READ(skb, sk);
	return sk ? BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum) : 0;
}

SEC("tp_btf/kfree_skb")
int count(__u64 *context)
{
	struct sk_buff *skb = (struct sk_buff *)context[0];
	__u32 reason = (__u32)context[2], zero = 0;
	struct settings *set;
	struct key key;
	unsigned char *network, *transport;
	__u8 first, ports;
	__u16 service_be;
	__u64 *counted, one = 1;

	if (reason != bpf_core_enum_value(enum skb_drop_reason, SKB_DROP_REASON_NETFILTER_DROP))
		return 0;
	set = bpf_map_lookup_elem(&settings, &zero);
	if (!set || namespace_of(skb) != set->namespace)
		return 0;
	__builtin_memset(&key, 0, sizeof(key));
	network = BPF_CORE_READ(skb, head) + BPF_CORE_READ(skb, network_header);
	if (bpf_probe_read_kernel(&first, 1, network))
		goto uncounted;
	if (first >> 4 == 4) {
		key.family = AF_INET;
		if (bpf_probe_read_kernel(&key.protocol, 1, network + 9) ||
		    bpf_probe_read_kernel(key.source, 4, network + 12) ||
		    bpf_probe_read_kernel(key.destination, 4, network + 16))
			goto uncounted;
		transport = network + (first & 0xf) * 4;
	} else if (first >> 4 == 6) {
		key.family = AF_INET6;
		if (bpf_probe_read_kernel(&key.protocol, 1, network + 6) ||
		    bpf_probe_read_kernel(key.source, 16, network + 8) ||
		    bpf_probe_read_kernel(key.destination, 16, network + 24))
			goto uncounted;
		transport = network + 40;
	} else {
		goto uncounted;
	}
	/* TCP, UDP, DCCP, SCTP, UDP-Lite; behind extension headers the protocol is none of these. */
	ports = key.protocol == 6 || key.protocol == 17 || key.protocol == 33 || key.protocol == 132 || key.protocol == 136;
	if (ports || key.protocol == IPPROTO_ICMP || key.protocol == IPPROTO_ICMPV6) {
		if (bpf_probe_read_kernel(&service_be, 2, transport + (ports ? 2 : 0)))
			goto uncounted;
		key.service = service_be;
	}
	counted = bpf_map_lookup_elem(&drops, &key);
	if (counted) {
		__sync_fetch_and_add(counted, 1);
		return 0;
	}
	if (!bpf_map_update_elem(&drops, &key, &one, 1 /* BPF_NOEXIST */))
		return 0;
	/* Another processor was faster, or there is no room. */
	counted = bpf_map_lookup_elem(&drops, &key);
	if (counted) {
		__sync_fetch_and_add(counted, 1);
		return 0;
	}
uncounted:
	__sync_fetch_and_add(&set->uncounted, 1);
	return 0;
}

char _license[] SEC("license") = "GPL";
