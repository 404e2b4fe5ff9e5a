//! [`Handle`]: an open ctnetlink socket.

use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::ptr::NonNull;

use netfilter_conntrack_sys as sys;

use crate::callback::{AfterEnd, Trampoline};
use crate::{Conntrack, EventType, Filter, Groups};

/// An open conntrack handle (`struct nfct_handle`): one netlink socket and the
/// library's bookkeeping for it. Closed on drop.
///
/// A handle either listens or asks. One opened with groups delivers events
/// through [`catch`](Handle::catch) and refuses requests, because the library
/// reads the answer to a request from the same socket and would take, or drop,
/// events that come in between. One opened with [`Groups::NONE`] takes requests
/// ([`dump`](Handle::dump), [`create`](Handle::create), …). Open two where
/// both are needed.
///
/// Two receivers on one socket steal each other's messages: whoever reads from
/// the descriptor directly should not call `catch` as well.
#[derive(Debug)]
pub struct Handle {
    raw: NonNull<sys::nfct_handle>,
    groups: Groups,
}

// SAFETY: struct nfct_handle is heap memory and a descriptor; neither library
// keeps thread-local or global state about it (libnetfilter_conntrack
// src/main.c, libnfnetlink src/libnfnetlink.c), so any one thread at a time may
// use it. Not Sync: the sequence counter inside is not atomic.
unsafe impl Send for Handle {}

