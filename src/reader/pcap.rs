//! Recordings of events as captures.

use std::io::Read;
use std::path::Path;

use crate::console::Console;
use crate::error::Error;
use crate::progress::Progress;
use crate::reader::Sink;

/// Whether a file that begins so is a recording.
#[must_use]
pub fn is_magic(magic: &[u8]) -> bool {
    matches!(
        magic,
        [0xa1, 0xb2, 0xc3, 0xd4]
            | [0xd4, 0xc3, 0xb2, 0xa1]
            | [0xa1, 0xb2, 0x3c, 0x4d]
            | [0x4d, 0x3c, 0xb2, 0xa1]
    )
}

/// Reads a recording into `sink`.
///
/// # Errors
///
/// A recording of something else.
pub fn read(
    _input: impl Read,
    path: &Path,
    _sink: &mut dyn Sink,
    _console: &Console,
    _progress: &mut Progress<'_>,
) -> Result<(), Error> {
    Err(Error::file(path, "recordings are not read yet"))
}
