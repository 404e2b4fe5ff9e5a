//! The section `trace`: what it costs whoever sends packets that first packets, or all, are followed through the rules.
//!
//! Two namespaces, joined by a pair of devices: one sends datagrams, each of which begins a connection, the other has a
//! firewall. The receiving side of such a pair runs within the sender's system call, so that connection tracking, rules, trace
//! events and handing them to the listener are all in the sender's time.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek};
use std::net::{Ipv4Addr, UdpSocket};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use rustix::time::{ClockId, clock_gettime};

use crate::Failure;
use crate::clock::Interrupt;
use crate::cpus::{self, Side};
use crate::figures::median;
use crate::namespace::Namespace;
use crate::process::Process;
use crate::program::CONNTRACKER;
use crate::queue::Queue;
use crate::trial::rest;

/// Datagrams that are sent before it is paused for [`PAUSE`]: 20,000 a second, which no listener is too slow for.
const BURST: u32 = 200;
const PAUSE: Duration = Duration::from_millis(10);
const START_LIMIT: Duration = Duration::from_secs(10);
/// The port that the firewall has open, and one that it has not.
const OPEN: u16 = 9;
const SHUT: u16 = 10;
/// Where datagrams go to: as many addresses as there are flows.
const FIRST: u32 = Ipv4Addr::new(10, 64, 0, 0).to_bits();

const RULES: &str = "
table inet filter {
    chain input {
        type filter hook input priority 0; policy drop;
        ct state established,related accept
        udp dport 9 accept
    }
}
";
/// What `nft monitor trace` is used with.
const TRACE_ALL: &str = "
table inet everything {
    chain prerouting {
        type filter hook prerouting priority -199;
        meta nftrace set 1
    }
}
";

/// Who follows packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Follower {
    /// Nobody listens to anything.
    Nobody,
    /// A capture that follows none.
    Capture,
    /// A capture with rules and denied flows: the first packet of each flow.
    Rules,
    /// The first packet of each flow, without a capture.
    Trace,
    /// The peer: all packets.
    Monitor,
}

const FOLLOWERS: [Follower; 5] = [
    Follower::Nobody,
    Follower::Capture,
    Follower::Rules,
    Follower::Trace,
    Follower::Monitor,
];

/// What is sent: `sockets` datagrams for each of `flows` addresses. Source ports from 1024 on are no part of a flow.
#[derive(Clone, Copy, Debug)]
struct Workload {
    title: &'static str,
    port: u16,
    sockets: u32,
    flows: u32,
}

const WORKLOADS: [Workload; 4] = [
    Workload {
        title: "60,000 new connections, each of another flow",
        port: OPEN,
        sockets: 1,
        flows: 60_000,
    },
    Workload {
        title: "60,000 new connections of 500 flows",
        port: OPEN,
        sockets: 120,
        flows: 500,
    },
    Workload {
        title: "60,000 denied packets, each of another flow",
        port: SHUT,
        sockets: 1,
        flows: 60_000,
    },
    Workload {
        title: "60,000 denied packets of 500 flows",
        port: SHUT,
        sockets: 120,
        flows: 500,
    },
];

/// What one trial showed, for a datagram.
#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    sender_us: f64,
    reader_us: f64,
    /// Flows that were listed with what decided on them.
    told: u64,
    status: Option<i32>,
}

/// Connections of a workload, for room in the kernel's table.
pub const CONNECTIONS: u64 = 60_000;

/// Runs the section: measures and prints tables, or asserts what is listed of small workloads.
pub fn run(
    rounds: usize,
    scale_percent: u64,
    test: bool,
    interrupt: &Interrupt,
) -> Result<(), Failure> {
    for workload in WORKLOADS {
        let flows = match test {
            true => workload.flows.min(300),
            false => (u64::from(workload.flows) * scale_percent / 100).max(50) as u32,
        };
        let workload = Workload { flows, ..workload };
        let mut all = FOLLOWERS.map(|_| Vec::new());
        for _ in 0..rounds {
            for (follower, figures) in FOLLOWERS.into_iter().zip(&mut all) {
                let outcome = workload
                    .trial(follower, interrupt)
                    .map_err(|failure| format!("{}, {follower:?}: {failure}", workload.title))?;
                figures.push(outcome);
            }
        }
        if test {
            workload.hold(&all);
        } else {
            workload.print(&all);
        }
    }
    Ok(())
}

