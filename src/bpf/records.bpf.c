/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Keeps a record of each flow inside the kernel: its connections, its times, whether it was answered.
 *
 * dedup.bpf.c explains what such a program is. That one tells user space of each flow once, which is what the classic
 * list needs; this one is for all that needs more. There is no ring: the maps are the records, and user space collects
 * them now and then. It adds what it finds to its own tables, so that all that lists are made of is there.
 *
 * What makes it right:
 *  - A message is handled here only if its layout is the kernel's own and what it says depends on nothing that was said
 *    before. Anything else goes down the socket to the ordinary decoder: connections that helpers follow or expect, or
 *    that were picked up in the middle; answers to NEW events that come late; datagrams between ports of which either
 *    could be the server's; whatever carries a time of its own. So this program may be narrow; it must never be wrong.
 *  - What finds no room goes down the socket too. Nothing is lost here, and nothing is counted twice.
 *  - There are two generations of maps. User space has events go to the other one, waits until no program can be at
 *    work that has not seen that, and then takes out what the first one holds: an addition to what was just taken out
 *    would be lost otherwise.
 *  - Which of two came first, a flow's first sighting without an answer or its last one with an answer, decides how the
 *    classic list shows it. Several records may share a line of it. So their times are kept, from one clock.
 *
 * What makes it load is in message.bpf.h.
 */
#include "message.bpf.h"

#define IPPROTO_ICMP 1
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_ICMPV6 58

#define IPS_EXPECTED 0x1
#define TCP_SYN_SENT 1
#define TCP_SYN_RECV 2
#define TCP_SYN_SENT2 9
#define TCP_FLAG_WINDOW_SCALE 0x01
#define TCP_FLAG_BE_LIBERAL 0x08

/* Keeps the compiler from making one piece of code of two that have different numbers here, with an address that it
 * chooses before: that is what sanitize_ptr_alu refuses. */
#define APART(number) asm volatile("" ::"i"(number) : "memory")

#define CTA_PROTOINFO 4
#define CTA_ZONE 18
/* Attributes that say nothing about a record: timeout, mark, counters, use, id, sequence adjustment, security mark and
 * context, timestamps of the start, labels, masks, synproxy. */
#define MEANS_NOTHING                                                                                                  \
	(1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12 | 1 << 15 | 1 << 16 | 1 << 17 | 1 << 19 | 1 << 20 |    \
	 1 << 21 | 1 << 22 | 1 << 23 | 1 << 24)

/* Source ports from here on are one, unless they are wanted exactly; and the lowest port of programs without
 * privileges. */
#define EPHEMERAL 1024

/* The key of an IPv4 flow is that of an IPv6 flow with shorter addresses. Ports and zone are in host order. */
struct ends4 {
	__u32 source_be, destination_be;
	__u32 reply_source_be, reply_destination_be;
	__u16 source_port, service, reply_source_port, reply_destination_port;
	__u16 zone;
	__u8 protocol, unused[5];
};

struct ends6 {
	__u32 source_be[4], destination_be[4];
	__u32 reply_source_be[4], reply_destination_be[4];
	__u16 source_port, service, reply_source_port, reply_destination_port;
	__u16 zone;
	__u8 protocol, unused[5];
};

/* Times are those of bpf_ktime_get_ns (CLOCK_MONOTONIC); 0 where there is none. */
struct record {
	__u64 connections;
	__u64 first, last;
	__u64 unanswered; /* first sighting without an answer */
	__u64 answered;   /* last sighting with one */
};

#define FLOWS(name, key_type, room)                                                                                    \
	struct {                                                                                                       \
		__uint(type, BPF_MAP_TYPE_HASH);                                                                       \
		__uint(map_flags, BPF_F_NO_PREALLOC);                                                                  \
		__uint(max_entries, room);                                                                             \
		__type(key, key_type);                                                                                 \
		__type(value, struct record);                                                                          \
	} name SEC(".maps")

FLOWS(even4, struct ends4, 1 << 20);
FLOWS(odd4, struct ends4, 1 << 20);
FLOWS(even6, struct ends6, 1 << 18);
FLOWS(odd6, struct ends6, 1 << 18);

struct control {
	__u64 ready; /* what follows is set: until then all is passed */
	__u64 odd;   /* which generation is written to */
	__u64 exact; /* source ports are not folded */
	__u64 other; /* protocols that the classic list does not have are wanted: the decoder takes them */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct control);
} control SEC(".maps");

