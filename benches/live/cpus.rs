//! Which processor a backlog's two sides run on.
//!
//! Where the scheduler moves them about, draining the same backlog took from 0.6 to 1.0 s of CPU; bound, 0.82 to 0.87 s
//! (600,000 events, `batch`, two cores).

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::Failure;

/// Who runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The program that receives.
    Receiver,
    /// What makes the events.
    Flooder,
}

/// Binds the calling thread, and what it starts from here on, to that side's processor. With one processor there is
/// nothing to choose.
pub fn bind(side: Side) -> Result<(), Failure> {
    let allowed = sched_getaffinity(None)?;
    let mut cpus = (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu));
    let (first, second) = (cpus.next(), cpus.next());
    let (Some(first), Some(second)) = (first, second) else {
        return Ok(());
    };
    let mut own = CpuSet::new();
    own.set(match side {
        Side::Flooder => first,
        Side::Receiver => second,
    });
    Ok(sched_setaffinity(None, &own)?)
}
