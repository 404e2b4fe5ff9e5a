//! Requests on a [`Handle`]: dump the table, create and destroy entries.

use std::ffi::c_void;
use std::io;
use std::ops::ControlFlow;

use netfilter_conntrack_sys as sys;

use crate::callback::AfterEnd;
use crate::{Conntrack, Direction, Handle};

/// Which address family a dump covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Family {
    /// IPv4 entries (`AF_INET`).
    Ipv4,
    /// IPv6 entries (`AF_INET6`).
    Ipv6,
    /// Every entry (`AF_UNSPEC`).
    Any,
}

impl Family {
    fn raw(self) -> u32 {
        let family = match self {
            Family::Ipv4 => libc::AF_INET,
            Family::Ipv6 => libc::AF_INET6,
            Family::Any => libc::AF_UNSPEC,
        };
        family as u32
    }
}

impl Handle {
    /// Dumps the connection-tracking table and calls `callback` for each entry
    /// (`nfct_query(NFCT_Q_DUMP)`). The entry is borrowed for the call.
    ///
    /// The dump is not a snapshot. Entries that come or go meanwhile may or may
    /// not be in it, and if the kernel resizes its hash table in mid-dump,
    /// entries can be missing or come twice; neither the kernel nor the library
    /// reports that. The kernel sends what fits a socket buffer and waits for
    /// the reader, so a slow callback stretches the dump but does not overrun.
    ///
    /// If the callback panics, the rest of the answer is read and discarded, so
    /// that it does not meet the next request, and then the panic goes on.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the handle was opened with groups; `EPERM` without
    /// `CAP_NET_ADMIN`; `ENOBUFS` if the socket overran; `EAGAIN` if the socket
    /// was made non-blocking. `EINTR` does not occur: libnfnetlink receives
    /// again. After an error an unread rest may wait in the socket: open a new
    /// handle for the next request.
    ///
    /// ```no_run
    /// use netfilter_conntrack::{Family, Groups, Handle};
    ///
    /// let mut entries = 0;
    /// Handle::open(Groups::NONE)?.dump(Family::Any, |_| entries += 1)?;
    /// println!("{entries} entries");
    /// # std::io::Result::Ok(())
    /// ```
    pub fn dump(&mut self, family: Family, mut callback: impl FnMut(&Conntrack)) -> io::Result<()> {
        self.refuse_if_listening()?;
        let family = family.raw();
        let each = |_, ct: &Conntrack| {
            callback(ct);
            ControlFlow::Continue(())
        };
        self.with_callback(each, AfterEnd::Drain, |raw| {
            // SAFETY: the handle is open; for this request `data` is read as
            // one u32, the family, before the function returns.
            unsafe { sys::nfct_query(raw, sys::NFCT_Q_DUMP, (&raw const family).cast::<c_void>()) }
        })
    }

    /// Creates an entry (`nfct_query(NFCT_Q_CREATE)`) and waits for the
    /// kernel's answer.
    ///
    /// The kernel wants both tuples and a timeout
    /// (`ctnetlink_new_conntrack`, net/netfilter/nf_conntrack_netlink.c).
    ///
    /// # Errors
    ///
    /// `EINVAL` if the handle was opened with groups, or something the kernel
    /// wants is missing; `EEXIST` if the entry exists; `EPERM` without
    /// `CAP_NET_ADMIN`; `ENOMEM` if the table is full.
    pub fn create(&mut self, ct: &Conntrack) -> io::Result<()> {
        self.request(sys::NFCT_Q_CREATE, ct)
    }

    /// Changes an existing entry to match `ct` (`nfct_query(NFCT_Q_UPDATE)`):
    /// the attributes that are set are written, the others left alone.
    ///
    /// # Errors
    ///
    /// `ENOENT` if there is no such entry; otherwise as
    /// [`create`](Handle::create).
    pub fn update(&mut self, ct: &Conntrack) -> io::Result<()> {
        self.request(sys::NFCT_Q_UPDATE, ct)
    }

    /// Removes the entry with the original tuple of `ct`
    /// (`nfct_query(NFCT_Q_DESTROY)`). If `ct` has an id, an entry with another
    /// id is left alone.
    ///
    /// # Errors
    ///
    /// `ENOENT` if there is no such entry; otherwise as
    /// [`create`](Handle::create).
    pub fn destroy(&mut self, ct: &Conntrack) -> io::Result<()> {
        self.request(sys::NFCT_Q_DESTROY, ct)
    }

    fn request(&mut self, query: sys::nf_conntrack_query, ct: &Conntrack) -> io::Result<()> {
        self.refuse_if_listening()?;
        // Without it the kernel would not know which tuple it is given; the
        // check is here so that no release of the library can send, and wait
        // for an answer to, a request it could not build.
        if ct.l3_protocol(Direction::Original).is_none() {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        // SAFETY: the handle is open, and for these requests `data` is an
        // entry; it is read before the function returns.
        let result = unsafe { sys::nfct_query(self.as_ptr(), query, ct.as_ptr().cast::<c_void>()) };
        if result < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }

    fn refuse_if_listening(&self) -> io::Result<()> {
        if self.groups().is_empty() {
            Ok(())
        } else {
            Err(io::Error::from_raw_os_error(libc::EINVAL))
        }
    }
}
