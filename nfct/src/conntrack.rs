//! [`Conntrack`], a borrowed entry, and its getters.

use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netfilter_conntrack_sys as sys;

/// The two directions of a flow; each has a tuple of its own.
///
/// Without address translation the reply tuple is the original one turned
/// round. With it, the reply tuple tells what the flow was translated to: the
/// destination address after DNAT is the reply's source, the source address
/// after SNAT is the reply's destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// As the first packet went, before any translation.
    Original,
    /// As the kernel expects the answers to come.
    Reply,
}

/// The attribute of each direction, original first.
type Pair = [sys::nf_conntrack_attr; 2];

pub(crate) const IPV4_SRC: Pair = [sys::ATTR_ORIG_IPV4_SRC, sys::ATTR_REPL_IPV4_SRC];
pub(crate) const IPV4_DST: Pair = [sys::ATTR_ORIG_IPV4_DST, sys::ATTR_REPL_IPV4_DST];
pub(crate) const IPV6_SRC: Pair = [sys::ATTR_ORIG_IPV6_SRC, sys::ATTR_REPL_IPV6_SRC];
pub(crate) const IPV6_DST: Pair = [sys::ATTR_ORIG_IPV6_DST, sys::ATTR_REPL_IPV6_DST];
pub(crate) const PORT_SRC: Pair = [sys::ATTR_ORIG_PORT_SRC, sys::ATTR_REPL_PORT_SRC];
pub(crate) const PORT_DST: Pair = [sys::ATTR_ORIG_PORT_DST, sys::ATTR_REPL_PORT_DST];
pub(crate) const L3: Pair = [sys::ATTR_ORIG_L3PROTO, sys::ATTR_REPL_L3PROTO];
const ZONE: Pair = [sys::ATTR_ORIG_ZONE, sys::ATTR_REPL_ZONE];
pub(crate) const L4: Pair = [sys::ATTR_ORIG_L4PROTO, sys::ATTR_REPL_L4PROTO];
const PACKETS: Pair = [
    sys::ATTR_ORIG_COUNTER_PACKETS,
    sys::ATTR_REPL_COUNTER_PACKETS,
];
const BYTES: Pair = [sys::ATTR_ORIG_COUNTER_BYTES, sys::ATTR_REPL_COUNTER_BYTES];

const TCP_FLAGS: Pair = [sys::ATTR_TCP_FLAGS_ORIG, sys::ATTR_TCP_FLAGS_REPL];

pub(crate) fn of(pair: Pair, direction: Direction) -> sys::nf_conntrack_attr {
    pair[match direction {
        Direction::Original => 0,
        Direction::Reply => 1,
    }]
}

/// An entry of the connection-tracking table (`struct nf_conntrack`), always
/// behind a reference: to the library's own object inside a callback, or to
/// that of a [`ConntrackBuf`](crate::ConntrackBuf).
///
/// Every getter returns `None` for an attribute the message did not carry or
/// nobody set (`nfct_get_attr` gives `NULL`, errno `ENODATA`). What the kernel
/// sends depends on the event and on sysctls: counters need
/// `nf_conntrack_acct`, timestamps `nf_conntrack_timestamp`. Types and byte orders are those of the comments in
/// `libnetfilter_conntrack.h` and of the setters in `src/conntrack/setter.c`.
#[repr(transparent)]
pub struct Conntrack {
    // Neither Send nor Sync, and nothing the compiler may assume about the
    // bytes behind the reference: they are C's.
    _opaque: PhantomData<UnsafeCell<*mut ()>>,
}

impl Conntrack {
    /// # Safety
    ///
    /// `ptr` is a valid entry that nobody frees or changes during `'a`.
    pub(crate) unsafe fn from_ptr<'a>(ptr: *const sys::nf_conntrack) -> &'a Conntrack {
        // SAFETY: the caller's promise; Conntrack has size 0 and alignment 1,
        // so the reference itself covers no memory.
        unsafe { &*ptr.cast::<Conntrack>() }
    }

    pub(crate) fn as_ptr(&self) -> *const sys::nf_conntrack {
        std::ptr::from_ref(self).cast()
    }

    /// Reads an attribute of type `T`.
    ///
    /// # Safety
    ///
    /// The library stores `attribute` as a value of `T`'s size, and every bit
    /// pattern is a `T`.
    unsafe fn get<T: Copy>(&self, attribute: sys::nf_conntrack_attr) -> Option<T> {
        // SAFETY: the entry is valid as long as `self` is borrowed.
        let value = unsafe { sys::nfct_get_attr(self.as_ptr(), attribute) };
        if value.is_null() {
            return None;
        }
        // SAFETY: not NULL, so it points to the attribute inside the entry; the
        // size is the caller's promise. Unaligned, because the library promises
        // no alignment for what it returns.
        Some(unsafe { value.cast::<T>().read_unaligned() })
    }

    fn get_u8(&self, attribute: sys::nf_conntrack_attr) -> Option<u8> {
        // SAFETY: called for attributes the header marks "u8 bits" only; a
        // wider one would be read short, not past its end.
        unsafe { self.get(attribute) }
    }

