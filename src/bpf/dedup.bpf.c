/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tells user space of each flow once, inside the kernel.
 *
 * For a reader who has never seen BPF: this is compiled to a small instruction set that the kernel
 * checks (the "verifier": every load in bounds, every loop with an end) and then runs for each message
 * that it is about to queue on our netlink socket. The return value says how many bytes of the message
 * to queue: PASS is all of it, DROP none. Between kernel and user space lie "maps": here two hash
 * tables of the flows seen so far, a ring buffer of the sightings that user space has to receive, and
 * counters.
 *
 * A message is judged by its layout. The kernel's own messages put the original tuple first and in one
 * order (ctnetlink_conntrack_event and ctnetlink_dump_tuples, net/netfilter/nf_conntrack_netlink.c,
 * Linux 5.8 to 6.18); such a message is handled here. Anything else, however odd, is passed down the
 * socket to the ordinary decoder. So this program may be narrow; it must never be wrong.
 *
 * What makes it right:
 *  - An unreplied sighting of an unknown flow, and the first replied one of a known flow, go into the
 *    ring: those are what can change the list. The rest only counts.
 *  - A replied sighting of an unknown flow goes into the ring each time and marks nothing: user space
 *    may know the flow from elsewhere (the socket, a dump of the kernel's table), and if it does not,
 *    the list's rule is that such a sighting means nothing.
 *  - Room in the ring is reserved before the flow is marked, and the record that lists a flow is always before
 *    the one that confirms it, since the ring keeps the order of reservations.
 *  - What finds no room in the ring is marked in the map of flows as not told, and counted after that. User space
 *    sees the count move and fetches what is marked, so that a reader that is stopped or starved loses nothing as
 *    long as the map has room. It takes no mark off: a flow that is reported twice changes nothing.
 *  - Where the table of flows is full, sightings go into the ring unmarked: that costs time, no flow.
 *
 * What makes it load is in message.bpf.h.
 */
#include "message.bpf.h"

/* Bits of port_and_class; the source port after collapsing takes the lower 11. */
#define CLASS_UDP (1 << 11)
#define CLASS_ICMP (2 << 11)
#define REPLIED (1 << 13)
#define IS_NEW (1 << 14)

/* Bits of a flow's value in its map. */
#define CONFIRMED 1 /* a reply was seen */
#define UNTOLD 2    /* a sighting found no room in the ring: user space reads the flow from the map */

struct key4 {
	__u32 source_be;
	__u32 destination_be;
	__u16 service;
	__u16 port_and_class;
};

struct key6 {
	__u32 source_be[4];
	__u32 destination_be[4];
	__u16 service;
	__u16 port_and_class;
};

struct counters {
	__u64 events;     /* of listed classes, handled here */
	__u64 begun;      /* those of them that are NEW */
	__u64 ring_full;  /* sightings lost */
	__u64 lost_new;   /* those of them that are NEW events */
	__u64 table_full; /* sightings delivered unmarked */
	__u64 passed;     /* messages left to the socket */
	__u64 untold;     /* sightings that found no room in the ring, and that the maps keep */
	__u64 unused;     /* to the end of the cache line */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 20);
	__type(key, struct key4);
	__type(value, __u32); /* CONFIRMED, UNTOLD */
} flows4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 19);
	__type(key, struct key6);
	__type(value, __u32); /* CONFIRMED, UNTOLD */
} flows6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 25);
} sightings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, COUNTS);
	__type(key, __u32);
	__type(value, struct counters);
} counts SEC(".maps");

static __always_inline __u16 collapse(__u16 port_be)
{
	__u16 port = BE16(port_be);

	return port > 1024 ? 1024 : port;
}

/*
 * Goes over the attributes from `offset` to the end, and finds the status if it is not known yet. False if
 * anything is there that only the decoder can judge: the tuple or the status a second time, a length
 * that lies, too many attributes.
 */
