//! What iptables-legacy does with packets that are traced. Its kernel part logs each rule that such a packet matches, with the
//! names of table and chain and the rule's number (`trace_packet`, net/ipv4/netfilter/ip_tables.c, Linux 6.18), and not what the
//! rule does: that is looked up in what `iptables-legacy-save` writes.
//!
//! The gate marks packets for it too, since both follow `skb->nf_trace`: no rule of iptables is added.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};

use crate::model::tuple::Tuple;
use crate::model::units::counted;
use crate::netlink::framing::{Message, NFGENMSG_LEN, attributes, messages};
use crate::netlink::nflog;
use crate::netlink::request::{Family, open};
use crate::netlink::uapi::{
    AF_INET, AF_INET6, NFNL_SUBSYS_ULOG, NFULA_CFG_QTHRESH, NFULA_PAYLOAD, NFULA_PREFIX,
    NFULNL_MSG_PACKET, message_type,
};
use crate::os::nf_log::Logger;
use crate::os::socket::Batch;

use super::headers;
use super::ruleset::Ruleset;

/// The group of packets that no rule of logging has given one (`default_loginfo`, net/netfilter/nfnetlink_log.c).
const GROUP: u16 = 0;
/// Bytes of a packet that are logged: the headers.
const COPIED: u32 = 128;
/// Receive buffer, in bytes.
const BUFFER: usize = 16 << 20;
/// How often it is looked at whether the rules are others, which nothing reports.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What iptables-legacy says of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Logged {
    /// [`IPV4`] or [`IPV6`].
    pub family: &'static str,
    pub table: String,
    pub chain: String,
    /// Of the rule; the number behind the last one is the end of the chain.
    pub number: u64,
    /// The flow by the packet's headers, as they are there.
    pub flow: Tuple,
}

/// How lists call the family of its tables, which may have the names of tables of nftables.
pub const IPV4: &str = "iptables-legacy";
/// The same for IPv6.
pub const IPV6: &str = "ip6tables-legacy";

/// Follows packets through the rules of iptables-legacy.
#[derive(Debug)]
pub(super) struct Legacy {
    socket: OwnedFd,
    batch: Batch,
    ruleset: Ruleset,
    looked: Instant,
    /// How often the rules were found to be others.
    changes: u64,
    overruns: u64,
    /// Behind the socket, so that nothing is logged to nobody.
    _logger: Logger,
}

impl Legacy {
    /// Has this network namespace log to this program.
    ///
    /// Errors: in words.
    pub fn start() -> io::Result<Self> {
        let failed = |what: &str, error: io::Error| {
            io::Error::new(error.kind(), format!("--iptables-legacy: {what}: {error}"))
        };
        let ruleset =
            Ruleset::read_legacy().map_err(|error| failed("its rules can't be read", error))?;
        let socket = open(Family::Netfilter, 0)?;
        if set_socket_recv_buffer_size_force(&socket, BUFFER).is_err() {
            let _ = set_socket_recv_buffer_size(&socket, BUFFER);
        }
        bind(&socket).map_err(|error| match error.raw_os_error() {
            // Of another socket's group (`nfulnl_recv_config`).
            Some(libc::EBUSY | libc::EPERM) => failed(
                "another program has group 0 of nfnetlink_log, where traces go: end it (ulogd, another conntracker), or have it \
                 take another group",
                error,
            ),
            _ => failed("the kernel has no nfnetlink_log (modprobe nfnetlink_log)", error),
        })?;
        let logger = Logger::start().map_err(|error| match error.kind() {
            io::ErrorKind::ResourceBusy => {
                failed("another run of this program follows its rules here", error)
            }
            _ => failed(
                "/proc/sys/net/netfilter/nf_log can't be set, which says where traces go",
                error,
            ),
        })?;
        Ok(Self {
            socket,
            batch: Batch::new(),
            ruleset,
            looked: Instant::now(),
            changes: 0,
            overruns: 0,
            _logger: logger,
        })
    }

