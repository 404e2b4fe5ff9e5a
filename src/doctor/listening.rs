//! A short capture: the socket as it would be, and what comes in within a second.

use std::io;
use std::thread::sleep;
use std::time::{Duration, Instant};

use netfilter_conntrack::Handle;

use super::finding::{Finding, cause};
use crate::model::units::{agree, counted, show_bytes, show_count};
use crate::netlink::framing::messages;
use crate::netlink::uapi::{IPCTNL_MSG_CT_NEW, NFNL_SUBSYS_CTNETLINK, NLM_F_CREATE, message_type};
use crate::os::prefilter::Share;
use crate::os::socket::{Batch, memory};
use crate::sources::tuning::{self, EVENT_TRUESIZE_BYTES, Settings};

/// How long it listens.
const TIME: Duration = Duration::from_secs(1);
/// Time between two looks at the queue.
const NAP: Duration = Duration::from_millis(10);
/// More events than ctnetlink can make.
const WORST_RATE: u64 = 1_000_000;
/// `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW`: the type of both NEW and UPDATE events.
const CT_NEW: u16 = message_type(NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_NEW);

/// What came of it.
#[derive(Debug)]
pub struct Listening {
    /// Receive buffer that was asked for.
    pub asked_bytes: u32,
    /// How far it would grow.
    pub max_bytes: u32,
    /// What was granted, and what came in, or why nothing could.
    pub outcome: Outcome,
}

/// How the attempt went.
#[derive(Debug)]
pub enum Outcome {
    /// Not made, since it would have a module loaded.
    NotTried,
    /// The socket could not be had.
    Failed(io::Error),
    /// The socket was opened, and received for a while.
    Heard {
        /// The granted buffer.
        granted_bytes: u32,
        /// What came in.
        traffic: Traffic,
    },
}

/// Events of a while, after the filter that drops what no list needs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traffic {
    /// Events of every kind.
    pub events: u64,
    /// Those of new connections.
    pub new: u64,
    /// Those that there was no room for.
    pub missed: u64,
    /// How long the while was.
    pub time: Duration,
}

impl Listening {
    /// Listens. The socket is returned too, for more to be tried on it.
    pub fn look(settings: &Settings, may: bool) -> (Self, Option<Handle>) {
        let (outcome, handle) = if may {
            match tuning::open(settings, Share { index: 0, of: 1 }) {
                Err(error) => (Outcome::Failed(error), None),
                Ok((handle, buffer)) => match count(&handle) {
                    Err(error) => (Outcome::Failed(error), None),
                    Ok(traffic) => {
                        let granted_bytes = buffer.granted_bytes();
                        let heard = Outcome::Heard {
                            granted_bytes,
                            traffic,
                        };
                        (heard, Some(handle))
                    }
                },
            }
        } else {
            (Outcome::NotTried, None)
        };
        let listening = Self {
            asked_bytes: settings.buffer_bytes,
            max_bytes: settings.buffer_max_bytes,
            outcome,
        };
        (listening, handle)
    }

    /// Whether it failed for want of a privilege.
    pub fn denied(&self) -> bool {
        let Outcome::Failed(error) = &self.outcome else {
            return false;
        };
        matches!(error.raw_os_error(), Some(libc::EPERM | libc::EACCES))
    }

    /// What came in, if anything could.
    pub fn traffic(&self) -> Option<Traffic> {
        match self.outcome {
            Outcome::Heard { traffic, .. } => Some(traffic),
            _ => None,
        }
    }
}

/// Counts what comes. The counters of /proc/net/stat/nf_conntrack would not do: `insert` only counts
/// entries made by hand (`nf_conntrack_hash_check_insert`, Linux 6.18).
fn count(handle: &Handle) -> io::Result<Traffic> {
    let began = Instant::now();
    let mut batch = Batch::new();
    let mut traffic = Traffic::default();
    while began.elapsed() < TIME {
        let received = batch.receive(handle)?;
        if received == 0 {
            sleep(NAP.min(TIME.saturating_sub(began.elapsed())));
        }
        for datagram in batch.datagrams(received) {
            for message in messages(datagram.bytes).flatten() {
                if message.kind == CT_NEW {
                    traffic.events += 1;
                    traffic.new += u64::from(message.flags & NLM_F_CREATE != 0);
                }
            }
        }
    }
    traffic.missed = memory(handle)?.drops.into();
    traffic.time = began.elapsed();
    Ok(traffic)
}

impl Traffic {
    /// Events a second.
    fn rate(&self, events: u64) -> u64 {
        let millis = u64::try_from(self.time.as_millis()).unwrap_or(u64::MAX);
        events.saturating_mul(1000) / millis.max(1)
    }
}