static __always_inline int walk(struct __sk_buff *skb, __u32 offset, __u32 *status, int found)
{
#pragma clang loop unroll(full)
	for (int i = 0; i < ATTRIBUTES_MAX; i++) {
		__u16 attr[4];
		__u16 type;

		if (offset == skb->len)
			return found;
		if (bpf_skb_load_bytes(skb, offset, attr, 4))
			return 0;
		if (attr[0] < 4 || offset + attr[0] > skb->len)
			return 0;
		type = attr[1] & 0x3fff;
		if (type == CTA_TUPLE_ORIG)
			return 0;
		if (type == CTA_STATUS) {
			__u32 status_be[2];

			if (found || attr[0] != 8)
				return 0;
			if (bpf_skb_load_bytes(skb, offset + 4, status_be, 4))
				return 0;
			*status = BE32(status_be[0]);
			found = 1;
		}
		offset += (attr[0] + 3) & ~3;
	}
	return 0;
}

/*
 * What follows the reply tuple of a usual message: id, status and timeout, then of TCP its state. True if it is
 * that; then `status` is known and `next` lies behind it.
 */
static __always_inline int usual(const __u32 *tail, __u32 message_len, __u32 *next, __u32 *status)
{
	if (tail[0] != ATTR(8, 12) || tail[2] != ATTR(8, CTA_STATUS) || tail[4] != ATTR(8, 7))
		return 0;
	*status = BE32(tail[3]);
	*next += 24;
	if (*next != message_len && tail[6] == NEST(48, 4))
		*next += 48;
	return 1;
}

/*
 * The protocol part of the original tuple, whose nest starts at word `at`: fills in the service, the
 * source port and the class. 1 if the flow is listed, 0 if its protocol is not, -1 if the layout is odd.
 * `len` is set to the length of the nest.
 */
static __always_inline int proto(const __u32 *word, __u8 icmp, __u16 icmp_attr, __u16 *service,
				 __u16 *port_and_class, __u32 *len)
{
	const __u8 *number = (const __u8 *)&word[2];

	if (word[1] != ATTR(5, 1))
		return -1;
	if (word[0] == NEST(28, 2)) {
		if (*number != 6 && *number != 17)
			return *number == 1 || *number == 58 ? -1 : 0;
		if (word[3] != ATTR(6, 2) || word[5] != ATTR(6, 3))
			return -1;
		*service = BE16(*(const __u16 *)&word[6]);
		*port_and_class = collapse(*(const __u16 *)&word[4]);
		if (*number == 17)
			*port_and_class |= CLASS_UDP;
		*len = 28;
		return 1;
	}
	/* Protocols without ports have the number alone. */
	if (word[0] == NEST(12, 2) && *number != 6 && *number != 17 && *number != 1 && *number != 58)
		return 0;
	if (word[0] == NEST(36, 2)) {
		if (*number != icmp)
			return *number == 6 || *number == 17 ? -1 : 0;
		if (word[3] != ATTR(6, icmp_attr) || word[5] != ATTR(5, icmp_attr + 1) ||
		    word[7] != ATTR(5, icmp_attr + 2))
			return -1;
		*service = *(const __u8 *)&word[6] << 8 | *(const __u8 *)&word[8];
		*port_and_class = CLASS_ICMP;
		*len = 36;
		return 1;
	}
	return -1;
}

/*
 * One sighting. What is sent is the key with REPLIED and IS_NEW in it. Inlined for each family, since the map and
 * the size reserved in the ring have to be constants.
 */
static __always_inline void sight(void *flows, const void *key, const __u64 size, __u32 bits,
				  struct counters *counters)
{
	__u32 *state = bpf_map_lookup_elem(flows, key);
	__u16 *record;
	long error;

	if (state && (!(bits & REPLIED) || *state & CONFIRMED))
		return;
	record = bpf_ringbuf_reserve(&sightings, size, 0);
	if (!record) {
		/* The map keeps it instead, for user space to fetch. What is no flow of the map is lost. */
		if (state) {
			*state |= CONFIRMED | UNTOLD;
			count(&counters->untold);
			return;
		}
		if (!(bits & REPLIED)) {
			const __u32 untold = UNTOLD;

			error = bpf_map_update_elem(flows, key, &untold, BPF_NOEXIST);
			if (!error)
				count(&counters->untold);
			/* Another CPU was faster: the flow is told already, or will be fetched. */
			if (!error || error == -EEXIST)
				return;
		}
		count(&counters->ring_full);
		if (bits & IS_NEW)
			count(&counters->lost_new);
		return;
	}
	if (state) {
		*state |= CONFIRMED;
	} else if (!(bits & REPLIED)) {
		const __u32 told = 0;

		error = bpf_map_update_elem(flows, key, &told, BPF_NOEXIST);
		if (error == -EEXIST) {
			/* Another CPU was faster. */
			bpf_ringbuf_discard(record, BPF_RB_NO_WAKEUP);
			return;
		}
		if (error)
			count(&counters->table_full);
	}
	__builtin_memcpy(record, key, size);
	/* port_and_class, the last of both keys. */
	record[size / 2 - 1] |= bits;
	/* User space comes by on a timer: no wake-up for each. */
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
}

