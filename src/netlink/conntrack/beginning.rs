//! Whether a connection began with its entry, by what its protocol's tracker says.

use crate::model::flow::Event;
use crate::model::record::Protocol;
use crate::model::sighting::Beginning;
use crate::netlink::uapi::{
    IP_CT_TCP_FLAG_BE_LIBERAL, IP_CT_TCP_FLAG_WINDOW_SCALE, SCTP_CONNTRACK_COOKIE_WAIT,
    TCP_CONNTRACK_SYN_RECV, TCP_CONNTRACK_SYN_SENT, TCP_CONNTRACK_SYN_SENT2,
};

/// `CT_DCCP_REQUEST` (include/linux/netfilter/nf_conntrack_dccp.h, which is the kernel's own; before 6.16).
const DCCP_REQUEST: u8 = 1;

/// What a message says of an entry's state.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// The state, as the protocol's tracker counts them.
    pub state: Option<u8>,
    /// TCP's flags of both directions.
    pub tcp_flags: Option<[u8; 2]>,
    /// `IPS_OFFLOAD`: a flowtable has the connection.
    pub offloaded: bool,
}

impl Progress {
    /// Whether the connection began with its entry.
    ///
    /// The event that tells of a new entry has the state that the first packet led to. An event that could not be
    /// delivered comes later, with a later state, but then there has been an answer. Besides, TCP entries that were
    /// picked up in the middle stay marked: the window scaling is not known of them, so both directions are judged
    /// liberally (`tcp_new`, net/netfilter/nf_conntrack_proto_tcp.c, Linux 6.18). Entries of a flowtable are too
    /// (`flow_offload_ct_tcp`, nf_flow_table_core.c).
    #[must_use]
    pub fn beginning(self, protocol: Protocol, event: Event, replied: bool) -> Beginning {
        let first = event == Event::New && !replied;
        let began = |state: u8| match protocol {
            Protocol::TCP => matches!(
                state,
                TCP_CONNTRACK_SYN_SENT | TCP_CONNTRACK_SYN_RECV | TCP_CONNTRACK_SYN_SENT2
            ),
            Protocol::SCTP => state == SCTP_CONNTRACK_COOKIE_WAIT,
            _ => state == DCCP_REQUEST,
        };
        match (protocol, self.state, self.tcp_flags) {
            (Protocol::TCP | Protocol::SCTP | Protocol::DCCP, Some(state), _) if first => {
                if began(state) {
                    Beginning::Seen
                } else {
                    Beginning::PickedUp
                }
            }
            (Protocol::TCP, _, Some(flags)) => {
                let marks = IP_CT_TCP_FLAG_WINDOW_SCALE | IP_CT_TCP_FLAG_BE_LIBERAL;
                let picked_up = flags
                    .iter()
                    .all(|flags| flags & marks == IP_CT_TCP_FLAG_BE_LIBERAL);
                match (picked_up, self.offloaded) {
                    (false, _) => Beginning::Seen,
                    (true, false) => Beginning::PickedUp,
                    (true, true) => Beginning::Untold,
                }
            }
            _ => Beginning::Untold,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(event: Event, replied: bool, state: u8, flags: [u8; 2]) -> Beginning {
        let progress = Progress {
            state: Some(state),
            tcp_flags: Some(flags),
            offloaded: false,
        };
        progress.beginning(Protocol::TCP, event, replied)
    }

    #[test]
    fn tcp_tells_by_the_state_and_then_by_its_flags() {
        for (event, replied, state, flags, beginning) in [
            (
                Event::New,
                false,
                TCP_CONNTRACK_SYN_SENT,
                [0x03, 0],
                Beginning::Seen,
            ),
            (
                Event::New,
                false,
                TCP_CONNTRACK_SYN_SENT2,
                [0x03, 0],
                Beginning::Seen,
            ),
            (Event::New, false, 3, [0x0a, 0x0a], Beginning::PickedUp),
            // The first packet's event came late.
            (Event::New, true, 3, [0x03, 0x03], Beginning::Seen),
            (Event::Update, true, 3, [0x0a, 0x0a], Beginning::PickedUp),
            (Event::Update, true, 3, [0x03, 0x02], Beginning::Seen),
        ] {
            assert_eq!(tcp(event, replied, state, flags), beginning);
        }
    }

    #[test]
    fn what_a_flowtable_has_does_not_tell() {
        let progress = Progress {
            state: Some(3),
            tcp_flags: Some([IP_CT_TCP_FLAG_BE_LIBERAL; 2]),
            offloaded: true,
        };
        let beginning = progress.beginning(Protocol::TCP, Event::Update, true);
        assert_eq!(beginning, Beginning::Untold);
    }

    #[test]
    fn other_protocols_tell_with_their_first_event_or_never() {
        let with = |state| Progress {
            state: Some(state),
            ..Progress::default()
        };
        for (protocol, state, event, beginning) in [
            (
                Protocol::SCTP,
                SCTP_CONNTRACK_COOKIE_WAIT,
                Event::New,
                Beginning::Seen,
            ),
            (Protocol::SCTP, 4, Event::New, Beginning::PickedUp),
            (Protocol::SCTP, 4, Event::Update, Beginning::Untold),
            (Protocol::DCCP, DCCP_REQUEST, Event::New, Beginning::Seen),
            (Protocol::DCCP, 4, Event::New, Beginning::PickedUp),
            (Protocol::UDP, 4, Event::New, Beginning::Untold),
        ] {
            assert_eq!(with(state).beginning(protocol, event, false), beginning);
        }
    }
}
