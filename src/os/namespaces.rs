//! The network namespaces whose events one socket receives (`--all-netns`), and their names.
//!
//! A socket with `NETLINK_LISTEN_ALL_NSID` gets the events of every namespace that has an id here, each with that
//! id. Ids are given by the kernel when two namespaces get to know each other, by a veth pair for example, and by
//! `ip netns set`; namespaces with a name in /run/netns that have none are given one by this module. A
//! namespace is told by that name, or by its id where it has no name.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::stat;
use rustix::net::{RecvFlags, recv};

use crate::netlink::framing::messages;
use crate::netlink::request::{self, Family};
use crate::netlink::uapi::{RTM_DELNSID, RTM_NEWNSID, RTNLGRP_NSID};
use crate::os::namespace;
use crate::os::nsid::{id_by_path, id_of};

// include/uapi/linux/rtnetlink.h and net_namespace.h
/// `RTNLGRP_NSID`, as a bit of the groups to bind to.
const NSID_GROUP: u32 = 1 << (RTNLGRP_NSID - 1);

const A_SECOND: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

/// Before the id of a namespace without a name, where a name would stand.
const UNNAMED: &str = "nsid:";

/// The namespaces that are known so far. Each gets a number, from 1 on.
#[derive(Debug)]
pub struct Namespaces {
    state: Mutex<State>,
    /// Receives news of ids that are taken back.
    news: OwnedFd,
}

#[derive(Debug, Default)]
struct State {
    by_id: HashMap<i32, u16>,
    /// By number, from 1 on.
    known: Vec<Known>,
    /// Ids that were taken back, which events not looked at yet may still mean, and when that was heard of.
    leaving: HashMap<i32, Turn>,
    /// Ids that were given again while events of the old namespace may still be queued.
    doubtful: HashMap<i32, Turn>,
    turn: Turn,
    /// The labels under which flows of another namespace may be listed.
    mixed: BTreeSet<Arc<str>>,
}

/// Counts how often everything that was queued is taken in, so that what was heard of before is settled by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Turn(u64);

/// Namespaces that a record can't tell apart are one: those of the same name, one after the other.
#[derive(Debug)]
struct Known {
    label: Arc<str>,
    /// Whether the label is a name, by which it can be entered.
    has_name: bool,
    /// Whether it has an id.
    alive: bool,
    /// How many of that label there have been before.
    life: u32,
}

/// A namespace as a record tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its number here.
    pub number: u16,
    /// Its name, or `nsid:5`.
    pub label: Arc<str>,
    /// Whether it has a name, by which it can be entered.
    pub has_name: bool,
    /// Whether it was still there at last sight.
    pub alive: bool,
    /// How many of that name there have been before, as far as that was noticed.
    pub life: u32,
}

impl Namespaces {
    /// Begins to follow namespaces, those with a name at once.
    ///
    /// Errors: those of socket(2) and bind(2), and no procfs, without which no namespace can be told from our own.
    pub fn follow() -> io::Result<Self> {
        stat(namespace::OWN).map_err(|error| {
            io::Error::new(
                io::Error::from(error).kind(),
                format!(
                    "{} can't be looked at ({error}): /proc has to be mounted",
                    namespace::OWN
                ),
            )
        })?;
        let news = request::open(Family::Route, NSID_GROUP)?;
        let namespaces = Self {
            state: Mutex::default(),
            news,
        };
        namespaces.scan()?;
        Ok(namespaces)
    }

    /// The number of the namespace that has an id.
    pub fn number(&self, id: i32) -> u16 {
        let known = self.state.lock().known_by(id);
        if let Some(number) = known {
            return number;
        }
        // At once: it may be gone before the next scan.
        let _ = self.look();
        let mut state = self.state.lock();
        match state.known_by(id) {
            Some(number) => number,
            None => state.meet(id, &format!("{UNNAMED}{id}"), false),
        }
    }

    /// The number of the namespace that a record names.
    pub fn labelled(&self, label: &str) -> u16 {
        self.state
            .lock()
            .labelled(label, !label.starts_with(UNNAMED))
    }

