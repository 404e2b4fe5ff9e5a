//! Setters of [`ConntrackBuf`], for building entries.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};

use netfilter_conntrack_sys as sys;

use crate::conntrack::{IPV4_DST, IPV4_SRC, IPV6_DST, IPV6_SRC, L3, L4, PORT_DST, PORT_SRC, of};
use crate::{ConntrackBuf, Direction};

impl ConntrackBuf {
    /// Sets the addresses of a direction, and IPv4 as its layer-3 protocol.
    pub fn set_ipv4(&mut self, direction: Direction, src: Ipv4Addr, dst: Ipv4Addr) {
        // The two families share their storage in the library's object
        // (struct __nfct_tuple, include/internal/object.h).
        self.unset(of(IPV6_SRC, direction));
        self.unset(of(IPV6_DST, direction));
        self.set_u8(of(L3, direction), libc::AF_INET as u8);
        self.set_u32(of(IPV4_SRC, direction), u32::from(src).to_be());
        self.set_u32(of(IPV4_DST, direction), u32::from(dst).to_be());
    }

    /// Sets the addresses of a direction, and IPv6 as its layer-3 protocol.
    pub fn set_ipv6(&mut self, direction: Direction, src: Ipv6Addr, dst: Ipv6Addr) {
        self.unset(of(IPV4_SRC, direction));
        self.unset(of(IPV4_DST, direction));
        self.set_u8(of(L3, direction), libc::AF_INET6 as u8);
        self.set_u128(of(IPV6_SRC, direction), u128::from(src).to_be());
        self.set_u128(of(IPV6_DST, direction), u128::from(dst).to_be());
    }

    /// Sets the IP protocol number of a direction.
    pub fn set_l4_protocol(&mut self, direction: Direction, protocol: u8) {
        self.set_u8(of(L4, direction), protocol);
    }

    /// Sets the ports of a direction, given in host order.
    pub fn set_ports(&mut self, direction: Direction, src: u16, dst: u16) {
        self.set_u16(of(PORT_SRC, direction), src.to_be());
        self.set_u16(of(PORT_DST, direction), dst.to_be());
    }

    /// Sets ICMP type, code and identifier (host order) of the original tuple.
    /// Call it after the addresses: the library also fills in the reply tuple,
    /// with the reply type, which depends on the address family.
    ///
    /// # Errors
    ///
    /// `EINVAL` for a type that opens no flow and answers none, in the family
    /// set before: the library would store 255 as its reply type, and the
    /// kernel tracks no such message (`invmap`,
    /// net/netfilter/nf_conntrack_proto_icmp.c and …_icmpv6.c). Also if the
    /// original direction has no addresses yet.
    pub fn set_icmp(&mut self, icmp_type: u8, code: u8, id: u16) -> io::Result<()> {
        let has_reply_type = match self.l3_protocol(Direction::Original).map(i32::from) {
            Some(libc::AF_INET) => matches!(icmp_type, 0 | 8 | 13..=18),
            Some(libc::AF_INET6) => matches!(icmp_type, 128 | 129 | 139 | 140),
            _ => false,
        };
        if !has_reply_type {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        self.set_u8(sys::ATTR_ICMP_TYPE, icmp_type);
        self.set_u8(sys::ATTR_ICMP_CODE, code);
        self.set_u16(sys::ATTR_ICMP_ID, id.to_be());
        Ok(())
    }

    /// Sets the reply tuple to the original one turned round, as it is without
    /// address translation. Call it after the original tuple is complete.
    ///
    /// The library's `NFCT_SOPT_SETUP_REPLY` is not used: it marks ports as set
    /// in ICMP entries (`__autocomplete`, src/conntrack/objopt.c, 1.0.9).
    pub fn set_reply_from_original(&mut self) {
        use Direction::{Original, Reply};
        if let (Some(src), Some(dst)) = (self.ipv4_src(Original), self.ipv4_dst(Original)) {
            self.set_ipv4(Reply, dst, src);
        } else if let (Some(src), Some(dst)) = (self.ipv6_src(Original), self.ipv6_dst(Original)) {
            self.set_ipv6(Reply, dst, src);
        }
        if let Some(protocol) = self.l4_protocol(Original) {
            self.set_l4_protocol(Reply, protocol);
        }
        if let (Some(src), Some(dst)) = (self.src_port(Original), self.dst_port(Original)) {
            self.set_ports(Reply, dst, src);
        }
    }

    /// Sets the status bits; see [`status`](crate::status). When an entry is
    /// sent or [built](crate::build) the library adds
    /// [`CONFIRMED`](crate::status::CONFIRMED).
    pub fn set_status(&mut self, status: u32) {
        self.set_u32(sys::ATTR_STATUS, status);
    }

    /// Sets the seconds until the entry expires.
    pub fn set_timeout_s(&mut self, seconds: u32) {
        self.set_u32(sys::ATTR_TIMEOUT, seconds);
    }

    /// Sets the connection mark, in host order.
    pub fn set_mark(&mut self, mark: u32) {
        self.set_u32(sys::ATTR_MARK, mark);
    }

    /// Sets the zone, in host order.
    pub fn set_zone(&mut self, zone: u16) {
        self.set_u16(sys::ATTR_ZONE, zone);
    }

    /// Sets the TCP state; see [`tcp_state`](crate::tcp_state). Sent only if
    /// the original layer-4 protocol is TCP.
    pub fn set_tcp_state(&mut self, state: u8) {
        self.set_u8(sys::ATTR_TCP_STATE, state);
    }

    // Each of these is called for attributes of its size only; the sizes are
    // in the comments of enum nf_conntrack_attr, libnetfilter_conntrack.h.

    fn set_u8(&mut self, attribute: sys::nf_conntrack_attr, value: u8) {
        // SAFETY: the setter reads one byte.
        unsafe { self.set(attribute, value) }
    }

    fn set_u16(&mut self, attribute: sys::nf_conntrack_attr, value: u16) {
        // SAFETY: the setter reads two bytes.
        unsafe { self.set(attribute, value) }
    }

    fn set_u32(&mut self, attribute: sys::nf_conntrack_attr, value: u32) {
        // SAFETY: the setter reads four bytes.
        unsafe { self.set(attribute, value) }
    }

    fn set_u128(&mut self, attribute: sys::nf_conntrack_attr, value: u128) {
        // SAFETY: the setter reads sixteen bytes.
        unsafe { self.set(attribute, value) }
    }
}
