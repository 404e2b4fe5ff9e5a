//! [`Filter`]: which events the kernel should not even queue.

use std::ffi::c_void;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ptr::NonNull;

use netfilter_conntrack_sys as sys;

/// The most IPv4 networks for a side. The library stores 127
/// (`__FILTER_ADDR_MAX`), but compiles each to three instructions, and its jumps
/// over them are 8 bits wide and wrap unnoticed (`bsf_add_addr_ipv4_filter`,
/// src/conntrack/bsf.c, 1.0.9): 3 n + 11 must stay below 256.
const IPV4_MAX: u32 = 80;
/// The most IPv6 networks for a side (`__FILTER_IPV6_MAX`,
/// include/internal/object.h); the library drops more in silence.
const IPV6_MAX: u32 = 20;
/// The most protocols: one instruction each, n + 12 below 256
/// (`bsf_add_proto_filter`).
const PROTOCOLS_MAX: u32 = 240;

/// An IPv4 address that a filter can look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ipv4Field {
    /// The source of the original tuple.
    Src,
    /// The destination of the original tuple.
    Dst,
}

/// An IPv6 address that a filter can look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ipv6Field {
    /// The source of the original tuple.
    Src,
    /// The destination of the original tuple.
    Dst,
}

/// What a filter can look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FilterField {
    /// The layer-4 protocol of the original tuple.
    L4Protocol,
    /// An IPv4 address.
    Ipv4(Ipv4Field),
    /// An IPv6 address.
    Ipv6(Ipv6Field),
}

impl From<Ipv4Field> for FilterField {
    fn from(field: Ipv4Field) -> FilterField {
        FilterField::Ipv4(field)
    }
}

impl From<Ipv6Field> for FilterField {
    fn from(field: Ipv6Field) -> FilterField {
        FilterField::Ipv6(field)
    }
}

impl FilterField {
    fn raw(self) -> sys::nfct_filter_attr {
        match self {
            FilterField::L4Protocol => sys::NFCT_FILTER_L4PROTO,
            FilterField::Ipv4(Ipv4Field::Src) => sys::NFCT_FILTER_SRC_IPV4,
            FilterField::Ipv4(Ipv4Field::Dst) => sys::NFCT_FILTER_DST_IPV4,
            FilterField::Ipv6(Ipv6Field::Src) => sys::NFCT_FILTER_SRC_IPV6,
            FilterField::Ipv6(Ipv6Field::Dst) => sys::NFCT_FILTER_DST_IPV6,
        }
    }
}

/// What a match on a field means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Logic {
    /// Only events that match one of the field's values pass. The default.
    Positive,
    /// Events that match one of the field's values are dropped.
    Negative,
}

/// A set of conditions on events (`struct nfct_filter`), compiled by the
/// library into a classic BPF program when attached with
/// [`Handle::attach_filter`](crate::Handle::attach_filter).
///
/// Values of one field are alternatives; different fields must all agree. An
/// event without the field, such as an IPv6 event and an IPv4 source, passes.
///
/// One exception, a defect of the library up to at least 1.0.9: the search for
/// an IPv4 destination runs on past the addresses, and in an IPv6 event finds
/// another attribute. A [`Logic::Positive`] condition on
/// [`Ipv4Field::Dst`] therefore drops every IPv6 event.
///
/// ```
/// use std::net::Ipv4Addr;
/// use netfilter_conntrack::{Filter, Ipv4Field, Logic};
///
/// // TCP only, and nothing from the loopback network.
/// let mut filter = Filter::new();
/// filter.l4_protocol(6)?;
/// filter.ipv4(Ipv4Field::Src, Ipv4Addr::new(127, 0, 0, 0), Ipv4Addr::new(255, 0, 0, 0))?;
/// filter.logic(Ipv4Field::Src, Logic::Negative)?;
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
pub struct Filter {
    raw: NonNull<sys::nfct_filter>,
    protocol_count: u32,
    ipv4_count: [u32; 2],
    ipv6_count: [u32; 2],
}

// SAFETY: plain heap memory with no tie to a thread; no interior access from
// `&Filter` but reading (`nfct_filter_attach` compiles into its own buffer).
unsafe impl Send for Filter {}

impl Filter {
    /// An empty filter: everything passes (`nfct_filter_create`).
    ///
    /// # Panics
    ///
    /// Aborts as any failed allocation does if memory is exhausted.
    #[must_use]
    pub fn new() -> Filter {
        // SAFETY: no arguments.
        let raw = unsafe { sys::nfct_filter_create() };
        let raw = NonNull::new(raw).unwrap_or_else(|| crate::owned::out_of_memory());
        Filter {
            raw,
            protocol_count: 0,
            ipv4_count: [0; 2],
            ipv6_count: [0; 2],
        }
    }