impl Handle {
    /// Opens a netlink socket subscribed to `groups`
    /// (`nfct_open(CONNTRACK, groups)`).
    ///
    /// The socket belongs to the network namespace of the calling thread, for
    /// good. It blocks; make it non-blocking through its descriptor if wanted.
    ///
    /// # Errors
    ///
    /// `EPERM` without `CAP_NET_ADMIN` in the user namespace that owns the
    /// network namespace, if `groups` is not empty (`netlink_bind`,
    /// net/netlink/af_netlink.c); `EMFILE`, `ENFILE`, `ENOMEM`;
    /// `EPROTONOSUPPORT` on a kernel without nfnetlink.
    ///
    /// ```no_run
    /// use netfilter_conntrack::{Groups, Handle};
    ///
    /// let handle = Handle::open(Groups::NEW | Groups::DESTROY)?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn open(groups: Groups) -> io::Result<Handle> {
        // SAFETY: takes two integers; any value is allowed.
        let raw = unsafe { sys::nfct_open(sys::CONNTRACK as u8, groups.bits()) };
        match NonNull::new(raw) {
            Some(raw) => Ok(Handle { raw, groups }),
            None => Err(io::Error::last_os_error()),
        }
    }

    /// The groups the handle was opened with.
    #[must_use]
    pub fn groups(&self) -> Groups {
        self.groups
    }

    /// Reads events and calls `callback` for each, until it returns
    /// [`ControlFlow::Break`] or the socket reports an error (`nfct_catch`).
    ///
    /// The entry is borrowed for the call; keep a copy with
    /// [`to_owned`](ToOwned::to_owned) or read out what you need.
    ///
    /// A panic in the callback does not cross the C frames: it ends the loop,
    /// and goes on from here with its payload once C has returned. In every
    /// case the callback is unregistered before this returns, and the handle
    /// may be used again.
    ///
    /// # Errors
    ///
    /// The raw errno of the socket:
    ///
    /// - `ENOBUFS`: the receive buffer overran and events were lost. The handle
    ///   is sound; call `catch` again to go on with what comes next.
    /// - `EAGAIN`: the socket is non-blocking and empty.
    /// - **not** `EINTR`: libnfnetlink's `nfnl_catch` starts its receive again
    ///   after a signal (src/libnfnetlink.c, 1.0.2), so a signal handler alone
    ///   does not end a blocking `catch`. To stop it, make the socket
    ///   non-blocking and poll it beside a signalfd or a pipe.
    /// - `ENOMSG`: the message came from another process, not from the kernel.
    ///   Sending it takes `CAP_NET_ADMIN`. It is gone; go on.
    /// - `ENOENT`, `EILSEQ`, or the errno of an error message: the answer to a
    ///   request that somebody sent through the descriptor. It is gone; go on.
    /// - `EINVAL` if the handle was opened without groups: nothing would ever
    ///   arrive.
    ///
    /// At an event with an attribute of an unexpected size the library prints a
    /// line and ends the process (`__abi_breakage`, src/conntrack/parse_mnl.c,
    /// 1.0.9). Only the kernel could send one. [`parse`](crate::parse) does not
    /// share this.
    ///
    /// ```no_run
    /// use std::ops::ControlFlow;
    /// use netfilter_conntrack::{Direction, Groups, Handle};
    ///
    /// let mut handle = Handle::open(Groups::NEW)?;
    /// let mut left = 10;
    /// handle.catch(|kind, ct| {
    ///     println!("{kind:?} {:?} -> {:?}", ct.src(Direction::Original), ct.dst(Direction::Original));
    ///     left -= 1;
    ///     if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    /// })?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn catch<F>(&mut self, callback: F) -> io::Result<()>
    where
        F: FnMut(EventType, &Conntrack) -> ControlFlow<()>,
    {
        if self.groups.is_empty() {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        // SAFETY: the closure passes on the handle it is given, nothing else.
        self.with_callback(callback, AfterEnd::Stop, |raw| unsafe {
            sys::nfct_catch(raw)
        })
    }

    /// Registers `callback`, runs `receive`, unregisters, and only then lets a
    /// panic of the callback go on.
    pub(crate) fn with_callback<F>(
        &mut self,
        callback: F,
        after_end: AfterEnd,
        receive: impl FnOnce(*mut sys::nfct_handle) -> std::ffi::c_int,
    ) -> io::Result<()>
    where
        F: FnMut(EventType, &Conntrack) -> ControlFlow<()>,
    {
        let mut trampoline = Trampoline::new(callback, after_end);
        let (function, data) = trampoline.parts();
        // SAFETY: the handle is open as long as `self` lives. `data` points to
        // `trampoline`, which stays in place until after the unregistration
        // below; registering twice would leak the library's container, and the
        // unregistration below is what keeps that from happening.
        let registered = unsafe {
            sys::nfct_callback_register(self.raw.as_ptr(), sys::NFCT_T_ALL, Some(function), data)
        };
        if registered < 0 {
            return Err(io::Error::last_os_error());
        }
        let received = receive(self.raw.as_ptr());
        // Before anything else can overwrite errno.
        let error = io::Error::last_os_error();
        // SAFETY: open handle, and a callback is registered on it.
        unsafe { sys::nfct_callback_unregister(self.raw.as_ptr()) };
        trampoline.finish();
        if received < 0 { Err(error) } else { Ok(()) }
    }

    /// Attaches a filter to the socket (`nfct_filter_attach`): the kernel drops
    /// what does not pass before it is queued, so it costs no receive buffer.
    /// Replaces the filter attached before. Messages already queued stay.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if the socket's option memory (`net.core.optmem_max`) does not
    /// hold the filter's program; `EINVAL` if the kernel refuses the program.
    pub fn attach_filter(&self, filter: &Filter) -> io::Result<()> {
        // SAFETY: the descriptor is open and the filter valid, as both are
        // borrowed; the library compiles the filter and keeps no pointer to it.
        let result = unsafe { sys::nfct_filter_attach(self.as_raw_fd(), filter.as_ptr()) };
        if result < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }

    /// Detaches the socket's filter (`nfct_filter_detach`).
    ///
    /// # Errors
    ///
    /// `ENOENT` if none is attached.
    pub fn detach_filter(&self) -> io::Result<()> {
        // SAFETY: takes an integer; the descriptor is open.
        let result = unsafe { sys::nfct_filter_detach(self.as_raw_fd()) };
        if result < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }

    pub(crate) fn as_ptr(&self) -> *mut sys::nfct_handle {
        self.raw.as_ptr()
    }
}

impl AsRawFd for Handle {
    /// The netlink socket (`nfct_fd`).
    fn as_raw_fd(&self) -> RawFd {
        // SAFETY: the handle is open; the function reads one field.
        unsafe { sys::nfct_fd(self.raw.as_ptr()) }
    }
}

impl AsFd for Handle {
    /// The netlink socket, borrowed: to poll it, set options, or receive from it.
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor stays open as long as the handle, which the
        // result borrows.
        unsafe { BorrowedFd::borrow_raw(self.as_raw_fd()) }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: opened by nfct_open, closed only here. No callback is
        // registered: with_callback takes its own back.
        //
        // A failing close(2) has nobody to be told; Linux releases the
        // descriptor all the same.
        let _ = unsafe { sys::nfct_close(self.raw.as_ptr()) };
    }
}
