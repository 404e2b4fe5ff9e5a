//! conntracker lists the distinct network flows that pass a Linux gateway.
//!
//! Data flows one way: a source delivers messages, [`netlink::conntrack`] makes each an
//! [`model::flow::Observation`], [`intake`] folds them into distinct flows, and when a list is due a copy of
//! them is sorted and written by [`output`]. ARCHITECTURE.md in the repository is the map.
//!
//! The folders are layers, and each uses only those below it; `layers` holds that.
#![deny(unsafe_code)]

pub mod captures;
pub mod check;
pub mod cli;
pub mod doctor;
pub mod files;
pub mod formats;
pub mod intake;
pub mod live;
pub mod model;
pub mod netlink;
pub mod os;
pub mod output;
pub mod rules;
pub mod service;
pub mod sources;
pub mod ui;

#[cfg(test)]
mod layers;