impl Workload {
    const fn sent(&self) -> u32 {
        self.sockets * self.flows
    }

    /// Whether the firewall lets nothing of it pass.
    const fn is_denied(&self) -> bool {
        self.port == SHUT
    }

    fn trial(&self, follower: Follower, interrupt: &Interrupt) -> Result<Figures, Failure> {
        let (sender, firewall) = (Namespace::new()?, Namespace::new()?);
        join(&sender, &firewall)?;
        firewall.inside(|| load(RULES))?;
        // Where nobody receives, each datagram would be answered.
        let open = firewall.inside(|| Ok(UdpSocket::bind(("0.0.0.0", OPEN))?))?;
        // Until the link is up and the neighbour known, which may take a second, packets get lost on their way.
        open.set_read_timeout(Some(PAUSE * 5))?;
        interrupt.until("the link", START_LIMIT, || {
            sender.inside(|| {
                let socket = UdpSocket::bind("10.0.0.1:0")?;
                Ok(socket.send_to(b"x", ("10.0.0.2", OPEN)).map(drop)?)
            })?;
            Ok(open.recv(&mut [0]).ok().map(drop))
        })?;
        let mut figures = Figures::default();
        let Some(mut command) = follower.command() else {
            let time = sender.inside(|| self.send(interrupt))?;
            figures.sender_us = time / f64::from(self.sent());
            return Ok(figures);
        };
        if follower == Follower::Monitor {
            firewall.inside(|| load(TRACE_ALL))?;
        }
        let list = tempfile::tempfile()?;
        command.stdin(Stdio::null()).stderr(Stdio::null());
        command.stdout(match follower {
            Follower::Monitor => Stdio::null(),
            _ => list.try_clone()?.into(),
        });
        let child = firewall.inside(move || {
            cpus::bind(Side::Receiver)?;
            Ok(command.spawn()?)
        })?;
        let mut process = Process::new(&child)?;
        interrupt.until("listening", START_LIMIT, || {
            let gate = follower.has_gate().then(|| {
                firewall.inside(|| Ok(said("nft", &["list", "tables"])?.contains("conntracker-")))
            });
            let queue = Queue::read(&process)?;
            Ok((queue.is_some() && gate.transpose()? != Some(false)).then_some(()))
        })?;
        rest(&mut process, interrupt)?;
        let before = process.account()?;
        let time = sender.inside(|| self.send(interrupt))?;
        rest(&mut process, interrupt)?;
        let reader = process.account()?.since(before);
        process.signal(Signal::INT)?;
        let ended = process.end(interrupt, Duration::from_secs(60))?;
        Ok(Figures {
            sender_us: time / f64::from(self.sent()),
            reader_us: reader.total_ns() / 1e3 / f64::from(self.sent()),
            told: told(list)?,
            status: ended.status.code(),
        })
    }

    /// Sends all; gives the processor time that it took, in microseconds.
    fn send(&self, interrupt: &Interrupt) -> Result<f64, Failure> {
        cpus::bind(Side::Flooder)?;
        let sockets: Vec<UdpSocket> = (0..self.sockets)
            .map(|_| UdpSocket::bind("10.0.0.1:0"))
            .collect::<Result<_, _>>()?;
        let mut spent = 0.0;
        let mut sent = 0;
        let mut began = thread_us();
        for flow in 0..self.flows {
            let to = (Ipv4Addr::from_bits(FIRST + flow), self.port);
            for socket in &sockets {
                if sent % BURST == 0 {
                    spent += thread_us() - began;
                    interrupt.sleep(PAUSE)?;
                    began = thread_us();
                }
                socket.send_to(b"x", to)?;
                sent += 1;
            }
        }
        Ok(spent + thread_us() - began)
    }

    /// Asserts that every flow was told once, by those that tell of flows.
    fn hold(&self, all: &[Vec<Figures>]) {
        for (follower, figures) in FOLLOWERS.into_iter().zip(all) {
            let figures = figures[0];
            let sent = self.sent();
            let what = format!("{} (here {sent}), {follower:?}: {figures:?}", self.title);
            assert!(figures.sender_us > 0.0, "{what}");
            if follower.has_gate() {
                assert_eq!(figures.status, Some(0), "{what}");
                assert_eq!(figures.told, u64::from(self.flows), "{what}");
            }
            println!("{what}: ok");
        }
    }