    /// What has come.
    ///
    /// Errors: those of recvmmsg(2).
    pub fn receive(&mut self) -> io::Result<Vec<Logged>> {
        let mut all = Vec::new();
        loop {
            let received = match self.batch.receive(&self.socket) {
                Ok(0) => return Ok(all),
                Ok(received) => received,
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    self.overruns += 1;
                    continue;
                }
                Err(error) => return Err(error),
            };
            for datagram in self.batch.datagrams(received) {
                let messages = messages(datagram.bytes).flatten();
                all.extend(messages.filter_map(|message| read(&message)));
            }
        }
    }

    /// Whether the rules are others than at the last look, as far as it is time to look.
    ///
    /// Errors: those of the program that writes them.
    pub fn have_changed(&mut self) -> io::Result<bool> {
        if self.looked.elapsed() < LOOK_EVERY {
            return Ok(false);
        }
        self.look()
    }

    fn look(&mut self) -> io::Result<bool> {
        let now = Ruleset::read_legacy()?;
        self.looked = Instant::now();
        let changed = !now.has_rules_of(&self.ruleset);
        if changed {
            self.changes += 1;
            self.ruleset = now;
        }
        Ok(changed)
    }

    /// The rules as they were at the last look.
    pub fn ruleset(&self) -> &Ruleset {
        &self.ruleset
    }

    /// How often messages were lost.
    pub fn overruns(&self) -> u64 {
        self.overruns
    }

    /// Why rules may be missing or wrong. Looks once more whether they have changed.
    pub fn reasons(&mut self) -> Vec<String> {
        let looked = self.look();
        let mut reasons = Vec::new();
        if let Err(error) = looked {
            reasons.push(format!(
                "whether the rules of iptables-legacy have changed is not known: {error}"
            ));
        }
        if self.changes > 0 {
            reasons.push(format!(
                "rules of iptables-legacy were changed, which is noticed within {}: flows that began in these may have the \
                 rule that has taken the number of theirs ({})",
                counted(LOOK_EVERY.as_secs(), "second"),
                counted(self.changes, "time")
            ));
        }
        reasons
    }
}

impl AsFd for Legacy {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn bind(socket: &OwnedFd) -> io::Result<()> {
    // Each at once, since it is to be joined with the events of nf_tables.
    nflog::bind(socket, GROUP, COPIED, |body| {
        body.word_be(NFULA_CFG_QTHRESH, 1)
    })
}

/// Reads a message; `None` for what is no trace of a packet that begins a connection.
fn read(message: &Message<'_>) -> Option<Logged> {
    if message.kind != message_type(NFNL_SUBSYS_ULOG, NFULNL_MSG_PACKET) {
        return None;
    }
    let (nfgenmsg, body) = message.payload.split_first_chunk::<NFGENMSG_LEN>()?;
    let find = |wanted| {
        attributes(body)
            .find(|(kind, _)| *kind == wanted)
            .map(|(_, value)| value)
    };
    let family = match nfgenmsg[0] {
        AF_INET => IPV4,
        AF_INET6 => IPV6,
        _ => return None,
    };
    let prefix = find(NFULA_PREFIX)?;
    let prefix = prefix.split(|byte| *byte == 0).next()?;
    let (table, chain, number) = place(std::str::from_utf8(prefix).ok()?)?;
    Some(Logged {
        family,
        table: table.to_owned(),
        chain: chain.to_owned(),
        number,
        flow: headers::packet(find(NFULA_PAYLOAD)?)?,
    })
}

/// Table, chain and number of `TRACE: filter:INPUT:rule:3 `. What stands between chain and number can't be relied on: a rule
/// without conditions at the end of a chain is called its policy or a return (`get_chainname_rulenum`). Names of chains may have
/// colons.
fn place(prefix: &str) -> Option<(&str, &str, u64)> {
    let rest = prefix.strip_prefix("TRACE: ")?.trim_end();
    let (table, rest) = rest.split_once(':')?;
    let (rest, number) = rest.rsplit_once(':')?;
    let (chain, _) = rest.rsplit_once(':')?;
    Some((table, chain, number.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_rules_are_read() {
        assert_eq!(
            place("TRACE: filter:INPUT:rule:3 "),
            Some(("filter", "INPUT", 3))
        );
        assert_eq!(place("TRACE: nat:a:b:return:12 "), Some(("nat", "a:b", 12)));
        for other in [
            "",
            "TRACE: ",
            "TRACE: filter:INPUT",
            "x: filter:INPUT:rule:3 ",
            "TRACE: filter:INPUT:rule:x ",
        ] {
            assert_eq!(place(other), None, "{other}");
        }
    }
}
