//! What is written of a snapshot, and where it goes.

pub mod classic;
pub mod destination;
