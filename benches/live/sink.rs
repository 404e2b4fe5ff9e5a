//! Where a listener's list goes, and when its last byte was there.

use std::fs::File;
use std::io::{Read, Seek};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Instant;

use crate::Failure;

/// Kind of standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    File,
    /// A pipe that is read as fast as it can be.
    Pipe,
}

/// Standard output of a listener.
#[derive(Debug)]
pub enum Sink {
    /// A file without a name.
    File(File),
    /// The thread that reads the pipe.
    Pipe(Option<JoinHandle<std::io::Result<Taken>>>),
}

/// A whole list, or what there is to know of it.
#[derive(Debug, Default)]
pub struct Taken {
    /// Its bytes, if they are to be kept.
    pub bytes: Vec<u8>,
    /// Number of lines.
    pub lines: u64,
    /// When the last byte came, if that can be told.
    pub last_byte: Option<Instant>,
}

impl Sink {
    /// Gives a command its standard output.
    pub fn new(kind: Kind, command: &mut Command) -> Result<Self, Failure> {
        Ok(match kind {
            Kind::File => {
                let file = tempfile::tempfile()?;
                command.stdout(file.try_clone()?);
                Self::File(file)
            }
            Kind::Pipe => {
                command.stdout(Stdio::piped());
                Self::Pipe(None)
            }
        })
    }

    /// Starts reading the pipe of the child.
    pub fn attach(&mut self, child: &mut Child, keep: bool) {
        if let (Self::Pipe(reader), Some(pipe)) = (self, child.stdout.take()) {
            *reader = Some(std::thread::spawn(move || drain(pipe, keep)));
        }
    }

    /// The list of a child that has ended.
    pub fn take(self, keep: bool) -> Result<Taken, Failure> {
        Ok(match self {
            Self::File(mut file) => {
                file.rewind()?;
                Taken {
                    last_byte: None,
                    ..drain(file, keep)?
                }
            }
            Self::Pipe(reader) => {
                let reader = reader.ok_or("a pipe nobody reads")?;
                reader.join().map_err(|_| "the reader panicked")??
            }
        })
    }
}

/// Reads to the end. Lists are not kept unless they have to be: what is resident here when a listener is
/// started counts as the listener's peak (`exec_mmap` in fs/exec.c, Linux 6.18).
fn drain(mut from: impl Read, keep: bool) -> std::io::Result<Taken> {
    let mut taken = Taken::default();
    let mut chunk = vec![0; 1 << 16];
    loop {
        let len = from.read(&mut chunk)?;
        if len == 0 {
            return Ok(taken);
        }
        let chunk = &chunk[..len];
        taken.last_byte = Some(Instant::now());
        taken.lines += chunk.iter().filter(|byte| **byte == b'\n').count() as u64;
        if keep {
            taken.bytes.extend_from_slice(chunk);
        }
    }
}
