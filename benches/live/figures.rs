//! The figures of a trial, and of several.

use crate::process::Cpu;

/// What one trial showed.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Events the kernel was made to send.
    pub sent: u64,
    /// Flows listed; for the floor, datagrams received.
    pub listed: u64,
    /// Messages the socket dropped.
    pub drops: u64,
    /// Whether it ended before it was told to.
    pub early: bool,
    /// Exit status.
    pub status: i32,
    /// What the program says of its list.
    pub verdict: String,
    /// Processor time for an event.
    pub user_us: f64,
    /// The kernel's part of it.
    pub system_us: f64,
    /// What the flooder took for an entry and its event.
    pub flood_us: f64,
    /// How often a thread went to sleep.
    pub sleeps: f64,
    /// Time to drain.
    pub drain_s: f64,
    /// Growth of the resident memory, for a distinct flow.
    pub resident_per_flow: f64,
    /// The most memory resident, printing included.
    pub peak_mib: f64,
    /// From the signal to the last byte.
    pub last_byte_ms: f64,
    /// From the signal to the end of the process.
    pub exit_ms: f64,
}

impl Figures {
    /// Takes the time the listener took for all events.
    pub fn set_cpu(&mut self, cpu: Cpu) {
        let events = self.sent as f64;
        self.user_us = cpu.user_ns / 1e3 / events;
        self.system_us = cpu.system_ns / 1e3 / events;
    }

    /// Processor time for an event.
    pub fn cpu_us(&self) -> f64 {
        self.user_us + self.system_us
    }
}

/// The middle one.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

/// The middle one of what trials in the same place of two series have as their ratio: what changes from
/// one round to the next, as the load of the machine does, is in both.
pub fn ratio(ours: &[Figures], theirs: &[Figures], figure: impl Fn(&Figures) -> f64) -> f64 {
    median(
        ours.iter()
            .zip(theirs)
            .map(|(ours, theirs)| figure(ours) / figure(theirs)),
    )
}