struct counters {
	__u64 events;  /* handled here */
	__u64 begun;   /* those of them that are NEW */
	__u64 made4;   /* records that were made */
	__u64 made6;
	__u64 early;   /* answers to what has not been seen without an answer in this generation */
	__u64 full;    /* messages left to the socket because a record found no room */
	__u64 passed;  /* all messages left to the socket */
	__u64 unused;  /* to the end of the cache line */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, COUNTS);
	__type(key, __u32);
	__type(value, struct counters);
} counts SEC(".maps");

/* Length of an event of TCP that has nothing unusual behind its state. */
#define TCP4 196
#define TCP6 244

/* Attributes behind the tuples, two less than there are at most, and the end. A program of more than 20 kB can't be attached
 * to a socket where net.core.optmem_max is as it was up to Linux 6.6. */
#define REST_MAX (ATTRIBUTES_MAX - 2)

/* What is found behind the tuples, in one number: the status, the zone, where TCP's state is, whether all is well. */
#define STATUS(rest) ((__u32)(rest))
#define ZONE(rest) ((__u16)((rest) >> 32))
#define PROTOINFO(rest) ((__u32)((rest) >> 48 & 0x3fff) * 4)
#define REST(status, zone, protoinfo)                                                                                  \
	((__u64)(status) | (__u64)(zone) << 32 | (__u64)((protoinfo) / 4 & 0x3fff) << 48 | 1ull << 63)

/*
 * Goes over the attributes from `offset` to the end. 0 if anything is there that only the decoder can judge: what
 * makes a record another one, anything a second time, a length that lies, too many attributes.
 *
 * Neither static nor inlined, so that the verifier looks at it once and not on every way that leads to it, of which
 * there are so many that some kernels give up.
 */
__attribute__((noinline)) __u64 walk(struct __sk_buff *skb, __u32 offset)
{
	__u32 status = 0, zone = 0, protoinfo = 0, found = 0;

#pragma clang loop unroll(full)
	for (int i = 0; i < REST_MAX; i++) {
		__u16 attr[4];
		__u32 value[2];
		__u16 type;

		if (offset == skb->len)
			return found ? REST(status, zone, protoinfo) : 0;
		if (bpf_skb_load_bytes(skb, offset, attr, 4))
			return 0;
		if (attr[0] < 4 || offset + attr[0] > skb->len)
			return 0;
		type = attr[1] & 0x3fff;
		if (type == CTA_STATUS) {
			if (found || attr[0] != 8 || bpf_skb_load_bytes(skb, offset + 4, value, 4))
				return 0;
			status = BE32(value[0]);
			found = 1;
		} else if (type == CTA_ZONE) {
			if (zone || attr[0] != 6 || bpf_skb_load_bytes(skb, offset + 4, value, 4))
				return 0;
			zone = BE16(*(__u16 *)value);
		} else if (type == CTA_PROTOINFO) {
			if (protoinfo)
				return 0;
			protoinfo = offset;
		} else if (type > 31 || !(MEANS_NOTHING & 1u << type)) {
			return 0;
		}
		offset += (attr[0] + 3) & ~3;
	}
	return 0;
}

/* Whether the attributes from here on are TCP's state as the kernel writes it. */
static __always_inline int is_tcp_state(const __u32 *word)
{
	return word[0] == NEST(48, CTA_PROTOINFO) && word[1] == NEST(44, 1) && word[2] == ATTR(5, 1) &&
	       word[4] == ATTR(5, 2) && word[6] == ATTR(5, 3) && word[8] == ATTR(6, 4) && word[10] == ATTR(6, 5);
}

/*
 * The ports of a flow and of its reply direction as the key has them, by memory order: true unless only the decoder can
 * tell which side asked. It finds that out from other flows, in either direction (`Records::was_picked_up`).
 */
