//! Runs captures for long under all that goes wrong in months, and counts what they lose without saying so.
//!
//! `conntracker-soak MINUTES [SEED]`
//!
//! As root. Everything happens in a network namespace and a mount namespace of its own; the clock that is
//! stepped is the captures' alone (libfaketime). Ends with figures and exit status 0, or 1 if a flow was lost
//! that the verdict does not own up to, or memory grew beyond its bound.

use std::process::ExitCode;
use std::time::Duration;

use vendor_tests::soak::Soak;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let minutes = arguments.next().and_then(|text| text.parse().ok());
    let Some(minutes @ 1_u64..) = minutes else {
        eprintln!("usage: conntracker-soak MINUTES [SEED]");
        return ExitCode::from(2);
    };
    let seed = arguments.next().and_then(|text| text.parse().ok());
    let mut well = false;
    vendor_tests::netns::run("conntracker-soak", || {
        // SAFETY: takes flags only; it concerns this thread and the programs that it will start.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNS) }, 0);
        well = Soak::new(seed.unwrap_or(1)).run(Duration::from_secs(minutes * 60));
    });
    if well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
