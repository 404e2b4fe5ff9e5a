//! [`ConntrackBuf`], an entry of one's own.

use std::alloc::{Layout, handle_alloc_error};
use std::borrow::Borrow;
use std::ffi::c_void;
use std::fmt;
use std::ops::Deref;
use std::ptr::NonNull;

use netfilter_conntrack_sys as sys;

use crate::Conntrack;

impl ToOwned for Conntrack {
    type Owned = ConntrackBuf;

    /// A deep copy (`nfct_clone`).
    fn to_owned(&self) -> ConntrackBuf {
        // SAFETY: the entry is valid as long as `self` is borrowed.
        let raw = unsafe { sys::nfct_clone(self.as_ptr()) };
        ConntrackBuf {
            raw: NonNull::new(raw).unwrap_or_else(|| out_of_memory()),
        }
    }
}

/// An entry of one's own (`nfct_new`, `nfct_clone`), destroyed on drop. Reads
/// like a [`Conntrack`]; its setters are in the same terms.
pub struct ConntrackBuf {
    raw: NonNull<sys::nf_conntrack>,
}

// SAFETY: heap memory of its own, no tie to a thread, no shared parts: the
// clone copies what it points to (`__copy_fast`, src/conntrack/copy.c).
unsafe impl Send for ConntrackBuf {}

impl ConntrackBuf {
    /// An entry with nothing set (`nfct_new`).
    ///
    /// # Panics
    ///
    /// Aborts as any failed allocation does if memory is exhausted.
    #[must_use]
    pub fn new() -> ConntrackBuf {
        // SAFETY: no arguments.
        let raw = unsafe { sys::nfct_new() };
        ConntrackBuf {
            raw: NonNull::new(raw).unwrap_or_else(|| out_of_memory()),
        }
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut sys::nf_conntrack {
        self.raw.as_ptr()
    }

    /// Sets an attribute from a value of type `T`.
    ///
    /// # Safety
    ///
    /// The library's setter for `attribute` reads no more than a `T`.
    pub(crate) unsafe fn set<T: Copy>(&mut self, attribute: sys::nf_conntrack_attr, value: T) {
        // SAFETY: the entry is valid and ours; the size is the caller's
        // promise, and the alignment is that of the type the setter reads.
        unsafe {
            sys::nfct_set_attr(
                self.raw.as_ptr(),
                attribute,
                (&raw const value).cast::<c_void>(),
            )
        };
    }

    pub(crate) fn unset(&mut self, attribute: sys::nf_conntrack_attr) {
        // SAFETY: the entry is valid and ours. An attribute in range is the
        // only condition, and only constants of the header come here.
        let result = unsafe { sys::nfct_attr_unset(self.raw.as_ptr(), attribute) };
        debug_assert_eq!(result, 0);
    }
}

impl Default for ConntrackBuf {
    fn default() -> ConntrackBuf {
        ConntrackBuf::new()
    }
}

impl Deref for ConntrackBuf {
    type Target = Conntrack;

    fn deref(&self) -> &Conntrack {
        // SAFETY: valid until drop; changing it needs `&mut self`.
        unsafe { Conntrack::from_ptr(self.raw.as_ptr()) }
    }
}

impl Borrow<Conntrack> for ConntrackBuf {
    fn borrow(&self) -> &Conntrack {
        self
    }
}

impl AsRef<Conntrack> for ConntrackBuf {
    fn as_ref(&self) -> &Conntrack {
        self
    }
}

impl Clone for ConntrackBuf {
    fn clone(&self) -> ConntrackBuf {
        (**self).to_owned()
    }
}

impl fmt::Debug for ConntrackBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl Drop for ConntrackBuf {
    fn drop(&mut self) {
        // SAFETY: created by nfct_new or nfct_clone, destroyed only here.
        unsafe { sys::nfct_destroy(self.raw.as_ptr()) };
    }
}

/// The library's constructors fail only when malloc does; end as Rust's own
/// allocations do then.
pub(crate) fn out_of_memory() -> ! {
    handle_alloc_error(Layout::new::<[u8; 4096]>())
}
