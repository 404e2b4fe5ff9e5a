//! Raw bindings to **libnetfilter_conntrack**, the netfilter project's C library
//! for the kernel's connection-tracking table.
//!
//! The bindings are shipped as bindgen makes them of the header of release 1.0.7, the oldest one that is accepted:
//! what is bound has not changed since then, so that they fit every later release. With the feature `bindgen` they are
//! made at build time of the header that is installed instead. Only what the safe crate `netfilter-conntrack` calls is
//! bound; `build.rs` names it item by item.
//!
//! Building needs the library's development files (Debian: `libnetfilter-conntrack-dev`, Fedora:
//! `libnetfilter_conntrack-devel`) and pkg-config; the feature `bindgen` also needs libclang (Debian: `libclang-dev`,
//! Fedora: `clang-devel`).
//!
//! Use the safe crate unless it lacks what you need. Each function here is as
//! unsafe as in C: most of them trust their pointers, and
//! [`nfct_nlmsg_parse`] trusts the length in the message as well.
#![no_std]

mod bindings {
    // The names and their case are the C header's, and so is their
    // documentation: <libnetfilter_conntrack/libnetfilter_conntrack.h>.
    #![allow(missing_docs)]
    #![allow(non_camel_case_types, non_upper_case_globals, non_snake_case)]
    #![allow(clippy::all, clippy::undocumented_unsafe_blocks)]

    include!(env!("CONNTRACK_BINDINGS"));
}

pub use bindings::*;

/// Version of libnetfilter_conntrack that was installed when this was built, as pkg-config reports it (`"1.0.9"`).
///
/// This is the build's version. The library exports no symbol and no function
/// that tells its version at run time, so a program cannot ask which release it
/// has been loaded with; the soname (`libnetfilter_conntrack.so.3`) is all the
/// dynamic linker checks.
pub const BUILT_AGAINST: &str = version::BUILT_AGAINST;

mod version {
    include!(concat!(env!("OUT_DIR"), "/version.rs"));
}
