//! Files that are compressed, unpacked by the system's own programs.
//!
//! gzip(1) is on every Debian, xz(1) and zstd(1) on nearly all. Libraries that do it without C would be three more
//! dependencies with a format each, for what these three do in a process of its own, which can be ended.

use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::model::error::Error;
use crate::model::printable::printable;

/// What a file that unpacks to more than this, and to more than [`RATIO_MAX`] times its size, is no list of flows: those
/// become some fifty times as small.
const SIZE_MAX: u64 = 1 << 30;
const RATIO_MAX: u64 = 1000;
/// What an unpacked file may take of memory, for programs that can be told so.
const MEMORY: &str = "256MiB";

/// How a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    Gzip,
    Xz,
    Zstd,
}

impl Packing {
    /// That of a file that begins so.
    pub const fn of(magic: &[u8]) -> Option<Self> {
        match magic {
            // RFC 1952, 2.3.1.
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            // The .xz File Format, 2.1.1.1.
            [0xfd, b'7', b'z', b'X'] => Some(Self::Xz),
            // RFC 8878, 3.1.1.
            [0x28, 0xb5, 0x2f, 0xfd] => Some(Self::Zstd),
            _ => None,
        }
    }

    const fn program(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
        }
    }

    fn start(self) -> io::Result<Child> {
        let mut command = Command::new(self.program());
        match self {
            Self::Gzip => command.arg("-dc"),
            Self::Xz => command.args(["-dc", &format!("--memlimit-decompress={MEMORY}")]),
            Self::Zstd => command.args(["-dcq", &format!("--memory={MEMORY}")]),
        };
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
    }

    /// Has `read` read what `input`, which goes by the name `path` in messages, unpacks to.
    ///
    /// Errors: those of `read`, also as reading fails where the file is damaged or unpacks to too much; a program that
    /// is not there.
    pub fn unpack<T>(
        self,
        input: impl Read + Send,
        path: &Path,
        read: impl FnOnce(Unpacked<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let program = self.program();
        let mut child = self.start().map_err(|error| {
            let why =
                format!("is compressed, and {program}, which unpacks it, can't be run: {error}");
            Error::file(path, why)
        })?;
        let (Some(mut to), Some(from)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Error::file(path, "is compressed, and can't be unpacked"));
        };
        let fed = AtomicU64::new(0);
        thread::scope(|scope| {
            let feeding = scope.spawn(|| {
                let fed = feed(input, &mut to, &fed);
                drop(to);
                fed
            });
            let result = read(Unpacked {
                child: &mut child,
                from,
                fed: &fed,
                count: 0,
                program,
            });
            // Whoever has read enough leaves it in the middle. It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
            match feeding.join() {
                Ok(Err(error)) if result.is_ok() => Err(Error::file(path, error)),
                _ => result,
            }
        })
    }
}

/// Hands the packed bytes over. Errors of reading are, those of a program that wants no more are not.
fn feed(mut input: impl Read, to: &mut impl Write, fed: &AtomicU64) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let len = match input.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        fed.fetch_add(len as u64, Ordering::Relaxed);
        if to.write_all(&buffer[..len]).is_err() {
            return Ok(());
        }
    }
}

/// What comes out.
#[derive(Debug)]
pub struct Unpacked<'a> {
    child: &'a mut Child,
    from: ChildStdout,
    fed: &'a AtomicU64,
    count: u64,
    program: &'static str,
}

impl Read for Unpacked<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.from.read(buffer)?;
        self.count += len as u64;
        let fed = self.fed.load(Ordering::Relaxed);
        if self.count > SIZE_MAX && self.count > fed.saturating_mul(RATIO_MAX) {
            let why = format!("it unpacks to more than {RATIO_MAX} times its size");
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        if len == 0 && !buffer.is_empty() && !self.child.wait()?.success() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, self.complaint()));
        }
        Ok(len)
    }
}

impl Unpacked<'_> {
    /// What the program says, once it has ended.
    fn complaint(&mut self) -> String {
        let mut said = Vec::new();
        if let Some(stderr) = self.child.stderr.take() {
            // What it says is short, and fits into the pipe.
            let _ = stderr.take(4096).read_to_end(&mut said);
        }
        let said = String::from_utf8_lossy(&said);
        let said = said.trim().lines().next_back().unwrap_or_default().trim();
        match said {
            "" => format!("{} can't unpack it", self.program),
            said => printable(said).into_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_known_by_its_magic() {
        assert_eq!(Packing::of(b"\x1f\x8b\x08\x00"), Some(Packing::Gzip));
        assert_eq!(Packing::of(b"\xfd7zX"), Some(Packing::Xz));
        assert_eq!(Packing::of(b"\x28\xb5\x2f\xfd"), Some(Packing::Zstd));
        assert_eq!(Packing::of(b"{\"ty"), None);
        assert_eq!(Packing::of(b""), None);
    }
}
