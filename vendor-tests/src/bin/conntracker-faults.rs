//! Has every system call and many an allocation of the program fail, kills it and cuts the power wherever it changes a file,
//! and looks whether what is left is whole and what is said of it true.
//!
//! `conntracker-faults [EACH] [WORD]`
//!
//! As root. EACH is how many of the same call of a scenario fail at most (60); WORD picks the scenarios with that in their
//! names. Ends with figures and exit status 0, or 1 if anything was dishonest.

use std::process::ExitCode;

use vendor_tests::faults::{Extent, campaign};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let each = arguments.next().map_or(Ok(60), |text| text.parse());
    let Ok(each @ 1_usize..) = each else {
        eprintln!("usage: conntracker-faults [EACH] [WORD]");
        return ExitCode::from(2);
    };
    let extent = Extent {
        each,
        at_once: std::thread::available_parallelism().map_or(1, usize::from),
    };
    let figures = campaign(extent, &arguments.next().unwrap_or_default());
    println!("{figures}");
    if figures.are_well() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
