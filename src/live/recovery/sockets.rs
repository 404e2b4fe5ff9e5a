//! The sockets of a capture, as its recovery sees them.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use super::{Delivery, Kernel, KernelMemory};
use crate::intake::Intake;
use crate::intake::tally::Tally;
use crate::os::map_memory::MapMemory;
use crate::os::socket::memory;
use crate::sources::receiver::Shared;
use crate::sources::{dump, tuning};

/// The sockets, and what is known of those who read them.
#[derive(Debug)]
pub struct Sockets<'a> {
    sockets: Vec<OwnedFd>,
    /// Of each socket: what its counter showed last, and all that it has shown. It has 32 bits and wraps.
    counted: Mutex<Vec<(u32, u64)>>,
    /// What knows of events that are lost elsewhere than in a socket's queue.
    shared: &'a Shared<'a>,
    unprotected: u64,
    maps: Vec<MapMemory>,
}

impl<'a> Sockets<'a> {
    /// Of these sockets, and those who read them. `unprotected` is what the sockets dropped before they were set up,
    /// `maps` are those of their BPF programs.
    ///
    /// Errors: those of dup(2).
    pub fn new<S: AsFd>(
        sockets: &[S],
        shared: &'a Shared<'a>,
        unprotected: u64,
        maps: Vec<MapMemory>,
    ) -> io::Result<Self> {
        let sockets = sockets
            .iter()
            .map(|socket| socket.as_fd().try_clone_to_owned())
            .collect::<io::Result<Vec<_>>>()?;
        Ok(Self {
            counted: Mutex::new(vec![(0, 0); sockets.len()]),
            sockets,
            shared,
            unprotected,
            maps,
        })
    }
}

impl Kernel for Sockets<'_> {
    fn drops(&self) -> io::Result<u64> {
        let mut all = self.shared.lost().load(Ordering::Relaxed);
        for (socket, (last, sum)) in self.sockets.iter().zip(self.counted.lock().iter_mut()) {
            let drops = memory(socket)?.drops;
            *sum += u64::from(drops.wrapping_sub(*last));
            *last = drops;
            all += *sum;
        }
        Ok(all)
    }

    fn unprotected(&self) -> u64 {
        self.unprotected
    }

    fn read_table(&self, intake: &Intake) -> io::Result<Tally> {
        // What was received is not to count as found in the table.
        self.shared.settle();
        dump::merge(intake)
    }

    fn keeps_ends_back(&self, intake: &Intake) -> io::Result<bool> {
        dump::keeps_ends_back(intake)
    }

    fn deliver(&self, delivery: Delivery) -> io::Result<()> {
        self.sockets.iter().try_for_each(|socket| match delivery {
            Delivery::OnlyEnds => tuning::leave_only_ends(socket),
            Delivery::OnlyEndsWithRoom => tuning::make_room_for_ends(socket),
            Delivery::Nothing => tuning::cut_off(socket),
        })
    }

    fn give_up_reliability(&self) -> io::Result<()> {
        self.sockets
            .iter()
            .try_for_each(tuning::give_up_reliability)
    }

    fn memory(&self) -> Option<KernelMemory> {
        (!self.maps.is_empty()).then(|| KernelMemory {
            bytes: self.maps.iter().map(MapMemory::bytes).sum(),
            max_bytes: self.maps.iter().map(|maps| maps.max_bytes).sum(),
        })
    }

    fn queues(&self) -> Option<(u64, u64)> {
        self.sockets.iter().try_fold((0, 0), |sum, socket| {
            let memory = memory(socket).ok()?;
            Some((
                sum.0 + u64::from(memory.limit_bytes),
                sum.1 + u64::from(memory.queued_bytes),
            ))
        })
    }
}
