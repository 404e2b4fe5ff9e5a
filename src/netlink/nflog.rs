//! What is asked of the kernel's packet log (`NFLOG`).
//!
//! Layouts: `include/uapi/linux/netfilter/nfnetlink_log.h`.

use std::io;
use std::os::fd::AsFd;

use super::build::{Body, netfilter_message};
use super::request::transact;
use super::uapi::{
    NFNL_SUBSYS_ULOG, NFULA_CFG_CMD, NFULA_CFG_MODE, NFULNL_CFG_CMD_BIND, NFULNL_COPY_PACKET,
    NFULNL_MSG_CONFIG, NLM_F_ACK, NLM_F_REQUEST, message_type,
};

/// Has the packets of a group sent to a socket, up to so many bytes of each. `more` adds further settings of the group.
///
/// Errors: the kernel's, such as that somebody else listens to this group (EBUSY).
pub fn bind(
    socket: impl AsFd,
    group: u16,
    copied: u32,
    more: impl FnOnce(&mut Body<'_>),
) -> io::Result<()> {
    let mut bytes = Vec::new();
    let kind = message_type(NFNL_SUBSYS_ULOG, NFULNL_MSG_CONFIG);
    let flags = NLM_F_REQUEST | NLM_F_ACK;
    netfilter_message(&mut bytes, kind, flags, 0, group, |body| {
        body.attribute(NFULA_CFG_CMD, &[NFULNL_CFG_CMD_BIND]);
    });
    netfilter_message(&mut bytes, kind, flags, 0, group, |body| {
        let mut mode = [0; 6];
        mode[..4].copy_from_slice(&copied.to_be_bytes());
        mode[4] = NFULNL_COPY_PACKET;
        body.attribute(NFULA_CFG_MODE, &mode);
        more(body);
    });
    transact(socket, &bytes, 2)
}
