//! Waiting for something to become true, never longer than said.

use std::io::{self, ErrorKind};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Long enough for anything a test waits for, on a machine that has other things to do.
pub const LONG: Duration = Duration::from_secs(120);

/// Looks again and again until `look` finds something, and returns that.
///
/// Panics: if it has found nothing within `limit`; the message names `what`.
pub fn until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            began.elapsed() < limit,
            "gave up after {limit:?} waiting for {what}"
        );
        sleep(Duration::from_millis(2));
    }
}

/// The same for a condition.
///
/// Panics: if it does not hold within [`LONG`].
pub fn until_true(what: &str, mut holds: impl FnMut() -> bool) {
    until(what, LONG, || holds().then_some(()));
}

/// What `bind` binds, once its port is free.
///
/// A socket that a test has closed stays open for as long as a child that another thread has just forked
/// takes to reach execve(2), where `O_CLOEXEC` closes its copy.
///
/// Panics: if the port is not free within [`LONG`], or it can't be bound for another reason.
pub fn bound<T>(bind: impl Fn() -> io::Result<T>) -> T {
    until("a free port", LONG, || match bind() {
        Err(error) if error.kind() == ErrorKind::AddrInUse => None,
        result => Some(result.expect("a port that can be bound")),
    })
}
