//! Whether a recording is whole, as far as it can be told.

use std::borrow::Cow;

use super::mark::Mark;
use super::{Reader, Record, SystemTime, byte_order};
use crate::model::capture::Completeness;
use crate::model::units::{agree, counted, show_count};
use crate::netlink::framing::messages;
use crate::netlink::uapi::{NFNL_SUBSYS_CTNETLINK, NFNL_SUBSYS_CTNETLINK_EXP, NLM_F_DUMP_INTR};

/// What was met in reading a recording.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    as_written: bool,
    /// Whether the file can hold nothing but netlink, so that without a record it says that there was no message.
    is_netlink: bool,
    records: u64,
    begun: u64,
    ended: u64,
    datagrams: u64,
    crc32_sum: u64,
    told_datagrams: u64,
    told_sum: u64,
    verdict: Option<Completeness>,
    told: Vec<String>,
    snapped: u64,
    /// Packets of a network, and the link type of one of them.
    packets: u64,
    link: u32,
    dropped: u64,
    /// Whether a message of connection tracking was met.
    of_conntrack: bool,
    /// Whether a list of the table was recorded that changed while it was read.
    interrupted: bool,
    unreadable: u64,
    truncated: bool,
    failure: Option<String>,
}

impl Audit {
    /// Of a file that has been opened.
    pub fn new<R: std::io::Read>(reader: &Reader<R>) -> Self {
        Self {
            as_written: reader.as_written(),
            is_netlink: reader.is_netlink(),
            ..Self::default()
        }
    }

    /// Takes a record down, and returns its datagram in this machine's byte order, with its time, if there is one to
    /// be taken in. The time alone is that of a mark.
    pub fn take<'a>(&mut self, record: Record<'a>) -> Option<(SystemTime, Cow<'a, [u8]>)> {
        self.records += 1;
        let (time, datagram) = match record {
            Record::Datagram(time, datagram) => (time, datagram),
            Record::Snapped(time, datagram) => {
                self.snapped += 1;
                (time, datagram)
            }
            Record::Foreign => return None,
            Record::Packet(link) => {
                (self.packets, self.link) = (self.packets + 1, link);
                return None;
            }
            Record::Unreadable => {
                self.unreadable += 1;
                return None;
            }
            Record::Truncated => {
                self.truncated = true;
                return None;
            }
        };
        let own = byte_order::own(datagram);
        match Mark::of(&own) {
            Some(mark) => {
                self.mark(mark);
                Some((time, Cow::Borrowed(&[])))
            }
            None => {
                self.datagrams += 1;
                // As it was recorded, which is what the mark at the end sums up.
                self.add(datagram);
                self.look_at(&own);
                Some((time, own))
            }
        }
    }

    /// Takes down what the messages of a datagram say of what is missing.
    fn look_at(&mut self, datagram: &[u8]) {
        for message in messages(datagram).map_while(Result::ok) {
            let subsystem = message.kind >> 8;
            let is_own = matches!(subsystem, NFNL_SUBSYS_CTNETLINK | NFNL_SUBSYS_CTNETLINK_EXP);
            self.of_conntrack |= is_own;
            self.interrupted |= is_own && message.flags & NLM_F_DUMP_INTR != 0;
        }
    }

    fn add(&mut self, datagram: &[u8]) {
        // Nobody has summed up what came before a mark.
        if self.begun == 0 {
            return;
        }
        let crc = crc32fast::hash(datagram);
        self.crc32_sum = self.crc32_sum.wrapping_add(crc.into());
    }

    fn mark(&mut self, mark: Mark) {
        match mark {
            Mark::Begin { .. } => self.begun += 1,
            Mark::End {
                datagrams,
                crc32_sum,
                verdict,
                reasons,
            } => {
                self.ended += 1;
                self.told_datagrams = self.told_datagrams.saturating_add(datagrams);
                self.told_sum = self.told_sum.wrapping_add(crc32_sum);
                self.verdict = self.verdict.max(Some(verdict));
                if verdict == Completeness::Incomplete && reasons.is_empty() {
                    self.told.push("the recording says so".to_owned());
                }
                self.told.extend(reasons);
            }
        }
    }

    /// The link type, if there was nothing but packets of a network.
    pub const fn only_packets(&self) -> Option<u32> {
        if self.packets > 0 && self.packets == self.records {
            Some(self.link)
        } else {
            None
        }
    }

    /// Whether it is a recording of this program, which has no requests and each event once.
    pub const fn is_own(&self) -> bool {
        self.begun > 0
    }

    /// Takes down how many packets what recorded could not keep.
    pub const fn dropped(&mut self, dropped: u64) {
        self.dropped = dropped;
    }

    /// Takes down that reading failed.
    pub fn failed(&mut self, why: String) {
        self.failure = Some(why);
    }

    /// Why flows may be missing, given the number of messages that could not be read.
    pub fn reasons(&self, malformed: u64) -> Vec<String> {
        let mut reasons = self.told.clone();
        if self.truncated {
            reasons.push("the file ends in the middle of a record".to_owned());
        }
        if let Some(why) = &self.failure {
            reasons.push(format!("the file can't be read to its end: {why}"));
        }
        if self.snapped > 0 {
            reasons.push(format!(
                "{} {} cut by the snapshot length of what recorded them",
                counted(self.snapped, "record"),
                agree(self.snapped, "was", "were")
            ));
        }
        if self.dropped > 0 {
            reasons.push(format!(
                "{} {} dropped by what recorded them, as the file says",
                counted(self.dropped, "packet"),
                agree(self.dropped, "was", "were")
            ));
        }
        if self.interrupted {
            reasons.push(
                "a list of the table in it was read while the table changed, and may lack entries"
                    .to_owned(),
            );
        }
        let unreadable = self.unreadable + malformed;
        if unreadable > 0 {
            reasons.push(format!(
                "{} can't be read and {} skipped",
                counted(unreadable, "message"),
                agree(unreadable, "is", "are")
            ));
        }
        // Recordings of other programs and of versions before 2.0 have no marks, and nothing is asked of them.
        if self.as_written && self.records == 0 {
            reasons.push("the recording was cut: there is not one record in it".to_owned());
        } else if !self.of_conntrack && self.begun == 0 && (self.records > 0 || !self.is_netlink) {
            reasons.push(
                "there is no message of connection tracking in it: nothing shows that any would have been recorded"
                    .to_owned(),
            );
        } else if self.begun > self.ended {
            reasons.push("the recording was cut: the mark that ends it is missing".to_owned());
        } else if self.ended > self.begun {
            reasons.push("the recording was cut: the mark that begins it is missing".to_owned());
        } else if self.begun > 0 && self.told_datagrams != self.datagrams {
            reasons.push(format!(
                "the recording has {}, and the mark that ends it says {}",
                counted(self.datagrams, "event"),
                show_count(self.told_datagrams)
            ));
        } else if self.begun > 0 && self.told_sum != self.crc32_sum {
            reasons.push("the events are not those that were recorded".to_owned());
        }
        reasons
    }

    /// The verdict, given these reasons; `None` if the recording does not say.
    pub fn verdict(&self, reasons: &[String]) -> Option<Completeness> {
        if reasons.is_empty() {
            self.verdict
        } else {
            Some(Completeness::Incomplete)
        }
    }
}

