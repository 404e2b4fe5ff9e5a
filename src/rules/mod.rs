//! From flows that were seen to a ruleset that accepts them and nothing else.
//!
//! [`plan()`] makes a [`Plan`], which knows no firewall's language: [`nft`] and
//! [`iptables`] write it, [`report`] explains it.
//! May import: `model`.

#[cfg(any(test, feature = "oracle"))]
mod admission;
pub mod aerleon;
pub mod baseline;
pub mod block;
pub mod bundle;
pub mod by_hand;
mod covering;
pub mod direction;
pub mod extra;
pub mod firewalld;
pub mod foreign;
pub mod general;
pub mod group;
pub mod header;
pub mod iptables;
pub mod left_out;
pub mod names;
pub mod nft;
pub mod nft_set;
pub mod nft_words;
pub mod plan;
pub mod ports;
pub mod related;
pub mod report;
pub mod rule;
pub mod seen;
pub mod summary;
pub mod term;
#[cfg(test)]
mod tests;
pub mod text;
pub mod ufw;
mod warnings;
pub mod widening;

pub use plan::{Options, Plan, Policies, Policy, plan};