static __always_inline int ports(const __u16 *source_be, const __u16 *service_be, const __u16 *reply_source_be,
				 const __u16 *reply_destination_be, __u8 protocol, __u64 exact, __u64 *to)
{
	__u16 source = BE16(*source_be), service = BE16(*service_be);
	__u16 reply_source = BE16(*reply_source_be), reply_destination = BE16(*reply_destination_be);

	if (protocol == IPPROTO_UDP && ((source >= EPHEMERAL && service >= EPHEMERAL) ||
					(reply_source >= EPHEMERAL && reply_destination >= EPHEMERAL)))
		return 0;
	if (!exact) {
		if (source > EPHEMERAL)
			source = EPHEMERAL;
		if (reply_destination > EPHEMERAL)
			reply_destination = EPHEMERAL;
	}
	*to = PAIR64(PAIR32(source, service), PAIR32(reply_source, reply_destination));
	return 1;
}

/* Whether the state tells that the connection began with its entry: as src/netlink/conntrack/beginning.rs has it. */
static __always_inline int is_seen_to_begin(const __u32 *word, int first)
{
	const __u8 *state = (const __u8 *)&word[3], *original = (const __u8 *)&word[9];
	const __u8 *reply = (const __u8 *)&word[11];
	const __u8 marks = TCP_FLAG_WINDOW_SCALE | TCP_FLAG_BE_LIBERAL;

	if (first)
		return *state == TCP_SYN_SENT || *state == TCP_SYN_RECV || *state == TCP_SYN_SENT2;
	return (*original & marks) != TCP_FLAG_BE_LIBERAL || (*reply & marks) != TCP_FLAG_BE_LIBERAL;
}

/*
 * One sighting. False if it finds no room. Inlined for each map, since that has to be a constant; `number` is another one
 * for each.
 */
static __always_inline int sight(void *flows, const int number, const __u64 *key, __u64 *value, int begun, int answered,
				 struct counters *counters, __u64 *made)
{
	const __u64 now = bpf_ktime_get_ns();
	struct record *record = bpf_map_lookup_elem(flows, key);

	if (!record) {
		long error;

		value[0] = begun;
		value[1] = value[2] = now;
		value[3] = answered ? 0 : now;
		value[4] = answered ? now : 0;
		error = bpf_map_update_elem(flows, key, value, BPF_NOEXIST);
		if (!error) {
			APART(number);
			count(made);
			APART(number);
			if (answered)
				count(&counters->early);
			APART(number);
			return 1;
		}
		if (error != -EEXIST)
			return 0;
		/* Another CPU was faster. */
		record = bpf_map_lookup_elem(flows, key);
		if (!record)
			return 0;
	}
	if (begun)
		count(&record->connections);
	APART(number);
	record->last = now;
	if (answered) {
		APART(number);
		if (!record->unanswered)
			count(&counters->early);
		APART(number);
		record->answered = now;
		APART(number);
		return 1;
	}
	APART(number + 4);
	if (!record->unanswered)
		record->unanswered = now;
	APART(number + 4);
	return 1;
}