SEC("socket")
int dedup(struct __sk_buff *skb)
{
	struct head head;
	__u32 cpu = bpf_get_smp_processor_id() % COUNTS, status = 0, len, tuple, start, next;
	__u16 service, port_and_class;
	struct counters *counters = bpf_map_lookup_elem(&counts, &cpu);
	__u32 bits;
	int judged, known = 0;

	if (!counters)
		return PASS;
	if (!load(skb, &head))
		goto pass;
	/* One message, the whole datagram, and an event. */
	if (head.len != skb->len || head.type != CT_NEW)
		goto pass;

	if (head.family == AF_INET) {
		if (head.word[WORD(24)] != NEST(20, 1) || head.word[WORD(28)] != ATTR(8, 1) ||
		    head.word[WORD(36)] != ATTR(8, 2))
			goto pass;
		judged = proto(&head.word[WORD(44)], 1, 4, &service, &port_and_class, &len);
		tuple = 4 + 20 + len;
	} else if (head.family == AF_INET6) {
		if (head.word[WORD(24)] != NEST(44, 1) || head.word[WORD(28)] != ATTR(20, 3) ||
		    head.word[WORD(48)] != ATTR(20, 4))
			goto pass;
		judged = proto(&head.word[WORD(68)], 58, 7, &service, &port_and_class, &len);
		tuple = 4 + 44 + len;
	} else {
		return DROP;
	}
	if (judged == 0)
		return DROP;
	if (judged < 0)
		goto pass;

	/* The tuple ends here, or with a zone, which is not part of a flow. */
	next = 20 + tuple;
	if (head.word[WORD(20)] == NEST(tuple + 8, 1)) {
		__u32 zone[2];

		if (bpf_skb_load_bytes(skb, next, zone, 4) || zone[0] != ATTR(6, 3))
			goto pass;
		next += 8;
	} else if (head.word[WORD(20)] != NEST(tuple, 1)) {
		goto pass;
	}
	start = next;
	/* The usual message goes on with the reply tuple, the id, the status and the timeout. */
	if (next == 72 && head.word[WORD(72)] == NEST(52, 2)) {
		next = 124;
		known = usual(&head.word[WORD(124)], skb->len, &next, &status);
	} else if (next == 96 && head.word[WORD(96)] == NEST(76, 2)) {
		next = 172;
		known = usual(&head.word[WORD(172)], skb->len, &next, &status);
	}
	if (!known)
		next = start;
	if (!(known && next == skb->len) && !walk(skb, next, &status, known))
		goto pass;

	bits = (status & IPS_SEEN_REPLY ? REPLIED : 0) | (head.flags & NLM_F_CREATE ? IS_NEW : 0);
	count(&counters->events);
	/*
	 * Not one counter or the other: the compiler makes that one addition to an address that it computes, which
	 * the verifier refuses where there is no CAP_PERFMON (sanitize_ptr_alu, kernel/bpf/verifier.c).
	 */
	if (bits & IS_NEW)
		count(&counters->begun);
	/* Keys are written by whole slots of the stack, see the top. */
	if (head.family == AF_INET) {
		__u64 key[2] = {
			PAIR64(head.word[WORD(32)], head.word[WORD(40)]),
			PAIR64(PAIR32(service, port_and_class), 0),
		};

		sight(&flows4, key, sizeof(struct key4), bits, counters);
	} else {
		const __u32 *word = head.word;
		__u64 key[5] = {
			PAIR64(word[WORD(32)], word[WORD(36)]),
			PAIR64(word[WORD(40)], word[WORD(44)]),
			PAIR64(word[WORD(52)], word[WORD(56)]),
			PAIR64(word[WORD(60)], word[WORD(64)]),
			PAIR64(PAIR32(service, port_and_class), 0),
		};

		sight(&flows6, key, sizeof(struct key6), bits, counters);
	}
	return DROP;

pass:
	count(&counters->passed);
	return PASS;
}

char LICENSE[] SEC("license") = "GPL";
