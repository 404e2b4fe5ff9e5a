//! A ctnetlink socket that takes many requests in one system call.

use super::flow::Tuple;
use super::message;
use super::plan::Event;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

/// Room for the answers of one batch if every request fails: an answer carries the request and is charged with
/// about 1 kB.
const ANSWER_BUFFER: usize = 4 << 20;

/// The kernel answers before `send` returns, so an answer that takes this long has been lost.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// `NLMSG_ERROR`
const NLMSG_ERROR: u16 = 2;

/// What became of the requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests handed to the kernel.
    pub sent: u64,
    /// Requests the kernel refused, by error number.
    pub refused: BTreeMap<i32, u64>,
    /// Batches whose answers were lost; how many of their requests were refused is not known.
    pub unanswered_batches: u64,
}

impl Tally {
    /// The number of refused requests.
    pub fn errors(&self) -> u64 {
        self.refused.values().sum()
    }

    /// Whether every request is known to have succeeded.
    pub fn is_clean(&self) -> bool {
        self.refused.is_empty() && self.unanswered_batches == 0
    }

    /// Adds what another sender counted.
    pub fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.unanswered_batches += other.unanswered_batches;
        for (errno, count) in &other.refused {
            *self.refused.entry(*errno).or_default() += count;
        }
    }
}

/// One netlink socket and the batch it is collecting.
///
/// `netlink_rcv_skb` (net/netlink/af_netlink.c) works through all messages of a buffer and answers those that
/// fail and those that carry `NLM_F_ACK`. Only the last of a batch carries it: when its answer is in, the answers
/// of all the failed ones are in, too.
#[derive(Debug)]
pub struct Sender {
    socket: OwnedFd,
    batch: Vec<u8>,
    answer: Vec<u8>,
    collected: usize,
    capacity: usize,
    last_offset: usize,
    sequence: u32,
    timeout_s: u32,
    tally: Tally,
}

impl Sender {
    /// A sender for entries that live `timeout_s` seconds, in batches of `capacity`.
    ///
    /// The socket belongs to the network namespace of the calling thread.
    ///
    /// Errors: if the socket cannot be opened.
    pub fn open(timeout_s: u32, capacity: usize) -> io::Result<Self> {
        let protocol = Some(netlink::NETFILTER);
        let socket = net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            protocol,
        )?;
        net::bind(&socket, &SocketAddrNetlink::new(0, 0))?;
        // Without CAP_NET_ADMIN in the initial user namespace the limit rmem_max applies, and should answers get
        // lost there, they are counted.
        if sockopt::set_socket_recv_buffer_size_force(&socket, ANSWER_BUFFER).is_err() {
            sockopt::set_socket_recv_buffer_size(&socket, ANSWER_BUFFER)?;
        }
        sockopt::set_socket_timeout(&socket, Timeout::Recv, Some(ANSWER_TIMEOUT))?;
        Ok(Self {
            socket,
            batch: Vec::with_capacity(capacity * 256),
            answer: vec![0; 4096],
            collected: 0,
            capacity: capacity.max(1),
            last_offset: 0,
            sequence: 0,
            timeout_s,
            tally: Tally::default(),
        })
    }

    /// Requests `event`; sends the batch if that fills it.
    ///
    /// Errors: if the batch cannot be sent, or the privilege is missing. Single requests the kernel refuses are counted
    /// instead.
    pub fn push(&mut self, event: &Event) -> io::Result<()> {
        self.next_request();
        message::request(&mut self.batch, event, self.timeout_s, self.sequence);
        self.flush_if_full()
    }

    /// Requests the removal of an entry; sends the batch if that fills it.
    ///
    /// Errors: as [`Sender::push`].
    pub fn push_deletion(&mut self, tuple: &Tuple) -> io::Result<()> {
        self.next_request();
        message::deletion(&mut self.batch, tuple, self.sequence);
        self.flush_if_full()
    }

    /// Sends what has been collected and reads the answers.
    ///
    /// Errors: as [`Sender::push`].
    pub fn flush(&mut self) -> io::Result<()> {
        if self.collected == 0 {
            return Ok(());
        }
        message::demand_answer(&mut self.batch, self.last_offset);
        let sent = loop {
            match net::send(&self.socket, &self.batch, SendFlags::empty()) {
                Err(Errno::INTR) => {}
                sent => break sent?,
            }
        };
        debug_assert_eq!(sent, self.batch.len());
        self.tally.sent += self.collected as u64;
        self.batch.clear();
        self.collected = 0;
        self.read_answers()
    }

    /// What became of the requests sent so far.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    fn next_request(&mut self) {
        self.last_offset = self.batch.len();
        self.sequence = self.sequence.wrapping_add(1);
        self.collected += 1;
    }

    fn flush_if_full(&mut self) -> io::Result<()> {
        if self.collected < self.capacity {
            Ok(())
        } else {
            self.flush()
        }
    }

    /// Reads until the answer to the last request is there.
    fn read_answers(&mut self) -> io::Result<()> {
        let mut lost = false;
        loop {
            let length =
                match net::recv(&self.socket, self.answer.as_mut_slice(), RecvFlags::empty()) {
                    Ok((length, _)) => length,
                    Err(Errno::INTR) => continue,
                    // The answers that did not fit are gone; those that did are still queued.
                    Err(Errno::NOBUFS) => {
                        lost = true;
                        continue;
                    }
                    Err(Errno::AGAIN) => {
                        self.tally.unanswered_batches += 1;
                        return Ok(());
                    }
                    Err(errno) => return Err(errno.into()),
                };
            if let Some((sequence, errno)) = parse_answer(&self.answer[..length]) {
                // nfnetlink_rcv (net/netfilter/nfnetlink.c) checks the privilege before it looks at the messages,
                // and gives one answer, to the first, for them all.
                if errno == libc::EPERM {
                    return Err(io::Error::from_raw_os_error(errno));
                }
                if errno != 0 {
                    *self.tally.refused.entry(errno).or_default() += 1;
                }
                if sequence == self.sequence {
                    self.tally.unanswered_batches += u64::from(lost);
                    return Ok(());
                }
            }
        }
    }
}

