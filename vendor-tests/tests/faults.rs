//! A short form of `make faults`: one of each call, of two scenarios.

use vendor_tests::faults::{Extent, campaign};
use vendor_tests::skipped;

#[test]
fn whatever_fails_files_are_whole_and_verdicts_honest() {
    if !rustix::process::geteuid().is_root() {
        skipped!("faults: network namespaces and strace(1) take root");
        return;
    }
    let extent = Extent {
        each: 1,
        at_once: 2,
    };
    for scenario in ["list and state (batch)", "replay"] {
        let figures = campaign(extent, scenario);
        assert!(figures.are_well(), "{figures}\n{:#?}", figures.wrongs);
        assert!(figures.failed_calls > 20, "{figures}");
        assert!(figures.kills > 5 && figures.cuts.0 > 5, "{figures}");
    }
}
