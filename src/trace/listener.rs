//! Listens to trace events for as long as it runs, and has the gate pick the packets.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};

use crate::model::record::Identity;
use crate::model::tuple::Tuple;
use crate::model::units::{agree, counted};
use crate::netlink::framing::messages;
use crate::netlink::request::{Family, open};
use crate::netlink::uapi::{NFNLGRP_NFTABLES, NFNLGRP_NFTRACE};
use crate::os::socket::Batch;

use super::entry;
use super::event::{self, Event};
use super::gate::Gate;
use super::legacy::Legacy;
use super::paths::Paths;
use super::ruleset::{self, Ruleset};

/// Groups of events; bits count from 1.
const GROUPS: u32 = 1 << (NFNLGRP_NFTRACE - 1) | 1 << (NFNLGRP_NFTABLES - 1);
/// Receive buffer, in bytes: of some 20,000 events, which are a second of 2,000 new flows.
const BUFFER: usize = 16 << 20;
/// For how many milliseconds events are waited for that should have come.
const PATIENCE: usize = 50;
/// How often the gate is opened anew at most, however often the rules change or events are lost.
const FLUSH_EVERY: Duration = Duration::from_secs(1);

/// Follows the first packet of each flow through the rules.
#[derive(Debug)]
pub struct Listener {
    gate: Gate,
    socket: OwnedFd,
    /// For questions, whose answers are not to be among events.
    asking: OwnedFd,
    batch: Batch,
    paths: Paths,
    /// Where rules of iptables-legacy are followed too.
    legacy: Option<Legacy>,
    overruns: u64,
    /// How often messages of iptables-legacy were lost, as far as it was acted upon.
    lost: u64,
    /// Whether every flow is to be told again, because rules have changed or events were lost.
    is_stale: bool,
    flushed: Instant,
    /// Generation of the rules that our own last change made.
    generation: u32,
}

impl Listener {
    /// Begins with at most `flows` distinct flows, in this network namespace; `legacy` is whether it also follows them through
    /// rules of iptables-legacy.
    ///
    /// Errors: no privilege, or what the kernel lacks.
    pub fn new(flows: u32, legacy: bool) -> io::Result<Self> {
        let legacy = legacy.then(Legacy::start).transpose()?;
        let socket = open(Family::Netfilter, GROUPS)?;
        if set_socket_recv_buffer_size_force(&socket, BUFFER).is_err() {
            // Less room means that fewer flows may begin at a time.
            let _ = set_socket_recv_buffer_size(&socket, BUFFER);
        }
        let gate = Gate::new(flows, legacy.is_some())?;
        let generation = gate.generation()?;
        let paths = Paths::new(gate.table(), flows as usize);
        Ok(Self {
            gate,
            socket,
            asking: open(Family::Netfilter, 0)?,
            batch: Batch::new(),
            paths,
            legacy,
            overruns: 0,
            lost: 0,
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
            let logged = self.legacy.as_ref().map_or(socket, AsFd::as_fd);
            let mut sources = [
                PollFd::new(&socket, PollFlags::IN),
                PollFd::new(&wake, PollFlags::IN),
                PollFd::new(&logged, PollFlags::IN),
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

    /// What iptables-legacy says of a packet comes by another socket, and is read first: what the gate said of it before is
    /// there by then.
    fn receive(&mut self) -> io::Result<()> {
        let logged = match &mut self.legacy {
            Some(legacy) => legacy.receive()?,
            None => Vec::new(),
        };
        self.receive_events()?;
        if let Some(legacy) = &self.legacy {
            for logged in logged {
                self.paths.add_logged(&logged, legacy.ruleset());
            }
        }
        Ok(())
    }

    fn receive_events(&mut self) -> io::Result<()> {
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
        if let Some(legacy) = &mut self.legacy {
            // Where its rules can't be read, the list says so.
            self.is_stale |= legacy.have_changed().unwrap_or(false);
            self.is_stale |= legacy.overruns() > self.lost;
            self.lost = legacy.overruns();
        }
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

    /// Asks connection tracking for the entries of what has begun since the last call, where events have their numbers.
    ///
    /// Errors: those of the socket.
    pub fn identify(&mut self) -> io::Result<()> {
        let asking = self.asking.as_fd();
        self.paths
            .identify(|tuple, id| entry::identity(asking, tuple, id))
    }

    /// What makes the flow of an entry that is there now: the tuple has its zone and source port.
    ///
    /// Errors: those of the socket.
    pub fn identity(&self, tuple: &Tuple, id: u32) -> io::Result<Option<Identity>> {
        entry::identity(&self.asking, tuple, id)
    }

    /// The paths so far.
    pub fn paths(&self) -> &Paths {
        &self.paths
    }

    /// The rules that are loaded, as far as packets are followed through them.
    ///
    /// Errors: nft or iptables-legacy-save say why they can't tell.
    pub fn ruleset(&self) -> io::Result<Ruleset> {
        let mut ruleset = Ruleset::read()?;
        if self.legacy.is_some() {
            ruleset.add(Ruleset::read_legacy()?);
        }
        Ok(ruleset)
    }

    /// Why flows may be missing or have no rule.
    pub fn reasons(&mut self) -> Vec<String> {
        let mut reasons = match &mut self.legacy {
            Some(legacy) => legacy.reasons(),
            None => ruleset::unseen().into_iter().collect(),
        };
        let overruns = self.overruns + self.legacy.as_ref().map_or(0, Legacy::overruns);
        if overruns > 0 {
            reasons.push(format!(
                "trace events were lost {}: flows that came only then may be missing",
                counted(overruns, "time")
            ));
        }
        if self.paths.unknown() > 0 {
            reasons.push(format!(
                "rules of iptables-legacy were met {} that are not in its list, and are missing",
                counted(self.paths.unknown(), "time")
            ));
        }
        if self.paths.refused() > 0 {
            reasons.push(format!(
                "{} found no room (--max-flows)",
                counted(self.paths.refused(), "flow")
            ));
        }
        if self.paths.unread() > 0 {
            reasons.push(format!(
                "packets that begin a flow and have extension headers of IPv6 are not listed: {}",
                self.paths.unread()
            ));
        }
        match self.gate.picked() {
            Ok(picked) => {
                if picked.missed > 0 {
                    reasons.push(format!(
                        "{} {} not traced, since no more than --max-flows are remembered, or two processors had packets \
                         at a time",
                        counted(picked.missed, "new flow"),
                        agree(picked.missed, "was", "were")
                    ));
                }
                reasons.extend(self.unreported(picked.traced, overruns > 0));
            }
            Err(error) => reasons.push(format!("the counters of the gate can't be read: {error}")),
        }
        reasons
    }

    /// Whether the kernel has reported each of the packets that the gate has had traced, of which a counter tells.
    fn unreported(&mut self, traced: u64, known: bool) -> Option<String> {
        for _ in 0..PATIENCE {
            if known || self.paths.begun() >= traced {
                return None;
            }
            // Of the last ones the event may be on its way.
            if let Err(error) = self.receive() {
                return Some(format!("trace events can't be received: {error}"));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let missing = traced.saturating_sub(self.paths.begun());
        (missing > 0).then(|| {
            format!(
                "{} {}, and the kernel did not report {}",
                counted(missing, "packet"),
                agree(
                    missing,
                    "that begins a flow was to be traced",
                    "that begin a flow were to be traced"
                ),
                agree(missing, "it", "them")
            )
        })
    }
}
