//! Replay of a recorded capture.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use crate::intake::Intake;
use crate::live::description;
use crate::live::options::CaptureOptions;
use crate::model::capture::Capture;
use crate::model::error::Error;
use crate::model::printable::printable;
use crate::model::ruled::Told;
use crate::model::units::{counted, show_count};
use crate::model::verdict::Loss;
use crate::output::printer::Printer;
use crate::sources::file;
use crate::ui::console::Console;
use crate::ui::progress::Counted;

/// Reads `path` (`-` is standard input), prints its list, and returns the exit status. If `strict`, a recording that
/// was cut or holds what can't be read is an error.
///
/// Errors: a file that can't be read as a capture.
pub fn replay(
    path: &Path,
    (options, strict): (&CaptureOptions, bool),
    intake: &Intake,
    printer: &Printer,
    console: &Console,
) -> Result<u8, Error> {
    let failed = |error| Error::file(path, error);
    let (input, len): (Box<dyn Read>, _) = if path.as_os_str() == "-" {
        (Box::new(io::stdin()), None)
    } else {
        let file = File::open(path).map_err(failed)?;
        let kind = file.metadata().map_err(failed)?;
        (Box::new(file), kind.is_file().then_some(kind.len()))
    };
    let input = Counted::reading(input, path, len, console);
    let read = file::read_netlink(BufReader::with_capacity(1 << 18, input), intake)
        .map_err(|error| Error::file(path, error))?;
    let tally = intake.tally();
    let reasons = read.audit.reasons(0);
    let strictly = reasons
        .first()
        .map(String::as_str)
        .or_else(|| (tally.malformed > 0).then_some("messages can't be read"));
    if let (true, Some(reason)) = (strict, strictly) {
        return Err(Error::file(path, printable(reason)));
    }
    console.detail(&format!(
        "{}, {}; skipped: {}, {} of other protocols, {} malformed",
        counted(tally.events, "event"),
        counted(intake.table().len() as u64, "flow"),
        counted(tally.not_events, "other message"),
        counted(tally.not_listed, "event"),
        show_count(tally.malformed),
    ));
    let verdict = read.audit.verdict(&reasons);
    let loss = Loss {
        refused: intake.refused(),
        malformed: tally.malformed,
        other: reasons,
        ..Loss::default()
    };
    let capture = Capture {
        start: read.first,
        end: read.last,
        ..description::of_recording(description::begin(options, "pcap"), verdict, &loss)
    };
    let status = printer.finish(&intake.take_last(), &capture, &Told::default(), console);
    let verdict = loss.verdict();
    if verdict.exit_status() != 0 {
        console.note(&format!(
            "{}: {}",
            path.display(),
            printable(&verdict.to_string())
        ));
    }
    Ok(if status == 0 {
        verdict.exit_status()
    } else {
        status
    })
}