/// What to do about a refusal, to be put behind its text; nothing if there is no advice.
pub fn advice(errno: i32) -> &'static str {
    match errno {
        libc::EEXIST => "; the entries are there already: conntrack -F, or another --seed",
        libc::ENOENT => "; the entries have died meanwhile: a longer --timeout",
        libc::EPERM => "; needs CAP_NET_ADMIN: run with sudo, or in unshare -Urn",
        libc::ENOMEM => {
            "; the connection table is full: sysctl -w net.netfilter.nf_conntrack_max=... on the host"
        }
        libc::ENOSPC => {
            "; the hash chains are too long: sysctl -w net.netfilter.nf_conntrack_buckets=... on the host"
        }
        _ => "",
    }
}

/// Sequence number and positive error number of an `NLMSG_ERROR` message; each comes as a datagram of its own
/// (`netlink_ack`).
fn parse_answer(bytes: &[u8]) -> Option<(u32, i32)> {
    let word = |offset: usize| {
        Some(u32::from_ne_bytes(
            bytes.get(offset..offset + 4)?.try_into().ok()?,
        ))
    };
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    let errno = word(16)? as i32;
    (kind == NLMSG_ERROR).then_some((word(8)?, errno.wrapping_neg()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_from_the_rest() {
        // Length, type and flags.
        let mut answer = 36_u32.to_ne_bytes().to_vec();
        answer.extend_from_slice(&[2_u16.to_ne_bytes(), 0_u16.to_ne_bytes()].concat());
        answer.extend_from_slice(&7_u32.to_ne_bytes());
        answer.extend_from_slice(&[0; 4]);
        answer.extend_from_slice(&(-17_i32).to_ne_bytes());
        assert_eq!(parse_answer(&answer), Some((7, 17)));
        assert_eq!(parse_answer(&answer[..19]), None);
        answer[4..6].copy_from_slice(&3_u16.to_ne_bytes());
        assert_eq!(parse_answer(&answer), None);
    }

    #[test]
    fn tallies_add_up() {
        let one = Tally {
            sent: 3,
            refused: BTreeMap::from([(17, 1)]),
            unanswered_batches: 0,
        };
        let mut sum = Tally {
            sent: 5,
            refused: BTreeMap::from([(17, 1), (12, 2)]),
            unanswered_batches: 1,
        };
        sum.add(&one);
        assert_eq!(sum.sent, 8);
        assert_eq!(sum.errors(), 4);
        assert!(!sum.is_clean());
        assert!(Tally::default().is_clean());
    }
}
