//! The ids that network namespaces have here, by which netlink tells of them.

use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::io::Errno;

use crate::netlink::build::message;
use crate::netlink::framing::attributes;
use crate::netlink::request;
use crate::netlink::uapi::{
    NETNSA_FD, NETNSA_NSID, NLM_F_ACK, NLM_F_REQUEST, RTM_GETNSID, RTM_NEWNSID,
};
use crate::os::namespace;

// include/uapi/linux/rtnetlink.h and net_namespace.h
/// `NETNSA_NSID_NOT_ASSIGNED`; in a request, any free one.
const NOT_ASSIGNED: i32 = -1;
/// `struct rtgenmsg`, padded.
const RTGENMSG_LEN: usize = 4;

/// The id that a namespace has here; one is given to it if need be. `None` if it is our own.
///
/// Errors: a file that is no namespace; `EPERM` where one has to be given without CAP_NET_ADMIN.
pub fn id_by_path(socket: &OwnedFd, path: &Path) -> io::Result<Option<i32>> {
    let file = namespace::open(path)?;
    let same =
        |a: &rustix::fs::Stat, b: &rustix::fs::Stat| (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino);
    let own = rustix::fs::stat(namespace::OWN)?;
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

/// The id in the payload of a message about one.
pub fn id_of(payload: &[u8]) -> Option<i32> {
    let attributes = attributes(payload.get(RTGENMSG_LEN..)?);
    let id = { attributes }.find(|(kind, _)| *kind == NETNSA_NSID)?.1;
    Some(i32::from_ne_bytes(id.try_into().ok()?))
}
