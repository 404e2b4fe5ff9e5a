//! Captures that were written earlier: reading them in any format, their union, differences, groups.
//! What commands do with them is in `cli`.
//! May import: `model`, `ui`, `intake`, `formats`, `sources` (recordings).

pub mod difference;
pub mod groups;
pub mod reader;
pub mod union;
