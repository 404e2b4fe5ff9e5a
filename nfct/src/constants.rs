//! Constants of the kernel's interface, under the names of its header.

/// Bits of [`Conntrack::status`](crate::Conntrack::status)
/// (`enum ip_conntrack_status`, linux/netfilter/nf_conntrack_common.h).
pub mod status {
    use netfilter_conntrack_sys as sys;

    /// The flow was expected by a helper (`IPS_EXPECTED`).
    pub const EXPECTED: u32 = sys::IPS_EXPECTED;
    /// Packets have been seen both ways (`IPS_SEEN_REPLY`).
    pub const SEEN_REPLY: u32 = sys::IPS_SEEN_REPLY;
    /// Not to be expired early (`IPS_ASSURED`).
    pub const ASSURED: u32 = sys::IPS_ASSURED;
    /// The first packet has left the box (`IPS_CONFIRMED`).
    pub const CONFIRMED: u32 = sys::IPS_CONFIRMED;
    /// The source is translated (`IPS_SRC_NAT`).
    pub const SRC_NAT: u32 = sys::IPS_SRC_NAT;
    /// The destination is translated (`IPS_DST_NAT`).
    pub const DST_NAT: u32 = sys::IPS_DST_NAT;
    /// TCP sequence numbers are adjusted (`IPS_SEQ_ADJUST`).
    pub const SEQ_ADJUST: u32 = sys::IPS_SEQ_ADJUST;
    /// Source translation has been decided (`IPS_SRC_NAT_DONE`).
    pub const SRC_NAT_DONE: u32 = sys::IPS_SRC_NAT_DONE;
    /// Destination translation has been decided (`IPS_DST_NAT_DONE`).
    pub const DST_NAT_DONE: u32 = sys::IPS_DST_NAT_DONE;
    /// Removed from the table (`IPS_DYING`).
    pub const DYING: u32 = sys::IPS_DYING;
    /// The timeout is fixed (`IPS_FIXED_TIMEOUT`).
    pub const FIXED_TIMEOUT: u32 = sys::IPS_FIXED_TIMEOUT;
    /// A helper was attached explicitly (`IPS_HELPER`).
    pub const HELPER: u32 = sys::IPS_HELPER;
    /// Handed to a software flow table (`IPS_OFFLOAD`, which the library's header has from 1.0.8 on).
    pub const OFFLOAD: u32 = 1 << 14;
}

/// Values of [`Conntrack::tcp_state`](crate::Conntrack::tcp_state)
/// (`enum tcp_conntrack`, linux/netfilter/nf_conntrack_tcp.h).
pub mod tcp_state {
    use netfilter_conntrack_sys as sys;

    /// No state yet.
    pub const NONE: u8 = sys::TCP_CONNTRACK_NONE as u8;
    /// SYN seen.
    pub const SYN_SENT: u8 = sys::TCP_CONNTRACK_SYN_SENT as u8;
    /// SYN and SYN-ACK seen.
    pub const SYN_RECV: u8 = sys::TCP_CONNTRACK_SYN_RECV as u8;
    /// The handshake is complete.
    pub const ESTABLISHED: u8 = sys::TCP_CONNTRACK_ESTABLISHED as u8;
    /// One side sent FIN.
    pub const FIN_WAIT: u8 = sys::TCP_CONNTRACK_FIN_WAIT as u8;
    /// The FIN was acknowledged.
    pub const CLOSE_WAIT: u8 = sys::TCP_CONNTRACK_CLOSE_WAIT as u8;
    /// The second FIN was sent.
    pub const LAST_ACK: u8 = sys::TCP_CONNTRACK_LAST_ACK as u8;
    /// The last FIN was acknowledged.
    pub const TIME_WAIT: u8 = sys::TCP_CONNTRACK_TIME_WAIT as u8;
    /// RST seen.
    pub const CLOSE: u8 = sys::TCP_CONNTRACK_CLOSE as u8;
    /// SYN seen from both sides (`TCP_CONNTRACK_SYN_SENT2`; the header keeps
    /// the older name for the value as well).
    pub const SYN_SENT2: u8 = sys::TCP_CONNTRACK_LISTEN as u8;
}
