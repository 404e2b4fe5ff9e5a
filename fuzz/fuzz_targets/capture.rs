//! Any file is read to its end or refused, and never makes the reader keep more than the file holds.
#![no_main]

use conntracker::testing::intake::Intake;
use conntracker::testing::intake::Table;
use conntracker::testing::sources::file;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|capture: &[u8]| {
    let intake = Intake::new(Table::with_stripes(64, 1));
    let first = file::read(capture, &intake).ok();
    // What was read whole adds nothing when it is read again.
    let listed = intake.table().len();
    let again = file::read(capture, &intake).ok();
    assert_eq!(first, again);
    if intake.table().refused() == 0 {
        assert_eq!(intake.table().len(), listed);
    }
});