    fn get_u16_be(&self, attribute: sys::nf_conntrack_attr) -> Option<u16> {
        // SAFETY: called for attributes the header marks "u16 bits" only.
        unsafe { self.get(attribute) }.map(u16::from_be)
    }

    fn get_u32(&self, attribute: sys::nf_conntrack_attr) -> Option<u32> {
        // SAFETY: called for attributes the header marks "u32 bits" only.
        unsafe { self.get(attribute) }
    }

    fn get_u64(&self, attribute: sys::nf_conntrack_attr) -> Option<u64> {
        // SAFETY: called for attributes the header marks "u64 bits" only.
        unsafe { self.get(attribute) }
    }

    fn get_ipv4(&self, attribute: sys::nf_conntrack_attr) -> Option<Ipv4Addr> {
        // SAFETY: called for the IPv4 attributes, a u32 in network order: four
        // bytes in the order they are written in.
        unsafe { self.get::<[u8; 4]>(attribute) }.map(Ipv4Addr::from)
    }

    fn get_ipv6(&self, attribute: sys::nf_conntrack_attr) -> Option<Ipv6Addr> {
        // SAFETY: called for the IPv6 attributes, "u128 bits" in network order.
        unsafe { self.get::<[u8; 16]>(attribute) }.map(Ipv6Addr::from)
    }

    /// The address family, `AF_INET` (2) or `AF_INET6` (10).
    #[must_use]
    pub fn l3_protocol(&self, direction: Direction) -> Option<u8> {
        self.get_u8(of(L3, direction))
    }

    /// The IP protocol number: 6 TCP, 17 UDP, 1 ICMP, 58 ICMPv6, …
    #[must_use]
    pub fn l4_protocol(&self, direction: Direction) -> Option<u8> {
        self.get_u8(of(L4, direction))
    }

    /// The IPv4 source address.
    #[must_use]
    pub fn ipv4_src(&self, direction: Direction) -> Option<Ipv4Addr> {
        self.get_ipv4(of(IPV4_SRC, direction))
    }

    /// The IPv4 destination address.
    #[must_use]
    pub fn ipv4_dst(&self, direction: Direction) -> Option<Ipv4Addr> {
        self.get_ipv4(of(IPV4_DST, direction))
    }

    /// The IPv6 source address.
    #[must_use]
    pub fn ipv6_src(&self, direction: Direction) -> Option<Ipv6Addr> {
        self.get_ipv6(of(IPV6_SRC, direction))
    }

    /// The IPv6 destination address.
    #[must_use]
    pub fn ipv6_dst(&self, direction: Direction) -> Option<Ipv6Addr> {
        self.get_ipv6(of(IPV6_DST, direction))
    }

    /// The source address, of whichever family is set.
    #[must_use]
    pub fn src(&self, direction: Direction) -> Option<IpAddr> {
        self.ipv4_src(direction)
            .map(IpAddr::V4)
            .or_else(|| self.ipv6_src(direction).map(IpAddr::V6))
    }

    /// The destination address, of whichever family is set.
    #[must_use]
    pub fn dst(&self, direction: Direction) -> Option<IpAddr> {
        self.ipv4_dst(direction)
            .map(IpAddr::V4)
            .or_else(|| self.ipv6_dst(direction).map(IpAddr::V6))
    }

    /// The source port, in host order. `None` for protocols without ports.
    #[must_use]
    pub fn src_port(&self, direction: Direction) -> Option<u16> {
        self.get_u16_be(of(PORT_SRC, direction))
    }

    /// The destination port, in host order. `None` for protocols without ports.
    #[must_use]
    pub fn dst_port(&self, direction: Direction) -> Option<u16> {
        self.get_u16_be(of(PORT_DST, direction))
    }

    /// The ICMP or ICMPv6 type of the original tuple.
    ///
    /// In an entry that came from the kernel the library sets this from either
    /// tuple, so it may be present though the original tuple lacked it, as 0.
    #[must_use]
    pub fn icmp_type(&self) -> Option<u8> {
        self.get_u8(sys::ATTR_ICMP_TYPE)
    }

    /// The ICMP or ICMPv6 code of the original tuple; see
    /// [`icmp_type`](Conntrack::icmp_type).
    #[must_use]
    pub fn icmp_code(&self) -> Option<u8> {
        self.get_u8(sys::ATTR_ICMP_CODE)
    }

    /// The ICMP or ICMPv6 identifier of the original tuple, in host order; see
    /// [`icmp_type`](Conntrack::icmp_type).
    #[must_use]
    pub fn icmp_id(&self) -> Option<u16> {
        self.get_u16_be(sys::ATTR_ICMP_ID)
    }

    /// The status bits, in host order; see [`status`](crate::status).
    #[must_use]
    pub fn status(&self) -> Option<u32> {
        self.get_u32(sys::ATTR_STATUS)
    }

    /// Whether an answer has been seen ([`status::SEEN_REPLY`](crate::status)).
    #[must_use]
    pub fn is_replied(&self) -> Option<bool> {
        self.status()
            .map(|status| status & crate::status::SEEN_REPLY != 0)
    }

