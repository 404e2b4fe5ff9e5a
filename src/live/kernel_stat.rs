//! What the kernel counts of connections that it could not keep in its table: their packets are dropped, so that no
//! event reports them.
//!
//! Asking is also what makes sure that there is somebody to tell of events. Subscribing to them only asks for the
//! module nf_conntrack_netlink and goes on (`nfnetlink_bind`, net/netfilter/nfnetlink.c: request_module_nowait), so
//! that first events are lost, or all where it can't be loaded. A request waits for it (`nfnetlink_rcv_msg`).

use std::collections::HashMap;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::intake::Intake;
use crate::model::error::Error;
use crate::model::units::{agree, counted};
use crate::netlink::build::netfilter_message;
use crate::netlink::framing::{NFGENMSG_LEN, attributes};
use crate::netlink::request::{self, Family};
use crate::netlink::uapi::{
    CTA_STATS_CHAIN_TOOLONG, CTA_STATS_DROP, CTA_STATS_EARLY_DROP, CTA_STATS_INSERT_FAILED,
    CTA_STATS_INVALID, IPCTNL_MSG_CT_GET_STATS_CPU, NFNL_SUBSYS_CTNETLINK, NLM_F_DUMP,
    NLM_F_REQUEST, message_type,
};
use crate::os::namespace;
use crate::os::namespaces::Namespaces;

/// `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET_STATS_CPU`.
const GET_STATS_CPU: u16 = message_type(NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET_STATS_CPU);

/// The counters of this network namespace since it was made, of all processors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets dropped because their connection could not be made an entry.
    pub drop: u64,
    /// Entries thrown out to make room for others.
    pub early_drop: u64,
    /// Entries that were made and could not be inserted.
    pub insert_failed: u64,
    /// Those of them for which the hash table had too long a chain.
    pub chain_too_long: u64,
    /// Packets that belong to no connection, by what its protocol's tracker knows.
    pub invalid: u64,
}

impl Counters {
    /// Asks the kernel, and waits until the module that answers is loaded.
    ///
    /// Errors: `EPERM` without CAP_NET_ADMIN, `EINVAL` where there is nobody to answer.
    pub fn ask() -> io::Result<Self> {
        let socket = request::open(Family::Netfilter, 0)?;
        let mut bytes = Vec::new();
        let flags = NLM_F_REQUEST | NLM_F_DUMP;
        netfilter_message(&mut bytes, GET_STATS_CPU, flags, 0, 0, |_| {});
        let mut sum = Self::default();
        request::query(&socket, &bytes, None, |payload| {
            sum.add(payload.get(NFGENMSG_LEN..).unwrap_or_default());
            ControlFlow::Continue(())
        })?;
        Ok(sum)
    }

    /// Adds those of one processor.
    fn add(&mut self, message: &[u8]) {
        for (kind, value) in attributes(message) {
            let counter = match kind {
                CTA_STATS_INSERT_FAILED => &mut self.insert_failed,
                CTA_STATS_DROP => &mut self.drop,
                CTA_STATS_EARLY_DROP => &mut self.early_drop,
                CTA_STATS_CHAIN_TOOLONG => &mut self.chain_too_long,
                CTA_STATS_INVALID => &mut self.invalid,
                _ => continue,
            };
            if let Ok(value) = value.try_into() {
                *counter += u64::from(u32::from_be_bytes(value));
            }
        }
    }

    /// What was counted since; a counter has 32 bits, and wraps.
    fn since(&self, before: &Self) -> Self {
        let more = |now: u64, before: u64| u64::from((now as u32).wrapping_sub(before as u32));
        Self {
            drop: more(self.drop, before.drop),
            early_drop: more(self.early_drop, before.early_drop),
            insert_failed: more(self.insert_failed, before.insert_failed),
            chain_too_long: more(self.chain_too_long, before.chain_too_long),
            invalid: more(self.invalid, before.invalid),
        }
    }

    /// Packets of connections of which the table knows nothing.
    ///
    /// Where two packets of one flow come at once, the second one's entry can't be inserted, and it is dropped and
    /// counted as both (`nf_ct_resolve_clash`, net/netfilter/nf_conntrack_core.c): its flow is known by the first.
    const fn unknown(&self) -> u64 {
        let clashes = self.insert_failed.saturating_sub(self.chain_too_long);
        self.drop.saturating_sub(clashes) + self.chain_too_long
    }
}

/// What the kernel could not keep since this was made.
#[derive(Debug)]
pub struct KernelStat {
    before: Counters,
    others: Mutex<HashMap<Life, Others>>,
}

/// One namespace from when it was made until it is removed: its number, and how many of its name there were before.
type Life = (u16, u32);

/// The counters of another namespace.
#[derive(Debug)]
struct Others {
    label: Arc<str>,
    /// When this began; 0 for one that was made since.
    before: Counters,
    /// At the last look.
    last: Counters,
}

