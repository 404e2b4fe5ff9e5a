//! A safe wrapper over **libnetfilter_conntrack**: the events of the Linux
//! kernel's connection tracking, dumps of its table, and event filters.
//!
//! ```no_run
//! use std::ops::ControlFlow;
//! use netfilter_conntrack::{Direction, EventType, Groups, Handle};
//!
//! let mut handle = Handle::open(Groups::NEW | Groups::DESTROY)?;
//! handle.catch(|kind, ct| {
//!     let (Some(src), Some(dst)) = (ct.src(Direction::Original), ct.dst(Direction::Original)) else {
//!         return ControlFlow::Continue(());
//!     };
//!     println!("{} {src} -> {dst}", if kind == EventType::New { "+" } else { "-" });
//!     ControlFlow::Continue(())
//! })?;
//! # std::io::Result::Ok(())
//! ```
//!
//! - [`Handle`]: the socket. Opened with [`Groups`] it [catches](Handle::catch)
//!   events; opened with none it takes requests such as [`Handle::dump`].
//! - [`Conntrack`]: an entry lent to a callback, with a getter for each
//!   attribute. [`ConntrackBuf`]: an entry of one's own, with setters.
//! - [`parse`] and [`build`]: entries from and to netlink messages.
//! - [`Filter`]: what the kernel should not even queue.
//!
//! # Conventions
//!
//! Numbers are in host byte order. An attribute that is absent is `None`, never
//! 0. Errors are [`std::io::Error`] with the raw errno of the system call or the
//! library, so [`raw_os_error`](std::io::Error::raw_os_error) tells them apart.
//! Nothing here prints, exits or changes process-wide state.
//!
//! # Privileges
//!
//! Subscribing and every request need `CAP_NET_ADMIN` in the user namespace
//! that owns the network namespace; `EPERM` otherwise. Building, parsing and
//! [`Handle::open`] with [`Groups::NONE`] need none.
//!
//! # The library underneath
//!
//! Statements about the library hold for 1.0.9 and libnfnetlink 1.0.2: tested
//! against these, or read in sources close to them, in the file that is named.
//! [`BUILT_AGAINST`] tells what a build was made with.

mod callback;
mod conntrack;
mod constants;
mod event;
mod filter;
mod groups;
mod handle;
mod message;
mod owned;
mod query;
mod screen;
mod setters;

pub use conntrack::{Conntrack, Direction};
pub use constants::{status, tcp_state};
pub use event::EventType;
pub use filter::{Filter, FilterField, Ipv4Field, Ipv6Field, Logic};
pub use groups::Groups;
pub use handle::Handle;
pub use message::{build, parse};
/// The version of the C library that this was built against; it has none to ask at run time.
pub use netfilter_conntrack_sys::BUILT_AGAINST;
pub use owned::ConntrackBuf;
pub use query::Family;

/// The way C enters Rust, for tests that drive it from C. Not part of the
/// interface.
#[doc(hidden)]
pub mod testing {
    pub use crate::callback::{AfterEnd, CCallback, Trampoline};
}
