//! What a netlink monitor (`nlmon`) records beside events: requests of programs, and an event once for each of those who
//! listen.
//!
//! The kernel hands every datagram that it delivers to the monitor (`__netlink_deliver_tap`, net/netlink/af_netlink.c), and
//! an event is delivered to each listener one right after the other (`do_one_broadcast`).

use std::borrow::Cow;
use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

use crate::model::timestamp::Timestamp;
use crate::netlink::framing::{HEADER_LEN, messages};
use crate::netlink::uapi::{NLM_F_CREATE, NLM_F_REQUEST};

/// Where `nlmsg_flags` stands in a message's header.
const FLAGS_AT: usize = 6;
/// Copies of one event are delivered within microseconds. A connection that has the same ports and the same identifier
/// again does not come as soon.
const COPIES_WITHIN_US: u64 = 100_000;
/// So many are remembered.
const REMEMBERED_MAX: usize = 1 << 16;

/// What was recorded last.
#[derive(Debug, Default)]
pub struct Monitor {
    /// Keyed hashes of datagrams, each at its own place.
    recent: HashTable<u64>,
    order: VecDeque<(Timestamp, u64)>,
    hasher: RandomState,
}

impl Monitor {
    /// The events of a datagram. A copy of a beginning that has come is an update: what it says is known, and another
    /// connection it is not.
    pub fn events<'a>(&mut self, time: Timestamp, datagram: Cow<'a, [u8]>) -> Cow<'a, [u8]> {
        let events = without_requests(datagram);
        let begins = { messages(&events) }
            .any(|message| message.is_ok_and(|message| message.flags & NLM_F_CREATE != 0));
        if begins && self.is_copy(time, &events) {
            return as_updates(&events).into();
        }
        events
    }

    fn is_copy(&mut self, time: Timestamp, datagram: &[u8]) -> bool {
        let since = time.us().saturating_sub(COPIES_WITHIN_US);
        while let Some(&(then, hash)) = self.order.front() {
            if then.us() >= since && self.order.len() < REMEMBERED_MAX {
                break;
            }
            if let Ok(known) = self.recent.find_entry(hash, |known| *known == hash) {
                known.remove();
            }
            self.order.pop_front();
        }
        let hash = self.hasher.hash_one(datagram);
        if self.recent.find(hash, |known| *known == hash).is_some() {
            return true;
        }
        self.recent.insert_unique(hash, hash, |known| *known);
        self.order.push_back((time, hash));
        false
    }
}

/// The datagram without the messages that a program sent to the kernel: what it wants is no event. Where the kernel did
/// it, an event follows.
fn without_requests(datagram: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    let is_request = |flags: u16| flags & NLM_F_REQUEST != 0;
    let any = { messages(&datagram) }
        .any(|message| message.is_ok_and(|message| is_request(message.flags)));
    if !any {
        return datagram;
    }
    let mut kept = Vec::new();
    let mut at = 0;
    for message in messages(&datagram) {
        let Ok(message) = message else {
            // What can't be read is kept, to be counted.
            kept.extend_from_slice(datagram.get(at..).unwrap_or_default());
            break;
        };
        let len = (HEADER_LEN + message.payload.len()).next_multiple_of(4);
        let end = (at + len).min(datagram.len());
        if !is_request(message.flags) {
            kept.extend_from_slice(&datagram[at..end]);
        }
        at = end;
    }
    Cow::Owned(kept)
}

/// The datagram with updates in place of beginnings.
fn as_updates(datagram: &[u8]) -> Vec<u8> {
    let mut updates = datagram.to_vec();
    let mut at = 0;
    for message in messages(datagram) {
        let Ok(message) = message else {
            break;
        };
        let flags = message.flags & !NLM_F_CREATE;
        updates[at + FLAGS_AT..at + FLAGS_AT + 2].copy_from_slice(&flags.to_ne_bytes());
        at += (HEADER_LEN + message.payload.len()).next_multiple_of(4);
    }
    updates
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(flags: u16, payload: &[u8]) -> Vec<u8> {
        let len = HEADER_LEN + payload.len();
        let mut bytes = (len as u32).to_ne_bytes().to_vec();
        bytes.extend(0x0100_u16.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend_from_slice(payload);
        bytes.resize(len.next_multiple_of(4), 0);
        bytes
    }

    fn at(us: u64) -> Timestamp {
        Timestamp::from_us(us).unwrap()
    }

    #[test]
    fn requests_are_left_out() {
        let (request, event) = (message(0x605, b"wanted"), message(0x600, b"done!"));
        let mut monitor = Monitor::default();
        let both = [request.clone(), event.clone(), request.clone()].concat();
        assert_eq!(*monitor.events(at(1), both.into()), event);
        assert!(monitor.events(at(1), request[..].into()).is_empty());
        // What is damaged behind one is still seen to be damaged.
        let broken = [&request[..], &[9]].concat();
        assert_eq!(*monitor.events(at(1), broken.into()), [9]);
    }

    #[test]
    fn copies_count_once_and_another_event_counts() {
        let (new, other) = (message(0x600, b"one"), message(0x600, b"two"));
        let mut monitor = Monitor::default();
        let mut take = |us, datagram: &[u8]| {
            let events = monitor.events(at(us), Cow::Borrowed(datagram));
            let flags = messages(&events).next().unwrap().unwrap().flags;
            assert_eq!(events.len(), datagram.len());
            flags & NLM_F_CREATE != 0
        };
        assert!(take(1_000_000, &new));
        assert!(take(1_000_001, &other));
        assert!(!take(1_000_002, &new));
        assert!(!take(1_000_003, &other));
        assert!(take(1_200_000, &new));
    }

    #[test]
    fn memory_is_bounded() {
        let mut monitor = Monitor::default();
        for number in 0..2 * REMEMBERED_MAX as u32 {
            let event = message(0x600, &number.to_ne_bytes());
            assert_eq!(*monitor.events(at(1), Cow::Borrowed(&event)), event);
        }
        assert!(monitor.order.len() <= REMEMBERED_MAX && monitor.recent.len() <= REMEMBERED_MAX);
    }
}