    /// Seconds until the entry expires; in a destroy event, what was left.
    #[must_use]
    pub fn timeout_s(&self) -> Option<u32> {
        self.get_u32(sys::ATTR_TIMEOUT)
    }

    /// The connection mark (`ct mark`), in host order.
    #[must_use]
    pub fn mark(&self) -> Option<u32> {
        self.get_u32(sys::ATTR_MARK)
    }

    /// The kernel's id of the entry, in host order. A hash, not a counter:
    /// good for telling two entries of the same tuple apart.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.get_u32(sys::ATTR_ID)
    }

    /// The zone both directions are in, in host order; absent in zone 0.
    #[must_use]
    pub fn zone(&self) -> Option<u16> {
        // SAFETY: "u16 bits", kept in host order (src/conntrack/parse_mnl.c
        // converts it, unlike the ports).
        unsafe { self.get(sys::ATTR_ZONE) }
    }

    /// The zone of one direction alone, in host order; absent where both are in one
    /// zone, or this one in zone 0.
    #[must_use]
    pub fn zone_of(&self, direction: Direction) -> Option<u16> {
        // SAFETY: "u16 bits", kept in host order as that of both directions is
        // (src/conntrack/parse_mnl.c, nfct_parse_tuple).
        unsafe { self.get(of(ZONE, direction)) }
    }

    /// The TCP state; see [`tcp_state`](crate::tcp_state).
    #[must_use]
    pub fn tcp_state(&self) -> Option<u8> {
        self.get_u8(sys::ATTR_TCP_STATE)
    }

    /// Flags of TCP's window tracking in a direction (`IP_CT_TCP_FLAG_*`).
    #[must_use]
    pub fn tcp_flags(&self, direction: Direction) -> Option<u8> {
        self.get_u8(of(TCP_FLAGS, direction))
    }

    /// The SCTP state (`enum sctp_conntrack`).
    #[must_use]
    pub fn sctp_state(&self) -> Option<u8> {
        self.get_u8(sys::ATTR_SCTP_STATE)
    }

    /// The DCCP state (`enum ct_dccp_states`).
    #[must_use]
    pub fn dccp_state(&self) -> Option<u8> {
        self.get_u8(sys::ATTR_DCCP_STATE)
    }

    /// The name of the helper that follows the connection, if one does.
    #[must_use]
    pub fn helper_name(&self) -> Option<String> {
        // SAFETY: the entry is valid as long as `self` is borrowed.
        let name = unsafe { sys::nfct_get_attr(self.as_ptr(), sys::ATTR_HELPER_NAME) };
        if name.is_null() {
            return None;
        }
        // SAFETY: not NULL, so it points to the name inside the entry, which is ended by a zero byte: a string
        // attribute in the header, kept in `helper_name[NFCT_HELPER_NAME_MAX]` and cut off to fit.
        let name = unsafe { std::ffi::CStr::from_ptr(name.cast()) };
        let name = name.to_string_lossy().into_owned();
        (!name.is_empty()).then_some(name)
    }

    /// The protocol of the connection whose helper expected this one.
    #[must_use]
    pub fn master_l4_protocol(&self) -> Option<u8> {
        self.get_u8(sys::ATTR_MASTER_L4PROTO)
    }

    /// The destination port of the connection whose helper expected this one.
    #[must_use]
    pub fn master_dst_port(&self) -> Option<u16> {
        self.get_u16_be(sys::ATTR_MASTER_PORT_DST)
    }

    /// When the entry was created, in nanoseconds since the epoch. Needs
    /// `net.netfilter.nf_conntrack_timestamp=1` when it was.
    #[must_use]
    pub fn start_ns(&self) -> Option<u64> {
        self.get_u64(sys::ATTR_TIMESTAMP_START)
    }

    /// When the entry was removed, in nanoseconds since the epoch; in destroy
    /// events only.
    #[must_use]
    pub fn stop_ns(&self) -> Option<u64> {
        self.get_u64(sys::ATTR_TIMESTAMP_STOP)
    }

    /// Packets counted in a direction. Needs `net.netfilter.nf_conntrack_acct=1`.
    #[must_use]
    pub fn packets(&self, direction: Direction) -> Option<u64> {
        self.get_u64(of(PACKETS, direction))
    }

    /// Bytes counted in a direction, network headers included. Needs
    /// `net.netfilter.nf_conntrack_acct=1`.
    #[must_use]
    pub fn bytes(&self, direction: Direction) -> Option<u64> {
        self.get_u64(of(BYTES, direction))
    }

    pub(crate) fn is_set(&self, attribute: sys::nf_conntrack_attr) -> bool {
        // SAFETY: the entry is valid as long as `self` is borrowed.
        unsafe { sys::nfct_attr_is_set(self.as_ptr(), attribute) > 0 }
    }
}

impl fmt::Debug for Conntrack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tuple = |direction| {
            (
                self.l4_protocol(direction),
                self.src(direction),
                self.src_port(direction),
                self.dst(direction),
                self.dst_port(direction),
            )
        };
        f.debug_struct("Conntrack")
            .field("original", &tuple(Direction::Original))
            .field("reply", &tuple(Direction::Reply))
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}
