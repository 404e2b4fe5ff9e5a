//! Questions to netfilter's subsystems, answered at once or not at all.

use std::io;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use rustix::net::sockopt::{Timeout, set_socket_timeout};

use crate::netlink::build::netfilter_message;
use crate::netlink::framing::NFGENMSG_LEN;
use crate::netlink::request::{self, Family};
use crate::netlink::uapi::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST};

/// How long an answer may take, all of it. It suffices for some ten thousands of rules, beyond which the kernel
/// takes ever longer for each piece: it walks over all that it has sent before (`__nf_tables_dump_rules`,
/// net/netfilter/nf_tables_api.c).
const PATIENCE: Duration = Duration::from_secs(3);

/// Asks for all objects of a kind, and hands each one's family and attributes to `each`, until that breaks.
/// Returns whether the answer was complete.
///
/// Errors: `EPERM` without CAP_NET_ADMIN, `EINVAL` for a subsystem that is not there, `EAGAIN` without an answer.
pub fn dump(kind: u16, mut each: impl FnMut(u8, &[u8]) -> ControlFlow<()>) -> io::Result<bool> {
    exchange(kind, NLM_F_DUMP, |family, attributes| {
        each(family, attributes)
    })
}

/// Asks whether a request is understood at all.
///
/// Errors: as [`dump`].
pub fn ask(kind: u16) -> io::Result<()> {
    exchange(kind, NLM_F_ACK, |_, _| ControlFlow::Continue(())).map(drop)
}

/// Asks for one object, and hands its family and attributes to `each`.
///
/// Errors: as [`dump`].
pub fn get(kind: u16, each: impl FnMut(u8, &[u8]) -> ControlFlow<()>) -> io::Result<bool> {
    exchange(kind, 0, each)
}

fn exchange(
    kind: u16,
    flags: u16,
    mut each: impl FnMut(u8, &[u8]) -> ControlFlow<()>,
) -> io::Result<bool> {
    let deadline = Instant::now() + PATIENCE;
    let socket = request::open(Family::Netfilter, 0)?;
    set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
    let mut bytes = Vec::new();
    // Of any family.
    netfilter_message(&mut bytes, kind, NLM_F_REQUEST | flags, 0, 0, |_| {});
    request::query(&socket, &bytes, Some(deadline), |payload| match payload
        .split_first_chunk::<NFGENMSG_LEN>()
    {
        Some((header, attributes)) => each(header[0], attributes),
        None => ControlFlow::Continue(()),
    })
}
