//! The way from the C callback into a Rust closure and, for a panic, back out.

use std::any::Any;
use std::ffi::{c_int, c_void};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use netfilter_conntrack_sys as sys;

use crate::{Conntrack, EventType};

/// The callback type of `nfct_callback_register`.
pub type CCallback =
    unsafe extern "C" fn(sys::nf_conntrack_msg_type, *mut sys::nf_conntrack, *mut c_void) -> c_int;

/// What the closure's end, by break or by panic, means for the C loop.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum AfterEnd {
    /// Leave the loop at once. Right for events: each datagram holds one.
    Stop,
    /// Read on without calling the closure. Right for dumps: what is left of
    /// an answer stays in the socket and would meet the next request.
    Drain,
}

/// A closure in the form C can call. Lives on the stack of the function that
/// registers it, which must outlive the C call it is passed to.
pub struct Trampoline<F> {
    callback: F,
    after_end: AfterEnd,
    ended: bool,
    panic: Option<Box<dyn Any + Send>>,
}

impl<F: FnMut(EventType, &Conntrack) -> ControlFlow<()>> Trampoline<F> {
    /// Wraps a closure.
    pub fn new(callback: F, after_end: AfterEnd) -> Trampoline<F> {
        Trampoline {
            callback,
            after_end,
            ended: false,
            panic: None,
        }
    }

    /// The function and the data pointer to register. The pointer is good as
    /// long as `self` is neither moved nor used otherwise.
    pub fn parts(&mut self) -> (CCallback, *mut c_void) {
        (enter::<F>, std::ptr::from_mut(self).cast())
    }

    /// To be called once C has let go of the pointer: goes on with the panic of
    /// the closure, if it panicked.
    pub fn finish(self) {
        if let Some(payload) = self.panic {
            resume_unwind(payload);
        }
    }

    fn call(&mut self, kind: sys::nf_conntrack_msg_type, ct: &Conntrack) -> c_int {
        if !self.ended {
            let Some(kind) = EventType::from_raw(kind) else {
                return sys::NFCT_CB_CONTINUE;
            };
            // AssertUnwindSafe: after a panic `ended` keeps the closure from
            // being called again, and `finish` hands the panic on, so nobody
            // sees what the closure left half done unless they catch it.
            match catch_unwind(AssertUnwindSafe(|| (self.callback)(kind, ct))) {
                Ok(ControlFlow::Continue(())) => return sys::NFCT_CB_CONTINUE,
                Ok(ControlFlow::Break(())) => self.ended = true,
                Err(payload) => {
                    self.ended = true;
                    self.panic = Some(payload);
                }
            }
        }
        match self.after_end {
            AfterEnd::Stop => sys::NFCT_CB_STOP,
            AfterEnd::Drain => sys::NFCT_CB_CONTINUE,
        }
    }
}

/// What C calls.
///
/// # Safety
///
/// `data` comes from [`Trampoline::parts`] of the same `F`, and that trampoline
/// is alive and not otherwise in use; `ct` points to a valid entry for the time
/// of the call.
unsafe extern "C" fn enter<F: FnMut(EventType, &Conntrack) -> ControlFlow<()>>(
    kind: sys::nf_conntrack_msg_type,
    ct: *mut sys::nf_conntrack,
    data: *mut c_void,
) -> c_int {
    // SAFETY: the caller's promise about `data`; C calls from one thread, and
    // never again from inside the callback, so the reference is unique.
    let trampoline = unsafe { &mut *data.cast::<Trampoline<F>>() };
    // SAFETY: the library passes the entry it has just parsed and frees it only
    // after this function returns (`__callback`, src/conntrack/callback.c); the
    // closure cannot keep the reference, its lifetime is that of this call.
    let ct = unsafe { Conntrack::from_ptr(ct) };
    trampoline.call(kind, ct)
}
