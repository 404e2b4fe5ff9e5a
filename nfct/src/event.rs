//! [`EventType`]: what happened to an entry.

use libc::{NLM_F_CREATE, NLM_F_EXCL};
use netfilter_conntrack_sys as sys;

/// What a ctnetlink message says about its entry (`enum nf_conntrack_msg_type`).
///
/// The answers to a table dump have the form of [`EventType::Update`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventType {
    /// The entry was created (`NFCT_T_NEW`).
    New,
    /// The entry changed, or is an answer to a dump (`NFCT_T_UPDATE`).
    Update,
    /// The entry was removed (`NFCT_T_DESTROY`).
    Destroy,
}

impl EventType {
    /// From the value C passes to a callback; `None` for anything that is not
    /// exactly one of the three.
    pub(crate) fn from_raw(raw: sys::nf_conntrack_msg_type) -> Option<EventType> {
        match raw {
            sys::NFCT_T_NEW => Some(EventType::New),
            sys::NFCT_T_UPDATE => Some(EventType::Update),
            sys::NFCT_T_DESTROY => Some(EventType::Destroy),
            _ => None,
        }
    }

    /// From a netlink header, by the rule of the library's
    /// `__parse_message_type` (`src/conntrack/parse.c`): a "new" message is a
    /// creation only if it carries one of the creation flags.
    pub(crate) fn from_header(message_type: u8, flags: u16) -> Option<EventType> {
        match u32::from(message_type) {
            sys::IPCTNL_MSG_CT_NEW if i32::from(flags) & (NLM_F_CREATE | NLM_F_EXCL) != 0 => {
                Some(EventType::New)
            }
            sys::IPCTNL_MSG_CT_NEW => Some(EventType::Update),
            sys::IPCTNL_MSG_CT_DELETE => Some(EventType::Destroy),
            _ => None,
        }
    }

    /// The message type (without the subsystem) and the flags the kernel puts
    /// in an event of this kind (`ctnetlink_conntrack_event`,
    /// `net/netfilter/nf_conntrack_netlink.c`).
    pub(crate) fn to_header(self) -> (u8, u16) {
        let (message_type, flags) = match self {
            EventType::New => (sys::IPCTNL_MSG_CT_NEW, NLM_F_CREATE | NLM_F_EXCL),
            EventType::Update => (sys::IPCTNL_MSG_CT_NEW, 0),
            EventType::Destroy => (sys::IPCTNL_MSG_CT_DELETE, 0),
        };
        (message_type as u8, flags as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_and_back() {
        for kind in [EventType::New, EventType::Update, EventType::Destroy] {
            let (message_type, flags) = kind.to_header();
            assert_eq!(EventType::from_header(message_type, flags), Some(kind));
        }
        assert_eq!(
            EventType::from_header(sys::IPCTNL_MSG_CT_GET as u8, 0),
            None
        );
    }

    #[test]
    fn combined_types_are_no_event() {
        assert_eq!(EventType::from_raw(sys::NFCT_T_ALL), None);
        assert_eq!(EventType::from_raw(sys::NFCT_T_UNKNOWN), None);
        assert_eq!(EventType::from_raw(sys::NFCT_T_ERROR), None);
    }
}