    fn print(&self, all: &[Vec<Figures>]) {
        println!("\n**Trace: {}**\n", self.title);
        println!("| | sender µs a packet | more | × nobody | reader µs a packet | told | exit |");
        println!("|---|--:|--:|--:|--:|--:|--:|");
        let nobody = &all[0];
        for (follower, own) in FOLLOWERS.into_iter().zip(all) {
            let pairs = || own.iter().zip(nobody);
            let more = median(pairs().map(|(own, nobody)| own.sender_us - nobody.sender_us));
            let ratio = median(pairs().map(|(own, nobody)| own.sender_us / nobody.sender_us));
            let told = own.iter().map(|figures| figures.told).min().unwrap_or(0);
            let exit = own.iter().filter_map(|figures| figures.status).max();
            println!(
                "| {} | {:.2} | {more:.2} | {ratio:.2} | {:.2} | {} | {} |",
                follower.name(self.is_denied()),
                median(own.iter().map(|figures| figures.sender_us)),
                median(own.iter().map(|figures| figures.reader_us)),
                if follower.has_gate() {
                    told.to_string()
                } else {
                    String::new()
                },
                exit.map_or(String::new(), |exit| exit.to_string()),
            );
        }
    }
}

impl Follower {
    const fn name(self, denied: bool) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Capture => "a capture without rules",
            Self::Rules if denied => "`--denied`",
            Self::Rules => "`--rules`",
            Self::Trace => "`conntracker trace`",
            Self::Monitor => "everything, `nft monitor trace`",
        }
    }

    /// Whether a gate picks the packets.
    const fn has_gate(self) -> bool {
        matches!(self, Self::Rules | Self::Trace)
    }

    fn command(self) -> Option<Command> {
        let arguments: &[&str] = match self {
            Self::Nobody => return None,
            Self::Monitor => {
                let mut nft = Command::new("nft");
                nft.args(["monitor", "trace"]);
                return Some(nft);
            }
            Self::Capture => &["--format", "json", "--source", "batch"],
            // Which has --rules in it.
            Self::Rules => &["--format", "json", "--source", "batch", "--denied"],
            Self::Trace => &["trace", "--format", "json"],
        };
        let mut command = Command::new(CONNTRACKER);
        command.args(arguments);
        Some(command)
    }
}

/// Lines of flows that have rules, or are of denied ones: of 10.64.0.0 and above, since neighbours may say something too.
fn told(mut list: File) -> Result<u64, Failure> {
    list.rewind()?;
    let mut told = 0;
    for line in BufReader::new(list).lines() {
        let line = line?;
        told += u64::from(line.contains("\"dst\":\"10.6") && line.contains("\"rules\":["));
    }
    Ok(told)
}

/// Two namespaces with a link between them.
fn join(sender: &Namespace, firewall: &Namespace) -> Result<(), Failure> {
    let peer = firewall.name();
    sender.inside(|| {
        ip(&format!("link add out type veth peer name in netns {peer}"))?;
        ip("addr add 10.0.0.1/24 dev out")?;
        ip("link set out up")
    })?;
    firewall.inside(|| {
        ip("addr add 10.0.0.2/24 dev in")?;
        ip("link set lo up")?;
        ip("link set in up")?;
        ip("route add local 10.64.0.0/10 dev lo")
    })?;
    sender.inside(|| ip("route add 10.64.0.0/10 via 10.0.0.2"))
}

fn ip(arguments: &str) -> Result<(), Failure> {
    let arguments: Vec<&str> = arguments.split(' ').collect();
    said("ip", &arguments).map(drop)
}

fn load(rules: &str) -> Result<(), Failure> {
    said("nft", &[rules]).map(drop)
}

/// Runs a program in this namespace.
fn said(program: &str, arguments: &[&str]) -> Result<String, Failure> {
    let output = Command::new(program).args(arguments).output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{program} {arguments:?}: {}", said.trim()).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Processor time of this thread.
fn thread_us() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
}