/// Counts what is recorded, for the mark at the end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    datagrams: u64,
    crc32_sum: u64,
}

impl Count {
    /// Counts a datagram.
    pub fn add(&mut self, datagram: &[u8]) {
        self.datagrams += 1;
        let crc = crc32fast::hash(datagram);
        self.crc32_sum = self.crc32_sum.wrapping_add(crc.into());
    }

    /// The mark that ends a recording of them.
    pub fn end(self, reasons: Vec<String>) -> Mark {
        Mark::End {
            datagrams: self.datagrams,
            crc32_sum: self.crc32_sum,
            verdict: if reasons.is_empty() {
                Completeness::Complete
            } else {
                Completeness::Incomplete
            },
            reasons,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of a recording of these datagrams.
    fn judged(datagrams: &[Vec<u8>]) -> (Option<Completeness>, Vec<String>) {
        let mut audit = Audit::default();
        for datagram in datagrams {
            audit.take(Record::Datagram(SystemTime::now(), datagram));
        }
        let reasons = audit.reasons(0);
        (audit.verdict(&reasons), reasons)
    }

    fn recording(events: &[&[u8]], reasons: &[&str]) -> Vec<Vec<u8>> {
        let begin = Mark::Begin {
            program: "conntracker".into(),
        };
        let mut count = Count::default();
        let mut recording = vec![begin.datagram()];
        for event in events {
            count.add(event);
            recording.push(event.to_vec());
        }
        let reasons = reasons.iter().map(|&reason| reason.to_owned()).collect();
        recording.push(count.end(reasons).datagram());
        recording
    }

    #[test]
    fn whole_recordings_are_what_they_say() {
        let events: [&[u8]; 3] = [b"one", b"two", b"one"];
        let whole = recording(&events, &[]);
        assert_eq!(judged(&whole), (Some(Completeness::Complete), vec![]));
        // As mergecap(1) joins them.
        let both = [whole.clone(), recording(&[b"three"], &[])].concat();
        assert_eq!(judged(&both).0, Some(Completeness::Complete));
        let (verdict, reasons) = judged(&recording(&events, &["missed"]));
        assert_eq!(verdict, Some(Completeness::Incomplete));
        assert_eq!(reasons, ["missed"]);
        // Of another program.
        let message = |kind: u16, flags: u16| {
            let mut message = 16_u32.to_ne_bytes().to_vec();
            message.extend_from_slice(&kind.to_ne_bytes());
            message.extend_from_slice(&flags.to_ne_bytes());
            message.extend_from_slice(&[0; 8]);
            message
        };
        let event = message(NFNL_SUBSYS_CTNETLINK << 8, 0);
        assert_eq!(judged(std::slice::from_ref(&event)), (None, vec![]));
        for lacking in [
            vec![message(0, 0)],
            vec![message(NFNL_SUBSYS_CTNETLINK << 8, NLM_F_DUMP_INTR)],
        ] {
            assert_eq!(judged(&lacking).0, Some(Completeness::Incomplete));
        }
    }

    #[test]
    fn whatever_is_taken_out_or_put_in_is_noticed() {
        let whole = recording(&[b"one", b"two", b"three"], &[]);
        for at in 0..whole.len() {
            let mut less = whole.clone();
            less.remove(at);
            assert_eq!(judged(&less).0, Some(Completeness::Incomplete), "{at}");
            let mut more = whole.clone();
            more.insert(at, whole[at].clone());
            assert_eq!(judged(&more).0, Some(Completeness::Incomplete), "{at}");
            let mut other = whole.clone();
            other[at] = b"four".to_vec();
            assert_eq!(judged(&other).0, Some(Completeness::Incomplete), "{at}");
        }
        for len in 1..whole.len() {
            assert_eq!(judged(&whole[..len]).0, Some(Completeness::Incomplete));
        }
    }
}
