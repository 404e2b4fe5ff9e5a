//! What a recovery asks the kernel for, so that its logic can run against another one in tests.

use super::KernelMemory;
use std::io;

use crate::intake::Intake;
use crate::intake::tally::Tally;

/// What is sent to the sockets of a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Ends of entries alone.
    OnlyEnds,
    /// The same, into a buffer that has room for all that the kernel keeps back.
    OnlyEndsWithRoom,
    /// Nothing. What is queued stays.
    Nothing,
}

/// What a recovery asks the kernel for: the real one is [`Sockets`](super::Sockets), and the tests have one that can be stepped.
pub trait Kernel {
    /// How many events the sockets and all behind them have dropped, since they were opened.
    ///
    /// Errors: those of getsockopt(2).
    fn drops(&self) -> io::Result<u64>;

    /// How many of these were dropped before reliable delivery was asked for, so that the kernel does not send them
    /// again.
    fn unprotected(&self) -> u64;

    /// Lists every entry of the kernel's table that is not listed yet.
    ///
    /// Errors: those of [`dump::merge`](crate::sources::dump::merge).
    fn read_table(&self, intake: &Intake) -> io::Result<Tally>;

    /// Whether ends of entries are kept back.
    ///
    /// Errors: those of [`dump::keeps_ends_back`](crate::sources::dump::keeps_ends_back).
    fn keeps_ends_back(&self, intake: &Intake) -> io::Result<bool>;

    /// Changes what is sent from here on.
    ///
    /// Errors: those of setsockopt(2).
    fn deliver(&self, delivery: Delivery) -> io::Result<()>;

    /// Lets the kernel go back to sending whatever it can, and no more reliably.
    ///
    /// Errors: those of setsockopt(2).
    fn give_up_reliability(&self) -> io::Result<()>;

    /// Bytes that the sockets may queue and have queued, if the kernel tells.
    fn queues(&self) -> Option<(u64, u64)>;

    /// What BPF programs take of its memory, if there are any.
    fn memory(&self) -> Option<KernelMemory>;
}