impl KernelStat {
    /// Begins; from here on there is somebody to tell of events.
    ///
    /// Errors: no privilege, or no connection tracking events in this kernel.
    pub fn start(intake: &Intake) -> Result<Self, Error> {
        let before = Counters::ask().map_err(Error::listen)?;
        let others = each_other(intake).map(|(life, label, counters)| {
            let others = Others {
                label,
                before: counters,
                last: counters,
            };
            (life, others)
        });
        Ok(Self {
            before,
            others: Mutex::new(others.collect()),
        })
    }

    /// Looks at the counters of other namespaces, which go with them.
    pub fn glance(&self, intake: &Intake) {
        if intake.namespaces().is_none() {
            return;
        }
        let mut others = self.others.lock();
        for (life, label, counters) in each_other(intake) {
            let other = others.entry(life).or_insert_with(|| Others {
                label,
                before: Counters::default(),
                last: Counters::default(),
            });
            other.last = counters;
        }
        // Those that are gone and had nothing to tell need no room.
        let living = intake.namespaces().map_or_else(Vec::new, Namespaces::all);
        let lives = |life: &Life| {
            let mut living = living.iter();
            living.any(|other| other.alive && (other.number, other.life) == *life)
        };
        others.retain(|life, other| lives(life) || other.trouble().is_some());
    }

    /// Packets of this namespace that belong to no connection.
    pub fn invalid(&self) -> u64 {
        Counters::ask().map_or(0, |now| now.since(&self.before).invalid)
    }

    /// What the list lacks for it, in words.
    pub fn troubles(&self, intake: &Intake) -> Vec<String> {
        let own = match Counters::ask() {
            Ok(now) => tell(&now.since(&self.before)),
            Err(error) => Some(format!(
                "whether the connection table was full is not known: {error}"
            )),
        };
        self.glance(intake);
        let others = self.others.lock();
        let mut others: Vec<(&Life, &Others)> = others.iter().collect();
        others.sort_unstable_by_key(|(life, _)| **life);
        let mut troubles: Vec<String> = own.into_iter().collect();
        for (_, other) in others {
            if troubles.len() > TROUBLES_MAX {
                troubles.push("other network namespaces had full tables, too".to_owned());
                break;
            }
            troubles.extend(other.trouble());
        }
        troubles
    }
}

/// So many namespaces with full tables are named.
const TROUBLES_MAX: usize = 16;

impl Others {
    /// What the list lacks for it, in words.
    fn trouble(&self) -> Option<String> {
        let what = tell(&self.last.since(&self.before))?;
        Some(format!("in the network namespace {}, {what}", self.label))
    }
}

/// The counters of the other namespaces that are listened to, as far as they can be entered: one that can't has just
/// gone.
fn each_other(intake: &Intake) -> impl Iterator<Item = (Life, Arc<str>, Counters)> {
    let all = intake.namespaces().map_or_else(Vec::new, Namespaces::all);
    all.into_iter()
        .filter(|other| other.alive && other.has_name)
        .filter_map(|other| {
            let counters = namespace::within(&other.label, Counters::ask).ok()?;
            Some(((other.number, other.life), other.label, counters))
        })
}

fn tell(counters: &Counters) -> Option<String> {
    let (unknown, early) = (counters.unknown(), counters.early_drop);
    (unknown + early > 0).then(|| {
        format!(
            "the kernel's connection table was full: {} of new connections {} dropped unseen, {} thrown out early; raise \
             net.netfilter.nf_conntrack_max",
            counted(unknown, "packet"),
            agree(unknown, "was", "were"),
            counted(early, "connection"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: u32) -> Vec<u8> {
        let mut bytes = 8_u16.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value.to_be_bytes());
        bytes
    }

    #[test]
    fn processors_add_up() {
        let mut sum = Counters::default();
        for _ in 0..2 {
            sum.add(
                &[
                    attribute(9, 3),
                    attribute(10, 5),
                    attribute(11, 1),
                    attribute(15, 2),
                ]
                .concat(),
            );
        }
        let expected = Counters {
            drop: 10,
            early_drop: 2,
            insert_failed: 6,
            chain_too_long: 4,
            invalid: 0,
        };
        assert_eq!(sum, expected);
    }

    #[test]
    fn what_the_table_knows_by_another_packet_is_no_loss() {
        let clashes = Counters {
            drop: 3,
            insert_failed: 4,
            ..Counters::default()
        };
        assert_eq!(tell(&clashes), None);
        let full = Counters {
            drop: 12,
            ..clashes
        };
        assert!(tell(&full).unwrap().contains(": 8 packets"));
        let crowded = Counters {
            insert_failed: 6,
            chain_too_long: 6,
            ..Counters::default()
        };
        assert!(tell(&crowded).unwrap().contains(": 6 packets"));
        let thrown_out = Counters {
            early_drop: 1,
            ..Counters::default()
        };
        assert!(tell(&thrown_out).is_some());
    }

    #[test]
    fn counters_wrap() {
        let before = Counters {
            drop: u64::from(u32::MAX),
            ..Counters::default()
        };
        let now = Counters {
            drop: u64::from(u32::MAX) + 3,
            ..Counters::default()
        };
        assert_eq!(now.since(&before).drop, 3);
    }
}
