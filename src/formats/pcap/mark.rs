//! What a recording says of itself: a mark at its beginning, which promises one at its end.
//!
//! pcap has no room for remarks. A mark is a record as any, with a netlink message of type `NLMSG_NOOP`
//! (`include/uapi/linux/netlink.h`: "Nothing."), which the kernel never sends to a group, and which every reader of
//! netlink passes over. Behind the header it holds a JSON object that begins with our name.

use serde::{Deserialize, Serialize};

use crate::model::capture::Completeness;
use crate::netlink::framing::{HEADER_LEN, messages};
use crate::netlink::uapi::NLMSG_NOOP;

/// How the text of a mark begins.
const BEGINNING: &[u8] = b"{\"conntracker\":";

/// What a recording says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "conntracker", rename_all = "lowercase")]
pub enum Mark {
    /// The first record. It is not counted.
    Begin {
        /// What recorded, and its version.
        program: String,
    },
    /// The last record.
    End {
        /// Records between the marks.
        datagrams: u64,
        /// Sum of the CRC-32 of their datagrams.
        crc32_sum: u64,
        /// Whether all events are among them.
        verdict: Completeness,
        /// What events are missing, and why.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        reasons: Vec<String>,
    },
}

impl Mark {
    /// The mark as a datagram.
    pub fn datagram(&self) -> Vec<u8> {
        let text = serde_json::to_vec(self).unwrap_or_default();
        let len = (HEADER_LEN + text.len()) as u32;
        let mut bytes = len.to_ne_bytes().to_vec();
        bytes.extend_from_slice(&NLMSG_NOOP.to_ne_bytes());
        bytes.resize(HEADER_LEN, 0);
        bytes.extend_from_slice(&text);
        bytes
    }

    /// The mark in a datagram, if it is one; one that can't be read is none.
    pub fn of(datagram: &[u8]) -> Option<Self> {
        let message = messages(datagram).next()?.ok()?;
        (message.kind == NLMSG_NOOP && message.payload.starts_with(BEGINNING))
            .then(|| serde_json::from_slice(message.payload).ok())?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_read_back() {
        for mark in [
            Mark::Begin {
                program: "conntracker 2.0.0".into(),
            },
            Mark::End {
                datagrams: 7,
                crc32_sum: u64::MAX,
                verdict: Completeness::Incomplete,
                reasons: vec!["why".into()],
            },
        ] {
            let datagram = mark.datagram();
            assert_eq!(Mark::of(&datagram), Some(mark));
            for len in 0..datagram.len() {
                assert_eq!(Mark::of(&datagram[..len]), None);
            }
        }
    }

    #[test]
    fn what_the_kernel_sends_is_no_mark() {
        let mut event = Mark::Begin {
            program: String::new(),
        }
        .datagram();
        event[4..6].copy_from_slice(&0x0100_u16.to_ne_bytes());
        assert_eq!(Mark::of(&event), None);
        assert_eq!(Mark::of(&[]), None);
    }
}
