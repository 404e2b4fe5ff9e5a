//! Expectations of conntrack: a connection that meets one is related to the connection that it is of.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::ControlFlow;
use std::os::fd::AsFd;

use rustix::io::Errno;

use crate::check::packet::Tuple;
use crate::model::origin::Helper;
use crate::model::record::{Service, SourcePort};
use crate::netlink::build::{Body, netfilter_message};
use crate::netlink::conntrack::sighting;
use crate::netlink::conntrack::tuple::append_tuple;
use crate::netlink::request::{exchange, transact};
use crate::netlink::uapi::{
    AF_INET, AF_INET6, CTA_EXPECT_MASK, CTA_EXPECT_MASTER, CTA_EXPECT_TIMEOUT, CTA_EXPECT_TUPLE,
    CTA_EXPECT_ZONE, CTA_TUPLE_ORIG, CTA_ZONE, IPCTNL_MSG_CT_GET, IPCTNL_MSG_EXP_DELETE,
    IPCTNL_MSG_EXP_NEW, NFNL_SUBSYS_CTNETLINK, NFNL_SUBSYS_CTNETLINK_EXP, NLM_F_ACK, NLM_F_CREATE,
    NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, message_type,
};

/// How long an expectation waits for its connection, in seconds: longer than any judge does.
const TIMEOUT_S: u32 = 60;

/// What conntrack knows of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// The helper that follows it.
    pub helper: Option<Helper>,
    /// Its zone.
    pub zone: u16,
}

/// Asks for the connection whose first packet was this: in `zone`, or else wherever a ruleset has put it.
///
/// Errors: the kernel's, or those of the socket.
pub(super) fn entry(socket: impl AsFd, first: &Tuple, zone: u16) -> io::Result<Option<Entry>> {
    let mut found = None;
    for flags in [NLM_F_REQUEST, NLM_F_REQUEST | NLM_F_DUMP] {
        let mut bytes = Vec::new();
        let kind = message_type(NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET);
        netfilter_message(&mut bytes, kind, flags, family(first), 0, |body| {
            if flags & NLM_F_DUMP == 0 {
                append(body, CTA_TUPLE_ORIG, first);
                if zone != 0 {
                    body.attribute(CTA_ZONE, &zone.to_be_bytes());
                }
            }
        });
        let asked = exchange(&socket, &bytes, None, |message| {
            if let Ok(seen) = sighting(message, true) {
                let of = &seen.tuple;
                let ports = (of.source_port, of.service);
                let same = (of.source, of.destination, of.protocol)
                    == (first.source, first.destination, first.protocol)
                    && ports
                        == (
                            SourcePort::Exact(first.source_port),
                            Service::Port(first.destination_port),
                        );
                if same {
                    found = Some(Entry {
                        helper: seen.helper,
                        zone: of.zone,
                    });
                }
            }
            // A dump is read to its end, which would be taken for the next answer else.
            match flags & NLM_F_DUMP {
                0 => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        });
        match asked {
            Err(error) if Errno::from_io_error(&error) != Some(Errno::NOENT) => return Err(error),
            _ if found.is_some() => break,
            _ => {}
        }
    }
    Ok(found)
}

const fn family(tuple: &Tuple) -> u8 {
    match tuple.source {
        IpAddr::V4(_) => AF_INET,
        IpAddr::V6(_) => AF_INET6,
    }
}

/// A connection that another one makes related.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expectation {
    /// The connection that a helper follows, as its first packet was sent.
    pub master: Tuple,
    /// The one that is expected, as its first packet will be sent.
    pub expected: Tuple,
    /// The conntrack zone of both.
    pub zone: u16,
}

/// What the kernel said of an expectation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It waits for its connection.
    Made,
    /// No helper follows the other connection.
    NoHelper,
    /// It can't be made for another reason.
    Refused,
}

impl Expectation {
    /// Has the kernel expect the connection.
    pub fn make(&self, socket: impl AsFd) -> Answer {
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        let result = self.request(socket, IPCTNL_MSG_EXP_NEW, flags, |body, expectation| {
            // The mask says which bits count: all.
            let of = |address: IpAddr| match address {
                IpAddr::V4(_) => IpAddr::from([0xff; 4]),
                IpAddr::V6(_) => IpAddr::from([0xff; 16]),
            };
            let expected = &expectation.expected;
            let mask = Tuple {
                source: of(expected.source),
                destination: of(expected.destination),
                protocol: expected.protocol,
                source_port: u16::MAX,
                destination_port: u16::MAX,
            };
            append(body, CTA_EXPECT_MASTER, &expectation.master);
            append(body, CTA_EXPECT_MASK, &mask);
            body.word_be(CTA_EXPECT_TIMEOUT, TIMEOUT_S);
        });
        let errno = |error: io::Error| Errno::from_io_error(&error);
        match result.map_err(errno) {
            Ok(()) => Answer::Made,
            // The connection has no room for a helper (`ctnetlink_alloc_expect`, nf_conntrack_netlink.c), or none in it
            // (`__nf_ct_expect_check`, nf_conntrack_expect.c; Linux 6.18).
            Err(Some(Errno::OPNOTSUPP | Errno::SHUTDOWN)) => Answer::NoHelper,
            Err(_) => Answer::Refused,
        }
    }

    /// Takes it back, and returns whether a connection has met it: then it is gone (`nf_ct_find_expectation`,
    /// nf_conntrack_expect.c).
    pub fn was_met(&self, socket: impl AsFd) -> bool {
        let result = self.request(socket, IPCTNL_MSG_EXP_DELETE, 0, |_, _| {});
        result.is_err_and(|error| Errno::from_io_error(&error) == Some(Errno::NOENT))
    }

    fn request(
        &self,
        socket: impl AsFd,
        message: u16,
        flags: u16,
        more: impl FnOnce(&mut Body<'_>, &Self),
    ) -> io::Result<()> {
        let mut bytes = Vec::new();
        let kind = message_type(NFNL_SUBSYS_CTNETLINK_EXP, message);
        let family = family(&self.expected);
        let flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        netfilter_message(&mut bytes, kind, flags, family, 0, |body| {
            append(body, CTA_EXPECT_TUPLE, &self.expected);
            if self.zone != 0 {
                body.attribute(CTA_EXPECT_ZONE, &self.zone.to_be_bytes());
            }
            more(body, self);
        });
        transact(socket, &bytes, 1)
    }
}

/// Appends a tuple, in the attributes that ctnetlink has for those of connections too.
fn append(body: &mut Body<'_>, kind: u16, tuple: &Tuple) {
    let source = SocketAddr::new(tuple.source, tuple.source_port);
    let destination = SocketAddr::new(tuple.destination, tuple.destination_port);
    append_tuple(body, kind, tuple.protocol, [source, destination]);
}
