//! The ends that packets go in at and come out of.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::netdevice::name_to_index;
use rustix::time::Timespec;

use crate::check::local::{Log, Sender};
use crate::check::tun::Tun;
use crate::model::error::Error;

/// Where a packet goes in, or has come out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// A device, by its place among them.
    Device(usize),
    /// The gateway itself, which sends or gets the packet.
    Host,
}

/// What is heard of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It has come out there.
    Out(End),
    /// It has come to the rule of this doubt.
    Doubt(usize),
}

/// One end of the wire: a device by which packets go in and out.
#[derive(Debug)]
struct Port {
    tun: Tun,
    /// Index in the kernel.
    index: u32,
}

/// The ends of all devices of the gateway that is judged.
#[derive(Debug)]
pub struct Wire {
    ports: Vec<Port>,
    numbers: HashMap<String, usize>,
    sender: Sender,
    log: Log,
    buffer: Vec<u8>,
}

impl Wire {
    /// Opens the host's own end in the calling thread's namespace.
    ///
    /// Errors: what the kernel lacks.
    pub fn new() -> Result<Self, Error> {
        let sender = Sender::new().map_err(|error| {
            Error::new(format!(
                "raw sockets can't be opened in the namespace: {error}"
            ))
        })?;
        let log = Log::new().map_err(|error| {
            Error::new(format!(
                "this kernel has no netfilter log for packets ({error}): load the module with \
                 modprobe nfnetlink_log"
            ))
        })?;
        Ok(Self {
            ports: Vec::new(),
            numbers: HashMap::new(),
            sender,
            log,
            buffer: Vec::new(),
        })
    }

    /// Adds a device in the calling thread's namespace, unless it is there.
    ///
    /// Errors: a device that can't be made.
    pub fn add(&mut self, name: &str) -> Result<(), Error> {
        if name == "lo" || self.numbers.contains_key(name) {
            return Ok(());
        }
        let tun = Tun::new(name)?;
        let index = name_to_index(self.log.as_fd(), name)
            .map_err(|error| Error::caused(format!("device \"{name}\": {error}"), error))?;
        self.numbers.insert(name.to_owned(), self.ports.len());
        self.ports.push(Port { tun, index });
        Ok(())
    }

    /// The end of a name.
    pub fn end(&self, name: &str) -> Option<End> {
        self.numbers.get(name).copied().map(End::Device)
    }

    /// The name of an end; `None` is the host's own.
    pub fn name(&self, end: End) -> Option<&str> {
        let End::Device(number) = end else {
            return None;
        };
        let mut names = self.numbers.iter();
        let found = names.find(|(_, known)| **known == number);
        found.map(|(name, _)| name.as_str())
    }

    /// Index in the kernel of the device of a name.
    pub fn index(&self, name: &str) -> Option<u32> {
        let number = *self.numbers.get(name)?;
        Some(self.ports[number].index)
    }

    /// Has a packet go in. `scope` is the index of the device that a link-local destination of the
    /// host's own packets lies behind.
    ///
    /// Errors: the system's; `PermissionDenied` if a rule of the output hook has dropped it.
    pub fn send(&self, at: End, packet: &[u8], destination: IpAddr, scope: u32) -> io::Result<()> {
        match at {
            End::Device(number) => self.ports[number].tun.write(packet),
            End::Host => self.sender.send(packet, destination, scope),
        }
    }

    /// Takes all that is heard. Returns whether nothing is missing.
    ///
    /// Errors: the system's.
    pub fn drain(&mut self, mut packet: impl FnMut(Heard, &[u8])) -> io::Result<bool> {
        let mut ready: Vec<PollFd<'_>> = self
            .ports
            .iter()
            .map(|port| PollFd::new(&port.tun, PollFlags::IN))
            .collect();
        ready.push(PollFd::new(&self.log, PollFlags::IN));
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        if poll(&mut ready, Some(&now))? == 0 {
            return Ok(true);
        }
        let readable: Vec<bool> = ready
            .iter()
            .map(|ready| ready.revents().contains(PollFlags::IN))
            .collect();
        for (number, port) in self.ports.iter().enumerate() {
            if readable[number] {
                while let Some(bytes) = port.tun.read(&mut self.buffer)? {
                    packet(Heard::Out(End::Device(number)), bytes);
                }
            }
        }
        // Last, and in any case: what a packet that has come out by a device was logged for on its way is there by now.
        self.log.drain(|doubt, bytes| {
            packet(doubt.map_or(Heard::Out(End::Host), Heard::Doubt), bytes);
        })
    }
}
