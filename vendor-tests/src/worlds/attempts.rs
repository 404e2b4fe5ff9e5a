//! Attacks: each kind as the same number of flows, so that none outweighs the others.

use std::net::IpAddr;

use super::diary::Flow;
use super::internet::stranger;
use crate::world::Dice;

/// So many flows of a kind a day, at most.
const EACH: u32 = 24;

/// Ports that attackers of an inner network try: ssh, telnet, RPC, NetBIOS, SMB, databases, remote desktops, proxies.
pub const LATERAL: [u16; 10] = [22, 23, 135, 139, 445, 1433, 3306, 3389, 5900, 5985];
/// Ports by which something gets out, or is commanded from outside: ssh, mail, IRC, miners, Tor, telnet of bots.
pub const OUTWARD: [u16; 8] = [22, 25, 23, 445, 4444, 6667, 3333, 9001];

/// The attacks of a day.
#[derive(Debug)]
pub struct Attempts {
    flows: Vec<Flow>,
    dice: Dice,
}

impl Attempts {
    /// None yet.
    pub const fn new(seed: u64) -> Self {
        Self {
            flows: Vec::new(),
            dice: Dice(seed),
        }
    }

    /// TCP from some of these to some of those.
    pub fn tcp(&mut self, what: &'static str, from: &[IpAddr], to: &[IpAddr], ports: &[u16]) {
        self.each(what, from, to, ports, Flow::tcp);
    }

    /// UDP likewise.
    pub fn udp(&mut self, what: &'static str, from: &[IpAddr], to: &[IpAddr], ports: &[u16]) {
        self.each(what, from, to, ports, Flow::udp);
    }

    /// TCP from strangers on the Internet.
    pub fn from_outside(&mut self, what: &'static str, to: &[IpAddr], ports: &[u16]) {
        for _ in 0..EACH {
            let destination = self.dice.pick(to);
            let source = stranger(&mut self.dice, destination.is_ipv4());
            let port = self.dice.pick(ports);
            self.add(Flow::tcp(what, source, destination, port));
        }
    }

    /// TCP from strangers to what is translated for others than them.
    pub fn translated(&mut self, what: &'static str, at: (IpAddr, u16), to: (IpAddr, u16)) {
        for _ in 0..EACH {
            let source = stranger(&mut self.dice, at.0.is_ipv4());
            self.add(Flow::tcp(what, source, at.0, at.1).to(to.0, to.1));
        }
    }

    /// TCP to strangers on the Internet.
    pub fn to_outside(&mut self, what: &'static str, from: &[IpAddr], ports: &[u16]) {
        for _ in 0..EACH {
            let source = self.dice.pick(from);
            let destination = stranger(&mut self.dice, source.is_ipv4());
            let port = self.dice.pick(ports);
            self.add(Flow::tcp(what, source, destination, port));
        }
    }

    /// TCP by an interface that the sources do not lie behind. Nothing else may use these sources on this day.
    pub fn forged(&mut self, by: &'static str, from: &[IpAddr], to: &[IpAddr], ports: &[u16]) {
        for _ in 0..EACH {
            let (source, destination) = (self.dice.pick(from), self.dice.pick(to));
            let port = self.dice.pick(ports);
            if source.is_ipv4() == destination.is_ipv4() {
                let flow = Flow::tcp("forged inner source", source, destination, port);
                self.add(flow.forged(by));
            }
        }
    }

    fn each(
        &mut self,
        what: &'static str,
        from: &[IpAddr],
        to: &[IpAddr],
        ports: &[u16],
        flow: impl Fn(&'static str, IpAddr, IpAddr, u16) -> Flow,
    ) {
        for _ in 0..EACH {
            let (source, destination) = (self.dice.pick(from), self.dice.pick(to));
            let port = self.dice.pick(ports);
            if source != destination && source.is_ipv4() == destination.is_ipv4() {
                self.add(flow(what, source, destination, port));
            }
        }
    }

    fn add(&mut self, flow: Flow) {
        if !self.flows.iter().any(|known| known.key == flow.key) {
            self.flows.push(flow.unanswered());
        }
    }

    /// All of them.
    pub fn flows(self) -> Vec<Flow> {
        self.flows
    }
}