/// Judges the receive buffer.
pub fn judge_buffer(listening: &Listening) -> Finding {
    const NAME: &str = "buffer";
    let asked = listening.asked_bytes;
    match &listening.outcome {
        Outcome::NotTried => Finding::note(
            NAME,
            "not tried: opening a socket would have a module loaded",
        ),
        Outcome::Failed(error) if listening.denied() => Finding::note(
            NAME,
            format!(
                "not known: a socket for events can't be had ({})",
                cause(error)
            ),
        )
        .next("see privileges"),
        Outcome::Failed(error) => Finding::obstacle(
            NAME,
            format!("a socket for events can't be set up: {}", cause(error)),
        )
        .next("see the kernel's messages: dmesg"),
        &Outcome::Heard {
            granted_bytes,
            traffic,
        } => {
            let room = u64::from(granted_bytes / EVENT_TRUESIZE_BYTES);
            let rate = traffic.rate(traffic.events + traffic.missed);
            let holds = format!(
                "{} or {}: {} at the worst rate of {}/s, {}",
                show_bytes(granted_bytes.into()),
                counted(room, "event"),
                show_seconds(room, WORST_RATE),
                show_count(WORST_RATE),
                match rate {
                    0 => "any time at the present rate of 0".to_owned(),
                    rate => format!(
                        "{} at the present rate of {}/s",
                        show_seconds(room, rate),
                        show_count(rate)
                    ),
                }
            );
            let finding = if granted_bytes >= asked {
                let max = show_bytes(listening.max_bytes.into());
                Finding::ok(NAME, format!("{holds}; it grows to {max} under pressure"))
            } else {
                // Without CAP_NET_ADMIN in the initial user namespace; the kernel grants double of what
                // it limits (`sk_setsockopt`, net/core/sock.c).
                Finding::note(
                    NAME,
                    format!("{holds}; {} were asked for", show_bytes(asked.into())),
                )
                .next(format!(
                    "sudo outside of user namespaces, or: sysctl -w net.core.rmem_max={}",
                    asked.div_ceil(2)
                ))
            };
            finding
                .value("asked_bytes", asked)
                .value("granted_bytes", granted_bytes)
                .value("granted_events", room)
                .value("seconds_at_worst_rate", room as f64 / WORST_RATE as f64)
                .value(
                    "seconds_at_present_rate",
                    (rate > 0).then(|| room as f64 / rate as f64),
                )
        }
    }
}

/// How long `events` take at a rate.
fn show_seconds(events: u64, rate: u64) -> String {
    let seconds = events as f64 / rate as f64;
    match seconds {
        0.0..1.0 => format!("{:.0} ms", seconds * 1000.0),
        1.0..10.0 => format!("{seconds:.1} s"),
        10.0..120.0 => format!("{seconds:.0} s"),
        120.0..7200.0 => format!("{:.0} min", seconds / 60.0),
        _ => format!("{} h", show_count((seconds / 3600.0) as u64)),
    }
}

/// Judges what came in. `settings` with events for listeners only (`nf_conntrack_events` 2) leaves out what
/// older connections do.
pub fn judge_traffic(listening: &Listening, events_setting: Option<u64>) -> Finding {
    const NAME: &str = "traffic";
    let Some(traffic) = listening.traffic() else {
        return Finding::note(NAME, "not known: nothing could be listened to");
    };
    let scope = match events_setting {
        Some(2) => ", not counting connections that were open before",
        _ => "",
    };
    let new = traffic.rate(traffic.new);
    let what = format!(
        "{}/s, {} of them {} (listened for {:.1} s{scope})",
        counted(traffic.rate(traffic.events), "event"),
        show_count(new),
        agree(new, "a new connection", "new connections"),
        traffic.time.as_secs_f64(),
    );
    let finding = if traffic.missed > 0 {
        Finding::note(
            NAME,
            format!(
                "{what}; {} more {} missed",
                show_count(traffic.missed),
                agree(traffic.missed, "was", "were")
            ),
        )
        .next("see buffer and kernel-source; a capture makes up for what it misses")
    } else {
        Finding::ok(NAME, what)
    };
    finding
        .value("seconds", traffic.time.as_secs_f64())
        .value("events", traffic.events)
        .value("new_connections", traffic.new)
        .value("missed", traffic.missed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::State;

    fn listening(outcome: Outcome) -> Listening {
        Listening {
            asked_bytes: 64 << 20,
            max_bytes: 512 << 20,
            outcome,
        }
    }

    fn heard(granted_bytes: u32, events: u64) -> Listening {
        listening(Outcome::Heard {
            granted_bytes,
            traffic: Traffic {
                events,
                new: events / 2,
                missed: 0,
                time: Duration::from_secs(1),
            },
        })
    }

    #[test]
    fn a_buffer_is_told_in_events_and_in_time() {
        let full = judge_buffer(&heard(64 << 20, 1000));
        assert_eq!(full.state, State::Ok);
        assert_eq!(
            full.what,
            "64 MiB or 52,428 events: 52 ms at the worst rate of 1,000,000/s, 52 s at the present rate of \
             1,000/s; it grows to 512 MiB under pressure"
        );
        let small = judge_buffer(&heard(425_984, 0));
        assert_eq!(small.state, State::Note);
        assert!(small.next.unwrap().contains("net.core.rmem_max=33554432"));
        assert!(small.what.contains("any time at the present rate of 0"));
        assert!(!small.values.contains_key("seconds_at_present_rate"));
    }

    #[test]
    fn only_a_socket_that_fails_for_no_known_reason_is_an_obstacle_here() {
        let failed = |errno| {
            judge_buffer(&listening(Outcome::Failed(io::Error::from_raw_os_error(
                errno,
            ))))
        };
        assert!(!failed(libc::EPERM).prevents_capture);
        assert!(failed(libc::EPROTONOSUPPORT).prevents_capture);
        assert_eq!(
            judge_buffer(&listening(Outcome::NotTried)).state,
            State::Note
        );
    }

    #[test]
    fn traffic_is_told_a_second() {
        let finding = judge_traffic(&heard(64 << 20, 2000), Some(2));
        assert_eq!(finding.state, State::Ok);
        assert!(
            finding.what.starts_with(
                "2,000 events/s, 1,000 of them new connections (listened for 1.0 s, not"
            )
        );
        assert_eq!(
            judge_traffic(&listening(Outcome::NotTried), None).state,
            State::Note
        );
    }

    #[test]
    fn times_have_a_fitting_unit() {
        let shown = [(52, 1000), (15, 10), (52, 1), (3000, 1), (1 << 20, 1)]
            .map(|(n, rate)| show_seconds(n, rate));
        assert_eq!(shown, ["52 ms", "1.5 s", "52 s", "50 min", "291 h"]);
    }
}