    /// Takes note of ids that were taken back or given since it was last asked. To be called with a batch of events
    /// in hand, before it is looked at. An id that was taken back means the old namespace until all that was queued then
    /// has been taken in ([`settle`](Self::settle)): the kernel makes no event with it after that (`unhash_nsid`,
    /// net/core/net_namespace.c). One that is given again before means the new one from here on; events that are
    /// listed so may be of the old one, which is owned up to: [`mixed`](Self::mixed).
    ///
    /// ```text
    ///   queue:     blue blue blue | green green      blue = green's id before
    ///   news:      taken back, given again
    ///   listed:    all as green, and it is said that some may be of the namespace that had the id before
    /// ```
    pub fn catch_up(&self) {
        // Held all the while: two threads must not take note of the news in another order.
        let mut state = self.state.lock();
        let mut buffer = [0; 1 << 13];
        while let Ok((len @ 1.., _)) = recv(&self.news, &mut buffer[..], RecvFlags::DONTWAIT) {
            for message in messages(&buffer[..len]).flatten() {
                let Some(id) = id_of(message.payload) else {
                    continue;
                };
                match message.kind {
                    RTM_DELNSID => state.leaves(id),
                    RTM_NEWNSID => state.comes(id),
                    _ => {}
                }
            }
        }
    }

    /// Waits for news of ids, until `end` is readable, and for a second at most: what makes it readable may fail. Whether
    /// there are any that have to be settled.
    pub fn are_changing(&self, end: BorrowedFd<'_>) -> bool {
        let mut polled = [
            PollFd::new(&self.news, PollFlags::IN),
            PollFd::from_borrowed_fd(end, PollFlags::IN),
        ];
        // Interrupted or not: what has come is seen by reading.
        let _ = poll(&mut polled, Some(&A_SECOND));
        self.catch_up();
        let state = self.state.lock();
        !(state.leaving.is_empty() && state.doubtful.is_empty())
    }

    /// To be called before all that is queued is taken in: what was heard of until now is settled by that.
    pub fn turn(&self) -> Turn {
        let mut state = self.state.lock();
        let turn = state.turn;
        state.turn.0 += 1;
        turn
    }

    /// Takes note that all that was queued at a turn has been taken in: no event means a namespace any more that was known
    /// to be gone then.
    pub fn settle(&self, turn: Turn) {
        self.state.lock().settle(turn);
    }

    /// Says that flows may be listed under the wrong namespace, if that may be so.
    pub fn mixed(&self) -> Option<String> {
        let state = self.state.lock();
        let labels: Vec<&str> = state.mixed.iter().map(|label| &**label).collect();
        (!labels.is_empty()).then(|| {
            format!(
                "events of a network namespace that was removed may be listed under one that was made with its id \
                 since: {}",
                labels.join(", ")
            )
        })
    }

    /// Looks what names there are in /run/netns, and gives an id to those that have none.
    ///
    /// Errors: those of socket(2). A single namespace that can't be looked at is passed over: it may just be going.
    pub fn scan(&self) -> io::Result<()> {
        // A name must not go to the namespace that had the id before.
        self.catch_up();
        self.look()
    }

    fn look(&self) -> io::Result<()> {
        let Ok(names) = namespace::names() else {
            return Ok(());
        };
        let socket = request::open(Family::Route, 0)?;
        for name in names {
            if let Ok(Some(id)) = id_by_path(&socket, &Path::new(namespace::NAMED).join(&name)) {
                // It may have been given just now, and taken back from another before.
                self.catch_up();
                let mut state = self.state.lock();
                // Names stand in lists of all formats; one with other characters is told by its id.
                let plain = |c: char| c.is_ascii_alphanumeric() || "-_.@+".contains(c);
                if name.chars().all(plain) {
                    state.name(id, &name);
                } else if !state.by_id.contains_key(&id) {
                    state.meet(id, &format!("{UNNAMED}{id}"), false);
                }
            }
        }
        Ok(())
    }

    /// All namespaces that are known, in the order of their numbers from 1 on.
    pub fn all(&self) -> Vec<Named> {
        let state = self.state.lock();
        let leaving = state.leaving.keys();
        let gone: Vec<u16> = leaving
            .filter_map(|id| state.by_id.get(id).copied())
            .collect();
        let known = state.known.iter().zip(1..);
        known
            .map(|(known, number)| Named {
                number,
                label: Arc::clone(&known.label),
                has_name: known.has_name,
                alive: known.alive && !gone.contains(&number),
                life: known.life,
            })
            .collect()
    }
}

impl State {
    /// The number of the namespace that has an id, by an event of it, which may be of the one that had the id before.
    fn known_by(&mut self, id: i32) -> Option<u16> {
        let number = self.by_id.get(&id).copied()?;
        if self.doubtful.contains_key(&id) {
            let known = self.known.get(usize::from(number).wrapping_sub(1));
            self.mixed
                .extend(known.map(|known| Arc::clone(&known.label)));
        }
        Some(number)
    }

