//! Rules of nftables that were added, as the kernel tells of each: one that is deleted again before anybody looks is seen
//! all the same.

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};
use rustix::net::{RecvFlags, recvfrom};

use super::super::need::Needs;
use super::rule::{exempt, masks};
use crate::doctor::module::Presence;
use crate::netlink::framing::{NFGENMSG_LEN, messages};
use crate::netlink::request::{self, Family};
use crate::netlink::uapi::{NFNL_SUBSYS_NFTABLES, NFNLGRP_NFTABLES, NFT_MSG_NEWRULE};

/// Groups are bits from 1.
const GROUP: u32 = 1 << (NFNLGRP_NFTABLES - 1);
/// Receive buffer, in bytes: room for the rules that are loaded in a second. Nothing of it is taken before they come.
const BUFFER: usize = 16 << 20;
/// More than the kernel puts into one datagram of changes (`NLMSG_GOODSIZE`, `nf_tables_commit_notify` or
/// `nft_commit_notify`, net/netfilter/nf_tables_api.c).
const DATAGRAM_MAX: usize = 64 << 10;

/// Hears of every rule that is added in one network namespace.
#[derive(Debug)]
pub struct Heard {
    socket: OwnedFd,
}

/// What rules do that were added since this was asked last.
#[derive(Debug, Default)]
pub struct Added {
    /// Masks of events and exemptions from tracking, whether or not the rules are still there.
    pub needs: Needs,
    /// Whether there were more than found room, so that some were not seen.
    pub overrun: bool,
}

impl Heard {
    /// Of the namespace that the calling thread is in; `None` where nftables is not loaded, which listening would change.
    ///
    /// Errors: those of socket(2) and bind(2).
    pub fn begin() -> io::Result<Option<Self>> {
        if !Presence::of("nf_tables").can_be_asked() {
            return Ok(None);
        }
        let socket = request::open(Family::Netfilter, GROUP)?;
        if set_socket_recv_buffer_size_force(&socket, BUFFER).is_err() {
            // With less room, more is said not to have been seen.
            let _ = set_socket_recv_buffer_size(&socket, BUFFER);
        }
        Ok(Some(Self { socket }))
    }

    /// What was added since this was asked last.
    pub fn take(&self) -> Added {
        let mut added = Added::default();
        let mut buffer = vec![0; DATAGRAM_MAX];
        loop {
            match recvfrom(&self.socket, &mut *buffer, RecvFlags::DONTWAIT) {
                Ok((received, _, sender)) => {
                    // Other processes may send to the socket as well.
                    let sender = sender.and_then(|sender| SocketAddrNetlink::try_from(sender).ok());
                    if sender.is_none_or(|sender| sender.pid() == 0) {
                        added.read(&buffer[..received]);
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return added,
                Err(error) => {
                    added.overrun = true;
                    // An overrun is told once, and what had found room comes after it.
                    if error != Errno::NOBUFS {
                        return added;
                    }
                }
            }
        }
    }
}

impl Added {
    fn read(&mut self, datagram: &[u8]) {
        for message in messages(datagram) {
            let Ok(message) = message else {
                self.overrun = true;
                return;
            };
            if message.kind != NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWRULE {
                continue;
            }
            let Some((header, rule)) = message.payload.split_first_chunk::<NFGENMSG_LEN>() else {
                continue;
            };
            let family = header[0];
            for (rule, mask) in masks(family, rule) {
                self.needs.add_mask(rule, mask);
            }
            if let Some(exempt) = exempt(family, rule) {
                self.needs.add_exempt(exempt);
            }
        }
    }
}
