//! How a flow came about: whether its beginning was seen, and whether a connection tracking helper expected it.

use std::fmt;

use crate::model::record::Protocol;

/// What is known of a flow's beginning. Of flows that are seen several times the least doubtful counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Begun {
    /// Nothing says that it was picked up in the middle.
    #[default]
    Usual,
    /// It was picked up in the middle, by a packet of the side that had opened it.
    PickedUp,
    /// It was picked up in the middle by a packet of the other side, and has been turned round.
    Turned,
    /// It was picked up in the middle, and which side opened it is not known.
    Unclear,
}

impl Begun {
    /// Whether the connection was there before it was tracked.
    #[must_use]
    pub const fn is_picked_up(self) -> bool {
        !matches!(self, Self::Usual)
    }

    /// Whether the flow was turned round; `None` if that is not known or no question.
    #[must_use]
    pub const fn turned(self) -> Option<bool> {
        match self {
            Self::Usual | Self::Unclear => None,
            Self::PickedUp => Some(false),
            Self::Turned => Some(true),
        }
    }

    /// From what the formats say.
    #[must_use]
    pub const fn told(picked_up: bool, turned: Option<bool>) -> Self {
        match (picked_up, turned) {
            (_, Some(true)) => Self::Turned,
            (false, _) => Self::Usual,
            (true, Some(false)) => Self::PickedUp,
            (true, None) => Self::Unclear,
        }
    }
}

/// A connection tracking helper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Helper {
    /// FTP.
    Ftp,
    /// TFTP.
    Tftp,
    /// SIP.
    Sip,
    /// IRC, for DCC.
    Irc,
    /// Amanda backups.
    Amanda,
    /// PPTP.
    Pptp,
    /// H.323: registration.
    Ras,
    /// H.323: call signalling.
    Q931,
    /// H.323: call control.
    H245,
    /// SANE scanners.
    Sane,
    /// NetBIOS name service.
    NetbiosNs,
    /// SNMP.
    Snmp,
    /// One that has no name here, such as those of conntrackd.
    Other,
}

impl Helper {
    /// The names that the kernel's helpers have (`nf_ct_helper_init`, net/netfilter/nf_conntrack_*.c, Linux 6.18).
    const NAMES: [(Self, &'static str); 12] = [
        (Self::Ftp, "ftp"),
        (Self::Tftp, "tftp"),
        (Self::Sip, "sip"),
        (Self::Irc, "irc"),
        (Self::Amanda, "amanda"),
        (Self::Pptp, "pptp"),
        (Self::Ras, "RAS"),
        (Self::Q931, "Q.931"),
        (Self::H245, "H.245"),
        (Self::Sane, "sane"),
        (Self::NetbiosNs, "netbios-ns"),
        (Self::Snmp, "snmp"),
    ];

    /// The helper of a name.
    #[must_use]
    pub fn parse(name: &str) -> Self {
        let found = Self::NAMES.iter().find(|(_, known)| *known == name);
        found.map_or(Self::Other, |(helper, _)| *helper)
    }

    /// The kernel's name, or `other`.
    #[must_use]
    pub fn name(self) -> &'static str {
        let found = Self::NAMES.iter().find(|(helper, _)| *helper == self);
        found.map_or("other", |(_, name)| name)
    }

    /// Whether the kernel has it for a protocol: no other can be assigned (the `nf_ct_helper_init` calls of the same files,
    /// and `nfct_helper_pptp`, `nf_conntrack_helper_h245` and their like).
    #[must_use]
    pub fn follows(self, protocol: Protocol) -> bool {
        let (tcp, udp) = match self {
            Self::Sip => (true, true),
            Self::Ftp | Self::Irc | Self::Pptp | Self::Q931 | Self::H245 | Self::Sane => {
                (true, false)
            }
            Self::Tftp | Self::Amanda | Self::Ras | Self::NetbiosNs | Self::Snmp => (false, true),
            Self::Other => (false, false),
        };
        protocol == Protocol::TCP && tcp || protocol == Protocol::UDP && udp
    }
}

impl fmt::Display for Helper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What had a helper expect a connection: another one, which it follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Expected {
    /// The helper, where the kernel tells it.
    pub helper: Option<Helper>,
    /// Protocol of the control connection.
    pub protocol: Protocol,
    /// Its destination port, or 0 if that is not known.
    pub port: u16,
}

/// How a flow came about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    /// Whether its beginning was seen.
    pub begun: Begun,
    /// The helper that follows the flow itself, as a control connection.
    pub helper: Option<Helper>,
    /// The control connection, if every connection of the flow was one that a helper expected.
    pub expected_by: Option<Expected>,
}

impl Origin {
    /// Whether a helper expected it whose name is not known.
    #[must_use]
    pub fn is_nameless(&self) -> bool {
        self.expected_by.is_some_and(|by| by.helper.is_none())
    }

    /// What is known after another sighting of the same flow.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            begun: self.begun.min(other.begun),
            helper: self.helper.or(other.helper),
            expected_by: match (self.expected_by, other.expected_by) {
                (Some(one), Some(other)) => Some(if one.port == 0 { other } else { one }),
                // A connection that nobody expected needs a rule of its own.
                _ => None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_helpers() {
        for (helper, name) in Helper::NAMES {
            assert_eq!(Helper::parse(name), helper);
            assert_eq!(helper.name(), name);
        }
        assert_eq!(Helper::parse("rpc"), Helper::Other);
    }

    #[test]
    fn what_the_formats_say_leads_back() {
        for begun in [Begun::Usual, Begun::PickedUp, Begun::Turned, Begun::Unclear] {
            assert_eq!(Begun::told(begun.is_picked_up(), begun.turned()), begun);
        }
    }

    #[test]
    fn one_connection_that_nobody_expected_is_enough() {
        let expected = Origin {
            expected_by: Some(Expected {
                helper: Some(Helper::Ftp),
                protocol: Protocol::TCP,
                port: 21,
            }),
            ..Origin::default()
        };
        assert_eq!(expected.and(expected), expected);
        assert_eq!(expected.and(Origin::default()).expected_by, None);
    }
}