    /// The number of a label.
    fn labelled(&mut self, label: &str, has_name: bool) -> u16 {
        let found = self.known.iter().position(|known| &*known.label == label);
        let at = found.unwrap_or_else(|| {
            self.known.push(Known {
                label: label.into(),
                has_name,
                alive: false,
                life: 0,
            });
            self.known.len() - 1
        });
        // More than anybody runs in one capture: the rest shares a number.
        u16::try_from(at + 1).unwrap_or(u16::MAX)
    }

    /// Takes note of a namespace that has an id.
    fn meet(&mut self, id: i32, label: &str, has_name: bool) -> u16 {
        let number = self.labelled(label, has_name);
        self.known[usize::from(number) - 1].alive = true;
        self.by_id.insert(id, number);
        number
    }

    /// Takes note of the name of a namespace that has an id.
    fn name(&mut self, id: i32, name: &str) {
        let named = self.by_id.get(&id).map(|&number| usize::from(number) - 1);
        match named {
            // One that has several names keeps the first.
            Some(at) if self.known[at].has_name => {}
            // What was seen of it before is told by that name too.
            Some(at) if self.known.iter().all(|known| &*known.label != name) => {
                self.known[at].label = name.into();
                self.known[at].has_name = true;
            }
            _ => {
                self.meet(id, name, true);
            }
        }
    }

    /// Takes note of an id that is taken back.
    fn leaves(&mut self, id: i32) {
        self.leaving.insert(id, self.turn);
    }

    /// Takes note of an id that is given.
    fn comes(&mut self, id: i32) {
        if self.leaving.remove(&id).is_some() {
            self.forget(id);
            self.doubtful.insert(id, self.turn);
        }
    }

    fn settle(&mut self, turn: Turn) {
        let mut gone = Vec::new();
        self.leaving.retain(|&id, heard| {
            let is_gone = *heard <= turn;
            gone.extend(is_gone.then_some(id));
            !is_gone
        });
        for id in gone {
            self.forget(id);
        }
        self.doubtful.retain(|_, heard| *heard > turn);
    }

    fn forget(&mut self, id: i32) {
        if let Some(number) = self.by_id.remove(&id) {
            let known = &mut self.known[usize::from(number) - 1];
            known.alive = false;
            known.life += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_is_given_again_is_another_namespace() {
        let mut state = State::default();
        state.name(5, "blue");
        state.name(5, "azure");
        assert_eq!(state.by_id.get(&5), Some(&1));
        state.forget(5);
        state.forget(5);
        state.name(5, "green");
        assert_eq!(state.by_id.get(&5), Some(&2));
        let names: Vec<_> = state.known.iter().map(|known| &*known.label).collect();
        assert_eq!(names, ["blue", "green"]);
        assert!(!state.known[0].alive && state.known[1].alive);
    }

    #[test]
    fn an_id_means_the_old_namespace_until_it_is_given_again_or_the_batch_is_over() {
        let mut state = State::default();
        state.name(5, "blue");
        state.leaves(5);
        assert_eq!(state.by_id.get(&5), Some(&1));
        state.settle(Turn(0));
        assert_eq!(state.by_id.get(&5), None);
        // Nobody was leaving.
        state.comes(5);
        state.name(5, "green");
        state.leaves(5);
        state.comes(5);
        assert_eq!(state.by_id.get(&5), None);
        state.name(5, "red");
        state.settle(Turn(0));
        assert_eq!(state.by_id.get(&5), Some(&3));
    }

    #[test]
    fn an_id_that_is_given_again_is_in_doubt_until_all_that_was_queued_is_taken_in() {
        let mut state = State::default();
        state.name(5, "blue");
        state.leaves(5);
        state.turn = Turn(1);
        state.comes(5);
        state.name(5, "green");
        // Taken in was what had been queued before it was given.
        state.settle(Turn(0));
        assert_eq!(state.known_by(5), Some(2));
        assert_eq!(state.mixed.len(), 1);
        state.mixed.clear();
        state.settle(Turn(1));
        assert_eq!(state.known_by(5), Some(2));
        assert!(state.mixed.is_empty());
    }

    #[test]
    fn a_name_that_comes_back_or_comes_late_is_the_same_namespace() {
        let mut state = State::default();
        assert_eq!(state.labelled("blue", true), 1);
        assert!(!state.known[0].alive);
        state.name(7, "blue");
        assert_eq!(state.by_id.get(&7), Some(&1));
        assert_eq!(state.meet(8, "nsid:8", false), 2);
        state.name(8, "red");
        assert_eq!(state.by_id.get(&8), Some(&2));
        assert_eq!(&*state.known[1].label, "red");
    }
}
