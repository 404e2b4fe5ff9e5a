//! Recording of raw datagrams (`-w`), so that a capture can be replayed elsewhere.

use std::fs::File;
use std::io::{self, BufWriter};
use std::time::SystemTime;

use parking_lot::Mutex;

use crate::pcap::Writer;

/// A pcap file that the receivers append to.
#[derive(Debug)]
pub struct Recorder {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    writer: Writer<BufWriter<File>>,
    /// The first failure; nothing is written after it, since the file would have a hole.
    failed: Option<io::Error>,
}

impl Recorder {
    /// Starts a recording in `file`.
    ///
    /// # Errors
    ///
    /// Those of writing the header.
    pub fn new(file: File) -> io::Result<Self> {
        let mut writer = Writer::new(BufWriter::with_capacity(1 << 18, file))?;
        writer.flush()?;
        Ok(Self {
            state: Mutex::new(State {
                writer,
                failed: None,
            }),
        })
    }

    /// Appends datagrams. The first failure ends the recording; [`finish`](Self::finish) reports it.
    pub fn record<'a>(&self, time: SystemTime, datagrams: impl Iterator<Item = &'a [u8]>) {
        let mut state = self.state.lock();
        if state.failed.is_some() {
            return;
        }
        for datagram in datagrams {
            if let Err(error) = state.writer.write(time, datagram) {
                state.failed = Some(error);
                return;
            }
        }
    }

    /// Writes out what is buffered.
    ///
    /// # Errors
    ///
    /// The recording's first failure, now or earlier.
    pub fn finish(self) -> io::Result<()> {
        let mut state = self.state.into_inner();
        match state.failed.take() {
            Some(error) => Err(error),
            None => state.writer.flush(),
        }
    }
}
