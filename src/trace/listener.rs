//! Listens to trace events for as long as it runs, and has the gate pick the packets.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};

use crate::netlink::framing::messages;
use crate::netlink::request::{Family, open};
use crate::netlink::uapi::{NFNLGRP_NFTABLES, NFNLGRP_NFTRACE};
use crate::os::socket::Batch;

use super::event::{self, Event};
use super::gate::Gate;
use super::paths::Paths;

/// Groups of events; bits count from 1.
const GROUPS: u32 = 1 << (NFNLGRP_NFTRACE - 1) | 1 << (NFNLGRP_NFTABLES - 1);
/// Receive buffer, in bytes: of some 20,000 events, which are a second of 2,000 new flows.
const BUFFER: usize = 16 << 20;
/// How often the gate is opened anew at most, however often the rules change or events are lost.
const FLUSH_EVERY: Duration = Duration::from_secs(1);

/// Follows the first packet of each flow through the rules.
#[derive(Debug)]
pub struct Listener {
    gate: Gate,
    socket: OwnedFd,
    batch: Batch,
    paths: Paths,
    overruns: u64,
    /// Whether every flow is to be told again, because rules have changed or events were lost.
    is_stale: bool,
    flushed: Instant,
    /// Generation of the rules that our own last change made.
    generation: u32,
}

impl Listener {
    /// Begins with at most `flows` distinct flows, in this network namespace.
    ///
    /// Errors: no privilege, or what the kernel lacks.
    pub fn new(flows: u32) -> io::Result<Self> {
        let socket = open(Family::Netfilter, GROUPS)?;
        if set_socket_recv_buffer_size_force(&socket, BUFFER).is_err() {
            // Less room means that fewer flows may begin at a time.
            let _ = set_socket_recv_buffer_size(&socket, BUFFER);
        }
        let gate = Gate::new(flows)?;
        let generation = gate.generation()?;
        let paths = Paths::new(gate.table(), flows as usize);
        Ok(Self {
            gate,
            socket,
            batch: Batch::new(),
            paths,
            overruns: 0,
            is_stale: false,
            flushed: Instant::now(),
            generation,
        })
    }

    /// Takes in what comes until `wake` can be read or `time` is over.
    ///
    /// Errors: those of poll(2) and recvmmsg(2), and the kernel's where the gate can't be opened anew.
    pub fn listen(&mut self, wake: BorrowedFd<'_>, time: Duration) -> io::Result<()> {
        let deadline = Instant::now() + time;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).ok();
            let socket = self.socket.as_fd();
            let mut sources = [
                PollFd::new(&socket, PollFlags::IN),
                PollFd::new(&wake, PollFlags::IN),
            ];
            match poll(&mut sources, timeout.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let woken = !sources[1].revents().is_empty();
            self.receive()?;
            self.refresh()?;
            if woken || left.is_zero() {
                return Ok(());
            }
        }
    }

    fn receive(&mut self) -> io::Result<()> {
        loop {
            let received = match self.batch.receive(&self.socket) {
                Ok(0) => return Ok(()),
                Ok(received) => received,
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    self.overruns += 1;
                    self.is_stale = true;
                    continue;
                }
                Err(error) => return Err(error),
            };
            for datagram in self.batch.datagrams(received) {
                for message in messages(datagram.bytes).flatten() {
                    match event::read(&message) {
                        Some(Event::Met(met)) => self.paths.add(&met),
                        Some(Event::Changed(generation)) => {
                            self.is_stale |= generation != self.generation;
                        }
                        None => {}
                    }
                }
            }
        }
    }

    /// Opens the gate anew if it has to be.
    fn refresh(&mut self) -> io::Result<()> {
        if !self.is_stale || self.flushed.elapsed() < FLUSH_EVERY {
            return Ok(());
        }
        self.flushed = Instant::now();
        let before = self.gate.generation()?;
        self.gate.flush()?;
        self.generation = self.gate.generation()?;
        // Ours is one of them: with another one in between, what came in that time is to be told again too.
        self.is_stale = self.generation != before.wrapping_add(1);
        Ok(())
    }

    /// The paths so far.
    pub fn paths(&self) -> &Paths {
        &self.paths
    }

    /// Why flows may be missing or have no rule.
    pub fn reasons(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.overruns > 0 {
            reasons.push(format!(
                "trace events were lost {} times: flows that came only then may be missing",
                self.overruns
            ));
        }
        if self.paths.refused() > 0 {
            reasons.push(format!(
                "{} flows found no room (--max-flows)",
                self.paths.refused()
            ));
        }
        if self.paths.unread() > 0 {
            reasons.push(format!(
                "packets that begin a flow and have extension headers of IPv6 are not listed: {}",
                self.paths.unread()
            ));
        }
        match self.gate.missed() {
            Ok(0) => {}
            Ok(missed) => reasons.push(format!(
                "{missed} new flows were not traced, since no more than --max-flows are remembered, or two processors had \
                 packets at a time"
            )),
            Err(error) => reasons.push(format!("the counters of the gate can't be read: {error}")),
        }
        reasons
    }
}
