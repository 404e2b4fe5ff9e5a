/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the BPF programs have in common: the constants of conntrack's messages, and how the head of one is loaded.
 *
 * What makes the programs load: without CAP_PERFMON the verifier trusts a program less, and kernels from 5.10 to 7.3
 * differ in what they refuse then (check_stack_write_fixed_off, sanitize_speculative_path and sanitize_ptr_alu,
 * kernel/bpf/verifier.c). Three habits satisfy all of them:
 *  - No loop is left in the code. The verifier follows also what a processor may guess wrongly, and there a
 *    loop has no end ("The sequence of 8193 jumps is too complex", up to 6.14).
 *  - What lies on the stack is written once, by the eight bytes of its slot or by the kernel: a part of a slot
 *    beside another that is known is refused ("attempt to corrupt spilled pointer on stack", up to 6.1).
 *    build.rs has the compiler do so with what it puts there itself.
 *  - No pointer is chosen among several or computed: all are read at constant offsets.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define PASS -1
#define DROP 0

#define AF_INET 2
#define AF_INET6 10
#define EEXIST 17

/* NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW: NEW and UPDATE events. */
#define CT_NEW 0x0100
#define NLM_F_CREATE 0x0400
#define IPS_SEEN_REPLY 0x2

#define CTA_TUPLE_ORIG 1
#define CTA_STATUS 3

/* Header words of attributes, length and type as one 32-bit load reads them. */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define ATTR(len, type) ((__u32)(len) | (__u32)(type) << 16)
#define BE16(x) __builtin_bswap16(x)
#define BE32(x) __builtin_bswap32(x)
/* Two values as they lie in memory, one after the other. */
#define PAIR32(first, second) ((__u32)(first) | (__u32)(second) << 16)
#define PAIR64(first, second) ((__u64)(first) | (__u64)(second) << 32)
#else
#define ATTR(len, type) ((__u32)(len) << 16 | (__u32)(type))
#define BE16(x) (x)
#define BE32(x) (x)
#define PAIR32(first, second) ((__u32)(first) << 16 | (__u32)(second))
#define PAIR64(first, second) ((__u64)(first) << 32 | (__u64)(second))
#endif
#define NEST(len, type) ATTR(len, (type) | 0x8000)

/* Attributes behind the original tuple that are looked at before a message counts as odd. The kernel's events
 * have at most 15 (ctnetlink_conntrack_event, Linux 5.8 to 6.18). */
#define ATTRIBUTES_MAX 16

/* One set of counters for each of the first CPUs, shared by the others, so that CPUs seldom wait for each
 * other. Not a per-CPU map: reading one takes /sys, which is not there in every chroot. */
#define COUNTS 16

/*
 * Message header, nfgenmsg, and what follows: the original tuple, the reply tuple, id, status, timeout, and, if
 * there is more, the header of the next attribute. For an IPv4 flow that is HEAD4 bytes, for IPv6 the whole struct.
 * The shortest events of listed classes are UDP with nothing optional, which end before that next attribute.
 */
#define HEAD4 152
#define NEXT_ATTRIBUTE 4
struct head {
	__u32 len;
	__u16 type;
	__u16 flags;
	__u32 sequence;
	__u32 port_id;
	__u8 family;
	__u8 version;
	__u16 resource_be;
	__u32 word[45];
} __attribute__((aligned(8)));

/* Index into head.word of the byte at an offset of the message. */
#define WORD(offset) (((offset) - 20) / 4)

/*
 * All that is looked at as a rule by one call, since each costs about 20 ns. What the message does not have is zero,
 * written by whole slots of the stack. False if the message is shorter than any event of a listed class.
 */
static __always_inline int load(struct __sk_buff *skb, struct head *head)
{
	__u64 *beyond4 = (__u64 *)&head->word[WORD(HEAD4)];

	if (skb->len >= sizeof(*head))
		return !bpf_skb_load_bytes(skb, 0, head, sizeof(*head));
	if (skb->len == sizeof(*head) - NEXT_ATTRIBUTE) {
		if (bpf_skb_load_bytes(skb, 0, head, sizeof(*head) - NEXT_ATTRIBUTE))
			return 0;
		head->word[WORD(196)] = 0;
		return 1;
	}
#pragma clang loop unroll(full)
	for (int i = 0; i < (sizeof(*head) - HEAD4) / 8; i++)
		beyond4[i] = 0;
	if (skb->len >= HEAD4)
		return !bpf_skb_load_bytes(skb, 0, head, HEAD4);
	if (bpf_skb_load_bytes(skb, 0, head, HEAD4 - NEXT_ATTRIBUTE))
		return 0;
	head->word[WORD(148)] = 0;
	return 1;
}

static __always_inline void count(__u64 *counter)
{
	/* Atomic, also because a softirq may interrupt the filter on the same CPU. */
	__atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
}
