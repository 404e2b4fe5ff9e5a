//! Reading captures, whatever form they have: our JSON, recordings of events, lists in text.
//!
//! A file is told by its content. Recordings have a magic number; everything else is lines, each of which
//! is read for itself, so that a file may hold several kinds.

pub mod complaints;
pub mod line;
pub mod lines;
mod packed;
mod pairs;
pub mod pcap;
mod text;
mod wholeness;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::ops::ControlFlow;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use crate::formats::pcap::is_magic;
use crate::model::capture::Capture;
use crate::model::error::Error;
use crate::model::learnt::Learnt;
use crate::model::listing::Part;
use crate::model::record::Record;
use crate::model::ruled::Ruled;
use crate::ui::console::Console;
use crate::ui::progress::Counted;

use complaints::Complaints;
use packed::Packing;

/// Takes in what files hold.
pub trait Sink {
    /// Takes in the description of a capture, and returns the number that its flows go by. A file that
    /// holds the same description again begins another list of it.
    fn capture(&mut self, capture: Capture) -> u32;

    /// Hears that the source ports of the next flow were folded, so that it may be one that has come before.
    fn collapsed(&mut self) {}

    /// Hears that a capture lacks flows, for a reason that was found in reading it.
    fn incomplete(&mut self, capture: u32, why: &str);

    /// Takes in a flow with the captures that it was seen in, at least one, and the connections seen there.
    /// `Break` ends the reading of the file.
    fn flow(&mut self, record: Record, seen_in: &[Part]) -> ControlFlow<()>;

    /// Hears which rules decided on a flow, before the flow comes.
    fn ruled(&mut self, _: &Record, _: Ruled) {}

    /// Hears which names led to a flow, before the flow comes.
    fn learnt(&mut self, _: &Record, _: Vec<Learnt>) {}

    /// Hears of a flow that did not get through, with what decided that. Whoever does not ask for such flows takes none of them
    /// for one that did.
    fn denied(&mut self, _: Record, _: &[Part], _: Option<Ruled>) {}
}

/// How files are read.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    /// Where notes go.
    pub console: &'a Console,
    /// Whether the first malformed line ends it all.
    pub strict: bool,
    /// Whether ephemeral source ports are needed; where they are not, recordings take less memory.
    pub keep_ports: bool,
}

/// Whether a device is one of /dev/zero, full, random and urandom (Documentation/admin-guide/devices.txt).
fn is_endless(device: u64) -> bool {
    rustix::fs::major(device) == 1 && [5, 7, 8, 9].contains(&rustix::fs::minor(device))
}

impl Reader<'_> {
    /// Reads a file (`-` is standard input) into `sink`, and returns what is wrong with its lines, which
    /// it has skipped.
    ///
    /// Errors: a file that can't be opened or read, is of a newer schema, or, if strict, has a malformed line. Then
    /// what was read before is in `sink` all the same.
    pub fn read(&self, path: &Path, sink: &mut dyn Sink) -> Result<Complaints, Error> {
        let failed = |error: io::Error| Error::file(path, error);
        if path.as_os_str() == "-" {
            return self.read_from(io::stdin(), path, None, sink);
        }
        let file = File::open(path).map_err(failed)?;
        let found = file.metadata().map_err(failed)?;
        if found.is_dir() {
            return Err(Error::file(path, "is a directory: name the files in it"));
        }
        if found.file_type().is_char_device() && is_endless(found.rdev()) {
            return Err(Error::file(
                path,
                "is a device that has no end: name a file",
            ));
        }
        let size = Some(found.len()).filter(|_| found.is_file());
        self.read_from(file, path, size, sink)
    }

    /// Reads what goes by the name `path` in messages, of `size` bytes if that is known.
    ///
    /// Errors: as those of [`read`](Self::read).
    pub fn read_from(
        &self,
        input: impl Read + Send,
        path: &Path,
        size: Option<u64>,
        sink: &mut dyn Sink,
    ) -> Result<Complaints, Error> {
        let mut input = Counted::reading(input, path, size, self.console);
        let magic = begin(&mut input, path)?;
        let packing = Packing::of(&magic);
        let Some(packing) = packing else {
            return self.read_content(&magic, input, path, size.is_some(), sink);
        };
        packing.unpack(io::Cursor::new(magic).chain(input), path, |mut unpacked| {
            let magic = begin(&mut unpacked, path)?;
            if Packing::of(&magic).is_some() {
                return Err(Error::file(path, "is compressed twice: unpack it once"));
            }
            self.read_content(&magic, unpacked, path, size.is_some(), sink)
        })
    }

    /// Reads what begins with `magic` and goes on with `rest`.
    fn read_content(
        &self,
        magic: &[u8],
        rest: impl Read,
        path: &Path,
        is_file: bool,
        sink: &mut dyn Sink,
    ) -> Result<Complaints, Error> {
        let input = BufReader::with_capacity(1 << 18, magic.chain(rest));
        if is_magic(magic) {
            return pcap::read(input, path, (self.keep_ports, self.strict), sink);
        }
        text::read(input, path, (self.strict, is_file), sink)
    }
}

/// The first bytes of a file, which tell what it is.
fn begin(input: &mut impl Read, path: &Path) -> Result<Vec<u8>, Error> {
    let mut magic = Vec::with_capacity(4);
    input
        .take(4)
        .read_to_end(&mut magic)
        .map_err(|error| Error::file(path, error))?;
    Ok(magic)
}
