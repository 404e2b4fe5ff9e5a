//! How the sockets are set up: groups, receive buffer, loss behaviour, filters.

use std::io;
use std::os::fd::AsFd;

use netfilter_conntrack::{Groups, Handle};
use rustix::net::sockopt;

use crate::netlink::uapi::NFNLGRP_CONNTRACK_DESTROY;
use crate::os::prefilter::{self, Share};
use crate::os::socket::{
    NETLINK_BROADCAST_ERROR, NETLINK_LISTEN_ALL_NSID, NETLINK_NO_ENOBUFS, attach_filter,
    enable_netlink_option, memory, set_netlink_option,
};

/// What the kernel charges a receive buffer for one event (`skb->truesize`): 1,280 bytes for messages
/// of 148 to 196 bytes on Linux 6.18.
pub const EVENT_TRUESIZE_BYTES: u32 = 1280;

/// `NFNLGRP_CONNTRACK_DESTROY` of `include/uapi/linux/netfilter/nfnetlink.h`.
const GROUP_DESTROY: libc::c_int = NFNLGRP_CONNTRACK_DESTROY as libc::c_int;

/// What a socket is asked to be.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Receive buffer to ask for, as the kernel accounts it.
    pub buffer_bytes: u32,
    /// How far it may grow under pressure.
    pub buffer_max_bytes: u32,
    /// Whether the kernel drops what cannot change the list.
    pub prefilter: bool,
    /// Whether events of all namespaces that have an id here are received.
    pub all_namespaces: bool,
    /// Whether the ends of entries are received too, so that missed events can be recovered.
    pub reliable: bool,
}

impl Default for Settings {
    /// Those of a capture without options.
    fn default() -> Self {
        Self {
            buffer_bytes: 64 << 20,
            buffer_max_bytes: 512 << 20,
            prefilter: true,
            all_namespaces: false,
            reliable: false,
        }
    }
}

/// A socket's receive buffer, which grows while it is under pressure.
#[derive(Clone, Copy, Debug)]
pub struct Buffer {
    granted_bytes: u32,
    max_bytes: u32,
    early_drops: u32,
}

impl Buffer {
    /// What the kernel granted.
    pub const fn granted_bytes(&self) -> u32 {
        self.granted_bytes
    }

    /// What was dropped before the kernel was asked to remember what it drops: nothing of it is sent again.
    pub const fn early_drops(&self) -> u32 {
        self.early_drops
    }

    /// How many events that holds.
    pub const fn granted_events(&self) -> u32 {
        self.granted_bytes / EVENT_TRUESIZE_BYTES
    }

    fn ask(socket: impl AsFd, bytes: u32, max_bytes: u32) -> io::Result<Self> {
        let socket = socket.as_fd();
        // The kernel doubles what it is asked for (`__sock_set_rcvbuf`), and reads back the double.
        let half = bytes as usize / 2;
        // Beyond net.core.rmem_max with CAP_NET_ADMIN, up to it without.
        if sockopt::set_socket_recv_buffer_size_force(socket, half).is_err() {
            sockopt::set_socket_recv_buffer_size(socket, half)?;
        }
        let granted = sockopt::socket_recv_buffer_size(socket)?;
        Ok(Self {
            granted_bytes: u32::try_from(granted).unwrap_or(u32::MAX),
            max_bytes,
            early_drops: 0,
        })
    }

    /// Doubles the buffer if it is half full, as far as it may grow. Called before a drain, when the
    /// queue is at its longest.
    pub(super) fn grow_under_pressure(&mut self, socket: impl AsFd) -> io::Result<()> {
        if self.granted_bytes >= self.max_bytes {
            return Ok(());
        }
        let memory = memory(&socket)?;
        if memory.queued_bytes < memory.limit_bytes / 2 {
            return Ok(());
        }
        let asked = self.granted_bytes.saturating_mul(2).min(self.max_bytes);
        let grown = Self::ask(&socket, asked, self.max_bytes)?;
        if grown.granted_bytes <= self.granted_bytes {
            // No privilege to go on: don't ask again.
            self.max_bytes = self.granted_bytes;
        }
        self.granted_bytes = grown.granted_bytes;
        Ok(())
    }
}

/// Opens one socket, subscribes it and sets it up.
///
/// What comes in before it is set up is read like any other message. An overrun of the small first buffer moves the
/// drop counter as any does; what it dropped before `NETLINK_BROADCAST_ERROR` is set is not sent again, and noted.
///
/// Errors: `EPERM` without CAP_NET_ADMIN, `EPROTONOSUPPORT` without nfnetlink, and others of `nfct_open` and
/// setsockopt(2).
pub fn open(settings: &Settings, share: Share) -> io::Result<(Handle, Buffer)> {
    let mut groups = Groups::NEW | Groups::UPDATE;
    if settings.reliable {
        groups |= Groups::DESTROY;
    }
    let handle = Handle::open(groups)?;
    enable_netlink_option(&handle, NETLINK_BROADCAST_ERROR)?;
    enable_netlink_option(&handle, NETLINK_NO_ENOBUFS)?;
    let early_drops = memory(&handle)?.drops;
    let asked = Buffer::ask(&handle, settings.buffer_bytes, settings.buffer_max_bytes)?;
    let buffer = Buffer {
        early_drops,
        ..asked
    };
    if settings.all_namespaces {
        enable_netlink_option(&handle, NETLINK_LISTEN_ALL_NSID)?;
    }
    if let Some(program) = prefilter::filter(settings.prefilter, share) {
        attach_filter(&handle, &program)?;
    }
    Ok((handle, buffer))
}

/// Ends the delivery of events to a socket; what is queued stays.
///
/// Errors: those of setsockopt(2).
pub fn cut_off(socket: impl AsFd) -> io::Result<()> {
    attach_filter(socket, &prefilter::nothing())
}

/// Has a socket be sent nothing but ends of entries from here on: see
/// [`Recovery::end`](crate::live::recovery::Recovery::end).
///
/// Errors: those of setsockopt(2).
pub fn leave_only_ends(socket: impl AsFd) -> io::Result<()> {
    attach_filter(socket, &prefilter::only_ends())
}

/// Makes room for many ends of entries in a receive buffer that has less, so that those that the kernel keeps back are
/// told soon: each of its attempts tells as many as there is room for, and they are up to a second apart (`ecache_work`,
/// net/netfilter/nf_conntrack_ecache.c, measured on Linux 6.18). Memory is taken only for what is queued.
///
/// Errors: those of setsockopt(2).
pub fn make_room_for_ends(socket: impl AsFd) -> io::Result<()> {
    let granted = sockopt::socket_recv_buffer_size(socket.as_fd())?;
    if granted < ROOM_FOR_ENDS_BYTES {
        Buffer::ask(&socket, ROOM_FOR_ENDS_BYTES as u32, 0)?;
    }
    Ok(())
}

/// Some 200,000 events, three quarters of the usual `nf_conntrack_max`.
const ROOM_FOR_ENDS_BYTES: usize = 256 << 20;

/// Has the kernel keep nothing back for this socket any more: events that find no room are dropped again.
///
/// Errors: those of setsockopt(2).
pub fn give_up_reliability(socket: impl AsFd) -> io::Result<()> {
    let socket = socket.as_fd();
    set_netlink_option(socket, libc::NETLINK_DROP_MEMBERSHIP, GROUP_DESTROY)?;
    set_netlink_option(socket, NETLINK_BROADCAST_ERROR, 0)
}
