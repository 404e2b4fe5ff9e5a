//! Sends a stream to the kernel, with one or several sockets.

use super::pace::Pace;
use super::plan::Action;
use super::sender::{Sender, Tally};
use super::settings::Settings;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How a stream is sent.
#[derive(Clone, Debug)]
pub struct Manner {
    /// Sockets, each with a thread of its own. More than two gain nothing: `nfnetlink_rcv_msg`
    /// (net/netfilter/nfnetlink.c) holds one mutex for all of ctnetlink while it creates or updates an entry.
    pub threads: u32,
    /// Requests in one system call, at most.
    pub batch: usize,
    /// Events a second of all threads together; 0 is full speed.
    pub events_per_s: f64,
    /// Life of the entries.
    pub timeout_s: u32,
}

/// What was sent.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What became of the requests.
    pub tally: Tally,
    /// The number of events sent of every part of the stream, in the order of [`Settings::part`].
    pub sent: Vec<u64>,
    /// From the first request to the last answer.
    pub elapsed: Duration,
}

/// Sends the stream of `settings` from the network namespace of the calling thread, until it is over or `stop`
/// is set.
///
/// Errors: if a socket cannot be opened or written to, or the privilege is missing. Single requests the kernel refuses are
/// in the outcome instead.
pub fn send(settings: &Settings, manner: &Manner, stop: &AtomicBool) -> io::Result<Outcome> {
    in_parts(manner, |number, parts| {
        send_part(settings, manner, number, parts, stop)
    })
}

/// Removes the entries that `sent` (see [`Outcome::sent`]) says were created, at full speed.
///
/// Errors: as [`send`].
pub fn remove(
    settings: &Settings,
    manner: &Manner,
    sent: &[u64],
    stop: &AtomicBool,
) -> io::Result<Outcome> {
    in_parts(manner, |number, parts| {
        let mut sender = Sender::open(manner.timeout_s, manner.batch)?;
        for event in settings
            .part(number, parts)
            .take(sent[number as usize] as usize)
        {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            if event.action == Action::Create {
                sender.push_deletion(&event.tuple)?;
            }
        }
        sender.flush()?;
        Ok(sender.tally().clone())
    })
}

fn in_parts(
    manner: &Manner,
    work: impl Fn(u64, u64) -> io::Result<Tally> + Sync,
) -> io::Result<Outcome> {
    let parts = u64::from(manner.threads.max(1));
    let start = Instant::now();
    // A new thread is in the network namespace of the thread that starts it.
    let tallies: Vec<io::Result<Tally>> = thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..parts)
            .map(|number| scope.spawn(move || work(number, parts)))
            .collect();
        let join = |thread: thread::ScopedJoinHandle<'_, _>| {
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().map(join).collect()
    });
    let mut outcome = Outcome {
        tally: Tally::default(),
        sent: Vec::new(),
        elapsed: start.elapsed(),
    };
    for tally in tallies {
        let tally = tally?;
        outcome.sent.push(tally.sent);
        outcome.tally.add(&tally);
    }
    Ok(outcome)
}

fn send_part(
    settings: &Settings,
    manner: &Manner,
    number: u64,
    parts: u64,
    stop: &AtomicBool,
) -> io::Result<Tally> {
    let events_per_s = manner.events_per_s / parts as f64;
    let batch = Pace::batch(events_per_s, manner.batch.max(1));
    let mut sender = Sender::open(manner.timeout_s, batch)?;
    let pace = Pace::start(events_per_s);
    for (sent, event) in settings.part(number, parts).enumerate() {
        if sent % batch == 0 {
            pace.wait((sent + batch) as u64, || !stop.load(Ordering::Relaxed));
            if stop.load(Ordering::Relaxed) {
                break;
            }
        }
        sender.push(&event)?;
    }
    sender.flush()?;
    Ok(sender.tally().clone())
}
