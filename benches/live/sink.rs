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

/// A whole list.
#[derive(Debug)]
pub struct Taken {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// When the last one came, if that can be told.
    pub last_byte: Option<Instant>,
}

impl Taken {
    /// Number of lines.
    pub fn lines(&self) -> u64 {
        self.bytes.iter().filter(|byte| **byte == b'\n').count() as u64
    }
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
    pub fn attach(&mut self, child: &mut Child) {
        if let (Self::Pipe(reader), Some(pipe)) = (self, child.stdout.take()) {
            *reader = Some(std::thread::spawn(move || drain(pipe)));
        }
    }

    /// The list of a child that has ended.
    pub fn take(self) -> Result<Taken, Failure> {
        Ok(match self {
            Self::File(mut file) => {
                let mut bytes = Vec::new();
                file.rewind()?;
                file.read_to_end(&mut bytes)?;
                Taken {
                    bytes,
                    last_byte: None,
                }
            }
            Self::Pipe(reader) => {
                let reader = reader.ok_or("a pipe nobody reads")?;
                reader.join().map_err(|_| "the reader panicked")??
            }
        })
    }
}

fn drain(mut pipe: impl Read) -> std::io::Result<Taken> {
    let mut taken = Taken {
        bytes: Vec::new(),
        last_byte: None,
    };
    let mut chunk = vec![0; 1 << 16];
    loop {
        match pipe.read(&mut chunk)? {
            0 => return Ok(taken),
            len => {
                taken.last_byte = Some(Instant::now());
                taken.bytes.extend_from_slice(&chunk[..len]);
            }
        }
    }
}
