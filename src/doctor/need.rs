//! A rule because of which connections are tracked.

use std::fmt;

/// How many are named; the others are counted.
pub const NAMED: usize = 3;

/// A rule that has the kernel track connections (`nf_ct_netns_get`, net/netfilter/nf_conntrack_proto.c).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// `table inet filter, chain forward`.
    pub place: String,
    /// What in it does: `ct state`.
    pub what: String,
    /// Whether IPv4 is tracked because of it.
    pub ipv4: bool,
    /// Whether IPv6 is.
    pub ipv6: bool,
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// All such rules of one kind, the first of them by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// The first of each chain.
    pub named: Vec<Need>,
    /// How many there are.
    pub count: usize,
    /// Whether one of them has IPv4 tracked.
    pub ipv4: bool,
    /// Whether one has IPv6 tracked.
    pub ipv6: bool,
    /// Rules that keep events from listeners, each by its place and what it says; the first [`MASKS`] of them.
    pub masks: Vec<String>,
    /// The same of those that keep back the ends of connections alone, which only `--reliable` rests on.
    pub masks_of_ends: Vec<String>,
    /// Rules that exempt packets from tracking, likewise.
    pub exempt: Vec<String>,
}

/// How many rules that keep events back, or packets from being tracked, are named.
pub const MASKS: usize = 3;

/// The events that a list rests on, as bits of an event mask: `IPCT_NEW`, `IPCT_RELATED` and `IPCT_REPLY` of
/// include/uapi/linux/netfilter/nf_conntrack_common.h.
const EVENTS_NEEDED: u32 = 1 << 0 | 1 << 1 | 1 << 3;

/// `IPCT_DESTROY`, on which `--reliable` rests besides.
const END: u32 = 1 << 2;

/// Whether a mask of events lets everything pass that a list rests on.
pub const fn lets_events_pass(mask: u32) -> bool {
    mask & EVENTS_NEEDED == EVENTS_NEEDED
}

impl Needs {
    /// Adds a rule or module that has connections tracked.
    pub fn add(&mut self, need: Need) {
        self.count += 1;
        self.ipv4 |= need.ipv4;
        self.ipv6 |= need.ipv6;
        let known = self.named.iter().any(|named| named.place == need.place);
        if self.named.len() < NAMED && !known {
            self.named.push(need);
        }
    }

    /// Adds a rule that sets a mask of events, if it keeps any back that matter. `None` is a mask that is not known.
    pub fn add_mask(&mut self, rule: String, mask: Option<u32>) {
        let masks = match mask {
            Some(mask) if lets_events_pass(mask) && mask & END != 0 => return,
            Some(mask) if lets_events_pass(mask) => &mut self.masks_of_ends,
            _ => &mut self.masks,
        };
        if masks.len() < MASKS {
            masks.push(rule);
        }
    }

    /// Adds a rule that exempts packets from tracking.
    pub fn add_exempt(&mut self, rule: String) {
        if self.exempt.len() < MASKS && !self.exempt.contains(&rule) {
            self.exempt.push(rule);
        }
    }

    /// What either of two rulesets needs.
    pub fn and(mut self, other: &Self) -> Self {
        for (masks, others) in [
            (&mut self.masks, &other.masks),
            (&mut self.masks_of_ends, &other.masks_of_ends),
        ] {
            masks.extend(others.iter().cloned());
            masks.truncate(MASKS);
        }
        for rule in &other.exempt {
            self.add_exempt(rule.clone());
        }
        self.count += other.count;
        self.ipv4 |= other.ipv4;
        self.ipv6 |= other.ipv6;
        self.named.extend(other.named.iter().cloned());
        self.named.truncate(NAMED);
        self
    }
}

/// Whether an x_tables match or target has connections tracked: those of net/netfilter/xt_*.c that call
/// `nf_ct_netns_get`, and ipt_CLUSTERIP of kernels that have it.
pub fn is_of_xtables(name: &str) -> bool {
    const NAMES: [&str; 18] = [
        "conntrack",
        "state",
        "connbytes",
        "connlabel",
        "connlimit",
        "connmark",
        "helper",
        "CONNMARK",
        "CONNSECMARK",
        "CT",
        "MASQUERADE",
        "SNAT",
        "DNAT",
        "REDIRECT",
        "NETMAP",
        "SYNPROXY",
        "CLUSTERIP",
        "cluster",
    ];
    NAMES.contains(&name)
}

/// Whether the data of the target `CT` say `--notrack` (`XT_CT_NOTRACK` in `struct xt_ct_target_info`):
/// that alone needs nothing (`xt_ct_tg_check`).
pub fn is_notrack(name: &str, data: &[u8]) -> bool {
    let flags = data.first_chunk().map(|flags| u16::from_ne_bytes(*flags));
    name == "CT" && flags.is_some_and(|flags| flags & 1 != 0)
}

/// The event mask that the data of the target `CT` set, if they set one: `ct_events` and `exp_events` of `struct
/// xt_ct_target_info`, behind flags and zone. Either of the two has both taken over (`xt_ct_tg_check`).
pub fn event_mask(name: &str, data: &[u8]) -> Option<u32> {
    let word = |at: usize| {
        let bytes = data.get(at..)?.first_chunk()?;
        Some(u32::from_ne_bytes(*bytes))
    };
    let (events, expectations) = (word(4)?, word(8)?);
    (name == "CT" && !is_notrack(name, data) && (events != 0 || expectations != 0))
        .then_some(events)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_read_from_the_target() {
        let data = |flags: u16, events: u32, expectations: u32| {
            let halves = [flags.to_ne_bytes(), [0, 0]].concat();
            let words = [events.to_ne_bytes(), expectations.to_ne_bytes()].concat();
            [halves, words, vec![0; 20]].concat()
        };
        assert_eq!(event_mask("CT", &data(0, 0b101, 0)), Some(0b101));
        assert_eq!(event_mask("CT", &data(0, 0, 1)), Some(0));
        assert_eq!(event_mask("CT", &data(0, 0, 0)), None);
        assert_eq!(event_mask("CT", &data(1, 0b101, 0)), None);
        assert_eq!(event_mask("CT", &[0; 11]), None);
        assert!(lets_events_pass(0b1111) && !lets_events_pass(0b0111));
    }

    #[test]
    fn one_rule_of_a_chain_is_named_and_all_are_counted() {
        let need = |place: &str, ipv6| Need {
            place: place.into(),
            what: "ct state".into(),
            ipv4: true,
            ipv6,
        };
        let mut needs = Needs::default();
        for place in ["a", "a", "b", "c", "d"] {
            needs.add(need(place, false));
        }
        assert_eq!((needs.count, needs.ipv4, needs.ipv6), (5, true, false));
        assert_eq!(needs.named.len(), NAMED);
        let mut more = Needs::default();
        more.add(need("e", true));
        let both = needs.and(&more);
        assert_eq!((both.count, both.ipv6, both.named.len()), (6, true, NAMED));
    }
}
