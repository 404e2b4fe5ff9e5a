//! A live view of flows on a terminal: what `conntracker top` shows, of a capture that runs or of files.
//!
//! 1. A [`source`] is looked at now and then: a capture that runs, or what was read from files.
//! 2. [`list`] keeps what was seen; [`lines`] makes lines of it: filtered, grouped, sorted. [`app`] is what keys do.
//! 3. [`draw`] shows it on a [`screen`], [`plain`] as lines for those who do not see one.
//!
//! May import: `model`, `os`, `files`, `formats`, `rules`, `captures`, `output`, `report`, `live`.

pub mod app;
pub mod draw;
pub mod lines;
pub mod list;
pub mod plain;
pub mod rule;
pub mod run;
pub mod screen;
pub mod source;
#[cfg(test)]
mod tests;
pub mod words;
