//! The network namespaces whose events one socket receives (`--all-netns`), and their names.
//!
//! A socket with `NETLINK_LISTEN_ALL_NSID` gets the events of every namespace that has an id here, each with that
//! id. Ids are given by the kernel when two namespaces get to know each other, by a veth pair for example, and by
//! `ip netns set`; namespaces with a name in /run/netns that have none are given one by this module. A
//! namespace is told by that name, or by its id where it has no name.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use crate::netlink::build::message;
use crate::netlink::framing::{attributes, messages};
use crate::netlink::request::{self, Family};
use crate::netlink::uapi::{
    NETNSA_FD, NETNSA_NSID, NLM_F_ACK, NLM_F_REQUEST, RTM_DELNSID, RTM_GETNSID, RTM_NEWNSID,
    RTNLGRP_NSID,
};
use crate::os::namespace;

// include/uapi/linux/rtnetlink.h and net_namespace.h
/// `RTNLGRP_NSID`, as a bit of the groups to bind to.
const NSID_GROUP: u32 = 1 << (RTNLGRP_NSID - 1);
/// `NETNSA_NSID_NOT_ASSIGNED`; in a request, any free one.
const NOT_ASSIGNED: i32 = -1;
/// `struct rtgenmsg`, padded.
const RTGENMSG_LEN: usize = 4;

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
    /// Ids that were taken back, which events not looked at yet may still mean.
    leaving: Vec<i32>,
    /// Ids that were given again while events of the old namespace may still be queued.
    doubtful: HashSet<i32>,
    /// The labels under which flows of another namespace may be listed.
    mixed: BTreeSet<Arc<str>>,
}

/// Namespaces that a record can't tell apart are one: those of the same name, one after the other.
#[derive(Debug)]
struct Known {
    label: Arc<str>,
    /// Whether the label is a name, by which it can be entered.
    has_name: bool,
    /// Whether it has an id.
    alive: bool,
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
}

