//! A report on captures for people who did not take them: what `conntracker report` writes.
//!
//! 1. [`digest`] computes everything that is shown, with what `rules`, `show` and `diff` compute: [`places`] says where an
//!    address lies, [`services`] sums flows up until they fit, [`matrix`] is who talks with whom, [`growth`] when flows were
//!    new.
//! 2. [`html`] and [`markdown`] write it. The same captures give the same bytes.
//!
//! May import: `model`, `rules`, `captures`.

pub mod digest;
pub mod growth;
pub mod html;
pub mod markdown;
pub mod matrix;
pub mod places;
pub mod services;
#[cfg(test)]
mod tests;