SEC("socket")
int records(struct __sk_buff *skb)
{
	struct head head;
	/* Of either family, by whole slots of the stack, of which there are 64 in all: see message.bpf.h. */
	__u64 key[10], value[5];
	__u64 rest = 0;
	__u32 cpu = bpf_get_smp_processor_id() % COUNTS, zero = 0, next;
	struct counters *counters = bpf_map_lookup_elem(&counts, &cpu);
	const struct control *settings = bpf_map_lookup_elem(&control, &zero);
	const __u32 *word = head.word;
	int kept, begun, answered;
	__u8 protocol;

	if (!counters || !settings || !settings->ready)
		return PASS;
	if (!load(skb, &head))
		goto pass;
	/* One message, the whole datagram, and an event. */
	if (head.len != skb->len || head.type != CT_NEW)
		goto pass;

	if (head.family == AF_INET) {
		if (word[WORD(24)] != NEST(20, 1) || word[WORD(28)] != ATTR(8, 1) || word[WORD(36)] != ATTR(8, 2) ||
		    word[WORD(48)] != ATTR(5, 1))
			goto pass;
		key[0] = PAIR64(word[WORD(32)], word[WORD(40)]);
		/* Should a processor guess below that the family is the other one, it would read these. */
		key[3] = key[4] = key[5] = key[6] = key[7] = key[8] = 0;
		protocol = *(const __u8 *)&word[WORD(52)];
		if (protocol == IPPROTO_TCP || protocol == IPPROTO_UDP) {
			/* A zone of the original direction alone makes the tuple longer. */
			if (word[WORD(20)] != NEST(52, 1) || word[WORD(44)] != NEST(28, 2) ||
			    word[WORD(56)] != ATTR(6, 2) || word[WORD(64)] != ATTR(6, 3))
				goto pass;
			if (word[WORD(72)] != NEST(52, 2) || word[WORD(76)] != NEST(20, 1) ||
			    word[WORD(80)] != ATTR(8, 1) || word[WORD(88)] != ATTR(8, 2) ||
			    word[WORD(96)] != NEST(28, 2) || word[WORD(100)] != ATTR(5, 1) ||
			    word[WORD(108)] != ATTR(6, 2) || word[WORD(116)] != ATTR(6, 3))
				goto pass;
			if (!ports((const __u16 *)&word[WORD(60)], (const __u16 *)&word[WORD(68)],
				   (const __u16 *)&word[WORD(112)], (const __u16 *)&word[WORD(120)], protocol,
				   settings->exact, &key[2]))
				goto pass;
			key[1] = PAIR64(word[WORD(84)], word[WORD(92)]);
			APART(11);
			next = 124;
			if (word[WORD(124)] == ATTR(8, 12) && word[WORD(132)] == ATTR(8, CTA_STATUS) &&
			    word[WORD(140)] == ATTR(8, 7)) {
				if (skb->len == 148)
					rest = REST(BE32(word[WORD(136)]), 0, 0);
				else if (skb->len == TCP4 && word[WORD(148)] == NEST(48, CTA_PROTOINFO))
					rest = REST(BE32(word[WORD(136)]), 0, 148);
			}
		} else if (protocol == IPPROTO_ICMP) {
			if (word[WORD(20)] != NEST(60, 1) || word[WORD(44)] != NEST(36, 2) ||
			    word[WORD(56)] != ATTR(6, 4) || word[WORD(64)] != ATTR(5, 5) ||
			    word[WORD(72)] != ATTR(5, 6))
				goto pass;
			if (word[WORD(80)] != NEST(60, 2) || word[WORD(84)] != NEST(20, 1) ||
			    word[WORD(88)] != ATTR(8, 1) || word[WORD(96)] != ATTR(8, 2) ||
			    word[WORD(104)] != NEST(36, 2))
				goto pass;
			key[2] = PAIR64(PAIR32(0, *(const __u8 *)&word[WORD(68)] << 8 | *(const __u8 *)&word[WORD(76)]),
					0);
			key[1] = PAIR64(word[WORD(92)], word[WORD(100)]);
			APART(12);
			next = 140;
		} else {
			/* Of another protocol, unless the layout is odd. */
			if (settings->other || protocol == IPPROTO_ICMPV6 || word[WORD(20)] != NEST(36, 1) ||
			    word[WORD(44)] != NEST(12, 2))
				goto pass;
			return DROP;
		}
	} else if (head.family == AF_INET6) {
		if (word[WORD(24)] != NEST(44, 1) || word[WORD(28)] != ATTR(20, 3) || word[WORD(48)] != ATTR(20, 4) ||
		    word[WORD(72)] != ATTR(5, 1))
			goto pass;
		key[0] = PAIR64(word[WORD(32)], word[WORD(36)]);
		key[1] = PAIR64(word[WORD(40)], word[WORD(44)]);
		key[2] = PAIR64(word[WORD(52)], word[WORD(56)]);
		key[3] = PAIR64(word[WORD(60)], word[WORD(64)]);
		protocol = *(const __u8 *)&word[WORD(76)];
		if (protocol == IPPROTO_TCP || protocol == IPPROTO_UDP) {
			if (word[WORD(20)] != NEST(76, 1) || word[WORD(68)] != NEST(28, 2) ||
			    word[WORD(80)] != ATTR(6, 2) || word[WORD(88)] != ATTR(6, 3))
				goto pass;
			if (word[WORD(96)] != NEST(76, 2) || word[WORD(100)] != NEST(44, 1) ||
			    word[WORD(104)] != ATTR(20, 3) || word[WORD(124)] != ATTR(20, 4) ||
			    word[WORD(144)] != NEST(28, 2) || word[WORD(148)] != ATTR(5, 1) ||
			    word[WORD(156)] != ATTR(6, 2) || word[WORD(164)] != ATTR(6, 3))
				goto pass;
			if (!ports((const __u16 *)&word[WORD(84)], (const __u16 *)&word[WORD(92)],
				   (const __u16 *)&word[WORD(160)], (const __u16 *)&word[WORD(168)], protocol,
				   settings->exact, &key[8]))
				goto pass;
			key[4] = PAIR64(word[WORD(108)], word[WORD(112)]);
			key[5] = PAIR64(word[WORD(116)], word[WORD(120)]);
			key[6] = PAIR64(word[WORD(128)], word[WORD(132)]);
			key[7] = PAIR64(word[WORD(136)], word[WORD(140)]);
			APART(13);
			next = 172;
			if (word[WORD(172)] == ATTR(8, 12) && word[WORD(180)] == ATTR(8, CTA_STATUS) &&
			    word[WORD(188)] == ATTR(8, 7)) {
				if (skb->len == 196)
					rest = REST(BE32(word[WORD(184)]), 0, 0);
				else if (skb->len == TCP6 && word[WORD(196)] == NEST(48, CTA_PROTOINFO))
					rest = REST(BE32(word[WORD(184)]), 0, 196);
			}
		} else if (protocol == IPPROTO_ICMPV6) {
			if (word[WORD(20)] != NEST(84, 1) || word[WORD(68)] != NEST(36, 2) ||
			    word[WORD(80)] != ATTR(6, 7) || word[WORD(88)] != ATTR(5, 8) ||
			    word[WORD(96)] != ATTR(5, 9))
				goto pass;
			if (word[WORD(104)] != NEST(84, 2) || word[WORD(108)] != NEST(44, 1) ||
			    word[WORD(112)] != ATTR(20, 3) || word[WORD(132)] != ATTR(20, 4) ||
			    word[WORD(152)] != NEST(36, 2))
				goto pass;
			key[8] = PAIR64(PAIR32(0, *(const __u8 *)&word[WORD(92)] << 8 | *(const __u8 *)&word[WORD(100)]),
					0);
			key[4] = PAIR64(word[WORD(116)], word[WORD(120)]);
			key[5] = PAIR64(word[WORD(124)], word[WORD(128)]);
			key[6] = PAIR64(word[WORD(136)], word[WORD(140)]);
			key[7] = PAIR64(word[WORD(144)], word[WORD(148)]);
			APART(14);
			next = 188;
		} else {
			if (settings->other || protocol == IPPROTO_ICMP || word[WORD(20)] != NEST(60, 1) ||
			    word[WORD(68)] != NEST(12, 2))
				goto pass;
			return DROP;
		}
	} else {
		return DROP;
	}
	if (!rest)
		rest = walk(skb, next);
	if (!rest)
		goto pass;

	begun = !!(head.flags & NLM_F_CREATE);
	answered = !!(STATUS(rest) & IPS_SEEN_REPLY);
	/* A connection that a helper expected, and a NEW event that comes late. */
	if (STATUS(rest) & IPS_EXPECTED || (begun && answered))
		goto pass;
	if (protocol == IPPROTO_TCP) {
		__u32 *state = &head.word[WORD(148)];
		const __u32 at = PROTOINFO(rest);

		if (!at)
			goto pass;
		/* Of the head, nothing of that is needed any more. */
		if (at != 148 && bpf_skb_load_bytes(skb, at, state, 48))
			goto pass;
		if (!is_tcp_state(state) || !is_seen_to_begin(state, begun))
			goto pass;
	} else if (PROTOINFO(rest)) {
		goto pass;
	}

	if (head.family == AF_INET) {
		key[3] = PAIR64(PAIR32(ZONE(rest), protocol), 0);
		if (settings->odd)
			kept = sight(&odd4, 0, key, value, begun, answered, counters, &counters->made4);
		else
			kept = sight(&even4, 1, key, value, begun, answered, counters, &counters->made4);
	} else {
		key[9] = PAIR64(PAIR32(ZONE(rest), protocol), 0);
		if (settings->odd)
			kept = sight(&odd6, 2, key, value, begun, answered, counters, &counters->made6);
		else
			kept = sight(&even6, 3, key, value, begun, answered, counters, &counters->made6);
	}
	if (!kept) {
		count(&counters->full);
		APART(8);
		goto pass;
	}
	count(&counters->events);
	APART(9);
	if (begun)
		count(&counters->begun);
	APART(9);
	return DROP;

pass:
	APART(10);
	count(&counters->passed);
	APART(10);
	return PASS;
}

char LICENSE[] SEC("license") = "GPL";