    /// Adds a layer-4 protocol by its IP number (6 is TCP).
    ///
    /// # Errors
    ///
    /// `ENOSPC` for the 241st, for which the library would build a wrong
    /// program in silence.
    pub fn l4_protocol(&mut self, protocol: u8) -> io::Result<()> {
        take_slot(&mut self.protocol_count, PROTOCOLS_MAX)?;
        // SAFETY: the filter is valid; the library uses the value as index into
        // a map of 256 bits, which any u8 fits.
        unsafe {
            sys::nfct_filter_add_attr_u32(
                self.raw.as_ptr(),
                sys::NFCT_FILTER_L4PROTO,
                u32::from(protocol),
            )
        };
        Ok(())
    }

    /// Adds an IPv4 network as `address` under `mask`.
    ///
    /// # Errors
    ///
    /// `ENOSPC` for the 81st network of a
    /// side, for which the library would build a wrong program in silence.
    pub fn ipv4(&mut self, field: Ipv4Field, address: Ipv4Addr, mask: Ipv4Addr) -> io::Result<()> {
        take_slot(&mut self.ipv4_count[field as usize], IPV4_MAX)?;
        // The library compares in host order (BPF loads convert).
        let value = sys::nfct_filter_ipv4 {
            addr: u32::from(address) & u32::from(mask),
            mask: u32::from(mask),
        };
        // SAFETY: the filter is valid, the value has the type the header names
        // for these fields, and it is copied.
        unsafe {
            sys::nfct_filter_add_attr(
                self.raw.as_ptr(),
                FilterField::from(field).raw(),
                (&raw const value).cast::<c_void>(),
            )
        };
        Ok(())
    }

    /// Adds an IPv6 network as `address` under `mask`.
    ///
    /// # Errors
    ///
    /// `ENOSPC` for the 21st network of a
    /// side, which the library would drop in silence.
    pub fn ipv6(&mut self, field: Ipv6Field, address: Ipv6Addr, mask: Ipv6Addr) -> io::Result<()> {
        take_slot(&mut self.ipv6_count[field as usize], IPV6_MAX)?;
        let mask_bits = u128::from(mask);
        let value = sys::nfct_filter_ipv6 {
            addr: words(u128::from(address) & mask_bits),
            mask: words(mask_bits),
        };
        // SAFETY: as in `ipv4`.
        unsafe {
            sys::nfct_filter_add_attr(
                self.raw.as_ptr(),
                FilterField::from(field).raw(),
                (&raw const value).cast::<c_void>(),
            )
        };
        Ok(())
    }

    /// Sets what a match on `field` means (`nfct_filter_set_logic`).
    ///
    /// # Errors
    ///
    /// The raw errno of the library; none is known for these fields.
    pub fn logic(&mut self, field: impl Into<FilterField>, logic: Logic) -> io::Result<()> {
        let field = field.into().raw();
        let logic = match logic {
            Logic::Positive => sys::NFCT_FILTER_LOGIC_POSITIVE,
            Logic::Negative => sys::NFCT_FILTER_LOGIC_NEGATIVE,
        };
        // SAFETY: the filter is valid, the rest are integers.
        let result = unsafe { sys::nfct_filter_set_logic(self.raw.as_ptr(), field, logic) };
        if result < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }

    pub(crate) fn as_ptr(&self) -> *mut sys::nfct_filter {
        self.raw.as_ptr()
    }
}

impl Default for Filter {
    fn default() -> Filter {
        Filter::new()
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        // SAFETY: created by nfct_filter_create, destroyed only here.
        unsafe { sys::nfct_filter_destroy(self.raw.as_ptr()) };
    }
}

fn take_slot(count: &mut u32, max: u32) -> io::Result<()> {
    if *count == max {
        return Err(io::Error::from_raw_os_error(libc::ENOSPC));
    }
    *count += 1;
    Ok(())
}

/// An IPv6 address as the library wants it: four words in host order, the most
/// significant first.
fn words(address: u128) -> [u32; 4] {
    [
        (address >> 96) as u32,
        (address >> 64) as u32,
        (address >> 32) as u32,
        address as u32,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_most_significant_first() {
        let address = u128::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
        assert_eq!(words(address), [0x2001_0db8, 0, 0, 1]);
    }

    #[test]
    fn more_networks_than_the_library_can_compile_are_an_error() {
        let mut filter = Filter::new();
        for i in 0..IPV4_MAX {
            filter
                .ipv4(Ipv4Field::Src, Ipv4Addr::from(i), Ipv4Addr::BROADCAST)
                .unwrap();
        }
        let error = filter
            .ipv4(Ipv4Field::Src, Ipv4Addr::LOCALHOST, Ipv4Addr::BROADCAST)
            .unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOSPC));
    }
}
