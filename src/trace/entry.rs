//! The entry of connection tracking that a packet made, by the number that its trace has (`NFTA_TRACE_CT_ID`, Linux 6.16). It tells
//! what headers do not: the zone, and what the connection is translated to.

use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::os::fd::AsFd;

use crate::model::record::{Identity, Service, SourcePort};
use crate::model::tuple::Tuple;
use crate::netlink::build::netfilter_message;
use crate::netlink::conntrack::sighting;
use crate::netlink::conntrack::tuple::append_tuple;
use crate::netlink::framing::{NFGENMSG_LEN, attributes};
use crate::netlink::request;
use crate::netlink::uapi::{
    AF_INET, AF_INET6, CTA_ID, CTA_TUPLE_ORIG, CTA_ZONE, IPCTNL_MSG_CT_GET, NFNL_SUBSYS_CTNETLINK,
    NLM_F_REQUEST, message_type,
};

/// What makes the flow of an entry, if there is one of this tuple with this number; `None` if there is none by now, or another
/// connection's. Protocols with ports alone: of others a tuple here has not all that makes it one.
///
/// Errors: those of the socket.
pub fn identity(socket: impl AsFd, tuple: &Tuple, id: u32) -> io::Result<Option<Identity>> {
    let (Service::Port(port), SourcePort::Exact(source_port)) = (tuple.service, tuple.source_port)
    else {
        return Ok(None);
    };
    let family = if tuple.source.is_ipv4() {
        AF_INET
    } else {
        AF_INET6
    };
    let mut bytes = Vec::new();
    let kind = message_type(NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET);
    netfilter_message(&mut bytes, kind, NLM_F_REQUEST, family, 0, |body| {
        let source = SocketAddr::new(tuple.source, source_port);
        let destination = SocketAddr::new(tuple.destination, port);
        append_tuple(body, CTA_TUPLE_ORIG, tuple.protocol, [source, destination]);
        if tuple.zone != 0 {
            body.attribute(CTA_ZONE, &tuple.zone.to_be_bytes());
        }
    });
    let mut found = None;
    let asked = request::exchange(&socket, &bytes, None, |message| {
        let body = message.payload.get(NFGENMSG_LEN..).unwrap_or_default();
        let own = attributes(body).find(|(kind, _)| *kind == CTA_ID);
        let same = own.is_some_and(|(_, own)| own == id.to_be_bytes());
        found = sighting(message, true).ok().filter(|_| same);
        ControlFlow::Break(())
    });
    match asked {
        Err(error) if error.raw_os_error() != Some(libc::ENOENT) => Err(error),
        _ => Ok(found.map(|sighting| Identity {
            translation: sighting.translation.map(Box::new),
            ..Identity::of(&sighting.tuple)
        })),
    }
}
