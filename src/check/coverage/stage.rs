//! Which of its addresses a packet has where a chain sees it: those before or after translation.
//!
//! ```text
//!   A:1024 → G:80, which is translated to A:1024 → S:8080, and leaves as G:1024 → S:8080
//!
//!   prerouting: raw, mangle   nat │ filter      forward        postrouting: mangle   nat │
//!   A:1024 → G:80                 │ A:1024 → S:8080                                      │ G:1024 → S:8080
//! ```

/// Whether an address of the first direction is translated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Seen {
    /// It is the one that the packet came with.
    Before,
    /// It is the one that it leaves with.
    After,
    /// That is not known.
    #[default]
    Either,
}

/// How far translation has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Stage {
    /// Of the source of the first direction, which is the destination of answers.
    pub source: Seen,
    /// Of the destination of the first direction.
    pub destination: Seen,
}

/// `NF_IP_PRI_NAT_DST` and `NF_IP_PRI_NAT_SRC` of `include/uapi/linux/netfilter_ipv4.h`: all chains of type `nat` are called
/// at one of these, whatever their own priority (`nf_nat_register_fn`, net/netfilter/nf_nat_core.c, Linux 6.18).
const NAT_DESTINATION: i64 = -100;
const NAT_SOURCE: i64 = 100;

impl Stage {
    /// That of packets of the first direction, or of answers, in a chain of this type, hook and priority.
    pub fn of(kind: &str, hook: &str, priority: i64, answer: bool) -> Self {
        let at = |translation: i64| match (kind, priority.cmp(&translation)) {
            ("nat", _) => Seen::Before,
            (_, std::cmp::Ordering::Less) => Seen::Before,
            (_, std::cmp::Ordering::Equal) => Seen::Either,
            (_, std::cmp::Ordering::Greater) => Seen::After,
        };
        // Of the packet's own destination and source.
        let (destination, source) = match hook {
            "ingress" => (Seen::Before, Seen::Before),
            "prerouting" | "output" => (at(NAT_DESTINATION), Seen::Before),
            "forward" => (Seen::After, Seen::Before),
            "input" | "postrouting" => (Seen::After, at(NAT_SOURCE)),
            "egress" => (Seen::After, Seen::After),
            _ => (Seen::Either, Seen::Either),
        };
        if !answer {
            return Self {
                source,
                destination,
            };
        }
        // The destination of an answer is what the source was translated to, until that is undone; its source is what the
        // destination was translated to.
        let undone = |seen| match seen {
            Seen::Before => Seen::After,
            Seen::After => Seen::Before,
            Seen::Either => Seen::Either,
        };
        Self {
            source: undone(destination),
            destination: undone(source),
        }
    }

    /// What holds for both.
    pub fn or(self, other: Self) -> Self {
        let both = |one, other| if one == other { one } else { Seen::Either };
        Self {
            source: both(self.source, other.source),
            destination: both(self.destination, other.destination),
        }
    }
}