impl Namespaces {
    /// Begins to follow namespaces, those with a name at once.
    ///
    /// Errors: those of socket(2) and bind(2).
    pub fn follow() -> io::Result<Self> {
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
    /// in hand, before it is looked at: an id that was taken back and not given again means the old namespace in all
    /// of the batch, up to [`settle`](Self::settle). One that was given again means the new one from here on, since
    /// the last event of the old one is from before its clean-up, which takes the kernel a while. Where
    /// more was queued than a batch, that may be wrong, and is owned up to: [`mixed`](Self::mixed).
    pub fn catch_up(&self, is_behind: bool) {
        let mut buffer = [0; 1 << 13];
        while let Ok((len @ 1.., _)) = recv(&self.news, &mut buffer[..], RecvFlags::DONTWAIT) {
            for message in messages(&buffer[..len]).flatten() {
                let Some(id) = id_of(message.payload) else {
                    continue;
                };
                match message.kind {
                    RTM_DELNSID => self.state.lock().leaving.push(id),
                    RTM_NEWNSID => self.state.lock().comes(id, is_behind),
                    _ => {}
                }
            }
        }
    }

    /// Forgets the ids that were taken back, after the batch; `is_empty` is whether nothing more was queued.
    pub fn settle(&self, is_empty: bool) {
        let mut state = self.state.lock();
        state.settle();
        if is_empty {
            state.doubtful.clear();
        }
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
        self.catch_up(false);
        self.settle(false);
        self.look()
    }

    fn look(&self) -> io::Result<()> {
        let Ok(names) = namespace::names() else {
            return Ok(());
        };
        let socket = request::open(Family::Route, 0)?;
        for name in names {
            // Names stand in lists of all formats; one with other characters is told by its id.
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_.@+".contains(c);
            if !name.chars().all(plain) {
                continue;
            }
            if let Ok(Some(id)) = id_by_path(&socket, &Path::new(namespace::NAMED).join(&name)) {
                self.state.lock().name(id, &name);
            }
        }
        Ok(())
    }

    /// All namespaces that are known, in the order of their numbers from 1 on.
    pub fn all(&self) -> Vec<Named> {
        let state = self.state.lock();
        let known = state.known.iter().zip(1..);
        known
            .map(|(known, number)| Named {
                number,
                label: Arc::clone(&known.label),
                has_name: known.has_name,
                alive: known.alive,
            })
            .collect()
    }
}

impl State {
    /// The number of the namespace that has an id, by an event of it, which may be of the one that had the id before.
    fn known_by(&mut self, id: i32) -> Option<u16> {
        let number = self.by_id.get(&id).copied()?;
        if self.doubtful.contains(&id) {
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

    /// Takes note of an id that is given.
    fn comes(&mut self, id: i32, is_behind: bool) {
        if self.leaving.contains(&id) {
            self.leaving.retain(|&leaving| leaving != id);
            self.forget(id);
            if is_behind {
                self.doubtful.insert(id);
            }
        }
    }

    fn settle(&mut self) {
        for id in std::mem::take(&mut self.leaving) {
            self.forget(id);
        }
    }

    fn forget(&mut self, id: i32) {
        if let Some(number) = self.by_id.remove(&id) {
            self.known[usize::from(number) - 1].alive = false;
        }
    }
}

/// The id that a namespace has here; one is given to it if need be. `None` if it is our own.
fn id_by_path(socket: &OwnedFd, path: &Path) -> io::Result<Option<i32>> {
    let file = namespace::open(path)?;
    let same =
        |a: &rustix::fs::Stat, b: &rustix::fs::Stat| (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino);
    let own = rustix::fs::stat("/proc/thread-self/ns/net")?;
    if same(&own, &rustix::fs::fstat(&file)?) {
        return Ok(None);
    }
    let id = ask(socket, RTM_GETNSID, &file, None)?.unwrap_or(NOT_ASSIGNED);
    if id != NOT_ASSIGNED {
        return Ok(Some(id));
    }
    match ask(socket, RTM_NEWNSID, &file, Some(NOT_ASSIGNED)) {
        // Somebody else was faster.
        Err(error) if error.raw_os_error() == Some(Errno::EXIST.raw_os_error()) => {}
        result => drop(result?),
    }
    ask(socket, RTM_GETNSID, &file, None)
}

/// Sends a request about the namespace behind a file, and returns the id in the answer, if there is one
/// (`rtnl_net_getid` and `rtnl_net_newid`, net/core/net_namespace.c, Linux 6.18).
fn ask(socket: &OwnedFd, kind: u16, file: &OwnedFd, id: Option<i32>) -> io::Result<Option<i32>> {
    let flags = NLM_F_REQUEST | if id.is_some() { NLM_F_ACK } else { 0 };
    let mut bytes = Vec::new();
    message(&mut bytes, kind, flags, &[0; RTGENMSG_LEN], |body| {
        body.attribute(NETNSA_FD, &file.as_fd().as_raw_fd().to_ne_bytes());
        if let Some(id) = id {
            body.attribute(NETNSA_NSID, &id.to_ne_bytes());
        }
    });
    let mut answer = None;
    request::query(socket, &bytes, None, |payload| {
        answer = id_of(payload);
        ControlFlow::Break(())
    })?;
    Ok(answer)
}

fn id_of(payload: &[u8]) -> Option<i32> {
    let attributes = attributes(payload.get(RTGENMSG_LEN..)?);
    let id = { attributes }.find(|(kind, _)| *kind == NETNSA_NSID)?.1;
    Some(i32::from_ne_bytes(id.try_into().ok()?))
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
        state.leaving.push(5);
        assert_eq!(state.by_id.get(&5), Some(&1));
        state.settle();
        assert_eq!(state.by_id.get(&5), None);
        // Nobody was leaving.
        state.comes(5, false);
        state.name(5, "green");
        state.leaving.push(5);
        state.comes(5, false);
        assert_eq!(state.by_id.get(&5), None);
        state.name(5, "red");
        state.settle();
        assert_eq!(state.by_id.get(&5), Some(&3));
    }

    #[test]
    fn an_id_that_is_given_again_while_much_is_queued_is_in_doubt() {
        let mut state = State::default();
        for (is_behind, doubtful) in [(false, 0), (true, 1)] {
            state.name(5, "blue");
            state.leaving.push(5);
            state.comes(5, is_behind);
            assert_eq!(state.doubtful.len(), doubtful);
        }
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
